//! The engine's thread: it alone holds the machine. It takes gulps, commands and the store's answers,
//! serves the sinks after each, and hands checkpoints to the store's thread.
//!
//! Every queue is bounded. While the store lags, no gulps are taken; feedback to the server flows on
//! in the stream's task.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::facts;
use super::questions::{Question, Try};
use super::report::Report;
use crate::engine::{Entry, Leaf, Notice};
use crate::failpoint;
use crate::lsn::{Durable, Lsn};
use crate::memory::{self, Spilling};
use crate::output::{PageFrom, Standing, Work};
use crate::pgoutput::Position;
use crate::pipeline::{Checkpoint, Fault, Machine, News, Refused, Replayed, Seen};
use crate::sink::{Outcome, Refusal};
use crate::source::stream::HeldGulp;
use crate::state::{self, Store};

/// Changes that may wait for the store before the stream waits, too.
const UNSTORED_MAX: usize = 200_000;
/// The same in bytes: the store has them in memory more than once while it writes them.
const UNSTORED_BYTES_MAX: u64 = 24 << 20;
const BACKLOG_BYTES_MAX: usize = 16 << 20;
/// Chunks of a load that may wait for the store before the load waits, too: so many that both work.
const UNSTORED_CHUNKS_MAX: usize = 6;
/// While memory is tight.
const UNSTORED_CHUNKS_TIGHT: usize = 1;
/// A checkpoint when so much has gathered, or after the pause.
const CHECKPOINT_CHANGES: usize = 20_000;
const CHECKPOINT_BYTES: u64 = 4 << 20;
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(100);
/// A position that moved without changes is stored less often: each time costs a sync.
const IDLE_CHECKPOINT_PAUSE: Duration = Duration::from_secs(1);
const REPORT_PAUSE: Duration = Duration::from_millis(250);
/// Of a projection that somebody looks at.
const ROWS_SHOWN: usize = 5;
const ROW_BYTES_SHOWN: usize = 256 << 10;

/// What tasks ask of the engine's thread.
pub(super) enum Command {
    /// A new stream begins: every gulp of the one before is in the queue. Answers where to begin.
    Connected {
        reply: oneshot::Sender<Stands>,
    },
    Opened {
        sink: usize,
        standings: Vec<Standing>,
        /// That the sink remembers.
        refusals: Vec<Refusal>,
    },
    /// Another instance leads, and has brought the sink there.
    Watched {
        sink: usize,
        standings: Vec<Standing>,
    },
    Closed {
        sink: usize,
    },
    /// The reply is dropped when the sink pulls again.
    Pull {
        sink: usize,
        idle: bool,
        reply: oneshot::Sender<Work>,
    },
    Done {
        sink: usize,
        work: Work,
        outcome: Outcome,
    },
    Loaded {
        table: usize,
        chunk: u32,
        entries: Vec<Entry>,
        /// With the chunk's last rows: its bound.
        ended: Option<Lsn>,
        /// With the last rows of a leaf of a table without a key.
        seen: Option<(Leaf, Seen)>,
        facts: Facts,
        /// Answered when there is room for more.
        room: oneshot::Sender<()>,
    },
    LoadBegins {
        from: Lsn,
        chunks: BTreeMap<u32, usize>,
        facts: Facts,
    },
    Replanned {
        table: usize,
        dropped: Vec<u32>,
        planned: Vec<u32>,
        facts: Facts,
        room: oneshot::Sender<()>,
    },
    Fetched {
        table: usize,
        entry: Option<Entry>,
        bound: Lsn,
    },
    /// The table is no longer what its projections were made for.
    Quarantine {
        table: usize,
        why: String,
    },
    /// What the store is to remember of the table: when it is live, and when it is not.
    Reshaped {
        table: usize,
        live: Vec<u8>,
        stale: Vec<u8>,
    },
    /// Somebody looks at metrics and status: they are to be as they are now.
    Report {
        reply: oneshot::Sender<()>,
    },
    /// Somebody looks at a projection.
    FirstRows {
        projection: String,
        reply: oneshot::Sender<Option<Vec<Vec<u8>>>>,
    },
    /// The table is loaded again at the next start.
    Stale {
        table: usize,
    },
    Asked(Question),
    Stop,
}

