//! The password file (manual, 34.16): lines `host:port:database:user:password`, `*` for any, `\` before
//! a `:` or `\` that belongs to a field. The first line that matches counts.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::params::{HostParams, Params};
use crate::config::Secret;

/// What the file has for this server, or why it was not read.
pub(super) enum Found {
    Password(Secret),
    Nothing,
    /// Group or others may read it; libpq ignores such a file too.
    Open(PathBuf),
}

pub(super) fn look_up(params: &Params, host: &HostParams) -> Result<Found, Error> {
    let path = match &params.passfile {
        Some(path) => path.clone(),
        None => match std::env::home_dir() {
            Some(home) => home.join(".pgpass"),
            None => return Ok(Found::Nothing),
        },
    };
    let Ok(metadata) = std::fs::metadata(&path) else { return Ok(Found::Nothing) };
    if !metadata.is_file() {
        return Ok(Found::Nothing);
    }
    if metadata.mode() & 0o077 != 0 {
        return Ok(Found::Open(path));
    }
    let text = read(&path)?;
    let port = host.port.to_string();
    let wanted = [host.passfile_host(), &port, &params.dbname, &params.user];
    Ok(find(&text, wanted).map_or(Found::Nothing, |text| Found::Password(Secret::new(text))))
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::configuration(format!("cannot read the password file {}", path.display()))
            .caused_by(error)
    })
}

fn find(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line;
        for field in wanted {
            rest = after_field(rest, field)?;
        }
        Some(unescape(rest))
    })
}

/// What follows the first field and its colon, if that field is `*` or says `wanted`.
fn after_field<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut wanted = wanted.chars();
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ':' => return wanted.next().is_none().then(|| &line[at + 1..]),
            '\\' => {
                let (_, escaped) = chars.next()?;
                if wanted.next() != Some(escaped) {
                    return None;
                }
            }
            c => {
                if wanted.next() != Some(c) {
                    return None;
                }
            }
        }
    }
    None
}

/// As libpq: the password ends at a bare colon.
fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match c {
            ':' => break,
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_first_line_that_matches_counts() {
        let file = "# localhost:5432:db:me:comment\n\
                    short:line\n\
                    \n\
                    localhost:5432:db:you:other\n\
                    localhost:5432:*:me:first\n\
                    *:*:*:me:second\n";
        let get = |host, user| find(file, [host, "5432", "db", user]);
        assert_eq!(get("localhost", "me").as_deref(), Some("first"));
        assert_eq!(get("elsewhere", "me").as_deref(), Some("second"));
        assert_eq!(get("elsewhere", "you"), None);
        assert_eq!(get("localhos", "you"), None);
        assert_eq!(get("localhostt", "you"), None);
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        let file = r"\:\:1:5432:a\\b:u:p\:w\\d:rest";
        assert_eq!(find(file, ["::1", "5432", r"a\b", "u"]).as_deref(), Some(r"p:w\d"));
        // A star is special only alone, a lone backslash at the end is nothing.
        assert_eq!(find(r"*x:1:d:u:p", ["*x", "1", "d", "u"]).as_deref(), Some("p"));
        assert_eq!(find(r"*x:1:d:u:p", ["y", "1", "d", "u"]), None);
        assert_eq!(find("h:1:d:u:p\\", ["h", "1", "d", "u"]).as_deref(), Some("p"));
        assert_eq!(find("h:1:d:u\\", ["h", "1", "d", "u"]), None);
        assert_eq!(find("h:1:d:u:", ["h", "1", "d", "u"]).as_deref(), Some(""));
    }
}
