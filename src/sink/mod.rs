//! Sinks: the stores that hold projections. One room per kind, the same files in each.
//!
//! The contract between delivery and a sink:
//!
//! * Delivery owns one sink in one task and calls one method at a time. A call that fails with
//!   `SinkError::Retryable` has had an unknown effect and is repeated after `open`; so each call is
//!   idempotent.
//! * `open` connects, checks or creates what the sink needs for itself (the watermark's table, key
//!   or index), and reads each projection's watermark. Another owner's target is `Blocked`; one that a
//!   system before the source's has left to it is taken over. A watermark of another history of the
//!   source says nothing, and holds nothing back. `open` is called again for the other projections.
//! * A projection without a usable watermark is *filled*: `begin_fill`, any number of `fill` calls
//!   whose entries are rows with each key at most once, `end_fill`, any number of `amend` calls with
//!   what changed meanwhile (rows and tombstones), and then the first `apply` whose
//!   `StepProjection::finish_fill` is set makes the filled generation the one that readers see,
//!   together with its watermark. Readers see the generation before (or nothing) until then, but for
//!   Redis, where each key is overwritten in place, never absent, and what the new generation lacks
//!   is removed after.
//! * `apply` takes one step. When `settled`, data and watermarks become visible together: Postgres in
//!   one transaction, Redis in one script, Elasticsearch documents first, watermark last. Unsettled
//!   steps belong to a backlog: Postgres keeps its transaction open over them until a settled one
//!   commits all, Redis and Elasticsearch write them with `settled = false`.
//! * With a term (`Origin::term`), `open` writes it into the watermarks before it reads them, and from then
//!   on nothing that a leader of a smaller one has sent or sends takes effect. A greater one is
//!   `Outranked`.
//! * What a sink refuses where nobody would send it again is written into the sink, together with the
//!   watermark that moves past it (`refused`); `refusals` reads it after `open`, `forget` removes what
//!   somebody has settled by hand.
//! * Rows never go backwards (P3): delivery never sends a row whose LSN is below what the sink's
//!   watermark (`lsn`, or `reaching` after an unfinished step) has been told.

pub mod audit;
pub mod delivery;
pub mod elasticsearch;
pub mod event;
mod origin;
pub mod postgres;
pub mod redis;
mod refused;
mod retry;

pub(crate) use event::EventWriter;
pub use origin::{History, Origin, Owner, Term};
pub use refused::Refusal;
pub use retry::Backoff;

use std::sync::Arc;

use crate::config::Target;
use crate::engine::Entry;
use crate::lsn::Lsn;
use crate::value::{Column, Type};

/// One projection as a sink is told of it. Delivery and the sink name it by its position in the list
/// given to the sink.
#[derive(Clone, Debug)]
pub struct SinkProjection {
    pub name: String,
    pub role: Role,
    /// The row's columns, in the order of the row's datums.
    pub columns: Arc<[Column]>,
    /// Of each column: what JSON is made of that the query builds, as far as that is known.
    pub shapes: Vec<Option<Type>>,
    /// The key columns' positions in `columns`, in the order of the key's datums. Empty: one row.
    pub key: Vec<usize>,
    /// All of this sink's kind.
    pub targets: Vec<Target>,
    /// Names the shape of rows and targets; another one in the watermark means: fill anew.
    pub fingerprint: String,
}

/// What entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Versions of rows: a new one takes the place of the one before.
    Rows,
    /// Occurrences of an event, each under a key of its own, in the order of their keys. They are never
    /// filled: `open` makes the target where it is missing, and what is there stays.
    Events,
}

/// Where a sink stands with one projection, read from the sink itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Every change before it is in the sink.
    pub lsn: Lsn,
    /// No row in the sink is as new as this: `lsn` when settled, else the bound of the steps begun.
    pub reaching: Lsn,
    /// Commit time of the last transaction before `lsn`, microseconds since 2000-01-01 UTC.
    pub committed_at: i64,
    pub settled: bool,
    pub generation: u64,
    pub fingerprint: String,
    /// In which its positions mean something; see [`History`].
    pub history: String,
    /// Of the leader that wrote it; 0 where there is no group.
    pub term: u64,
}

