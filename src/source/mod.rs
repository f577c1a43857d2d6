//! The source: its slot and publication, its catalog, the replication connection, the initial load.

pub mod replication;
pub mod stream;
