//! What depends on changed rows follows at each commit.
//!
//! Rows go from operator to operator in chunks. As a rule an operator runs when all that its inputs have
//! to say is there; where that is more than a chunk it runs before, so that the change of one row with a
//! million dependants is worked off in bounded memory.
//!
//! Invariant: when a join runs, its sides' rows are ahead of what it has processed by exactly its own
//! pending deltas, and by a table's changes that are not to be followed yet.

use super::Entry;
use super::delta::Deltas;
use super::graph::{Arranged, Engine, Operator, TableId, Told};
use super::operator::{Arriving, Notice};
use super::passing::Passing;
use super::view::View;
use crate::lsn::Lsn;
use crate::value::{self, ValueError};

impl Engine {
    /// The transaction whose commit record is at `lsn` is whole: everything that depends on what it
    /// changed follows, and what is to be told of it waits in `take_told`.
    pub fn commit(&mut self, lsn: Lsn) -> Result<(), ValueError> {
        let scans: Vec<usize> = self.tables.iter().filter_map(|table| table.scan).collect();
        self.follow(&scans, lsn)?;
        self.settle(lsn)
    }

    /// As `commit`, for what depends on these tables: another transaction may be under way in others.
    pub fn commit_of(&mut self, tables: &[TableId], lsn: Lsn) -> Result<(), ValueError> {
        let scans = tables.iter().filter_map(|&table| self.tables[table].scan);
        let scans: Vec<usize> = scans.collect();
        self.follow(&scans, lsn)?;
        self.settle(lsn)
    }

    pub(super) fn follow(&mut self, scans: &[usize], lsn: Lsn) -> Result<(), ValueError> {
        for &scan in scans {
            self.run_scan(scan, lsn)?;
        }
        // Inputs stand before their users, so one pass suffices.
        for at in 0..self.nodes.len() {
            self.drain(at, lsn)?;
        }
        Ok(())
    }

    fn settle(&mut self, lsn: Lsn) -> Result<(), ValueError> {
        let Self { nodes, arrangements, told, .. } = self;
        for node in nodes {
            if let Operator::Output { output, arrangement, operator } = &mut node.operator {
                let output = *output;
                let mut tell = |notice| Self::tell(told, Told { output, lsn, notice });
                operator.settle(lsn, &mut arrangements[*arrangement], &mut tell)?;
            }
        }
        Ok(())
    }

    fn run_scan(&mut self, scan: usize, lsn: Lsn) -> Result<(), ValueError> {
        let Operator::Scan { pending, pending_bytes, .. } = &mut self.nodes[scan].operator else {
            unreachable!("found as a scan");
        };
        if pending.is_empty() {
            return Ok(());
        }
        *pending_bytes = 0;
        let entries = std::mem::take(pending);
        let users = self.nodes[scan].users.clone();
        let is_arrange = |at: usize| matches!(self.nodes[at].operator, Operator::Arrange(_));
        let (indexes, others): (Vec<_>, Vec<_>) =
            users.into_iter().partition(|user| is_arrange(user.node));
        // All indexes before any join runs: the table's own arrangement has the changes already.
        for user in indexes {
            self.index_entries(user.node, &entries)?;
        }
        let mut out = Deltas::default();
        for chunk in entries.chunks(self.chunk_rows) {
            out.clear();
            for (entry, weight) in chunk {
                out.push(entry.value().unwrap_or_default(), *weight);
            }
            for user in &others {
                self.push(user.node, user.port, &out);
            }
            for user in &others {
                self.drain_when_full(user.node, lsn)?;
            }
        }
        Ok(())
    }

    /// A table's changes go into an index of it, and on to the joins that read it.
    fn index_entries(&mut self, at: usize, entries: &[(Entry, i64)]) -> Result<(), ValueError> {
        let mut out = Deltas::default();
        let node = &mut self.nodes[at];
        if !node.filled {
            return Ok(());
        }
        let (mut ranges, mut bytes) = (Vec::new(), Vec::new());
        for (entry, weight) in entries {
            let row = entry.value().unwrap_or_default();
            out.push(row, *weight);
            if let Operator::Arrange(Arranged::Shared { key, index }) = &mut node.operator {
                node.layout.split(row, &mut ranges)?;
                bytes.clear();
                key.write(row, &ranges, &mut bytes)?;
                match *weight {
                    1.. => index.put(&bytes, entry.clone()),
                    _ => index.remove(&bytes, entry),
                }
            }
        }
        for user in node.users.clone() {
            self.push(user.node, user.port, &out);
        }
        Ok(())
    }

