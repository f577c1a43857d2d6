//! How the engine reads its rows. Behind the last column of a row there may be an error: it could not be
//! told whether the row belongs where it is. Whatever is made of the row has that error too.

use std::ops::Range;

use crate::sql::expr;
use crate::sql::plan::{Expr, Order};
use crate::value::{self, Column, Type, ValueError};

/// The columns of an operator's rows.
#[derive(Clone, Debug)]
pub(in crate::engine) struct RowLayout {
    pub(in crate::engine) columns: Vec<Column>,
}

impl RowLayout {
    pub(in crate::engine) fn new(columns: Vec<Column>) -> Self {
        Self { columns }
    }

    pub(in crate::engine) fn ty(&self, column: usize) -> &Type {
        &self.columns[column].ty
    }

    /// Where each column lies; returns where the columns end and the row's error begins, if it has one.
    pub(in crate::engine) fn split(
        &self,
        row: &[u8],
        ranges: &mut Vec<Range<usize>>,
    ) -> Result<usize, ValueError> {
        ranges.clear();
        let mut end = 0;
        for column in &self.columns {
            let start = end;
            end += value::datum_len(&column.ty, &row[start..])?;
            ranges.push(start..end);
        }
        debug_assert!(
            row.len() == end || value::is_error(&row[end..]),
            "{row:?} {}",
            self.columns.len()
        );
        Ok(end)
    }

    /// The first error of a row: of a column, or its own.
    pub(in crate::engine) fn error<'r>(
        &self,
        row: &'r [u8],
    ) -> Result<Option<&'r [u8]>, ValueError> {
        let mut rest = row;
        for column in &self.columns {
            let (datum, behind) = rest.split_at(value::datum_len(&column.ty, rest)?);
            if value::is_error(datum) {
                return Ok(Some(datum));
            }
            rest = behind;
        }
        Ok(Some(rest).filter(|rest| value::is_error(rest)))
    }

    /// Where the columns end.
    pub(in crate::engine) fn end(&self, row: &[u8]) -> Result<usize, ValueError> {
        let mut end = 0;
        for column in &self.columns {
            end += value::datum_len(&column.ty, &row[end..])?;
        }
        Ok(end)
    }
}

/// The first error of a row: of a column, or its own.
pub(in crate::engine) fn first_error<'r>(
    row: &'r [u8],
    ranges: &[Range<usize>],
) -> Option<&'r [u8]> {
    let columns = ranges.iter().map(|range| &row[range.clone()]);
    let end = ranges.last().map_or(0, |last| last.end);
    columns.chain([&row[end..]]).find(|datum| value::is_error(datum))
}

/// Appends the value of an expression, or the error that it ends in.
pub(in crate::engine) fn evaluate(
    expr: &Expr,
    row: &[u8],
    ranges: &[Range<usize>],
    out: &mut Vec<u8>,
) {
    match expr {
        Expr::Column(at) => out.extend_from_slice(&row[ranges[*at].clone()]),
        Expr::Computed(computed) => {
            let start = out.len();
            if let Err(error) = computed.eval(expr::Row { bytes: row, ranges }, out) {
                out.truncate(start);
                // An error that the row came with is the cause of this one.
                let columns = ranges.iter().map(|range| &row[range.clone()]);
                match columns.into_iter().find(|datum| value::is_error(datum)) {
                    Some(cause) => out.extend_from_slice(cause),
                    None => value::encode_error(&error.to_string(), out),
                }
            }
        }
    }
}

/// What a condition says of a row.
pub(in crate::engine) enum Verdict<'b> {
    True,
    /// Or NULL.
    False,
    /// The datum of the error.
    Error(&'b [u8]),
}

pub(in crate::engine) fn judge<'b>(
    condition: &Expr,
    row: &[u8],
    ranges: &[Range<usize>],
    buffer: &'b mut Vec<u8>,
) -> Verdict<'b> {
    buffer.clear();
    evaluate(condition, row, ranges, buffer);
    match buffer.as_slice() {
        [1] => Verdict::True,
        error if value::is_error(error) => Verdict::Error(error),
        _ => Verdict::False,
    }
}

/// Columns by whose values rows are found together, perhaps in an order.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Key {
    parts: Vec<KeyPart>,
}

#[derive(Clone, Debug)]
struct KeyPart {
    order: Order,
    ty: Type,
}

impl Key {
    /// Ascending, NULLs last.
    pub(in crate::engine) fn new(layout: &RowLayout, columns: &[usize]) -> Self {
        let order = |&column| Order { column, descending: false, nulls_first: false };
        Self::ordered(layout, columns.iter().map(order))
    }

    pub(in crate::engine) fn ordered(
        layout: &RowLayout,
        order: impl IntoIterator<Item = Order>,
    ) -> Self {
        let part = |order: Order| KeyPart { order, ty: layout.ty(order.column).clone() };
        Self { parts: order.into_iter().map(part).collect() }
    }

    /// Appends bytes that are equal and ordered as the values are: equal ones exactly where they are
    /// equal for Postgres, and no key is the beginning of another.
    pub(in crate::engine) fn write(
        &self,
        row: &[u8],
        ranges: &[Range<usize>],
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        for KeyPart { order: Order { column, descending, nulls_first }, ty } in &self.parts {
            let datum = &row[ranges[*column].clone()];
            value::order_key(ty, datum, *descending, *nulls_first, out)?;
        }
        Ok(())
    }

    /// The first error in the key's columns.
    pub(in crate::engine) fn error<'r>(
        &self,
        row: &'r [u8],
        ranges: &[Range<usize>],
    ) -> Option<&'r [u8]> {
        let mut datums = self.parts.iter().map(|part| &row[ranges[part.order.column].clone()]);
        datums.find(|datum| value::is_error(datum))
    }

    pub(in crate::engine) fn has_null(&self, row: &[u8], ranges: &[Range<usize>]) -> bool {
        self.parts.iter().any(|part| value::is_null(&row[ranges[part.order.column].clone()]))
    }
}
