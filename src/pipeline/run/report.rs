//! What people and machines see: metrics, the board that waiters read, and the status document.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::apart::Apart;
use super::engine_thread::{Command, Commands};
use super::start;
use crate::config::{Config, SinkKind};
use crate::http::{
    self, Board, KeptStatus, LaneName, LaneStatus, LoadStatus, ProjectionState, ProjectionStatus,
    SinkStatus, SourcePush, SourceStatus, StateStatus, Status, TableLoad, TableStatus, Time,
};
use crate::lsn::Lsn;
use crate::metrics::{LaneMetrics, Metrics, SinkMetrics, TableMetrics};
use crate::output::Work;
use crate::pg::Params;
use crate::pipeline::{Counts, Machine, MachineInit, Stage};
use crate::sink::Outcome;
use crate::sink::delivery::chain;
use crate::sink::elasticsearch::Refresher;
use crate::source::load::LoadPlan;
use crate::source::replication::System;
use crate::state::{self, Store};

/// Somebody who looks at metrics or status waits for so long at most.
const TELL_PATIENCE: Duration = Duration::from_millis(250);

/// Lives as long as the daemon; pipelines come and go.
pub(super) struct Shared {
    registry: Registry,
    metrics: Metrics,
    board: Arc<Board>,
    status: watch::Sender<Arc<Status>>,
    started_at: Time,
    source: Mutex<SourceStatus>,
    load: Mutex<Option<LoadStatus>>,
    sinks: Vec<Arc<SinkShared>>,
    /// By sink: makes what it holds visible to searches.
    refreshers: Mutex<HashMap<String, Refresher>>,
    /// To the engine's thread, while there is one.
    commands: Mutex<Option<Commands>>,
}

/// One sink's part.
pub(super) struct SinkShared {
    name: String,
    kind: SinkKind,
    metrics: SinkMetrics,
    lanes: Vec<Lane>,
    health: Mutex<Health>,
}

struct Lane {
    projection: String,
    metrics: LaneMetrics,
    /// Position on the board.
    board: usize,
}

struct Health {
    up: bool,
    error: Option<String>,
    since: Time,
}

