//! What a sink is told to do.

use crate::engine::Entry;
use crate::lsn::Lsn;

/// What a sink is to do next. Lanes are named by their position in the feed.
#[derive(Debug, Clone)]
pub enum Work {
    BeginFill {
        lane: usize,
        generation: u64,
    },
    Fill {
        lane: usize,
        rows: Vec<Entry>,
    },
    EndFill {
        lane: usize,
    },
    Amend {
        lane: usize,
        changes: Vec<Entry>,
    },
    Step(Step),
    /// Letters of these keys were settled by hand.
    Forget {
        lane: usize,
        keys: Vec<Vec<u8>>,
    },
    /// Break the connection off and open the sink again: what it was told cannot be completed.
    Reopen,
}

/// See `sink::Step`, which it becomes.
#[derive(Debug, Clone)]
pub struct Step {
    pub lanes: Vec<StepLane>,
    pub position: Lsn,
    pub reaching: Lsn,
    pub committed_at: i64,
    pub settled: bool,
}

#[derive(Debug, Clone)]
pub struct StepLane {
    pub lane: usize,
    pub generation: u64,
    pub entries: Vec<Entry>,
    /// Of a history: when each entry was committed. A key may have several then, in their order.
    pub times: Vec<i64>,
    pub finish_fill: bool,
}
