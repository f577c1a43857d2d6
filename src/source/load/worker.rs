//! One worker: a connection of its own, chunk after chunk.

use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::copy_text::{CopyText, CopyTextError};
use super::plan::{Cut, LeafSize};
use super::queue::Queue;
use super::throttle::Throttle;
use super::{Chunk, LoadEvent, LoadJob, LoadLeaf, LoadTable, TableError, Window};
use crate::engine::{Entry, RowBuffer, RowError};
use crate::lsn::Lsn;
use crate::pg::wire::{Row, Wire};
use crate::pg::{self, Purpose};
use crate::source::quote;
use crate::source::transient::{Backoff, is_transient};

/// An event's rows at most, and about how many bytes of them.
const EVENT_ROWS_MAX: usize = 4096;
const EVENT_BYTES: usize = 1024 * 1024;
/// A row is one message, and at most as long as a message can be.
const MESSAGE_BYTES_MAX: usize = 2 << 30;
/// A snapshot that shows too little is usually right a moment later; a stuck standby takes longer.
const SNAPSHOT_DELAY_FIRST: Duration = Duration::from_millis(2);
const SNAPSHOT_DELAY_MAX: Duration = Duration::from_millis(500);
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) job: LoadJob,
    pub(super) queue: Queue,
    pub(super) throttle: Throttle,
    pub(super) out: mpsc::Sender<LoadEvent>,
}

/// Why a chunk was not read to its end.
#[derive(Debug)]
enum Stop {
    Pg(pg::Error),
    Table(TableError),
    Load(super::Error),
}

impl From<pg::Error> for Stop {
    fn from(error: pg::Error) -> Self {
        Stop::Pg(error)
    }
}

impl From<super::Error> for Stop {
    fn from(error: super::Error) -> Self {
        Stop::Load(error)
    }
}

/// Works until no chunk is left.
pub(super) async fn work(shared: std::sync::Arc<Shared>) -> Result<(), super::Error> {
    let mut worker =
        Worker { shared: &shared, wire: None, buffer: RowBuffer::default(), has_sent: false };
    while let Some(chunk) = shared.queue.take().await {
        worker.chunk(&chunk).await?;
        shared.queue.end().await;
    }
    Ok(())
}

struct Worker<'a> {
    shared: &'a Shared,
    wire: Option<Wire>,
    buffer: RowBuffer,
    /// Some rows of the chunk have gone.
    has_sent: bool,
}

