//! What lives as long as the daemon, while pipelines come and go: metrics, the board that waiters read,
//! the status document, and what is known of the source and of each sink.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::engine_thread::Command;
use super::laid::Laid;
use super::lead::Lead;
use super::look::{self, Details};
use super::operator::{ByHand, Running};
use crate::config::{Config, Secret};
use crate::http::{
    self, Board, LoadStatus, ProjectionState, ProjectionStatus, ReloadStatus, SourcePush,
    SourceStatus, StateStatus, Status, TableLoad, TableStatus, Time,
};
use crate::lsn::Lsn;
use crate::metrics::Metrics;
use crate::pg::Params;
use crate::sink::delivery::chain;
use crate::sink::elasticsearch::Refresher;
use crate::source::catalog::{Slot, SlotWal};
use crate::source::load::LoadPlan;
use crate::source::replication::System;
use crate::source::slot::Blocker;

/// Somebody who looks at metrics or status waits for so long at most.
pub(super) const TELL_PATIENCE: Duration = Duration::from_millis(250);

/// Lives as long as the daemon; pipelines come and go.
pub(super) struct Shared {
    registry: Registry,
    pub(super) metrics: Metrics,
    laid: Mutex<Arc<Laid>>,
    board: watch::Sender<Arc<Board>>,
    token: watch::Sender<Option<Secret>>,
    params: watch::Sender<Params>,
    pub(super) lead: Arc<Lead>,
    status: watch::Sender<Arc<Status>>,
    started_at: Time,
    pub(super) source: Mutex<SourceStatus>,
    pub(super) load: Mutex<Option<LoadStatus>>,
    reload: Mutex<Option<ReloadStatus>>,
    /// By sink: makes what it holds visible to searches.
    refreshers: Mutex<HashMap<String, Refresher>>,
    /// To the pipeline, while there is one.
    running: Mutex<Option<Running>>,
    /// Changes when a pipeline begins.
    begun: watch::Sender<()>,
    /// Changes when an event occurs.
    occurred: watch::Sender<()>,
    /// What is known of the projections but for their rows.
    details: Mutex<Details>,
    slot_wal: watch::Sender<SlotWal>,
    wal_end: AtomicU64,
    dropping_slot: watch::Sender<bool>,
    /// Projections that somebody wants as the schema is now, whatever they were.
    wanted_anew: Mutex<BTreeSet<String>>,
    /// The log says that the slot does not fail over.
    is_slot_told: AtomicBool,
}

