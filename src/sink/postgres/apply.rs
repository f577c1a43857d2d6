//! Rows into tables, all in about one round trip when all goes well. When a row is refused, the
//! transaction is done again with savepoints, and the batch is halved until the refused rows stand alone.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Statement;
use tokio_postgres::types::Type as SqlType;

use super::connection::{Connection, Pipeline};
use super::encode::{Arrays, key_columns};
use super::error::{Class, Error, class, words};
use super::refused;
use super::target::{Relation, Table};
use super::watermark::Watermarks;
use crate::engine::Entry;
use crate::sink::{Poison, Refusal, SinkProjection};
use crate::value::ValueError;

/// Rows and bytes in one statement; the server holds them in memory a few times over.
const STATEMENT_ROWS_MAX: usize = 4096;
const STATEMENT_BYTES_MAX: usize = 8 << 20;

/// What one table gets of a transaction.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) table: &'a Table,
    pub(super) relation: &'a Relation,
    pub(super) entries: &'a [Entry],
    /// Where a history is kept: when each entry was committed. A key may have several entries then.
    pub(super) times: &'a [i64],
}

/// How [`write`] stands in its transaction.
pub(super) struct Frame<'a> {
    first: &'static str,
    /// Back to where `first` had led.
    again: &'static str,
    watermarks: Option<&'a Watermarks>,
    /// What is refused is written, too.
    remembers: Option<&'a [SinkProjection]>,
    last: Option<&'static str>,
}

impl<'a> Frame<'a> {
    /// It is the transaction.
    pub(super) fn whole(watermarks: Option<&'a Watermarks>) -> Self {
        Self {
            first: "BEGIN",
            again: "ROLLBACK; BEGIN",
            watermarks,
            remembers: None,
            last: Some("COMMIT"),
        }
    }

    /// Of a group's leader: the next one has to know what is refused.
    pub(super) fn remembering(self, projections: &'a [SinkProjection]) -> Self {
        Self { remembers: Some(projections), ..self }
    }

    /// It begins one that goes on after it.
    pub(super) fn begin() -> Self {
        Self {
            first: "BEGIN",
            again: "ROLLBACK; BEGIN",
            watermarks: None,
            remembers: None,
            last: None,
        }
    }

    /// It is part of one whose earlier work must not be lost when a row is refused.
    pub(super) fn within() -> Self {
        Self {
            first: "SAVEPOINT step",
            again: "ROLLBACK TO SAVEPOINT step",
            watermarks: None,
            remembers: None,
            last: Some("RELEASE SAVEPOINT step"),
        }
    }

    fn end<'p>(&'p self, mut pipeline: Pipeline<'p>) -> Pipeline<'p> {
        if let Some(watermarks) = self.watermarks {
            pipeline = watermarks.write(pipeline);
        }
        match self.last {
            Some(last) => pipeline.batch(last),
            None => pipeline,
        }
    }
}

/// Whether rows meet a key to conflict with: a fill has none before its end, and a row that is the first under its key
/// should meet none. To insert without looking for one costs the server half of what it costs with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Delete,
    Upsert,
    Insert,
    /// Of a history: the open version of a key ends.
    Close,
    /// Of a history: a version, which nobody should have written yet.
    Remember,
    /// The same of one that may be there: the answer to it was lost.
    RememberAgain,
}

/// The rows of one statement.
struct Batch<'a> {
    part: Part<'a>,
    verb: Verb,
    items: Vec<Item<'a>>,
    arrays: Arrays<'a>,
}

/// A row of a statement; of a history also from when to when it is the current one.
#[derive(Clone, Copy)]
struct Item<'a> {
    entry: &'a Entry,
    from: i64,
    to: Option<i64>,
}

impl<'a> Item<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self { entry, from: 0, to: None }
    }
}

