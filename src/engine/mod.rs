//! The delta engine: arrangements, operators and the graph between them.
//!
//! Sans-I/O: rows in, changed rows out; no task, no clock, no client.

mod access;
mod arrangement;
mod arrivals;
mod batch;
mod change;
mod changes;
mod delta;
mod entry;
mod equal;
mod estimate;
mod event;
mod fill;
mod follow;
mod graph;
mod history;
mod index;
mod joining;
mod look;
mod operator;
mod passing;
mod pool;
mod row;
mod size;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use arrangement::{Arrangement, Forgotten};
pub use arrivals::Arrivals;
pub use batch::{Batch, LoadedChunk, RowsOf};
pub use entry::{Entry, Leaf};
pub use event::{
    EVENT_COLUMNS, EVENT_KEY, EventMaker, EventNumber, EventPlace, GAP, KindPart, Made, Moment,
    RAW, Version, event_columns, gap_entry, log_from,
};
pub use graph::{ArrangementId, Engine, OutputId, TableId, Told};
pub use history::{pack_version, unpack_version};
pub use operator::Notice;
pub use size::{Kept, KeptOf};
pub use table::{Cell, RowBuffer, RowError, TableLayout};
