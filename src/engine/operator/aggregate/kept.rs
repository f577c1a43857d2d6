//! What is kept of the groups' rows: chosen columns, in an order within each group.

use std::ops::Range;

use crate::engine::index::{Index, Packed};
use crate::engine::row::{Key, RowLayout};
use crate::sql::plan::Order;
use crate::value::{self, ValueError};

pub(super) struct Kept {
    pub(super) spec: KeptSpec,
    key: Key,
    /// Of what is kept of a row.
    pub(super) layout: RowLayout,
    /// Under the group's key and the order's.
    pub(super) index: Index<Packed>,
    buffer: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct KeptSpec {
    pub(super) order: Vec<Order>,
    /// Columns of the input.
    pub(super) columns: Vec<usize>,
    /// Only rows for which this column is true.
    pub(super) filter: Option<usize>,
    /// Only rows whose first kept column is not NULL.
    pub(super) not_null: bool,
}

impl Kept {
    pub(super) fn new(spec: KeptSpec, input: &RowLayout) -> Self {
        let columns = spec.columns.clone();
        let mut this = Self {
            key: Key::ordered(input, spec.order.iter().copied()),
            layout: RowLayout::new(Vec::new()),
            index: Index::default(),
            buffer: Vec::new(),
            spec: KeptSpec { columns: Vec::new(), ..spec },
        };
        this.also(&columns, input);
        this
    }

    /// Whether it holds every row in this order.
    pub(super) fn lists(&self, order: &[Order]) -> bool {
        self.spec.order == order && self.spec.filter.is_none() && !self.spec.not_null
    }

    pub(super) fn also(&mut self, columns: &[usize], input: &RowLayout) {
        for &column in columns {
            if !self.spec.columns.contains(&column) {
                self.spec.columns.push(column);
                self.layout.columns.push(input.columns[column].clone());
            }
        }
    }

    /// Where a column of the input is in what is kept.
    pub(super) fn place(&self, column: usize) -> usize {
        let place = self.spec.columns.iter().position(|&kept| kept == column);
        place.expect("each call's columns are kept")
    }

    /// The row is there so many times more, if it is one to be kept.
    pub(super) fn add(
        &mut self,
        group: &[u8],
        (row, ranges): (&[u8], &[Range<usize>]),
        weight: i64,
    ) -> Result<(), ValueError> {
        let KeptSpec { columns, filter, not_null, .. } = &self.spec;
        let datum = |at: usize| &row[ranges[at].clone()];
        let is_out = filter.is_some_and(|at| datum(at) != [1])
            || *not_null && columns.first().is_some_and(|&at| value::is_null(datum(at)));
        if is_out {
            return Ok(());
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(group);
        self.key.write(row, ranges, &mut self.buffer)?;
        let key_end = self.buffer.len();
        columns.iter().for_each(|&at| self.buffer.extend_from_slice(datum(at)));
        let (key, kept) = self.buffer.split_at(key_end);
        self.index.add(key, kept, weight);
        Ok(())
    }

    /// The first row under the group and the values that order this one.
    pub(super) fn first_equal(
        &mut self,
        group: &[u8],
        (row, ranges): (&[u8], &[Range<usize>]),
    ) -> Result<Option<Packed>, ValueError> {
        self.buffer.clear();
        self.buffer.extend_from_slice(group);
        self.key.write(row, ranges, &mut self.buffer)?;
        Ok(self.index.under(&self.buffer, None).next().map(|slot| slot.row.clone()))
    }
}
