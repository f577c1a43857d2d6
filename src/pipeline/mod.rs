//! From the stream to the sinks: `machine.rs` and its parts decide (sans-I/O), `run.rs` does.

mod backlog;
mod checkpoint;
mod deliver;
mod doubt;
mod events;
mod history;
mod inspect;
mod keyless;
mod layouts;
mod letters;
mod load;
mod log;
mod machine;
mod operate;
pub mod run;
mod table;
mod tail;
#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, told_fact};
pub use deliver::News;
pub use events::{gone_fact, pending_fact};
pub use history::HistoryInit;
pub(crate) use inspect::kept_line;
pub use keyless::Seen;
pub use layouts::Layout;
pub use letters::{Payload, Refused, key_hex, letter_key, payload_fact};
pub use load::{LOAD_FACT, Replayed, rows_lsn};
pub use machine::{
    Counts, EventInit, Fault, Letter, LoadInit, Machine, MachineInit, ProjectionInit, SinkInit,
    TableFacts, TableInit,
};
pub use operate::{Again, NotFollowed, Rows, Withheld, rebuild_fact};
pub use table::{Stage, Table};
pub use tail::{StoredPart, Tailed};
