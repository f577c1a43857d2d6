//! The connection: where to, with which TLS and credentials, how long an answer may take; and whether to
//! one server or to a cluster.

use std::path::PathBuf;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, TlsCertificates, Value, from_redis_value,
};

use crate::config::{SinkConfig, each_host};
use crate::sink::SinkError;

use super::cluster::{Cluster, Routed};
use super::error::{self, fatal, interrupted, retryable};
use super::prepare::require_server;
use super::record::Layout;
use super::slot::slot_of;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that forks, swaps or loads its script answers late; one that is gone never does.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// How to reach the server, or any node of a cluster.
#[derive(Clone)]
pub(super) struct Server {
    /// Of each host that the url names.
    seeds: Vec<ConnectionInfo>,
    ca_file: Option<PathBuf>,
    /// Hosts and ports, for messages: the url may hold a password.
    pub(super) address: String,
}

/// What commands are sent through.
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(Box<Cluster>),
}

impl Server {
    pub(super) fn new(config: &SinkConfig) -> Result<Self, SinkError> {
        let seed = |url: &String| {
            let info = url.as_str().into_connection_info().ok()?;
            let mut login = info.redis_settings().clone().set_skip_set_lib_name();
            if let Some(username) = &config.username {
                login = login.set_username(username);
            }
            if let Some(password) = &config.password {
                login = login.set_password(password.expose());
            }
            // Small steps must not wait for the acknowledgement of the one before.
            let tcp = TcpSettings::default().set_nodelay(true);
            Some(info.set_redis_settings(login).set_tcp_settings(tcp))
        };
        let urls = each_host(config.url.expose());
        let seeds: Vec<ConnectionInfo> = urls.iter().map(seed).collect::<Option<_>>().ok_or_else(|| {
            fatal(
                "the url is none of Redis",
                "write redis://host:6379/0, rediss://host:6379/0 for TLS, or redis+unix:///path",
            )
        })?;
        let addresses: Vec<String> = seeds.iter().map(|seed| seed.addr().to_string()).collect();
        Ok(Self { seeds, ca_file: config.ca_file.clone(), address: addresses.join(",") })
    }

    /// The number of the database.
    pub(super) fn database(&self) -> i64 {
        self.seeds.first().map_or(0, |seed| seed.redis_settings().db())
    }

    /// Connects and finds out what is there. `scripts`: what each node of a cluster is to know.
    pub(super) async fn link(&self, scripts: &'static [&'static str]) -> Result<Link, SinkError> {
        let (mut connection, host) = self.connect().await?;
        if !require_server(self, &mut connection).await? {
            return match self.seeds.len() {
                1 => Ok(Link::Single(connection)),
                _ => Err(fatal(
                    format!(
                        "{}: several hosts are those of a cluster, which this Redis is not part of",
                        self.address
                    ),
                    "name one host in the url",
                )),
            };
        }
        if self.database() != 0 {
            return Err(self.no_databases());
        }
        let cluster = Cluster::join(self, &mut connection, &host, scripts).await?;
        Ok(Link::Cluster(Box::new(cluster)))
    }

    fn no_databases(&self) -> SinkError {
        fatal(
            format!("{}: a cluster has no database {}", self.address, self.database()),
            "write /0 in the url, or nothing behind the hosts",
        )
    }

    /// To the first host that can be reached; its name.
    pub(super) async fn connect(&self) -> Result<(MultiplexedConnection, String), SinkError> {
        let mut failed = None;
        for seed in &self.seeds {
            match self.connect_with(seed.clone()).await {
                Ok(connection) => {
                    let host = match seed.addr() {
                        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => {
                            &**host
                        }
                        _ => "localhost",
                    };
                    return Ok((connection, host.to_owned()));
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| interrupted("the url names no host")))
    }

    /// To another node, as to the first.
    pub(super) async fn connect_to(
        &self,
        host: &str,
        port: u16,
    ) -> Result<MultiplexedConnection, SinkError> {
        let Some(seed) = self.seeds.first() else {
            return Err(interrupted("the url names no host"));
        };
        let host = host.to_owned();
        let addr = match seed.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        self.connect_with(seed.clone().set_addr(addr)).await
    }

    async fn connect_with(&self, info: ConnectionInfo) -> Result<MultiplexedConnection, SinkError> {
        let doing = format!("cannot connect to {}", info.addr());
        let client = match &self.ca_file {
            None => Client::open(info),
            Some(path) => {
                let authority =
                    tokio::fs::read(path).await.map_err(|error| SinkError::Retryable {
                        what: format!("cannot read ca_file {}", path.display()),
                        source: Some(Box::new(error)),
                    })?;
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(authority) };
                Client::build_with_tls(info, certificates)
            }
        }
        .map_err(|error| retryable(&doing, error))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| {
            match error::code(&error) {
                Some(error::NO_DATABASES) => self.no_databases(),
                _ => retryable(&doing, error),
            }
        })
    }
}

