//! The pipeline's decisions, sans-I/O: what a gulp of the stream does to the engine, what goes to the
//! store, what each sink is told next, and which position may be acknowledged.
//!
//! Invariants:
//! * A checkpoint's entries, backlog and position belong together: a restart from it and the stream
//!   from its position give the same state (P2).
//! * A table is `Live` or its changes are in the backlog, never both, never neither.
//! * A table is live when the applied position has passed every snapshot that its load read: before,
//!   its rows are of different positions, and no sink is told of its projections (P1).
//! * What is known of a quarantined table is of no position that is still to come: its projections stay
//!   where they are in every sink.

use std::collections::{BTreeMap, VecDeque};

use super::deliver::News;
use super::doubt::RowKey;
use super::events::{EventLog, Known};
use super::history::{History, HistoryInit};
use super::keyless::Keyless;
use super::layouts::Layout;
use super::letters::Letters;
use super::load::Load;
use super::log::Notes;
use super::table::{Route, Routes, Stage, Table};
use crate::engine::{
    ArrangementId, Batch, Engine, Entry, EventMaker, Leaf, Moment, OutputId, RowBuffer, RowError,
    RowsOf, TableId, TableLayout, Told, Version,
};
use crate::lsn::Lsn;
use crate::output::{Feed, LaneInit, Progress};
use crate::pgoutput::{
    Change, DecodeError, Event, Frame, Inside, Message, Position, TransactionError, Transactions,
    decode, frames,
};
use crate::sql::plan::Plan;
use crate::value::{Type, ValueError};

/// Of what is told of the projections' rows so much waits at most.
const TOLD_MAX: usize = 100;