/// A panic elsewhere does not make these plain values wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(config: &Config) -> anyhow::Result<Arc<Self>> {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        let started_at = Time::now();
        let mut names = Vec::new();
        let mut sinks = Vec::new();
        for sink in &config.sinks {
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
            sinks.push(Arc::new(SinkShared {
                name: sink.name.clone(),
                kind: sink.kind,
                metrics: metrics.sink(&sink.name),
                lanes,
                health: Mutex::new(Health { up: false, error: None, since: started_at }),
            }));
        }
        let source = SourceStatus {
            slot: config.source.slot.clone(),
            publication: config.source.publication.clone(),
            ..SourceStatus::default()
        };
        let this = Self {
            board: Board::new(names),
            status: watch::channel(Arc::new(Status::new(started_at))).0,
            registry,
            metrics,
            started_at,
            source: Mutex::new(source),
            load: Mutex::new(None),
            sinks,
            refreshers: Mutex::new(HashMap::new()),
            commands: Mutex::new(None),
        };
        this.publish(this.document(config, Vec::new(), Vec::new(), StateStatus::default()));
        Ok(Arc::new(this))
    }

    /// The HTTP server; an address that cannot be listened on is an error at once.
    pub(super) async fn serve(
        self: &Arc<Self>,
        config: &Config,
        cancel: CancellationToken,
    ) -> anyhow::Result<impl Future<Output = ()> + use<>> {
        let listen = &config.http.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            anyhow::anyhow!("http.listen: {listen} cannot be listened on: {error}")
        })?;
        let shared = http::Shared {
            registry: self.registry.clone(),
            board: Arc::clone(&self.board),
            status: self.status.subscribe(),
            token: config.http.token.clone(),
            refresh: Some(self.refresh_hook()),
            tell: Some(self.tell_hook()),
        };
        Ok(async move {
            http::serve(listener, shared, cancel).await;
        })
    }

    /// Pushes the source's WAL on for who waits beyond its end.
    pub(super) fn push(
        &self,
        params: Params,
        cancel: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        http::push_loop(Arc::clone(&self.board), SourcePush::new(params), cancel)
    }

    fn refresh_hook(self: &Arc<Self>) -> http::Refresh {
        let shared = Arc::clone(self);
        Arc::new(move |sink, projection| {
            let refresher = lock(&shared.refreshers).get(sink).cloned();
            let (sink, projection) = (sink.to_owned(), projection.to_owned());
            Box::pin(async move {
                match refresher {
                    Some(refresher) => {
                        refresher.refresh(&projection).await.map_err(|error| chain(&error))
                    }
                    None => Err(format!("sink {sink} has no searches")),
                }
            })
        })
    }

    fn tell_hook(self: &Arc<Self>) -> http::Tell {
        let shared = Arc::clone(self);
        Arc::new(move || {
            let commands = lock(&shared.commands).clone();
            Box::pin(async move {
                let Some(commands) = commands else { return };
                let (reply, told) = oneshot::channel();
                let ask = async {
                    if commands.send(Command::Report { reply }).await.is_ok() {
                        // Without an answer the pipeline is at its end.
                        let _ = told.await;
                    }
                };
                // What a busy engine told last is at most a moment old.
                let _ = tokio::time::timeout(TELL_PATIENCE, ask).await;
            })
        })
    }

    /// The pipeline that is asked what it knows; `None` when it ends.
    pub(super) fn pipeline(&self, commands: Option<Commands>) {
        *lock(&self.commands) = commands;
    }

    pub(super) fn refresher(&self, sink: &str, refresher: Refresher) {
        lock(&self.refreshers).insert(sink.to_owned(), refresher);
    }

    pub(super) fn sink(&self, at: usize) -> Arc<SinkShared> {
        Arc::clone(&self.sinks[at])
    }

    pub(super) fn streaming(&self) {
        let mut source = lock(&self.source);
        source.connected = true;
        source.error = None;
    }

    pub(super) fn source_error(&self, why: &str) {
        let mut source = lock(&self.source);
        source.connected = false;
        source.error = Some(why.to_owned());
        drop(source);
        self.refresh();
    }

    pub(super) fn system(&self, system: &System) {
        let mut source = lock(&self.source);
        source.system_id = Some(system.system_id.clone());
        source.timeline = Some(system.timeline);
        drop(source);
        self.board.set_source_end(system.xlogpos);
    }

    pub(super) fn retained(&self, bytes: u64) {
        lock(&self.source).retained_bytes = bytes;
        self.metrics.slot_retained_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn load_begins<'a>(
        &self,
        plan: &LoadPlan,
        done: &BTreeSet<u32>,
        tables: impl Iterator<Item = &'a str>,
    ) {
        let tables = tables.enumerate().map(|(at, table)| {
            let chunks = plan.chunks.iter().filter(|chunk| chunk.table == at);
            let expected = plan.rows_expected.get(at).copied().unwrap_or(0);
            let gauge = self.metrics.table(table).load_expected;
            gauge.set(i64::try_from(expected).unwrap_or(i64::MAX));
            TableLoad {
                table: table.to_owned(),
                rows: 0,
                expected,
                chunks_done: chunks.clone().filter(|chunk| done.contains(&chunk.id)).count() as u64,
                chunks: chunks.count() as u64,
            }
        });
        *lock(&self.load) = Some(LoadStatus { tables: tables.collect(), waiting_for: None });
    }

    fn document(
        &self,
        config: &Config,
        projections: Vec<ProjectionStatus>,
        tables: Vec<TableStatus>,
        state: StateStatus,
    ) -> Status {
        let projections = if projections.is_empty() {
            config.projections.iter().map(|projection| unknown(&projection.name)).collect()
        } else {
            projections
        };
        let mut status = Status::new(self.started_at);
        status.source = lock(&self.source).clone();
        status.load = lock(&self.load).clone();
        status.projections = projections;
        status.sinks = self.sinks.iter().map(|sink| sink.status()).collect();
        status.state = StateStatus { dir: config.state.dir.display().to_string(), ..state };
        status.tables = tables;
        status
    }

    fn publish(&self, status: Status) {
        self.status.send_replace(Arc::new(status));
    }

    /// What is known of source and sinks, in the last document.
    fn refresh(&self) {
        let mut status = Status::clone(&self.status.borrow());
        status.source = lock(&self.source).clone();
        status.sinks = self.sinks.iter().map(|sink| sink.status()).collect();
        self.publish(status);
    }
}

