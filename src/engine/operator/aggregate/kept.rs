//! What is kept of the groups' rows: chosen columns, in an order within each group.

use std::ops::Range;

use super::call::Call;
use super::running::Running;
use super::{Columns, datum};
use crate::engine::index::{Held as _, Index, Packed};
use crate::engine::row::{Key, RowLayout};
use crate::sql::plan::Order;
use crate::value::{self, Type, ValueError};

pub(super) struct Kept {
    pub(super) spec: KeptSpec,
    key: Key,
    /// Of what is kept of a row.
    pub(super) layout: RowLayout,
    /// Under the group's key and the order's.
    pub(super) index: Index<Packed>,
    /// Nothing is kept: the group's rows are looked up when they are listed.
    is_looked_up: bool,
    buffer: Vec<u8>,
}

/// A group's rows that were looked up: what is listed of each, in order.
#[derive(Clone, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    rows: Vec<GatheredRow>,
    ranges: Vec<Range<usize>>,
}

#[derive(Clone)]
struct GatheredRow {
    order: Range<usize>,
    row: Range<usize>,
    weight: i64,
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
    pub(super) fn new(spec: KeptSpec, input: &RowLayout, is_looked_up: bool) -> Self {
        let columns = spec.columns.clone();
        let mut this = Self {
            key: Key::ordered(input, spec.order.iter().copied()),
            layout: RowLayout::new(Vec::new()),
            index: Index::default(),
            is_looked_up,
            buffer: Vec::new(),
            spec: KeptSpec { columns: Vec::new(), ..spec },
        };
        this.also(&columns, input);
        this
    }

    pub(super) fn is_looked_up(&self) -> bool {
        self.is_looked_up
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
        if self.is_looked_up || self.leaves_out((row, ranges)) {
            return Ok(());
        }
        let columns = &self.spec.columns;
        let datum = |at: usize| &row[ranges[at].clone()];
        self.buffer.clear();
        self.buffer.extend_from_slice(group);
        self.key.write(row, ranges, &mut self.buffer)?;
        let key_end = self.buffer.len();
        columns.iter().for_each(|&at| self.buffer.extend_from_slice(datum(at)));
        let (key, kept) = self.buffer.split_at(key_end);
        self.index.add(key, kept, weight);
        Ok(())
    }

    fn leaves_out(&self, columns: Columns<'_>) -> bool {
        let KeptSpec { columns: kept, filter, not_null, .. } = &self.spec;
        filter.is_some_and(|at| datum(columns, at) != [1])
            || *not_null && kept.first().is_some_and(|&at| value::is_null(datum(columns, at)))
    }

    /// Whether there is no telling where the row belongs.
    pub(super) fn has_error(&self, columns: Columns<'_>) -> bool {
        self.spec.order.iter().any(|order| value::is_error(datum(columns, order.column)))
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

    /// What is listed of a row.
    pub(super) fn gather(
        &self,
        input: &RowLayout,
        row: &[u8],
        weight: i64,
        gathered: &mut Gathered,
    ) -> Result<(), ValueError> {
        if !self.is_looked_up {
            return Ok(());
        }
        let mut ranges = std::mem::take(&mut gathered.ranges);
        input.split(row, &mut ranges)?;
        let done = self.gather_any((row, &ranges), weight, gathered);
        gathered.ranges = ranges;
        done
    }

    /// What would be kept or listed of a row.
    pub(super) fn gather_any(
        &self,
        (row, ranges): Columns<'_>,
        weight: i64,
        Gathered { bytes, rows, .. }: &mut Gathered,
    ) -> Result<(), ValueError> {
        if self.leaves_out((row, ranges)) {
            return Ok(());
        }
        let start = bytes.len();
        self.key.write(row, ranges, bytes)?;
        let order = start..bytes.len();
        let columns = self.spec.columns.iter();
        columns.for_each(|&at| bytes.extend_from_slice(&row[ranges[at].clone()]));
        let row = order.end..bytes.len();
        rows.push(GatheredRow { order, row, weight });
        Ok(())
    }

    /// What is listed of a group's rows, in order, and how often it is there.
    pub(super) fn rows<'a>(
        &'a self,
        group: &'a [u8],
        gathered: &'a Gathered,
        all_gathered: bool,
    ) -> Box<dyn Iterator<Item = (&'a [u8], i64)> + 'a> {
        match self.is_looked_up || all_gathered {
            true => Box::new(gathered.rows()),
            false => {
                let slots = self.index.under(group, None);
                Box::new(slots.map(|slot| (slot.row.content(), slot.row.weight())))
            }
        }
    }
}

impl Gathered {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }

    pub(super) fn buffer_bytes(&self) -> usize {
        self.bytes.capacity() + self.rows.capacity() * size_of::<GatheredRow>()
    }

    /// Becomes the same rows, in memory that it has already.
    pub(super) fn copy(&mut self, other: &Self) {
        self.bytes.clone_from(&other.bytes);
        self.rows.clone_from(&other.rows);
    }

    /// Sorts the rows; those that came and went are none.
    pub(super) fn consolidate(&mut self) {
        self.sort();
        let Self { bytes, rows, .. } = self;
        rows.dedup_by(|next, kept| {
            let same = bytes[next.order.clone()] == bytes[kept.order.clone()]
                && bytes[next.row.clone()] == bytes[kept.row.clone()];
            if same {
                kept.weight += next.weight;
            }
            same
        });
        rows.retain(|row| row.weight != 0);
        debug_assert!(rows.iter().all(|row| row.weight > 0), "a row was there less than never");
    }

    /// Rows that are equal in what orders them are in the order of what is listed.
    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        let of = |row: &GatheredRow| (&bytes[row.order.clone()], &bytes[row.row.clone()]);
        self.rows.sort_by(|a, b| of(a).cmp(&of(b)));
    }

    pub(super) fn first(&self) -> Option<&[u8]> {
        self.rows().next().map(|(row, _)| row)
    }

    pub(super) fn last(&self) -> Option<&[u8]> {
        self.rows.last().map(|row| &self.bytes[row.row.clone()])
    }

    /// The total of each distinct value once.
    pub(super) fn total(&self, call: &Call, ty: &Type) -> Result<Running, ValueError> {
        let mut total = Call::total_of(call.function, &call.types).expect("a call with a total");
        let same =
            self.rows.chunk_by(|a, b| self.bytes[a.order.clone()] == self.bytes[b.order.clone()]);
        for first in same.filter_map(<[_]>::first) {
            total.add(ty, &self.bytes[first.row.clone()], 1)?;
        }
        Ok(total)
    }

    fn rows(&self) -> impl Iterator<Item = (&[u8], i64)> {
        self.rows.iter().map(|row| (&self.bytes[row.row.clone()], row.weight))
    }
}
