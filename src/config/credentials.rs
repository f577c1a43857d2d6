//! URLs and passwords: what can be told of them without connecting.

use std::path::PathBuf;

use super::diagnostic::Diagnostic;
use super::faults::Faults;
use super::mask;
use super::secret::Secret;
use super::section::Section;
use super::{PostgresUrlCheck, SinkKind};

/// Longest file that is taken for a password or a token.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

impl SinkKind {
    pub(super) fn schemes(self) -> &'static [&'static str] {
        match self {
            SinkKind::Postgres => &["postgres", "postgresql"],
            SinkKind::Redis => &["redis", "rediss"],
            SinkKind::Elasticsearch => &["http", "https"],
        }
    }

    fn example(self) -> &'static str {
        match self {
            SinkKind::Postgres => "postgres://user@host:5432/database",
            SinkKind::Redis => "redis://host:6379/0",
            SinkKind::Elasticsearch => "https://host:9200",
        }
    }
}

/// The `url` of the source or of a sink; no message quotes it. Those of Postgres are read by
/// `check`.
pub(super) fn url(
    section: &Section<'_>,
    kind: SinkKind,
    password: Option<&Secret>,
    check: PostgresUrlCheck<'_>,
    faults: &mut Faults,
) -> Option<Secret> {
    let hint = format!("write url = \"{}\"", kind.example());
    let node = section.require("url", &hint, faults)?;
    let text = section.text("url", faults)?;
    let mut fault = |what: String| {
        faults.push(Diagnostic::new(what).at(&node.place).hint(hint.as_str()));
        None
    };
    let Some((scheme, _)) = text.split_once("://") else {
        return fault("`url` is no URL".to_owned());
    };
    if !kind.schemes().contains(&scheme) {
        let known: Vec<_> = kind.schemes().iter().map(|scheme| format!("{scheme}://")).collect();
        return fault(format!("`url` begins with {} here", known.join(" or ")));
    }
    if kind == SinkKind::Postgres {
        let url = Secret::new(text);
        return match check(&url, password) {
            Ok(()) => Some(url),
            Err(why) => {
                let visible = mask::visible_url(text);
                fault(format!("`url` cannot be used: {}", mask::mask_quoted(&why, &visible)))
            }
        };
    }
    let hosts = if kind == SinkKind::Redis { each_host(text) } else { vec![text.to_owned()] };
    for host in hosts {
        match url::Url::parse(&host) {
            Ok(url) if url.host_str().is_none_or(str::is_empty) => {
                return fault("`url` names no host".to_owned());
            }
            Ok(url) if kind == SinkKind::Redis && !is_redis_database(url.path()) => {
                return fault("the path of a Redis `url` is the number of a database".to_owned());
            }
            Ok(_) => {}
            Err(error) => return fault(format!("`url` cannot be read: {error}")),
        }
    }
    Some(Secret::new(text))
}

/// A Redis url may name several nodes of a cluster, `redis://a:6379,b:6379`: a url for each.
pub fn each_host(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.to_owned()] };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = match authority.rfind('@') {
        Some(at) => authority.split_at(at + 1),
        None => ("", authority),
    };
    hosts.split(',').map(|host| format!("{scheme}://{user}{host}{path}")).collect()
}

fn is_redis_database(path: &str) -> bool {
    let number = path.trim_start_matches('/');
    number.is_empty() || number.parse::<u16>().is_ok()
}

/// From `password` or `password_file`, where there is one; `None` where it has a fault.
pub(super) fn password(section: &Section<'_>, faults: &mut Faults) -> Option<Option<Secret>> {
    if let (Some(_), Some(file)) = (section.get("password"), section.get("password_file")) {
        let what = format!("{} has both `password` and `password_file`", section.name);
        faults.push(Diagnostic::new(what).at(&file.key_place).hint("remove one of them"));
    }
    let password = match section.text("password", faults) {
        Some(password) => Some(Secret::new(password)),
        None => secret_file(section, "password_file", faults).map(|(_, secret)| secret),
    };
    let given = section.has("password") || section.has("password_file");
    (password.is_some() == given).then_some(password)
}

