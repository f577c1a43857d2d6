//! The first rows of a generation: COPY into a table beside the target, in transactions of their own on
//! a second connection, so that steps of other projections go on meanwhile.
//!
//! The fill's table bears a comment that says whose it is and how many calls have been committed to it:
//! so a call whose answer was lost is not done twice, and what a killed process left is known as ours.

use bytes::Bytes;
use futures_util::SinkExt;

use super::apply::{Frame, Part, Verb, write};
use super::connection::Connection;
use super::encode::CopyRows;
use super::error::{Class, Error, class, retryable, sink_error};
use super::sift;
use super::target::{FILL_PREFIX, Table, quote, quote_literal};
use crate::engine::Entry;
use crate::lsn::Lsn;
use crate::sink::{Outcome, Poison, SinkError, SinkProjection};

const COPY_BYTES: usize = 48 << 10;
/// A key is built by sorting: in memory it takes half the time. One build runs at a time.
const BUILD_MEMORY: &str = "
    SELECT set_config('maintenance_work_mem', '256MB', true)
      WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes('256MB')";

/// A fill that has begun and is not finished.
pub(super) struct Fill {
    owner: String,
    /// `fill` calls that have been answered.
    answered: u64,
    /// What the one after those comes to, from just before its commit until its answer.
    uncertain: Option<Outcome>,
    /// The newest row's.
    lsn: Lsn,
    has_key: bool,
    /// Found when keys and indexes were built, and not yet told.
    pub(super) refused: Vec<Poison>,
}

/// The beginning of the comment on our fills' tables.
pub(super) const MARK: &str = "Readside fills this table for ";

fn mark(owner: &str) -> String {
    format!("{MARK}{owner}: ")
}

fn comment(table: &Table, owner: &str, calls: u64) -> String {
    let text = quote_literal(&format!("{}{calls} calls", mark(owner)));
    format!("COMMENT ON TABLE {} IS {text}", table.fill.path)
}

/// Creates the fill's table, and the target's schema where it is missing.
pub(super) async fn begin(
    connection: &Connection,
    tables: &[&Table],
    owner: &str,
) -> Result<Fill, SinkError> {
    for table in tables {
        refuse_foreign(connection, table, owner).await?;
    }
    let failed = |error| sink_error("create the table of a fill", error);
    connection.batch("BEGIN").await.map_err(failed)?;
    for table in tables {
        create(connection, table, owner).await.map_err(failed)?;
    }
    connection.batch("COMMIT").await.map_err(failed)?;
    Ok(Fill {
        owner: owner.into(),
        answered: 0,
        uncertain: None,
        lsn: Lsn::ZERO,
        has_key: false,
        refused: Vec::new(),
    })
}

async fn create(connection: &Connection, table: &Table, owner: &str) -> Result<(), Error> {
    let sql = "SELECT FROM pg_namespace WHERE nspname = $1";
    if connection.session().query_opt(sql, &[&table.schema]).await?.is_none() {
        connection.batch(&format!("CREATE SCHEMA {}", quote(&table.schema))).await?;
    }
    connection.batch(&format!("DROP TABLE IF EXISTS {}", table.fill.path)).await?;
    connection.batch(&table.create("TABLE", &table.fill.path)).await?;
    connection.batch(&comment(table, owner, 0)).await
}

/// A table under the fill's name that somebody else has made is not dropped.
async fn refuse_foreign(
    connection: &Connection,
    table: &Table,
    owner: &str,
) -> Result<(), SinkError> {
    let found = comment_of(connection, table).await;
    match found.map_err(|e| sink_error("look for the table of a fill", e))? {
        None => Ok(()),
        Some(text) if text.starts_with(&mark(owner)) => Ok(()),
        Some(text) => Err(SinkError::Fatal {
            what: format!("{} exists and is not ours (its comment: {text:?})", table.fill.path),
            hint: format!(
                "another pipeline may be filling {}: choose another target, or type:\n\
                 DROP TABLE {};",
                table.shown, table.fill.path
            ),
        }),
    }
}

