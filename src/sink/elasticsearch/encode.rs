//! Rows to lines of a bulk request: ids from keys or templates, documents from datums.

use crate::config::Template;
use crate::config::template::CompiledPart;
use crate::engine::Entry;
use crate::sink::{SinkError, SinkProjection};
use crate::value::{Type, ValueError, datum_len, is_null, write_json_string, write_text};

use super::target::CompiledTarget;

/// The server's bound. It would refuse a whole request for one longer id.
pub(super) const ID_BYTES_MAX: usize = 512;

/// The id of a row of a query without a key.
const ONE_ROW: &[u8] = b"_";

/// How a document's id is made.
pub(super) struct Ids {
    key: Vec<Type>,
    columns: Vec<Type>,
    template: Option<Vec<IdPart>>,
    moves: bool,
}

enum IdPart {
    Literal(Box<[u8]>),
    /// Position in the key.
    Key(usize),
    /// Position in the row.
    Column(usize),
}

/// What [`Ids::write`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Id {
    /// The bytes appended are the id.
    Some,
    /// A column of the template is NULL: the row has no document.
    None,
    /// No document can have it.
    Invalid(String),
}

impl Ids {
    pub(super) fn new(
        projection: &SinkProjection,
        template: Option<&Template>,
    ) -> Result<Self, SinkError> {
        let types = |positions: &[usize]| {
            positions.iter().map(|&at| projection.columns[at].ty.clone()).collect::<Vec<_>>()
        };
        let part = |part: CompiledPart| match part {
            CompiledPart::Literal(text) => IdPart::Literal(text),
            CompiledPart::Column(at) => match projection.key.iter().position(|&key| key == at) {
                Some(in_key) => IdPart::Key(in_key),
                None => IdPart::Column(at),
            },
        };
        let template = match template.map(|template| template.compile(&projection.columns)) {
            None => None,
            Some(Ok(template)) => Some(template.parts.into_iter().map(part).collect::<Vec<_>>()),
            Some(Err(error)) => {
                return Err(SinkError::Fatal {
                    what: format!("the id of {}'s documents: {error}", projection.name),
                    hint: "name a column of the projection".into(),
                });
            }
        };
        let moves = template.iter().flatten().any(|part| matches!(part, IdPart::Column(_)));
        Ok(Self {
            key: types(&projection.key),
            columns: projection.columns.iter().map(|column| column.ty.clone()).collect(),
            template,
            moves,
        })
    }

    /// Whether ids depend on more than the key.
    pub(super) fn moves(&self) -> bool {
        self.moves
    }

    /// Appends the id of `entry`'s document. A tombstone has one only when ids depend on the key
    /// alone.
    pub(super) fn write(&self, entry: &Entry, out: &mut Vec<u8>) -> Result<Id, ValueError> {
        let start = out.len();
        match &self.template {
            None => self.write_key(entry, out)?,
            Some(parts) => {
                if !self.write_template(parts, entry, out)? {
                    out.truncate(start);
                    return Ok(Id::None);
                }
            }
        }
        let fault = match out.len() - start {
            0 => "the document's id would be empty".to_string(),
            length if length > ID_BYTES_MAX => {
                format!("the document's id has {length} bytes, more than {ID_BYTES_MAX}")
            }
            _ => return Ok(Id::Some),
        };
        out.truncate(start);
        Ok(Id::Invalid(fault))
    }

    /// The key's values joined by `|`, with `\` and `|` escaped by `\`; NULL is `\N`, which no text
    /// can be.
    pub(super) fn write_key(&self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), ValueError> {
        if self.key.is_empty() {
            out.extend_from_slice(ONE_ROW);
            return Ok(());
        }
        let mut rest = entry.key();
        let mut text = Vec::new();
        for (at, ty) in self.key.iter().enumerate() {
            let (datum, after) = first_datum(ty, rest)?;
            rest = after;
            if at > 0 {
                out.push(b'|');
            }
            if is_null(datum) {
                out.extend_from_slice(b"\\N");
                continue;
            }
            text.clear();
            write_text(ty, datum, &mut text)?;
            for &byte in &text {
                if matches!(byte, b'\\' | b'|') {
                    out.push(b'\\');
                }
                out.push(byte);
            }
        }
        Ok(())
    }

    /// False when a column is NULL.
    fn write_template(
        &self,
        parts: &[IdPart],
        entry: &Entry,
        out: &mut Vec<u8>,
    ) -> Result<bool, ValueError> {
        for part in parts {
            let (ty, datum) = match part {
                IdPart::Literal(text) => {
                    out.extend_from_slice(text);
                    continue;
                }
                IdPart::Key(at) => (&self.key[*at], datum_at(&self.key, entry.key(), *at)?),
                IdPart::Column(at) => {
                    let Some(row) = entry.value() else { return Ok(false) };
                    (&self.columns[*at], datum_at(&self.columns, row, *at)?)
                }
            };
            if is_null(datum) {
                return Ok(false);
            }
            write_text(ty, datum, out)?;
        }
        Ok(true)
    }
}

/// The datum at position `at` of a row or key.
fn datum_at<'a>(types: &[Type], bytes: &'a [u8], at: usize) -> Result<&'a [u8], ValueError> {
    let mut rest = bytes;
    for ty in &types[..at] {
        rest = first_datum(ty, rest)?.1;
    }
    Ok(first_datum(&types[at], rest)?.0)
}

fn first_datum<'a>(ty: &Type, bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), ValueError> {
    bytes
        .split_at_checked(datum_len(ty, bytes)?)
        .ok_or_else(|| ValueError { ty: ty.to_string(), text: "a value cut short".into() })
}

/// A document's external version: its row's commit. A source that goes back in time is another history,
/// and that is written into indices of its own, so no versions of two histories ever meet. The server's
/// have 63 bits, which are 8 EiB of WAL.
pub(super) fn version(entry: &Entry) -> u64 {
    let lsn = entry.lsn().0;
    assert!(lsn < 1 << 63, "a version has 63 bits");
    lsn
}

/// Appends the action and the document of a row.
pub(super) fn write_index(
    target: &CompiledTarget,
    action: Action<'_>,
    row: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    action.write("index", out);
    target.documents.write(row, out)?;
    out.push(b'\n');
    Ok(())
}

/// The first line of an item.
#[derive(Clone, Copy)]
pub(super) struct Action<'a> {
    /// `None`: the one in the request's path.
    pub(super) index: Option<&'a str>,
    pub(super) id: &'a [u8],
    pub(super) version: u64,
}

impl Action<'_> {
    pub(super) fn write(self, verb: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(verb.as_bytes());
        out.extend_from_slice(b"\":{");
        if let Some(index) = self.index {
            out.extend_from_slice(b"\"_index\":");
            write_json_string(index.as_bytes(), out);
            out.push(b',');
        }
        out.extend_from_slice(b"\"_id\":");
        write_json_string(self.id, out);
        out.extend_from_slice(b",\"version\":");
        out.extend_from_slice(itoa::Buffer::new().format(self.version).as_bytes());
        out.extend_from_slice(b",\"version_type\":\"external_gte\"}}\n");
    }
}