    fn push(&mut self, node: usize, port: usize, rows: &Deltas) {
        if !self.nodes[node].filled {
            return;
        }
        let pending = &mut self.nodes[node].pending[port];
        rows.iter().for_each(|(row, weight)| pending.push(row, weight));
        #[cfg(test)]
        {
            self.pending_rows_max = self.pending_rows_max.max(pending.len());
        }
    }

    /// Rows go to all users of a node; those that have a chunk of them run.
    fn send(&mut self, at: usize, rows: &mut Deltas, lsn: Lsn) -> Result<(), ValueError> {
        for user in 0..self.nodes[at].users.len() {
            let user = self.nodes[at].users[user];
            self.push(user.node, user.port, rows);
        }
        rows.clear();
        for user in 0..self.nodes[at].users.len() {
            self.drain_when_full(self.nodes[at].users[user].node, lsn)?;
        }
        Ok(())
    }

    fn drain_when_full(&mut self, at: usize, lsn: Lsn) -> Result<(), ValueError> {
        let pending: usize = self.nodes[at].pending.iter().map(Deltas::len).sum();
        if pending >= self.chunk_rows { self.drain(at, lsn) } else { Ok(()) }
    }

    /// Works off what is pending at a node.
    fn drain(&mut self, at: usize, lsn: Lsn) -> Result<(), ValueError> {
        if self.nodes[at].pending.iter().all(Deltas::is_empty) {
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.nodes[at].pending);
        let mut operator = std::mem::replace(&mut self.nodes[at].operator, Operator::Busy);
        let mut refused = Vec::new();
        let refuse = &mut |error: &[u8], weight: i64| {
            if weight > 0 {
                refused.push(error.to_vec());
            }
        };
        let mut out = Deltas::default();
        let rows_max = self.chunk_rows;
        match &mut operator {
            Operator::Scan { .. } | Operator::Busy => unreachable!("nothing is pushed to them"),
            Operator::Filter(_) | Operator::Map(_) | Operator::Union => {
                self.pass(at, &operator, &pending[0], lsn, &mut out)?;
            }
            Operator::Arrange(arranged) => self.rearrange(at, arranged, &pending[0])?,
            Operator::Join(join) => {
                let withheld = [0, 1].map(|port| self.not_followed(self.nodes[at].inputs[port]));
                let [left, right] =
                    [0, 1].map(|i| Arriving { delta: &pending[i], withheld: &withheld[i] });
                join.begin(&left, &right, refuse)?;
                loop {
                    let [left, right] = self.sides(at);
                    let more = join.run(left, right, rows_max, &mut out)?;
                    self.send(at, &mut out, lsn)?;
                    if !more {
                        break;
                    }
                }
            }
            Operator::NotIn(join) => {
                let withheld = [0, 1].map(|port| self.not_followed(self.nodes[at].inputs[port]));
                let [left, right] =
                    [0, 1].map(|i| Arriving { delta: &pending[i], withheld: &withheld[i] });
                join.begin(&left, &right, self.sides(at)[1], refuse)?;
                loop {
                    let [left, right] = self.sides(at);
                    let more = join.run(left, right, rows_max, &mut out)?;
                    self.send(at, &mut out, lsn)?;
                    if !more {
                        break;
                    }
                }
            }
            Operator::Aggregate(aggregate) => {
                aggregate.begin(&pending[0], refuse)?;
                while {
                    let more = aggregate.run(rows_max, &mut out)?;
                    self.send(at, &mut out, lsn)?;
                    more
                } {}
            }
            Operator::TopN(top_n) => {
                top_n.begin(&pending[0], refuse)?;
                while {
                    let more = top_n.run(rows_max, &mut out)?;
                    self.send(at, &mut out, lsn)?;
                    more
                } {}
            }
            Operator::Output { arrangement, operator, .. } => {
                operator.apply(&pending[0], lsn, &mut self.arrangements[*arrangement])?;
            }
        }
        let arranges = matches!(operator, Operator::Arrange(_));
        self.nodes[at].operator = operator;
        if arranges {
            // The index is ahead of the joins by what they are sent now, so all are sent it before any runs.
            self.send(at, &mut pending[0], lsn)?;
        }
        pending.iter_mut().for_each(Deltas::clear);
        self.nodes[at].pending = pending;
        self.tell_refused(at, lsn, refused);
        Ok(())
    }