/// Writes the entries of all parts: tombstones first, since a key that goes from 1.0 to 1.00 is both
/// deleted and written. The rows refused for good come back; their older versions are gone from all
/// parts of their projection.
pub(super) async fn write(
    connection: &mut Connection,
    parts: &[Part<'_>],
    rows_as: Verb,
    frame: Frame<'_>,
) -> Result<Vec<Poison>, Error> {
    let (mut batches, unreadable) = batches(parts, rows_as);
    let mut statements = statements(connection, &batches).await?;
    if unreadable.is_empty() {
        let mut pipeline = Pipeline::new(connection).batch(frame.first);
        for (batch, statement) in std::iter::zip(&batches, &statements) {
            pipeline = pipeline.execute(statement, batch.arrays.params());
        }
        match frame.end(pipeline).answers().await {
            Ok(()) => return Ok(Vec::new()),
            Err(error) if class(&error) != Class::Row => return Err(error),
            Err(_) => connection.batch(frame.again).await?,
        }
    } else {
        connection.batch(frame.first).await?;
    }

    // A row that was taken for the first under its key may have met one that somebody else wrote, a version itself.
    if rows_as == Verb::Upsert {
        for batch in &mut batches {
            batch.verb = match batch.verb {
                Verb::Insert => Verb::Upsert,
                Verb::Remember => Verb::RememberAgain,
                verb => verb,
            };
        }
        statements = self::statements(connection, &batches).await?;
    }
    // Whatever a constraint has to say is to be said at the row, not at the commit.
    connection.batch("SET CONSTRAINTS ALL IMMEDIATE").await?;
    let mut poison = unreadable;
    for (batch, statement) in std::iter::zip(&batches, &statements) {
        bisect(connection, batch, statement, &mut poison).await?;
    }
    for refused in poison.iter_mut().filter(|refused| !refused.entry.is_tombstone()) {
        for part in parts.iter().filter(|part| part.table.projection == refused.projection) {
            if let Some(error) = remove(connection, part, &refused.entry).await? {
                refused.error.push_str("; and its older version could not be removed: ");
                refused.error.push_str(&error);
            }
        }
    }
    if let Some(projections) = frame.remembers {
        let role = |poison: &Poison| projections[poison.projection].role;
        let refusals = poison.iter().map(|poison| Refusal::of(poison, role(poison)));
        let refusals: Vec<Refusal> = refusals.collect();
        refused::write(connection, projections, refusals.iter()).await?;
    }
    frame.end(Pipeline::new(connection)).answers().await?;
    Ok(poison)
}

async fn statements(
    connection: &mut Connection,
    batches: &[Batch<'_>],
) -> Result<Vec<Statement>, Error> {
    let mut statements = Vec::with_capacity(batches.len());
    for batch in batches {
        statements.push(connection.statement(batch.sql()).await?);
    }
    Ok(statements)
}

/// Finds the rows of a batch that are refused even alone.
async fn bisect(
    connection: &Connection,
    batch: &Batch<'_>,
    statement: &Statement,
    poison: &mut Vec<Poison>,
) -> Result<(), Error> {
    let mut pending = vec![batch.items.as_slice()];
    let mut alone = Vec::new();
    while let Some(items) = pending.pop() {
        if attempt(connection, statement, &batch.encode(items)).await?.is_none() {
            continue;
        }
        if items.len() == 1 {
            alone.extend(items);
        } else {
            let (left, right) = items.split_at(items.len() / 2);
            pending.extend([right, left]);
        }
    }
    // Once more: what stood in its way (a value that its owner made unique) may have moved since.
    for &item in &alone {
        if let Some(error) = attempt(connection, statement, &batch.encode(&[item])).await? {
            let projection = batch.part.table.projection;
            let entry = item.entry.clone();
            // The history refuses what the table has refused.
            let same = |known: &Poison| {
                (known.projection, known.entry.lsn(), known.entry.key())
                    == (projection, entry.lsn(), entry.key())
            };
            if !poison.iter().any(same) {
                poison.push(Poison { projection, entry, error });
            }
        }
    }
    Ok(())
}

/// The words with which the server refuses it, the transaction being as before.
async fn attempt(
    connection: &Connection,
    statement: &Statement,
    arrays: &Arrays<'_>,
) -> Result<Option<String>, Error> {
    let answers = Pipeline::new(connection)
        .batch("SAVEPOINT attempt")
        .execute(statement, arrays.params())
        .batch("RELEASE SAVEPOINT attempt")
        .answers();
    match answers.await {
        Ok(()) => Ok(None),
        Err(error) if class(&error) == Class::Row => {
            connection.batch("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt").await?;
            Ok(Some(words(&error)))
        }
        Err(error) => Err(error),
    }
}

/// Removes the row under an entry's key, if the key can be read at all: under another there is no row.
async fn remove(
    connection: &mut Connection,
    part: &Part<'_>,
    entry: &Entry,
) -> Result<Option<String>, Error> {
    let mut arrays = Arrays::new(key_columns(part.table));
    if arrays.push(entry.key(), &[]).is_err() {
        return Ok(None);
    }
    let statement = connection.statement(&part.relation.delete).await?;
    attempt(connection, &statement, &arrays).await
}

/// Each part's tombstones and rows; also the rows whose bytes cannot be read.
fn batches<'a>(parts: &[Part<'a>], rows_as: Verb) -> (Vec<Batch<'a>>, Vec<Poison>) {
    let mut made = Made::default();
    for &part in parts {
        let entries = last_of_each(part);
        let verb_of = |entry: &Entry| match rows_as {
            _ if entry.is_tombstone() => Verb::Delete,
            Verb::Upsert if entry.is_first() => Verb::Insert,
            _ => rows_as,
        };
        // Values that somebody made unique leave the rows that had them before they come to new ones.
        for verb in [Verb::Delete, Verb::Upsert, Verb::Insert] {
            let chosen = entries.iter().filter(|entry| verb_of(entry) == verb);
            made.add(part, verb, chosen.copied().map(Item::of));
        }
        if !part.times.is_empty() && part.table.history.is_some() {
            let (closed, versions) = versions(part);
            made.add(part, Verb::Close, closed.into_iter());
            made.add(part, Verb::Remember, versions.into_iter());
        }
    }
    (made.batches, made.unreadable)
}

