//! The Redis sink against a real server: every structure, moves, fences, poison, fills, crashes.

mod backlog;
mod check;
mod cluster;
mod cluster_whole;
mod fills;
mod lead;
mod moves;
mod readers;
mod refused;
mod structures;
mod watermarks;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ::redis::AsyncCommands;
use readside::config::template::{Part, Template};
use readside::config::{Place, RedisStructure, RedisTarget, Secret, SinkConfig, SinkKind, Target};
use readside::engine::Entry;
use readside::lsn::Lsn;
use readside::sink::redis::{RedisSink, check};
use readside::sink::{
    Outcome, Role, Sink, SinkError, SinkProjection, Step, StepProjection, Watermark,
};
use readside::value::{self, Column, Type};

use crate::harness::{Certificates, Redis, RedisOptions, install_crypto, wait};

type Connection = ::redis::aio::MultiplexedConnection;
type Row<'a> = &'a [Option<&'a str>];

const OWNER: &str = "7345678901234567890/readside";

// ---- what is delivered ----

fn template(text: &str) -> Template {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let (column, after) = after.split_once('}').unwrap();
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        parts.push(Part::Column(column.into()));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.into()));
    }
    Template { parts }
}

fn target(structure: RedisStructure) -> RedisTarget {
    RedisTarget { structure, ttl: None, columns: None, place: Place::default() }
}

fn hash(key: &str) -> RedisTarget {
    target(RedisStructure::Hash { key: template(key) })
}

fn json(key: &str) -> RedisTarget {
    target(RedisStructure::Json { key: template(key) })
}

fn sorted_set(key: &str, member: &str, score: &str) -> RedisTarget {
    target(RedisStructure::SortedSet {
        key: template(key),
        member: template(member),
        score: score.into(),
    })
}

fn set(key: &str, member: &str) -> RedisTarget {
    target(RedisStructure::Set { key: template(key), member: template(member) })
}

fn projection(name: &str, columns: &[(&str, Type)], targets: Vec<RedisTarget>) -> SinkProjection {
    let column = |(name, ty): &(&str, Type)| Column {
        name: (*name).into(),
        ty: ty.clone(),
        sql_type: ty.to_string(),
        type_oid: 0,
        typmod: -1,
        not_null: false,
    };
    SinkProjection {
        shapes: Vec::new(),
        role: Role::Rows,
        name: name.into(),
        columns: columns.iter().map(column).collect(),
        key: vec![0],
        targets: targets.into_iter().map(Target::Redis).collect(),
        fingerprint: format!("{name}-1"),
    }
}

/// Orders with a hash and a sorted set that follows the customer.
fn orders(targets: Vec<RedisTarget>) -> SinkProjection {
    let columns = [
        ("order_id", Type::Int4),
        ("customer_id", Type::Int4),
        ("status", Type::Text),
        ("total", Type::Numeric),
    ];
    projection("orders", &columns, targets)
}

fn anchored() -> SinkProjection {
    orders(vec![
        hash("order:{order_id}"),
        sorted_set("customer:{customer_id}:orders", "{order_id}", "total"),
    ])
}

fn recorded() -> SinkProjection {
    orders(vec![
        json("order:{order_id}"),
        sorted_set("customer:{customer_id}:orders", "{order_id}", "total"),
    ])
}

fn datums(projection: &SinkProjection, row: Row<'_>, only: Option<&[usize]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let all: Vec<usize> = (0..row.len()).collect();
    for &at in only.unwrap_or(&all) {
        match row[at] {
            None => value::encode_null(&mut bytes),
            Some(text) => {
                value::encode(&projection.columns[at].ty, text.as_bytes(), &mut bytes).unwrap();
            }
        }
    }
    bytes
}

fn row(projection: &SinkProjection, lsn: u64, row: Row<'_>) -> Entry {
    let key = datums(projection, row, Some(&projection.key));
    Entry::row(Lsn(lsn), &key, &datums(projection, row, None))
}

fn gone(projection: &SinkProjection, lsn: u64, row: Row<'_>) -> Entry {
    Entry::tombstone(Lsn(lsn), &datums(projection, row, Some(&projection.key)))
}

fn step(position: u64, entries: Vec<Entry>) -> Step {
    steps(position, vec![entries])
}

