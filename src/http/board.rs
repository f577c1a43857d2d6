//! Where each sink stands with each projection, for everybody who asks or waits.
//!
//! The engine's thread writes, tasks read and wait; nobody polls. A waiter whose position the source
//! is not known to have reached asks for a push (`push.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::lane::Lane;
use super::position::{SEGMENT_BYTES_DEFAULT, as_boundary};
use crate::lsn::Lsn;

/// One projection in one sink, and what is asked of it. A lane is named by its position in the list
/// given to `Board::new`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneName {
    pub sink: String,
    pub projection: String,
    /// The sink's.
    pub required: bool,
    /// The sink's.
    pub max_lag: Duration,
}

#[derive(Debug)]
pub struct Board {
    names: Vec<LaneName>,
    /// With those of the boards before it, so that who waits for one goes on waiting.
    lanes: Vec<Arc<Lane>>,
    /// How far the state is with each projection, whatever sinks it goes to.
    states: Vec<(String, Arc<Lane>)>,
    source: Arc<Source>,
}

/// What all boards of a daemon have in common.
#[derive(Debug)]
struct Source {
    source_end: AtomicU64,
    segment_bytes: AtomicU64,
    /// The greatest position that a push is asked for; 0 when none is.
    push_to: AtomicU64,
    push_asked: Notify,
}

/// Where a sink stands with a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub sink: String,
    /// Every change before it is in the sink.
    pub lsn: Lsn,
    pub settled: bool,
}

/// Every sink that was asked for has the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    pub standings: Vec<Standing>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    #[error("there is no projection {projection}")]
    UnknownProjection { projection: String },
    #[error("projection {projection} does not go to a sink {sink}, {}", places(.sinks))]
    UnknownSink { projection: String, sink: String, sinks: Vec<String> },
    /// Not in time.
    #[error("not reached in time")]
    Behind { standings: Vec<Standing> },
}

fn places(sinks: &[String]) -> String {
    match sinks {
        [] => "it goes to none".to_owned(),
        sinks => format!("but to: {}", sinks.join(", ")),
    }
}

impl Board {
    pub fn new(lanes: Vec<LaneName>) -> Arc<Board> {
        Board::with_states(lanes, [])
    }

    /// With projections that the state itself can be asked for.
    pub fn with_states(
        lanes: Vec<LaneName>,
        projections: impl IntoIterator<Item = String>,
    ) -> Arc<Board> {
        let states = projections.into_iter().map(|name| (name, Arc::new(Lane::new())));
        let source = Source {
            source_end: AtomicU64::new(0),
            segment_bytes: AtomicU64::new(SEGMENT_BYTES_DEFAULT),
            push_to: AtomicU64::new(0),
            push_asked: Notify::new(),
        };
        Arc::new(Board {
            states: states.collect(),
            lanes: lanes.iter().map(|_| Arc::new(Lane::new())).collect(),
            names: lanes,
            source: Arc::new(source),
        })
    }

    /// One for other lanes and projections. What both have stands where it stood, and who waits for it on
    /// this board is told by the other.
    pub fn replaced(
        &self,
        lanes: Vec<LaneName>,
        projections: impl IntoIterator<Item = String>,
    ) -> Arc<Board> {
        let known = |wanted: &LaneName| {
            let same = |name: &LaneName| {
                (&name.sink, &name.projection) == (&wanted.sink, &wanted.projection)
            };
            let at = self.names.iter().position(same);
            at.map_or_else(|| Arc::new(Lane::new()), |at| Arc::clone(&self.lanes[at]))
        };
        let state = |name: String| {
            let known = self.states.iter().find(|(known, _)| *known == name);
            let lane = known.map_or_else(|| Arc::new(Lane::new()), |(_, lane)| Arc::clone(lane));
            (name, lane)
        };
        Arc::new(Board {
            states: projections.into_iter().map(state).collect(),
            lanes: lanes.iter().map(known).collect(),
            names: lanes,
            source: Arc::clone(&self.source),
        })
    }

    pub fn lanes(&self) -> &[LaneName] {
        &self.names
    }

    /// Every change before `lsn` is in the lane's sink; `0/0` while it has nothing to be read. From one
    /// thread only for each lane.
    pub fn set_delivered(&self, lane: usize, lsn: Lsn, settled: bool) {
        self.lanes[lane].set(lsn, settled);
    }

    /// Everything of the projection before `lsn` is in the state. From one thread only.
    pub fn set_state(&self, projection: &str, lsn: Lsn) {
        if let Some((_, lane)) = self.states.iter().find(|(name, _)| name == projection) {
            lane.set(lsn, true);
        }
    }

