//! Connection parameters with libpq's names, defaults and meanings (manual, 34.1.2), read from a URL.
//!
//! The environment (PGHOST, PGPASSWORD, …) and service files are not read: what a daemon connects to
//! stands in its configuration. Two more differences: `connect_timeout` is 30 s where libpq waits for
//! ever, and a `sslrootcert` that is named but missing is always an error.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Error, uri};
use crate::config::{Secret, suggest};

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_SOCKET_DIR: &str = "/var/run/postgresql";
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Where to connect, as whom and how. Its `Debug` shows no password.
#[derive(Clone, Debug)]
pub struct Params {
    pub(super) hosts: Vec<HostParams>,
    pub(super) user: String,
    pub(super) dbname: String,
    /// From the caller or the URL; without it the password file is asked when connecting.
    pub(super) password: Option<Secret>,
    pub(super) passfile: Option<PathBuf>,
    pub(super) sslmode: SslMode,
    pub(super) sslnegotiation: SslNegotiation,
    pub(super) sslrootcert: RootCert,
    pub(super) sslcert: Option<PathBuf>,
    pub(super) sslkey: Option<PathBuf>,
    pub(super) sslsni: bool,
    pub(super) channel_binding: ChannelBinding,
    pub(super) require_auth: Option<RequireAuth>,
    /// For each address tried; `None`: for ever.
    pub(super) connect_timeout: Option<Duration>,
    pub(super) target_session_attrs: TargetSessionAttrs,
    pub(super) load_balance_hosts: bool,
    pub(super) application_name: Option<String>,
    pub(super) options: Option<String>,
    pub(super) keepalives: Keepalives,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostParams {
    pub(super) host: Host,
    pub(super) port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// The name is what a certificate and the password file are asked for; `addr` spares its look-up.
    Tcp { name: String, addr: Option<IpAddr> },
    /// The directory of the socket.
    Unix(PathBuf),
}

impl HostParams {
    /// `host:port` or the socket's path, as errors name it.
    pub(super) fn at(&self) -> String {
        match &self.host {
            Host::Tcp { name, .. } if name.contains(':') => format!("[{name}]:{}", self.port),
            Host::Tcp { name, .. } => format!("{name}:{}", self.port),
            Host::Unix(_) => self.socket_path().display().to_string(),
        }
    }

    pub(super) fn socket_path(&self) -> PathBuf {
        match &self.host {
            Host::Unix(dir) => dir.join(format!(".s.PGSQL.{}", self.port)),
            Host::Tcp { .. } => PathBuf::new(),
        }
    }

    /// The host that a line of the password file names.
    pub(super) fn passfile_host(&self) -> &str {
        match &self.host {
            Host::Tcp { name, .. } => name,
            Host::Unix(dir) if dir == Path::new(DEFAULT_SOCKET_DIR) => "localhost",
            Host::Unix(dir) => dir.to_str().unwrap_or_default(),
        }
    }
}

/// In libpq's order of strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SslNegotiation {
    Postgres,
    Direct,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RootCert {
    /// `~/.postgresql/root.crt` where it exists.
    Default,
    File(PathBuf),
    System,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetSessionAttrs {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

/// How a server may ask for the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthMethod {
    Password,
    Md5,
    ScramSha256,
    None,
}

impl AuthMethod {
    const ALL: [(&'static str, Option<Self>); 6] = [
        ("password", Some(Self::Password)),
        ("md5", Some(Self::Md5)),
        ("scram-sha-256", Some(Self::ScramSha256)),
        ("none", Some(Self::None)),
        // Known to libpq, never spoken here.
        ("gss", None),
        ("sspi", None),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, method)| *method == Some(self)).map_or("", |(name, _)| name)
    }
}

/// `require_auth`: methods that the server may use, or, after `!`, may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequireAuth {
    methods: Vec<AuthMethod>,
    negated: bool,
}

impl RequireAuth {
    pub(super) fn allows(&self, method: AuthMethod) -> bool {
        self.methods.contains(&method) != self.negated
    }

