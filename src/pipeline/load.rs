//! The machine's part in a load: rows that chunks bring, and the backlog of changes that follows them.
//!
//! While a table is loading its routes belong to the replay: the stream describes relations for the
//! changes that it brings now, the backlog for those that it brought then.

use std::collections::{BTreeMap, HashMap};

use super::backlog::{self, Record};
use super::doubt::{Answer, Doubts, Old, RowKey};
use super::machine::{Fault, LoadInit, Machine, Projection, expect_load, relation_of};
use super::table::Stage;
use crate::engine::{Batch, Entry, LoadedChunk, Moment, RowError, TableId};
use crate::lsn::Lsn;
use crate::pgoutput::{Change, Message, Relation, decode};
use crate::value::{self, Column, ValueError};

/// Where a load is remembered that is not over.
pub const LOAD_FACT: &str = "load";

pub(super) struct Load {
    /// Its consistent point is known. Until then all changes of its tables are kept, whatever their position.
    has_begun: bool,
    from: Lsn,
    bound: Lsn,
    /// Chunks that are still to be read, each with its table.
    chunks_left: BTreeMap<u32, usize>,
    /// Rows of chunks that are not read to their end.
    reading: BTreeMap<u32, Vec<Vec<Entry>>>,
    /// A table has dropped out or is another one: what is stored of the load must not be gone on with after a restart.
    broken: bool,
    /// The place of the backlog's next piece to replay; the last piece is `pending`.
    replay_at: u64,
    replay: Replay,
    /// A replay before this machine has come so far: rows of this very commit may be those of its end.
    replayed_before: Lsn,
    pub(super) backlog_end: u64,
    /// The backlog's newest records, on their way to the store.
    pub(super) pending: Vec<u8>,
    /// The transaction that is replayed.
    xid: u32,
    /// Relations as the backlog describes them, until the first change of them that counts.
    described: HashMap<u32, Relation>,
    doubts: Doubts,
}

/// The version of rows that a load reads: they hold all that was committed before its consistent point,
/// so they are part of the state at that very position. No commit record lies there.
pub fn rows_lsn(from: Lsn) -> Lsn {
    Lsn(from.0.saturating_sub(1))
}

/// How far the backlog's next piece is replayed.
#[derive(Clone, Copy)]
struct Replay {
    /// So many bytes of it.
    offset: usize,
    /// The newest commit of which anything is replayed.
    newest: Lsn,
}

impl Load {
    pub(super) fn new(init: Option<LoadInit>, replayed_before: Lsn) -> Self {
        let has_begun = init.is_some();
        let nothing = LoadInit {
            from: Lsn::ZERO,
            bound: Lsn::ZERO,
            chunks_left: BTreeMap::new(),
            backlog_end: 0,
        };
        let init = init.unwrap_or(nothing);
        Self {
            has_begun,
            from: init.from,
            bound: init.bound,
            chunks_left: init.chunks_left,
            reading: BTreeMap::new(),
            replay_at: 0,
            replay: Replay { offset: 0, newest: rows_lsn(init.from) },
            replayed_before,
            broken: false,
            backlog_end: init.backlog_end,
            pending: Vec::new(),
            xid: 0,
            described: HashMap::new(),
            doubts: Doubts::default(),
        }
    }

    /// A row moves from one key to the other, or stays; `untold` columns are as they were.
    pub(super) fn updated(
        &mut self,
        (from, to): (RowKey, RowKey),
        lsn: Lsn,
        old: Option<&Entry>,
        untold: &[usize],
        batch: &mut Batch,
    ) {
        // A version that this replay has written is of the moment, any other may be newer.
        let old = match old {
            None => Old::Missing,
            Some(old) if self.knows(&from, old, lsn) => Old::Known,
            Some(_) => Old::Borrowed,
        };
        let known = !self.doubts.is_any_unknown();
        self.doubts.updated(&from, to, old, untold, self.xid);
        if known && self.doubts.is_any_unknown() {
            // The store does not know what is unknown: a restart loads anew.
            batch.remove_fact(LOAD_FACT);
        }
    }

