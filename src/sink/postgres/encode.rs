//! Rows as the server takes them: arrays for the parameters of `unnest`, lines for COPY, both made from the
//! datums' text; and, where COPY takes all columns so, binary rows. Nothing is parsed on the way.

use std::error::Error;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_postgres::types::{Format, IsNull, ToSql, Type as SqlType};

use super::binary::{self, Binary};
use super::target::{Table, TableColumn};
use crate::value::{self, ValueError};

/// The text of one row's or key's columns; its memory serves row after row.
#[derive(Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    /// `None` for NULL.
    ranges: Vec<Option<Range<usize>>>,
}

impl Texts {
    pub(super) fn read<'a>(
        &mut self,
        columns: impl Iterator<Item = &'a TableColumn>,
        mut datums: &[u8],
    ) -> Result<(), ValueError> {
        self.bytes.clear();
        self.ranges.clear();
        for column in columns {
            let len = value::datum_len(&column.ty, datums)?;
            let (datum, rest) = datums.split_at_checked(len).unwrap_or((datums, &[]));
            datums = rest;
            if value::is_null(datum) {
                self.ranges.push(None);
            } else {
                let start = self.bytes.len();
                value::write_text(&column.ty, datum, &mut self.bytes)?;
                self.ranges.push(Some(start..self.bytes.len()));
            }
        }
        Ok(())
    }

    fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.ranges.iter().map(|range| range.clone().map(|range| &self.bytes[range]))
    }
}

/// One column of many rows.
#[derive(Debug)]
enum Array {
    /// An array literal, its last brace still missing; its elements' text needs no quotes.
    Literal(Vec<u8>),
    /// text[] in binary: each element behind its length.
    Text { elements: Vec<u8>, len: i32, has_null: bool },
}

/// The parameters of a statement over `unnest`.
pub(super) struct Arrays {
    arrays: Vec<Array>,
    bytes: usize,
}

impl Arrays {
    pub(super) fn new<'a>(columns: impl Iterator<Item = &'a TableColumn>) -> Self {
        let array = |column: &TableColumn| {
            if column.is_literal() {
                Array::Literal(Vec::new())
            } else {
                Array::Text { elements: Vec::new(), len: 0, has_null: false }
            }
        };
        Self { arrays: columns.map(array).collect(), bytes: 0 }
    }

    /// With so many arrays more, whose text needs no quotes.
    pub(super) fn with_literals(mut self, more: usize) -> Self {
        self.arrays.extend((0..more).map(|_| Array::Literal(Vec::new())));
        self
    }

    pub(super) fn push(&mut self, texts: &Texts) {
        self.push_with(texts, &[]);
    }

    /// With values for the arrays of `with_literals`.
    pub(super) fn push_with(&mut self, texts: &Texts, more: &[Option<String>]) {
        let more = more.iter().map(|text| text.as_ref().map(String::as_bytes));
        for (array, text) in std::iter::zip(&mut self.arrays, texts.iter().chain(more)) {
            array.push(text);
        }
        self.bytes += texts.bytes.len();
    }

    /// Of the values' texts.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect()
    }
}

impl Array {
    fn push(&mut self, text: Option<&[u8]>) {
        match self {
            Array::Literal(literal) => {
                literal.push(if literal.is_empty() { b'{' } else { b',' });
                literal.extend_from_slice(text.unwrap_or(b"NULL"));
            }
            Array::Text { elements, len, has_null } => {
                // A text is shorter than a Postgres field, 1 GB; NULL has the length -1.
                let bytes = text.map_or(-1, |text| i32::try_from(text.len()).unwrap_or(i32::MAX));
                elements.extend_from_slice(&bytes.to_be_bytes());
                elements.extend_from_slice(text.unwrap_or_default());
                *len += 1;
                *has_null |= text.is_none();
            }
        }
    }
}