/// A file whose text is a secret, a newline at its end left out.
pub(super) fn secret_file(
    section: &Section<'_>,
    key: &str,
    faults: &mut Faults,
) -> Option<(PathBuf, Secret)> {
    let node = section.get(key)?;
    let path = PathBuf::from(section.text(key, faults)?);
    let read = read_bounded(&path, SECRET_FILE_BYTES_MAX)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned()));
    match read {
        Ok(text) => {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if !text.is_empty() {
                return Some((path, Secret::new(text)));
            }
            faults.push(Diagnostic::new(format!("the file of `{key}` is empty")).at(&node.place));
        }
        Err(reason) => {
            let what = format!("the file of `{key}` cannot be read: {reason}");
            let hint = "check the path, and that the user who runs Readside may read the file";
            faults.push(Diagnostic::new(what).at(&node.place).hint(hint));
        }
    }
    None
}

/// A file that must be there and be readable.
pub(super) fn readable_file(
    section: &Section<'_>,
    key: &str,
    faults: &mut Faults,
) -> Option<PathBuf> {
    let node = section.get(key)?;
    let path = PathBuf::from(section.text(key, faults)?);
    let opened = std::fs::File::open(&path).and_then(|file| file.metadata());
    let reason = match opened {
        Ok(metadata) if metadata.is_file() => return Some(path),
        Ok(_) => "it is no file".to_owned(),
        Err(error) => error.to_string(),
    };
    let what = format!("the file of `{key}` cannot be read: {reason}");
    let hint = "check the path, and that the user who runs Readside may read the file";
    faults.push(Diagnostic::new(what).at(&node.place).hint(hint));
    None
}

pub(super) fn read_bounded(path: &std::path::Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let read = file.take(bytes_max + 1).read_to_end(&mut bytes);
    match read {
        Ok(read) if read as u64 > bytes_max => {
            Err(format!("it is longer than {} KiB", bytes_max / 1024))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// What two urls of the same store share: user, password and most parameters left out.
pub(super) fn store_of(kind: SinkKind, url: &Secret) -> String {
    let (_, rest) = url.expose().split_once("://").unwrap_or_default();
    if kind == SinkKind::Redis && url.expose().contains(',') {
        let hosts: Vec<_> = each_host(url.expose())
            .into_iter()
            .map(|url| store_of(kind, &Secret::new(url)))
            .collect();
        return hosts.join(",");
    }
    if kind != SinkKind::Postgres {
        let Ok(url) = url::Url::parse(url.expose()) else { return rest.to_owned() };
        let default = match kind {
            SinkKind::Redis => 6379,
            // What `url` knows of http and https is not what the search servers listen on by habit,
            // but it is what a url without a port means.
            _ => url.port_or_known_default().unwrap_or_default(),
        };
        let port = url.port().unwrap_or(default);
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let path = url.path().trim_matches('/');
        let path = if kind == SinkKind::Redis && path.is_empty() { "0" } else { path };
        return format!("{host}:{port}/{path}");
    }
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let address = address.rsplit_once('@').map_or(address, |(_, address)| address);
    let (hosts, database) = address.split_once('/').unwrap_or((address, ""));
    let hosts: Vec<_> = hosts
        .split(',')
        .map(|host| if has_port(host) { host.to_owned() } else { format!("{host}:5432") })
        .collect();
    let names = ["host=", "hostaddr=", "port=", "dbname="];
    let mut parameters: Vec<_> =
        query.split('&').filter(|p| names.iter().any(|name| p.starts_with(name))).collect();
    parameters.sort_unstable();
    let hosts = hosts.join(",").to_ascii_lowercase();
    format!("{hosts}/{database}?{}", parameters.join("&"))
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}
