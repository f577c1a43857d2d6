//! How a source table's rows become keys and rows of its arrangement.

use std::ops::Range;

use crate::value::{self, Column, ValueError};

/// The columns that are kept of a table, and those that identify a row of it in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLayout {
    pub columns: Vec<Column>,
    /// Positions in `columns` of the replica identity's columns (not the primary key's: the stream
    /// names the rows that it changes by the replica identity alone).
    pub identity: Vec<usize>,
}

/// A column's value as the source sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    Null,
    Text(&'a [u8]),
    /// An unchanged TOASTed value, which the stream leaves out.
    Unchanged,
}

/// Why a row could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The stream left the column out and there is no old row to take it from.
    #[error("the unchanged value of column {0} is not known")]
    Missing(String),
    /// Under REPLICA IDENTITY FULL without a key only distinct rows can be told apart.
    #[error(
        "two equal rows, which REPLICA IDENTITY FULL without a key that is unique at any time cannot tell apart"
    )]
    Equal,
    #[error("the source sent {sent} columns where {expected} were expected")]
    Columns { sent: usize, expected: usize },
}

/// Reused buffers for one row.
#[derive(Default)]
pub struct RowBuffer {
    pub key: Vec<u8>,
    pub row: Vec<u8>,
    ends: Vec<usize>,
    old: Vec<Range<usize>>,
}

impl TableLayout {
    /// Fills `out` with the key and the row of the given cells, one per column of the layout.
    /// `Cell::Unchanged` takes the column from `old`, a row of the same layout.
    pub fn encode<'a>(
        &self,
        cells: impl Iterator<Item = Cell<'a>>,
        old: Option<&[u8]>,
        out: &mut RowBuffer,
    ) -> Result<(), RowError> {
        out.row.clear();
        out.ends.clear();
        out.old.clear();
        let mut cells = cells.fuse();
        for column in &self.columns {
            let cell = cells
                .next()
                .ok_or(RowError::Columns { sent: out.ends.len(), expected: self.columns.len() })?;
            match cell {
                Cell::Null => out.row.push(value::NULL),
                Cell::Text(text) => value::encode(&column.ty, text, &mut out.row)?,
                Cell::Unchanged => {
                    let old = old.ok_or_else(|| RowError::Missing(column.name.clone()))?;
                    if out.old.is_empty() {
                        value::split(&self.columns, old, &mut out.old)?;
                    }
                    out.row.extend_from_slice(&old[out.old[out.ends.len()].clone()]);
                }
            }
            out.ends.push(out.row.len());
        }
        out.key.clear();
        for &at in &self.identity {
            let start = if at == 0 { 0 } else { out.ends[at - 1] };
            out.key.extend_from_slice(&out.row[start..out.ends[at]]);
        }
        Ok(())
    }

    /// Fills `key` from a tuple that holds the identity's columns (the others are ignored).
    pub fn encode_key<'a>(
        &self,
        cell: impl Fn(usize) -> Cell<'a>,
        key: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        key.clear();
        for &at in &self.identity {
            let column = &self.columns[at];
            match cell(at) {
                Cell::Null => key.push(value::NULL),
                Cell::Text(text) => value::encode(&column.ty, text, key)?,
                Cell::Unchanged => return Err(RowError::Missing(column.name.clone())),
            }
        }
        Ok(())
    }
}
