//! The initial load: tables read in page ranges by parallel workers, each range in a short transaction
//! of its own, while the stream's changes wait to be applied after it. No long snapshot, and a crash
//! costs only the chunks in flight.
//!
//! What makes that exact:
//!
//! * A chunk's snapshot shows as ended all that had ended for the load's [`Window`], which was taken
//!   where the stream begins: what the stream leaves out is in the chunks.
//! * The rows of a chunk may be newer than that: then the stream brings the same changes again. So what
//!   the load has shown counts only when the stream has been applied up to the chunk's `bound`.
//! * A row that an UPDATE moves between two chunks may be in neither: the stream brings it whole but
//!   for its unchanged TOASTed values; `fetch_row` reads those.
//! * Pages hold the same rows only as long as the table keeps its file (VACUUM FULL and the like move
//!   rows without a word in the WAL): the file is looked at under each chunk's lock, and the leaf is
//!   planned again when it is another one.

mod copy_text;
mod fetch;
mod plan;
mod queue;
mod throttle;
mod window;
mod worker;

pub use copy_text::{CopyRow, CopyText, CopyTextError};
pub use fetch::{FetchError, Fetched, fetch_row};
pub use plan::{Chunk, LoadPlan};
pub use window::{ParseWindowError, Window};

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::catalog::TableName;
use super::quote;
use crate::engine::{Entry, Leaf, RowError, TableLayout};
use crate::lsn::Lsn;
use crate::pg::{self, Params};

/// What is to be read, and where the stream begins.
#[derive(Debug)]
pub struct LoadJob {
    pub params: Params,
    pub application_name: String,
    pub tables: Vec<LoadTable>,
    pub plan: LoadPlan,
    /// Chunks that are durable already.
    pub done: HashSet<u32>,
    pub window: Window,
    /// The version that rows of the load carry: before all that the stream brings.
    pub lsn: Lsn,
    /// Of all workers together.
    pub rows_per_second: Option<u64>,
    pub workers: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadTable {
    pub name: TableName,
    pub layout: TableLayout,
    pub leaves: Vec<LoadLeaf>,
    /// Equal rows could not be told apart: each leaf is read by one snapshot, and but once.
    pub keyless: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadLeaf {
    pub oid: u32,
    pub name: TableName,
    /// Its number within the table.
    pub number: Leaf,
}

impl LoadTable {
    /// The layout's columns for a SELECT.
    fn select_list(&self) -> String {
        quote::list(&self.layout.columns, |column| quote::identifier(&column.name))
    }
}

#[derive(Debug)]
pub enum LoadEvent {
    /// Some rows of a chunk. One that was cut short comes again from its beginning.
    Rows { chunk: u32, table: usize, entries: Vec<Entry> },
    /// All rows of the chunk have been sent. They are what a transaction saw that had seen nothing
    /// beyond `bound`; `snapshot` says what it saw as ended.
    Loaded { chunk: u32, table: usize, rows: u64, bound: Lsn, snapshot: Window },
    /// The leaf's rows have moved: these chunks do not count any more, loaded or not, and others take
    /// their place. Rows of theirs that were sent, or are still to come, do no harm; `Loaded` is not said
    /// of them any more.
    Replanned { table: usize, leaf_oid: u32, dropped: Vec<u32>, chunks: Vec<Chunk> },
    /// The table cannot be loaded, and no more is said of it but rows; the others go on. A load that begins anew may succeed.
    Failed { table: usize, error: TableError },
}

/// Why a table cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("{leaf} cannot be read")]
    Statement {
        leaf: TableName,
        #[source]
        source: pg::Error,
    },
    #[error("{leaf} is another table than it was")]
    Replaced { leaf: TableName },
    #[error("a row of {leaf} cannot be read")]
    Row {
        leaf: TableName,
        #[source]
        source: RowError,
    },
    #[error("the server's answer for {leaf} makes no sense")]
    Answer {
        leaf: TableName,
        #[source]
        source: CopyTextError,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing can be read, and trying again does not help.
    #[error("the source cannot be read")]
    Source(#[from] pg::Error),
    #[error("the server's snapshot cannot be read")]
    Window(#[from] ParseWindowError),
    /// Whoever takes the events has gone.
    #[error("the load was given up by its receiver")]
    Receiver,
    #[error("the load was stopped")]
    Cancelled,
    #[error("a worker of the load panicked")]
    Worker(#[source] tokio::task::JoinError),
}

/// Reads all chunks that are not done. Connections that break are opened again, for as long as it
/// takes; what cannot be read is told by events.
pub async fn run(
    job: LoadJob,
    out: mpsc::Sender<LoadEvent>,
    cancel: CancellationToken,
) -> Result<(), Error> {
    let queue = queue::Queue::new(&job.plan, &job.done);
    let workers = job.workers.max(1);
    let throttle = throttle::Throttle::new(job.rows_per_second);
    let shared = Arc::new(worker::Shared { job, queue, throttle, out });
    // Ended with this future, however that ends.
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let work = worker::work(Arc::clone(&shared));
        let cancel = cancel.clone();
        tasks.spawn(async move {
            cancel.run_until_cancelled_owned(work).await.unwrap_or(Err(Error::Cancelled))
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(Error::Worker)??;
    }
    Ok(())
}