impl ToSql for Array {
    fn to_sql(
        &self,
        _: &SqlType,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Array::Literal(literal) if literal.is_empty() => out.put_slice(b"{}"),
            Array::Literal(literal) => {
                out.put_slice(literal);
                out.put_u8(b'}');
            }
            Array::Text { elements, len, has_null } => {
                out.put_i32(1);
                out.put_i32((*has_null).into());
                out.put_u32(SqlType::TEXT.oid());
                out.put_i32(*len);
                out.put_i32(1);
                out.put_slice(elements);
            }
        }
        Ok(IsNull::No)
    }

    fn encode_format(&self, _: &SqlType) -> Format {
        match self {
            Array::Literal(_) => Format::Text,
            Array::Text { .. } => Format::Binary,
        }
    }

    fn accepts(_: &SqlType) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        ty: &SqlType,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql(ty, out)
    }
}

/// Rows for COPY into a table.
pub(super) struct CopyRows<'a> {
    table: &'a Table,
    texts: Texts,
    bytes: Vec<u8>,
}

impl<'a> CopyRows<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        let mut bytes = Vec::new();
        if table.binary.is_some() {
            bytes.extend_from_slice(binary::HEADER);
        }
        Self { table, texts: Texts::default(), bytes }
    }

    /// Adds a row, or nothing where it cannot be read.
    pub(super) fn push(&mut self, row: &[u8]) -> Result<(), ValueError> {
        let start = self.bytes.len();
        let done = match &self.table.binary {
            Some(formats) => binary_row(self.table, formats, row, &mut self.bytes),
            None => {
                let read = self.texts.read(self.table.columns.iter(), row);
                read.map(|()| copy_line(&self.texts, &mut self.bytes))
            }
        };
        if done.is_err() {
            self.bytes.truncate(start);
        }
        done
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What has gathered.
    pub(super) fn take(&mut self) -> Bytes {
        let next = Vec::with_capacity(self.bytes.capacity());
        Bytes::from(std::mem::replace(&mut self.bytes, next))
    }

    /// The rest of it.
    pub(super) fn finish(mut self) -> Bytes {
        if self.table.binary.is_some() {
            self.bytes.extend_from_slice(binary::TRAILER);
        }
        Bytes::from(self.bytes)
    }
}

fn binary_row(
    table: &Table,
    formats: &[Binary],
    mut row: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    // A table has at most 1600 columns.
    out.extend_from_slice(&i16::try_from(formats.len()).unwrap_or(i16::MAX).to_be_bytes());
    for (column, format) in std::iter::zip(&table.columns, formats) {
        let len = value::datum_len(&column.ty, row)?;
        let (datum, rest) = row.split_at_checked(len).unwrap_or((row, &[]));
        format.write(&column.ty, datum, out)?;
        row = rest;
    }
    Ok(())
}

/// Adds a row's line in COPY's text format (manual, "COPY", File Formats).
fn copy_line(texts: &Texts, out: &mut Vec<u8>) {
    for (number, text) in texts.iter().enumerate() {
        if number > 0 {
            out.push(b'\t');
        }
        match text {
            None => out.extend_from_slice(b"\\N"),
            Some(text) => copy_field(text, out),
        }
    }
    out.push(b'\n');
}

fn copy_field(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = text.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r'))
    {
        out.extend_from_slice(&text[..at]);
        out.extend_from_slice(match text[at] {
            b'\\' => b"\\\\",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            _ => b"\\r",
        });
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

/// A moment as Postgres prints it, in UTC. It has a blank in it, and no quote.
pub(super) fn time_text(micros: i64) -> String {
    let (mut datum, mut text) = (Vec::new(), Vec::new());
    value::encode_int(micros, &mut datum);
    match value::write_text(&value::Type::TimestampTz, &datum, &mut text) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        // No clock shows what the calendar does not have.
        Err(_) => "-infinity".to_owned(),
    }
}

/// The same as SQL has it.
pub(super) fn literal_of_time(micros: i64) -> String {
    format!("'{}'::timestamptz", time_text(micros))
}

/// The columns whose text makes a table's key, in the key's order.
pub(super) fn key_columns(table: &Table) -> impl Iterator<Item = &TableColumn> {
    table.key.iter().map(|&position| &table.columns[position])
}
