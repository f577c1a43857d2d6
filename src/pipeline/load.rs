//! The machine's part in a load: rows that chunks bring, and the backlog of changes that follows them.

use super::backlog::{self, Record};
use super::doubt::{Answer, Doubts, Old, RowKey};
use super::machine::{Fault, LoadInit, Machine, relation_of};
use super::table::Stage;
use crate::engine::{Batch, Entry};
use crate::lsn::Lsn;
use crate::pgoutput::{Change, Message, Relation, decode};
use crate::value::{self, Column, ValueError};

/// The position that the stream must reach before a load's rows can be shown.
pub const BOUND_FACT: &str = "bound";

/// A load that is under way.
pub const LOAD_FACT: &str = "load";

pub(super) struct Load {
    from: Lsn,
    pub(super) bound: Lsn,
    pub(super) chunks_left: usize,
    /// The place of the backlog's next piece to replay; the last piece is `pending`.
    replay_at: u64,
    /// Bytes of that piece which are replayed.
    replay_offset: usize,
    pub(super) backlog_end: u64,
    /// The backlog's newest records, on their way to the store.
    pub(super) pending: Vec<u8>,
    /// The transaction that is replayed.
    xid: u32,
    doubts: Doubts,
}

impl Load {
    pub(super) fn new(init: LoadInit) -> Self {
        Self {
            from: init.from,
            bound: init.bound,
            chunks_left: init.chunks_left,
            replay_at: 0,
            replay_offset: 0,
            backlog_end: init.backlog_end,
            pending: Vec::new(),
            xid: 0,
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
        let replayed = |old: &Entry| self.from < old.lsn() && old.lsn() <= lsn;
        let old = match old {
            None => Old::Missing,
            Some(old) if replayed(old) && !self.doubts.is_borrowed(&from) => Old::Known,
            Some(_) => Old::Borrowed,
        };
        let known = !self.doubts.is_any_unknown();
        self.doubts.updated(&from, to, old, untold, self.xid);
        if known && self.doubts.is_any_unknown() {
            // The store does not know what is unknown: a restart loads anew.
            batch.remove_fact(LOAD_FACT);
        }
    }

    pub(super) fn forget(&mut self, row: &RowKey) {
        self.doubts.forget(row);
    }

    pub(super) fn truncated(&mut self, is_there: impl Fn(&RowKey) -> bool) {
        self.doubts.retain(is_there);
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
            Record { commit_lsn, xid: self.xid, body }.write(&mut load.pending);
        }
    }

    /// Rows of a chunk; `bound` comes with its last ones, with the facts that make it durable.
    pub fn loaded(
        &mut self,
        table: usize,
        entries: Vec<Entry>,
        bound: Option<Lsn>,
        facts: Vec<(String, Option<Vec<u8>>)>,
    ) -> Result<(), Fault> {
        let Some(load) = &mut self.load else { return Ok(()) };
        let id = self.tables[table].id;
        let rows_of = self.rows_of[self.engine.table_arrangement(id)];
        let from = load.from;
        if let Some(bound) = bound {
            load.bound = load.bound.max(bound);
            load.chunks_left -= 1;
        }
        for entry in entries {
            self.batch.entries.push((rows_of, entry.clone()));
            self.engine.load(id, entry)?;
        }
        self.engine.commit_of(&[id], from)?;
        self.batch.facts.extend(facts);
        Ok(())
    }

    /// A table's chunks were planned again.
    pub fn replanned(
        &mut self,
        dropped: usize,
        planned: usize,
        facts: Vec<(String, Option<Vec<u8>>)>,
    ) {
        if let Some(load) = &mut self.load {
            load.chunks_left = load.chunks_left - dropped + planned;
            self.batch.facts.extend(facts);
        }
    }

    /// The place of the backlog's next piece, once the load's rows are all there: the piece from the
    /// store, or `None` when there is nothing to do before the stream goes on.
    pub fn replay_at(&self) -> Option<u64> {
        let load = self.load.as_ref()?;
        let pieces = load.replay_at < load.backlog_end;
        (load.chunks_left == 0 && (pieces || self.has_reached_bound())).then_some(load.replay_at)
    }

    /// Chunks hold rows as new as the bound: before the stream has reached it, the changes between
    /// still meet such rows, and have to be replayed with care.
    fn has_reached_bound(&self) -> bool {
        self.load.as_ref().is_some_and(|load| self.position.lsn >= load.bound)
    }

