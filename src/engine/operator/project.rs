//! Chosen columns of each row, in a chosen order. Keeps nothing.

use std::ops::Range;

use super::super::delta::Deltas;
use crate::value::{self, Column, ValueError};

/// Appends to `out` the columns at `chosen` of each delta's row.
pub(crate) fn project(
    input: &Deltas,
    columns: &[Column],
    chosen: &[usize],
    out: &mut Deltas,
) -> Result<(), ValueError> {
    let mut split: Vec<Range<usize>> = Vec::new();
    let mut row = Vec::new();
    for (from, weight) in input.iter() {
        value::split(columns, from, &mut split)?;
        row.clear();
        for &at in chosen {
            row.extend_from_slice(&from[split[at].clone()]);
        }
        out.push(&row, weight);
    }
    Ok(())
}
