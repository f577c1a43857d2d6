//! Rows into tables, all in about one round trip when all goes well. When a row is refused, the
//! transaction is done again with savepoints, and the batch is halved until the refused rows stand alone.

use tokio_postgres::Statement;

use super::connection::{Connection, Pipeline};
use super::encode::{Arrays, Texts, key_columns};
use super::error::{Class, Error, class, words};
use super::target::{Relation, Table};
use super::watermark::Watermarks;
use crate::engine::Entry;
use crate::sink::Poison;

/// Rows and bytes in one statement; the server holds them in memory a few times over.
const STATEMENT_ROWS_MAX: usize = 4096;
const STATEMENT_BYTES_MAX: usize = 8 << 20;

/// What one table gets of a transaction.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) table: &'a Table,
    pub(super) relation: &'a Relation,
    pub(super) entries: &'a [Entry],
}

/// How [`write`] stands in its transaction.
pub(super) struct Frame<'a> {
    first: &'static str,
    /// Back to where `first` had led.
    again: &'static str,
    watermarks: Option<&'a Watermarks>,
    last: Option<&'static str>,
}

impl<'a> Frame<'a> {
    /// It is the transaction.
    pub(super) fn whole(watermarks: Option<&'a Watermarks>) -> Self {
        Self { first: "BEGIN", again: "ROLLBACK; BEGIN", watermarks, last: Some("COMMIT") }
    }

    /// It begins one that goes on after it.
    pub(super) fn begin() -> Self {
        Self { first: "BEGIN", again: "ROLLBACK; BEGIN", watermarks: None, last: None }
    }

    /// It is part of one whose earlier work must not be lost when a row is refused.
    pub(super) fn within() -> Self {
        Self {
            first: "SAVEPOINT step",
            again: "ROLLBACK TO SAVEPOINT step",
            watermarks: None,
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

/// Whether rows meet a key to conflict with: a fill has none before its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Delete,
    Upsert,
    Insert,
}

/// The rows of one statement.
struct Batch<'a> {
    part: Part<'a>,
    verb: Verb,
    entries: Vec<&'a Entry>,
    arrays: Arrays,
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
    let (batches, unreadable) = batches(parts, rows_as);
    let mut statements = Vec::with_capacity(batches.len());
    for batch in &batches {
        statements.push(connection.statement(batch.sql()).await?);
    }
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
    frame.end(Pipeline::new(connection)).answers().await?;
    Ok(poison)
}

/// Finds the rows of a batch that are refused even alone.
async fn bisect(
    connection: &Connection,
    batch: &Batch<'_>,
    statement: &Statement,
    poison: &mut Vec<Poison>,
) -> Result<(), Error> {
    let mut pending = vec![batch.entries.as_slice()];
    let mut alone = Vec::new();
    while let Some(entries) = pending.pop() {
        if attempt(connection, statement, &batch.encode(entries)).await?.is_none() {
            continue;
        }
        if entries.len() == 1 {
            alone.extend(entries);
        } else {
            let (left, right) = entries.split_at(entries.len() / 2);
            pending.extend([right, left]);
        }
    }
    // Once more: what stood in its way (a value that its owner made unique) may have moved since.
    for &entry in &alone {
        if let Some(error) = attempt(connection, statement, &batch.encode(&[entry])).await? {
            let projection = batch.part.table.projection;
            poison.push(Poison { projection, entry: entry.clone(), error });
        }
    }
    Ok(())
}

/// The words with which the server refuses it, the transaction being as before.
async fn attempt(
    connection: &Connection,
    statement: &Statement,
    arrays: &Arrays,
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
    let mut texts = Texts::default();
    if texts.read(key_columns(part.table), entry.key()).is_err() {
        return Ok(None);
    }
    let mut arrays = Arrays::new(key_columns(part.table));
    arrays.push(&texts);
    let statement = connection.statement(&part.relation.delete).await?;
    attempt(connection, &statement, &arrays).await
}

/// Each part's tombstones and rows; also the rows whose bytes cannot be read.
fn batches<'a>(parts: &[Part<'a>], rows_as: Verb) -> (Vec<Batch<'a>>, Vec<Poison>) {
    let (mut batches, mut unreadable) = (Vec::new(), Vec::new());
    let mut texts = Texts::default();
    for &part in parts {
        for verb in [Verb::Delete, rows_as] {
            let mut batch = Batch::new(part, verb);
            let chosen = |entry: &&Entry| entry.is_tombstone() == (verb == Verb::Delete);
            for entry in part.entries.iter().filter(chosen) {
                if let Err(error) = batch.push(entry, &mut texts) {
                    let projection = part.table.projection;
                    let error = error.to_string();
                    unreadable.push(Poison { projection, entry: entry.clone(), error });
                }
                if batch.is_full() {
                    batches.push(std::mem::replace(&mut batch, Batch::new(part, verb)));
                }
            }
            if !batch.entries.is_empty() {
                batches.push(batch);
            }
        }
    }
    (batches, unreadable)
}

impl<'a> Batch<'a> {
    fn new(part: Part<'a>, verb: Verb) -> Self {
        let arrays = match verb {
            Verb::Delete => Arrays::new(key_columns(part.table)),
            Verb::Upsert | Verb::Insert => Arrays::new(part.table.columns.iter()),
        };
        Self { part, verb, entries: Vec::new(), arrays }
    }

    fn sql(&self) -> &'a str {
        match self.verb {
            Verb::Delete => &self.part.relation.delete,
            Verb::Upsert => &self.part.relation.upsert,
            Verb::Insert => &self.part.relation.insert,
        }
    }

    fn push(
        &mut self,
        entry: &'a Entry,
        texts: &mut Texts,
    ) -> Result<(), crate::value::ValueError> {
        match entry.value() {
            None => texts.read(key_columns(self.part.table), entry.key())?,
            Some(row) => texts.read(self.part.table.columns.iter(), row)?,
        }
        self.arrays.push(texts);
        self.entries.push(entry);
        Ok(())
    }

    /// Some of its entries, again.
    fn encode(&self, entries: &[&'a Entry]) -> Arrays {
        let mut batch = Batch::new(self.part, self.verb);
        let mut texts = Texts::default();
        for entry in entries {
            batch.push(entry, &mut texts).expect("it could be read before");
        }
        batch.arrays
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= STATEMENT_ROWS_MAX || self.arrays.bytes() >= STATEMENT_BYTES_MAX
    }
}