/// A panic elsewhere does not make these plain values wrong.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(config: &Arc<Config>, params: &Params) -> Arc<Self> {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        let started_at = Time::now();
        let laid = Arc::new(Laid::new(config, &metrics, None));
        let source = SourceStatus {
            slot: config.source.slot.clone(),
            publication: config.source.publication.clone(),
            wal_budget_bytes: config.source.wal_budget,
            ..SourceStatus::default()
        };
        let this = Self {
            lead: Arc::new(Lead::new(config.ha.as_ref(), &metrics)),
            board: watch::channel(Arc::clone(&laid.board)).0,
            laid: Mutex::new(laid),
            token: watch::channel(config.http.token.clone()).0,
            params: watch::channel(params.clone()).0,
            status: watch::channel(Arc::new(Status::new(started_at))).0,
            registry,
            metrics,
            started_at,
            source: Mutex::new(source),
            load: Mutex::new(None),
            reload: Mutex::new(None),
            refreshers: Mutex::new(HashMap::new()),
            running: Mutex::new(None),
            begun: watch::channel(()).0,
            occurred: watch::channel(()).0,
            details: Mutex::new(look::details(config, None, &[])),
            slot_wal: watch::channel(SlotWal::default()).0,
            wal_end: AtomicU64::new(0),
            dropping_slot: watch::channel(false).0,
            wanted_anew: Mutex::new(BTreeSet::new()),
            is_slot_told: AtomicBool::new(false),
        };
        this.publish(this.document(config, Vec::new(), Vec::new(), StateStatus::default()));
        Arc::new(this)
    }

    /// Once says of a slot that somebody has made without FAILOVER, or an earlier version of the source, what
    /// that means. It can be altered while nobody reads it.
    pub(super) fn tell_of_slot(&self, name: &str, slot: Option<&Slot>) {
        let stays_behind = slot.is_some_and(|slot| slot.failover == Some(false));
        if stays_behind && !self.is_slot_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                slot = name,
                hint = format!(
                    "stop readside, and run in a replication session of the source's database \
                     (psql 'dbname=... replication=database'): ALTER_REPLICATION_SLOT {name} (FAILOVER true)"
                ),
                "the slot does not fail over: standbys do not take it along, and after a failover \
                 everything is loaded anew"
            );
        }
    }

    /// The next pipeline takes the projection as it finds it.
    pub(super) fn want_anew(&self, projection: &str) {
        lock(&self.wanted_anew).insert(projection.to_owned());
    }

    pub(super) fn take_wanted_anew(&self) -> BTreeSet<String> {
        std::mem::take(&mut lock(&self.wanted_anew))
    }

    /// Shows what another configuration has from now on; between two pipelines.
    pub(super) fn lay(&self, config: &Arc<Config>, params: &Params) {
        let before = self.laid();
        let laid = Arc::new(Laid::new(config, &self.metrics, Some(&before)));
        self.board.send_replace(Arc::clone(&laid.board));
        *lock(&self.laid) = laid;
        self.token.send_replace(config.http.token.clone());
        self.params.send_replace(params.clone());
        self.details(look::details(config, None, &[]));
        let named = |name: &String| config.sinks.iter().any(|sink| sink.name == *name);
        lock(&self.refreshers).retain(|name, _| named(name));
        let mut source = lock(&self.source);
        source.wal_budget_bytes = config.source.wal_budget;
        drop(source);
        let last = self.status();
        let of_projection = |name: &str| {
            let known = last.projections.iter().find(|known| known.name == name);
            known.cloned().unwrap_or_else(|| unknown(name))
        };
        let projections = config.projections.iter().map(|of| of_projection(&of.name)).collect();
        let (tables, state) = (last.tables.clone(), last.state.clone());
        self.publish(self.document(config, projections, tables, state));
    }

    /// What there is by the configuration that is in use.
    pub(super) fn laid(&self) -> Arc<Laid> {
        Arc::clone(&lock(&self.laid))
    }

    /// Of the source.
    pub(super) fn params(&self) -> Params {
        self.params.borrow().clone()
    }

    /// What became of the last attempt to apply another configuration.
    pub(super) fn reload(&self, reload: ReloadStatus) {
        self.metrics.reloaded(reload.result);
        *lock(&self.reload) = Some(reload);
        self.refresh();
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
            board: self.board.subscribe(),
            status: self.status.subscribe(),
            token: self.token.subscribe(),
            listen: listen.clone(),
            refresh: Some(self.refresh_hook()),
            tell: Some(self.tell_hook()),
            operator: Some(Arc::new(ByHand::new(Arc::clone(self)))),
            look: Some(self.look_hook()),
        };
        Ok(async move {
            http::serve(listener, shared, cancel).await;
        })
    }

    /// Pushes the source's WAL on for who waits beyond its end.
    pub(super) fn push(
        &self,
        cancel: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        http::push_loop(self.board(), SourcePush::new(self.params.subscribe()), cancel)
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
            let running = shared.running();
            Box::pin(async move {
                let Some(Running { commands, .. }) = running else { return };
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

    fn look_hook(self: &Arc<Self>) -> http::Look {
        let shared = Arc::clone(self);
        Arc::new(move |projection| {
            let detail = lock(&shared.details).get(projection).cloned();
            let commands = shared.running().map(|running| running.commands);
            Box::pin(async move { Some(look::with_rows(detail?, commands).await) })
        })
    }

    pub(super) fn details(&self, details: Details) {
        *lock(&self.details) = details;
    }

    /// The pipeline that is asked what it knows; `None` when it ends.
    pub(super) fn pipeline(&self, running: Option<Running>) {
        let begins = running.is_some();
        *lock(&self.running) = running;
        if begins {
            self.begun.send_replace(());
        }
    }

    /// Those who look on at events.
    pub(super) fn occurred(&self) -> &watch::Sender<()> {
        &self.occurred
    }

    /// How many follow the rows of any projection, or events.
    pub(super) fn followers_total(&self) -> usize {
        self.laid().followers_total() + self.occurred.receiver_count()
    }

    pub(super) fn begun(&self) -> watch::Receiver<()> {
        self.begun.subscribe()
    }

    /// The newest document.
    pub(super) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    pub(super) fn board(&self) -> Arc<Board> {
        Arc::clone(&self.laid().board)
    }

    pub(super) fn running(&self) -> Option<Running> {
        lock(&self.running).clone()
    }

    pub(super) fn refresher(&self, sink: &str, refresher: Refresher) {
        lock(&self.refreshers).insert(sink.to_owned(), refresher);
    }

    pub(super) fn streaming(&self) {
        let mut source = lock(&self.source);
        source.connected = true;
        source.error = None;
        self.metrics.source_up.set(1);
    }

    pub(super) fn source_error(&self, why: &str) {
        let mut source = lock(&self.source);
        source.connected = false;
        source.error = Some(why.to_owned());
        self.metrics.source_up.set(0);
        drop(source);
        self.refresh();
    }

    pub(super) fn system(&self, system: &System) {
        let mut source = lock(&self.source);
        source.system_id = Some(system.system_id.clone());
        source.timeline = Some(system.timeline);
        drop(source);
        self.board().set_source_end(system.xlogpos);
        self.wal_end.store(system.xlogpos.0, Ordering::Relaxed);
    }

    /// Where the source's WAL ended when somebody looked.
    pub(super) fn wal_end(&self) -> Lsn {
        Lsn(self.wal_end.load(Ordering::Relaxed))
    }

    /// What the server keeps for the slot; nothing where there is none.
    pub(super) fn retained(&self, wal: SlotWal) {
        let bytes = wal.retained_bytes;
        self.wal_end.store(wal.end.0, Ordering::Relaxed);
        lock(&self.source).retained_bytes = bytes;
        self.metrics.slot_retained_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.slot_wal.send_replace(wal);
    }

    /// Each look at what the server keeps for the slot, whoever looks.
    pub(super) fn slot_wal(&self) -> watch::Receiver<SlotWal> {
        self.slot_wal.subscribe()
    }

    pub(super) fn wal_budget(&self, alarm: Option<String>, held_by: Option<String>) {
        let mut source = lock(&self.source);
        (source.wal_alarm, source.wal_held_by) = (alarm, held_by);
        drop(source);
        self.refresh();
    }

    /// While it is true the slot is being dropped and no pipeline may use it.
    pub(super) fn dropping_slot(&self) -> &watch::Sender<bool> {
        &self.dropping_slot
    }

    /// The load cannot begin before this transaction has ended; `None`: it can.
    pub(super) fn load_waits(&self, blocker: Option<&Blocker>) {
        let mut load = lock(&self.load);
        match blocker {
            Some(blocker) => {
                load.get_or_insert_default().waiting_for = Some(blocker.to_string());
            }
            None => *load = None,
        }
        drop(load);
        self.refresh();
    }

    /// There is a load, of which nothing is known yet.
    pub(super) fn load_to_come(&self) {
        lock(&self.load).get_or_insert_default();
    }

    pub(super) fn is_loading(&self) -> bool {
        lock(&self.load).is_some()
    }

    pub(super) fn load_begins<'a>(
        &self,
        plan: &LoadPlan,
        done: &BTreeSet<u32>,
        rows: &[u64],
        tables: impl Iterator<Item = &'a str>,
    ) {
        let tables = tables.enumerate().map(|(at, table)| {
            let chunks = plan.chunks.iter().filter(|chunk| chunk.table == at);
            let expected = plan.rows_expected.get(at).copied().unwrap_or(0);
            let gauge = self.metrics.table(table).load_expected;
            gauge.set(i64::try_from(expected).unwrap_or(i64::MAX));
            TableLoad {
                table: table.to_owned(),
                rows: rows.get(at).copied().unwrap_or(0),
                expected,
                chunks_done: chunks.clone().filter(|chunk| done.contains(&chunk.id)).count() as u64,
                chunks: chunks.count() as u64,
            }
        });
        *lock(&self.load) = Some(LoadStatus { tables: tables.collect(), waiting_for: None });
    }

    pub(super) fn document(
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
        status.ha = self.lead.status();
        status.load = lock(&self.load).clone();
        status.reload = lock(&self.reload).clone();
        status.projections = projections;
        status.sinks = self.laid().sinks.iter().map(|sink| sink.status()).collect();
        status.state = StateStatus { dir: config.state.dir.display().to_string(), ..state };
        status.tables = tables;
        status
    }

    pub(super) fn publish(&self, status: Status) {
        self.status.send_replace(Arc::new(status));
    }

    /// What is known of source and sinks, in the last document.
    pub(super) fn refresh(&self) {
        let mut status = Status::clone(&self.status.borrow());
        status.ha = self.lead.status();
        status.source = lock(&self.source).clone();
        status.load = lock(&self.load).clone();
        status.reload = lock(&self.reload).clone();
        status.sinks = self.laid().sinks.iter().map(|sink| sink.status()).collect();
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
