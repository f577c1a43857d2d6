//! One test binary against real servers. Each module is named by the fault or the promise that it
//! is about; `harness/` starts the servers.

#![allow(clippy::unwrap_used, reason = "a test may: the panic is its failure")]

mod harness;

mod aggregates;
mod by_hand;
mod changes;
mod check_command;
mod container;
mod dead_letters;
mod events;
mod examples;
mod expressions;
mod failover;
mod followers;
mod generated_columns;
mod ha;
mod harness_smoke;
mod large_transactions;
mod load;
mod memory;
mod monitoring;
mod oracle;
mod partitions;
mod pg_connections;
mod push;
mod queries;
mod queries_keys;
mod reading;
mod reload;
mod replication_stream;
mod restart;
mod schema_change;
mod silence;
mod sink_elasticsearch;
mod sink_outage;
mod sink_postgres;
mod sink_redis;
mod sinks_restored;
mod slot_loss;
mod source_catalog;
mod source_check;
mod source_load;
mod source_slot;
mod sql;
mod state_faults;
mod status_page;
mod values;
mod verify;
mod wait_endpoint;
mod wal_budget;
mod world;
