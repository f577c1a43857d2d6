//! The HTTP endpoints as a client sees them, over real sockets. What the pipeline would tell is told
//! by the tests; `tests/it/` has the whole daemon.

#![allow(clippy::unwrap_used, reason = "a test may: the panic is its failure")]

mod access;
mod daemon;
mod metrics;
mod page;
mod status;
mod waiting;
