//! The machine's part in a load: rows that chunks bring, and the backlog of changes that follows them.

use super::backlog::{self, Record};
use super::machine::{Fault, LoadInit, Machine, relation_of};
use super::table::Stage;
use crate::engine::{Entry, RowError};
use crate::lsn::Lsn;
use crate::pgoutput::{Change, Message, Relation, decode};
use crate::value;

/// The position that the stream must reach before a load's rows can be shown.
pub const BOUND_FACT: &str = "bound";

pub(super) struct Load {
    from: Lsn,
    bound: Lsn,
    pub(super) chunks_left: usize,
    /// The place of the backlog's next piece to replay; the last piece is `pending`.
    replay_at: u64,
    /// Bytes of that piece which are replayed.
    replay_offset: usize,
    pub(super) backlog_end: u64,
    /// The backlog's newest records, on their way to the store.
    pub(super) pending: Vec<u8>,
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
        }
    }
}

/// How a piece of the backlog went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// All of it.
    Whole,
    /// The row of this table under `Machine::wanted_key` has to be read from the source, by a snapshot
    /// in which `xid` has ended: its unchanged columns are in no chunk. Then the same piece goes on.
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
    /// store, or `None` when what is left has not gone there yet.
    pub fn replay_at(&self) -> Option<u64> {
        self.load.as_ref().filter(|load| load.chunks_left == 0).map(|load| load.replay_at)
    }

    /// Replays a piece that came from the store.
    pub fn replay(&mut self, piece: &[u8]) -> Result<Replayed, Fault> {
        let Some(mut load) = self.load.take() else { return Ok(Replayed::Whole) };
        let outcome = self.replay_from(piece, &mut load.replay_offset);
        if matches!(outcome, Ok(Replayed::Whole)) {
            load.replay_at += 1;
            load.replay_offset = 0;
        }
        self.load = Some(load);
        outcome
    }

    fn replay_from(&mut self, piece: &[u8], offset: &mut usize) -> Result<Replayed, Fault> {
        let mut last = Lsn::ZERO;
        while *offset < piece.len() {
            let Some((record, len)) = backlog::read(&piece[*offset..]) else {
                return Err(Fault::Backlog { at: *offset });
            };
            if let Some(table) = self.replay_record(&record)? {
                (self.wanted_len, self.waiting_for_row) = (len, true);
                return Ok(Replayed::NeedsRow { table, xid: record.xid });
            }
            last = last.max(record.commit_lsn);
            *offset += len;
        }
        if last > Lsn::ZERO {
            let loading = self.tables.iter().filter(|table| table.stage == Stage::Loading);
            let loading: Vec<_> = loading.map(|table| table.id).collect();
            self.engine.commit_of(&loading, last)?;
        }
        Ok(Replayed::Whole)
    }

    /// Some table: its row under `wanted_key` is missing.
    fn replay_record(&mut self, record: &Record<'_>) -> Result<Option<usize>, Fault> {
        let change = match decode(record.body)? {
            Message::Relation(described) => {
                let described = Relation::from(described);
                if let Some(route) = self.routes.get_mut(&described.oid)
                    && self.tables[route.table].stage == Stage::Loading
                {
                    route.forget();
                    self.describe(described.oid, &described);
                }
                return Ok(None);
            }
            Message::Change(change) => change,
            _ => return Ok(None),
        };
        if let Change::Truncate { relations, .. } = &change {
            for relation in relations.iter() {
                if self.is_loading(relation) {
                    self.truncate(relation, record.commit_lsn)?;
                }
            }
            return Ok(None);
        }
        let relation = relation_of(&change);
        if !self.is_loading(relation) {
            return Ok(None);
        }
        match self.apply(relation, record.commit_lsn, &change) {
            Err(RowError::Missing(_)) => Ok(self.routes.get(&relation).map(|route| route.table)),
            outcome => self.refuse(relation, outcome).map(|()| None),
        }
    }

    fn is_loading(&self, relation: u32) -> bool {
        let route = self.routes.get(&relation);
        route.is_some_and(|route| self.tables[route.table].stage == Stage::Loading)
    }

    /// A replay stands still until `fetched`.
    pub fn is_waiting_for_row(&self) -> bool {
        self.waiting_for_row
    }

    /// The texts of the key of the row that `Replayed::NeedsRow` asks for.
    pub fn wanted_key(&self, table: usize) -> Result<Vec<String>, Fault> {
        let layout = self.engine.layout(self.tables[table].id);
        let columns: Vec<_> =
            layout.identity.iter().map(|&at| layout.columns[at].clone()).collect();
        let datums = value::columns(&columns, &self.wanted_key).zip(&columns);
        let texts = datums.map(|(datum, column)| {
            let mut text = Vec::new();
            value::write_text(&column.ty, datum?, &mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        });
        texts.collect()
    }

    /// The row that a replay needed, as a snapshot up to `bound` shows it. Without one it is gone at the
    /// source: the change is passed over, the row's deletion follows in the stream.
    pub fn fetched(&mut self, table: usize, entry: Option<Entry>, bound: Lsn) -> Result<(), Fault> {
        self.waiting_for_row = false;
        let Some(load) = &mut self.load else { return Ok(()) };
        load.bound = load.bound.max(bound);
        let Some(entry) = entry else {
            load.replay_offset += self.wanted_len;
            return Ok(());
        };
        let id = self.tables[table].id;
        let rows_of = self.rows_of[self.engine.table_arrangement(id)];
        self.batch.entries.push((rows_of, entry.clone()));
        Ok(self.engine.load(id, entry)?)
    }

    /// Replays what has not gone to the store yet and ends the load, when nothing else is left.
    pub fn finish_load(&mut self) -> Result<Option<Replayed>, Fault> {
        let Some(load) = &mut self.load else { return Ok(None) };
        if load.chunks_left > 0 || load.replay_at < load.backlog_end {
            return Ok(None);
        }
        let pending = std::mem::take(&mut load.pending);
        let mut offset = load.replay_offset;
        let outcome = self.replay_from(&pending, &mut offset);
        let load = self.load.as_mut().expect("a load is under way");
        load.pending = pending;
        load.replay_offset = offset;
        match outcome? {
            Replayed::Whole => {
                self.end_load();
                Ok(Some(Replayed::Whole))
            }
            needs => Ok(Some(needs)),
        }
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
        self.batch.remove_fact("load");
    }
}
