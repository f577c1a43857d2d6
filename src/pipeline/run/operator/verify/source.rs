//! The query's answer on the source: read whole by a cursor, or for some keys.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::Definition;
use crate::engine::Entry;
use crate::lsn::Lsn;
use crate::pg::{self, Params, Session};
use crate::sink::SinkProjection;
use crate::source::APPLICATION_NAME;
use crate::source::load::{ParseWindowError, Window};
use crate::source::quote;
use crate::sql::query;
use crate::value::{self, Column, Type, ValueError};

/// As the planner of projections sees unqualified names. A cursor's plan is one for all of its rows.
const BEGIN: &str = "ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL search_path = public, pg_catalog; SET LOCAL cursor_tuple_fraction = 1;
    SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text";
/// Bytes of one portion's texts that are aimed at.
const PORTION_BYTES: usize = 4 << 20;

pub(super) struct Source {
    /// Two sessions: one holds the cursor while the other looks again at single rows.
    cursor: Session,
    single: Session,
    /// Without what may follow FROM's last item.
    select: String,
    columns: Vec<Column>,
    key: Vec<usize>,
    leniency: Leniency,
    /// Rows of the next portion.
    portion: usize,
}

/// What the source leaves open: which of equal values a group shows, the order of an aggregate's parts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leniency {
    /// A table's rows are what they are.
    None,
    Equal,
    /// The query builds texts of parts.
    EqualParts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Same,
    Other,
}