/// How far the machine is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stands {
    pub lsn: Lsn,
    /// The greatest transaction that the stream has brought; 0: none.
    pub xid: u32,
}

pub(super) type Facts = Vec<(String, Option<Vec<u8>>)>;

/// A row that the end of a load needs from the source.
#[derive(Debug)]
pub(super) struct Wanted {
    pub table: usize,
    /// Texts of the identity's columns.
    pub key: Vec<String>,
    pub xid: u32,
}

/// The store's thread: what it takes and what it answers.
pub(super) struct StoreLink {
    pub checkpoints: Sender<Checkpoint>,
    pub answers: Receiver<Result<Position, state::Error>>,
}

pub(super) struct EngineThread {
    pub machine: Machine,
    pub gulps: Receiver<HeldGulp>,
    pub commands: Receiver<HeldCommand>,
    pub store: StoreLink,
    /// To read the backlog.
    pub reader: Store,
    pub durable: watch::Sender<Durable>,
    pub wanted: tokio::sync::mpsc::Sender<Wanted>,
    pub report: Report,
    /// The load goes on when the store has taken what it brought before.
    pub load_room: Vec<oneshot::Sender<()>>,
    /// Who waits until all that is known is durable: since the last checkpoint, and with the one that is
    /// on its way.
    pub durable_asked: Vec<oneshot::Sender<()>>,
    pub durable_soon: Vec<oneshot::Sender<()>>,
    pub tries: Vec<Try>,
}

/// Why the thread ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("it was told to stop")]
    Stopped,
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Store(#[from] state::Error),
    #[error("a thread of the pipeline is gone")]
    Gone,
}

struct Parked {
    idle: bool,
    reply: oneshot::Sender<Work>,
}

/// A sink's place at the engine's counter.
#[derive(Default)]
struct Place {
    parked: Option<Parked>,
    /// Work whose taker had just stopped waiting: it goes to the next pull.
    returned: Option<Work>,
}

/// Builds one and keeps at it until it ends; only `End::Stopped` is a good end.
pub(super) fn run(mut thread: EngineThread, sinks: usize) -> End {
    let _spilling = Spilling::begin();
    let mut places: Vec<Place> = (0..sinks).map(|_| Place::default()).collect();
    let mut checkpoints = Checkpoints::new(thread.machine.position());
    let mut reported = Instant::now() - REPORT_PAUSE;
    loop {
        match turn(&mut thread, &mut places, &mut checkpoints) {
            Ok(Turn::Again) => {}
            Ok(Turn::Stop) => return thread.stop(&mut checkpoints),
            Err(end) => return end,
        }
        memory::breathe();
        if reported.elapsed() >= REPORT_PAUSE {
            reported = Instant::now();
            let durable = thread.durable.borrow().0;
            thread.report.full(&thread.machine, durable);
        }
    }
}

/// As what a call of ours was answered.
fn remembered(refusal: Refusal) -> Refused {
    let Refusal { projection: lane, key, lsn, error, occurrence } = refusal;
    Refused { lane, entry: Entry::row(lsn, &key, &occurrence.unwrap_or_default()), error }
}

/// Rows that other threads have made lie in ordinary memory: when that is tight they move.
fn spilled(entries: Vec<Entry>) -> Vec<Entry> {
    if memory::is_tight() { entries.iter().map(Entry::copied).collect() } else { entries }
}

enum Turn {
    Again,
    Stop,
}

