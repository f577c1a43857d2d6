//! Reads COPY's text format (manual, COPY, "Text Format") as a server sends it.
//!
//! ```text
//! row   = [ field { TAB field } ] LF      a table without columns has empty lines
//! field = `\N` (NULL) | { byte | escape }
//! escape = `\` ( b f n r t v | 1-3 octal digits | x 1-2 hex digits | any other byte: itself )
//! ```
//!
//! Pieces may end anywhere: a row that is cut waits for the next piece. A row without a backslash, the
//! usual one, is handed on without being copied.

use std::ops::Range;

use crate::engine::Cell;

/// A cut row may be as long as the longest that Postgres can send.
const ROW_BYTES_MAX: usize = 2 << 30;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyTextError {
    #[error("a row of {found} columns where {expected} were asked for")]
    Columns { found: usize, expected: usize },
    #[error("a row of more than 2 GiB")]
    TooLong,
    #[error("the data end within a row")]
    Cut,
}

/// The parser, with what is left of the last piece.
#[derive(Debug)]
pub struct CopyText {
    columns: usize,
    cut: Vec<u8>,
    unescaped: Vec<u8>,
    fields: Vec<Option<Range<usize>>>,
}

/// One row's fields.
#[derive(Debug)]
pub struct CopyRow<'a> {
    text: &'a [u8],
    fields: &'a [Option<Range<usize>>],
}

impl<'a> CopyRow<'a> {
    pub fn cells(&self) -> impl Iterator<Item = Cell<'a>> + use<'a> {
        let text = self.text;
        self.fields.iter().map(move |field| match field {
            Some(range) => Cell::Text(&text[range.clone()]),
            None => Cell::Null,
        })
    }
}

impl CopyText {
    /// For rows of so many columns.
    pub fn new(columns: usize) -> Self {
        Self { columns, cut: Vec::new(), unescaped: Vec::new(), fields: Vec::new() }
    }

    /// Takes the next piece and hands on each row that is whole.
    pub fn feed<E: From<CopyTextError>>(
        &mut self,
        mut piece: &[u8],
        mut row: impl FnMut(CopyRow<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (line, rest) = (&piece[..end], &piece[end + 1..]);
            if self.cut.is_empty() {
                self.row(line, &mut row)?;
            } else {
                let mut line = [std::mem::take(&mut self.cut), line.to_vec()].concat();
                self.row(&line, &mut row)?;
                line.clear();
                self.cut = line;
            }
            piece = rest;
        }
        if self.cut.len().saturating_add(piece.len()) > ROW_BYTES_MAX {
            return Err(CopyTextError::TooLong.into());
        }
        self.cut.extend_from_slice(piece);
        Ok(())
    }

    /// Says that there is no further piece.
    pub fn finish(&self) -> Result<(), CopyTextError> {
        if self.cut.is_empty() { Ok(()) } else { Err(CopyTextError::Cut) }
    }

    fn row<E: From<CopyTextError>>(
        &mut self,
        line: &[u8],
        row: &mut impl FnMut(CopyRow<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.fields.clear();
        let text = if memchr::memchr(b'\\', line).is_none() {
            self.split(line);
            line
        } else {
            self.unescape(line);
            &self.unescaped
        };
        // Without columns the one field is no field.
        let found = self.fields.len();
        if self.columns == 0 && line.is_empty() {
            self.fields.clear();
        } else if found != self.columns {
            return Err(CopyTextError::Columns { found, expected: self.columns }.into());
        }
        row(CopyRow { text, fields: &self.fields })
    }

    fn split(&mut self, line: &[u8]) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\t', line) {
            self.fields.push(Some(start..end));
            start = end + 1;
        }
        self.fields.push(Some(start..line.len()));
    }

    fn unescape(&mut self, line: &[u8]) {
        self.unescaped.clear();
        for field in line.split(|byte| *byte == b'\t') {
            if field == b"\\N" {
                self.fields.push(None);
                continue;
            }
            let start = self.unescaped.len();
            let mut rest = field;
            while let Some(at) = memchr::memchr(b'\\', rest) {
                self.unescaped.extend_from_slice(&rest[..at]);
                let (byte, len) = escape(&rest[at + 1..]);
                self.unescaped.push(byte);
                rest = &rest[at + 1 + len..];
            }
            self.unescaped.extend_from_slice(rest);
            self.fields.push(Some(start..self.unescaped.len()));
        }
    }
}

