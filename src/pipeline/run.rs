//! The daemon: everything that the machine decides is done here, by tasks and two threads.
//!
//! ```text
//! stream task -> gulps -> engine's thread -> checkpoints -> store's thread
//!                          |        ^
//!                  work    v        |  standings, outcomes, loaded rows
//!                        delivery tasks, load task
//! ```
//!
//! A pipeline lives until something about it is no longer true: the store fails, the catalog changes,
//! the stream cannot be read. Then it is taken down, and built anew from the store. What readers see
//! stays as it is meanwhile.

mod apart;
mod bind;
pub(crate) mod check;
mod engine_thread;
mod estimate;
mod events;
pub(crate) mod explain;
mod facts;
mod histories;
mod history;
mod laid;
mod lead;
mod link;
mod load_task;
mod look;
mod operator;
mod plan_load;
mod queries;
mod questions;
mod reload;
mod report;
mod schema;
mod shared;
mod standing;
mod start;
mod stream_task;
mod uses;
mod wal_budget;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::engine_thread::{Command, Commands, End, EngineThread, StoreLink};
use self::lead::Role;
use self::link::Link;
use self::operator::{Hubs, Running};
use self::reload::{Next, Reloader};
pub(crate) use self::reload::{Origin, outlive_hangups};
use self::report::Report;
use self::shared::Shared;
use self::start::{StartError, Started};
use self::uses::Seen;
use crate::config::{Config, SinkConfig, SinkKind};
use crate::lsn::Durable;
use crate::memory::{self, Spilling};
use crate::pg::Params;
use crate::pipeline::Machine;
use crate::sink::delivery::{chain, deliver, watch as watch_sink};
use crate::sink::elasticsearch::ElasticsearchSink;
use crate::sink::postgres::PostgresSink;
use crate::sink::redis::RedisSink;
use crate::sink::{self, Backoff, Sink, SinkError, SinkProjection};
use crate::source::stream::gulp_queue;
use crate::state::Store;

/// Gulps that wait for the engine, of up to a few megabytes each.
const GULPS: usize = 4;
const COMMANDS: usize = 256;
/// How long tasks may take to end before they are left behind.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// One that ends sooner than this may do so again and again: the pauses grow. Less than the pause
/// between two looks at the catalog, of which each may find something changed.
const LONG_LIFE: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT, or until something that only a human can mend.
pub(crate) fn run(config: Config, origin: Origin) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let cancel = CancellationToken::new();
        let signals = signals(cancel.clone())?;
        let hangups = signal(SignalKind::hangup())?;
        let daemon = daemon(Arc::new(config), origin, hangups, cancel);
        tokio::select! {
            ended = daemon => ended,
            () = signals => Ok(()),
        }
    })
}

/// Cancels at the first signal; ends at the second, which is for the impatient.
fn signals(cancel: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A file beyond the limit of its size is an error of whoever writes it, not our end.
    let too_large = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
    Ok(async move {
        let _too_large = too_large;
        for round in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if round == 0 {
                tracing::info!("stopping");
                cancel.cancel();
            }
        }
    })
}

async fn daemon(
    config: Arc<Config>,
    origin: Origin,
    hangups: Signal,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let password = config.source.password.as_ref();
    let params = Params::parse(config.source.url.expose(), password)?;
    let shared = Shared::new(&config, &params);
    let tasks = TaskTracker::new();
    tasks.spawn(shared.serve(&config, cancel.clone()).await?);
    // The lease is given back when nothing is delivered any more.
    let leaves = CancellationToken::new();
    if let Some(ha) = config.ha.clone() {
        tasks.spawn(lead::keep(ha, Arc::clone(&shared), leaves.clone()));
    }
    tasks.spawn(shared.push(cancel.clone()));
    tasks.spawn(wal_budget::guard(Arc::clone(&shared), cancel.clone()));
    let (reloads, next) = mpsc::channel(1);
    let reloader = Reloader {
        origin,
        config: Arc::clone(&config),
        shared: Arc::clone(&shared),
        hangups,
        daemon: reloads,
    };
    tasks.spawn(reloader.run(cancel.clone()));
    introduce(&config, &params);
    let ended = pipelines(config, params, &shared, next, &cancel).await;
    cancel.cancel();
    leaves.cancel();
    tasks.close();
    // Connections of HTTP clients may linger; they end with the process.
    let _ = tokio::time::timeout(SHUTDOWN_PATIENCE, tasks.wait()).await;
    ended
}