/// The comment on the fill's table; `None` without a table.
async fn comment_of(connection: &Connection, table: &Table) -> Result<Option<String>, Error> {
    let sql = "
        SELECT coalesce(obj_description(c.oid, 'pg_class'), '')
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2";
    let row = connection.session().query_opt(sql, &[&table.schema, &table.fill.name]).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Drops the tables of all fills of ours but those of `kept`. Of these, it answers which are still there.
pub(super) async fn drop_leftovers(
    connection: &Connection,
    owner: &str,
    kept: &[&Table],
) -> Result<Vec<bool>, Error> {
    let sql = "
        SELECT n.nspname::text, c.relname::text
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND starts_with(c.relname::text, $1)
        AND starts_with(obj_description(c.oid, 'pg_class'), $2)";
    let mut present = vec![false; kept.len()];
    for row in connection.session().query(sql, &[&FILL_PREFIX, &mark(owner)]).await? {
        let (schema, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        match kept.iter().position(|table| table.schema == schema && table.fill.name == name) {
            Some(position) => present[position] = true,
            None => {
                let path = format!("{}.{}", quote(&schema), quote(&name));
                connection.batch(&format!("DROP TABLE IF EXISTS {path}")).await?;
            }
        }
    }
    Ok(present)
}

impl Fill {
    pub(super) async fn rows(
        &mut self,
        connection: &mut Connection,
        tables: &[&Table],
        rows: &[Entry],
        projection: &str,
    ) -> Result<Outcome, SinkError> {
        let Some(&first) = tables.first() else { return Ok(Outcome::default()) };
        let failed = |error| sink_error("fill", error);
        if let Some(outcome) = self.uncertain.take() {
            let text = comment_of(connection, first).await.map_err(failed)?;
            let after = |calls: u64| Some(format!("{}{calls} calls", mark(&self.owner)));
            if text == after(self.answered + 1) {
                self.answered += 1;
                return Ok(outcome);
            }
            // The server has lost what it had answered.
            if text != after(self.answered) {
                return Err(lost(projection));
            }
        }
        let poison = self.insert(connection, tables, rows).await.map_err(failed)?;
        connection.batch(&comment(first, &self.owner, self.answered + 1)).await.map_err(failed)?;
        self.lsn = rows.iter().map(Entry::lsn).max().unwrap_or_default().max(self.lsn);
        let outcome = outcome(rows, poison);
        self.uncertain = Some(outcome.clone());
        connection.batch("COMMIT").await.map_err(failed)?;
        self.uncertain = None;
        self.answered += 1;
        Ok(outcome)
    }

    /// Begins a transaction in which the rows are. It need not wait for the disk: a fill that has lost
    /// rows has lost its connection, too, and begins again; what makes it complete waits for all before it.
    async fn insert(
        &self,
        connection: &mut Connection,
        tables: &[&Table],
        rows: &[Entry],
    ) -> Result<Vec<Poison>, Error> {
        connection.batch("BEGIN; SET LOCAL synchronous_commit = off").await?;
        match copy_all(connection, tables, rows).await {
            Ok(poison) => Ok(poison),
            Err(error) if class(&error) == Class::Row => {
                connection.batch("ROLLBACK").await?;
                let parts = parts(tables, rows);
                write(connection, &parts, Verb::Insert, Frame::begin()).await
            }
            Err(error) => Err(error),
        }
    }

    /// Builds keys and indexes.
    pub(super) async fn end(
        &mut self,
        connection: &Connection,
        tables: &[&Table],
        projection: &SinkProjection,
    ) -> Result<(), SinkError> {
        let failed = |error| sink_error("build the keys and indexes of a fill", error);
        for table in tables {
            if self.has_key || has_index(connection, table).await.map_err(failed)? {
                continue;
            }
            match build(connection, table).await {
                Ok(()) => {}
                Err(error) if class(&error) == Class::Row => {
                    connection.batch("ROLLBACK").await.map_err(failed)?;
                    let refused =
                        rebuild(connection, table, projection, &self.owner, self.lsn).await?;
                    self.refused.extend(refused);
                }
                Err(error) => return Err(failed(error)),
            }
        }
        self.has_key = true;
        Ok(())
    }

    pub(super) async fn amend(
        &mut self,
        connection: &mut Connection,
        tables: &[&Table],
        changes: &[Entry],
    ) -> Result<Outcome, SinkError> {
        let parts = parts(tables, changes);
        let poison = write(connection, &parts, Verb::Upsert, Frame::whole(None)).await;
        let mut outcome = outcome(changes, poison.map_err(|e| sink_error("amend a fill", e))?);
        outcome.poison.append(&mut self.refused);
        Ok(outcome)
    }

    /// Whether it can become what readers see.
    pub(super) fn is_complete(&self) -> bool {
        self.has_key
    }
}

pub(super) fn lost(projection: &str) -> SinkError {
    retryable(format!("the fill of {projection} is gone or not complete; it must begin again"))
}

fn parts<'a>(tables: &[&'a Table], entries: &'a [Entry]) -> Vec<Part<'a>> {
    tables.iter().map(|table| Part { table, relation: &table.fill, entries, times: &[] }).collect()
}

fn outcome(entries: &[Entry], poison: Vec<Poison>) -> Outcome {
    let (upserts, deletes) = counts(entries, poison.iter());
    Outcome { upserts, deletes, poison }
}

/// Rows and tombstones, less those refused.
pub(super) fn counts<'a>(
    entries: &[Entry],
    poison: impl Iterator<Item = &'a Poison> + Clone,
) -> (u64, u64) {
    let count = |tombstone| {
        let all = entries.iter().filter(|e| e.is_tombstone() == tombstone).count();
        let refused = poison.clone().filter(|p| p.entry.is_tombstone() == tombstone).count();
        all.saturating_sub(refused) as u64
    };
    (count(false), count(true))
}