/// A transaction's snapshot.
pub(super) struct Begun {
    pub(super) window: Window,
    /// Nothing beyond it is in the snapshot.
    pub(super) lsn: Lsn,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Pg(#[from] pg::Error),
    #[error("the snapshot cannot be read")]
    Window(#[from] ParseWindowError),
    #[error("a row cannot be read")]
    Value(#[from] ValueError),
    #[error("the answer makes no sense")]
    Answer,
}

impl Source {
    pub(super) async fn connect(
        params: &Params,
        definition: &Definition,
        of: &SinkProjection,
    ) -> Result<Self, Error> {
        let cursor = pg::connect(params, APPLICATION_NAME).await?;
        let single = pg::connect(params, APPLICATION_NAME).await?;
        let names = quote::list(of.columns.iter(), |column| {
            format!("q.{}", quote::identifier(&column.name))
        });
        let (from, leniency) = match definition {
            Definition::Event(_) => return Err(Error::Answer),
            Definition::Table { schema, name, .. } => (
                format!("{}.{}", quote::identifier(schema), quote::identifier(name)),
                Leniency::None,
            ),
            Definition::Query { sql, .. } => {
                let builds_texts = sql.to_ascii_lowercase().contains("string_agg");
                let leniency = if builds_texts { Leniency::EqualParts } else { Leniency::Equal };
                (format!("({}\n)", query::without_end(sql)), leniency)
            }
        };
        Ok(Self {
            cursor,
            single,
            select: format!("SELECT {names} FROM {from} AS q"),
            columns: of.columns.to_vec(),
            key: of.key.clone(),
            leniency,
            portion: 100,
        })
    }

    /// Begins to read all rows.
    pub(super) async fn begin(&mut self) -> Result<Begun, Error> {
        let begun = begun(&self.cursor).await?;
        let declare = format!("DECLARE readside_verify NO SCROLL CURSOR FOR {}", self.select);
        self.cursor.rows(&declare).await?;
        Ok(begun)
    }

    /// The next rows, at most so many; `None` when there are no more.
    pub(super) async fn next(&mut self, rows_max: usize) -> Result<Option<Vec<Entry>>, Error> {
        let count = self.portion.min(rows_max);
        let rows = self.cursor.rows(&format!("FETCH {count} FROM readside_verify")).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let bytes: usize = rows.iter().flatten().flatten().map(String::len).sum();
        self.portion = match bytes {
            0 => rows_max,
            bytes => (PORTION_BYTES * rows.len() / bytes).clamp(1, rows_max),
        };
        let entries = rows.iter().map(|row| self.entry(row));
        entries.collect::<Result<_, _>>().map(Some)
    }

    pub(super) async fn end(&mut self) -> Result<(), Error> {
        self.cursor.rows("ROLLBACK").await?;
        Ok(())
    }

    /// What has ended at this moment.
    pub(super) async fn window(&self) -> Result<Window, Error> {
        let rows = self.single.rows("ROLLBACK; SELECT pg_current_snapshot()::text").await?;
        let text = rows.first().and_then(|row| row.first()?.as_ref());
        Ok(Window::parse(text.ok_or(Error::Answer)?)?)
    }

    /// Takes the snapshot that `rows` reads with.
    pub(super) async fn begin_rows(&self) -> Result<Begun, Error> {
        begun(&self.single).await
    }

    /// The rows under these keys.
    pub(super) async fn rows(&self, keys: &[Vec<u8>]) -> Result<BTreeMap<Vec<u8>, Entry>, Error> {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        // A superset, by conditions that reach into a grouped query: each column for itself.
        let mut conditions = Vec::new();
        for (number, &at) in self.key.iter().enumerate() {
            let column = &self.columns[at];
            let (mut texts, mut nulls) = (Vec::new(), false);
            for key in keys {
                match self.key_column(key, number)? {
                    None => nulls = true,
                    Some(text) => texts.push(quote::literal(&text)),
                }
            }
            texts.sort();
            texts.dedup();
            let name = format!("q.{}", quote::identifier(&column.name));
            let is_one = (!texts.is_empty()).then(|| format!("{name} IN ({})", texts.join(", ")));
            let is_null = nulls.then(|| format!("{name} IS NULL"));
            let any: Vec<String> = is_one.into_iter().chain(is_null).collect();
            conditions.push(format!("({})", any.join(" OR ")));
        }
        let mut sql = self.select.clone();
        if !conditions.is_empty() {
            sql.push_str(" WHERE ");
            sql.push_str(&conditions.join(" AND "));
        }
        let rows = self.single.rows(&sql).await?;
        let mut found = BTreeMap::new();
        for row in &rows {
            let entry = self.entry(row)?;
            found.insert(entry.key().to_vec(), entry);
        }
        found.retain(|key, _| keys.contains(key));
        Ok(found)
    }

    /// Whether a commit waits that others see already. Where the role may not see what others wait
    /// for, there is none to be seen.
    pub(super) async fn has_stuck_commits(&self) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' LIMIT 1";
        Ok(!self.single.rows(sql).await?.is_empty())
    }

    fn entry(&self, texts: &[Option<String>]) -> Result<Entry, Error> {
        let (mut row, mut ends) = (Vec::new(), vec![0]);
        if texts.len() != self.columns.len() {
            return Err(Error::Answer);
        }
        for (column, text) in self.columns.iter().zip(texts) {
            match text {
                None => value::encode_null(&mut row),
                Some(text) => value::encode(&column.ty, text.as_bytes(), &mut row)?,
            }
            ends.push(row.len());
        }
        let mut key = Vec::new();
        self.key.iter().for_each(|&at| key.extend_from_slice(&row[ends[at]..ends[at + 1]]));
        Ok(Entry::row(Lsn::ZERO, &key, &row))
    }

    fn key_column(&self, key: &[u8], number: usize) -> Result<Option<String>, Error> {
        let mut rest = key;
        for (at, &column) in self.key.iter().enumerate() {
            let ty = &self.columns[column].ty;
            let (datum, after) = rest.split_at(value::datum_len(ty, rest)?.min(rest.len()));
            rest = after;
            if at < number {
                continue;
            }
            if value::is_null(datum) {
                return Ok(None);
            }
            let mut text = Vec::new();
            value::write_text(ty, datum, &mut text)?;
            return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
        }
        Err(Error::Answer)
    }

    pub(super) fn key_text(&self, key: &[u8]) -> String {
        value::key_text(self.key.iter().map(|&at| &self.columns[at].ty), key)
    }

    /// Whether the state's row is an answer that the source might give as well as this one.
    pub(super) fn is_answered_by(&self, row: &Entry, known: Option<&Entry>) -> Answer {
        let (Some(row), Some(known)) = (row.value(), known.and_then(Entry::value)) else {
            return Answer::Other;
        };
        if row == known {
            return Answer::Same;
        }
        if self.leniency == Leniency::None {
            return Answer::Other;
        }
        let pairs = value::columns(&self.columns, row).zip(value::columns(&self.columns, known));
        let all = self.columns.iter().zip(pairs).all(|(column, pair)| match pair {
            (Ok(a), Ok(b)) => a == b || is_equal(&column.ty, a, b, self.leniency),
            _ => false,
        });
        if all { Answer::Same } else { Answer::Other }
    }
}

async fn begun(session: &Session) -> Result<Begun, Error> {
    let rows = session.rows(BEGIN).await?;
    let [Some(window), Some(lsn)] = rows.first().map(Vec::as_slice).unwrap_or_default() else {
        return Err(Error::Answer);
    };
    Ok(Begun { window: Window::parse(window)?, lsn: lsn.parse().map_err(|_| Error::Answer)? })
}

fn is_equal(ty: &Type, a: &[u8], b: &[u8], leniency: Leniency) -> bool {
    if value::is_null(a) || value::is_null(b) {
        return false;
    }
    let text = |datum: &[u8]| {
        let mut text = Vec::new();
        value::write_text(ty, datum, &mut text).ok().map(|()| text)
    };
    match ty {
        Type::Float4 | Type::Float8 => {
            let number = |datum: &[u8]| value::float_of(ty, datum).ok();
            match (number(a), number(b)) {
                (Some(a), Some(b)) => a == b || (a - b).abs() <= a.abs().max(b.abs()) * 1e-9,
                _ => false,
            }
        }
        Type::Json | Type::Jsonb => {
            let parts = |datum: &[u8]| {
                let value: Value = serde_json::from_slice(&text(datum)?).ok()?;
                Some(without_order(&value))
            };
            parts(a).is_some_and(|a| Some(a) == parts(b))
        }
        Type::Array(..) => sorted(text(a)) == sorted(text(b)),
        Type::Text if leniency == Leniency::EqualParts => sorted(text(a)) == sorted(text(b)),
        ty => match (value::order_part(ty, a), value::order_part(ty, b)) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        },
    }
}

/// The bytes of a text whose parts may stand in any order.
fn sorted(text: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut text = text?;
    text.sort_unstable();
    Some(text)
}

/// Arrays as sets of their parts, numbers by their values.
fn without_order(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let mut items: Vec<String> = items.iter().map(without_order).collect();
            items.sort();
            format!("[{}]", items.join(","))
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                format!("{}:{}", Value::from(name.as_str()), without_order(value))
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Number(number) => number.as_f64().map_or_else(String::new, |n| format!("{n:.9e}")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datum(ty: &Type, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        value::encode(ty, text.as_bytes(), &mut out).unwrap();
        out
    }

    #[test]
    fn what_the_source_leaves_open_is_equal() {
        let array = Type::Array(Box::new(Type::Int4), b',');
        for (ty, a, b, same) in [
            (Type::Numeric, "1.0", "1.00", true),
            (Type::Numeric, "1.0", "1.01", false),
            (Type::Float8, "0.1", "0.10000000000000002", true),
            (Type::Float8, "0.1", "0.2", false),
            (Type::Jsonb, r#"[{"a": 1}, 2]"#, r#"[2, {"a": 1.0}]"#, true),
            (Type::Jsonb, r#"[{"a": 1}, 2]"#, r#"[2, {"a": 2}]"#, false),
            (array.clone(), "{1,2}", "{2,1}", true),
            (array, "{1,2}", "{1,3}", false),
            (Type::Text, "a,b", "b,a", false),
        ] {
            let equal = is_equal(&ty, &datum(&ty, a), &datum(&ty, b), Leniency::Equal);
            assert_eq!(equal, same, "{a} {b}");
        }
        let ty = Type::Text;
        let (a, b) = (datum(&ty, "a,b"), datum(&ty, "b,a"));
        assert!(is_equal(&ty, &a, &b, Leniency::EqualParts));
    }
}