    /// The row's version is the one before this change, and not a newer one.
    pub(super) fn knows(&self, row: &RowKey, version: &Entry, lsn: Lsn) -> bool {
        let replayed = self.from <= version.lsn() && version.lsn() <= lsn;
        let is_own = version.lsn() < lsn || lsn > self.replayed_before;
        replayed && is_own && !self.doubts.is_borrowed(row)
    }

    /// The same, and nothing in it has to be asked for.
    pub(super) fn tells(&self, row: &RowKey, version: &Entry, lsn: Lsn) -> bool {
        self.knows(row, version, lsn) && !self.doubts.is_unknown(row)
    }

    pub(super) fn forget(&mut self, row: &RowKey) {
        self.doubts.forget(row);
    }

    pub(super) fn truncated(&mut self, is_there: impl Fn(&RowKey) -> bool) {
        self.doubts.retain(is_there);
    }

    /// Its chunks have all been read.
    fn is_read(&self) -> bool {
        self.has_begun && self.chunks_left.is_empty()
    }

    /// What the stream has to reach, once that is known.
    pub(super) fn wanted_position(&self) -> Option<Lsn> {
        self.is_read().then_some(self.bound)
    }
}

/// How a piece of the backlog went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// All of it.
    Whole,
    /// The row of this table under `Machine::wanted_key` has to be read from the source, by a snapshot
    /// in which `xid` has ended: values of it are in no chunk.
    NeedsRow { table: usize, xid: u32 },
}

impl Machine {
    pub(super) fn defer(&mut self, commit_lsn: Lsn, body: &[u8]) {
        let Some(load) = &mut self.load else { return };
        // Transactions before the load's consistent point are in its rows.
        if commit_lsn >= load.from || commit_lsn == Lsn::ZERO {
            let Moment { committed_at, change, .. } = self.moment;
            Record { commit_lsn, committed_at, change, xid: self.xid, body }
                .write(&mut load.pending);
        }
    }

    /// A load is to come.
    #[cfg(test)]
    pub(super) fn awaits_load(&self) -> bool {
        self.load.as_ref().is_some_and(|load| !load.has_begun)
    }

    /// The consistent point of a load to come is known, and its chunks; `facts` make it durable.
    pub fn load_begins(
        &mut self,
        from: Lsn,
        mut chunks: BTreeMap<u32, usize>,
        facts: Vec<(String, Option<Vec<u8>>)>,
    ) {
        let Some(load) = self.load.as_mut().filter(|load| !load.has_begun) else { return };
        let tables = &self.tables;
        chunks.retain(|_, table| tables[*table].stage == Stage::Loading);
        expect_load(&mut self.engine, tables, from, &chunks);
        (load.has_begun, load.from, load.bound, load.chunks_left) = (true, from, from, chunks);
        load.replay.newest = rows_lsn(from);
        if !load.broken {
            self.batch.facts.extend(facts);
        }
        self.begin_events(from);
    }

    /// What is stored of the load is nothing to go on with.
    pub(super) fn break_load(&mut self) {
        if let Some(load) = &mut self.load {
            load.broken = true;
        }
        self.batch.remove_fact(LOAD_FACT);
    }

