//! Readers of a Postgres sink see all read models of one moment, whenever they look: while the source is
//! written, nobody pauses, and the daemon is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fastrand::Rng;
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;

use super::answers::{self, Row};
use super::daemon;
use super::generate::{self, Generated, KeyType};
use crate::harness::daemon::Daemon;
use crate::harness::postgres::{Postgres, PostgresOptions};

const BEAT: &str =
    "CREATE TABLE beat (id int PRIMARY KEY, n bigint NOT NULL); INSERT INTO beat VALUES (1, 0)";
/// The first of the read models: how many transactions there have been.
const COUNT: &str = "SELECT id, n FROM beat";

/// What all read models hold, or what their queries answer.
type Moment = Vec<BTreeMap<Row, usize>>;

/// All that a reader has met: each time the number of the moment, and what was there.
type Met = Vec<(u64, Moment)>;

async fn moment(client: &Client, relations: &[String]) -> Moment {
    let mut all = Vec::new();
    for relation in relations {
        all.push(daemon::answer(client, relation).await);
    }
    all
}

fn number(moment: &Moment) -> u64 {
    let row = moment[0].keys().next().expect("the beat has one row");
    row[1].as_deref().unwrap_or_default().parse().expect("a number")
}

/// What reader and writer know of each other.
#[derive(Default)]
struct Reading {
    is_over: AtomicBool,
    /// How many the reader has met.
    moments: AtomicUsize,
}

/// Looks again and again, each time at one snapshot.
async fn read(client: Client, tables: Vec<String>, reading: Arc<Reading>) -> Met {
    const SETTLED: &str = "SELECT coalesce(bool_and(settled), false)::text FROM readside.watermark";
    let mut met = Met::new();
    let mut numbers = BTreeSet::new();
    while !reading.is_over.load(Ordering::Relaxed) {
        client
            .batch_execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .unwrap();
        let settled = answers::rows(&client, SETTLED).await.unwrap();
        if settled[0][0].as_deref() == Some("true") {
            let seen = moment(&client, &tables).await;
            numbers.insert(number(&seen));
            reading.moments.store(numbers.len(), Ordering::Relaxed);
            met.push((number(&seen), seen));
        }
        client.batch_execute("COMMIT").await.unwrap();
    }
    met
}

async fn hold(key: KeyType, seed: u64, transactions: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut queries: Vec<Generated> = vec![Generated { sql: COUNT.into(), key: None }];
    queries.extend((0..14).map(|_| generate::query_over(key, &mut rng)));
    let sql: Vec<String> = queries.iter().map(|query| query.sql.clone()).collect();
    let tables: Vec<String> = (0..queries.len()).map(|at| format!("SELECT * FROM q{at}")).collect();
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let (source, sink) = (postgres.new_database().await, postgres.new_database().await);
    let (writer, reads) = (postgres.client(&source).await, postgres.client(&sink).await);
    for client in [&writer, &reads] {
        client.batch_execute(answers::SESSION).await.unwrap();
    }
    writer.batch_execute(&format!("{};{BEAT}", key.schema())).await.unwrap();
    let mut daemon = Daemon::start(&daemon::config(&postgres, &source, &sink, &queries));
    daemon.wait_ready().await;
    let reading = Arc::new(Reading::default());
    let tasks = TaskTracker::new();
    let reader = tasks.spawn(read(reads, tables, Arc::clone(&reading)));
    let mut expected = BTreeMap::from([(0, moment(&writer, &sql).await)]);
    // On a slow machine it takes longer until the reader has met enough.
    for n in 1..=transactions * 20 {
        if n > transactions && reading.moments.load(Ordering::Relaxed) > 8 {
            break;
        }
        let change = answers::change_under(key, &mut rng);
        let change = format!("BEGIN; {change}; UPDATE beat SET n = {n}; COMMIT");
        writer.batch_execute(&change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
        // The writer is alone: this is the answer as of its own commit.
        expected.insert(n, moment(&writer, &sql).await);
        if rng.u8(0..50) == 0 {
            daemon.restart();
        }
    }
    let lsn = crate::world::one(&writer, "SELECT pg_current_wal_insert_lsn()::text").await;
    for at in 0..queries.len() {
        daemon.wait_for(&format!("q{at}"), "reads", &lsn).await;
    }
    reading.is_over.store(true, Ordering::Relaxed);
    let met = reader.await.unwrap();
    judge(&met, &expected, &sql);
}

/// Every moment that was met is that of its number, in all read models, and later ones came later.
fn judge(met: &Met, expected: &BTreeMap<u64, Moment>, sql: &[String]) {
    let mut found = Vec::new();
    for (n, seen) in met {
        for ((sql, seen), expected) in sql.iter().zip(seen).zip(&expected[n]) {
            if seen != expected {
                found.push(format!("at {n}: {sql}\n  here:   {seen:?}\n  source: {expected:?}"));
            }
        }
    }
    assert!(
        found.is_empty(),
        "{} differ:\n{}",
        found.len(),
        found[..found.len().min(5)].join("\n")
    );
    assert!(met.windows(2).all(|two| two[0].0 <= two[1].0), "a reader went back");
    let numbers: BTreeSet<u64> = met.iter().map(|(n, _)| *n).collect();
    assert!(numbers.len() > 5, "the reader has met too little: {numbers:?}");
    // It tells moments apart: another one's answers are others.
    let differ = numbers
        .iter()
        .filter(|n| expected.get(&(*n + 1)).is_some_and(|next| next[1..] != expected[n][1..]));
    assert!(differ.count() > 2, "the moments that were met do not differ");
}

/// READSIDE_TRANSACTIONS for a longer run, READSIDE_SEED for another.
#[tokio::test(flavor = "multi_thread")]
async fn readers_meet_all_queries_of_one_moment() {
    let of = |name: &str, usual: u64| {
        std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
    };
    let (transactions, seed) = (of("READSIDE_TRANSACTIONS", 120), of("READSIDE_SEED", 1));
    let key = generate::KEY_TYPES[usize::try_from(seed).unwrap() % generate::KEY_TYPES.len()];
    hold(key, seed, transactions).await;
}
