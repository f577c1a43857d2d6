//! Where a piece of configuration was written: a span of the file, or an environment variable.
//!
//! A place knows the places inside it: a table those of its entries, a list those of its items, a
//! string those of its characters, through escapes and `${NAME}`. So a later stage (the catalog, SQL)
//! can point at the one column name that it refuses.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::mask::{self, MASK};

/// A span of the configuration file, an environment variable, or neither (a default).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Place {
    pub file: Option<Arc<SourceFile>>,
    /// Byte range in the file's text.
    pub span: Range<usize>,
    variable: Option<Arc<str>>,
    inside: Inside,
}

#[derive(Clone, Default, PartialEq, Eq)]
enum Inside {
    #[default]
    Nothing,
    /// For each byte of the string's value, and for its end, the offset in the file.
    Text(Arc<[usize]>),
    Entries(Arc<BTreeMap<String, Place>>),
    Items(Arc<[Place]>),
}

impl Place {
    pub fn in_file(file: &Arc<SourceFile>, span: Range<usize>) -> Self {
        Self { file: Some(Arc::clone(file)), span, ..Self::default() }
    }

    pub fn in_variable(name: &str) -> Self {
        Self { variable: Some(name.into()), ..Self::default() }
    }

    /// The environment variable that gave the value.
    pub fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
    }

    /// The place of the value under `key` of a table; the table's own where it has no such entry.
    pub fn entry(&self, key: &str) -> Place {
        match &self.inside {
            Inside::Entries(entries) => entries.get(key).unwrap_or(self).clone(),
            _ => self.clone(),
        }
    }

    /// The place of an item of a list; the list's own where it has no such item.
    pub fn item(&self, index: usize) -> Place {
        match &self.inside {
            Inside::Items(items) => items.get(index).unwrap_or(self).clone(),
            _ => self.clone(),
        }
    }

    /// The place of a byte range of a string's value; the whole string's where that cannot be told.
    pub fn within(&self, range: Range<usize>) -> Place {
        let Inside::Text(offsets) = &self.inside else { return self.clone() };
        match (offsets.get(range.start), offsets.get(range.end)) {
            (Some(&start), Some(&end)) if start <= end => {
                Place { span: start..end, inside: Inside::Nothing, ..self.clone() }
            }
            _ => self.clone(),
        }
    }

    pub(super) fn with_text(self, offsets: Vec<usize>) -> Self {
        Self { inside: Inside::Text(offsets.into()), ..self }
    }

    pub(super) fn with_entries(self, entries: BTreeMap<String, Place>) -> Self {
        Self { inside: Inside::Entries(Arc::new(entries)), ..self }
    }

    pub(super) fn with_items(self, items: Vec<Place>) -> Self {
        Self { inside: Inside::Items(items.into()), ..self }
    }

    /// Neither in a file nor in a variable.
    pub fn is_nowhere(&self) -> bool {
        self.file.is_none() && self.variable.is_none()
    }
}

/// `readside.toml:12:7`, an environment variable's name, or nothing.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, &self.variable) {
            (Some(file), _) => {
                let (line, column) = file.position(self.span.start);
                write!(f, "{}:{line}:{column}", file.path)
            }
            (None, Some(variable)) => write!(f, "environment variable {variable}"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

/// The configuration file's text, and what of it may be shown.
#[derive(PartialEq, Eq)]
pub struct SourceFile {
    pub path: String,
    pub text: String,
    hidden: mask::Hidden,
}

/// A line of the file as it may be shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShownLine {
    /// From 1.
    pub(super) line: usize,
    /// In characters of the line as it is in the file, from 1.
    pub(super) column: usize,
    /// With `***` in place of secrets.
    pub(super) text: String,
    /// Bytes of `text` under the caret.
    pub(super) caret: Range<usize>,
}

impl SourceFile {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let hidden = mask::Hidden::of(&text);
        Self { path: path.into(), text, hidden }
    }

    /// Line and column of a byte offset, from 1, columns in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = floor_boundary(&self.text, offset);
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// The line on which `span` begins; what the span has on later lines is left out.
    pub(super) fn shown_line(&self, span: &Range<usize>) -> ShownLine {
        let start = floor_boundary(&self.text, span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let line_end = line_start + self.text[line_start..line_end].trim_end_matches('\r').len();
        let start = start.min(line_end);
        let end = floor_boundary(&self.text, span.end).clamp(start, line_end);

        let hidden = self.hidden.of_line(&self.text, line_start..line_end);
        let mut text = String::new();
        let mut at = line_start;
        for secret in &hidden {
            text.push_str(&self.text[at..secret.start]);
            text.push_str(MASK);
            at = secret.end;
        }
        text.push_str(&self.text[at..line_end]);
        let caret = masked_offset(&hidden, line_start, start, 0)
            ..masked_offset(&hidden, line_start, end, MASK.len());
        let (line, column) = self.position(start);
        ShownLine { line, column, text, caret }
    }
}

/// Where the byte at `offset` of the file stands in its line once `hidden` is masked; `inside` bytes
/// into the mask when it is itself hidden, so that a caret tells nothing of what the mask covers.
fn masked_offset(
    hidden: &[Range<usize>],
    line_start: usize,
    offset: usize,
    inside: usize,
) -> usize {
    let mut masked = 0;
    let mut at = line_start;
    for secret in hidden.iter().take_while(|secret| secret.start < offset) {
        masked += secret.start - at;
        if offset < secret.end {
            return masked + inside;
        }
        masked += MASK.len();
        at = secret.end;
    }
    masked + (offset - at)
}

/// The nearest character boundary at or before `offset`.
fn floor_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// The path alone: the text may hold secrets.
impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceFile({:?})", self.path)
    }
}