/// What changed between two positions, for the projections of one sink that are filled.
#[derive(Clone, Debug)]
pub struct Step {
    pub projections: Vec<StepProjection>,
    /// When settled: the sink then holds exactly the source's state here. Else: the last position of
    /// which that could be said, and the watermark's `lsn` stays there.
    pub position: Lsn,
    /// Every entry's LSN is below it.
    pub reaching: Lsn,
    /// Commit time of the last transaction before `position`, microseconds since 2000-01-01 UTC.
    pub committed_at: i64,
    pub settled: bool,
}

/// One projection's part of a step. Its watermark moves even when it has no entries.
#[derive(Clone, Debug)]
pub struct StepProjection {
    /// Position in the list given to the sink.
    pub projection: usize,
    /// Each key at most once, but for a history.
    pub entries: Vec<Entry>,
    /// Of a history: when each entry was committed. Then a key may have several entries, in their order.
    pub times: Vec<i64>,
    /// The generation to put into the watermark.
    pub generation: u64,
    /// Makes the filled generation the current one.
    pub finish_fill: bool,
}

/// A row that the sink refuses for good.
#[derive(Clone, Debug)]
pub struct Poison {
    pub projection: usize,
    pub entry: Entry,
    /// The sink's own words.
    pub error: String,
}

/// What became of a call that took rows: rows written and deleted, and those refused. A refused new
/// version's older one has been removed from the sink (missing is honest, stale is not).
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub upserts: u64,
    pub deletes: u64,
    pub poison: Vec<Poison>,
}

#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Away, busy, blocked, out of space, credentials expired: the sink's trouble. Tried again for ever.
    #[error("{what}")]
    Retryable {
        what: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Something that only a human can change: another owner, a table with other columns.
    #[error("{what}\nhint: {hint}")]
    Fatal { what: String, hint: String },
    /// Another instance of the group leads, or has led, in this term: nothing is written any more before
    /// the group says who leads now.
    #[error("another instance has taken over, in term {term}")]
    Outranked { term: u64 },
    /// As `Fatal`, of one projection: it stays where it is in this sink, and the others go on.
    #[error("{what}\nhint: {hint}")]
    Blocked { projection: usize, what: String, hint: String },
}

impl SinkError {
    /// What only a human can change is about this projection alone.
    fn of_projection(self, projection: usize) -> Self {
        match self {
            SinkError::Fatal { what, hint } => SinkError::Blocked { projection, what, hint },
            other => other,
        }
    }
}

/// See the module's contract. Owned by one delivery task.
#[allow(
    async_fn_in_trait,
    reason = "used through a generic in this crate only, each future is Send where it is spawned"
)]
pub trait Sink: Send {
    /// Connects; one watermark per projection, `None` where the target is absent, new, empty of a
    /// watermark or not the one that its watermark names (table oid, index uuid).
    fn open(&mut self) -> impl Future<Output = Result<Vec<Option<Watermark>>, SinkError>> + Send;
    /// The projections that `open` has found `Blocked`: it looks past them from now on, at `None`.
    fn leave_alone(&mut self, blocked: &[bool]);
    /// What the sink itself remembers of its refusals, after `open`.
    fn refusals(&mut self) -> impl Future<Output = Result<Vec<Refusal>, SinkError>> + Send;
    /// Letters that somebody has settled by hand: the sink need not remember their refusals any more.
    fn forget(
        &mut self,
        projection: usize,
        keys: &[Vec<u8>],
    ) -> impl Future<Output = Result<(), SinkError>> + Send;
    /// Where the sink stands, for an instance that does not lead: watermarks as they are written there,
    /// of whatever history. Writes nothing and makes nothing.
    fn look(&mut self) -> impl Future<Output = Result<Vec<Option<Watermark>>, SinkError>> + Send;
    fn begin_fill(
        &mut self,
        projection: usize,
        generation: u64,
    ) -> impl Future<Output = Result<(), SinkError>> + Send;
    fn fill(
        &mut self,
        projection: usize,
        rows: &[Entry],
    ) -> impl Future<Output = Result<Outcome, SinkError>> + Send;
    fn end_fill(&mut self, projection: usize)
    -> impl Future<Output = Result<(), SinkError>> + Send;
    fn amend(
        &mut self,
        projection: usize,
        changes: &[Entry],
    ) -> impl Future<Output = Result<Outcome, SinkError>> + Send;
    fn apply(&mut self, step: &Step) -> impl Future<Output = Result<Outcome, SinkError>> + Send;
}