/// A settled step of several projections.
fn steps(position: u64, parts: Vec<Vec<Entry>>) -> Step {
    let part = |(projection, entries)| StepProjection {
        times: Vec::new(),
        projection,
        entries,
        generation: 1,
        finish_fill: false,
    };
    Step {
        projections: parts.into_iter().enumerate().map(part).collect(),
        position: Lsn(position),
        reaching: Lsn(position),
        committed_at: 5_097_600_500_000,
        settled: true,
    }
}

// ---- where it is delivered to ----

fn config(redis: &Redis) -> SinkConfig {
    install_crypto();
    SinkConfig {
        name: "cache".into(),
        kind: SinkKind::Redis,
        url: Secret::new(redis.url()),
        ca_file: None,
        username: None,
        password: None,
        api_key: None,
        step_rows: 3,
        max_lag: Duration::from_secs(30),
        required: true,
        place: Place::default(),
    }
}

fn sink(redis: &Redis, projections: &[&SinkProjection]) -> RedisSink {
    let projections = projections.iter().map(|p| (*p).clone()).collect();
    RedisSink::new(&config(redis), OWNER.into(), projections).unwrap()
}

async fn filled(sink: &mut RedisSink, rows: &[Entry], position: u64) -> Outcome {
    assert_eq!(sink.open().await.unwrap(), [None]);
    refill(sink, rows, position, 1).await
}

async fn refill(sink: &mut RedisSink, rows: &[Entry], position: u64, generation: u64) -> Outcome {
    sink.begin_fill(0, generation).await.unwrap();
    let outcome = sink.fill(0, rows).await.unwrap();
    sink.end_fill(0).await.unwrap();
    sink.apply(&finishing(position, Vec::new(), generation)).await.unwrap();
    outcome
}

fn finishing(position: u64, entries: Vec<Entry>, generation: u64) -> Step {
    let mut step = step(position, entries);
    step.projections[0].generation = generation;
    step.projections[0].finish_fill = true;
    step
}

/// A projection filled with these rows, settled at 100.
async fn started(redis: &Redis, projection: &SinkProjection, rows: &[Row<'_>]) -> RedisSink {
    let mut sink = sink(redis, &[projection]);
    let rows: Vec<_> = rows.iter().map(|values| row(projection, 50, values)).collect();
    let outcome = filled(&mut sink, &rows, 100).await;
    assert!(outcome.poison.is_empty(), "{outcome:?}");
    sink
}

/// Everything in the database but the sink's own keys, as text.
async fn contents(redis: &mut Connection) -> BTreeMap<String, String> {
    let mut found = everything(redis).await;
    found.retain(|key, _| !key.starts_with("readside:"));
    found
}

async fn everything(redis: &mut Connection) -> BTreeMap<String, String> {
    let keys = redis.keys("*").await.unwrap();
    read(redis, keys).await
}

async fn read(redis: &mut Connection, keys: Vec<String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for key in keys {
        let kind: String = ::redis::cmd("TYPE").arg(&key).query_async(redis).await.unwrap();
        let text = match kind.as_str() {
            "hash" => {
                format!("{:?}", redis.hgetall::<_, BTreeMap<String, String>>(&key).await.unwrap())
            }
            "string" => redis.get(&key).await.unwrap(),
            "zset" => format!(
                "{:?}",
                redis.zrange_withscores::<_, Vec<(String, f64)>>(&key, 0, -1).await.unwrap()
            ),
            "set" => {
                let mut members: Vec<String> = redis.smembers(&key).await.unwrap();
                members.sort();
                format!("{members:?}")
            }
            other => panic!("{key} is a {other}"),
        };
        found.insert(key, text);
    }
    found
}

fn expect<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, text)| (key.into(), text.into())).collect()
}

async fn watermark(redis: &mut Connection, name: &str) -> BTreeMap<String, String> {
    redis.hgetall(format!("readside:watermark:{name}")).await.unwrap()
}

async fn set_user(redis: &Redis, name: &str, rules: &[&str]) {
    let mut command = ::redis::cmd("ACL");
    command.arg("SETUSER").arg(name).arg(rules);
    command.exec_async(&mut redis.client().await).await.unwrap();
}

fn why(error: SinkError) -> String {
    match error {
        SinkError::Retryable { what, .. } => format!("retryable: {what}"),
        SinkError::Outranked { term } => format!("outranked: {term}"),
        SinkError::Fatal { what, hint } | SinkError::Blocked { what, hint, .. } => {
            format!("fatal: {what} / {hint}")
        }
    }
}