    /// Replays a piece that came from the store.
    pub fn replay(&mut self, piece: &[u8]) -> Result<(), Fault> {
        let Some(load) = &self.load else { return Ok(()) };
        self.replay_from(piece, load.replay_offset)?;
        if let Some(load) = &mut self.load {
            load.replay_at += 1;
            load.replay_offset = 0;
        }
        Ok(())
    }

    fn replay_from(&mut self, piece: &[u8], mut offset: usize) -> Result<(), Fault> {
        let mut last = Lsn::ZERO;
        while offset < piece.len() {
            let Some((record, len)) = backlog::read(&piece[offset..]) else {
                return Err(Fault::Backlog { at: offset });
            };
            self.replay_record(&record)?;
            last = last.max(record.commit_lsn);
            offset += len;
        }
        if last > Lsn::ZERO {
            self.commit_loading(last)?;
        }
        Ok(())
    }

    fn commit_loading(&mut self, lsn: Lsn) -> Result<(), Fault> {
        let loading = self.tables.iter().filter(|table| table.stage == Stage::Loading);
        let loading: Vec<_> = loading.map(|table| table.id).collect();
        self.engine.commit_of(&loading, lsn)?;
        Ok(())
    }

    fn replay_record(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        if let Some(load) = &mut self.load {
            load.xid = record.xid;
        }
        let change = match decode(record.body)? {
            Message::Relation(described) => {
                let described = Relation::from(described);
                if let Some(route) = self.routes.get_mut(&described.oid)
                    && self.tables[route.table].stage == Stage::Loading
                {
                    route.forget();
                    self.describe(described.oid, &described);
                }
                return Ok(());
            }
            Message::Change(change) => change,
            _ => return Ok(()),
        };
        if let Change::Truncate { relations, .. } = &change {
            for relation in relations.iter() {
                if self.is_loading(relation) {
                    self.truncate(relation, record.commit_lsn)?;
                }
            }
            return Ok(());
        }
        let relation = relation_of(&change);
        if !self.is_loading(relation) {
            return Ok(());
        }
        let outcome = self.apply(relation, record.commit_lsn, &change);
        self.refuse(relation, outcome)
    }

    fn is_loading(&self, relation: u32) -> bool {
        let route = self.routes.get(&relation);
        route.is_some_and(|route| self.tables[route.table].stage == Stage::Loading)
    }

    /// The end of the load stands still until `fetched`.
    pub fn is_waiting_for_row(&self) -> bool {
        self.wanted.is_some()
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

    /// The row that was asked for, as a snapshot up to `bound` shows it.
    pub fn fetched(&mut self, entry: Option<Entry>, bound: Lsn) {
        if let (Some(row), Some(load)) = (self.wanted.take(), &mut self.load) {
            load.bound = load.bound.max(bound);
            load.doubts.answered(&row, Answer(entry));
        }
    }

    /// Replays what has not gone to the store yet and ends the load, when nothing else is left.
    pub fn finish_load(&mut self) -> Result<Option<Replayed>, Fault> {
        let reached = self.has_reached_bound();
        let Some(load) = &mut self.load else { return Ok(None) };
        if load.chunks_left > 0 || load.replay_at < load.backlog_end || !reached {
            return Ok(None);
        }
        let pending = std::mem::take(&mut load.pending);
        let offset = load.replay_offset;
        let outcome = self.replay_from(&pending, offset);
        if let Some(load) = &mut self.load {
            load.replay_offset = pending.len();
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
        self.end_load();
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

    fn end_load(&mut self) {
        let Some(load) = self.load.take() else { return };
        for (at, table) in self.tables.iter_mut().enumerate() {
            if table.stage == Stage::Loading {
                table.stage = Stage::Live;
                self.batch.fact(table.facts.name.clone(), table.facts.live.clone());
                for projection in &mut self.projections {
                    if projection.tables.contains(&at) {
                        projection.bound = load.bound;
                    }
                }
            }
        }
        // Deletions before this position are in the load's rows, and no log tells of them: who stands
        // below it is filled anew.
        for projection in &self.projections {
            if projection.bound == load.bound {
                let arrangement = self.engine.output_arrangement(projection.output);
                let floor = self.progress.applied.max(load.bound);
                self.engine.arrangement_mut(arrangement).raise_tombstone_floor(floor);
            }
        }
        // A restart before the stream has reached it must wait for it, too.
        self.batch.fact(BOUND_FACT, load.bound.0.to_be_bytes().to_vec());
        self.batch.backlog_dropped = true;
        self.batch.remove_fact(LOAD_FACT);
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