    /// Rows of a chunk of the table. With its last ones comes the position beyond which its snapshot had
    /// seen nothing; `facts` make chunk and position durable.
    pub fn loaded(
        &mut self,
        table: usize,
        chunk: u32,
        entries: Vec<Entry>,
        ended: Option<Lsn>,
        facts: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<(), Fault> {
        let Some(load) = &mut self.load else { return Ok(()) };
        // Rows of a chunk that was planned again may still come when all that counts is there: the
        // backlog's changes must not be undone by them.
        if load.chunks_left.is_empty() || self.tables[table].stage != Stage::Loading {
            return Ok(());
        }
        let id = self.tables[table].id;
        let rows_of = self.rows_of[self.engine.table_arrangement(id)];
        let lsn = rows_lsn(load.from);
        let counts = load.chunks_left.contains_key(&chunk);
        let is_keyless = self.keyless.has(table);
        if is_keyless && !counts {
            return Ok(());
        }
        for entry in &entries {
            if is_keyless && self.engine.get(id, entry.key()).is_some() {
                self.keyless.refused(table, &RowError::Equal);
                self.quarantine(table, RowError::Equal.to_string());
                return Ok(());
            }
            self.engine.load(id, entry.clone())?;
        }
        if counts {
            load.reading.entry(chunk).or_default().push(entries);
        }
        if let Some(bound) = ended
            && counts
        {
            load.chunks_left.remove(&chunk);
            load.bound = load.bound.max(bound);
            let rows = load.reading.remove(&chunk).unwrap_or_default();
            self.batch.chunks.push(LoadedChunk { rows_of, rows });
        }
        self.commit_of(&[id], lsn)?;
        self.batch.facts.extend(facts);
        if let Some(load) = &self.load
            && !load.chunks_left.values().any(|&of| of == table)
        {
            let arrangement = self.engine.table_arrangement(id);
            self.engine.arrangement_mut(arrangement).load_is_whole();
        }
        Ok(())
    }

    /// Chunks of the table, loaded or not, are replaced by others.
    pub fn replanned(
        &mut self,
        table: usize,
        dropped: &[u32],
        planned: &[u32],
        facts: Vec<(String, Option<Vec<u8>>)>,
    ) {
        let Some(load) = &mut self.load else { return };
        if self.tables[table].stage != Stage::Loading {
            return;
        }
        load.chunks_left.retain(|chunk, _| !dropped.contains(chunk));
        load.reading.retain(|chunk, _| !dropped.contains(chunk));
        load.chunks_left.extend(planned.iter().map(|&chunk| (chunk, table)));
        if !load.broken {
            self.batch.facts.extend(facts);
        }
    }

    /// A table drops out of the load: the others do not wait for it. Its changes are not kept from now
    /// on, so a restart must load it anew rather than go on.
    pub(super) fn drop_from_load(&mut self, table: usize) {
        let Some(load) = &mut self.load else { return };
        load.chunks_left.retain(|_, of| *of != table);
        load.reading.retain(|chunk, _| load.chunks_left.contains_key(chunk));
        load.doubts.retain(|row| row.0 != table);
        self.break_load();
        if self.wanted.as_ref().is_some_and(|row| row.0 == table) {
            self.wanted = None;
        }
    }

    /// The place of the backlog's next piece, when it can be replayed: the load's rows are all there and
    /// no row is waited for. What has not gone to the store yet has its turn when the stream has reached
    /// the load's bound: chunks hold rows as new as that, and the changes between still meet them.
    pub fn replay_at(&self) -> Option<u64> {
        let load = self.load.as_ref().filter(|load| load.is_read())?;
        let stands_still =
            self.wanted.is_some() || (load.replay_at == load.backlog_end && !self.may_end(load));
        (!stands_still).then_some(load.replay_at)
    }

    /// Whether the stream is where the load can end. What is computed of the loaded tables is of a
    /// position between two transactions.
    fn may_end(&self, load: &Load) -> bool {
        let is_asleep = |projection: &Projection| {
            projection.output.is_some_and(|output| self.engine.is_asleep(output))
        };
        let between = self.position.inside.is_none() || !self.projections.iter().any(is_asleep);
        between && self.progress.applied >= load.bound
    }

    /// Replays a piece that came from the store.
    pub fn replay(&mut self, piece: &[u8]) -> Result<(), Fault> {
        self.replay_from(piece)?;
        if let Some(load) = &mut self.load {
            load.replay_at += 1;
            load.replay.offset = 0;
        }
        Ok(())
    }

    fn replay_from(&mut self, piece: &[u8]) -> Result<(), Fault> {
        let Some(Load { mut replay, .. }) = self.load else { return Ok(()) };
        // The stream may be within a transaction, which goes on after it.
        let of_stream = self.moment;
        while replay.offset < piece.len() {
            let at = replay.offset;
            let Some((record, len)) = backlog::read(&piece[at..]) else {
                return Err(Fault::Backlog { at });
            };
            replay.newest = replay.newest.max(record.commit_lsn);
            self.replay_record(&record)?;
            replay.offset += len;
        }
        self.moment = of_stream;
        if let Some(load) = &mut self.load {
            load.replay = replay;
        }
        self.commit_loading(replay.newest)
    }

    fn commit_loading(&mut self, lsn: Lsn) -> Result<(), Fault> {
        let loading = self.tables_that(|stage| *stage == Stage::Loading);
        self.commit_of(&loading, lsn)
    }

    fn replay_record(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        if let Some(load) = &mut self.load {
            load.xid = record.xid;
        }
        let Record { commit_lsn: lsn, committed_at, change, .. } = *record;
        self.moment = Moment { lsn, committed_at, change };
        let change = match decode(record.body)? {
            Message::Relation(described) => {
                let described = Relation::from(described);
                if let Some(route) = self.routes.get_mut(&described.oid)
                    && self.tables[route.table].stage == Stage::Loading
                    && let Some(load) = &mut self.load
                {
                    route.forget();
                    // Of a time before the consistent point it is of no concern what the table was like.
                    load.described.insert(described.oid, described);
                }
                return Ok(());
            }
            // What was kept before the consistent point was known is in the load's rows.
            Message::Change(_) if lsn < self.load.as_ref().map_or(Lsn::ZERO, |load| load.from) => {
                return Ok(());
            }
            Message::Change(change) => change,
            _ => return Ok(()),
        };
        if let Change::Truncate { relations, .. } = &change {
            let mut counted = Vec::new();
            for relation in relations.iter() {
                if self.is_loading(relation) && !self.is_seen(relation, record.xid) {
                    self.truncate(relation, record.commit_lsn, &mut counted)?;
                }
            }
            return Ok(());
        }
        let relation = relation_of(&change);
        if !self.is_loading(relation) {
            return Ok(());
        }
        let described = self.load.as_mut().and_then(|load| load.described.remove(&relation));
        if let Some(described) = described {
            self.describe(relation, &described);
        }
        let outcome = match self.is_seen(relation, record.xid) {
            true => self.pass_over(relation, record.commit_lsn, &change),
            false => self.apply(relation, record.commit_lsn, &change),
        };
        self.refuse(relation, outcome)
    }

    /// The rows of a table without a key hold all that this transaction has changed.
    fn is_seen(&self, relation: u32, xid: u32) -> bool {
        let route = self.routes.get(&relation);
        route.is_some_and(|route| self.keyless.has_seen(route.table, route.leaf, xid))
    }

    fn is_loading(&self, relation: u32) -> bool {
        let route = self.routes.get(&relation);
        route.is_some_and(|route| self.tables[route.table].stage == Stage::Loading)
    }

    /// The texts of the key of the row that `Replayed::NeedsRow` asks for.
    pub fn wanted_key(&self, table: usize) -> Result<Vec<String>, Fault> {
        let layout = self.engine.layout(self.tables[table].id);
        let columns: Vec<_> =
            layout.identity.iter().map(|&at| layout.columns[at].clone()).collect();
        let key = self.wanted.as_ref().map_or(&[][..], |(_, key)| key);
        let datums = value::columns(&columns, key).zip(&columns);
        let texts = datums.map(|(datum, column)| {
            let mut text = Vec::new();
            value::write_text(&column.ty, datum?, &mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        });
        texts.collect()
    }

    /// The row that was asked for, as a snapshot up to `bound` shows it. One of a table that has dropped
    /// out meanwhile is nobody's answer.
    pub fn fetched(&mut self, table: usize, entry: Option<Entry>, bound: Lsn) {
        if let Some(row) = self.wanted.take_if(|row| row.0 == table)
            && let Some(load) = &mut self.load
        {
            load.bound = load.bound.max(bound);
            load.doubts.answered(&row, Answer(entry));
        }
    }

    /// Replays what has not gone to the store yet and ends the load, when nothing else is left and the
    /// stream has reached the newest row that the load has read. Before, a change might still come that
    /// needs a row which no chunk has shown, and the rows are of different positions.
    pub fn finish_load(&mut self) -> Result<Option<Replayed>, Fault> {
        let ripe = self.load.as_ref().is_some_and(|load| {
            load.is_read() && load.replay_at == load.backlog_end && self.may_end(load)
        });
        let Some(load) = self.load.as_mut().filter(|_| ripe) else { return Ok(None) };
        let pending = std::mem::take(&mut load.pending);
        let outcome = self.replay_from(&pending);
        if let Some(load) = &mut self.load {
            load.pending = pending;
        }
        outcome?;
        self.fill_unknown()?;
        let unasked = self.load.as_ref().and_then(|load| load.doubts.unasked());
        if let Some((row, xid)) = unasked {
            let table = row.0;
            self.wanted = Some(row.clone());
            return Ok(Some(Replayed::NeedsRow { table, xid }));
        }
        // A table that has dropped out on the way may have been the last one.
        self.end_load()?;
        Ok(Some(Replayed::Whole))
    }

    /// Puts the source's answers in the place of what was unknown.
    fn fill_unknown(&mut self) -> Result<(), Fault> {
        let Some(load) = &mut self.load else { return Ok(()) };
        let answered = load.doubts.take_answered();
        if answered.is_empty() {
            return Ok(());
        }
        for ((table, key), columns, answer) in answered {
            let id = self.tables[table].id;
            let Some(old) = self.engine.get(id, &key) else { continue };
            let layout = self.engine.layout(id);
            let row = combine(&layout.columns, old, &columns, &answer)?;
            let entry = Entry::row_in(old.leaf(), old.lsn(), &key, &row);
            let rows_of = self.rows_of[self.engine.table_arrangement(id)];
            self.batch.entries.push((rows_of, entry.clone()));
            self.engine.load(id, entry)?;
        }
        self.commit_loading(Lsn(self.position.lsn.0 - 1))
    }

    fn end_load(&mut self) -> Result<(), Fault> {
        self.load = None;
        let loading: Vec<usize> =
            (0..self.tables.len()).filter(|&at| self.tables[at].stage == Stage::Loading).collect();
        for &at in &loading {
            let table = &mut self.tables[at];
            (table.stage, table.whole) = (Stage::Live, true);
            self.batch.fact(table.facts.name.clone(), table.facts.live.clone());
        }
        let woken: Vec<TableId> = loading.iter().map(|&at| self.tables[at].id).collect();
        self.engine.wake(&woken, Lsn(self.position.lsn.0 - 1))?;
        self.make_pending()?;
        self.gather_told();
        self.begin_histories(&loading);
        self.events_have_begun(&loading);
        // From here on the connection's own descriptions count, not the backlog's last ones.
        for route in self.routes.values_mut().filter(|route| loading.contains(&route.table)) {
            route.forget();
        }
        // Deletions before this position are in the load's rows, and no log tells of them: who stands
        // below it is filled anew.
        for projection in &self.projections {
            let is_of_it = projection.tables.iter().any(|table| loading.contains(table));
            // A log has no deletions.
            if is_of_it && projection.output.is_some() {
                let floor = self.progress.applied;
                self.engine.arrangement_mut(projection.arrangement).raise_tombstone_floor(floor);
            }
        }
        self.batch.backlog_dropped = true;
        self.batch.remove_fact(LOAD_FACT);
        Ok(())
    }
}

/// The row of `old`, with these columns from `other`.
fn combine(
    columns: &[Column],
    old: &Entry,
    from_other: &[usize],
    other: &Entry,
) -> Result<Vec<u8>, ValueError> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (old, other) = (old.value().unwrap_or_default(), other.value().unwrap_or_default());
    value::split(columns, old, &mut ours)?;
    value::split(columns, other, &mut theirs)?;
    let mut row = Vec::with_capacity(old.len());
    for at in 0..columns.len() {
        let part = match from_other.contains(&at) {
            true => &other[theirs[at].clone()],
            false => &old[ours[at].clone()],
        };
        row.extend_from_slice(part);
    }
    Ok(row)
}
