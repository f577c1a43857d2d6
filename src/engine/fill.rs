//! At a start: what the operators keep is computed from the tables' rows, inputs first, each row once;
//! then the outputs are brought to what that says. The store keeps the rows of tables and outputs alone.

use super::Entry;
use super::delta::See;
use super::graph::{Arranged, Engine, Operator, OutputId, State, TableId, Told};
use super::index::{Held as _, Slot};
use super::look::{Go, Pairing, When};
use super::passing::Passing;
use crate::lsn::Lsn;
use crate::value::ValueError;

impl Engine {
    /// The rows that the store kept of an arrangement, in key order, as of `position`.
    pub fn restore(
        &mut self,
        arrangement: super::ArrangementId,
        rows: Vec<Entry>,
        position: Lsn,
        tombstone_floor: Lsn,
    ) {
        self.arrangements[arrangement] =
            super::Arrangement::restore(rows.into_iter(), position, tombstone_floor);
    }

    /// The table's rows are of different positions until `wake`, while a load brings them: what is made of
    /// it stays as it is, and takes no changes of other tables either.
    pub fn sleep(&mut self, table: TableId) {
        self.tables[table].asleep = true;
    }

    /// The tables' rows are those of one position, between two transactions: what is made of them is
    /// brought to them, by changes as of `lsn`.
    pub fn wake(&mut self, tables: &[TableId], lsn: Lsn) -> Result<(), ValueError> {
        let waiting: Vec<OutputId> =
            (0..self.outputs()).filter(|&output| self.is_asleep(output)).collect();
        debug_assert!(waiting.is_empty() || !self.has_pending(), "no transaction is under way");
        tables.iter().for_each(|&table| self.tables[table].asleep = false);
        waiting.into_iter().try_for_each(|output| self.reconcile(output, lsn))
    }

    /// Whether an output that is computed waits for one of its tables.
    pub fn is_asleep(&self, output: OutputId) -> bool {
        let waits = self.output_tables(output).iter().any(|&table| self.tables[table].asleep);
        waits && self.output_node(output).is_some()
    }

    /// Brings an output to what its tables' restored rows say, by changes as of `lsn`. The store keeps
    /// the rows of both, but not what a transaction that was under way had yet to tell the output, nor
    /// which rows share a key. One that waits for a table stays as it is.
    pub fn reconcile(&mut self, output: OutputId, lsn: Lsn) -> Result<(), ValueError> {
        let Some(node) = self.output_node(output).filter(|_| !self.is_asleep(output)) else {
            return Ok(());
        };
        let parts = self.up_to(node);
        if parts.iter().all(|&at| self.nodes[at].filled) {
            return Ok(());
        }
        for &at in &parts {
            let is_pruned = match self.nodes[at].state.get_mut() {
                State::Aggregate(aggregate) => aggregate.is_pruned(),
                _ => false,
            };
            if is_pruned || !self.nodes[at].filled {
                self.fill(at, lsn)?;
                self.nodes[at].filled = true;
            }
        }
        for &at in &parts {
            if let State::Aggregate(aggregate) = self.nodes[at].state.get_mut() {
                aggregate.prune();
            }
        }
        Ok(())
    }

    fn fill(&mut self, at: usize, lsn: Lsn) -> Result<(), ValueError> {
        // Nobody else looks at it, nor at an output's rows.
        let mut state = std::mem::replace(self.nodes[at].state.get_mut(), State::Nothing);
        let mut refused = Vec::new();
        let refuse = &mut |error: &[u8], _: i64| refused.push(error.to_vec());
        let input = self.nodes[at].inputs.first().copied().unwrap_or_default();
        match (&self.nodes[at].operator, &mut state) {
            (_, State::Arranged(arranged)) => self.fill_index(at, arranged)?,
            (Operator::Join(join), State::Join(state)) => {
                if let Some(matches) = &mut state.matches {
                    join.count(self, input, matches)?;
                }
            }
            (_, State::Aggregate(aggregate)) => {
                aggregate.clear();
                self.each(input, &mut |row, weight| aggregate.absorb(row, weight, refuse))?;
            }
            (_, State::TopN(top_n)) => {
                self.each(input, &mut |row, weight| top_n.absorb(row, weight, refuse))?;
            }
            (Operator::Output(output), State::Output { operator, arrangement, .. }) => {
                let (output, arrangement) = (*output, *arrangement);
                let mut into = std::mem::take(&mut self.arrangements[arrangement]);
                operator.begin(&into);
                self.each(input, &mut |row, weight| operator.gather(row, weight, lsn, &mut into))?;
                operator.finish(lsn, &mut into)?;
                let mut tell = |notice| self.tell(Told { output, lsn, notice });
                operator.settle(lsn, &mut into, &mut tell)?;
                self.arrangements[arrangement] = into;
            }
            _ => {}
        }
        *self.nodes[at].state.get_mut() = state;
        self.tell_refused(at, lsn, refused);
        Ok(())
    }

