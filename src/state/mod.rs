//! The state on disk: every arrangement's rows, the backlog of tables that are being loaded, and the
//! position that all of it belongs to, written behind in atomic batches.
//!
//! What a batch holds is durable when `write` returns, and only then may its position be acknowledged
//! to the slot (P2): the slot is the log, a crash falls back to the last batch and replays.

mod journal;
mod record;
mod store;

pub use store::{Error, Store};