/// What ends the machine: it is built anew from the store after it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the stream cannot be read")]
    Decode(#[from] DecodeError),
    #[error("the stream is not what the protocol says")]
    Transaction(#[from] TransactionError),
    #[error("a stored row cannot be read")]
    Value(#[from] ValueError),
    #[error("the backlog is damaged at byte {at} of a piece")]
    Backlog { at: usize },
}

pub struct TableInit {
    pub name: String,
    pub layout: TableLayout,
    /// Relation ids of the stream: the table's own, or its leaves'.
    pub leaves: Vec<(u32, Leaf)>,
    pub partitioned: bool,
    pub rows_of: RowsOf,
    pub stage: Stage,
    /// Rows from the store, in key order.
    pub rows: Vec<Entry>,
    pub tombstone_floor: Lsn,
    /// What the store is to remember of the table once it is live, and once it is not to be trusted.
    pub facts: TableFacts,
}

/// Facts about a table by its stage: (name, live, stale).
#[derive(Debug, Clone, Default)]
pub struct TableFacts {
    pub name: String,
    pub live: Vec<u8>,
    pub stale: Vec<u8>,
}

pub struct ProjectionInit {
    pub name: String,
    pub plan: Plan,
    /// Where its own rows lie in the store, when it has rows of its own.
    pub rows_of: RowsOf,
    pub rows: Vec<Entry>,
    pub tombstone_floor: Lsn,
}

pub struct EventInit {
    pub name: String,
    pub maker: EventMaker,
    /// Whose changes make it; `None`: messages.
    pub table: Option<usize>,
    /// Of the messages.
    pub prefix: Option<String>,
    pub rows_of: RowsOf,
    /// The newest entry in the store.
    pub last: Option<Entry>,
    /// The oldest one's commit.
    pub stored_from: Option<Lsn>,
    /// Up to this key entries may have gone.
    pub gone_to: Option<Vec<u8>>,
    /// What waits for the end of its transaction.
    pub pending: Vec<Entry>,
    /// What its data was before, in order.
    pub older: Vec<Layout>,
    /// Occurrences may be missing up to where the load that is to come begins.
    pub gap_at_load: bool,
    /// Where it was added to a state that was there: what a sink remembers of before is another one's.
    pub added: Lsn,
}

pub struct SinkInit {
    pub name: String,
    pub step_rows: usize,
    /// Of an unsettled step.
    pub backlog_rows: usize,
    /// What it has answered it may lose; what it has not lost it would have twice.
    pub forgetful: bool,
    /// Positions in `MachineInit::projections`, those of events behind them.
    pub projections: Vec<usize>,
    /// By lane: a refused row halts the projection there.
    pub halts: Vec<bool>,
    /// Readers see nothing of a fill before it is finished.
    pub hides_fills: bool,
    /// By lane: the sink keeps a history.
    pub histories: Vec<bool>,
    /// By lane: the last generation that was begun.
    pub generations: Vec<u64>,
    /// By lane: what became of changes before it is known.
    pub told: Vec<Lsn>,
    /// By lane: a rebuild was asked for and is not over.
    pub rebuilds: Vec<bool>,
    /// Dead letters.
    pub letters: Vec<Letter>,
    /// Versions that somebody has dropped, of projections that they had halted.
    pub waived: Vec<Letter>,
}

/// A dead letter from the store.
pub struct Letter {
    pub lane: usize,
    pub key: Vec<u8>,
    /// Of the row's version.
    pub lsn: Lsn,
}

impl Letter {
    fn parts(self) -> (usize, Vec<u8>, Lsn) {
        (self.lane, self.key, self.lsn)
    }
}

pub struct LoadInit {
    /// The load's consistent point: transactions before it are in its rows.
    pub from: Lsn,
    /// The greatest position that a snapshot of the load has seen so far.
    pub bound: Lsn,
    /// Chunks that are still to be read, each with its table.
    pub chunks_left: BTreeMap<u32, usize>,
    /// Where the backlog's next piece goes.
    pub backlog_end: u64,
}

pub struct MachineInit {
    pub tables: Vec<TableInit>,
    pub projections: Vec<ProjectionInit>,
    pub events: Vec<EventInit>,
    pub histories: Vec<HistoryInit>,
    pub sinks: Vec<SinkInit>,
    pub position: Position,
    pub committed_at: i64,
    /// The greatest transaction that the stream has brought; 0: none.
    pub xid_max: u32,
    pub load: Option<LoadInit>,
    /// There will be one, whose consistent point is not known yet. What the stream brings of its tables until then is
    /// kept, too.
    pub load_to_come: bool,
    /// What all logs of recent changes together may hold on to for slow sinks.
    pub recent_bytes_max: usize,
    pub tombstone_bytes_max: usize,
}

pub(super) struct Projection {
    pub(super) name: String,
    /// `None`: it is an event.
    pub(super) output: Option<OutputId>,
    pub(super) arrangement: ArrangementId,
    pub(super) tables: Vec<usize>,
}

pub(super) struct Sink {
    pub(super) feed: Feed,
    pub(super) projections: Vec<usize>,
    pub(super) letters: Letters,
    /// By lane: as the store has it.
    pub(super) told_stored: Vec<Lsn>,
    pub(super) halts: Vec<bool>,
    pub(super) forgetful: bool,
    /// Of each event's log, where a forgetful sink stood.
    pub(super) notes: BTreeMap<ArrangementId, Notes>,
}

/// How often each kind of change was applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub insert: u64,
    pub update: u64,
    pub delete: u64,
    pub truncate: u64,
}

pub struct Machine {
    pub(super) engine: Engine,
    pub(super) tables: Vec<Table>,
    pub(super) keyless: Keyless,
    pub(super) counts: Vec<Counts>,
    /// By table: changes that no event takes, of those that have events.
    pub(super) unmatched: Vec<Counts>,
    pub(super) routes: Routes,
    pub(super) transactions: Transactions,
    pub(super) position: Position,
    pub(super) progress: Progress,
    pub(super) transactions_total: u64,
    pub(super) xid: u32,
    /// The greatest one so far, by their order, which wraps around; 0: none.
    pub(super) xid_max: u32,
    pub(super) projections: Vec<Projection>,
    pub(super) events: Vec<EventLog>,
    pub(super) histories: Vec<History>,
    /// When the newest version was committed.
    pub(super) versions_at: i64,
    /// The change that is being applied.
    pub(super) moment: Moment,
    pub(super) sinks: Vec<Sink>,
    pub(super) load: Option<Load>,
    /// By arrangement.
    pub(super) rows_of: Vec<RowsOf>,
    /// By arrangement: the first change that the store does not have.
    pub(super) stored: Vec<u64>,
    /// `Arrangement::logged_bytes` of all of them then.
    pub(super) stored_bytes: u64,
    pub(super) batch: Batch,
    pub(super) floors: Vec<Lsn>,
    pub(super) checkpoints_taken: u64,
    /// Of those that this machine has taken.
    pub(super) checkpoints_stored: u64,
    pub(super) recent_bytes_max: usize,
    pub(super) tombstone_bytes_max: usize,
    pub(super) buffer: RowBuffer,
    pub(super) old_key: Vec<u8>,
    /// The row that the source is asked for.
    pub(super) wanted: Option<RowKey>,
    pub(super) told: Vec<Told>,
    /// Commit times and positions of the last minutes.
    pub(super) marks: VecDeque<(i64, Lsn)>,
    pub(super) news: Vec<News>,
}

/// Rows of these tables come by chunks.
pub(super) fn expect_load(
    engine: &mut Engine,
    tables: &[Table],
    from: Lsn,
    chunks_left: &BTreeMap<u32, usize>,
) {
    for (at, table) in tables.iter().enumerate() {
        if table.stage == Stage::Loading {
            let arrangement = engine.table_arrangement(table.id);
            let arrangement = engine.arrangement_mut(arrangement);
            arrangement.expect_load(from);
            if !chunks_left.values().any(|&of| of == at) {
                arrangement.load_is_whole();
            }
        }
    }
}

impl Machine {
    pub fn new(init: MachineInit) -> Result<Self, Fault> {
        let mut engine = Engine::default();
        let mut tables = Vec::new();
        let mut routes = Routes::new();
        let mut rows_of: Vec<RowsOf> = Vec::new();
        let mut replayed_before = Lsn::ZERO;
        let position = init.position;
        for (at, table) in init.tables.into_iter().enumerate() {
            let id = engine.add_table(table.layout);
            if table.stage == Stage::Loading {
                engine.sleep(id);
                let newest = table.rows.iter().map(Entry::lsn).max();
                replayed_before = replayed_before.max(newest.unwrap_or(Lsn::ZERO));
            }
            let arrangement = engine.table_arrangement(id);
            engine.restore(arrangement, table.rows, position.lsn, table.tombstone_floor);
            rows_of.push(table.rows_of);
            for (relation, leaf) in table.leaves {
                routes.insert(relation, Route::new(at, leaf));
            }
            tables.push(Table {
                name: table.name,
                id,
                whole: table.stage == Stage::Live,
                stage: table.stage,
                partitioned: table.partitioned,
                facts: table.facts,
            });
        }
        let mut projections = Vec::new();
        for projection in init.projections {
            let output = engine.add_plan(&projection.plan);
            let arrangement = engine.output_arrangement(output);
            if arrangement == rows_of.len() {
                rows_of.push(projection.rows_of);
                engine.restore(
                    arrangement,
                    projection.rows,
                    position.lsn,
                    projection.tombstone_floor,
                );
            }
            let its_tables = engine.output_tables(output).to_vec();
            // What waits for a load is brought to its rows at the load's end.
            let lsn = match position.inside {
                Some(inside) => inside.commit_lsn,
                None => Lsn(position.lsn.0.saturating_sub(1)),
            };
            engine.reconcile(output, lsn)?;
            projections.push(Projection {
                name: projection.name,
                output: Some(output),
                arrangement,
                tables: its_tables,
            });
        }
        let mut events = Vec::new();
        for init in init.events {
            let name = init.name.clone();
            let (log, rows) = EventLog::new(init, &mut engine, projections.len());
            rows_of.push(rows);
            let (arrangement, tables) = (log.log.arrangement, log.tables());
            projections.push(Projection { name, output: None, arrangement, tables });
            events.push(log);
        }
        let mut histories = Vec::new();
        for init in init.histories {
            let inside = position.inside.map(|inside| inside.commit_lsn);
            rows_of.push(init.rows_of);
            histories.push(History::new(&init, &mut engine, inside));
        }
        let history_of = |projection: usize| {
            let of = histories.iter().find(|history| history.projection == projection);
            of.map(|history| history.log.arrangement)
        };
        let sinks = init.sinks.into_iter().map(|sink| {
            let of = sink.projections.iter().map(|&at| &projections[at]);
            let lanes = of.enumerate().map(|(lane, projection)| {
                // A projection that a refused row has halted begins with that row again.
                let refused = sink.letters.iter().filter(|letter| letter.lane == lane);
                let refused = refused.map(|letter| letter.lsn).min();
                let at = sink.projections[lane];
                let history = history_of(at).filter(|_| sink.histories[lane]);
                let is_event = projection.output.is_none();
                LaneInit {
                    arrangement: history.unwrap_or(projection.arrangement),
                    rows: projection.output.map(|_| projection.arrangement),
                    once: is_event && sink.forgetful,
                    generation: sink.generations[lane],
                    // What is refused of an event is in its letters, and perhaps nowhere else.
                    halted: is_event && sink.halts[lane] && refused.is_some(),
                    told: refused
                        .filter(|_| sink.halts[lane] && !is_event)
                        .map_or(sink.told[lane], |lsn| lsn.min(sink.told[lane])),
                    rebuild: sink.rebuilds[lane],
                    hides_fills: sink.hides_fills,
                }
            });
            // Events go with their watermark, so never in more than a script takes.
            let has_events = sink.projections.iter().any(|&at| projections[at].output.is_none());
            let backlog_rows = if has_events { sink.step_rows } else { sink.backlog_rows };
            let feed = Feed::new(lanes, sink.step_rows, backlog_rows);
            let names = sink
                .projections
                .iter()
                .map(|&at| format!("{}/{}", sink.name, projections[at].name));
            Sink {
                feed,
                letters: Letters::new(
                    names.collect(),
                    sink.letters.into_iter().map(Letter::parts),
                    sink.waived.into_iter().map(Letter::parts),
                ),
                told_stored: sink.told,
                halts: sink.halts,
                forgetful: sink.forgetful,
                notes: BTreeMap::new(),
                projections: sink.projections,
            }
        });
        let sinks = sinks.collect();
        if let Some(load) = &init.load {
            expect_load(&mut engine, &tables, load.from, &load.chunks_left);
        }
        let stored = engine.arrangements().iter().map(|_| 0).collect();
        let floors = engine.arrangements().iter().map(|a| a.tombstone_floor()).collect();
        Ok(Self {
            engine,
            counts: vec![Counts::default(); tables.len()],
            unmatched: vec![Counts::default(); tables.len()],
            tables,
            keyless: Keyless::default(),
            routes,
            transactions: Transactions::new(position),
            position,
            progress: Progress { applied: position.lsn, committed_at: init.committed_at },
            transactions_total: 0,
            xid: 0,
            xid_max: init.xid_max,
            projections,
            events,
            histories,
            versions_at: init.committed_at,
            moment: Moment { lsn: position.lsn, committed_at: init.committed_at, change: 0 },
            sinks,
            load: (init.load_to_come || init.load.is_some())
                .then(|| Load::new(init.load, replayed_before)),
            rows_of,
            stored,
            stored_bytes: 0,
            batch: Batch::default(),
            floors,
            checkpoints_taken: 0,
            checkpoints_stored: 0,
            recent_bytes_max: init.recent_bytes_max,
            tombstone_bytes_max: init.tombstone_bytes_max,
            buffer: RowBuffer::default(),
            old_key: Vec::new(),
            wanted: None,
            told: Vec::new(),
            // What was kept for readers before a restart is kept after it.
            marks: VecDeque::from([(init.committed_at, Lsn::ZERO)]),
            news: Vec::new(),
        })
    }

    /// A new connection streams; returns where it has to begin.
    pub fn connected(&mut self) -> Lsn {
        self.transactions = Transactions::new(self.position);
        for route in self.routes.values_mut() {
            if self.tables[route.table].stage != Stage::Loading {
                route.forget();
            }
        }
        self.position.lsn
    }

    /// Applies whole messages of the stream.
    pub fn gulp(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        for frame in frames(bytes) {
            match frame? {
                Frame::Data { body, .. } => self.message(body)?,
                Frame::Keepalive { wal_end, .. } => self.keepalive(wal_end),
            }
        }
        Ok(())
    }

    /// What is before a keepalive's end has been sent before it, unless a transaction is under way.
    fn keepalive(&mut self, wal_end: Lsn) {
        if self.position.inside.is_none() && wal_end > self.position.lsn {
            self.position.lsn = wal_end;
            self.progress.applied = wal_end;
        }
    }

    fn message(&mut self, body: &[u8]) -> Result<(), Fault> {
        let message: Message<'_> = decode(body)?;
        match self.transactions.step(message)? {
            None => {}
            Some(Event::Begin { commit_lsn, commit_time, xid }) => {
                self.begin(xid);
                self.moment = Moment { lsn: commit_lsn, committed_at: commit_time, change: 0 };
            }
            Some(Event::Relation(relation)) => {
                if let Some(route) = self.routes.get_mut(&relation.oid) {
                    match self.tables[route.table].stage {
                        Stage::Loading => self.defer(Lsn::ZERO, body),
                        Stage::Live | Stage::Quarantined(_) => route.forget(),
                    }
                }
            }
            Some(Event::Change { commit_lsn, ordinal, change }) => {
                self.position.inside = Some(Inside { commit_lsn, changes: ordinal });
                self.moment.change = ordinal;
                self.change(commit_lsn, &change, body)?;
            }
            Some(Event::Message { in_transaction: Some(inside), prefix, content, .. }) => {
                self.position.inside = Some(inside);
                self.moment.change = inside.changes;
                self.said(prefix, content)?;
            }
            // What was written outside of transactions is no event: it may be of one that was rolled back.
            Some(Event::Message { in_transaction: None, .. }) => {}
            Some(Event::Commit { commit_lsn, end_lsn, commit_time }) => {
                let live = self.tables_that(|stage| *stage != Stage::Loading);
                // What a replay has gathered is of other commits.
                self.commit_of(&live, commit_lsn)?;
                self.make_pending()?;
                self.remember_versions(commit_lsn, commit_time);
                self.position = Position { lsn: end_lsn, inside: None };
                self.progress = Progress { applied: end_lsn, committed_at: commit_time };
                self.transactions_total += 1;
            }
        }
        Ok(())
    }

    fn begin(&mut self, xid: u32) {
        self.xid = xid;
        if self.xid_max == 0 || xid.wrapping_sub(self.xid_max) < 1 << 31 {
            self.xid_max = xid;
        }
    }

    /// The greatest transaction that the stream has brought; 0: none.
    pub fn xid_max(&self) -> u32 {
        self.xid_max
    }

    pub(super) fn tables_that(&self, are: impl Fn(&Stage) -> bool) -> Vec<TableId> {
        self.tables.iter().filter(|table| are(&table.stage)).map(|table| table.id).collect()
    }

    /// What depends on these tables follows.
    pub(super) fn commit_of(&mut self, tables: &[TableId], lsn: Lsn) -> Result<(), Fault> {
        self.engine.commit_of(tables, lsn)?;
        self.gather_told();
        Ok(())
    }

    pub(super) fn gather_told(&mut self) {
        let room = TOLD_MAX.saturating_sub(self.told.len());
        self.told.extend(self.engine.take_told().into_iter().take(room));
    }

    fn change(&mut self, lsn: Lsn, change: &Change<'_>, body: &[u8]) -> Result<(), Fault> {
        if let Change::Truncate { relations, .. } = change {
            let (mut waits, mut counted) = (false, Vec::new());
            for relation in relations.iter() {
                let Some(route) = self.routes.get(&relation) else { continue };
                match self.tables[route.table].stage {
                    Stage::Live => self.truncate(relation, lsn, &mut counted)?,
                    Stage::Loading => waits = true,
                    Stage::Quarantined(_) => self.keyless.may_differ(route.table),
                }
            }
            if waits {
                self.defer(lsn, body);
            }
            return Ok(());
        }
        let relation = relation_of(change);
        let Some(route) = self.routes.get(&relation) else { return Ok(()) };
        match self.tables[route.table].stage {
            Stage::Live => {
                if let Some(described) = self.transactions.relation(relation).cloned() {
                    self.describe(relation, &described);
                }
                let outcome = self.apply(relation, lsn, change);
                self.refuse(relation, outcome)
            }
            Stage::Loading => {
                self.defer(lsn, body);
                Ok(())
            }
            Stage::Quarantined(_) => {
                if !matches!(change, Change::Insert { .. }) {
                    self.keyless.may_differ(route.table);
                }
                Ok(())
            }
        }
    }

    pub(super) fn describe(&mut self, relation: u32, described: &crate::pgoutput::Relation) {
        let Some(route) = self.routes.get_mut(&relation) else { return };
        if route.is_described() {
            return;
        }
        let at = route.table;
        if let Err(why) = route.describe(described, self.engine.layout(self.tables[at].id)) {
            self.quarantine(at, why);
        }
    }

    /// Its last good state stays; the next start loads it anew.
    pub fn quarantine(&mut self, table: usize, why: String) {
        self.stale(table);
        if self.tables[table].stage == Stage::Loading {
            self.drop_from_load(table);
        }
        self.tables[table].stage = Stage::Quarantined(why);
    }

    /// The table's rows lie in another file now, with the same values.
    pub fn reshaped(&mut self, table: usize, live: Vec<u8>, stale: Vec<u8>) {
        let table = &mut self.tables[table];
        if table.stage == Stage::Live {
            self.batch.fact(table.facts.name.clone(), live.clone());
        }
        (table.facts.live, table.facts.stale) = (live, stale);
    }

    /// What is known of the table is not to be trusted: the next start loads it anew.
    pub fn stale(&mut self, table: usize) {
        let TableFacts { name, stale, .. } = &self.tables[table].facts;
        self.batch.fact(name.clone(), stale.clone());
        if self.tables[table].stage == Stage::Loading {
            // What its chunks have read is not to be trusted either.
            self.break_load();
        }
    }

    /// A row that cannot be made quarantines its table: everything else goes on.
    pub(super) fn refuse(
        &mut self,
        relation: u32,
        outcome: Result<(), RowError>,
    ) -> Result<(), Fault> {
        if let (Err(error), Some(route)) = (outcome, self.routes.get(&relation)) {
            let table = route.table;
            self.keyless.refused(table, &error);
            self.quarantine(table, error.to_string());
        }
        Ok(())
    }

    /// `counted` are the tables of the same TRUNCATE that have been counted: each is, once, however many leaves it has.
    pub(super) fn truncate(
        &mut self,
        relation: u32,
        lsn: Lsn,
        counted: &mut Vec<usize>,
    ) -> Result<(), Fault> {
        let Some(route) = self.routes.get(&relation) else { return Ok(()) };
        let table = &self.tables[route.table];
        if !counted.contains(&route.table) {
            counted.push(route.table);
            self.counts[route.table].truncate += 1;
        }
        let leaf = table.partitioned.then_some(route.leaf);
        self.engine.truncate(table.id, lsn, leaf)?;
        let (engine, tables) = (&self.engine, &self.tables);
        if let Some(load) = &mut self.load {
            load.truncated(|(table, key)| engine.get(tables[*table].id, key).is_some());
        }
        Ok(())
    }

    /// Applies one change of a row.
    pub(super) fn apply(
        &mut self,
        relation: u32,
        lsn: Lsn,
        change: &Change<'_>,
    ) -> Result<(), RowError> {
        let Some(route) = self.routes.get(&relation).filter(|route| route.is_described()) else {
            return Ok(());
        };
        let at = route.table;
        let id = self.tables[at].id;
        let has_events = self.has_events(at);
        let route = &self.routes[&relation];
        let counts = &mut self.counts[at];
        let buffer = &mut self.buffer;
        let layout = self.engine.layout(id);
        // A load may meet its own rows, and newer ones, but for one that is exact.
        let is_loading = self.tables[at].stage == Stage::Loading && !self.keyless.has(at);
        let is_whole_row = layout.identity.len() == layout.columns.len() && !is_loading;
        // What events see of it: both versions, and how well they are known.
        let (old, new, known) = match change {
            Change::Insert { new, .. } => {
                counts.insert += 1;
                route.encode(new, None, layout, None, buffer)?;
                if let Some(load) = &mut self.load {
                    load.forget(&(at, buffer.key.clone()));
                }
                if is_whole_row && self.engine.get(id, &buffer.key).is_some() {
                    return Err(RowError::Equal);
                }
                let entry = Entry::row_in(route.leaf, lsn, &buffer.key, &buffer.row);
                let new = Version::known(has_events.then(|| entry.clone()));
                self.engine.put(id, entry)?;
                (Version::None, new, Known::Both)
            }
            Change::Update { before, new, .. } => {
                counts.update += 1;
                let key = &mut self.old_key;
                let before = before.as_ref().map(|before| before.tuple());
                route.encode_key(before.as_ref().unwrap_or(new), layout, key)?;
                let is_untold = |cell| cell == crate::pgoutput::Cell::UnchangedToast;
                let untold = new.cells().any(is_untold);
                let wanted = untold || has_events;
                let old = wanted.then(|| self.engine.get(id, key).cloned()).flatten();
                let loading = self.load.as_mut().filter(|_| is_loading);
                let mut old_row = old.as_ref().and_then(Entry::value);
                let nulls;
                if loading.is_some() && old_row.is_none() {
                    nulls = vec![crate::value::NULL; layout.columns.len()];
                    old_row = Some(&nulls);
                }
                route.encode(new, before.as_ref(), layout, old_row, buffer)?;
                let mut known = Known::Both;
                if let Some(load) = loading {
                    let row = (at, key.clone());
                    if old.as_ref().is_none_or(|old| !load.tells(&row, old, lsn)) {
                        known = if untold { Known::Nothing } else { Known::New };
                    }
                    let columns =
                        if untold { route.untouched(new, before.as_ref()) } else { Vec::new() };
                    let keys = (row, (at, buffer.key.clone()));
                    let old = old.as_ref().filter(|_| untold);
                    load.updated(keys, lsn, old, &columns, &mut self.batch);
                }
                if before.is_some() && *key != buffer.key {
                    self.engine.delete(id, lsn, key)?;
                    if is_whole_row && self.engine.get(id, &buffer.key).is_some() {
                        return Err(RowError::Equal);
                    }
                }
                let entry = Entry::row_in(route.leaf, lsn, &buffer.key, &buffer.row);
                let new = Version::known(has_events.then(|| entry.clone()));
                self.engine.put(id, entry)?;
                (Version::known(old), new, known)
            }
            Change::Delete { before, .. } => {
                counts.delete += 1;
                route.encode_key(&before.tuple(), layout, &mut self.old_key)?;
                let old = has_events.then(|| self.engine.get(id, &self.old_key).cloned()).flatten();
                let mut known = Known::Both;
                if let Some(load) = &mut self.load {
                    let row = (at, self.old_key.clone());
                    let unknown = |old: &Entry| !load.tells(&row, old, lsn);
                    if is_loading && old.as_ref().is_none_or(unknown) {
                        known = Known::New;
                    }
                    load.forget(&row);
                }
                self.engine.delete(id, lsn, &self.old_key)?;
                (Version::known(old), Version::None, known)
            }
            Change::Truncate { .. } => unreachable!("a TRUNCATE is not a row's change"),
        };
        if has_events { self.occurred(at, &old, &new, known) } else { Ok(()) }
    }

    pub(super) fn tell(&mut self, news: News) {
        if self.news.len() < TOLD_MAX {
            self.news.push(news);
        }
    }

    /// A key of a projection's rows, for people.
    pub(super) fn key_text(&self, projection: usize, key: &[u8]) -> String {
        match self.projections[projection].output {
            Some(output) => {
                let columns = self.engine.output_columns(output);
                let types = self.engine.output_key(output).iter().map(|&at| &columns[at].ty);
                crate::value::key_text(types, key)
            }
            None => crate::value::key_text(EVENT_KEY_TYPES.iter(), key),
        }
    }
}

/// LSN and ordinal.
const EVENT_KEY_TYPES: [Type; 2] = [Type::PgLsn, Type::Int8];

pub(super) fn relation_of(change: &Change<'_>) -> u32 {
    match change {
        Change::Insert { relation, .. }
        | Change::Update { relation, .. }
        | Change::Delete { relation, .. } => *relation,
        Change::Truncate { .. } => 0,
    }
}