fn turn(
    thread: &mut EngineThread,
    places: &mut [Place],
    checkpoints: &mut Checkpoints,
) -> Result<Turn, End> {
    let closed = never();
    let gulps = if thread.is_full() { &closed } else { &thread.gulps };
    let patience = checkpoints.patience(&thread.machine);
    select! {
        recv(gulps) -> gulp => match gulp {
            Ok(gulp) => {
                failpoint::reached("received");
                thread.machine.gulp(&gulp.bytes)?;
                failpoint::reached("applied");
                if thread.machine.position().inside.is_some() {
                    failpoint::reached("within-transaction");
                }
            }
            // The stream's task only ends with the pipeline, which may not have said so yet.
            Err(_) => return Ok(Turn::Stop),
        },
        recv(thread.commands) -> command => {
            let mut next = Some(command.map_err(|_| End::Gone)?);
            while let Some(held) = next {
                if matches!(held.command, Command::Stop) {
                    return Ok(Turn::Stop);
                }
                thread.command(held.command, places)?;
                next = thread.commands.try_recv().ok();
            }
        }
        recv(thread.store.answers) -> answer => {
            checkpoints.stored(thread, answer.map_err(|_| End::Gone)??);
        }
        default(patience) => {}
    }
    let chunks_max = if memory::is_tight() { UNSTORED_CHUNKS_TIGHT } else { UNSTORED_CHUNKS_MAX };
    if !thread.is_full() && thread.machine.unstored_chunks() < chunks_max {
        for room in thread.load_room.drain(..) {
            // The load's task may be gone.
            let _ = room.send(());
        }
    }
    thread.replay()?;
    for News { projection, key, lsn, notice } in thread.machine.take_news() {
        match notice {
            Notice::Conflict { rows, .. } => tracing::error!(
                projection,
                %key,
                %lsn,
                rows,
                "a key is claimed by several rows: none of them is shown"
            ),
            Notice::Refused { error, .. } => tracing::error!(
                projection,
                %key,
                %lsn,
                error,
                "a row cannot be computed: it is not shown"
            ),
            Notice::Accepted { .. } => {
                tracing::info!(projection, %key, %lsn, "the row is shown again");
            }
        }
    }
    thread.serve(places)?;
    checkpoints.take_if_due(thread)?;
    thread.report.positions(&thread.machine);
    Ok(Turn::Again)
}

impl EngineThread {
    /// The store has to catch up first.
    fn is_full(&self) -> bool {
        self.machine.unstored() > UNSTORED_MAX
            || self.machine.unstored_bytes() > UNSTORED_BYTES_MAX
            || self.machine.backlog_bytes() > BACKLOG_BYTES_MAX
    }

    fn command(&mut self, command: Command, places: &mut [Place]) -> Result<(), End> {
        match command {
            Command::Connected { reply } => {
                // What the connection before has sent comes first.
                while let Ok(gulp) = self.gulps.try_recv() {
                    self.machine.gulp(&gulp.bytes)?;
                }
                // The task that asked may be gone: then nobody needs the answer.
                let lsn = self.machine.connected();
                let _ = reply.send(Stands { lsn, xid: self.machine.xid_max() });
            }
            Command::Opened { sink, standings, refusals } => {
                places[sink] = Place::default();
                self.machine.opened(sink, &standings);
                self.machine.remembered(sink, refusals.into_iter().map(remembered));
            }
            Command::Watched { sink, standings } => {
                places[sink] = Place::default();
                self.machine.watched(sink, &standings);
            }
            Command::Closed { sink } => {
                places[sink] = Place::default();
                self.machine.closed(sink);
            }
            Command::Pull { sink, idle, reply } => {
                places[sink].parked = Some(Parked { idle, reply });
            }
            Command::Done { sink, work, outcome } => {
                self.report.done(sink, &work, &outcome);
                let refused = outcome.poison.into_iter().map(|poison| Refused {
                    lane: poison.projection,
                    entry: poison.entry,
                    error: poison.error,
                });
                let refused: Vec<Refused> = refused.collect();
                self.tell_tries(sink, &work, &refused);
                self.machine.done(sink, &work, refused);
            }
            Command::Loaded { table, chunk, entries, ended, seen, facts, room } => {
                self.load_room.push(room);
                if let Some((leaf, seen)) = seen {
                    self.machine.seen(table, leaf, seen);
                }
                let total =
                    self.report.loaded(&self.machine, table, entries.len(), ended.is_some());
                let mut facts = facts;
                let name = facts::loaded(&self.machine.tables()[table].name);
                facts.push((name, Some(total.to_be_bytes().to_vec())));
                self.machine.loaded(table, chunk, spilled(entries), ended, facts)?;
                failpoint::reached("chunk-loaded");
            }
            Command::LoadBegins { from, chunks, facts } => {
                self.machine.load_begins(from, chunks, facts);
            }
            Command::Replanned { table, dropped, planned, facts, room } => {
                self.load_room.push(room);
                self.machine.replanned(table, &dropped, &planned, facts);
            }
            Command::Fetched { table, entry, bound } => self.machine.fetched(table, entry, bound),
            Command::Quarantine { table, why } => self.machine.quarantine(table, why),
            Command::Reshaped { table, live, stale } => self.machine.reshaped(table, live, stale),
            Command::Stale { table } => self.machine.stale(table),
            Command::Asked(question) => self.answer(question),
            Command::Report { reply } => {
                self.report.positions(&self.machine);
                let durable = self.durable.borrow().0;
                self.report.full(&self.machine, durable);
                // Who asked may have stopped waiting.
                let _ = reply.send(());
            }
            Command::FirstRows { projection, reply } => {
                let rows = self.machine.first_rows(&projection, ROWS_SHOWN, ROW_BYTES_SHOWN);
                // Who asked may have stopped waiting.
                let _ = reply.send(rows.transpose().map_err(Fault::from)?);
            }
            Command::Stop => unreachable!("handled by the caller"),
        }
        Ok(())
    }

