//! libpq's connection URI (manual, 34.1.1.2) taken apart, with no meaning given to its parts yet:
//!
//! ```text
//! postgres[ql]://[user[:password]@][host[:port][,…]][/dbname][?name=value[&…]]
//! ```
//!
//! Every part may be percent-encoded; an IPv6 address stands in brackets.

use percent_encoding::percent_decode_str;

use super::Error;

/// Decoded parts as `(libpq's parameter name, value)`, in the order of the text: later ones win.
pub(super) fn parse(url: &str) -> Result<Vec<(String, String)>, Error> {
    let rest = url
        .strip_prefix("postgresql://")
        .or_else(|| url.strip_prefix("postgres://"))
        .ok_or_else(|| fault("it must begin with postgres:// or postgresql://"))?;
    let mut parts = Vec::new();
    let mut put = |name: &str, text: &str| -> Result<(), Error> {
        parts.push((name.to_string(), decode(text)?));
        Ok(())
    };

    // User information ends at the first @ that comes before any slash.
    let rest = match rest.find(['@', '/']).filter(|&at| rest.as_bytes()[at] == b'@') {
        Some(at) => {
            let (user, password) = match rest[..at].split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (&rest[..at], None),
            };
            if !user.is_empty() {
                put("user", user)?;
            }
            if let Some(password) = password.filter(|password| !password.is_empty()) {
                put("password", password)?;
            }
            &rest[at + 1..]
        }
        None => rest,
    };

    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // No host has one. As a host's name, what follows would be shown: it is the end of a password.
    if authority.contains('@') {
        return Err(fault("user or password hold a \"@\" (write %40)"));
    }
    let (hosts, ports) = hosts(authority)?;
    if !authority.is_empty() {
        put("host", &hosts)?;
        put("port", &ports)?;
    }

    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, query),
        None => (rest, ""),
    };
    if let Some(dbname) = path.strip_prefix('/').filter(|dbname| !dbname.is_empty()) {
        put("dbname", dbname)?;
    }

    let query = query.strip_suffix('&').unwrap_or(query);
    for pair in query.split('&').filter(|_| !query.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| fault("a query parameter lacks its \"=\""))?;
        if value.contains('=') {
            return Err(fault("a query parameter has more than one \"=\" (write %3D)"));
        }
        let name = decode(name)?;
        // JDBC's spelling, which libpq takes too.
        if name == "ssl" && value == "true" {
            put("sslmode", "require")?;
        } else {
            put(&name, value)?;
        }
    }
    Ok(parts)
}

/// Comma-separated hosts and ports, still encoded; brackets are taken off.
fn hosts(authority: &str) -> Result<(String, String), Error> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    let mut rest = authority;
    loop {
        let host;
        if let Some(bracketed) = rest.strip_prefix('[') {
            let end = bracketed
                .find(']')
                .ok_or_else(|| fault("an IPv6 address lacks its closing bracket"))?;
            if end == 0 {
                return Err(fault("an IPv6 address is empty"));
            }
            host = &bracketed[..end];
            rest = &bracketed[end + 1..];
            if !rest.is_empty() && !rest.starts_with([':', ',']) {
                return Err(fault("a port or a further host is expected after an IPv6 address"));
            }
        } else {
            let end = rest.find([':', ',']).unwrap_or(rest.len());
            host = &rest[..end];
            rest = &rest[end..];
        }
        let end = rest.find(',').unwrap_or(rest.len());
        hosts.push(host);
        ports.push(rest[..end].strip_prefix(':').unwrap_or(""));
        match rest[end..].strip_prefix(',') {
            Some(further) => rest = further,
            None => return Ok((hosts.join(","), ports.join(","))),
        }
    }
}

fn decode(text: &str) -> Result<String, Error> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let digits = bytes.get(at + 1..at + 3);
        if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
            return Err(fault("a \"%\" is not followed by two hexadecimal digits (write %25)"));
        }
    }
    let text = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| fault("a percent-encoded part is not UTF-8"))?;
    if text.contains('\0') {
        return Err(fault("it holds a zero byte"));
    }
    Ok(text.into_owned())
}

/// The URL itself is never shown: it may hold the password, in the wrong place at that.
fn fault(what: &str) -> Error {
    Error::configuration(format!("the Postgres URL cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(url: &str) -> Vec<(String, String)> {
        parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn get<'a>(parts: &'a [(String, String)], name: &str) -> Option<&'a str> {
        parts.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    #[test]
    fn parts_are_found_where_libpq_finds_them() {
        let all = ok(
            "postgresql://us%20er:p%40%3aw@h1:1,[2001:db8::1]:2,h3/d%2Fb?sslmode=require&options=-c%20a%3Db",
        );
        assert_eq!(get(&all, "user"), Some("us er"));
        assert_eq!(get(&all, "password"), Some("p@:w"));
        assert_eq!(get(&all, "host"), Some("h1,2001:db8::1,h3"));
        assert_eq!(get(&all, "port"), Some("1,2,"));
        assert_eq!(get(&all, "dbname"), Some("d/b"));
        assert_eq!(get(&all, "sslmode"), Some("require"));
        assert_eq!(get(&all, "options"), Some("-c a=b"));

        assert_eq!(ok("postgres://"), []);
        assert_eq!(get(&ok("postgres://@/"), "user"), None);
        assert_eq!(get(&ok("postgres://:secret@h"), "password"), Some("secret"));
        assert_eq!(get(&ok("postgres://u@h:5433?dbname=x"), "dbname"), Some("x"));
        assert_eq!(get(&ok("postgres:///db?host=/tmp/a"), "host"), Some("/tmp/a"));
        assert_eq!(get(&ok("postgres://%2Frun%2Fpg/db"), "host"), Some("/run/pg"));
        assert_eq!(get(&ok("postgres://h/?ssl=true"), "sslmode"), Some("require"));
        assert_eq!(get(&ok("postgres://h,,i"), "host"), Some("h,,i"));
        // An @ behind a slash belongs to the database's name.
        assert_eq!(get(&ok("postgres://h/a@b"), "dbname"), Some("a@b"));
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_showing_it() {
        for url in [
            "",
            "mysql://hunter2@h",
            "host=hunter2",
            "postgres:/hunter2",
            "postgres://u:hunter2%@h",
            "postgres://u:hunter2%4@h",
            "postgres://u:hunter2%zz@h",
            "postgres://u:hunter2%00@h",
            "postgres://u:hunter2%ff@h",
            "postgres://u:hun@ter2@h",
            "postgres://u:hunter2@[::1",
            "postgres://u:hunter2@[]",
            "postgres://u:hunter2@[::1]x",
            "postgres://u:hunter2@h?sslmode",
            "postgres://u:hunter2@h?a=b=c",
            "postgres://u:hunter2@h?a=b&&c=d",
        ] {
            let error = parse(url).expect_err(url).to_string();
            assert!(!error.contains("ter2"), "{error}");
        }
    }
}
