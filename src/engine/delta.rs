//! Deltas: rows that come (+1) and go (-1), gathered until they are worked off.

use std::cmp::Ordering;
use std::ops::Range;

use super::index::prefix;
use super::row::{Key, RowLayout};
use crate::value::ValueError;

/// Shown a row and its weight.
pub(in crate::engine) type See<'s> = dyn FnMut(&[u8], i64) -> Result<(), ValueError> + 's;

/// Told of an error in a key, and the weight of its row.
pub(in crate::engine) type Refuse<'r> = dyn FnMut(&[u8], i64) + 'r;

/// Weighted rows in one buffer.
#[derive(Default)]
pub(in crate::engine) struct Deltas {
    bytes: Vec<u8>,
    /// End of each row in `bytes`, and its weight.
    rows: Vec<(usize, i64)>,
}

impl Deltas {
    pub(in crate::engine) fn push(&mut self, row: &[u8], weight: i64) {
        self.push_with(weight, |bytes| bytes.extend_from_slice(row));
    }

    /// The row is what `write` appends.
    pub(in crate::engine) fn push_with(&mut self, weight: i64, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.rows.push((self.bytes.len(), weight));
    }

    pub(in crate::engine) fn append(&mut self, others: &Deltas) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&others.bytes);
        self.rows.extend(others.rows.iter().map(|&(end, weight)| (start + end, weight)));
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(in crate::engine) fn row(&self, at: usize) -> (&[u8], i64) {
        let start = at.checked_sub(1).map_or(0, |before| self.rows[before].0);
        let (end, weight) = self.rows[at];
        (&self.bytes[start..end], weight)
    }

    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = (&[u8], i64)> {
        let mut start = 0;
        self.rows.iter().map(move |&(end, weight)| {
            let row = &self.bytes[start..end];
            start = end;
            (row, weight)
        })
    }

    pub(in crate::engine) fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }
}

/// Deltas by key, then row: each pair once, with a weight that is not zero.
#[derive(Default)]
pub(in crate::engine) struct Sorted {
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// Reused.
    ranges: Vec<Range<usize>>,
}

struct Item {
    /// The key's first bytes, by which most items are told apart.
    prefix: u64,
    /// In `bytes` the key begins here, then the row, which ends there.
    start: usize,
    row: usize,
    end: usize,
    weight: i64,
}

impl Item {
    fn key<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.start..self.row]
    }

    fn row<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.row..self.end]
    }

    fn order(&self, other: &Self, bytes: &[u8]) -> Ordering {
        let order = self.prefix.cmp(&other.prefix);
        // Longer keys, and the rows behind them.
        order.then_with(|| {
            (self.key(bytes), self.row(bytes)).cmp(&(other.key(bytes), other.row(bytes)))
        })
    }
}

impl Sorted {
    pub(in crate::engine) fn new<'d>(
        deltas: impl Iterator<Item = (&'d [u8], i64)>,
        layout: &RowLayout,
        by: &Key,
        refuse: &mut Refuse<'_>,
    ) -> Result<Self, ValueError> {
        let mut this = Self::default();
        this.fill(deltas, layout, by, refuse)?;
        Ok(this)
    }

    /// These deltas in the place of others. What goes under a key that is an error is left out, and told to
    /// `refuse`.
    pub(in crate::engine) fn fill<'d>(
        &mut self,
        deltas: impl Iterator<Item = (&'d [u8], i64)>,
        layout: &RowLayout,
        by: &Key,
        refuse: &mut Refuse<'_>,
    ) -> Result<(), ValueError> {
        let Self { bytes, items, ranges } = self;
        bytes.clear();
        items.clear();
        for (row, weight) in deltas {
            layout.split(row, ranges)?;
            let start = bytes.len();
            by.write(row, ranges, bytes)?;
            if let Some(error) = by.error(row, ranges) {
                refuse(error, weight);
                bytes.truncate(start);
                continue;
            }
            let key_end = bytes.len();
            bytes.extend_from_slice(row);
            let prefix = prefix(&bytes[start..key_end]);
            items.push(Item { prefix, start, row: key_end, end: bytes.len(), weight });
        }
        self.consolidate();
        Ok(())
    }

    fn consolidate(&mut self) {
        let bytes = &self.bytes;
        self.items.sort_by(|a, b| a.order(b, bytes));
        self.items.dedup_by(|next, kept| {
            let same = next.order(kept, bytes) == Ordering::Equal;
            if same {
                kept.weight += next.weight;
            }
            same
        });
        self.items.retain(|item| item.weight != 0);
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.items.len()
    }

    pub(in crate::engine) fn key(&self, at: usize) -> &[u8] {
        self.items[at].key(&self.bytes)
    }

    pub(in crate::engine) fn row(&self, at: usize) -> (&[u8], i64) {
        let item = &self.items[at];
        (item.row(&self.bytes), item.weight)
    }

    pub(in crate::engine) fn rows(
        &self,
        range: Range<usize>,
    ) -> impl Iterator<Item = (&[u8], i64)> {
        range.map(|at| self.row(at))
    }

    /// The end of the items that have the key of the one at `from`.
    pub(in crate::engine) fn end_of_key(&self, from: usize) -> usize {
        let key = self.key(from);
        (from + 1..self.len()).find(|&at| self.key(at) != key).unwrap_or(self.len())
    }

    /// The items under a key, or under one that begins with it.
    pub(in crate::engine) fn under(&self, key: &[u8]) -> Range<usize> {
        let start = self.items.partition_point(|item| item.key(&self.bytes) < key);
        let below = |item: &Item| item.key(&self.bytes).starts_with(key);
        start..start + self.items[start..].partition_point(below)
    }

    /// The item with this row among those in `within`, which have one key.
    pub(in crate::engine) fn find(&self, within: &Range<usize>, row: &[u8]) -> Option<usize> {
        let items = &self.items[within.clone()];
        let at = items.binary_search_by(|item| item.row(&self.bytes).cmp(row)).ok()?;
        Some(within.start + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::{int_columns, ints};

    #[test]
    fn equal_rows_are_one_and_what_cancels_is_gone() {
        let layout = RowLayout::new(int_columns(2));
        let mut deltas = Deltas::default();
        for (row, weight) in
            [([2, 1], 1), ([1, 7], 1), ([1, 5], 1), ([2, 1], 1), ([1, 7], -1), ([3, 3], -2)]
        {
            deltas.push(&ints(&row.map(Some)), weight);
        }
        let by = Key::new(&layout, &[0]);
        let mut sorted = Sorted::default();
        sorted.fill(deltas.iter(), &layout, &by, &mut |_, _| ()).expect("rows");
        let rows: Vec<_> = sorted.rows(0..sorted.len()).map(|(row, w)| (row.to_vec(), w)).collect();
        let row = |a, b| ints(&[Some(a), Some(b)]);
        assert_eq!(rows, [(row(1, 5), 1), (row(2, 1), 2), (row(3, 3), -2)]);
        assert_eq!(sorted.under(&ints(&[Some(2)])), 1..2);
        assert_eq!(sorted.under(&ints(&[Some(4)])), 3..3);
        assert_eq!(sorted.end_of_key(0), 1);
    }
}
