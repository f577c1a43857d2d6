//! How a projection's rows are written as server-sent events.

use crate::engine::Entry;
use crate::lsn::{Lsn, Place};
use crate::output::Reading;
use crate::value::{self, Column, DocumentWriter, ValueError};

pub(super) struct Shape {
    pub(super) columns: Vec<Column>,
    key: Vec<usize>,
    document: DocumentWriter,
}

impl Shape {
    pub(super) fn new(columns: Vec<Column>, key: Vec<usize>) -> Self {
        Self { document: DocumentWriter::new(&columns, None), columns, key }
    }

    /// ```text
    /// event: upsert                                  event: delete         event: position
    /// id: 0/1A2B3C                                   id: 0/1A2B3C          id: 0/1A2B40
    /// data: {"key": [7], "lsn": …, "row": {…}}       data: {"key": [7], …} data: {"lsn": "0/1A2B40"}
    /// ```
    ///
    /// Before all that, where it begins with nothing: `event: reset`. An id is where a client goes on that
    /// has taken the event. `position` says that it has all that was
    /// committed before.
    pub(super) fn events(&self, reading: &Reading) -> Result<Vec<u8>, ValueError> {
        let mut out = Vec::new();
        for entry in &reading.entries {
            let id = if reading.in_order { entry.lsn().into() } else { reading.amid };
            self.event(entry, id, &mut out)?;
        }
        if reading.whole {
            out.extend_from_slice(position_event(reading.place.at).as_bytes());
        }
        Ok(out)
    }

    fn event(&self, entry: &Entry, id: Place, out: &mut Vec<u8>) -> Result<(), ValueError> {
        let name = if entry.is_tombstone() { "delete" } else { "upsert" };
        out.extend_from_slice(format!("event: {name}\nid: {id}\ndata: {{\"key\": [").as_bytes());
        let mut rest = entry.key();
        for (number, &at) in self.key.iter().enumerate() {
            if number > 0 {
                out.extend_from_slice(b", ");
            }
            let ty = &self.columns[at].ty;
            let (datum, after) = rest.split_at(value::datum_len(ty, rest)?.min(rest.len()));
            rest = after;
            value::write_json(ty, datum, out)?;
        }
        out.extend_from_slice(format!("], \"lsn\": \"{}\"", entry.lsn()).as_bytes());
        if let Some(row) = entry.value() {
            out.extend_from_slice(b", \"row\": ");
            let start = out.len();
            if self.document.write(row, out).is_err() {
                // A json value that jsonb does not take: the row has no document.
                out.truncate(start);
                out.extend_from_slice(b"null");
            }
        }
        // A document has no line breaks: they are escaped in its strings.
        out.extend_from_slice(b"}\n\n");
        Ok(())
    }
}

pub(super) fn position_event(lsn: Lsn) -> String {
    format!("event: position\nid: {lsn}\ndata: {{\"lsn\": \"{lsn}\"}}\n\n")
}
