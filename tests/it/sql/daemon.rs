//! The whole daemon's answers to random queries, held against PostgreSQL's own, while rows come and go and
//! the daemon is killed.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use fastrand::Rng;
use readside::value::{self, Type};
use tokio_postgres::Client;
use tokio_postgres::types::Kind;

use super::answers::{self, Row};
use super::generate::{self, Generated, KeyType};
use crate::harness::daemon::Daemon;
use crate::harness::postgres::{Postgres, PostgresOptions};
use crate::world::one;

/// Queries of one daemon.
const TOGETHER: usize = 25;

pub(super) fn config(
    postgres: &Postgres,
    source: &str,
    sink: &str,
    queries: &[Generated],
) -> String {
    let mut config = format!(
        "[source]\nurl = \"{}\"\nslot = \"{source}\"\n[sink.reads.postgres]\nurl = \"{}\"\n",
        postgres.url(source),
        postgres.url(sink)
    );
    for (at, query) in queries.iter().enumerate() {
        writeln!(config, "[projection.q{at}]\nquery = '''\n{}'''", query.sql).unwrap();
        if let Some(key) = &query.key {
            writeln!(config, "key = {key:?}").unwrap();
        }
        writeln!(config, "to.reads = {{ table = \"q{at}\" }}").unwrap();
    }
    config
}

/// The rows, each with how often it is there.
pub(super) async fn answer(client: &Client, sql: &str) -> BTreeMap<Row, usize> {
    let prepared = client.prepare(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let resolve = |column: &tokio_postgres::Column| match column.type_().kind() {
        Kind::Array(_) => Type::Array(Box::new(Type::Text), b','),
        _ => value::resolve(column.type_().oid(), &HashMap::new()),
    };
    let types: Vec<Type> = prepared.columns().iter().map(resolve).collect();
    let rows = answers::rows(client, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    answers::counted(rows, &types)
}

/// Runs the queries in one daemon over some rounds of random changes.
async fn hold(
    postgres: &Postgres,
    key: KeyType,
    rng: &mut Rng,
    queries: &[Generated],
    rounds: usize,
) -> Vec<String> {
    let (source, sink) = (postgres.new_database().await, postgres.new_database().await);
    let (client, reads) = (postgres.client(&source).await, postgres.client(&sink).await);
    for client in [&client, &reads] {
        client.batch_execute(answers::SESSION).await.unwrap();
    }
    client.batch_execute(&key.schema()).await.unwrap();
    let change = |rng: &mut Rng| -> String {
        (0..rng.usize(1..8)).map(|_| answers::change_under(key, rng)).collect()
    };
    client.batch_execute(&change(rng)).await.unwrap();
    let mut daemon = Daemon::start(&config(postgres, &source, &sink, queries));
    daemon.wait_ready().await;
    let mut found = Vec::new();
    for round in 0..rounds {
        client.batch_execute(&change(rng)).await.unwrap();
        if rng.bool() {
            daemon.kill9();
            client.batch_execute(&change(rng)).await.unwrap();
            daemon.restart();
            client.batch_execute(&change(rng)).await.unwrap();
        }
        let lsn = one(&client, "SELECT pg_current_wal_insert_lsn()::text").await;
        for (at, query) in queries.iter().enumerate() {
            daemon.wait_for(&format!("q{at}"), "reads", &lsn).await;
            let expected = answer(&client, &query.sql).await;
            let answer = answer(&reads, &format!("SELECT * FROM q{at}")).await;
            if answer != expected {
                let sql = &query.sql;
                found.push(format!(
                    "round {round}: {sql}\n  here:   {answer:?}\n  source: {expected:?}"
                ));
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    found
}

/// As many as READSIDE_QUERIES says, or a few.
#[tokio::test]
async fn random_queries_are_kept_answered() {
    let count = std::env::var("READSIDE_QUERIES").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let mut rng = Rng::with_seed(3);
    let mut found = Vec::new();
    let seeds: Vec<u64> = (10_000..10_000 + count).collect();
    for (seeds, key) in seeds.chunks(TOGETHER).zip(generate::KEY_TYPES.into_iter().cycle()) {
        let queries: Vec<Generated> = seeds
            .iter()
            .map(|seed| generate::query_over(key, &mut Rng::with_seed(*seed)))
            .collect();
        let rounds = answers::rounds(5);
        found.extend(hold(&postgres, key, &mut rng, &queries, rounds).await);
    }
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n"));
}
