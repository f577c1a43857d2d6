//! Rows: their columns' datums one after the other, without any directory.

use std::ops::Range;

use super::{Column, Type, ValueError, datum_len, is_null, write_text};

/// A row's datums, one for each column. Ends after the first error.
pub fn columns<'a>(columns: &'a [Column], row: &'a [u8]) -> Columns<'a> {
    Columns { columns: columns.iter(), rest: row }
}

pub struct Columns<'a> {
    columns: std::slice::Iter<'a, Column>,
    rest: &'a [u8],
}

impl<'a> Iterator for Columns<'a> {
    type Item = Result<&'a [u8], ValueError>;

    fn next(&mut self) -> Option<Self::Item> {
        let column = self.columns.next()?;
        let split = datum_len(&column.ty, self.rest).and_then(|len| {
            self.rest.split_at_checked(len).ok_or_else(|| ValueError::new(&column.ty, self.rest))
        });
        Some(match split {
            Ok((datum, rest)) => {
                self.rest = rest;
                Ok(datum)
            }
            Err(error) => {
                self.columns = [].iter();
                Err(error)
            }
        })
    }
}

/// Where each column's datum lies in the row; replaces what `ranges` held. A row with bytes left
/// over is an error.
pub fn split(
    columns: &[Column],
    row: &[u8],
    ranges: &mut Vec<Range<usize>>,
) -> Result<(), ValueError> {
    ranges.clear();
    let mut end = 0;
    for datum in self::columns(columns, row) {
        let start = end;
        end += datum?.len();
        ranges.push(start..end);
    }
    match row.get(end..) {
        None | Some([]) => Ok(()),
        Some(rest) => Err(ValueError {
            ty: format!("row of {} columns", columns.len()),
            text: String::from_utf8_lossy(rest).into_owned(),
        }),
    }
}

/// A key's texts, joined by `|`. For people: nothing in it is escaped.
pub fn key_text<'t>(types: impl Iterator<Item = &'t Type>, mut key: &[u8]) -> String {
    let mut texts = Vec::new();
    for ty in types {
        let mut text = Vec::new();
        let read = datum_len(ty, key).and_then(|len| {
            let (datum, rest) = key.split_at_checked(len).unwrap_or((key, &[]));
            key = rest;
            if is_null(datum) { Ok(()) } else { write_text(ty, datum, &mut text) }
        });
        match read {
            Ok(()) => texts.push(String::from_utf8_lossy(&text).into_owned()),
            Err(error) => return error.to_string(),
        }
    }
    texts.join("|")
}
