//! One pipeline: built upon the store, run by tasks and two threads, and taken down again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::engine_thread::{self, Command, Commands, End, EngineThread, StoreLink};
use super::lead::Role;
use super::link::Link;
use super::operator::{Hubs, Running};
use super::report::Report;
use super::shared::Shared;
use super::start::{self, StartError, Started};
use super::uses::Seen;
use super::{SHUTDOWN_PATIENCE, load_task, stream_task};
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

/// One that ends sooner than this may do so again and again: the pauses grow. Less than the pause
/// between two looks at the catalog, of which each may find something changed.
const LONG_LIFE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(super) enum PipelineError {
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
    pub(super) fn is_final(&self) -> bool {
        match self {
            PipelineError::State(error) => error.is_final(),
            PipelineError::Start(error) => error.is_final(),
            _ => false,
        }
    }
}

/// What a pipeline is built from.
pub(super) struct Build<'a> {
    pub config: &'a Arc<Config>,
    pub params: &'a Params,
    pub shared: &'a Arc<Shared>,
    pub cancel: CancellationToken,
    pub seen: &'a mut Seen,
    pub backoff: &'a mut Backoff,
}

impl Build<'_> {
    /// One pipeline, unless the slot is about to be dropped: it ends then, and none begins before that is
    /// done.
    pub(super) async fn undisturbed(self) -> Result<(), PipelineError> {
        let dropping_slot = self.shared.dropping_slot();
        let mut dropping = dropping_slot.subscribe();
        let free = async { dropping.wait_for(|dropping| !dropping).await.is_ok() };
        self.cancel.run_until_cancelled(free).await;
        let stop = self.cancel.child_token();
        let mut dropping = dropping_slot.subscribe();
        let pipeline = Build { cancel: stop.clone(), ..self }.run();
        tokio::pin!(pipeline);
        tokio::select! {
            ended = &mut pipeline => ended,
            _ = dropping.wait_for(|dropping| *dropping) => {
                stop.cancel();
                pipeline.await
            }
        }
    }

    /// Builds one pipeline and waits for its end. `Ok`: it was told to stop.
    async fn run(mut self) -> Result<(), PipelineError> {
        // It reads its journals when it is opened, and waits for its workers when it is closed: neither holds up HTTP.
        let state = self.config.state.clone();
        // Whatever the store keeps in memory counts, too.
        let store = aside(move || Store::open(&state.dir, state.memory / 8)).await??;
        let ended = self.upon(&store).await;
        let closing = aside(move || drop(store));
        tokio::pin!(closing);
        if let Ok(closed) = tokio::time::timeout(SHUTDOWN_PATIENCE, &mut closing).await {
            closed?;
        } else {
            let dir = self.config.state.dir.display();
            tracing::warn!(%dir, "the state takes long to close");
            closing.await?;
        }
        ended
    }

    async fn upon(&mut self, store: &Store) -> Result<(), PipelineError> {
        let Self { config, params, shared, cancel, seen, backoff } = self;
        memory::bound(&config.state.dir, config.state.memory).map_err(PipelineError::Memory)?;
        let waits = |blocker: Option<&_>| shared.load_waits(blocker);
        let epoch = shared.lead.take_epoch();
        let started = tokio::select! {
            started = start::prepare(config, params, store, seen, epoch, &waits, cancel) => started?,
            () = cancel.cancelled() => return Ok(()),
        };
        shared.tell_of_slot(&config.source.slot, started.catalog.slot.as_ref());
        let begun = Instant::now();
        let mut pipeline = Pipeline {
            config: Arc::clone(config),
            params: params.clone(),
            shared: Arc::clone(shared),
            store: store.clone(),
            cancel: cancel.child_token(),
            tasks: TaskTracker::new(),
            threads: Vec::new(),
        };
        let ended = pipeline.run(started, seen.clone()).await;
        pipeline.take_down().await;
        if begun.elapsed() >= LONG_LIFE {
            backoff.reset();
        }
        ended
    }
}

/// What may take long without being a task's own waiting.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PipelineError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panicked| PipelineError::Thread(panicked.into()))
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
    async fn run(&mut self, started: Started, seen: Seen) -> Result<(), PipelineError> {
        let Started {
            init,
            mut load,
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
        let mut machine = {
            let _spilling = Spilling::begin();
            Machine::new(init)?
        };
        machine.keyless(started.keyless);
        if let Some(load) = &mut load {
            self.shared.load_to_come();
            if let Some(begun) = &mut load.begun {
                let rows = load.tables.iter().map(|table| machine.table_rows(table.machine) as u64);
                begun.rows = rows.collect();
            }
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
            epoch: origin.history.epoch,
            sinks: sinks.clone().into(),
            ended: ended.clone(),
            source_end: Arc::default(),
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
        let (has_streamed, streams) = watch::channel(false);
        for (at, (sink, projections)) in self.config.sinks.clone().iter().zip(sinks).enumerate() {
            self.start_delivery(at, sink, &origin, projections, &commands, streams.clone());
        }
        if let Some(load) = load {
            let tables = started.table_names.clone();
            let task = load_task::run(
                self.params.clone(),
                self.config.source.slot.clone(),
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
            has_streamed,
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
        streams: watch::Receiver<bool>,
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
                self.tasks.spawn(delivery(
                    config.name,
                    sink,
                    projections,
                    link,
                    streams,
                    role,
                    cancel,
                ));
            }
            SinkKind::Redis => {
                let sink = RedisSink::new(&config, origin, projections.clone());
                self.tasks.spawn(delivery(
                    config.name,
                    sink,
                    projections,
                    link,
                    streams,
                    role,
                    cancel,
                ));
            }
            SinkKind::Elasticsearch => {
                let sink = ElasticsearchSink::new(&config, origin, projections.clone());
                if let Ok(sink) = &sink {
                    self.shared.refresher(&config.name, sink.refresher());
                }
                self.tasks.spawn(delivery(
                    config.name,
                    sink,
                    projections,
                    link,
                    streams,
                    role,
                    cancel,
                ));
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
    mut streams: watch::Receiver<bool>,
    mut role: watch::Receiver<Role>,
    cancel: CancellationToken,
) {
    // Another process that reads the slot writes to the same sinks, and is further on.
    tokio::select! {
        () = cancel.cancelled() => return,
        // Without a stream's task the pipeline is at its end.
        has_streamed = streams.wait_for(|has_streamed| *has_streamed) => {
            if has_streamed.is_err() {
                return;
            }
        }
    }
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
