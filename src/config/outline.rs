//! What a configuration says, in digests by its parts: whether another one says something else, and where. The
//! contents of the files that it names count, too.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256, digest};

use super::credentials;
use super::node::{Node, Text, Value};
use super::place::Place;

/// SHA-256: secrets are among what it is made of.
type Digest = [u8; 32];

/// Sections of which each entry is a part of its own; of the others each key is one.
const NAMED: [&str; 3] = ["sink", "projection", "event"];
/// What cannot change while a daemon runs: another one of these is another daemon.
const FIXED: [(&str, &str); 7] = [
    ("source", "url"),
    ("source", "slot"),
    ("source", "publication"),
    ("state", "dir"),
    ("http", "listen"),
    ("ha", "group"),
    ("ha", "lease"),
];

#[derive(Clone, Debug, Default)]
pub struct Outline {
    parts: BTreeMap<Part, (Digest, Place)>,
    files: Vec<PathBuf>,
}

/// A section's key, or an entry of a section.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    section: String,
    name: String,
}

/// A part of which two configurations say different things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub part: Part,
    how: How,
    /// In the newer one; where it is gone, nowhere.
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Added,
    Changed,
    Removed,
}

impl Part {
    /// The name of the projection or event that it is.
    pub fn projection(&self) -> Option<&str> {
        matches!(self.section.as_str(), "projection" | "event").then_some(self.name.as_str())
    }

    pub fn is_fixed(&self) -> bool {
        FIXED.contains(&(self.section.as_str(), self.name.as_str()))
    }
}

/// `projection orders`, `source.wal_budget`.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if NAMED.contains(&self.section.as_str()) { ' ' } else { '.' };
        write!(f, "{}{separator}{}", self.section, self.name)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::Added => "added",
            How::Changed => "changed",
            How::Removed => "removed",
        };
        write!(f, "{how} {}", self.part)
    }
}

impl Outline {
    pub(super) fn of(root: &Node) -> Self {
        let mut this = Self::default();
        for (section, node) in root.entries() {
            for (name, entry) in node.entries() {
                let mut context = Context::new(&SHA256);
                this.write(name, entry, &mut context);
                let part = Part { section: section.clone(), name: name.clone() };
                this.parts.insert(part, (finish(context), entry.place.clone()));
            }
        }
        this
    }

    /// Files that the configuration names, such as passwords.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What another one says differently.
    pub fn changes_to(&self, other: &Outline) -> Vec<Change> {
        let changed = other.parts.iter().filter_map(|(part, (now, place))| {
            let how = match self.parts.get(part) {
                None => How::Added,
                Some((before, _)) if before != now => How::Changed,
                Some(_) => return None,
            };
            Some(Change { part: part.clone(), how, place: place.clone() })
        });
        let removed = self.parts.keys().filter(|part| !other.parts.contains_key(part));
        let removed = removed.map(|part| Change {
            part: part.clone(),
            how: How::Removed,
            place: Place::default(),
        });
        changed.chain(removed).collect()
    }

    /// Each value with its kind and length, so that no two trees look the same.
    fn write(&mut self, key: &str, node: &Node, context: &mut Context) {
        let mut put = |kind: u8, bytes: &[u8]| {
            context.update(&[kind]);
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        match &node.value {
            Value::Text(Text { value, .. }) => {
                put(b't', value.as_bytes());
                if key.ends_with("_file") {
                    let path = PathBuf::from(value);
                    put(b'f', &content(&path));
                    self.files.push(path);
                }
            }
            Value::Integer(number) => put(b'i', &number.to_be_bytes()),
            Value::Float(number) => put(b'n', &number.to_be_bytes()),
            Value::Boolean(truth) => put(b'b', &[u8::from(*truth)]),
            Value::List(items) => {
                put(b'l', &items.len().to_be_bytes());
                items.iter().for_each(|item| self.write(key, item, context));
            }
            Value::Table(entries) => {
                put(b'm', &entries.len().to_be_bytes());
                for (key, entry) in entries {
                    let mut put = |bytes: &[u8]| {
                        context.update(&(bytes.len() as u64).to_be_bytes());
                        context.update(bytes);
                    };
                    put(key.as_bytes());
                    self.write(key, entry, context);
                }
            }
            Value::Broken(_) => put(b'x', &[]),
        }
    }
}

/// A digest of the file as it is, and of those that it names: another one when any of them has changed.
pub(super) fn fingerprint(path: &Path, named: &[PathBuf]) -> Digest {
    let mut context = Context::new(&SHA256);
    for path in std::iter::once(path).chain(named.iter().map(PathBuf::as_path)) {
        context.update(&content(path));
    }
    finish(context)
}

/// A digest of a file's bytes, or of why they cannot be read.
fn content(path: &Path) -> Digest {
    let bytes = credentials::read_bounded(path, super::FILE_BYTES_MAX);
    let bytes = bytes.unwrap_or_else(|why| why.into_bytes());
    finish_of(digest(&SHA256, &bytes))
}

fn finish(context: Context) -> Digest {
    finish_of(context.finish())
}

fn finish_of(digest: ring::digest::Digest) -> Digest {
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}
