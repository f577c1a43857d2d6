//! The daemon as others see it: the page at `/`, `/metrics`, `/healthz`, `/readyz`, `/v1/status`,
//! `/v1/projections`, `/v1/wait`, rows (`read.rs`), and what operators ask and order (`operate.rs`).
//!
//! The pipeline writes into what this room defines and never waits for a reader: positions into the
//! `Board`, everything else that people ask into a `Status` of which the newest counts. `serve` bounds
//! what a client may hold up: connections, waiters, headers, time; no request's body is read at all.

mod answer;
mod auth;
mod board;
mod lane;
mod operate;
mod operator;
mod page;
mod position;
mod projection;
mod push;
mod query;
mod quotes;
mod read;
mod ready;
mod routes;
mod serve;
mod status;
mod verify;
mod wait;

pub use board::{Board, LaneName, Reached, Standing, WaitError};
pub use operator::{
    Asked, ChangesFeed, Fed, Letter, LetterShown, Letters, LettersAsked, Operator, ReadRow,
    Rebuild, RebuildSink, Refusal, Retried, Verification, VerifyAsked, Why,
};
pub use position::{SEGMENT_BYTES_DEFAULT, as_boundary};
pub use projection::{ColumnDetail, ProjectionDetail, TargetDetail};
pub use push::{Push, PushError, SourcePush, push_loop};
pub use serve::serve;
pub use status::{
    HaStatus, KeptStatus, LaneState, LaneStatus, LoadStatus, ProjectionState, ProjectionStatus,
    ReloadStatus, RoleStatus, SinkStatus, SourceStatus, StateStatus, Status, TableLoad,
    TableStatus, Time,
};

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Secret;

/// Makes what a search sink holds of a projection visible to its searches: (sink, projection). An
/// error is the sink's own words.
pub type Refresh = Arc<dyn Fn(&str, &str) -> Refreshed + Send + Sync>;
pub type Refreshed = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Has the pipeline tell what it knows at this moment; done when it has, or soon when it is busy.
pub type Tell = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A projection by its name, as it is at this moment; `None`: there is none.
pub type Look = Arc<dyn Fn(&str) -> Looked + Send + Sync>;
pub type Looked = Pin<Box<dyn Future<Output = Option<ProjectionDetail>> + Send>>;

/// What the endpoints show.
#[derive(Clone)]
pub struct Shared {
    pub registry: prometheus::Registry,
    /// The newest one.
    pub board: watch::Receiver<Arc<Board>>,
    /// Its sender lives as long as the pipeline does: `/healthz` knows by it.
    pub status: watch::Receiver<Arc<Status>>,
    /// Asked for by all but `/healthz` and `/readyz`.
    pub token: watch::Receiver<Option<Secret>>,
    /// As it is configured: host and port.
    pub listen: String,
    /// `None` when there is no search sink.
    pub refresh: Option<Refresh>,
    /// `None`: metrics and status are as they were told last.
    pub tell: Option<Tell>,
    /// `None`: nothing can be asked or ordered by hand.
    pub operator: Option<Arc<dyn Operator>>,
    pub look: Option<Look>,
}

impl Shared {
    fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board.borrow())
    }
}

#[cfg(test)]
mod tests;
