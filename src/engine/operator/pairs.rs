//! Pairs of a left and a right row, and what a join's residual says of them.

use std::ops::Range;

use super::super::delta::Deltas;
use super::super::row::{RowLayout, Verdict, judge};
use crate::sql::plan::Expr;
use crate::value::{self, ValueError};

pub(super) struct Pairs {
    left: RowLayout,
    right: RowLayout,
    residual: Option<Expr>,
    nulls: Vec<u8>,
    pair: Vec<u8>,
    ranges: Vec<Range<usize>>,
    right_ranges: Vec<Range<usize>>,
    verdict: Vec<u8>,
}

/// Whether two rows belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Partners {
    Yes,
    No,
    /// The residual fails.
    Unknown,
}

impl Pairs {
    pub(super) fn new(left: RowLayout, right: RowLayout, residual: Option<Expr>) -> Self {
        let nulls = vec![value::NULL; right.columns.len()];
        let (pair, ranges, right_ranges, verdict) = Default::default();
        Self { left, right, residual, nulls, pair, ranges, right_ranges, verdict }
    }

    /// The same with buffers of its own.
    pub(super) fn fresh(&self) -> Self {
        Self::new(self.left.clone(), self.right.clone(), self.residual.clone())
    }

    /// Appends the pair where the residual is true or fails; then the pair has that error.
    pub(super) fn push(
        &mut self,
        left: &[u8],
        right: &[u8],
        weight: i64,
        out: &mut Deltas,
    ) -> Result<Partners, ValueError> {
        let partners = self.judge(left, right)?;
        if partners != Partners::No {
            out.push(&self.pair, weight);
        }
        Ok(partners)
    }

    /// The left row beside NULLs.
    pub(super) fn push_alone(
        &self,
        left: &[u8],
        weight: i64,
        out: &mut Deltas,
    ) -> Result<(), ValueError> {
        let (columns, error) = left.split_at(self.left.end(left)?);
        out.push_with(weight, |bytes| {
            [columns, &self.nulls, error].iter().for_each(|part| bytes.extend_from_slice(part));
        });
        Ok(())
    }

    /// Puts the pair together in `self.pair`, its error included.
    pub(super) fn judge(&mut self, left: &[u8], right: &[u8]) -> Result<Partners, ValueError> {
        self.pair.clear();
        if self.residual.is_none() {
            let (left, left_error) = left.split_at(self.left.end(left)?);
            let (right, right_error) = right.split_at(self.right.end(right)?);
            let error = if left_error.is_empty() { right_error } else { left_error };
            [left, right, error].iter().for_each(|part| self.pair.extend_from_slice(part));
            return Ok(Partners::Yes);
        }
        let left_end = self.left.split(left, &mut self.ranges)?;
        let right_end = self.right.split(right, &mut self.right_ranges)?;
        let moved = |range: &Range<usize>| range.start + left_end..range.end + left_end;
        self.ranges.extend(self.right_ranges.iter().map(moved));
        self.pair.extend_from_slice(&left[..left_end]);
        self.pair.extend_from_slice(&right[..right_end]);
        let Some(residual) = &self.residual else { return Ok(Partners::Yes) };
        let verdict = judge(residual, &self.pair, &self.ranges, &mut self.verdict);
        let (partners, error) = match verdict {
            Verdict::False => return Ok(Partners::No),
            Verdict::True => (Partners::Yes, &[][..]),
            Verdict::Error(error) => (Partners::Unknown, error),
        };
        let errors = [&left[left_end..], &right[right_end..], error];
        let first = errors.into_iter().find(|error| !error.is_empty());
        self.pair.extend_from_slice(first.unwrap_or_default());
        Ok(partners)
    }
}