    fn fill_index(&self, at: usize, arranged: &mut Arranged) -> Result<(), ValueError> {
        let layout = &self.nodes[at].layout;
        let (mut ranges, mut bytes) = (Vec::new(), Vec::new());
        match arranged {
            Arranged::Table { .. } => Ok(()),
            Arranged::Shared { table, filter, key, index, .. } => {
                let filter = filter.map(|filter| &self.nodes[filter].operator);
                let (mut passing, mut slots) = (Passing::default(), Vec::new());
                let rows = self.arrangements[self.tables[*table].arrangement].scan_after(None);
                for entry in rows.filter(|entry| !entry.is_tombstone()) {
                    let row = entry.value().unwrap_or_default();
                    if let Some(filter) = filter
                        && !passing.pass(filter, layout, row)?
                    {
                        continue;
                    }
                    layout.split(row, &mut ranges)?;
                    bytes.clear();
                    key.write(row, &ranges, &mut bytes)?;
                    slots.push(Slot::new(&bytes, entry.clone()));
                }
                index.fill(slots);
                Ok(())
            }
            Arranged::Own { key, index } => {
                self.each(self.nodes[at].inputs[0], &mut |row, weight| {
                    layout.split(row, &mut ranges)?;
                    bytes.clear();
                    key.write(row, &ranges, &mut bytes)?;
                    index.add(&bytes, row, weight);
                    Ok(())
                })
            }
        }
    }

    /// All rows of a node, from what is kept nearest to it.
    pub(super) fn each(&self, at: usize, see: &mut See<'_>) -> Result<(), ValueError> {
        let node = &self.nodes[at];
        match (&node.operator, &*node.state.borrow()) {
            (Operator::Scan(table), _) => {
                let rows = self.arrangements[self.tables[*table].arrangement].scan_after(None);
                rows.filter_map(Entry::value).try_for_each(|row| see(row, 1))
            }
            (Operator::Filter(_) | Operator::Map(_) | Operator::Expand(_), _) => {
                let (input, mut passing) = (node.inputs[0], Passing::default());
                let layout = &self.nodes[input].layout;
                self.each(input, &mut |row, weight| {
                    let see = &mut |row: &[u8]| see(row, weight).map(|()| Go::On);
                    passing.each(&node.operator, layout, row, see).map(drop)
                })
            }
            (Operator::Union, _) => node.inputs.iter().try_for_each(|&input| self.each(input, see)),
            (_, State::Arranged(Arranged::Own { index, .. })) => index
                .under(&[], None)
                .try_for_each(|slot| see(slot.row.content(), slot.row.weight())),
            (Operator::Join(join), _) => {
                let mut buffer = Pairing::default();
                self.each(node.inputs[0], &mut |row, weight| {
                    let see = &mut |row: &[u8], weight: i64| see(row, weight).map(|()| Go::On);
                    self.look_from_left(join, row, weight, When::New, &mut buffer, see)?;
                    Ok(())
                })
            }
            (Operator::NotIn(join), _) => {
                let is_shown = join.look_from_left(self)?;
                self.each(node.inputs[0], &mut |row, weight| match is_shown(row)? {
                    true => see(row, weight),
                    false => Ok(()),
                })
            }
            (_, State::Aggregate(aggregate)) => {
                let see = &mut |row: &[u8], weight: i64| see(row, weight).map(|()| Go::On);
                aggregate.look(self, &[], see)?;
                Ok(())
            }
            (_, State::TopN(top_n)) => top_n.each(see),
            _ => unreachable!("no input of another node"),
        }
    }
}
