//! Documents: a row as `to_jsonb(row)::text` prints it on the source.

use super::{Column, Type, ValueError, datum_len, escape, write_json};

/// Writes rows of one shape. The order of the keys, and the keys themselves, are prepared once.
#[derive(Clone, Debug)]
pub struct DocumentWriter {
    /// Of the row's columns, up to the last one that is written.
    types: Vec<Type>,
    /// In jsonb's order.
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    column: usize,
    /// The key with its quotes and what precedes and follows it.
    key: Vec<u8>,
}

impl DocumentWriter {
    /// For all columns, or only for these.
    pub fn new(columns: &[Column], only: Option<&[usize]>) -> Self {
        let chosen = columns.iter().map(|column| column.name.as_str()).enumerate();
        let order = match only {
            None => json_order(chosen),
            Some(only) => json_order(chosen.filter(|(position, _)| only.contains(position))),
        };
        let used = order.iter().max().map_or(0, |last| last + 1);
        let mut members = Vec::with_capacity(order.len());
        for column in order {
            let mut key = if members.is_empty() { Vec::new() } else { b", ".to_vec() };
            if let Some(column) = columns.get(column) {
                escape::write_string(column.name.as_bytes(), &mut key);
            }
            key.extend_from_slice(b": ");
            members.push(Member { column, key });
        }
        let types = columns.iter().take(used).map(|column| column.ty.clone()).collect();
        Self { types, members }
    }

    /// Appends the document.
    pub fn write(&self, row: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        let mut datums = Vec::with_capacity(self.types.len());
        let mut rest = row;
        for ty in &self.types {
            let (datum, after) = rest
                .split_at_checked(datum_len(ty, rest)?)
                .ok_or_else(|| ValueError::new(ty, rest))?;
            datums.push((ty, datum));
            rest = after;
        }
        let start = out.len();
        out.push(b'{');
        for member in &self.members {
            out.extend_from_slice(&member.key);
            if let Some((ty, datum)) = datums.get(member.column)
                && let Err(error) = write_json(ty, datum, out)
            {
                out.truncate(start);
                return Err(error);
            }
        }
        out.push(b'}');
        Ok(())
    }
}

/// One document of a shape that is not kept; see `DocumentWriter`.
pub fn write_document(
    columns: &[Column],
    row: &[u8],
    only: Option<&[usize]>,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    DocumentWriter::new(columns, only).write(row, out)
}

/// The positions given with the names, in jsonb's order of the names: by length, then by bytes, the
/// last of equal ones.
pub(super) fn json_order<'a>(names: impl Iterator<Item = (usize, &'a str)>) -> Vec<usize> {
    let mut names: Vec<_> = names.collect();
    names.sort_by_key(|&(position, name)| (name.len(), name, std::cmp::Reverse(position)));
    names.dedup_by_key(|&mut (_, name)| name);
    names.into_iter().map(|(position, _)| position).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{encode, encode_null};

    fn column(name: &str, ty: Type) -> Column {
        let sql_type = ty.to_string();
        Column { name: name.into(), ty, sql_type, type_oid: 0, typmod: -1, not_null: false }
    }

    fn row() -> (Vec<Column>, Vec<u8>) {
        let columns =
            vec![column("name", Type::Text), column("id", Type::Int4), column("a\"", Type::Bool)];
        let mut row = Vec::new();
        encode(&Type::Text, b"x", &mut row).unwrap();
        encode(&Type::Int4, b"7", &mut row).unwrap();
        encode_null(&mut row);
        (columns, row)
    }

    fn document(columns: &[Column], row: &[u8], only: Option<&[usize]>) -> String {
        let mut out = Vec::new();
        write_document(columns, row, only, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keys_are_in_jsonb_order() {
        let (columns, row) = row();
        assert_eq!(document(&columns, &row, None), r#"{"a\"": null, "id": 7, "name": "x"}"#);
        assert_eq!(document(&columns, &row, Some(&[1, 0])), r#"{"id": 7, "name": "x"}"#);
        assert_eq!(document(&columns, &row, Some(&[])), "{}");
    }

    #[test]
    fn of_equal_names_the_last_counts() {
        let (mut columns, row) = row();
        columns[0].name = "id".into();
        assert_eq!(document(&columns, &row, None), r#"{"a\"": null, "id": 7}"#);
    }

    #[test]
    fn a_row_cut_short_is_an_error_that_leaves_nothing() {
        let (columns, row) = row();
        let mut out = b"before".to_vec();
        assert!(write_document(&columns, &row[..2], None, &mut out).is_err());
        assert_eq!(out, b"before");
    }
}
