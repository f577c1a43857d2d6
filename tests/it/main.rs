//! One test binary against real servers. Each module is named by the fault or the promise that it
//! is about; `harness/` starts the servers.

#![allow(clippy::unwrap_used, reason = "a test may: the panic is its failure")]

#[allow(dead_code, unused_imports, reason = "a harness offers more than the tests of today use")]
mod harness;

mod harness_smoke;
mod values;
