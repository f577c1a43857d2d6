//! What there is by a configuration, for those who look: sinks, their lanes, positions, followers. A reload lays
//! it anew, and what both configurations have goes on as it stood.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::shared::lock;
use crate::config::{Config, SinkKind};
use crate::http::{Board, LaneName, SinkStatus, Time};
use crate::metrics::{LaneMetrics, Metrics, SinkMetrics};
use crate::output::Work;

pub(super) struct Laid {
    pub(super) config: Arc<Config>,
    pub(super) board: Arc<Board>,
    pub(super) sinks: Vec<Arc<SinkShared>>,
    /// By projection: changes when its rows do, for those who follow them.
    changed: HashMap<String, Arc<watch::Sender<()>>>,
}

/// One sink's part.
pub(super) struct SinkShared {
    pub(super) name: String,
    kind: SinkKind,
    metrics: SinkMetrics,
    pub(super) lanes: Vec<Lane>,
    health: Mutex<Health>,
    /// Projections that stand still in it, and why.
    blocked: Mutex<HashMap<String, String>>,
}

pub(super) struct Lane {
    pub(super) projection: String,
    pub(super) metrics: LaneMetrics,
    /// Position on the board.
    pub(super) board: usize,
}

#[derive(Clone)]
struct Health {
    up: bool,
    /// Since it was up.
    failures: u32,
    error: Option<String>,
    since: Time,
}

impl Laid {
    /// `before`: what it takes the place of.
    pub(super) fn new(config: &Arc<Config>, metrics: &Metrics, before: Option<&Laid>) -> Self {
        let mut names = Vec::new();
        let mut sinks = Vec::new();
        for sink in &config.sinks {
            let same =
                |known: &&Arc<SinkShared>| known.name == sink.name && known.kind == sink.kind;
            let known = before.and_then(|before| before.sinks.iter().find(same));
            let mut lanes = Vec::new();
            for projection in &config.projections {
                if !projection.targets.iter().any(|(name, _)| *name == sink.name) {
                    continue;
                }
                lanes.push(Lane {
                    projection: projection.name.clone(),
                    metrics: metrics.lane(&sink.name, &projection.name),
                    board: names.len(),
                });
                names.push(LaneName {
                    sink: sink.name.clone(),
                    projection: projection.name.clone(),
                    required: sink.required,
                    max_lag: sink.max_lag,
                });
            }
            let health = known.map(|known| lock(&known.health).clone());
            let unknown = || Health { up: false, failures: 0, error: None, since: Time::now() };
            sinks.push(Arc::new(SinkShared {
                name: sink.name.clone(),
                kind: sink.kind,
                metrics: metrics.sink(&sink.name),
                lanes,
                health: Mutex::new(health.unwrap_or_else(unknown)),
                blocked: Mutex::new(HashMap::new()),
            }));
        }
        let projections = config.projections.iter().map(|projection| projection.name.clone());
        let board = match before {
            Some(before) => before.board.replaced(names, projections),
            None => Board::with_states(names, projections),
        };
        let changed = config.projections.iter().map(|projection| {
            let known = before.and_then(|before| before.changed.get(&projection.name));
            let changed = known.map_or_else(|| Arc::new(watch::channel(()).0), Arc::clone);
            (projection.name.clone(), changed)
        });
        let this = Self { config: Arc::clone(config), board, sinks, changed: changed.collect() };
        if let Some(before) = before {
            before.forget_gone(&this, metrics);
        }
        this
    }

    /// What is no longer there has no metrics either.
    fn forget_gone(&self, now: &Laid, metrics: &Metrics) {
        for sink in &self.sinks {
            let still = now.sinks.iter().find(|known| known.name == sink.name);
            for lane in &sink.lanes {
                let has = |now: &&Arc<SinkShared>| {
                    now.lanes.iter().any(|known| known.projection == lane.projection)
                };
                if still.filter(has).is_none() {
                    metrics.forget_lane(&sink.name, &lane.projection);
                }
            }
            if still.is_none() {
                metrics.forget_sink(&sink.name);
            }
        }
    }

    /// Those who follow a projection's rows.
    pub(super) fn followers(&self, projection: &str) -> Option<&watch::Sender<()>> {
        self.changed.get(projection).map(AsRef::as_ref)
    }

    /// How many follow the rows of any projection.
    pub(super) fn followers_total(&self) -> usize {
        self.changed.values().map(|changed| changed.receiver_count()).sum()
    }
}

impl SinkShared {
    pub(super) fn opened(&self) {
        self.metrics.up.set(1);
        let mut health = lock(&self.health);
        if !health.up {
            *health = Health { up: true, failures: 0, error: None, since: Time::now() };
        }
    }

    pub(super) fn closed(&self, why: &str) {
        self.metrics.up.set(0);
        self.metrics.retries.inc();
        let mut health = lock(&self.health);
        if health.up {
            health.since = Time::now();
        }
        health.up = false;
        health.failures = health.failures.saturating_add(1);
        health.error = Some(why.to_owned());
    }

    pub(super) fn blocked(&self, projection: &str, why: Option<String>) {
        let mut blocked = lock(&self.blocked);
        match why {
            Some(why) => blocked.insert(projection.to_owned(), why),
            None => blocked.remove(projection),
        };
    }

    /// It was tried again, and cannot be reached. (One that has failed once may just be opened anew.)
    pub(super) fn is_away(&self) -> bool {
        lock(&self.health).failures > 1
    }

    /// Why a projection stands still in it.
    pub(super) fn blocked_by(&self, projection: &str) -> Option<String> {
        lock(&self.blocked).get(projection).cloned()
    }

    pub(super) fn done(&self, work: &Work, took: Duration) {
        self.metrics.batch_seconds.observe(took.as_secs_f64());
        if let Work::Step(step) = work
            && step.settled
            && step.lanes.iter().any(|lane| !lane.entries.is_empty())
        {
            let micros = Time::now().0.saturating_sub(step.committed_at);
            self.metrics.end_to_end_seconds.observe(micros.max(0) as f64 / 1e6);
        }
    }

    pub(super) fn status(&self) -> SinkStatus {
        let health = lock(&self.health);
        SinkStatus {
            name: self.name.clone(),
            kind: self.kind,
            up: health.up,
            error: health.error.clone(),
            retries: self.metrics.retries.get(),
            since: health.since,
        }
    }
}
