//! The Postgres sink against a real server, called as delivery calls it. A second database of the same
//! server plays the source: it describes queries and answers them.

mod checks;
mod faults;
mod fills;
mod lead;
mod steps;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use readside::config::{Place, PostgresTarget, Secret, SinkConfig, SinkKind, Target};
use readside::engine::{Arrangement, Entry};
use readside::lsn::Lsn;
use readside::sink::postgres::PostgresSink;
use readside::sink::{
    Outcome, Role, Sink, SinkError, SinkProjection, Step, StepProjection, Watermark,
};
use readside::value::{self, Column, PgType};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::harness::{Postgres, PostgresOptions};

const OWNER: &str = "7123456789/readside";

/// A server with a database for each end.
struct World {
    server: Postgres,
    source: Client,
    database: String,
}

impl World {
    async fn start() -> World {
        let server = Postgres::start(&PostgresOptions::default()).await;
        let source = server.client(&server.new_database().await).await;
        let settings =
            "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'";
        source.batch_execute(settings).await.unwrap();
        let database = server.new_database().await;
        World { server, source, database }
    }

    /// A connection to the sink's database.
    async fn reader(&self) -> Client {
        let client = self.server.client(&self.database).await;
        client.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
        client
    }

    fn config(&self) -> SinkConfig {
        config(self.server.url(&self.database))
    }

    fn sink(&self, projections: &[SinkProjection]) -> PostgresSink {
        PostgresSink::new(&self.config(), OWNER.into(), projections.to_vec())
    }

    /// The projection of a query under this key, into a table of the same name.
    async fn projection(&self, name: &str, key: &[&str], query: &str) -> SinkProjection {
        let view = format!("CREATE OR REPLACE TEMP VIEW described AS {query}");
        self.source.batch_execute("DROP VIEW IF EXISTS described").await.unwrap();
        self.source.batch_execute(&view).await.unwrap();
        let types = types(&self.source).await;
        let sql = "SELECT attname::text, atttypid, atttypmod, format_type(atttypid, atttypmod) \
                   FROM pg_attribute WHERE attrelid = 'described'::regclass ORDER BY attnum";
        let columns = self.source.query(sql, &[]).await.unwrap();
        let columns: Arc<[Column]> = columns
            .iter()
            .map(|row| Column {
                not_null: key.contains(&row.get(0)),
                name: row.get(0),
                ty: value::resolve(row.get(1), &types),
                sql_type: row.get(3),
                type_oid: row.get(1),
                typmod: row.get(2),
            })
            .collect();
        let position = |name: &&str| columns.iter().position(|c| c.name == *name).unwrap();
        SinkProjection {
            shapes: Vec::new(),
            name: name.into(),
            role: Role::Rows,
            key: key.iter().map(position).collect(),
            targets: vec![target("public", name, &[])],
            fingerprint: format!("{query} {key:?}"),
            columns,
        }
    }

    /// What a query on the source answers, as rows of the projection.
    async fn rows(&self, projection: &SinkProjection, query: &str, lsn: u64) -> Vec<Entry> {
        let answer = self.source.simple_query(query).await.unwrap();
        let mut entries = Vec::new();
        for message in answer {
            if let SimpleQueryMessage::Row(row) = message {
                let texts: Vec<Option<&str>> = (0..row.len()).map(|i| row.get(i)).collect();
                entries.push(row_of(projection, &texts, lsn));
            }
        }
        entries
    }
}

fn config(url: String) -> SinkConfig {
    SinkConfig {
        name: "reporting".into(),
        kind: SinkKind::Postgres,
        url: Secret::new(url),
        ca_file: None,
        username: None,
        password: None,
        api_key: None,
        step_rows: 100_000,
        max_lag: Duration::from_secs(30),
        required: true,
        place: Place::default(),
    }
}

fn target(schema: &str, table: &str, indexes: &[&str]) -> Target {
    Target::Postgres(PostgresTarget {
        schema: schema.into(),
        table: table.into(),
        indexes: indexes.iter().map(|text| text.to_string()).collect(),
        history: None,
        place: Place::default(),
    })
}

async fn types(client: &Client) -> HashMap<u32, PgType> {
    let sql = "
        SELECT t.oid, n.nspname::text, t.typname::text, t.typtype, t.typcategory, t.typelem,
            t.typbasetype, t.typdelim,
            array(SELECT a.attname::text FROM pg_attribute a
                WHERE a.attrelid = t.typrelid AND attnum > 0 ORDER BY attnum),
            array(SELECT a.atttypid FROM pg_attribute a
                WHERE a.attrelid = t.typrelid AND attnum > 0 ORDER BY attnum)
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace";
    let byte = |row: &tokio_postgres::Row, i: usize| row.get::<_, i8>(i).cast_unsigned();
    let rows = client.query(sql, &[]).await.unwrap();
    let ty = |row: &tokio_postgres::Row| PgType {
        oid: row.get(0),
        schema: row.get(1),
        name: row.get(2),
        typtype: byte(row, 3),
        category: byte(row, 4),
        elem: row.get(5),
        base: row.get(6),
        delim: byte(row, 7),
        attributes: std::iter::zip(row.get::<_, Vec<String>>(8), row.get::<_, Vec<u32>>(9))
            .collect(),
    };
    rows.iter().map(|row| (row.get(0), ty(row))).collect()
}