    fn parse(text: &str) -> Option<Self> {
        let (mut methods, mut negated) = (Vec::new(), None);
        for item in text.split(',').map(str::trim) {
            let (name, is_negated) = match item.strip_prefix('!') {
                Some(name) => (name, true),
                None => (item, false),
            };
            if *negated.get_or_insert(is_negated) != is_negated {
                return None;
            }
            methods.extend(AuthMethod::ALL.iter().find(|(known, _)| *known == name)?.1);
        }
        Some(Self { methods, negated: negated? })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keepalives {
    pub(super) enabled: bool,
    pub(super) idle: Option<Duration>,
    pub(super) interval: Option<Duration>,
    pub(super) count: Option<u32>,
    /// `tcp_user_timeout`.
    pub(super) user_timeout: Option<Duration>,
}

impl Params {
    /// Reads libpq's URI. `password` wins over the URL's; the password file comes last.
    pub fn parse(url: &str, password: Option<&Secret>) -> Result<Params, Error> {
        Raw::read(uri::parse(url)?)?.check(password)
    }

    /// All hosts as `host:port`, for texts about the connection as a whole.
    pub fn place(&self) -> String {
        self.hosts.iter().map(HostParams::at).collect::<Vec<_>>().join(",")
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    /// As the URL names us, where it does.
    pub fn application_name(&self) -> Option<&str> {
        self.application_name.as_deref()
    }

    pub fn dbname(&self) -> &str {
        &self.dbname
    }
}

/// Every parameter's last value, still text.
#[derive(Default)]
struct Raw {
    values: Vec<(&'static str, String)>,
}

/// What is read, here or not at all where the meaning is fixed.
const KNOWN: [&str; 31] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "require_auth",
    "channel_binding",
    "connect_timeout",
    "client_encoding",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "gssencmode",
    "sslmode",
    "sslnegotiation",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslrootcert",
    "sslsni",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "target_session_attrs",
    "load_balance_hosts",
];

/// libpq's further parameters, each refused with the reason.
const REFUSED: [(&str, &str); 13] = [
    ("replication", "readside sets it itself"),
    ("service", "service files are not read; write the parameters into the URL"),
    ("servicefile", "service files are not read; write the parameters into the URL"),
    ("sslpassword", "encrypted private keys are not supported; decrypt the key file"),
    ("sslcertmode", "a client certificate is sent when there is one and the server asks"),
    ("sslcrl", "certificate revocation lists are not supported"),
    ("sslcrldir", "certificate revocation lists are not supported"),
    ("sslkeylogfile", "it would write down the keys of the connection"),
    ("requirepeer", "it is not supported"),
    ("krbsrvname", "GSSAPI is not supported"),
    ("gsslib", "GSSAPI is not supported"),
    ("gssdelegation", "GSSAPI is not supported"),
    ("requiressl", "it is obsolete; write sslmode=require"),
];

impl Raw {
    fn read(parts: Vec<(String, String)>) -> Result<Self, Error> {
        let mut raw = Self::default();
        for (name, value) in parts {
            if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
                return Err(Error::configuration(format!(
                    "the Postgres URL's parameter {name} is refused: {reason}"
                )));
            }
            let Some(name) = KNOWN.iter().find(|known| **known == name) else {
                let near = suggest::nearest(&name, KNOWN.iter().copied());
                let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
                return Err(Error::configuration(format!(
                    "the Postgres URL has an unknown parameter {name:?}{hint}"
                )));
            };
            raw.values.retain(|(known, _)| known != name);
            raw.values.push((name, value));
        }
        Ok(raw)
    }

    /// As in libpq an empty value is no value.
    fn text(&self, name: &str) -> Option<&str> {
        debug_assert!(KNOWN.contains(&name), "{name}");
        let value = self.values.iter().find(|(known, _)| *known == name);
        value.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    fn choice<T: Copy>(&self, name: &str, default: T, all: &[(&str, T)]) -> Result<T, Error> {
        let Some(text) = self.text(name) else { return Ok(default) };
        all.iter().find(|(known, _)| *known == text).map(|(_, value)| *value).ok_or_else(|| {
            let all: Vec<&str> = all.iter().map(|(known, _)| *known).collect();
            bad(name, text, &format!("one of {}", all.join(", ")))
        })
    }

    fn integer(&self, name: &str) -> Result<Option<i32>, Error> {
        self.text(name)
            .map(|text| text.trim().parse().map_err(|_| bad(name, text, "a whole number")))
            .transpose()
    }

    /// Zero and less mean the system's default.
    fn positive(&self, name: &str) -> Result<Option<u32>, Error> {
        Ok(self.integer(name)?.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0))
    }

    fn seconds(&self, name: &str) -> Result<Option<Duration>, Error> {
        Ok(self.positive(name)?.map(|n| Duration::from_secs(n.into())))
    }

    fn check(&self, password: Option<&Secret>) -> Result<Params, Error> {
        self.check_fixed()?;
        let user = match self.text("user") {
            Some(user) => user.to_string(),
            None => whoami::username().map_err(|error| {
                Error::configuration("the Postgres URL names no user and this process has none")
                    .caused_by(error)
            })?,
        };
        let (sslmode, sslrootcert) = self.ssl()?;
        let sslnegotiation = self.choice(
            "sslnegotiation",
            SslNegotiation::Postgres,
            &[("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)],
        )?;
        if sslnegotiation == SslNegotiation::Direct && sslmode < SslMode::Require {
            return Err(Error::configuration(
                "sslnegotiation=direct needs sslmode require, verify-ca or verify-full",
            ));
        }
        let require_auth = self
            .text("require_auth")
            .map(|text| {
                RequireAuth::parse(text).ok_or_else(|| {
                    bad("require_auth", text, "a list of password, md5, scram-sha-256, none, all or none of them negated by \"!\"")
                })
            })
            .transpose()?;
        let connect_timeout = match self.integer("connect_timeout")? {
            None => Some(DEFAULT_CONNECT_TIMEOUT),
            Some(seconds) => u64::try_from(seconds)
                .ok()
                .filter(|seconds| *seconds > 0)
                // libpq rounds 1 up to 2.
                .map(|seconds| Duration::from_secs(seconds.max(2))),
        };
        Ok(Params {
            hosts: self.hosts()?,
            dbname: self.text("dbname").unwrap_or(&user).to_string(),
            user,
            password: password.cloned().or_else(|| self.text("password").map(Secret::new)),
            passfile: self.path("passfile"),
            sslmode,
            sslnegotiation,
            sslrootcert,
            sslcert: self.path("sslcert"),
            sslkey: self.path("sslkey"),
            sslsni: self.choice("sslsni", true, &[("1", true), ("0", false)])?,
            channel_binding: self.choice(
                "channel_binding",
                ChannelBinding::Prefer,
                &[
                    ("disable", ChannelBinding::Disable),
                    ("prefer", ChannelBinding::Prefer),
                    ("require", ChannelBinding::Require),
                ],
            )?,
            require_auth,
            connect_timeout,
            target_session_attrs: self.choice(
                "target_session_attrs",
                TargetSessionAttrs::Any,
                &[
                    ("any", TargetSessionAttrs::Any),
                    ("read-write", TargetSessionAttrs::ReadWrite),
                    ("read-only", TargetSessionAttrs::ReadOnly),
                    ("primary", TargetSessionAttrs::Primary),
                    ("standby", TargetSessionAttrs::Standby),
                    ("prefer-standby", TargetSessionAttrs::PreferStandby),
                ],
            )?,
            load_balance_hosts: self.choice(
                "load_balance_hosts",
                false,
                &[("disable", false), ("random", true)],
            )?,
            application_name: self
                .text("application_name")
                .or(self.text("fallback_application_name"))
                .map(String::from),
            options: self.text("options").map(String::from),
            keepalives: Keepalives {
                enabled: self.integer("keepalives")?.is_none_or(|n| n != 0),
                idle: self.seconds("keepalives_idle")?,
                interval: self.seconds("keepalives_interval")?,
                count: self.positive("keepalives_count")?,
                user_timeout: self
                    .positive("tcp_user_timeout")?
                    .map(|n| Duration::from_millis(n.into())),
            },
        })
    }

    /// Parameters that may be written but not change anything.
    fn check_fixed(&self) -> Result<(), Error> {
        if let Some(encoding) = self.text("client_encoding") {
            let plain = encoding.to_ascii_lowercase().replace(['-', '_'], "");
            if !["utf8", "unicode", "auto"].contains(&plain.as_str()) {
                return Err(bad("client_encoding", encoding, "UTF8"));
            }
        }
        self.choice("gssencmode", (), &[("disable", ()), ("prefer", ())])?;
        self.choice("sslcompression", (), &[("0", ())])?;
        // TLS 1.2 and 1.3 are spoken, so a lower minimum or a higher maximum says nothing.
        let versions = [("TLSv1", ()), ("TLSv1.1", ()), ("TLSv1.2", ())];
        self.choice("ssl_min_protocol_version", (), &versions)?;
        self.choice("ssl_max_protocol_version", (), &[("TLSv1.3", ())])
    }

    fn ssl(&self) -> Result<(SslMode, RootCert), Error> {
        let root = match self.text("sslrootcert") {
            None => RootCert::Default,
            Some("system") => RootCert::System,
            Some(path) => RootCert::File(path.into()),
        };
        // With public authorities anything less would accept anyone's certificate.
        let default = if root == RootCert::System { SslMode::VerifyFull } else { SslMode::Prefer };
        let mode = self.choice(
            "sslmode",
            default,
            &[
                ("disable", SslMode::Disable),
                ("allow", SslMode::Allow),
                ("prefer", SslMode::Prefer),
                ("require", SslMode::Require),
                ("verify-ca", SslMode::VerifyCa),
                ("verify-full", SslMode::VerifyFull),
            ],
        )?;
        if root == RootCert::System && mode != SslMode::VerifyFull {
            return Err(Error::configuration("sslrootcert=system needs sslmode=verify-full"));
        }
        Ok((mode, root))
    }

    fn hosts(&self) -> Result<Vec<HostParams>, Error> {
        let list = |name: &str| -> Vec<&str> {
            self.text(name).map_or(Vec::new(), |text| text.split(',').collect())
        };
        let (hosts, addrs, ports) = (list("host"), list("hostaddr"), list("port"));
        let count = hosts.len().max(addrs.len()).max(1);
        for (name, list) in [("host", &hosts), ("hostaddr", &addrs)] {
            if !list.is_empty() && list.len() != count {
                return Err(Error::configuration(format!(
                    "the Postgres URL names {} in {name} but {count} hosts",
                    list.len()
                )));
            }
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(Error::configuration(format!(
                "the Postgres URL names {} ports for {count} hosts",
                ports.len()
            )));
        }
        (0..count)
            .map(|i| {
                let port = match ports.get(if ports.len() == 1 { 0 } else { i }) {
                    None | Some(&"") => DEFAULT_PORT,
                    Some(text) => text
                        .parse()
                        .ok()
                        .filter(|port| *port > 0)
                        .ok_or_else(|| bad("port", text, "a number from 1 to 65535"))?,
                };
                let host = host(hosts.get(i).copied(), addrs.get(i).copied())?;
                Ok(HostParams { host, port })
            })
            .collect()
    }
}

fn host(name: Option<&str>, addr: Option<&str>) -> Result<Host, Error> {
    let addr = addr
        .filter(|text| !text.is_empty())
        .map(|text| text.parse::<IpAddr>().map_err(|_| bad("hostaddr", text, "an IP address")))
        .transpose()?;
    match (name.filter(|name| !name.is_empty()), addr) {
        (Some(dir), None) if dir.starts_with('/') => Ok(Host::Unix(dir.into())),
        (Some(name), None) if name.starts_with('@') => {
            Err(bad("host", name, "a name or a path; abstract sockets are not supported"))
        }
        (Some(name), addr) => Ok(Host::Tcp { name: name.into(), addr }),
        (None, Some(addr)) => Ok(Host::Tcp { name: addr.to_string(), addr: Some(addr) }),
        (None, None) if Path::new(DEFAULT_SOCKET_DIR).is_dir() => {
            Ok(Host::Unix(DEFAULT_SOCKET_DIR.into()))
        }
        (None, None) => Ok(Host::Tcp { name: "localhost".into(), addr: None }),
    }
}

fn bad(name: &str, text: &str, expected: &str) -> Error {
    Error::configuration(format!("the Postgres URL's {name} is {text:?}, which is not {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(url: &str) -> Params {
        Params::parse(url, None).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn fault(query: &str) -> String {
        let url = format!("postgres://me:hunter2@h/?{query}");
        let error = Params::parse(&url, None).expect_err(&url);
        assert_eq!(error.kind(), crate::pg::Kind::Configuration);
        let text = error.to_string();
        assert!(!text.contains("hunter2"), "{text}");
        text
    }

    fn tcp(name: &str, port: u16) -> HostParams {
        HostParams { host: Host::Tcp { name: name.into(), addr: None }, port }
    }

    fn unix(dir: &str, port: u16) -> HostParams {
        HostParams { host: Host::Unix(dir.into()), port }
    }

    #[test]
    fn hosts_and_ports() {
        assert_eq!(ok("postgres://h").hosts, [tcp("h", 5432)]);
        assert_eq!(ok("postgres://h:1,i:2,j").hosts, [tcp("h", 1), tcp("i", 2), tcp("j", 5432)]);
        assert_eq!(ok("postgres://h,i?port=7").hosts, [tcp("h", 7), tcp("i", 7)]);
        assert_eq!(ok("postgres://[::1]:3").hosts, [tcp("::1", 3)]);
        assert_eq!(ok("postgres://[::1]:3").place(), "[::1]:3");
        assert_eq!(ok("postgres://%2Ftmp%2Fa:1/d").hosts, [unix("/tmp/a", 1)]);
        let both = ok("postgres:///d?host=/tmp/a,h&port=1,2");
        assert_eq!(both.hosts, [unix("/tmp/a", 1), tcp("h", 2)]);
        assert_eq!(both.place(), "/tmp/a/.s.PGSQL.1,h:2");
        let addressed = ok("postgres://name?hostaddr=10.0.0.1");
        let addr = Some(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(addressed.hosts[0].host, Host::Tcp { name: "name".into(), addr });
        let default = &ok("postgres://").hosts[0];
        assert!(*default == unix(DEFAULT_SOCKET_DIR, 5432) || *default == tcp("localhost", 5432));

        assert!(fault("port=1,2").contains("2 ports for 1 hosts"));
        assert!(fault("hostaddr=1.1.1.1,2.2.2.2").contains("1 in host but 2 hosts"));
        for port in ["0", "65536", "-1", "x", "5432x"] {
            assert!(fault(&format!("port={port}")).contains("1 to 65535"), "{port}");
        }
        assert!(fault("hostaddr=h").contains("IP address"));
        assert!(fault("host=@abstract").contains("abstract"));
    }

    #[test]
    fn defaults_are_libpqs() {
        let p = ok("postgres://me@h");
        assert_eq!((p.user(), p.dbname()), ("me", "me"));
        assert_eq!(p.sslmode, SslMode::Prefer);
        assert_eq!(p.sslrootcert, RootCert::Default);
        assert_eq!(p.sslnegotiation, SslNegotiation::Postgres);
        assert_eq!(p.channel_binding, ChannelBinding::Prefer);
        assert_eq!(p.target_session_attrs, TargetSessionAttrs::Any);
        assert_eq!(p.connect_timeout, Some(DEFAULT_CONNECT_TIMEOUT));
        assert_eq!(p.require_auth, None);
        assert!(p.sslsni && p.keepalives.enabled && !p.load_balance_hosts);
        assert!(p.password.is_none() && p.passfile.is_none() && p.options.is_none());
        assert!(!ok("postgres://h").user().is_empty());
        // An empty value is none, a later one wins.
        assert_eq!(ok("postgres://me@h?user=&dbname=d").user(), ok("postgres://h").user());
        assert_eq!(ok("postgres://a@h/x?user=b&dbname=y").dbname(), "y");
    }

    #[test]
    fn each_parameter_is_read() {
        let p = ok(
            "postgres://h?sslmode=verify-full&sslrootcert=/ca&sslcert=/c&sslkey=/k&sslsni=0\
             &channel_binding=require&connect_timeout=7&target_session_attrs=read-write\
             &load_balance_hosts=random&application_name=app&options=-c%20x%3Dy&passfile=/p\
             &keepalives=0&keepalives_idle=1&keepalives_interval=2&keepalives_count=3\
             &tcp_user_timeout=4&gssencmode=disable&sslnegotiation=direct&sslcompression=0\
             &client_encoding=utf-8&ssl_min_protocol_version=TLSv1.2&ssl_max_protocol_version=TLSv1.3\
             &require_auth=scram-sha-256,md5",
        );
        assert_eq!(p.sslmode, SslMode::VerifyFull);
        assert_eq!(p.sslrootcert, RootCert::File("/ca".into()));
        assert_eq!(p.sslcert.as_deref(), Some(Path::new("/c")));
        assert_eq!(p.sslkey.as_deref(), Some(Path::new("/k")));
        assert!(!p.sslsni);
        assert_eq!(p.channel_binding, ChannelBinding::Require);
        assert_eq!(p.connect_timeout, Some(Duration::from_secs(7)));
        assert_eq!(p.target_session_attrs, TargetSessionAttrs::ReadWrite);
        assert!(p.load_balance_hosts);
        assert_eq!(p.application_name.as_deref(), Some("app"));
        assert_eq!(p.options.as_deref(), Some("-c x=y"));
        assert_eq!(p.passfile.as_deref(), Some(Path::new("/p")));
        assert_eq!(p.sslnegotiation, SslNegotiation::Direct);
        let keepalives = Keepalives {
            enabled: false,
            idle: Some(Duration::from_secs(1)),
            interval: Some(Duration::from_secs(2)),
            count: Some(3),
            user_timeout: Some(Duration::from_millis(4)),
        };
        assert_eq!(p.keepalives, keepalives);
        let required = p.require_auth.expect("it was given");
        assert!(required.allows(AuthMethod::Md5) && required.allows(AuthMethod::ScramSha256));
        assert!(!required.allows(AuthMethod::Password) && !required.allows(AuthMethod::None));
        let negated = ok("postgres://h?require_auth=!password,!gss").require_auth;
        let negated = negated.expect("it was given");
        assert!(!negated.allows(AuthMethod::Password) && negated.allows(AuthMethod::None));

        for (mode, expected) in [
            ("disable", SslMode::Disable),
            ("allow", SslMode::Allow),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
        ] {
            assert_eq!(ok(&format!("postgres://h?sslmode={mode}")).sslmode, expected);
        }
        assert_eq!(ok("postgres://h?sslrootcert=system").sslmode, SslMode::VerifyFull);
        for (attrs, expected) in [
            ("any", TargetSessionAttrs::Any),
            ("read-only", TargetSessionAttrs::ReadOnly),
            ("primary", TargetSessionAttrs::Primary),
            ("standby", TargetSessionAttrs::Standby),
            ("prefer-standby", TargetSessionAttrs::PreferStandby),
        ] {
            let url = format!("postgres://h?target_session_attrs={attrs}");
            assert_eq!(ok(&url).target_session_attrs, expected);
        }
        // 0 and less wait for ever, 1 is rounded up.
        assert_eq!(ok("postgres://h?connect_timeout=0").connect_timeout, None);
        assert_eq!(ok("postgres://h?connect_timeout=-1").connect_timeout, None);
        let two = Some(Duration::from_secs(2));
        assert_eq!(ok("postgres://h?connect_timeout=1").connect_timeout, two);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(fault("sslmod=require").contains("\"sslmod\"; did you mean sslmode?"));
        assert!(fault("foo=1").ends_with("unknown parameter \"foo\""));
        assert!(fault("completely_else=1").ends_with("unknown parameter \"completely_else\""));
        assert!(fault("sslmode=on").contains("one of disable, allow, prefer"));
        assert!(fault("replication=database").contains("replication is refused"));
        assert!(fault("service=x").contains("service files are not read"));
        assert!(fault("sslpassword=hunter2").contains("encrypted private keys"));
        assert!(fault("sslrootcert=system&sslmode=require").contains("verify-full"));
        assert!(fault("sslnegotiation=direct").contains("sslmode"));
        assert!(fault("gssencmode=require").contains("gssencmode"));
        assert!(fault("client_encoding=LATIN1").contains("UTF8"));
        assert!(fault("ssl_min_protocol_version=TLSv1.3").contains("ssl_min_protocol_version"));
        assert!(fault("connect_timeout=soon").contains("a whole number"));
        assert!(fault("require_auth=md5,!none").contains("require_auth"));
        assert!(fault("require_auth=magic").contains("require_auth"));
        assert!(fault("load_balance_hosts=yes").contains("disable, random"));
    }

    #[test]
    fn passwords_have_an_order_and_never_show() {
        let url = "postgres://me:hunter2@h";
        let given = Secret::new("given-2");
        let password = |p: Params| p.password.map(|secret| secret.expose().to_string());
        assert_eq!(password(ok(url)).as_deref(), Some("hunter2"));
        let both = Params::parse(url, Some(&given)).expect("it is right");
        let debug = format!("{both:?}");
        assert!(!debug.contains("hunter2") && !debug.contains("given-2"), "{debug}");
        assert_eq!(password(both).as_deref(), Some("given-2"));
    }
}
