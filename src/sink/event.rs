//! An event outside of tables: `id` (lsn/ordinal), `type`, `committed_at`, and `data` as JSON.

use std::ops::Range;

use crate::engine::EVENT_COLUMNS;
use crate::value::{self, Column, DocumentWriter, Type, ValueError, write_json_string};

/// Reads the rows of one event.
#[derive(Clone, Debug)]
pub(crate) struct EventWriter {
    /// Of the columns before the data.
    types: Vec<Type>,
    data: DocumentWriter,
}

/// Where the parts of a row lie.
pub(crate) struct EventRow<'r> {
    row: &'r [u8],
    parts: Vec<Range<usize>>,
}

impl EventWriter {
    /// `columns`: of the event's rows.
    pub(crate) fn new(columns: &[Column]) -> Self {
        let (own, data) = columns.split_at(EVENT_COLUMNS.len().min(columns.len()));
        let types = own.iter().map(|column| column.ty.clone()).collect();
        Self { types, data: DocumentWriter::new(data, None) }
    }

    pub(super) fn split<'r>(&self, row: &'r [u8]) -> Result<EventRow<'r>, ValueError> {
        let (mut parts, mut start) = (Vec::new(), 0);
        for ty in &self.types {
            let end = start + value::datum_len(ty, row.get(start..).unwrap_or_default())?;
            parts.push(start..end);
            start = end;
        }
        Ok(EventRow { row, parts })
    }

    fn text(&self, row: &EventRow<'_>, at: usize, out: &mut Vec<u8>) -> Result<(), ValueError> {
        value::write_text(&self.types[at], row.part(at), out)
    }

    pub(super) fn write_id(&self, row: &EventRow<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
        self.text(row, 0, out)?;
        out.push(b'/');
        self.text(row, 1, out)
    }

    pub(super) fn write_type(
        &self,
        row: &EventRow<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        self.text(row, 2, out)
    }

    /// As in a document, without quotes.
    pub(super) fn write_committed_at(
        &self,
        row: &EventRow<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        let mut quoted = Vec::new();
        value::write_json(&self.types[3], row.part(3), &mut quoted)?;
        out.extend(quoted.iter().filter(|&&byte| byte != b'"'));
        Ok(())
    }

    pub(super) fn write_data(
        &self,
        row: &EventRow<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        let start = row.parts.last().map_or(0, |part| part.end);
        self.data.write(row.row.get(start..).unwrap_or_default(), out)
    }

    /// All four, as one JSON object.
    pub(crate) fn write_document(&self, row: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        let row = self.split(row)?;
        let (mut id, mut kind) = (Vec::new(), Vec::new());
        self.write_id(&row, &mut id)?;
        self.write_type(&row, &mut kind)?;
        out.extend_from_slice(b"{\"id\": ");
        write_json_string(&id, out);
        out.extend_from_slice(b", \"type\": ");
        write_json_string(&kind, out);
        out.extend_from_slice(b", \"committed_at\": ");
        value::write_json(&self.types[3], row.part(3), out)?;
        out.extend_from_slice(b", \"data\": ");
        self.write_data(&row, out)?;
        out.push(b'}');
        Ok(())
    }
}

impl<'r> EventRow<'r> {
    fn part(&self, at: usize) -> &'r [u8] {
        self.parts.get(at).and_then(|part| self.row.get(part.clone())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{event_columns, gap_entry};
    use crate::lsn::Lsn;

    #[test]
    fn an_event_is_a_document_of_four_members() {
        let data = Column {
            name: "order_id".into(),
            ty: Type::Int4,
            sql_type: "integer".into(),
            type_oid: 23,
            typmod: -1,
            not_null: false,
        };
        let writer = EventWriter::new(&event_columns(&[data]));
        let entry = gap_entry(1, Lsn(0x1_0000_00FF), 0);
        let mut out = Vec::new();
        writer.write_document(entry.value().expect("a row"), &mut out).expect("whole");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            r#"{"id": "1/FF/0", "type": "readside.gap", "committed_at": "2000-01-01T00:00:00+00:00", "data": {"order_id": null}}"#
        );
    }
}
