//! Readside: keeps read models in Elasticsearch, Redis and Postgres exactly in step with the
//! write-ahead log of a Postgres database. ARCHITECTURE.md is the map of the rooms.

pub mod cli;
pub mod config;
pub mod engine;
pub mod failpoint;
pub mod http;
pub mod lsn;
pub mod memory;
pub mod metrics;
pub mod output;
pub mod pg;
pub mod pgoutput;
pub mod pipeline;
pub mod sink;
pub mod source;
pub mod sql;
pub mod state;
pub mod value;
