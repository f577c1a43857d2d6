//! The delta engine: arrangements, operators and the graph between them.
//!
//! Sans-I/O: rows in, changed rows out; no task, no clock, no client.

mod arrangement;
mod batch;
mod delta;
mod entry;
mod graph;
mod operator;
mod table;

pub use arrangement::Arrangement;
pub use batch::{Batch, LoadedChunk, RowsOf};
pub use entry::{Entry, Leaf};
pub use graph::{ArrangementId, Engine, KeyConflict, OutputId, TableId};
pub use operator::Conflict;
pub use table::{Cell, RowBuffer, RowError, TableLayout};