/// The byte that an escape stands for, and its length after the backslash.
fn escape(rest: &[u8]) -> (u8, usize) {
    let digits = |radix: u32, len_max: usize, rest: &[u8]| {
        let values = rest.iter().take(len_max).map_while(|byte| char::from(*byte).to_digit(radix));
        // Three octal digits may be beyond a byte: Postgres keeps the low eight bits.
        values.fold((0_u32, 0), |(value, len), digit| (value * radix + digit, len + 1))
    };
    let low_byte = |value: u32| value.to_le_bytes()[0];
    match rest.first() {
        None => (b'\\', 0),
        Some(b'b') => (0x08, 1),
        Some(b'f') => (0x0c, 1),
        Some(b'n') => (b'\n', 1),
        Some(b'r') => (b'\r', 1),
        Some(b't') => (b'\t', 1),
        Some(b'v') => (0x0b, 1),
        Some(b'0'..=b'7') => {
            let (value, len) = digits(8, 3, rest);
            (low_byte(value), len)
        }
        Some(b'x') => match digits(16, 2, &rest[1..]) {
            (_, 0) => (b'x', 1),
            (value, len) => (low_byte(value), len + 1),
        },
        Some(other) => (*other, 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Rows = Vec<Vec<Option<Vec<u8>>>>;

    fn read(columns: usize, pieces: &[&[u8]]) -> Result<Rows, CopyTextError> {
        let (mut parser, mut rows) = (CopyText::new(columns), Vec::new());
        for piece in pieces {
            parser.feed(piece, |row| {
                rows.push(
                    row.cells()
                        .map(|cell| match cell {
                            Cell::Text(text) => Some(text.to_vec()),
                            Cell::Null => None,
                            Cell::Unchanged => panic!("COPY has no such thing"),
                        })
                        .collect(),
                );
                Ok::<_, CopyTextError>(())
            })?;
        }
        parser.finish().map(|()| rows)
    }

    /// As CopyAttributeOutText does.
    fn write(rows: &Rows) -> Vec<u8> {
        let mut out = Vec::new();
        for row in rows {
            for (at, field) in row.iter().enumerate() {
                if at > 0 {
                    out.push(b'\t');
                }
                let Some(field) = field else {
                    out.extend_from_slice(b"\\N");
                    continue;
                };
                for byte in field {
                    let letter = match byte {
                        0x08 => b'b',
                        0x0c => b'f',
                        b'\n' => b'n',
                        b'\r' => b'r',
                        b'\t' => b't',
                        0x0b => b'v',
                        b'\\' => b'\\',
                        _ => {
                            out.push(*byte);
                            continue;
                        }
                    };
                    out.extend_from_slice(&[b'\\', letter]);
                }
            }
            out.push(b'\n');
        }
        out
    }

    #[test]
    fn escapes_are_those_of_the_manual() {
        let text = |t: &str| Some(t.as_bytes().to_vec());
        assert_eq!(
            read(3, &[b"a\\tb\t\\N\t\\\\N\n", b"\t\t\n"]).unwrap(),
            [vec![text("a\tb"), None, text("\\N")], vec![text(""), text(""), text("")]]
        );
        assert_eq!(
            read(1, &[b"\\101\\x42\\x4a7\\xg\\.\\60\\400\n"]).unwrap(),
            [vec![Some(b"ABJ7xg.0\0".to_vec())]]
        );
        assert_eq!(read(1, &[b"end\\\n"]).unwrap(), [vec![text("end\\")]]);
    }

    #[test]
    fn what_is_no_row_is_refused() {
        assert_eq!(read(2, &[b"a\n"]), Err(CopyTextError::Columns { found: 1, expected: 2 }));
        assert_eq!(read(1, &[b"a\tb\n"]), Err(CopyTextError::Columns { found: 2, expected: 1 }));
        assert_eq!(read(0, &[b"a\n"]), Err(CopyTextError::Columns { found: 1, expected: 0 }));
        assert_eq!(read(1, &[b"a\nb"]), Err(CopyTextError::Cut));
        assert_eq!(read(0, &[b"\n\n"]).unwrap(), [vec![], vec![]]);
        assert_eq!(read(1, &[b"\n"]).unwrap(), [vec![Some(vec![])]]);
    }

    proptest! {
        #[test]
        fn rows_are_read_back_however_they_are_cut(
            rows in (0_usize..4).prop_flat_map(|columns| {
                let field = prop::option::of(prop::collection::vec(
                    prop_oneof![any::<u8>(), Just(b'\\'), Just(b'\t'), Just(b'\n'), Just(b'N')],
                    0..6,
                ));
                prop::collection::vec(prop::collection::vec(field, columns), 0..5)
            }),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let text = write(&rows);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let columns = rows.first().map_or(1, Vec::len);
            prop_assert_eq!(read(columns, &pieces), Ok(rows));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            columns in 0_usize..4,
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), Just(b'\\'), Just(b'\t'), Just(b'\n'), Just(b'x')], 0..40),
        ) {
            let _ = read(columns, &[&bytes]);
        }
    }
}