fn unknown(projection: &str) -> ProjectionStatus {
    ProjectionStatus {
        name: projection.to_owned(),
        state: ProjectionState::Loading,
        reason: None,
        rows: 0,
        sinks: Vec::new(),
    }
}

impl SinkShared {
    pub(super) fn opened(&self) {
        self.metrics.up.set(1);
        let mut health = lock(&self.health);
        if !health.up {
            *health = Health { up: true, error: None, since: Time::now() };
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
        health.error = Some(why.to_owned());
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

    fn status(&self) -> SinkStatus {
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

/// The engine's thread's end of it.
pub(super) struct Report {
    shared: Arc<Shared>,
    config: Arc<Config>,
    store: Store,
    tables: Vec<TableMetrics>,
    counted: Vec<Counts>,
    transactions: u64,
    begun: Instant,
    /// The machine's tables that it does not follow any more.
    fallen: watch::Sender<Vec<usize>>,
    apart: Apart,
    /// The machine's projections.
    projections: Vec<String>,
    /// By sink and the machine's lane: its place among those that are shown.
    lanes: Vec<Vec<usize>>,
    /// By sink and the machine's lane: when it last had all there was.
    caught_up: Vec<Vec<Instant>>,
    disk_bytes: u64,
    disk_seen: Instant,
}

const DISK_PAUSE: Duration = Duration::from_secs(10);

impl Report {
    pub(super) fn new(
        shared: &Arc<Shared>,
        config: &Arc<Config>,
        table_names: &[String],
        init: &MachineInit,
        apart: Apart,
        fallen: watch::Sender<Vec<usize>>,
        store: &Store,
    ) -> Result<Self, state::Error> {
        let loaded = start::loaded_rows(store)?;
        let tables: Vec<TableMetrics> = table_names
            .iter()
            .map(|name| {
                let table = shared.metrics.table(name);
                // Kept over restarts: a process begins with what was loaded before it.
                let before = loaded.get(name).copied().unwrap_or(0);
                table.load_rows.inc_by(before.saturating_sub(table.load_rows.get()));
                table
            })
            .collect();
        if init.load.is_none() {
            *lock(&shared.load) = None;
        }
        let now = Instant::now();
        let projections: Vec<String> =
            init.projections.iter().map(|projection| projection.name.clone()).collect();
        let lanes = init.sinks.iter().zip(&shared.sinks).map(|(sink, shown)| {
            let place = |&at: &usize| {
                let found = shown.lanes.iter().position(|lane| lane.projection == projections[at]);
                found.expect("both are of the projections with a target in this sink")
            };
            sink.projections.iter().map(place).collect()
        });
        let lanes: Vec<Vec<usize>> = lanes.collect();
        Ok(Self {
            counted: vec![Counts::default(); tables.len()],
            tables,
            transactions: 0,
            caught_up: lanes.iter().map(|lanes| vec![now; lanes.len()]).collect(),
            lanes,
            projections,
            apart,
            fallen,
            begun: now,
            disk_bytes: store.disk_bytes()?,
            disk_seen: now,
            shared: Arc::clone(shared),
            config: Arc::clone(config),
            store: store.clone(),
        })
    }

    /// Positions, after every turn of the engine: waiters depend on them.
    pub(super) fn positions(&mut self, machine: &Machine) {
        let board = &self.shared.board;
        board.set_source_end(machine.applied());
        for (at, sink) in self.shared.sinks.iter().enumerate() {
            for (lane, &shown) in self.lanes[at].iter().enumerate() {
                let delivered = machine.delivered(at, lane);
                let shown = &sink.lanes[shown];
                board.set_delivered(shown.board, delivered.lsn, delivered.settled);
                if delivered.settled && delivered.lsn >= machine.applied() {
                    self.caught_up[at][lane] = Instant::now();
                }
            }
        }
        if let Some(wanted) = machine.wanted_position() {
            board.ask_push(wanted);
        }
    }

    pub(super) fn done(&mut self, sink: usize, work: &Work, outcome: &Outcome) {
        let count = |lane: usize, entries: &[crate::engine::Entry]| {
            let deletes = entries.iter().filter(|entry| entry.is_tombstone()).count();
            let refused = outcome.refused(lane).count();
            let metrics = &self.shared.sinks[sink].lanes[self.lanes[sink][lane]].metrics;
            metrics.deletes.inc_by(deletes as u64);
            metrics.upserts.inc_by((entries.len() - deletes).saturating_sub(refused) as u64);
        };
        match work {
            Work::Fill { lane, rows } => count(*lane, rows),
            Work::Amend { lane, changes } => count(*lane, changes),
            Work::Step(step) => step.lanes.iter().for_each(|part| count(part.lane, &part.entries)),
            Work::BeginFill { .. } | Work::EndFill { .. } | Work::Reopen => {}
        }
    }

    /// A table's load brought rows, perhaps a chunk's last ones. Returns how many it has brought ever.
    pub(super) fn loaded(
        &mut self,
        machine: &Machine,
        table: usize,
        rows: usize,
        chunk_done: bool,
    ) -> u64 {
        self.tables[table].load_rows.inc_by(rows as u64);
        let name = &machine.tables()[table].name;
        if let Some(load) = lock(&self.shared.load).as_mut() {
            for shown in load.tables.iter_mut().filter(|shown| shown.table == *name) {
                shown.rows += rows as u64;
                shown.chunks_done += u64::from(chunk_done);
                if chunk_done {
                    tracing::info!(
                        table = shown.table,
                        rows = shown.rows,
                        expected = shown.expected,
                        chunk = shown.chunks_done,
                        of = shown.chunks,
                        "loading"
                    );
                }
            }
        }
        self.tables[table].load_rows.get()
    }

    pub(super) fn load_ended(&self) {
        *lock(&self.shared.load) = None;
        tracing::info!("the load is over");
    }

    /// Everything, now and then.
    pub(super) fn full(&mut self, machine: &Machine, durable: Lsn) {
        self.count(machine);
        if self.disk_seen.elapsed() >= DISK_PAUSE {
            self.disk_seen = Instant::now();
            // A size that cannot be read stays the last one known.
            self.disk_bytes = self.store.disk_bytes().unwrap_or(self.disk_bytes);
        }
        let memory = machine.memory_bytes() as u64;
        let metrics = &self.shared.metrics;
        metrics.state_bytes("memory").set(number(memory));
        metrics.state_bytes("disk").set(number(self.disk_bytes));
        let end = self.shared.board.source_end();
        let lag = end.0.saturating_sub(machine.applied().0);
        metrics.source_lag_bytes.set(number(lag));
        metrics.applied_lsn.set(number(machine.applied().0));
        metrics.durable_lsn.set(number(durable.0));
        {
            let mut source = lock(&self.shared.source);
            source.received_lsn = end;
            source.applied_lsn = machine.applied();
            source.durable_lsn = durable;
            source.committed_at =
                (machine.committed_at() != 0).then(|| Time(machine.committed_at()));
            source.lag_bytes = lag;
        }
        let fallen = machine.tables().iter().enumerate();
        let fallen = fallen.filter(|(_, table)| matches!(table.stage, Stage::Quarantined(_)));
        self.fallen.send_replace(fallen.map(|(at, _)| at).collect());
        let projections = self.projections(machine);
        let tables = machine.tables().iter().enumerate().map(|(at, table)| TableStatus {
            name: table.name.clone(),
            state: match &table.stage {
                Stage::Live => ProjectionState::Live,
                Stage::Loading => ProjectionState::Loading,
                Stage::Quarantined(_) => ProjectionState::Quarantined,
            },
            reason: match &table.stage {
                Stage::Quarantined(why) => Some(why.clone()),
                Stage::Live | Stage::Loading => None,
            },
            rows: machine.table_rows(at) as u64,
        });
        let apart = self.apart.tables.iter().map(|(name, why)| TableStatus {
            name: name.clone(),
            state: ProjectionState::Quarantined,
            reason: Some(why.clone()),
            rows: 0,
        });
        let kept = machine.kept().into_iter().map(|kept| KeptStatus {
            what: kept.what,
            rows: kept.rows as u64,
            bytes: kept.bytes as u64,
            projections: kept.projections,
        });
        let state = StateStatus {
            dir: String::new(),
            memory_bytes: memory,
            disk_bytes: self.disk_bytes,
            kept: kept.collect(),
        };
        let status =
            self.shared.document(&self.config, projections, tables.chain(apart).collect(), state);
        self.shared.publish(status);
    }

    fn projections(&self, machine: &Machine) -> Vec<ProjectionStatus> {
        let of_projection = |name: &str| {
            let Some(at) = self.projections.iter().position(|known| known == name) else {
                return ProjectionStatus {
                    name: name.to_owned(),
                    state: ProjectionState::Quarantined,
                    reason: self.apart.projections.get(name).cloned(),
                    rows: 0,
                    sinks: self.lanes_apart(machine, name),
                };
            };
            let reason = machine.quarantine_of(at);
            let state = match (&reason, machine.is_ready(at)) {
                (Some(_), _) => ProjectionState::Quarantined,
                (None, true) => ProjectionState::Live,
                (None, false) => ProjectionState::Loading,
            };
            ProjectionStatus {
                name: name.to_owned(),
                state,
                reason,
                rows: machine.projection_rows(at) as u64,
                sinks: self.lanes(machine, name),
            }
        };
        let names = self.config.projections.iter().map(|projection| projection.name.as_str());
        names.map(of_projection).collect()
    }

    /// Of a projection that is not followed: where its sinks were last known to be.
    fn lanes_apart(&self, machine: &Machine, projection: &str) -> Vec<LaneStatus> {
        let mut lanes = Vec::new();
        for sink in &self.shared.sinks {
            for shown in sink.lanes.iter().filter(|lane| lane.projection == projection) {
                let (lsn, settled) = self.shared.board.delivered(shown.board);
                let lag_bytes = machine.applied().0.saturating_sub(lsn.0);
                let lag_seconds = self.begun.elapsed().as_secs_f64();
                shown.metrics.lag_bytes.set(number(lag_bytes));
                shown.metrics.lag_seconds.set(lag_seconds);
                lanes.push(LaneStatus {
                    sink: sink.name.clone(),
                    state: http::LaneState::Halted,
                    lsn,
                    settled,
                    generation: 0,
                    lag_bytes,
                    lag_seconds,
                    dead_letters: 0,
                });
            }
        }
        lanes
    }

    fn lanes(&self, machine: &Machine, projection: &str) -> Vec<LaneStatus> {
        let mut lanes = Vec::new();
        for (at, sink) in self.shared.sinks.iter().enumerate() {
            for (lane, &shown) in self.lanes[at].iter().enumerate() {
                let shown = &sink.lanes[shown];
                if shown.projection != projection {
                    continue;
                }
                let delivered = machine.delivered(at, lane);
                let dead = machine.dead_letters(at, lane) as u64;
                let lag_bytes = machine.applied().0.saturating_sub(delivered.lsn.0);
                let lag_seconds = if lag_bytes == 0 && delivered.settled {
                    0.0
                } else {
                    self.caught_up[at][lane].elapsed().as_secs_f64()
                };
                shown.metrics.dead_letters.set(number(dead));
                shown.metrics.lag_bytes.set(number(lag_bytes));
                shown.metrics.lag_seconds.set(lag_seconds);
                lanes.push(LaneStatus {
                    sink: sink.name.clone(),
                    state: machine.lane_state(at, lane).into(),
                    lsn: delivered.lsn,
                    settled: delivered.settled,
                    generation: machine.generation(at, lane),
                    lag_bytes,
                    lag_seconds,
                    dead_letters: dead,
                });
            }
        }
        lanes
    }

    fn count(&mut self, machine: &Machine) {
        let total = machine.transactions_total();
        self.shared.metrics.transactions.inc_by(total - self.transactions);
        self.transactions = total;
        for ((counts, seen), table) in
            machine.counts().iter().zip(&mut self.counted).zip(&self.tables)
        {
            table.insert.inc_by(counts.insert - seen.insert);
            table.update.inc_by(counts.update - seen.update);
            table.delete.inc_by(counts.delete - seen.delete);
            table.truncate.inc_by(counts.truncate - seen.truncate);
            *seen = *counts;
        }
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
