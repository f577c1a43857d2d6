//! A Postgres table, row by row. Texts are compared, as both servers print them under the same settings.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::connection::Connection;
use super::error::sink_error;
use super::prepare;
use super::target::{Table, quote, quote_literal};
use crate::config::SinkConfig;
use crate::sink::audit::{Audit, Difference, Found, Kind, Part, Place, Subject, shown};
use crate::sink::{SinkError, SinkProjection};
use crate::value::{self, ValueError};

/// Rows of one FETCH of a scan.
const SCAN_ROWS: usize = 1_000;

pub struct PostgresAudit {
    connection: Connection,
    /// In a transaction of its own while it scans.
    scanner: Connection,
    projection: SinkProjection,
    tables: Vec<Table>,
    scan: Scan,
}

enum Scan {
    /// The next one to be begun.
    Before(usize),
    Within(usize),
}

/// See `Audit::Fix`.
#[derive(Clone)]
pub struct Fix {
    /// What to type: it does nothing to a row that has changed meanwhile.
    sql: String,
}

/// A row or a key by its columns' texts; `None` is NULL.
type Texts = Vec<Option<String>>;

impl PostgresAudit {
    pub async fn open(config: &SinkConfig, projection: &SinkProjection) -> Result<Self, SinkError> {
        let connection = Connection::open(config).await?;
        let scanner = Connection::open(config).await?;
        let tables = prepare::tables(&connection, std::slice::from_ref(projection)).await;
        let tables = tables.map_err(|e| sink_error("look up the columns' types", e))?;
        Ok(Self {
            connection,
            scanner,
            projection: projection.clone(),
            tables,
            scan: Scan::Before(0),
        })
    }

    async fn rows(connection: &Connection, sql: &str) -> Result<Vec<Texts>, SinkError> {
        connection.session().rows(sql).await.map_err(|error| SinkError::Retryable {
            what: "cannot read what is to be compared".to_owned(),
            source: Some(Box::new(error)),
        })
    }

    /// The rows under these keys, each with its whole text behind its columns.
    async fn present(
        &self,
        table: &Table,
        keys: &[Texts],
    ) -> Result<BTreeMap<Texts, Texts>, SinkError> {
        let columns: Vec<String> =
            table.columns.iter().map(|column| format!("t.{}", quote(&column.name))).collect();
        let any: Vec<String> = keys.iter().map(|key| is_key(table, key)).collect();
        let sql = format!(
            "SELECT {}, t::text FROM {} AS t WHERE {}",
            columns.join(", "),
            table.live.path,
            any.join(" OR ")
        );
        let rows = Self::rows(&self.connection, &sql).await?;
        let keyed = |row: Texts| (table.key.iter().map(|&at| row[at].clone()).collect(), row);
        Ok(rows.into_iter().map(keyed).collect())
    }
}

impl Audit for PostgresAudit {
    type Fix = Fix;

    async fn compare(&mut self, subjects: &[Subject]) -> Result<Vec<Difference<Fix>>, SinkError> {
        let mut differences = Vec::new();
        if subjects.is_empty() {
            return Ok(differences);
        }
        let keys = subjects.iter().map(|subject| self.key_texts(&subject.key));
        let keys: Vec<Texts> = keys.collect::<Result<_, _>>().map_err(unreadable)?;
        for table in &self.tables {
            let mut present = self.present(table, &keys).await?;
            for (at, (subject, key)) in subjects.iter().zip(&keys).enumerate() {
                let found = present.remove(key);
                let expected = subject.row.as_ref().and_then(|row| row.value());
                let expected =
                    expected.map(|row| self.texts(row)).transpose().map_err(unreadable)?;
                let difference = |kind, parts, sql| Difference {
                    subject: at,
                    kind,
                    place: format!("table {}", table.shown),
                    parts,
                    fix: Fix { sql },
                };
                match (expected, found) {
                    (None, None) => {}
                    (Some(row), None) => {
                        differences.push(difference(
                            Kind::Missing,
                            Vec::new(),
                            insert(table, &row),
                        ));
                    }
                    (None, Some(found)) => {
                        let sql = format!(
                            "DELETE FROM {} AS t WHERE {}",
                            table.live.path,
                            is(table, key, &found)
                        );
                        differences.push(difference(Kind::Extra, Vec::new(), sql));
                    }
                    (Some(row), Some(found)) => {
                        let parts = parts(table, &row, &found);
                        if !parts.is_empty() {
                            let sql = update(table, &row, key, &found);
                            differences.push(difference(Kind::Different, parts, sql));
                        }
                    }
                }
            }
        }
        Ok(differences)
    }

    fn begin_scan(&mut self) {
        self.scan = Scan::Before(0);
    }