/// One after the other, each by the configuration that is the newest when it begins.
async fn pipelines(
    mut config: Arc<Config>,
    mut params: Params,
    shared: &Arc<Shared>,
    mut reloads: mpsc::Receiver<Next>,
    cancel: &CancellationToken,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::default();
    let mut seen = Seen::default();
    loop {
        let stop = cancel.child_token();
        let (ended, mut next) = {
            let built = undisturbed(&config, &params, shared, &stop, &mut seen, &mut backoff);
            tokio::pin!(built);
            tokio::select! {
                ended = &mut built => (ended, None),
                Some(next) = reloads.recv() => {
                    stop.cancel();
                    (built.await, Some(next))
                }
            }
        };
        match ended {
            _ if cancel.is_cancelled() => return ended.or_else(unless_passing),
            // The slot was dropped meanwhile, or another configuration takes over.
            Ok(()) => {}
            Err(error) if error.is_final() => return Err(error.into()),
            Err(error) => {
                let pause = backoff.pause();
                shared.source_error(&chain(&error));
                tracing::warn!(retry_in_ms = pause.as_millis(), error = %chain(&error), "the pipeline is built anew");
                if next.is_none() {
                    next = tokio::select! {
                        () = cancel.cancelled() => return Ok(()),
                        Some(next) = reloads.recv() => Some(next),
                        () = tokio::time::sleep(pause) => None,
                    };
                }
            }
        }
        let Some(Next { config: other, params: its, changes, applied }) = next else { continue };
        changes.iter().filter_map(|change| change.part.projection()).for_each(|of| seen.forget(of));
        (config, params) = (other, its);
        shared.lay(&config, &params);
        // Who asked may be at its end.
        let _ = applied.send(());
    }
}

/// At the process's end only what a human has to mend is an error.
fn unless_passing(error: PipelineError) -> anyhow::Result<()> {
    if error.is_final() { Err(error.into()) } else { Ok(()) }
}

fn introduce(config: &Config, params: &Params) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        source = params.place(),
        slot = config.source.slot,
        publication = config.source.publication,
        state = %config.state.dir.display(),
        http = config.http.listen,
        "readside"
    );
    for sink in &config.sinks {
        let of_sink = config
            .projections
            .iter()
            .filter(|projection| projection.targets.iter().any(|(name, _)| *name == sink.name));
        let projections: Vec<&str> = of_sink.map(|projection| projection.name.as_str()).collect();
        tracing::info!(sink = sink.name, kind = %sink.kind, projections = projections.join(", "), "sink");
    }
}

