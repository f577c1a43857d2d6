//! What depends on changed rows follows at each commit.
//!
//! Rows go from operator to operator in chunks. As a rule an operator runs when all that its inputs have
//! to say is there; where that is more than a chunk it runs before, so that the change of one row with a
//! million dependants is worked off in bounded memory.
//!
//! Invariant: when an operator runs, tables' rows and indexes are those after all changes that are
//! followed, and what was before them is known (`changes`); what another operator keeps is ahead of whom
//! it sends to by exactly what that has pending.

use super::access::Port;
use super::changes::Changes;
use super::delta::Deltas;
use super::graph::{Arranged, Engine, Node, Operator, State, TableId, Told};
use super::look::Go;
use super::operator::{Mode, Notice};
use super::passing::Passing;
use crate::lsn::Lsn;
use crate::value::{self, ValueError};

/// Where an operator's rows go.
pub(super) struct Emit<'e> {
    pub(super) engine: &'e Engine,
    at: usize,
    lsn: Lsn,
    pub(super) out: Deltas,
}

impl Emit<'_> {
    /// So that no more than a chunk gathers.
    pub(super) fn flush_when_full(&mut self) -> Result<(), ValueError> {
        if self.out.len() >= self.engine.chunk_rows { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ValueError> {
        self.engine.send(self.at, &mut self.out, self.lsn)
    }
}

impl Engine {
    /// The transaction whose commit record is at `lsn` is whole: everything that depends on what it
    /// changed follows, and what is to be told of it waits in `take_told`.
    pub fn commit(&mut self, lsn: Lsn) -> Result<(), ValueError> {
        let tables: Vec<TableId> = (0..self.tables.len()).collect();
        self.commit_of(&tables, lsn)
    }

    /// As `commit`, for what depends on these tables: another transaction may be under way in others.
    pub fn commit_of(&mut self, tables: &[TableId], lsn: Lsn) -> Result<(), ValueError> {
        self.follow(tables, lsn)?;
        self.settle(lsn)
    }

    pub(super) fn follow(&mut self, tables: &[TableId], lsn: Lsn) -> Result<(), ValueError> {
        if tables.iter().all(|&table| self.tables[table].pending.is_empty()) {
            return Ok(());
        }
        self.epoch += 1;
        for table in 0..self.tables.len() {
            self.gather(table, tables.contains(&table))?;
        }
        self.lend_outputs();
        let done = self.run(lsn);
        self.take_outputs_back();
        for (table, changes) in self.tables.iter().zip(&mut self.changes) {
            *changes = Changes::default();
            for &index in &table.indexes {
                if let State::Arranged(Arranged::Shared { gone, .. }) =
                    self.nodes[index].state.get_mut()
                {
                    gone.clear();
                }
            }
        }
        done
    }

    fn settle(&mut self, lsn: Lsn) -> Result<(), ValueError> {
        self.lend_outputs();
        let done = self.nodes.iter().try_for_each(|node| self.settle_output(node, lsn));
        self.take_outputs_back();
        done
    }

    fn settle_output(&self, node: &Node, lsn: Lsn) -> Result<(), ValueError> {
        let Operator::Output(output) = node.operator else { return Ok(()) };
        match &mut *node.state.borrow_mut() {
            State::Output { operator, rows, .. } => {
                operator.settle(lsn, rows, &mut |notice| self.tell(Told { output, lsn, notice }))
            }
            _ => unreachable!("made as an output"),
        }
    }

    /// Takes what a table has pending, and brings its indexes to it where it is followed.
    fn gather(&mut self, table: TableId, followed: bool) -> Result<(), ValueError> {
        let Self { tables, nodes, changes, .. } = self;
        let of = &mut tables[table];
        if of.pending.is_empty() {
            return Ok(());
        }
        if !followed {
            changes[table] = Changes::new(of.pending.clone(), false);
            return Ok(());
        }
        of.pending_bytes = 0;
        changes[table] = Changes::new(std::mem::take(&mut of.pending), true);
        let rows = &changes[table].rows;
        let (mut ranges, mut old_key, mut new_key) = (Vec::new(), Vec::new(), Vec::new());
        let mut passing = Passing::default();
        for &at in &of.indexes {
            let (below, rest) = nodes.split_at_mut(at);
            let Node { layout, state, filled, .. } = &mut rest[0];
            let State::Arranged(Arranged::Shared { filter, key, index, gone, .. }) =
                state.get_mut()
            else {
                continue;
            };
            if !*filled {
                continue;
            }
            let filter = filter.map(|filter| &below[filter].operator);
            for changed in rows {
                let mut entries = [&changed.old, &changed.new];
                for (entry, bytes) in entries.iter_mut().zip([&mut old_key, &mut new_key]) {
                    bytes.clear();
                    let Some(row) = entry.as_ref().and_then(|entry| entry.value()) else {
                        continue;
                    };
                    match filter {
                        Some(filter) if !passing.pass(filter, layout, row)? => *entry = &None,
                        _ => {
                            layout.split(row, &mut ranges)?;
                            key.write(row, &ranges, bytes)?;
                        }
                    }
                }
                if let Some(old) = entries[0] {
                    gone.push(&old_key, old);
                }
                let [old, new] = entries;
                old.iter().for_each(|old| index.remove(&old_key, old));
                new.iter().for_each(|new| index.put(&new_key, new.clone()));
            }
            gone.sort();
        }
        Ok(())
    }

    fn lend_outputs(&mut self) {
        let Self { nodes, arrangements, .. } = self;
        for node in nodes {
            if let State::Output { arrangement, rows, .. } = node.state.get_mut() {
                std::mem::swap(rows, &mut arrangements[*arrangement]);
            }
        }
    }

    fn take_outputs_back(&mut self) {
        self.lend_outputs();
    }

    fn run(&self, lsn: Lsn) -> Result<(), ValueError> {
        let mut rows = Deltas::default();
        for (table, changes) in self.tables.iter().zip(&self.changes) {
            let Some(scan) = table.scan.filter(|_| changes.followed) else { continue };
            rows.clear();
            for changed in &changes.rows {
                let [old, new] = [&changed.old, &changed.new]
                    .map(|entry| entry.as_ref().and_then(|entry| entry.value()));
                if old != new {
                    old.into_iter().for_each(|row| rows.push(row, -1));
                    new.into_iter().for_each(|row| rows.push(row, 1));
                }
            }
            self.push(scan, &rows)?;
        }
        for (place, &at) in self.order.iter().enumerate() {
            self.place.set(place);
            self.drain(at, lsn)?;
        }
        Ok(())
    }

    /// Rows go to all users of a node; those that have a chunk of them run.
    fn send(&self, at: usize, rows: &mut Deltas, lsn: Lsn) -> Result<(), ValueError> {
        if rows.is_empty() {
            return Ok(());
        }
        // What a node keeps is ahead of its users by what they are sent now, so all are sent it before
        // any runs.
        self.push(at, rows)?;
        rows.clear();
        self.drain_full(at, lsn)
    }

    fn push(&self, at: usize, rows: &Deltas) -> Result<(), ValueError> {
        for user in &self.nodes[at].users {
            let node = &self.nodes[user.node];
            if !node.filled {
                continue;
            }
            if node.operator.gathers() {
                let pending = &mut node.pending.borrow_mut()[user.port];
                pending.append(rows);
                #[cfg(test)]
                self.pending_rows_max.set(self.pending_rows_max.get().max(pending.len()));
                continue;
            }
            let mut out = std::mem::take(&mut node.pending.borrow_mut()[0]);
            let (layout, mut passing) = (&self.nodes[at].layout, self.passings.take());
            for (row, weight) in rows.iter() {
                passing.each(&node.operator, layout, row, &mut |row| {
                    out.push(row, weight);
                    Ok(Go::On)
                })?;
            }
            self.passings.give(passing);
            self.push(user.node, &out)?;
            out.clear();
            node.pending.borrow_mut()[0] = out;
        }
        Ok(())
    }

    fn drain_full(&self, at: usize, lsn: Lsn) -> Result<(), ValueError> {
        for user in &self.nodes[at].users {
            if !self.nodes[user.node].operator.gathers() {
                self.drain_full(user.node, lsn)?;
                continue;
            }
            let ready = self.ready(user.node);
            let pending: usize = {
                let pending = self.nodes[user.node].pending.borrow();
                pending.iter().zip(ready).filter(|(_, ready)| *ready).map(|(p, _)| p.len()).sum()
            };
            if pending >= self.chunk_rows {
                self.nodes[user.node].cut_in.set(self.epoch);
                self.drain(user.node, lsn)?;
            }
        }
        Ok(())
    }

    /// By port, whether what is pending may be worked off now.
    fn ready(&self, at: usize) -> [bool; 2] {
        let node = &self.nodes[at];
        match &node.operator {
            Operator::Join(join) => {
                let all = node.first_until <= self.place.get();
                Port::BOTH
                    .map(|port| all || join.mode == Mode::Both || join.mode == Mode::First(port))
            }
            _ => [true; 2],
        }
    }

    /// Works off what is pending at a node.
    fn drain(&self, at: usize, lsn: Lsn) -> Result<(), ValueError> {
        let node = &self.nodes[at];
        let ready = self.ready(at);
        let mut pending = {
            let mut all = node.pending.borrow_mut();
            let mut port = 0;
            all.each_mut().map(|pending| {
                port += 1;
                if ready[port - 1] { std::mem::take(pending) } else { Deltas::default() }
            })
        };
        if pending.iter().all(Deltas::is_empty) {
            return Ok(());
        }
        let mut refused = Vec::new();
        let refuse = &mut |error: &[u8], weight: i64| {
            if weight > 0 {
                refused.push(error.to_vec());
            }
        };
        let mut emit = Emit { engine: self, at, lsn, out: self.deltas.take() };
        match &node.operator {
            Operator::Scan(_)
            | Operator::Filter(_)
            | Operator::Map(_)
            | Operator::Expand(_)
            | Operator::Union => unreachable!("nothing is pending there"),
            Operator::Arrange => {
                self.rearrange(at, &pending[0])?;
                self.send(at, &mut pending[0], lsn)?;
            }
            Operator::Join(join) => {
                let [left, right] = &pending;
                let (of_left, of_right) = (&join.left, &join.right);
                let (mut by_left, mut by_right) = (self.sorts.take(), self.sorts.take());
                by_left.fill(left.iter(), &of_left.layout, &of_left.key, refuse)?;
                by_right.fill(right.iter(), &of_right.layout, &of_right.key, refuse)?;
                let State::Join(state) = &mut *node.state.borrow_mut() else {
                    unreachable!("made as a join");
                };
                join.run(state, [&by_left, &by_right], &mut emit)?;
                self.sorts.give(by_left);
                self.sorts.give(by_right);
            }
            Operator::NotIn(join) => join.run(&pending[0], &pending[1], refuse, &mut emit)?,
            Operator::Aggregate => {
                let state = || {
                    std::cell::RefMut::map(node.state.borrow_mut(), |state| match state {
                        State::Aggregate(aggregate) => aggregate,
                        _ => unreachable!("made as an aggregate"),
                    })
                };
                let is_whole = node.cut_in.get() != self.epoch;
                let sorted = self.sorts.take();
                let mut work = state().begin(&pending[0], is_whole, sorted, refuse)?;
                // What it keeps is looked at by those that it sends to.
                while state().run(self, &mut work, &mut emit.out)? {
                    emit.flush()?;
                }
                self.sorts.give(work.end());
            }
            Operator::TopN => {
                let state = || {
                    std::cell::RefMut::map(node.state.borrow_mut(), |state| match state {
                        State::TopN(top_n) => top_n,
                        _ => unreachable!("made as a top-n"),
                    })
                };
                let mut work = state().begin(&pending[0], refuse)?;
                while state().run(&mut work, self.chunk_rows, &mut emit.out)? {
                    emit.flush()?;
                }
            }
            Operator::Output(_) => match &mut *node.state.borrow_mut() {
                State::Output { operator, rows, .. } => operator.apply(&pending[0], lsn, rows)?,
                _ => unreachable!("made as an output"),
            },
        }
        emit.flush()?;
        self.deltas.give(emit.out);
        // The buffers are used again.
        for (used, kept) in pending.iter_mut().zip(node.pending.borrow_mut().iter_mut()) {
            if kept.is_empty() {
                used.clear();
                *kept = std::mem::take(used);
            }
        }
        self.tell_refused(at, lsn, refused);
        Ok(())
    }

    fn rearrange(&self, at: usize, pending: &Deltas) -> Result<(), ValueError> {
        let node = &self.nodes[at];
        let mut state = node.state.borrow_mut();
        let State::Arranged(Arranged::Own { key, index }) = &mut *state else {
            unreachable!("a table's rows are arranged when they change");
        };
        let (mut ranges, mut bytes) = (Vec::new(), Vec::new());
        for (row, weight) in pending.iter() {
            node.layout.split(row, &mut ranges)?;
            bytes.clear();
            key.write(row, &ranges, &mut bytes)?;
            index.add(&bytes, row, weight);
        }
        Ok(())
    }

    /// Rows whose keys are errors are in no join and no group: every projection behind is told.
    pub(super) fn tell_refused(&self, at: usize, lsn: Lsn, refused: Vec<Vec<u8>>) {
        if refused.is_empty() {
            return;
        }
        let mut behind = vec![false; self.nodes.len()];
        behind[at] = true;
        for node in at..self.nodes.len() {
            behind[node] |= self.nodes[node].inputs.iter().any(|&input| behind[input]);
        }
        for (node, _) in self.nodes.iter().zip(behind).filter(|(_, behind)| *behind) {
            if let Operator::Output(output) = node.operator {
                for error in &refused {
                    let error = value::error_text(error).unwrap_or_default().to_owned();
                    let notice = Notice::Refused { key: Vec::new(), error };
                    self.tell(Told { output, lsn, notice });
                }
            }
        }
    }
}
