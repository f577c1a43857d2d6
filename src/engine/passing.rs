//! Operators that keep nothing: what a row becomes in them.

use std::ops::Range;

use super::graph::Operator;
use super::row::{RowLayout, Verdict, evaluate, judge};
use crate::value::ValueError;

/// Reused buffers of operators that keep nothing.
#[derive(Default)]
pub(super) struct Passing {
    ranges: Vec<Range<usize>>,
    verdict: Vec<u8>,
    /// What a row becomes.
    pub(super) row: Vec<u8>,
}

impl Passing {
    /// Whether the row goes on, as `self.row`.
    pub(super) fn pass(
        &mut self,
        operator: &Operator,
        layout: &RowLayout,
        row: &[u8],
    ) -> Result<bool, ValueError> {
        self.row.clear();
        match operator {
            Operator::Filter(condition) => {
                let end = layout.split(row, &mut self.ranges)?;
                let error = match judge(condition, row, &self.ranges, &mut self.verdict) {
                    Verdict::False => return Ok(false),
                    Verdict::True => &[][..],
                    Verdict::Error(error) => error,
                };
                self.row.extend_from_slice(row);
                if end == row.len() {
                    self.row.extend_from_slice(error);
                }
            }
            Operator::Map(exprs) => {
                let end = layout.split(row, &mut self.ranges)?;
                for expr in exprs {
                    evaluate(expr, row, &self.ranges, &mut self.row);
                }
                self.row.extend_from_slice(&row[end..]);
            }
            _ => self.row.extend_from_slice(row),
        }
        Ok(true)
    }
}
