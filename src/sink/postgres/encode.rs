//! Rows as the server takes them: arrays for the parameters of `unnest`, in which a column whose type has a binary
//! form here travels so and the others as text; for COPY binary rows where all columns have such a form, else lines.

use std::error::Error;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_postgres::types::{Format, IsNull, ToSql, Type as SqlType};

use super::binary::{self, Binary};
use super::target::{Table, TableColumn};
use crate::value::{self, Type, ValueError};

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

/// How one column of many rows travels.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// As the literal of an array: its elements' text needs no quotes.
    Literal,
    /// As an array in binary, of elements of the type with this oid.
    Binary(Binary, SqlOid),
}

type SqlOid = u32;

impl Form {
    fn of(column: &TableColumn) -> Self {
        let oid = column.stored.oid;
        match Binary::of(&column.ty, oid) {
            Some(binary) if binary != Binary::Text => Form::Binary(binary, oid),
            _ if column.is_literal() => Form::Literal,
            _ => Form::Binary(Binary::Text, SqlType::TEXT.oid()),
        }
    }
}

#[derive(Debug)]
struct Array {
    form: Form,
    /// Of a literal the last brace is still missing.
    bytes: Vec<u8>,
    len: i32,
    has_null: bool,
    /// Where its last element begins.
    last: usize,
}

/// The parameters of a statement over `unnest`.
pub(super) struct Arrays<'a> {
    columns: Vec<&'a TableColumn>,
    arrays: Vec<Array>,
}

impl<'a> Arrays<'a> {
    pub(super) fn new(columns: impl Iterator<Item = &'a TableColumn>) -> Self {
        let columns: Vec<&TableColumn> = columns.collect();
        let arrays = columns.iter().map(|column| Array::new(Form::of(column))).collect();
        Self { columns, arrays }
    }

    /// With arrays more, whose elements' own form are eight bytes.
    pub(super) fn with(mut self, more: &[SqlType]) -> Self {
        let more = more.iter().map(|ty| Array::new(Form::Binary(Binary::Int8, ty.oid())));
        self.arrays.extend(more);
        self
    }

    /// Adds a row, and values for the arrays of `with`; or nothing where it cannot be read.
    pub(super) fn push(
        &mut self,
        mut datums: &[u8],
        more: &[Option<[u8; 8]>],
    ) -> Result<(), ValueError> {
        for (at, column) in self.columns.iter().enumerate() {
            let pushed = value::datum_len(&column.ty, datums).and_then(|len| {
                let (datum, rest) = datums.split_at_checked(len).unwrap_or((datums, &[]));
                datums = rest;
                self.arrays[at].push(&column.ty, datum)
            });
            if let Err(error) = pushed {
                self.arrays[..at].iter_mut().for_each(Array::pop);
                return Err(error);
            }
        }
        for (array, value) in std::iter::zip(&mut self.arrays[self.columns.len()..], more) {
            array.push_own(value.as_ref());
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.arrays.iter().map(|array| array.bytes.len()).sum()
    }

    pub(super) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect()
    }
}

impl Array {
    fn new(form: Form) -> Self {
        Self { form, bytes: Vec::new(), len: 0, has_null: false, last: 0 }
    }

    /// Adds an element, or nothing where it cannot be read.
    fn push(&mut self, ty: &Type, datum: &[u8]) -> Result<(), ValueError> {
        let start = self.bytes.len();
        let is_null = value::is_null(datum);
        let written = match self.form {
            Form::Binary(binary, _) => binary.write(ty, datum, &mut self.bytes),
            Form::Literal => {
                self.bytes.push(if self.bytes.is_empty() { b'{' } else { b',' });
                if is_null {
                    self.bytes.extend_from_slice(b"NULL");
                    Ok(())
                } else {
                    value::write_text(ty, datum, &mut self.bytes)
                }
            }
        };
        match &written {
            Ok(()) => self.pushed(start, is_null),
            Err(_) => self.bytes.truncate(start),
        }
        written
    }

    fn push_own(&mut self, value: Option<&[u8; 8]>) {
        let start = self.bytes.len();
        // NULL has the length -1.
        self.bytes.extend_from_slice(&value.map_or(-1_i32, |_| 8).to_be_bytes());
        self.bytes.extend(value.into_iter().flatten());
        self.pushed(start, value.is_none());
    }

    fn pushed(&mut self, start: usize, is_null: bool) {
        self.last = start;
        self.len += 1;
        self.has_null |= is_null;
    }

    fn pop(&mut self) {
        self.bytes.truncate(self.last);
        self.len -= 1;
    }
}

impl ToSql for Array {
    fn to_sql(
        &self,
        _: &SqlType,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.form {
            Form::Literal if self.bytes.is_empty() => out.put_slice(b"{}"),
            Form::Literal => {
                out.put_slice(&self.bytes);
                out.put_u8(b'}');
            }
            // Dimensions, whether there are NULLs, the elements' type; of the dimension the length and the lower bound.
            Form::Binary(_, element) => {
                out.put_i32(1);
                out.put_i32(self.has_null.into());
                out.put_u32(element);
                out.put_i32(self.len);
                out.put_i32(1);
                out.put_slice(&self.bytes);
            }
        }
        Ok(IsNull::No)
    }

    fn encode_format(&self, _: &SqlType) -> Format {
        match self.form {
            Form::Literal => Format::Text,
            Form::Binary(..) => Format::Binary,
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

/// A moment as SQL has it.
pub(super) fn literal_of_time(micros: i64) -> String {
    let (mut datum, mut text) = (Vec::new(), Vec::new());
    value::encode_int(micros, &mut datum);
    // No clock shows what the calendar does not have.
    let text = match value::write_text(&Type::TimestampTz, &datum, &mut text) {
        Ok(()) => String::from_utf8_lossy(&text),
        Err(_) => "-infinity".into(),
    };
    format!("'{text}'::timestamptz")
}

/// The columns whose text makes a table's key, in the key's order.
pub(super) fn key_columns(table: &Table) -> impl Iterator<Item = &TableColumn> {
    table.key.iter().map(|&position| &table.columns[position])
}
