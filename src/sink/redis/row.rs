//! A row while it is encoded: its datums, found, and the arguments that come of them.

use std::ops::Range;

use crate::sql::expr;
use crate::value::{self, Column, ValueError};

/// A row's datums, found.
pub(super) struct Row<'a> {
    pub(super) columns: &'a [Column],
    pub(super) bytes: &'a [u8],
    ranges: &'a [Range<usize>],
}

impl<'a> Row<'a> {
    pub(super) fn find(
        columns: &'a [Column],
        bytes: &'a [u8],
        ranges: &'a mut Vec<Range<usize>>,
    ) -> Result<Self, ValueError> {
        value::split(columns, bytes, ranges)?;
        Ok(Self { columns, bytes, ranges })
    }

    /// For expressions.
    pub(super) fn datums(&self) -> expr::Row<'a> {
        expr::Row { bytes: self.bytes, ranges: self.ranges }
    }

    pub(super) fn datum(&self, column: usize) -> &'a [u8] {
        &self.bytes[self.ranges[column].clone()]
    }

    pub(super) fn is_null(&self, column: usize) -> bool {
        value::is_null(self.datum(column))
    }

    pub(super) fn write_text(&self, column: usize, out: &mut Vec<u8>) -> Result<(), ValueError> {
        value::write_text(&self.columns[column].ty, self.datum(column), out)
    }
}

/// Arguments one after the other.
#[derive(Default)]
pub(super) struct Args {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<usize>,
}

impl Args {
    pub(super) fn push(&mut self, argument: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(argument.as_ref());
        self.end();
    }

    pub(super) fn push_number(&mut self, number: usize) {
        self.push(itoa::Buffer::new().format(number));
    }

    /// What was appended to `bytes` is an argument.
    pub(super) fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    pub(super) fn mark(&self) -> (usize, usize) {
        (self.bytes.len(), self.ends.len())
    }

    pub(super) fn truncate(&mut self, (bytes, ends): (usize, usize)) {
        self.bytes.truncate(bytes);
        self.ends.truncate(ends);
    }

    pub(super) fn word(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }

    pub(super) fn words(&self, numbers: Range<usize>) -> impl Iterator<Item = &[u8]> {
        numbers.map(|number| self.word(number))
    }

    pub(super) fn extend_from(&mut self, other: &Self, numbers: Range<usize>) {
        other.words(numbers).for_each(|word| self.push(word));
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn append_to(&self, command: &mut redis::Cmd) {
        let mut start = 0;
        for &end in &self.ends {
            command.arg(&self.bytes[start..end]);
            start = end;
        }
    }
}