    /// Works off a piece of the backlog once the load's rows are there.
    fn replay(&mut self) -> Result<(), End> {
        let Some(at) = self.machine.replay_at() else { return Ok(()) };
        if let Some((found, piece)) = self.reader.backlog_from(at)?
            && found == at
        {
            return Ok(self.machine.replay(&piece)?);
        }
        match self.machine.finish_load()? {
            None => {}
            Some(Replayed::Whole) => self.report.load_ended(),
            Some(Replayed::NeedsRow { table, xid }) => {
                let key = self.machine.wanted_key(table)?;
                // One at a time: the next is asked for when it is answered.
                self.wanted.blocking_send(Wanted { table, key, xid }).map_err(|_| End::Gone)?;
            }
        }
        Ok(())
    }

    fn serve(&mut self, places: &mut [Place]) -> Result<(), End> {
        for (sink, place) in places.iter_mut().enumerate() {
            let Some(pull) = place.parked.take() else { continue };
            self.read_logs(sink)?;
            let work = place.returned.take().or_else(|| self.machine.next_work(sink, pull.idle));
            match work {
                Some(work) => place.returned = pull.reply.send(work).err(),
                None => place.parked = Some(pull),
            }
        }
        Ok(())
    }

    /// Events that are in the store alone, for the lanes that stand there.
    fn read_logs(&mut self, sink: usize) -> Result<(), End> {
        while let Some((wanted, rows_of)) = self.machine.wanted_page(sink) {
            let from = match &wanted.from {
                PageFrom::After(key) => Bound::Excluded(key.as_slice()),
                PageFrom::At(key) => Bound::Included(key.as_slice()),
            };
            let (entries, is_last) = self.reader.page(rows_of, from, &wanted.to)?;
            self.machine.give_page(sink, wanted.lane, entries, is_last)?;
        }
        Ok(())
    }

    /// Makes durable what there is: a restart goes on from here.
    fn stop(mut self, checkpoints: &mut Checkpoints) -> End {
        while checkpoints.in_flight {
            match self.store.answers.recv() {
                Ok(Ok(position)) => checkpoints.stored(&mut self, position),
                Ok(Err(error)) => return End::Store(error),
                Err(_) => return End::Gone,
            }
        }
        if let Err(end) = checkpoints.take(&mut self) {
            return end;
        }
        match self.store.answers.recv() {
            Ok(Ok(position)) => {
                checkpoints.stored(&mut self, position);
                End::Stopped
            }
            Ok(Err(error)) => End::Store(error),
            Err(_) => End::Gone,
        }
    }
}

