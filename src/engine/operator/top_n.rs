//! The first rows of each partition, in an order. All rows are kept in that order; what is shown before a
//! change and after it is read from it.

use std::collections::BTreeMap;

use super::super::delta::{Deltas, Refuse, See, Sorted};
use super::super::index::{Held as _, Index, Packed};
use super::super::look::{Go, Look, Seen};
use super::super::row::{Key, RowLayout};
use crate::sql::plan::Order;
use crate::value::ValueError;

pub(in crate::engine) struct TopN {
    input: RowLayout,
    partition: Key,
    order: Key,
    limit: Option<u64>,
    offset: u64,
    index: Index<Packed>,
}

/// Deltas by partition, and how far they are worked off.
pub(in crate::engine) struct Work {
    deltas: Sorted,
    at: usize,
}

impl TopN {
    pub(in crate::engine) fn new(
        input: RowLayout,
        partition: &[usize],
        order: &[Order],
        limit: Option<u64>,
        offset: u64,
    ) -> Self {
        let (partition, order) =
            (Key::new(&input, partition), Key::ordered(&input, order.iter().copied()));
        Self { input, partition, order, limit, offset, index: Index::default() }
    }

    pub(in crate::engine) fn begin(
        &self,
        deltas: &Deltas,
        refuse: &mut Refuse<'_>,
    ) -> Result<Work, ValueError> {
        let deltas = Sorted::new(deltas.iter(), &self.input, &self.partition, refuse)?;
        Ok(Work { deltas, at: 0 })
    }

    /// Works on until `out` has `rows_max` rows; whether there is more to do.
    pub(in crate::engine) fn run(
        &mut self,
        Work { deltas: work, at }: &mut Work,
        rows_max: usize,
        out: &mut Deltas,
    ) -> Result<bool, ValueError> {
        while *at < work.len() {
            if out.len() >= rows_max {
                return Ok(true);
            }
            let (partition, end) = (work.key(*at), work.end_of_key(*at));
            let mut changes: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
            let mut count = |row: &[u8], weight: i64| match changes.get_mut(row) {
                Some(sum) => *sum += weight,
                None => drop(changes.insert(row.to_vec(), weight)),
            };
            self.look(partition, &mut |row, weight| {
                count(row, -weight);
                Ok(Go::On)
            })?;
            for (row, weight) in work.rows(*at..end) {
                self.add(partition, row, weight)?;
            }
            self.look(partition, &mut |row, weight| {
                count(row, weight);
                Ok(Go::On)
            })?;
            // What goes makes room for what comes.
            for goes in [true, false] {
                let changes = changes.iter().filter(|(_, w)| **w != 0 && (**w < 0) == goes);
                changes.for_each(|(row, weight)| out.push(row, *weight));
            }
            *at = end;
        }
        Ok(false)
    }

    fn add(&mut self, partition: &[u8], row: &[u8], weight: i64) -> Result<(), ValueError> {
        let mut ranges = Vec::new();
        self.input.split(row, &mut ranges)?;
        let mut key = partition.to_vec();
        self.order.write(row, &ranges, &mut key)?;
        self.index.add(&key, row, weight);
        Ok(())
    }

    /// The rows that are shown of a partition.
    pub(in crate::engine) fn look(&self, partition: &[u8], see: &mut Look<'_>) -> Seen {
        let mut skip = i64::try_from(self.offset).unwrap_or(i64::MAX);
        let mut take =
            self.limit.map_or(i64::MAX, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        for slot in self.index.under(partition, None) {
            if take == 0 {
                break;
            }
            let weight = slot.row.weight();
            let shown = (weight - skip).clamp(0, take);
            skip = (skip - weight).max(0);
            take -= shown;
            if shown > 0 && see(slot.row.content(), shown)? == Go::Rest {
                return Ok(Go::Rest);
            }
        }
        Ok(Go::On)
    }

    /// Takes a row in without telling what becomes of its partition.
    pub(in crate::engine) fn absorb(
        &mut self,
        row: &[u8],
        weight: i64,
        refuse: &mut Refuse<'_>,
    ) -> Result<(), ValueError> {
        let mut ranges = Vec::new();
        self.input.split(row, &mut ranges)?;
        if let Some(error) = self.partition.error(row, &ranges) {
            refuse(error, weight);
            return Ok(());
        }
        let mut partition = Vec::new();
        self.partition.write(row, &ranges, &mut partition)?;
        self.add(&partition, row, weight)
    }

    /// All rows that are shown.
    pub(in crate::engine) fn each(&self, see: &mut See<'_>) -> Result<(), ValueError> {
        let mut ranges = Vec::new();
        let mut next = self.index.under(&[], None).next();
        while let Some(first) = next {
            let row = first.row.content();
            self.input.split(row, &mut ranges)?;
            let mut partition = Vec::new();
            self.partition.write(row, &ranges, &mut partition)?;
            self.look(&partition, &mut |row, weight| {
                see(row, weight)?;
                Ok(Go::On)
            })?;
            next = self.index.first_behind(&partition);
        }
        Ok(())
    }

    pub(in crate::engine) fn rows(&self) -> usize {
        self.index.len()
    }

    pub(in crate::engine) fn bytes(&self) -> usize {
        self.index.bytes()
    }
}
