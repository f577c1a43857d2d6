//! Operators that keep nothing: what a row becomes in them.

use std::ops::Range;

use super::graph::Operator;
use super::look::{Go, Seen};
use super::row::{RowLayout, Verdict, evaluate, judge};
use crate::sql::expr::{Series, SeriesRows};
use crate::sql::plan::Expr;
use crate::value::{self, ValueError};

/// A row becomes one for each of those that are made of a value in it.
pub(super) struct Expand {
    pub(super) list: Expr,
    pub(super) series: Series,
    pub(super) outer: bool,
    /// How many columns are added.
    pub(super) width: usize,
}

/// Reused buffers of operators that keep nothing.
#[derive(Default)]
pub(super) struct Passing {
    ranges: Vec<Range<usize>>,
    verdict: Vec<u8>,
    /// What a row becomes.
    pub(super) row: Vec<u8>,
    made: SeriesRows,
}

impl Passing {
    /// Shows all that the row becomes.
    pub(super) fn each(
        &mut self,
        operator: &Operator,
        layout: &RowLayout,
        row: &[u8],
        see: &mut dyn FnMut(&[u8]) -> Seen,
    ) -> Seen {
        match operator {
            Operator::Expand(expand) => self.expand(expand, layout, row, see),
            operator => match self.pass(operator, layout, row)? {
                true => see(&self.row),
                false => Ok(Go::On),
            },
        }
    }

    fn expand(
        &mut self,
        Expand { list, series, outer, width }: &Expand,
        layout: &RowLayout,
        row: &[u8],
        see: &mut dyn FnMut(&[u8]) -> Seen,
    ) -> Seen {
        let Self { ranges, verdict: list_datum, row: shown, made } = self;
        let (columns, error) = row.split_at(layout.split(row, ranges)?);
        list_datum.clear();
        evaluate(list, row, ranges, list_datum);
        let mut show = |more: &[u8]| {
            shown.clear();
            [columns, more, error].iter().for_each(|part| shown.extend_from_slice(part));
            see(shown)
        };
        if !value::is_error(list_datum) {
            match series.write(list_datum, made) {
                Ok(()) => {
                    let mut is_empty = true;
                    for more in made.iter() {
                        is_empty = false;
                        if show(more)? == Go::Rest {
                            return Ok(Go::Rest);
                        }
                    }
                    return match is_empty && *outer {
                        true => show(&vec![value::NULL; *width]),
                        false => Ok(Go::On),
                    };
                }
                Err(failed) => {
                    list_datum.clear();
                    value::encode_error(&failed.to_string(), list_datum);
                }
            }
        }
        show(&list_datum.repeat(*width))
    }

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
