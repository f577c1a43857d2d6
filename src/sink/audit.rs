//! Audits: what a sink holds of a projection, compared with what it should hold, row by row, and the
//! single entry put right.
//!
//! An auditor has a connection of its own: it holds up nobody's delivery. It decides nothing about what
//! should be there, nor whether a difference is one or only a change on its way: that is its caller's.
//! Each entry is put right only while it still is what was found, so a change that comes in between is
//! never undone.

use crate::engine::Entry;
use crate::sink::SinkError;
use crate::value::{self, Column};

/// A key, and what the sink should hold under it.
#[derive(Debug, Clone)]
pub struct Subject {
    pub key: Vec<u8>,
    /// `None`: no row.
    pub row: Option<Entry>,
    /// Where entries were found that name this key; what the row itself calls for is looked at anyway.
    pub found: Vec<Place>,
}

/// Where an entry is in the sink.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Among the projection's targets in this sink.
    pub target: usize,
    /// A Redis key, a document's id; empty in Postgres, where the row's key says it.
    pub at: Vec<u8>,
    /// Of a Redis set.
    pub member: Vec<u8>,
}

/// An entry that a scan has found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The key that it names; `None`: none that a row could have.
    pub key: Option<Vec<u8>>,
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Missing,
    Extra,
    Different,
}

/// One entry that is not what it should be.
#[derive(Debug, Clone)]
pub struct Difference<F> {
    /// Position in the subjects.
    pub subject: usize,
    pub kind: Kind,
    /// For people.
    pub place: String,
    /// What differs inside it.
    pub parts: Vec<Part>,
    pub fix: F,
}

/// A column, a field, a score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub expected: Option<String>,
    pub found: Option<String>,
}

/// See the module.
#[allow(
    async_fn_in_trait,
    reason = "used through a generic in this crate only, each future is Send where it is awaited"
)]
pub trait Audit: Send {
    /// What puts one entry right.
    type Fix: Send + Clone;

    /// What of these differs.
    fn compare(
        &mut self,
        subjects: &[Subject],
    ) -> impl Future<Output = Result<Vec<Difference<Self::Fix>>, SinkError>> + Send;

    /// From the first entry on.
    fn begin_scan(&mut self);

    /// The next portion of all entries that may be the projection's; `None` when there are no more.
    fn scan(&mut self) -> impl Future<Output = Result<Option<Vec<Found>>, SinkError>> + Send;

    /// Puts an entry right; false: it is no longer what was found.
    fn mend(&mut self, fix: &Self::Fix) -> impl Future<Output = Result<bool, SinkError>> + Send;
}

const SHOWN_CHARS_MAX: usize = 120;

/// The beginning of a text, on one line.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String =
        text.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// A piece of a text that was made from columns.
pub(super) enum Piece<'a> {
    Literal(&'a [u8]),
    /// Position in the row.
    Column(usize),
}

/// The key that a text made so names: the one way to divide it among its columns such that each is a value
/// of its type and equal columns are equal.
pub(super) fn key_of(
    pieces: &[Piece<'_>],
    text: &[u8],
    columns: &[Column],
    key: &[usize],
) -> Option<Vec<u8>> {
    let mut values: Vec<Option<Vec<u8>>> = vec![None; columns.len()];
    if !divide(pieces, text, columns, &mut values) {
        return None;
    }
    key.iter().try_fold(Vec::new(), |mut bytes, &at| {
        bytes.extend_from_slice(values[at].as_ref()?);
        Some(bytes)
    })
}

fn divide(
    pieces: &[Piece<'_>],
    text: &[u8],
    columns: &[Column],
    values: &mut Vec<Option<Vec<u8>>>,
) -> bool {
    let (at, rest) = match pieces.split_first() {
        None => return text.is_empty(),
        Some((Piece::Literal(literal), rest)) => {
            return text
                .strip_prefix(*literal)
                .is_some_and(|text| divide(rest, text, columns, values));
        }
        Some((Piece::Column(at), rest)) => (*at, rest),
    };
    let ends = if rest.is_empty() { text.len()..=text.len() } else { 0..=text.len() };
    for end in ends {
        let mut datum = Vec::new();
        if value::encode(&columns[at].ty, &text[..end], &mut datum).is_err()
            || values[at].as_ref().is_some_and(|known| *known != datum)
        {
            continue;
        }
        let known = values[at].replace(datum);
        if divide(rest, &text[end..], columns, values) {
            return true;
        }
        values[at] = known;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Type;

    fn column(name: &str, ty: Type) -> Column {
        let sql_type = ty.to_string();
        Column { name: name.into(), ty, sql_type, type_oid: 0, typmod: -1, not_null: false }
    }

    #[test]
    fn a_text_names_its_key() {
        let columns = [column("id", Type::Int4), column("name", Type::Text)];
        let pieces = [
            Piece::Literal(b"o:"),
            Piece::Column(1),
            Piece::Literal(b":"),
            Piece::Column(0),
            Piece::Literal(b":"),
            Piece::Column(0),
        ];
        let key = |text: &str| key_of(&pieces, text.as_bytes(), &columns, &[0]);
        let mut seven = Vec::new();
        value::encode(&Type::Int4, b"7", &mut seven).unwrap();
        assert_eq!(key("o:a:b:7:7"), Some(seven));
        for text in ["", "o:a:7", "o:a:7:8", "o:a:x:x", "p:a:7:7"] {
            assert_eq!(key(text), None, "{text}");
        }
        assert_eq!(key_of(&[], b"", &columns, &[]), Some(Vec::new()));
    }

    #[test]
    fn long_texts_are_shown_by_their_beginning() {
        assert_eq!(shown(b"a\nb"), "a b");
        assert_eq!(shown("ä".repeat(121).as_bytes()), format!("{}…", "ä".repeat(120)));
    }
}