impl Worker<'_> {
    /// Reads the chunk, as often as the connection breaks.
    async fn chunk(&mut self, chunk: &Chunk) -> Result<(), super::Error> {
        let mut backoff = Backoff::default();
        self.has_sent = false;
        let Some(table) = self.shared.job.tables.get(chunk.table) else { return Ok(()) };
        let Some(leaf) = table.leaves.iter().find(|leaf| leaf.oid == chunk.leaf_oid) else {
            return Ok(());
        };
        loop {
            let stop = match self.attempt(chunk, table, leaf).await {
                Ok(()) => return Ok(()),
                Err(stop) => stop,
            };
            // Whatever it was, the transaction is over and the connection's state unknown.
            let connected = self.wire.take().is_some();
            let error = match stop {
                Stop::Pg(error) if is_transient(&error) => {
                    // Another snapshot would show other rows beside those that have gone already.
                    if table.keyless && self.has_sent {
                        return Err(error.into());
                    }
                    error
                }
                Stop::Pg(source) if connected => {
                    TableError::Statement { leaf: leaf.name.clone(), source }
                        .told(self.shared, chunk)
                        .await?;
                    return Ok(());
                }
                Stop::Pg(error) => return Err(error.into()),
                Stop::Table(error) => return error.told(self.shared, chunk).await,
                Stop::Load(error) => return Err(error),
            };
            let delay = backoff.next_delay();
            tracing::warn!(table = %leaf.name, error = &error as &dyn std::error::Error, ?delay,
                "the load's connection failed; trying again");
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(
        &mut self,
        chunk: &Chunk,
        table: &LoadTable,
        leaf: &LoadLeaf,
    ) -> Result<(), Stop> {
        let wire = match &mut self.wire {
            Some(wire) => wire,
            None => self.wire.insert(connect(&self.shared.job).await?),
        };
        let Begun { bound, filenode, snapshot } =
            begin(wire, &self.shared.job.window, leaf).await?;
        if filenode != chunk.filenode {
            let size = measure(wire, leaf).await?;
            wire.query("COMMIT").await?;
            tracing::info!(table = %leaf.name, "its rows have moved to another file; reading it again");
            return Ok(self
                .shared
                .queue
                .replan(chunk, &size, Cut::of(table), &self.shared.out)
                .await?);
        }
        let rows = self.copy(chunk, table, leaf).await?;
        if let Some(wire) = &mut self.wire {
            wire.query("COMMIT").await?;
        }
        let loaded =
            LoadEvent::Loaded { chunk: chunk.id, table: chunk.table, rows, bound, snapshot };
        Ok(self.shared.queue.loaded(chunk, loaded, &self.shared.out).await?)
    }

    /// Sends the chunk's rows; their number.
    async fn copy(
        &mut self,
        chunk: &Chunk,
        table: &LoadTable,
        leaf: &LoadLeaf,
    ) -> Result<u64, Stop> {
        let Self { shared, wire: Some(wire), buffer, has_sent } = self else { return Ok(0) };
        start_copy(wire, chunk, table, leaf).await?;
        let mut text = CopyText::new(table.layout.columns.len());
        let rows_max = shared.throttle.rows_at_once(EVENT_ROWS_MAX);
        let (mut rows, mut bytes, mut entries) = (0_u64, 0, Vec::with_capacity(rows_max));
        loop {
            let message = wire.copy_data(MESSAGE_BYTES_MAX, |data| {
                text.feed(data, |row| {
                    table.layout.encode(row.cells(), None, buffer)?;
                    let (key, row) = (&buffer.key, &buffer.row);
                    let entry = Entry::row_in(leaf.number, shared.job.lsn, key, row);
                    bytes += entry.bytes();
                    entries.push(entry);
                    Ok::<_, RowStop>(())
                })
            });
            let last = match message.await.map_err(|stop| stop.of(leaf))? {
                None => false,
                Some(Message::CopyDone) => {
                    text.finish().map_err(|error| RowStop::from(error).of(leaf))?;
                    true
                }
                Some(Message::ErrorResponse(body)) => return Err(wire.error(&body).into()),
                Some(_) => return Err(wire.unexpected("COPY").into()),
            };
            let full = entries.len() >= rows_max || bytes >= EVENT_BYTES;
            if full || (last && !entries.is_empty()) {
                rows += entries.len() as u64;
                shared.throttle.pass(entries.len()).await;
                let next = Vec::with_capacity(if last { 0 } else { entries.len() });
                let entries = std::mem::replace(&mut entries, next);
                bytes = 0;
                *has_sent = true;
                send(shared, LoadEvent::Rows { chunk: chunk.id, table: chunk.table, entries })
                    .await?;
            }
            if last {
                end_copy(wire).await?;
                return Ok(rows);
            }
        }
    }
}

/// Why the rows of a COPY cannot be taken.
enum RowStop {
    Pg(pg::Error),
    Row(RowError),
    Text(CopyTextError),
}

impl From<pg::Error> for RowStop {
    fn from(error: pg::Error) -> Self {
        RowStop::Pg(error)
    }
}

impl From<RowError> for RowStop {
    fn from(error: RowError) -> Self {
        RowStop::Row(error)
    }
}

impl From<CopyTextError> for RowStop {
    fn from(error: CopyTextError) -> Self {
        RowStop::Text(error)
    }
}

impl RowStop {
    fn of(self, leaf: &LoadLeaf) -> Stop {
        let leaf = leaf.name.clone();
        match self {
            RowStop::Pg(error) => Stop::Pg(error),
            RowStop::Row(source) => Stop::Table(TableError::Row { leaf, source }),
            RowStop::Text(source) => Stop::Table(TableError::Answer { leaf, source }),
        }
    }
}

impl TableError {
    async fn told(self, shared: &Shared, chunk: &Chunk) -> Result<(), super::Error> {
        shared.queue.fail(chunk.table, self, &shared.out).await
    }
}

async fn send(shared: &Shared, event: LoadEvent) -> Result<(), super::Error> {
    shared.out.send(event).await.map_err(|_| super::Error::Receiver)
}

async fn connect(job: &LoadJob) -> Result<Wire, pg::Error> {
    let purpose = Purpose { application_name: &job.application_name, replication: false };
    Ok(pg::open(&job.params, purpose).await?.wire)
}

/// A transaction that has the leaf's lock and a good snapshot.
struct Begun {
    /// The snapshot shows nothing beyond it.
    bound: Lsn,
    filenode: u32,
    snapshot: Window,
}

/// Begins a transaction whose snapshot the window covers, however long that takes.
async fn begin(wire: &mut Wire, window: &Window, leaf: &LoadLeaf) -> Result<Begun, Stop> {
    let name = leaf.name.quoted();
    // The lock comes before the snapshot: what rewrites a table leaves an older snapshot nothing to see
    // (manual, 13.6), and the file cannot change under the lock.
    let sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
         LOCK TABLE ONLY {name} IN ACCESS SHARE MODE;
         SELECT pg_current_snapshot(), pg_current_wal_insert_lsn(),
                coalesce(pg_relation_filenode({oid}), 0), {text}::regclass::oid",
        oid = leaf.oid,
        text = quote::literal(&name),
    );
    let start = Instant::now();
    let (mut delay, mut told) = (SNAPSHOT_DELAY_FIRST, false);
    loop {
        let rows = wire.query(&sql).await?;
        let row = rows.first().map_or(&[][..], Vec::as_slice);
        let [Some(snapshot), Some(bound), Some(filenode), Some(oid)] = row else {
            return Err(wire.unexpected("the beginning of a chunk").into());
        };
        let (Ok(bound), Ok(filenode)) = (bound.parse(), filenode.parse()) else {
            return Err(wire.unexpected("the beginning of a chunk").into());
        };
        if *oid != leaf.oid.to_string() {
            return Err(Stop::Table(TableError::Replaced { leaf: leaf.name.clone() }));
        }
        let snapshot = Window::parse(snapshot).map_err(super::Error::from)?;
        if window.covers(&snapshot) {
            return Ok(Begun { bound, filenode, snapshot });
        }
        wire.query("ROLLBACK").await?;
        if !told && start.elapsed() >= SNAPSHOT_PATIENCE {
            told = true;
            let xid = window.awaited(&snapshot).next().unwrap_or_default();
            tracing::info!(table = %leaf.name, xid, "waiting until the source shows a transaction as \
                committed that its WAL has; does it wait for a synchronous standby?");
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(SNAPSHOT_DELAY_MAX);
    }
}

/// The leaf's present file, under the chunk's lock.
async fn measure(wire: &mut Wire, leaf: &LoadLeaf) -> Result<LeafSize, pg::Error> {
    let sql = format!("SELECT {} FROM (SELECT {}::oid) AS l (oid)", LeafSize::COLUMNS, leaf.oid);
    let rows: Vec<Row> = wire.query(&sql).await?;
    rows.first()
        .and_then(|row| LeafSize::read(row))
        .ok_or_else(|| wire.unexpected("the measuring of a table"))
}

async fn start_copy(
    wire: &mut Wire,
    chunk: &Chunk,
    table: &LoadTable,
    leaf: &LoadLeaf,
) -> Result<(), pg::Error> {
    let sql = format!(
        "COPY (SELECT {} FROM ONLY {} WHERE {}) TO STDOUT",
        table.select_list(),
        leaf.name.quoted(),
        chunk.condition()
    );
    let mut out = BytesMut::new();
    frontend::query(&sql, &mut out).map_err(|error| {
        let what = "a column's name holds a zero byte";
        pg::Error::new(pg::Kind::Configuration, wire.at(), what).caused_by(error)
    })?;
    wire.send(&out).await?;
    match wire.message(MESSAGE_BYTES_MAX).await? {
        Message::CopyOutResponse(_) => Ok(()),
        Message::ErrorResponse(body) => Err(wire.error(&body)),
        _ => Err(wire.unexpected("the start of COPY")),
    }
}

/// From CopyDone to the next query.
async fn end_copy(wire: &mut Wire) -> Result<(), pg::Error> {
    loop {
        match wire.message(MESSAGE_BYTES_MAX).await? {
            Message::CommandComplete(_) => {}
            Message::ReadyForQuery(_) => return Ok(()),
            Message::ErrorResponse(body) => return Err(wire.error(&body)),
            _ => return Err(wire.unexpected("the end of COPY")),
        }
    }
}
