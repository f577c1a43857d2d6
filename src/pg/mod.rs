//! What two rooms need of Postgres: libpq's connection parameters, TLS, authentication, and ordinary
//! connections by tokio-postgres. The replication protocol is `source`'s.
//!
//! One road for every connection: [`Params`] say where and as whom, `attempt` finds a server that
//! suits (hosts, addresses, sslmode's fallbacks, target_session_attrs), `tls` and `auth` open it. An
//! ordinary connection is then handed over to tokio-postgres ([`connect`]), a replication connection
//! stays on the bare [`wire::Wire`].
//!
//! Every session runs under the same [pinned settings](wire::PINNED_SETTINGS).

mod attempt;
mod auth;
mod error;
mod params;
mod passfile;
mod session;
mod silence;
mod stream;
pub mod tls;
mod uri;
mod verify;
pub mod wire;

pub use attempt::{Opened, Purpose, open};
pub use auth::BackendKey;
pub use error::{Error, Kind, ServerError};
pub use params::Params;
pub use session::{Session, connect};
pub use stream::Stream;

/// SQL: names one database of one running server, by whatever address it is reached. Copies of a data
/// directory share their system identifier, so the moment at which the server started is part of it.
pub const DATABASE_IDENTITY: &str = "(SELECT system_identifier FROM pg_control_system())::text || '/' || \
     extract(epoch FROM pg_postmaster_start_time())::text || '/' || current_database()";
