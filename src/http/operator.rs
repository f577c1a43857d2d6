//! What people ask and order of the pipeline by hand. The pipeline implements it; whoever serves HTTP
//! knows no more of it than this.

use std::pin::Pin;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::status::text;
use crate::lsn::{Lsn, Place};

/// An answer that takes its time.
pub type Asked<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

/// Why something is not answered or not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub why: Why,
    pub error: String,
}

/// What kind of refusal it is: each is a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no such thing.
    Unknown,
    /// It cannot be read.
    Bad,
    /// Not as things stand.
    Conflict,
    /// It was there, and will not be again.
    Gone,
    /// Not now; trying again later may help.
    Away,
}

impl Refusal {
    pub fn new(why: Why, error: impl Into<String>) -> Refusal {
        Refusal { why, error: error.into() }
    }
}

/// Everything is bounded: a page of letters, a row.
pub trait Operator: Send + Sync {
    fn letters(&self, asked: LettersAsked) -> Asked<Letters>;
    fn letter(&self, id: String) -> Asked<LetterShown>;
    fn retry(&self, id: String) -> Asked<Retried>;
    fn drop_letter(&self, id: String) -> Asked<()>;
    /// One row, by a JSON array of its key's values.
    fn read(&self, projection: String, key: Option<String>) -> Asked<ReadRow>;
    /// Whether it could be read at this moment, or why not.
    fn reads(&self, projection: String, key: Option<String>) -> Asked<()>;
    /// Rows as they change, from a position on; without one from now on.
    fn changes(&self, projection: String, since: Option<Place>) -> Asked<Box<dyn ChangesFeed>>;
    /// What happens, of one event or of all, behind the place of an occurrence; without one from now on.
    fn tail(&self, event: Option<String>, since: Option<String>) -> Asked<Box<dyn ChangesFeed>>;
    /// Compares a projection with the source.
    fn verify(&self, asked: VerifyAsked) -> Asked<Verification>;
    /// Without a sink, in all of the projection's.
    fn rebuild(&self, projection: String, sink: Option<String>) -> Asked<Rebuild>;
}

/// A row as JSON, as of a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRow {
    pub lsn: Lsn,
    pub document: Vec<u8>,
}

/// One client's changes, or occurrences. Dropping it ends them.
pub trait ChangesFeed: Send {
    /// Waits for the next ones. Nothing is lost when the wait is given up.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Fed> + Send + '_>>;
    /// Where another client can go on that has taken what was given so far.
    fn position(&self) -> String;
}

/// A portion of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fed {
    /// Server-sent events.
    Events(Bytes),
    /// There will be no more: the last event's name, and why.
    End { event: &'static str, why: String },
}

#[derive(Debug, Clone, Default)]
pub struct LettersAsked {
    pub sink: Option<String>,
    pub projection: Option<String>,
    /// `next` of the page before.
    pub after: Option<String>,
    pub limit: usize,
}

/// A page of dead letters.
#[derive(Debug, Clone, Serialize)]
pub struct Letters {
    pub letters: Vec<Letter>,
    /// What to ask for to get the next page; `None` when this is the last one.
    pub next: Option<String>,
}

/// A row that is not shown where it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Letter {
    pub id: String,
    /// `None`: the row itself cannot be computed, so no sink has it.
    pub sink: Option<String>,
    pub projection: String,
    /// For people.
    pub key: String,
    /// Of the version that was refused, or of the change since which there is none that could be.
    #[serde(serialize_with = "text")]
    pub lsn: Lsn,
    /// The words of who refuses it.
    pub error: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct LetterShown {
    #[serde(flatten)]
    pub letter: Letter,
    /// The row as it is now; `None` when there is none.
    pub payload: Option<Box<RawValue>>,
    /// Of that row's version.
    #[serde(serialize_with = "lsn")]
    pub payload_lsn: Option<Lsn>,
}

/// What became of another try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Retried {
    Accepted,
    Refused {
        error: String,
    },
    /// It goes with the next step.
    Waiting {
        why: &'static str,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyAsked {
    pub projection: String,
    /// `None`: all of the projection's.
    pub sink: Option<String>,
    /// About so many rows, chosen at random.
    pub sample: Option<u64>,
    pub repair: bool,
}

/// A comparison that goes on while `work` is polled, and tells of it in lines of JSON.
pub struct Verification {
    pub lines: mpsc::Receiver<String>,
    pub work: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// A rebuild that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rebuild {
    pub projection: String,
    /// Each with the generation that is the new one, at least.
    pub sinks: Vec<RebuildSink>,
    /// What the projection reads is read anew from the source first.
    pub reloads: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebuildSink {
    pub sink: String,
    pub generation: u64,
}

fn lsn<S: serde::Serializer>(lsn: &Option<Lsn>, serializer: S) -> Result<S::Ok, S::Error> {
    match lsn {
        Some(lsn) => text(lsn, serializer),
        None => serializer.serialize_none(),
    }
}