    async fn scan(&mut self) -> Result<Option<Vec<Found>>, SinkError> {
        let at = match self.scan {
            Scan::Before(at) => {
                let Some(table) = self.tables.get(at) else { return Ok(None) };
                let names: Vec<String> =
                    table.key.iter().map(|&at| quote(&table.columns[at].name)).collect();
                let names = if names.is_empty() { "1".to_owned() } else { names.join(", ") };
                let sql = format!(
                    "BEGIN READ ONLY; SET LOCAL enable_seqscan = on;
                     DECLARE readside_scan NO SCROLL CURSOR FOR SELECT {names} FROM {}",
                    table.live.path
                );
                Self::rows(&self.scanner, &sql).await?;
                self.scan = Scan::Within(at);
                at
            }
            Scan::Within(at) => at,
        };
        let rows =
            Self::rows(&self.scanner, &format!("FETCH {SCAN_ROWS} FROM readside_scan")).await?;
        if rows.len() < SCAN_ROWS {
            Self::rows(&self.scanner, "COMMIT").await?;
            self.scan = Scan::Before(at + 1);
        }
        let place = Place { target: at, at: Vec::new(), member: Vec::new() };
        let found = rows.iter().map(|row| Found { key: self.key_bytes(row), place: place.clone() });
        Ok(Some(found.collect()))
    }

    async fn mend(&mut self, fix: &Fix) -> Result<bool, SinkError> {
        let done = self.connection.session().execute(&fix.sql, &[]).await;
        done.map(|rows| rows > 0).map_err(|error| sink_error("put a row right", error))
    }
}

impl PostgresAudit {
    fn key_texts(&self, key: &[u8]) -> Result<Texts, ValueError> {
        let types = self.projection.key.iter().map(|&at| &self.projection.columns[at].ty);
        texts(types, key)
    }

    fn texts(&self, row: &[u8]) -> Result<Texts, ValueError> {
        texts(self.projection.columns.iter().map(|column| &column.ty), row)
    }

    fn key_bytes(&self, row: &Texts) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for (&at, text) in self.projection.key.iter().zip(row) {
            match text {
                None => value::encode_null(&mut bytes),
                Some(text) => {
                    let ty = &self.projection.columns[at].ty;
                    value::encode(ty, text.as_bytes(), &mut bytes).ok()?;
                }
            }
        }
        Some(bytes)
    }
}

fn texts<'t>(
    types: impl Iterator<Item = &'t value::Type>,
    mut datums: &[u8],
) -> Result<Texts, ValueError> {
    let mut texts = Vec::new();
    for ty in types {
        let (datum, rest) = datums.split_at(value::datum_len(ty, datums)?.min(datums.len()));
        datums = rest;
        if value::is_null(datum) {
            texts.push(None);
            continue;
        }
        let mut text = Vec::new();
        value::write_text(ty, datum, &mut text)?;
        texts.push(Some(String::from_utf8_lossy(&text).into_owned()));
    }
    Ok(texts)
}

fn unreadable(error: ValueError) -> SinkError {
    SinkError::Retryable { what: "a row cannot be read".to_owned(), source: Some(Box::new(error)) }
}

/// Equality that an index finds, and the very text, where equal values may print differently.
fn is_key(table: &Table, key: &Texts) -> String {
    let mut condition = String::from("(true");
    for (&at, text) in table.key.iter().zip(key) {
        let column = &table.columns[at];
        let name = quote(&column.name);
        // Writing to a String cannot fail.
        let _ = match text {
            None => write!(condition, " AND t.{name} IS NULL"),
            Some(text) => {
                let base = &column.stored.base;
                write!(condition, " AND t.{name} = {}::{base}", quote_literal(text))
            }
        };
    }
    condition + ")"
}

/// The row that was found, and nothing else.
fn is(table: &Table, key: &Texts, found: &Texts) -> String {
    let whole = found.last().cloned().flatten().unwrap_or_default();
    format!("{} AND t::text = {}", is_key(table, key), quote_literal(&whole))
}

fn parts(table: &Table, expected: &Texts, found: &Texts) -> Vec<Part> {
    let pairs = table.columns.iter().zip(expected.iter().zip(found));
    let different = pairs.filter(|(_, (expected, found))| expected != found);
    let text = |text: &Option<String>| text.as_ref().map(|text| shown(text.as_bytes()));
    different
        .map(|(column, (expected, found))| Part {
            name: column.name.clone(),
            expected: text(expected),
            found: text(found),
        })
        .collect()
}

fn literal(text: &Option<String>, base: &str) -> String {
    match text {
        None => "NULL".to_owned(),
        Some(text) => format!("{}::{base}", quote_literal(text)),
    }
}

fn insert(table: &Table, row: &Texts) -> String {
    let names: Vec<String> = table.columns.iter().map(|column| quote(&column.name)).collect();
    let values = table.columns.iter().zip(row);
    let values: Vec<String> = values.map(|(c, text)| literal(text, &c.stored.base)).collect();
    format!(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING",
        table.live.path,
        names.join(", "),
        values.join(", ")
    )
}

fn update(table: &Table, row: &Texts, key: &Texts, found: &Texts) -> String {
    let set = table.columns.iter().zip(row).map(|(column, text)| {
        format!("{} = {}", quote(&column.name), literal(text, &column.stored.base))
    });
    format!(
        "UPDATE {} AS t SET {} WHERE {}",
        table.live.path,
        set.collect::<Vec<_>>().join(", "),
        is(table, key, found)
    )
}