    /// Until the state has the projection up to `lsn`. False: not in time. Of an unknown projection true:
    /// who asks for its rows is told so.
    pub async fn wait_state(&self, projection: &str, lsn: Lsn, deadline: Instant) -> bool {
        let Some((_, lane)) = self.states.iter().find(|(name, _)| name == projection) else {
            return true;
        };
        let wanted = self.as_boundary(lsn).max(Lsn(1));
        if lane.lsn() < wanted && wanted > self.source_end() {
            self.ask_push(wanted);
        }
        tokio::time::timeout_at(deadline, lane.reached(wanted)).await.is_ok()
    }

    /// How far the state is with a projection; `0/0` while it has nothing to be read.
    pub fn state(&self, projection: &str) -> Lsn {
        let known = self.states.iter().find(|(name, _)| name == projection);
        known.map_or(Lsn::ZERO, |(_, lane)| lane.lsn())
    }

    /// The two may be of neighbouring moments.
    pub fn delivered(&self, lane: usize) -> (Lsn, bool) {
        (self.lanes[lane].lsn(), self.lanes[lane].is_settled())
    }

    /// The greatest end of the WAL that the source has sent.
    pub fn set_source_end(&self, lsn: Lsn) {
        self.source.source_end.store(lsn.0, Ordering::Relaxed);
    }

    pub fn source_end(&self) -> Lsn {
        Lsn(self.source.source_end.load(Ordering::Relaxed))
    }

    /// The source's `wal_segment_size`; 16 MiB until it is known.
    pub fn set_segment_bytes(&self, bytes: u64) {
        self.source.segment_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Until the projection is in the sink up to `lsn`, without a sink in all of its sinks.
    pub async fn wait(
        &self,
        projection: &str,
        sink: Option<&str>,
        lsn: Lsn,
        deadline: Instant,
    ) -> Result<Reached, WaitError> {
        let lanes = self.find(projection, sink)?;
        if lanes.is_empty() {
            let standings = Vec::new();
            return match self.wait_state(projection, lsn, deadline).await {
                true => Ok(Reached { standings }),
                false => Err(WaitError::Behind { standings }),
            };
        }
        // Who stands at 0/0 has nothing at all: not even what was before everything.
        let wanted = self.as_boundary(lsn).max(Lsn(1));
        let arrival = async {
            // A lane that was there can have fallen back (a sink was restored) while another one was
            // waited for.
            while let Some(&lane) = lanes.iter().find(|&&lane| self.lanes[lane].lsn() < wanted) {
                self.lanes[lane].reached(wanted).await;
            }
        };
        if lanes.iter().any(|&lane| self.lanes[lane].lsn() < wanted) && wanted > self.source_end() {
            self.ask_push(wanted);
        }
        let in_time = tokio::time::timeout_at(deadline, arrival).await;
        let standings = lanes.iter().map(|&lane| self.standing(lane)).collect();
        match in_time {
            Ok(()) => Ok(Reached { standings }),
            Err(_) => Err(WaitError::Behind { standings }),
        }
    }

    /// Asks that the source be made to send its WAL up to `lsn`, once; a later answer to somebody else
    /// counts too.
    pub fn ask_push(&self, lsn: Lsn) {
        self.source.push_to.fetch_max(lsn.0, Ordering::SeqCst);
        self.source.push_asked.notify_one();
    }

    /// Until a push is asked for; the greatest position of those who did since the last call. For one
    /// caller at a time; nothing is lost when it is dropped.
    pub async fn take_push_requests(&self) -> Lsn {
        loop {
            let wanted = self.source.push_to.swap(0, Ordering::SeqCst);
            if wanted > 0 {
                return Lsn(wanted);
            }
            self.source.push_asked.notified().await;
        }
    }

    fn find(&self, projection: &str, sink: Option<&str>) -> Result<Vec<usize>, WaitError> {
        let of_projection = || {
            let names = self.names.iter().enumerate();
            names.filter(|(_, name)| name.projection == projection)
        };
        let has_state = self.states.iter().any(|(name, _)| name == projection);
        if of_projection().next().is_none() && !has_state {
            return Err(WaitError::UnknownProjection { projection: projection.to_owned() });
        }
        let asked = |name: &LaneName| sink.is_none_or(|sink| name.sink == sink);
        let lanes: Vec<_> =
            of_projection().filter(|(_, name)| asked(name)).map(|(lane, _)| lane).collect();
        match sink {
            Some(sink) if lanes.is_empty() => Err(WaitError::UnknownSink {
                projection: projection.to_owned(),
                sink: sink.to_owned(),
                sinks: of_projection().map(|(_, name)| name.sink.clone()).collect(),
            }),
            _ => Ok(lanes),
        }
    }

    fn standing(&self, lane: usize) -> Standing {
        let (lsn, settled) = self.delivered(lane);
        Standing { sink: self.names[lane].sink.clone(), lsn, settled }
    }

    fn as_boundary(&self, lsn: Lsn) -> Lsn {
        as_boundary(lsn, self.source.segment_bytes.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
impl Board {
    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting()).sum()
    }

    pub(super) fn waiting_in(&self, lane: usize) -> usize {
        self.lanes[lane].waiting()
    }
}