impl Link {
    pub(super) fn layout(&self) -> Layout {
        match self {
            Self::Single(_) => Layout::Single,
            Self::Cluster(_) => Layout::Cluster,
        }
    }

    /// Each master's connection and address.
    pub(super) fn connections(&mut self) -> Vec<(&mut MultiplexedConnection, String)> {
        match self {
            Self::Single(connection) => vec![(connection, String::new())],
            Self::Cluster(cluster) => cluster.connections(),
        }
    }

    /// Each master is scanned for itself.
    pub(super) fn masters(&self) -> usize {
        match self {
            Self::Single(_) => 1,
            Self::Cluster(cluster) => cluster.masters().len(),
        }
    }

    pub(super) async fn ask_master(
        &mut self,
        server: &Server,
        master: usize,
        command: &Cmd,
    ) -> Result<Value, SinkError> {
        match self {
            Self::Single(connection) => {
                let answer = command.query_async(connection).await;
                answer.map_err(|error| retryable(&server.address, error))
            }
            Self::Cluster(cluster) => cluster.ask_master(master, command).await,
        }
    }

    /// Commands that only read, or may be repeated, each of the key that it stands with.
    pub(super) async fn ask(
        &mut self,
        server: &Server,
        commands: Vec<(&[u8], Cmd)>,
    ) -> Result<Vec<Value>, SinkError> {
        let answers = match self {
            Self::Single(connection) => {
                let mut pipeline = redis::pipe();
                let count = commands.len();
                commands.into_iter().for_each(|(_, command)| {
                    pipeline.add_command(command);
                });
                let answers = connection.send_packed_commands(&pipeline, 0, count).await;
                answers.map_err(|error| retryable(&server.address, error))?
            }
            Self::Cluster(cluster) => {
                let routed = commands
                    .into_iter()
                    .map(|(key, command)| Routed { slot: slot_of(key), command });
                cluster.exchange(&routed.collect::<Vec<_>>()).await?.answers
            }
        };
        answers
            .into_iter()
            .map(|answer| match answer {
                Value::ServerError(error) => Err(retryable(&server.address, error.into())),
                answer => Ok(answer),
            })
            .collect()
    }
}

/// What an answer is read as.
pub(super) fn read<T: FromRedisValue>(server: &Server, answer: Value) -> Result<T, SinkError> {
    from_redis_value(answer).map_err(|error| retryable(&server.address, error.into()))
}

/// The connection to a server that is no cluster, while there is one.
pub(super) fn opened(link: &mut Option<Link>) -> Result<&mut MultiplexedConnection, SinkError> {
    match link {
        Some(Link::Single(connection)) => Ok(connection),
        _ => Err(interrupted("not connected")),
    }
}

pub(super) fn linked(link: &mut Option<Link>) -> Result<&mut Link, SinkError> {
    link.as_mut().ok_or_else(|| interrupted("not connected"))
}