#[derive(Debug, thiserror::Error)]
enum PipelineError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    State(#[from] crate::state::Error),
    #[error(transparent)]
    Fault(#[from] crate::pipeline::Fault),
    #[error(transparent)]
    End(#[from] End),
    #[error("{0}")]
    Changed(String),
    #[error("the load failed")]
    Load(#[from] crate::source::load::Error),
    #[error("the memory cannot be bounded by a file in state.dir")]
    Memory(#[source] std::io::Error),
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
}

impl PipelineError {
    /// Building it anew would come to the same end.
    fn is_final(&self) -> bool {
        match self {
            PipelineError::State(error) => error.is_final(),
            PipelineError::Start(error) => error.is_final(),
            _ => false,
        }
    }
}

/// One pipeline, unless the slot is about to be dropped: it ends then, and none begins before that is
/// done.
async fn undisturbed(
    config: &Arc<Config>,
    params: &Params,
    shared: &Arc<Shared>,
    cancel: &CancellationToken,
    seen: &mut Seen,
    backoff: &mut Backoff,
) -> Result<(), PipelineError> {
    let mut dropping = shared.dropping_slot().subscribe();
    let free = async { dropping.wait_for(|dropping| !dropping).await.is_ok() };
    cancel.run_until_cancelled(free).await;
    let stop = cancel.child_token();
    let pipeline = pipeline(config, params, shared, &stop, seen, backoff);
    tokio::pin!(pipeline);
    let mut dropping = shared.dropping_slot().subscribe();
    tokio::select! {
        ended = &mut pipeline => ended,
        _ = dropping.wait_for(|dropping| *dropping) => {
            stop.cancel();
            pipeline.await
        }
    }
}

/// Builds one pipeline and waits for its end. `Ok`: it was told to stop.
async fn pipeline(
    config: &Arc<Config>,
    params: &Params,
    shared: &Arc<Shared>,
    cancel: &CancellationToken,
    seen: &mut Seen,
    backoff: &mut Backoff,
) -> Result<(), PipelineError> {
    // It reads its journals when it is opened, and waits for its workers when it is closed: neither holds up HTTP.
    let state = config.state.clone();
    // Whatever the store keeps in memory counts, too.
    let store = aside(move || Store::open(&state.dir, state.memory / 8)).await??;
    let ended = upon(&store, config, params, shared, cancel, seen, backoff).await;
    let closing = aside(move || drop(store));
    tokio::pin!(closing);
    if let Ok(closed) = tokio::time::timeout(SHUTDOWN_PATIENCE, &mut closing).await {
        closed?;
    } else {
        tracing::warn!(dir = %config.state.dir.display(), "the state takes long to close");
        closing.await?;
    }
    ended
}

/// What may take long without being a task's own waiting.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PipelineError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panicked| PipelineError::Thread(panicked.into()))
}

async fn upon(
    store: &Store,
    config: &Arc<Config>,
    params: &Params,
    shared: &Arc<Shared>,
    cancel: &CancellationToken,
    seen: &mut Seen,
    backoff: &mut Backoff,
) -> Result<(), PipelineError> {
    memory::bound(&config.state.dir, config.state.memory).map_err(PipelineError::Memory)?;
    let waits = |blocker: Option<&_>| shared.load_waits(blocker);
    let epoch = shared.lead.take_epoch();
    let started = tokio::select! {
        started = start::prepare(config, params, store, seen, epoch, &waits, cancel) => started?,
        () = cancel.cancelled() => return Ok(()),
    };
    shared.tell_of_slot(&config.source.slot, started.catalog.slot.as_ref());
    let begun = std::time::Instant::now();
    let store = store.clone();
    let mut pipeline = Pipeline::new(config, params, shared, store, cancel.child_token())?;
    let ended = pipeline.run(started, seen.clone()).await;
    pipeline.take_down().await;
    if begun.elapsed() >= LONG_LIFE {
        backoff.reset();
    }
    ended
}

/// The tasks and threads of one pipeline.
struct Pipeline {
    config: Arc<Config>,
    params: Params,
    shared: Arc<Shared>,
    store: Store,
    /// Ends the tasks.
    cancel: CancellationToken,
    tasks: TaskTracker,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Pipeline {
    fn new(
        config: &Arc<Config>,
        params: &Params,
        shared: &Arc<Shared>,
        store: Store,
        cancel: CancellationToken,
    ) -> Result<Self, PipelineError> {
        Ok(Self {
            config: Arc::clone(config),
            params: params.clone(),
            shared: Arc::clone(shared),
            store,
            cancel,
            tasks: TaskTracker::new(),
            threads: Vec::new(),
        })
    }

    async fn run(&mut self, started: Started, seen: Seen) -> Result<(), PipelineError> {
        let Started {
            init,
            load,
            sinks,
            origin,
            scope,
            catalog,
            divided,
            apart,
            uses,
            details,
            ..
        } = started;
        self.shared.details(details);
        let (fallen, fallen_seen) = watch::channel(Vec::new());
        let report =
            Report::new(&self.shared, &started.table_names, &init, apart, fallen, &self.store)?;
        let machine = {
            let _spilling = Spilling::begin();
            Machine::new(init)?
        };
        if load.is_some() {
            self.shared.load_to_come();
        }
        let origin = sink::Origin { term: self.shared.lead.term(), ..origin };
        let (gulp_sender, gulps) = gulp_queue(GULPS);
        let (commands, command_queue) = Commands::queue(COMMANDS);
        let (durable, durable_seen) = watch::channel(Durable(machine.position().lsn));
        let (wanted, wanted_rows) = mpsc::channel(1);
        let (ended, mut end) = mpsc::channel::<PipelineError>(4);
        self.shared.pipeline(Some(Running {
            commands: commands.clone(),
            config: Arc::clone(&self.config),
            params: self.params.clone(),
            sinks: sinks.clone().into(),
            ended: ended.clone(),
            hubs: Arc::new(Hubs::default()),
            begun: self.shared.begun(),
        }));
        let store = self.start_store()?;
        let thread = EngineThread {
            machine,
            gulps,
            commands: command_queue,
            store,
            reader: self.store.clone(),
            durable,
            wanted,
            report,
            load_room: Vec::new(),
            durable_asked: Vec::new(),
            durable_soon: Vec::new(),
            tries: Vec::new(),
        };
        self.start_engine(thread, sinks.len(), ended.clone())?;
        for (at, (sink, projections)) in self.config.sinks.clone().iter().zip(sinks).enumerate() {
            self.start_delivery(at, sink, &origin, projections, &commands);
        }
        if let Some(load) = load {
            let tables = started.table_names.clone();
            let task = load_task::run(
                self.params.clone(),
                load,
                tables,
                self.config.source.load_rows_per_second,
                commands.clone(),
                wanted_rows,
                Arc::clone(&self.shared),
                self.cancel.clone(),
            );
            let ended = ended.clone();
            self.tasks.spawn(async move {
                if let Err(error) = task.await {
                    // Nobody listens any more when another end came first.
                    let _ = ended.send(PipelineError::Load(error)).await;
                }
            });
        }
        let source = stream_task::Source {
            params: self.params.clone(),
            slot: self.config.source.slot.clone(),
            publication: self.config.source.publication.clone(),
            system_id: catalog.server.system_id.clone(),
            timeline: origin.history.timeline,
            history: origin.history.tag(),
        };
        self.tasks.spawn(stream_task::run(
            source,
            gulp_sender,
            durable_seen,
            commands.clone(),
            ended.clone(),
            Arc::clone(&self.shared),
            self.cancel.clone(),
        ));
        self.tasks.spawn(stream_task::watch_catalog(
            Arc::clone(&self.config),
            self.params.clone(),
            scope,
            catalog,
            divided,
            seen,
            uses,
            started.table_names.clone(),
            fallen_seen,
            self.store.clone(),
            commands.clone(),
            ended.clone(),
            Arc::clone(&self.shared),
            self.cancel.clone(),
        ));
        drop(ended);
        tokio::select! {
            () = self.cancel.cancelled() => {
                // The engine's thread stores what there is and ends; an end by fault comes first.
                let _ = commands.send(Command::Stop).await;
                match end.recv().await {
                    Some(PipelineError::End(End::Stopped)) | None => Ok(()),
                    Some(error) => Err(error),
                }
            }
            () = self.shared.lead.other_epoch() => {
                let _ = commands.send(Command::Stop).await;
                Err(PipelineError::Changed("the leader counts its positions anew".to_owned()))
            }
            error = end.recv() => {
                let error = error.unwrap_or(PipelineError::End(End::Gone));
                if !matches!(error, PipelineError::End(_)) {
                    let _ = commands.send(Command::Stop).await;
                }
                Err(error)
            }
        }
    }

    fn start_store(&mut self) -> Result<StoreLink, PipelineError> {
        let (checkpoints, taken) = crossbeam_channel::bounded(1);
        let (answered, answers) = crossbeam_channel::bounded(1);
        let store = self.store.clone();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || engine_thread::run_store(store, taken, answered));
        self.threads.push(thread.map_err(PipelineError::Thread)?);
        Ok(StoreLink { checkpoints, answers })
    }

    fn start_engine(
        &mut self,
        thread: EngineThread,
        sinks: usize,
        ended: mpsc::Sender<PipelineError>,
    ) -> Result<(), PipelineError> {
        let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let end = engine_thread::run(thread, sinks);
            // Nobody listens any more when another end came first.
            let _ = ended.blocking_send(PipelineError::End(end));
        });
        self.threads.push(thread.map_err(PipelineError::Thread)?);
        Ok(())
    }

    fn start_delivery(
        &self,
        at: usize,
        config: &SinkConfig,
        origin: &sink::Origin,
        projections: Vec<SinkProjection>,
        commands: &Commands,
    ) {
        let lead = &self.shared.lead;
        let role = lead.role();
        let link = Link::new(
            at,
            commands.clone(),
            Arc::clone(&self.shared.laid().sinks[at]),
            Arc::clone(lead),
            origin.history.clone(),
            projections.clone(),
        );
        let origin = origin.clone();
        let (config, cancel) = (config.clone(), self.cancel.clone());
        match config.kind {
            SinkKind::Postgres => {
                let sink = Ok(PostgresSink::new(&config, origin, projections.clone()));
                self.tasks.spawn(delivery(config.name, sink, projections, link, role, cancel));
            }
            SinkKind::Redis => {
                let sink = RedisSink::new(&config, origin, projections.clone());
                self.tasks.spawn(delivery(config.name, sink, projections, link, role, cancel));
            }
            SinkKind::Elasticsearch => {
                let sink = ElasticsearchSink::new(&config, origin, projections.clone());
                if let Ok(sink) = &sink {
                    self.shared.refresher(&config.name, sink.refresher());
                }
                self.tasks.spawn(delivery(config.name, sink, projections, link, role, cancel));
            }
        }
    }

    async fn take_down(self) {
        self.shared.pipeline(None);
        self.cancel.cancel();
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_PATIENCE, self.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        let threads = self.threads;
        let joined = aside(move || {
            threads.into_iter().map(std::thread::JoinHandle::join).all(|ended| ended.is_ok())
        });
        if !joined.await.unwrap_or(false) {
            tracing::error!("a thread of the pipeline has panicked");
        }
    }
}

async fn delivery<S: Sink>(
    name: String,
    sink: Result<S, SinkError>,
    projections: Vec<SinkProjection>,
    mut link: Link,
    mut role: watch::Receiver<Role>,
    cancel: CancellationToken,
) {
    let mut sink = match sink {
        Ok(sink) => sink,
        // `check` has seen the same; the other sinks go on.
        Err(error) => {
            tracing::error!(sink = name, error = %chain(&error), "the sink cannot be used");
            crate::sink::delivery::Upstream::closed(&mut link, &error).await;
            return;
        }
    };
    loop {
        let delivers = role.borrow_and_update().delivers();
        let work = async {
            match delivers {
                true => deliver(&name, &mut sink, &projections, &mut link, &cancel).await,
                false => watch_sink(&name, &mut sink, &mut link, &cancel).await,
            }
        };
        tokio::select! {
            () = work => return,
            // What was under way is given up: `open` finds out what became of it.
            _ = role.wait_for(|role| role.delivers() != delivers) => {}
        }
    }
}