#[derive(Default)]
struct Made<'a> {
    batches: Vec<Batch<'a>>,
    unreadable: Vec<Poison>,
}

impl<'a> Made<'a> {
    fn add(&mut self, part: Part<'a>, verb: Verb, items: impl Iterator<Item = Item<'a>>) {
        let mut batch = Batch::new(part, verb);
        for item in items {
            if let Err(error) = batch.push(item) {
                let projection = part.table.projection;
                let (entry, error) = (item.entry.clone(), error.to_string());
                let known = |known: &Poison| known.entry.key() == entry.key();
                if !self.unreadable.iter().any(known) {
                    self.unreadable.push(Poison { projection, entry, error });
                }
            }
            if batch.is_full() {
                self.batches.push(std::mem::replace(&mut batch, Batch::new(part, verb)));
            }
        }
        if !batch.items.is_empty() {
            self.batches.push(batch);
        }
    }
}

/// A table has of each key what came last.
fn last_of_each(part: Part<'_>) -> Vec<&Entry> {
    if part.times.is_empty() {
        return part.entries.iter().collect();
    }
    let mut seen = HashSet::new();
    let mut last: Vec<&Entry> =
        part.entries.iter().rev().filter(|entry| seen.insert(entry.key())).collect();
    last.reverse();
    last
}

/// What a history gets: the first entry of each key ends what is open, unless nothing is, and each row goes on until
/// the next entry of its key.
fn versions(part: Part<'_>) -> (Vec<Item<'_>>, Vec<Item<'_>>) {
    let mut next: HashMap<&[u8], i64> = HashMap::new();
    let mut rows = Vec::new();
    for (entry, &from) in std::iter::zip(part.entries, part.times).rev() {
        let to = next.insert(entry.key(), from);
        if !entry.is_tombstone() {
            rows.push(Item { entry, from, to });
        }
    }
    rows.reverse();
    let mut seen = HashSet::new();
    let entries = std::iter::zip(part.entries, part.times);
    let first = entries.filter(|(entry, _)| seen.insert(entry.key()));
    let closing = first.filter(|(entry, _)| !entry.is_first());
    (closing.map(|(entry, &from)| Item { entry, from, to: None }).collect(), rows)
}

impl<'a> Batch<'a> {
    fn new(part: Part<'a>, verb: Verb) -> Self {
        let arrays = match verb {
            Verb::Delete => Arrays::new(key_columns(part.table)),
            Verb::Upsert | Verb::Insert => Arrays::new(part.table.columns.iter()),
            Verb::Close => {
                Arrays::new(key_columns(part.table)).with(&[SqlType::TIMESTAMPTZ, SqlType::PG_LSN])
            }
            Verb::Remember | Verb::RememberAgain => {
                let more = [SqlType::TIMESTAMPTZ, SqlType::TIMESTAMPTZ, SqlType::PG_LSN];
                Arrays::new(part.table.columns.iter()).with(&more)
            }
        };
        Self { part, verb, items: Vec::new(), arrays }
    }

    fn sql(&self) -> &'a str {
        let history = self.part.table.history.as_deref();
        match self.verb {
            Verb::Delete => &self.part.relation.delete,
            Verb::Upsert => &self.part.relation.upsert,
            Verb::Insert => &self.part.relation.insert,
            Verb::Close => history.map_or("", |history| &history.close),
            Verb::Remember => history.map_or("", |history| &history.insert),
            Verb::RememberAgain => history.map_or("", |history| &history.insert_again),
        }
    }

    fn push(&mut self, item: Item<'a>) -> Result<(), ValueError> {
        let Item { entry, from, to } = item;
        let lsn = Some(entry.lsn().0.to_be_bytes());
        let (from, to) = (Some(from.to_be_bytes()), to.map(i64::to_be_bytes));
        let row = entry.value().unwrap_or(entry.key());
        match self.verb {
            Verb::Delete | Verb::Upsert | Verb::Insert => self.arrays.push(row, &[])?,
            Verb::Close => self.arrays.push(entry.key(), &[from, lsn])?,
            Verb::Remember | Verb::RememberAgain => self.arrays.push(row, &[from, to, lsn])?,
        }
        self.items.push(item);
        Ok(())
    }

    /// Some of its rows, again.
    fn encode(&self, items: &[Item<'a>]) -> Arrays<'a> {
        let mut batch = Batch::new(self.part, self.verb);
        for &item in items {
            batch.push(item).expect("it could be read before");
        }
        batch.arrays
    }

    fn is_full(&self) -> bool {
        self.items.len() >= STATEMENT_ROWS_MAX || self.arrays.bytes() >= STATEMENT_BYTES_MAX
    }
}
