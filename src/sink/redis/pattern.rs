//! A template bound to columns: written for a row, and recognised again in a key that a scan finds.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::config::Template;
use crate::config::template::Part;
use crate::value::{Column, Type, ValueError};

use super::row::Row;

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Piece {
    Literal(String),
    /// A column's position among those that the pattern was bound to, and what its text can be.
    Column(usize, Alphabet),
}

/// What the text of a column can look like, as far as it helps to tell our keys from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Alphabet {
    Integer,
    Uuid,
    /// Anything.
    Text,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Pattern {
    pub(super) pieces: Vec<Piece>,
}

/// Whether a row gave a text, or a NULL stood in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rendered {
    Text,
    Null,
}

impl Pattern {
    /// Fails with the name of the first column that there is none of.
    pub(super) fn bind(template: &Template, columns: &[Column]) -> Result<Self, String> {
        let piece = |part: &Part| match part {
            Part::Literal(text) => Ok(Piece::Literal(text.clone())),
            Part::Column(name) => columns
                .iter()
                .position(|column| column.name == *name)
                .map(|at| Piece::Column(at, Alphabet::of(&columns[at].ty)))
                .ok_or_else(|| name.clone()),
        };
        Ok(Self { pieces: template.parts.iter().map(piece).collect::<Result<_, _>>()? })
    }

    /// The same pattern over other positions; `None` when one of its columns has no such position.
    pub(super) fn rebind(&self, position: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        let piece = |piece: &Piece| {
            Some(match piece {
                Piece::Literal(text) => Piece::Literal(text.clone()),
                Piece::Column(at, alphabet) => Piece::Column(position(*at)?, *alphabet),
            })
        };
        Some(Self { pieces: self.pieces.iter().map(piece).collect::<Option<_>>()? })
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Column(at, _) => Some(*at),
        })
    }

    /// Appends the text for `row`; after `Null`, `out` holds a part that means nothing.
    pub(super) fn render(&self, row: &Row<'_>, out: &mut Vec<u8>) -> Result<Rendered, ValueError> {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Column(at, _) if row.is_null(*at) => return Ok(Rendered::Null),
                Piece::Column(at, _) => row.write_text(*at, out)?,
            }
        }
        Ok(Rendered::Text)
    }

    /// Whether its literals alone single out keys as ours: a letter or a digit among them. `{a}:{b}`
    /// has none, so a scan for it would meet everybody's keys.
    pub(super) fn has_fixed_part(&self) -> bool {
        self.pieces.iter().any(|piece| match piece {
            Piece::Literal(text) => text.chars().any(char::is_alphanumeric),
            Piece::Column(..) => false,
        })
    }

    /// For SCAN's MATCH: every key of this pattern, and perhaps others.
    pub(super) fn glob(&self) -> String {
        let mut glob = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => escape_glob(text, &mut glob),
                Piece::Column(..) if glob.ends_with('*') && !glob.ends_with("\\*") => {}
                Piece::Column(..) => glob.push('*'),
            }
        }
        glob
    }

    /// A key as some row might give it.
    pub(super) fn sample(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Literal(text) => text.clone(),
            Piece::Column(..) => "0".into(),
        };
        self.pieces.iter().map(piece).collect()
    }

    /// Whether some row could have given `text`.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        pieces_match(&self.pieces, text)
    }
}

impl Alphabet {
    fn of(ty: &Type) -> Self {
        match ty {
            Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid => Self::Integer,
            Type::Uuid => Self::Uuid,
            _ => Self::Text,
        }
    }

    fn admits(self, text: &[u8]) -> bool {
        match self {
            Self::Integer => {
                let digits = text.strip_prefix(b"-").unwrap_or(text);
                (1..=20).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
            }
            Self::Uuid => {
                text.len() == 36 && text.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-')
            }
            Self::Text => true,
        }
    }
}

/// Backtracks over where a column's text ends; templates have a handful of columns, and a literal
/// between two of them leaves few ends to try.
fn pieces_match(pieces: &[Piece], text: &[u8]) -> bool {
    match pieces.split_first() {
        None => text.is_empty(),
        Some((Piece::Literal(literal), rest)) => {
            text.strip_prefix(literal.as_bytes()).is_some_and(|text| pieces_match(rest, text))
        }
        Some((Piece::Column(_, alphabet), [])) => alphabet.admits(text),
        Some((Piece::Column(_, alphabet), rest)) => (0..=text.len())
            .any(|end| alphabet.admits(&text[..end]) && pieces_match(rest, &text[end..])),
    }
}

/// Redis' glob has `*`, `?`, `[…]` and the backslash.
fn escape_glob(text: &str, glob: &mut String) {
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            glob.push('\\');
        }
        glob.push(c);
    }
}

/// Bytes from Redis as a message shows them.
pub(super) fn shown(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Piece {
        Piece::Literal(text.into())
    }

    fn pattern(pieces: &[Piece]) -> Pattern {
        Pattern { pieces: pieces.to_vec() }
    }

    #[test]
    fn a_glob_takes_literals_literally() {
        let text = Piece::Column(0, Alphabet::Text);
        let found = pattern(&[literal("a*b:"), text.clone(), text, literal(":[c]")]).glob();
        assert_eq!(found, r"a\*b:*:\[c\]");
    }

    #[test]
    fn a_column_is_recognised_by_its_type() {
        let order = pattern(&[literal("order:"), Piece::Column(0, Alphabet::Integer)]);
        for (text, ours) in [
            ("order:7", true),
            ("order:-7", true),
            ("order:", false),
            ("order:stats", false),
            ("order:7:lock", false),
            ("orders:7", false),
        ] {
            assert_eq!(order.matches(text.as_bytes()), ours, "{text}");
        }
        let id = pattern(&[literal("u:"), Piece::Column(0, Alphabet::Uuid), literal(":x")]);
        assert!(id.matches(b"u:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11:x"));
        assert!(!id.matches(b"u:a0eebc99:x"));
    }

    #[test]
    fn texts_between_literals_are_found_by_backtracking() {
        let text = Piece::Column(0, Alphabet::Text);
        let nested = pattern(&[text.clone(), literal(":"), text, literal(":end")]);
        assert!(nested.matches(b"a:b:end:c:end"));
        assert!(!nested.matches(b"a:b:end:c"));
    }

    #[test]
    fn punctuation_alone_is_no_fixed_part() {
        let text = Piece::Column(0, Alphabet::Text);
        assert!(!pattern(&[text.clone(), literal(":"), text.clone()]).has_fixed_part());
        assert!(pattern(&[text, literal(":x")]).has_fixed_part());
    }
}