/// One checkpoint at a time is on its way to the store.
struct Checkpoints {
    in_flight: bool,
    taken_at: Instant,
    taken: Position,
    begun: Instant,
}

impl Checkpoints {
    fn new(position: Position) -> Self {
        let now = Instant::now();
        Self { in_flight: false, taken_at: now, taken: position, begun: now }
    }

    /// How long a turn may wait for something to happen.
    fn patience(&self, machine: &Machine) -> Duration {
        if machine.replay_at().is_some() {
            // The piece may still be on its way to the store.
            return if self.in_flight { Duration::from_millis(1) } else { Duration::ZERO };
        }
        if self.in_flight { REPORT_PAUSE } else { CHECKPOINT_PAUSE }
    }

    fn take_if_due(&mut self, thread: &mut EngineThread) -> Result<(), End> {
        let changes = thread.machine.unstored();
        let since = self.taken_at.elapsed();
        let due = changes >= CHECKPOINT_CHANGES
            || !thread.durable_asked.is_empty()
            || thread.machine.unstored_bytes() >= CHECKPOINT_BYTES
            || (thread.machine.has_unstored() && since >= CHECKPOINT_PAUSE)
            || (thread.machine.position() != self.taken && since >= IDLE_CHECKPOINT_PAUSE);
        if due && !self.in_flight { self.take(thread) } else { Ok(()) }
    }

    fn take(&mut self, thread: &mut EngineThread) -> Result<(), End> {
        let checkpoint = thread.machine.checkpoint();
        (self.taken, self.taken_at, self.in_flight) = (checkpoint.position, Instant::now(), true);
        thread.durable_soon.append(&mut thread.durable_asked);
        thread.store.checkpoints.send(checkpoint).map_err(|_| End::Gone)
    }

    fn stored(&mut self, thread: &mut EngineThread, position: Position) {
        self.in_flight = false;
        thread.durable.send_replace(Durable(position.lsn));
        for asked in thread.durable_soon.drain(..) {
            // Who asked may have stopped waiting.
            let _ = asked.send(());
        }
        thread.machine.stored(self.begun.elapsed().as_secs());
    }
}

/// The store's thread: writes what it is given, one after the other. Its writers may sleep.
pub(super) fn run_store(
    store: Store,
    checkpoints: Receiver<Checkpoint>,
    answers: Sender<Result<Position, state::Error>>,
) {
    for mut checkpoint in checkpoints {
        let position = checkpoint.position;
        let fact = facts::Stored::of(&checkpoint).to_bytes();
        checkpoint.batch.fact(facts::POSITION, fact);
        failpoint::reached("store-before");
        let answer = match failpoint::left_out("store") {
            true => Ok(position),
            false => store.write(&checkpoint.batch).map(|()| position),
        };
        failpoint::reached("store-after");
        let failed = answer.is_err();
        if answers.send(answer).is_err() || failed {
            return;
        }
    }
}

/// The tasks' end of the queue of commands, which is bounded.
#[derive(Clone)]
pub(super) struct Commands {
    sender: Sender<HeldCommand>,
    places: Arc<Semaphore>,
}

/// A command and its place in the queue, which is free again when this is dropped.
pub(super) struct HeldCommand {
    command: Command,
    _place: OwnedSemaphorePermit,
}

/// The engine's thread is gone: the pipeline is being torn down.
#[derive(Debug, thiserror::Error)]
#[error("the engine's thread has ended")]
pub(super) struct EngineGone;

impl Commands {
    pub(super) fn queue(capacity: usize) -> (Self, Receiver<HeldCommand>) {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        (Self { sender, places: Arc::new(Semaphore::new(capacity)) }, receiver)
    }

    pub(super) async fn send(&self, command: Command) -> Result<(), EngineGone> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| EngineGone)?;
        // Each command in the queue has a place, so there is room.
        self.sender.try_send(HeldCommand { command, _place: place }).map_err(|_| EngineGone)
    }
}
