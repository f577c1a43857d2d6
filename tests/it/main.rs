//! One test binary against real servers. Each module is named by the fault or the promise that it
//! is about; `harness/` starts the servers.

#![allow(clippy::unwrap_used, reason = "a test may: the panic is its failure")]

mod harness;

mod changes;
mod harness_smoke;
mod oracle;
mod pg_connections;
mod push;
mod replication_stream;
mod sink_elasticsearch;
mod sink_postgres;
mod sink_redis;
mod source_catalog;
mod source_load;
mod source_slot;
mod values;
#[allow(dead_code, reason = "it offers more than the cases of today use")]
mod world;
