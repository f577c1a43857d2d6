//! The connection: where to, with which TLS and credentials, and how long an answer may take.

use std::path::PathBuf;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, TlsCertificates};

use crate::config::SinkConfig;
use crate::sink::SinkError;

use super::error::{fatal, interrupted, retryable};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that forks, swaps or loads its script answers late; one that is gone never does.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// How to reach the server.
pub(super) struct Server {
    info: ConnectionInfo,
    ca_file: Option<PathBuf>,
    /// Host and port, for messages: the url may hold a password.
    pub(super) address: String,
}

impl Server {
    pub(super) fn new(config: &SinkConfig) -> Result<Self, SinkError> {
        let info = config.url.expose().into_connection_info().map_err(|_| {
            fatal(
                "the url is none of Redis",
                "write redis://host:6379/0, rediss://host:6379/0 for TLS, or redis+unix:///path",
            )
        })?;
        let mut login = info.redis_settings().clone().set_skip_set_lib_name();
        if let Some(username) = &config.username {
            login = login.set_username(username);
        }
        if let Some(password) = &config.password {
            login = login.set_password(password.expose());
        }
        // Small steps must not wait for the acknowledgement of the one before.
        let tcp = TcpSettings::default().set_nodelay(true);
        let address = info.addr().to_string();
        let info = info.set_redis_settings(login).set_tcp_settings(tcp);
        Ok(Self { info, ca_file: config.ca_file.clone(), address })
    }

    /// The number of the database.
    pub(super) fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, SinkError> {
        let doing = format!("cannot connect to {}", self.address);
        let info = self.info.clone();
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
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| retryable(&doing, error))
    }
}

/// The connection, while there is one.
pub(super) fn opened(
    connection: &mut Option<MultiplexedConnection>,
) -> Result<&mut MultiplexedConnection, SinkError> {
    connection.as_mut().ok_or_else(|| interrupted("not connected"))
}
