//! What a projection looks like in a sink, as a set of lines: one for each row, entry or document.
//! Equal sets, equal read models.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::schema::{Table, Target};

/// Lines, and how often each is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Picture {
    lines: BTreeMap<String, i64>,
    /// A sum over the lines, so that pictures are compared in no time.
    digest: u64,
}

impl Picture {
    pub(super) fn add(&mut self, line: &str, weight: i64) {
        let line = shortened(line);
        self.digest = self.digest.wrapping_add(hash(&line).wrapping_mul(weight.cast_unsigned()));
        match self.lines.entry(line) {
            Entry::Occupied(known) if *known.get() == -weight => drop(known.remove()),
            entry => *entry.or_default() += weight,
        }
    }

    pub(super) fn same(&self, other: &Picture) -> bool {
        self.digest == other.digest
    }

    /// What is here and not there, and the other way round; for people.
    pub(super) fn difference(&self, expected: &Picture) -> String {
        let mut text = String::new();
        for (line, count) in &self.lines {
            if expected.lines.get(line) != Some(count) {
                text += &format!("  is there:     {line} ({count}x)\n");
            }
        }
        for (line, count) in &expected.lines {
            if self.lines.get(line) != Some(count) {
                text += &format!("  should be:    {line} ({count}x)\n");
            }
        }
        text
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }
}

/// Large values would fill the memory and the screen.
fn shortened(line: &str) -> String {
    match line.char_indices().nth(300) {
        None => line.to_owned(),
        Some((at, _)) => format!("{}… {} bytes {:016x}", &line[..at], line.len(), hash(line)),
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// A row of the source as Postgres prints it.
pub(super) struct Row {
    /// Each column's text.
    pub(super) fields: Fields,
    /// `to_jsonb(row)::text`.
    pub(super) document: String,
    pub(super) score: Option<f64>,
}

pub(super) type Fields = BTreeMap<String, Option<String>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sink {
    Reporting,
    Cache,
    Search,
}

impl Sink {
    pub(super) fn name(self) -> &'static str {
        match self {
            Sink::Reporting => "reporting",
            Sink::Cache => "cache",
            Sink::Search => "search",
        }
    }
}

/// The lines that a row makes in a sink.
pub(super) fn lines(table: &Table, sink: Sink, row: &Row) -> Vec<String> {
    match sink {
        Sink::Reporting => vec![row_line(&row.fields)],
        Sink::Cache => table.redis.iter().filter_map(|target| entry(target, row)).collect(),
        Sink::Search => {
            let escaped = |name: &&str| {
                let text = row.fields[*name].as_deref().unwrap_or_default();
                text.replace('\\', "\\\\").replace('|', "\\|")
            };
            let id = table.key.iter().map(escaped).collect::<Vec<_>>().join("|");
            // An empty id is a dead letter.
            let line = (!id.is_empty()).then(|| document_line(&id, &row.document));
            line.into_iter().collect()
        }
    }
}

/// In Postgres.
pub(super) fn row_line(fields: &Fields) -> String {
    serde_json::to_string(fields).unwrap()
}

/// In Redis; NULL fields are none.
pub(super) fn hash_line<'a>(
    key: &str,
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let fields: BTreeMap<_, _> = fields.into_iter().collect();
    format!("hash {key} {}", serde_json::to_string(&fields).unwrap())
}

pub(super) fn string_line(key: &str, value: &str) -> String {
    format!("string {key} {value}")
}

pub(super) fn member_line(key: &str, member: &str) -> String {
    format!("set {key} {member}")
}

pub(super) fn score_line(key: &str, member: &str, score: f64) -> String {
    format!("zset {key} {member} {}", score + 0.0)
}

pub(super) fn document_line(id: &str, document: &str) -> String {
    format!("document {id} {document}")
}

/// `None` where a NULL makes that there is no entry.
fn entry(target: &Target, row: &Row) -> Option<String> {
    Some(match target {
        Target::Hash(key) => {
            let present = row.fields.iter();
            let present = present.filter_map(|(k, v)| Some((k.as_str(), v.as_deref()?)));
            hash_line(&filled(key, row)?, present)
        }
        Target::Json(key) => string_line(&filled(key, row)?, &row.document),
        Target::Set(key, member) => member_line(&filled(key, row)?, &filled(member, row)?),
        Target::SortedSet(key, member) => {
            score_line(&filled(key, row)?, &filled(member, row)?, row.score?)
        }
    })
}

/// A template with the row's texts.
fn filled(template: &str, row: &Row) -> Option<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, column)) = rest.split_once('{') {
        let (column, after) = column.split_once('}').expect("the templates here are closed");
        text += before;
        text += row.fields[column].as_deref()?;
        rest = after;
    }
    Some(text + rest)
}

/// The table whose template made this key of Redis.
pub(super) fn table_of_key<'t>(tables: &'t [Table], key: &str) -> Option<&'t Table> {
    let fixed = |target: &Target| {
        let (Target::Hash(key)
        | Target::Json(key)
        | Target::Set(key, _)
        | Target::SortedSet(key, _)) = target;
        key.split('{').next().unwrap_or_default()
    };
    let of = |table: &&Table| {
        let fitting = table.redis.iter().map(fixed).filter(|fixed| key.starts_with(fixed));
        fitting.map(str::len).max()
    };
    tables.iter().filter(|table| of(table).is_some()).max_by_key(of)
}