async fn copy_all(
    connection: &mut Connection,
    tables: &[&Table],
    rows: &[Entry],
) -> Result<Vec<Poison>, Error> {
    let mut poison = Vec::new();
    for (number, table) in tables.iter().enumerate() {
        let unreadable = copy(connection, table, rows).await?;
        if number == 0 {
            // They are the same for every table of a projection.
            poison = unreadable;
        }
    }
    Ok(poison)
}

async fn copy(
    connection: &mut Connection,
    table: &Table,
    rows: &[Entry],
) -> Result<Vec<Poison>, Error> {
    let statement = connection.statement(&table.copy).await?;
    let sink = connection.session().copy_in::<_, Bytes>(&statement).await?;
    let mut sink = std::pin::pin!(sink);
    let mut poison = Vec::new();
    let mut copied = CopyRows::new(table);
    for entry in rows {
        if let Err(error) = copied.push(entry.value().unwrap_or_default()) {
            poison.push(Poison {
                projection: table.projection,
                entry: entry.clone(),
                error: error.to_string(),
            });
        }
        if copied.len() >= COPY_BYTES {
            sink.send(copied.take()).await?;
        }
    }
    sink.send(copied.finish()).await?;
    sink.finish().await?;
    Ok(poison)
}

async fn has_index(connection: &Connection, table: &Table) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass($1))";
    connection.session().query_one(sql, &[&table.fill.path]).await?.try_get(0)
}

async fn build(connection: &Connection, table: &Table) -> Result<(), Error> {
    connection.batch(&format!("BEGIN; {BUILD_MEMORY}")).await?;
    create_indexes(connection, table).await?;
    // The difference to the target, and the first readers, want statistics.
    connection.batch(&format!("ANALYZE {}; COMMIT", table.fill.path)).await
}

async fn create_indexes(connection: &Connection, table: &Table) -> Result<(), Error> {
    connection.batch(&table.create_key(&table.fill.path)).await?;
    for sql in table.create_indexes(&table.fill.path) {
        // As one statement, whatever the text holds.
        connection.session().execute(&sql, &[]).await?;
    }
    Ok(())
}

/// A key or an index cannot be built because of some rows: the table once more, without them.
async fn rebuild(
    connection: &Connection,
    table: &Table,
    projection: &SinkProjection,
    owner: &str,
    lsn: Lsn,
) -> Result<Vec<Poison>, SinkError> {
    let failed = |error| sink_error("build a fill without its refused rows", error);
    let (all, fill) = (format!("{}_all", table.fill.name), &table.fill.path);
    let all_path = format!("{}.{}", quote(&table.schema), quote(&all));
    let begin = format!("BEGIN; ALTER TABLE {fill} RENAME TO {}", quote(&all));
    connection.batch(&begin).await.map_err(failed)?;
    connection.batch(&table.create("TABLE", fill)).await.map_err(failed)?;
    create_indexes(connection, table).await.map_err(failed)?;
    let insert = |condition: &str| {
        format!("INSERT INTO {fill} SELECT * FROM {all_path} AS f WHERE {condition}")
    };
    let refused = sift::by_halves(connection, &all_path, insert).await.map_err(failed)?;
    let poison = sift::poison(connection, table, projection, &all_path, refused, lsn).await?;
    let comment = comment(table, owner, 0);
    let end = format!("{comment}; DROP TABLE {all_path}; ANALYZE {fill}; COMMIT");
    connection.batch(&end).await.map_err(failed)?;
    Ok(poison)
}