fn encode(column: &Column, text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        None => value::encode_null(out),
        Some(text) => value::encode(&column.ty, text.as_bytes(), out).unwrap(),
    }
}

fn key_of(projection: &SinkProjection, texts: &[Option<&str>]) -> Vec<u8> {
    let mut key = Vec::new();
    for (&position, text) in std::iter::zip(&projection.key, texts) {
        encode(&projection.columns[position], *text, &mut key);
    }
    key
}

/// From all columns' texts.
fn row_of(projection: &SinkProjection, texts: &[Option<&str>], lsn: u64) -> Entry {
    let key: Vec<Option<&str>> = projection.key.iter().map(|&position| texts[position]).collect();
    let mut row = Vec::new();
    for (column, text) in std::iter::zip(projection.columns.iter(), texts) {
        encode(column, *text, &mut row);
    }
    Entry::row(Lsn(lsn), &key_of(projection, &key), &row)
}

fn row(projection: &SinkProjection, texts: &[&str], lsn: u64) -> Entry {
    let texts: Vec<Option<&str>> = texts.iter().copied().map(Some).collect();
    row_of(projection, &texts, lsn)
}

fn tombstone(projection: &SinkProjection, key: &[&str], lsn: u64) -> Entry {
    let key: Vec<Option<&str>> = key.iter().copied().map(Some).collect();
    Entry::tombstone(Lsn(lsn), &key_of(projection, &key))
}

/// A settled step at this position.
fn step(position: u64, projections: Vec<(usize, Vec<Entry>)>) -> Step {
    let part = |(projection, entries)| StepProjection {
        times: Vec::new(),
        projection,
        entries,
        generation: 1,
        finish_fill: false,
    };
    Step {
        projections: projections.into_iter().map(part).collect(),
        position: Lsn(position),
        reaching: Lsn(position),
        committed_at: 1_000_000 * i64::try_from(position).unwrap(),
        settled: true,
    }
}

fn unsettled(mut step: Step) -> Step {
    step.settled = false;
    step
}

fn finishing(position: u64, projections: Vec<(usize, Vec<Entry>)>, generation: u64) -> Step {
    let mut step = step(position, projections);
    for part in &mut step.projections {
        part.finish_fill = true;
        part.generation = generation;
    }
    step
}

/// A whole fill, up to its finish at this position.
async fn fill(
    sink: &mut PostgresSink,
    projection: usize,
    rows: &[Entry],
    position: u64,
    generation: u64,
) -> Result<Outcome, SinkError> {
    sink.begin_fill(projection, generation).await?;
    let mut all = sink.fill(projection, rows).await?;
    sink.end_fill(projection).await?;
    let finished = sink.apply(&finishing(position, vec![(projection, vec![])], generation)).await?;
    all.poison.extend(finished.poison);
    Ok(all)
}

/// Opened and filled with nothing, at position 1.
async fn opened(world: &World, projections: &[SinkProjection]) -> PostgresSink {
    let mut sink = world.sink(projections);
    let watermarks = sink.open().await.unwrap();
    assert!(watermarks.iter().all(Option::is_none), "{watermarks:?}");
    for projection in 0..projections.len() {
        fill(&mut sink, projection, &[], 1, 1).await.unwrap();
    }
    sink
}

/// The answer's text, rows and columns joined.
async fn text(client: &Client, query: &str) -> String {
    let mut lines = Vec::new();
    for message in client.simple_query(query).await.unwrap() {
        if let SimpleQueryMessage::Row(row) = message {
            let columns = (0..row.len()).map(|i| row.get(i).unwrap_or("NULL"));
            lines.push(columns.collect::<Vec<_>>().join("|"));
        }
    }
    lines.join("\n")
}

fn fatal<T: std::fmt::Debug>(result: Result<T, SinkError>) -> String {
    match result {
        Err(error @ (SinkError::Fatal { .. } | SinkError::Blocked { .. })) => error.to_string(),
        other => panic!("expected a fatal error, got {other:?}"),
    }
}

fn retryable<T: std::fmt::Debug>(result: Result<T, SinkError>) -> String {
    match result {
        Err(SinkError::Retryable { what, .. }) => what,
        other => panic!("expected a retryable error, got {other:?}"),
    }
}

fn positions(watermarks: &[Option<Watermark>]) -> Vec<Option<u64>> {
    watermarks.iter().map(|watermark| watermark.as_ref().map(|w| w.lsn.0)).collect()
}