    /// Operators that keep nothing.
    fn pass(
        &mut self,
        at: usize,
        operator: &Operator,
        pending: &Deltas,
        lsn: Lsn,
        out: &mut Deltas,
    ) -> Result<(), ValueError> {
        let mut passing = Passing::default();
        let input = self.nodes[at].inputs[0];
        for (row, weight) in pending.iter() {
            let layout = &self.nodes[input].layout;
            if passing.pass(operator, layout, row)? {
                out.push(&passing.row, weight);
            }
            if out.len() >= self.chunk_rows {
                self.send(at, out, lsn)?;
            }
        }
        self.send(at, out, lsn)
    }

    fn rearrange(
        &mut self,
        at: usize,
        arranged: &mut Arranged,
        pending: &Deltas,
    ) -> Result<(), ValueError> {
        let Arranged::Own { key, index } = arranged else { return Ok(()) };
        let (mut ranges, mut bytes) = (Vec::new(), Vec::new());
        for (row, weight) in pending.iter() {
            self.nodes[at].layout.split(row, &mut ranges)?;
            bytes.clear();
            key.write(row, &ranges, &mut bytes)?;
            index.add(&bytes, row, weight);
        }
        Ok(())
    }

    /// Changes of a table that its own arrangement has, though they are not to be followed yet.
    fn not_followed(&self, arrange: usize) -> Deltas {
        let mut withheld = Deltas::default();
        if let Operator::Arrange(Arranged::Table(table)) = self.nodes[arrange].operator
            && let Some(scan) = self.tables[table].scan
            && let Operator::Scan { pending, .. } = &self.nodes[scan].operator
        {
            for (entry, weight) in pending {
                withheld.push(entry.value().unwrap_or_default(), *weight);
            }
        }
        withheld
    }

    /// What a join sees of its sides.
    pub(super) fn sides(&self, join: usize) -> [View<'_>; 2] {
        [0, 1].map(|port| self.view(self.nodes[join].inputs[port]))
    }

    pub(super) fn view(&self, arrange: usize) -> View<'_> {
        match &self.nodes[arrange].operator {
            Operator::Arrange(Arranged::Table(table)) => {
                View::Table(&self.arrangements[self.tables[*table].arrangement])
            }
            Operator::Arrange(Arranged::Shared { index, .. }) => View::Shared(index),
            Operator::Arrange(Arranged::Own { index, .. }) => View::Own(index),
            _ => unreachable!("a join reads arranged rows"),
        }
    }

    /// Rows whose keys are errors are in no join and no group: every projection behind is told.
    pub(super) fn tell_refused(&mut self, at: usize, lsn: Lsn, refused: Vec<Vec<u8>>) {
        if refused.is_empty() {
            return;
        }
        let mut behind = vec![false; self.nodes.len()];
        behind[at] = true;
        for node in at..self.nodes.len() {
            behind[node] |= self.nodes[node].inputs.iter().any(|&input| behind[input]);
        }
        for (node, _) in self.nodes.iter().zip(behind).filter(|(_, behind)| *behind) {
            if let Operator::Output { output, .. } = node.operator {
                for error in &refused {
                    let error = value::error_text(error).unwrap_or_default().to_owned();
                    let notice = Notice::Refused { key: Vec::new(), error };
                    Self::tell(&mut self.told, Told { output, lsn, notice });
                }
            }
        }
    }
}
