//! The source: its slot and publication, its catalog, the replication connection, the initial load.

pub mod catalog;
pub mod check;
pub mod lease;
pub mod load;
pub mod publication;
pub(crate) mod quote;
pub mod replication;
pub mod slot;
mod standby_names;
pub mod stream;
pub(crate) mod transient;
pub mod watch;

/// How our connections call themselves, where the source's URL says nothing else. It is also the name
/// that `synchronous_standby_names` is held against.
pub const APPLICATION_NAME: &str = "readside";
