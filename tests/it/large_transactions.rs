//! Transactions larger than any queue or buffer: millions of changes, as many that were rolled back, and
//! subtransactions by the ten thousand. What is kept in memory stays within its bound, readers of
//! Postgres see all or nothing, and a kill costs only what was not durable.
//!
//! `READSIDE_TEST_LARGE=1`: 5 million changes and 100 000 subtransactions.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join;
use tokio_postgres::Client;

use crate::harness::{Daemon, Postgres, PostgresOptions, Redis, RedisOptions, wait};
use crate::world::one;

/// Rows that are there before.
const BEFORE: u32 = 1_000;
const MEMORY_MIB: u64 = 256;
/// `state.memory`, and what the process may take beside it.
const RESIDENT_MAX_MIB: u64 = MEMORY_MIB + 256;
/// For a transaction of full size, and a daemon that was compiled for debugging.
const BOUND: Duration = Duration::from_secs(40 * 60);

fn is_full_size() -> bool {
    std::env::var_os("READSIDE_TEST_LARGE").is_some()
}

fn changes() -> u32 {
    if is_full_size() { 5_000_000 } else { 300_000 }
}

fn subtransactions() -> u32 {
    if is_full_size() { 100_000 } else { 10_000 }
}

/// What a reader of Postgres sees at one moment, and the source when it asks itself.
const SEEN: &str = "SELECT concat_ws(' ', count(*), sum(n),
    (SELECT sum(rows) || ' ' || sum(total) FROM parts)) FROM big";
const SHOWN: &str = "SELECT concat_ws(' ', count(*), sum(n), count(*), sum(n)) FROM big";

/// A source with one table; the table as it is in Postgres, and an aggregate of it there and in Redis.
struct Large {
    redis: Redis,
    client: Client,
    reporting: Client,
    daemon: Daemon,
    // After the daemon, which ends first.
    _postgres: Postgres,
}

impl Large {
    async fn new() -> Large {
        let options = PostgresOptions {
            settings: &[("max_wal_size", "8GB"), ("synchronous_commit", "off")],
            ..PostgresOptions::default()
        };
        let appendonly = RedisOptions { appendonly: true, ..RedisOptions::default() };
        let (postgres, redis) = tokio::join!(Postgres::start(&options), Redis::start(&appendonly));
        let (source, sink) = (postgres.new_database().await, postgres.new_database().await);
        let (client, reporting) = (postgres.client(&source).await, postgres.client(&sink).await);
        let sql = format!(
            "CREATE TABLE big (id int PRIMARY KEY, part int, n int);
             INSERT INTO big SELECT -i, i % 10, i FROM generate_series(1, {BEFORE}) AS i"
        );
        client.batch_execute(&sql).await.unwrap();
        let config = format!(
            "[source]\nurl = \"{}\"\n[sink.reporting.postgres]\nurl = \"{}\"\n\
             [sink.cache.redis]\nurl = \"{}\"\n\
             [projection.big]\ntable = \"big\"\nto.reporting = {{ table = \"big\" }}\n\
             [projection.parts]\n\
             query = \"SELECT part, count(*) AS rows, sum(n) AS total FROM big GROUP BY part\"\n\
             to.reporting = {{ table = \"parts\" }}\nto.cache = {{ json = \"part:{{part}}\" }}\n",
            postgres.url(&source),
            postgres.url(&sink),
            redis.url(),
        );
        let memory = format!("{MEMORY_MIB}MiB");
        let mut daemon = Daemon::start_with(&config, &[("READSIDE__STATE__MEMORY", &memory)]);
        daemon.wait_ready().await;
        let mut large = Large { redis, client, reporting, daemon, _postgres: postgres };
        large.same().await;
        large
    }

    /// Until all sinks have all of the source, which they then equal.
    async fn same(&mut self) {
        let lsn = one(&self.client, "SELECT pg_current_wal_insert_lsn()::text").await;
        for (projection, sink) in [("big", "reporting"), ("parts", "reporting"), ("parts", "cache")]
        {
            until_delivered(&mut self.daemon, projection, sink, &lsn).await;
        }
        within_memory(&self.daemon);
        let digest = "SELECT count(*) || ' ' || sum(hashtextextended(big::text, 0)) FROM big";
        assert_eq!(one(&self.reporting, digest).await, one(&self.client, digest).await);
        let parts =
            |from: &str| format!("SELECT string_agg(p::text, ' ' ORDER BY part) FROM {from} AS p");
        let query = "(SELECT part, count(*) AS rows, sum(n) AS total FROM big GROUP BY part)";
        let expected = one(&self.client, &parts(query)).await;
        assert_eq!(one(&self.reporting, &parts("parts")).await, expected);
        let mut redis = self.redis.client().await;
        let keys: Vec<String> = (0..10).map(|part| format!("part:{part}")).collect();
        let cached: Vec<String> =
            redis::cmd("MGET").arg(keys).query_async(&mut redis).await.unwrap();
        let cached = cached.iter().map(|json| {
            let row: serde_json::Value = serde_json::from_str(json).unwrap();
            format!("({},{},{})", row["part"], row["rows"], row["total"])
        });
        assert_eq!(cached.collect::<Vec<_>>().join(" "), expected);
    }

    /// One transaction, which readers of Postgres meet as a whole or not at all, and which the daemon
    /// goes on within when it is killed after so many of its changes.
    async fn as_one_step(&mut self, sql: &str, changes: u64) {
        let before = one(&self.reporting, SEEN).await;
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let after = one(&self.client, SHOWN).await;
        assert_ne!(before, after, "a reader could not tell");
        let arrived = Cell::new(false);
        let Large { daemon, reporting, .. } = self;
        let reading = async {
            while !arrived.get() {
                let seen = one(reporting, SEEN).await;
                assert!(seen == before || seen == after, "{seen} between {before} and {after}");
                arrived.set(seen == after);
                wait::delay(Duration::from_millis(50)).await;
            }
        };
        let killing = async {
            // So many that some are durable, whatever the store lacks.
            until_applied(daemon, changes * 5 / 6).await;
            within_memory(daemon);
            daemon.kill9();
            daemon.restart();
            wait::until_within("the transaction to arrive", BOUND, async || {
                arrived.get().then_some(()).ok_or("it has not arrived")
            })
            .await;
        };
        join(reading, killing).await;
        self.same().await;
        let again = applied(&self.daemon).await;
        assert!((1..changes).contains(&again), "{again} of {changes} changes after the kill");
    }
}

async fn until_delivered(daemon: &mut Daemon, projection: &str, sink: &str, lsn: &str) {
    let path = format!("/v1/wait?projection={projection}&sink={sink}&lsn={lsn}&timeout=5s");
    wait::until_within(&format!("{projection} in {sink} at {lsn}"), BOUND, async || {
        if let Some(status) = daemon.exited() {
            panic!("the daemon ended ({status})");
        }
        // It may not listen yet.
        let (status, answer) = daemon.try_get(&path).await?;
        if status.is_success() { Ok(()) } else { Err(format!("{status} {answer}")) }
    })
    .await;
}

async fn until_applied(daemon: &Daemon, changes: u64) {
    wait::until_within(&format!("{changes} changes to be applied"), BOUND, async || {
        let applied = applied(daemon).await;
        if applied >= changes { Ok(()) } else { Err(applied) }
    })
    .await;
}

/// Row changes since the daemon's start.
async fn applied(daemon: &Daemon) -> u64 {
    let metrics = daemon.metrics().await;
    metrics.get("readside_changes_total", &[("table", "public.big")]).unwrap_or_default() as u64
}

/// The most that was resident at once since the daemon's start.
fn within_memory(daemon: &Daemon) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim_end_matches("kB").trim().parse().unwrap();
    eprintln!("large transactions: at most {} MiB were resident", peak / 1024);
    assert!(peak / 1024 < RESIDENT_MAX_MIB, "{peak} kB were resident");
}

#[tokio::test]
async fn a_transaction_of_any_size_is_one_step_and_a_kill_resumes_within_it() {
    let mut large = Large::new().await;
    let rows = changes();
    let insert =
        format!("INSERT INTO big SELECT i, i % 10, i % 1000 FROM generate_series(1, {rows}) AS i");
    large.as_one_step(&insert, rows.into()).await;
    large.as_one_step("UPDATE big SET n = n + 1 WHERE id > 0", rows.into()).await;
    large.as_one_step("DELETE FROM big WHERE id > 0", rows.into()).await;
}

#[tokio::test]
async fn a_large_transaction_that_is_rolled_back_was_never_there() {
    let mut large = Large::new().await;
    let rows = changes();
    let sql = format!(
        "BEGIN; INSERT INTO big SELECT i, 11, i FROM generate_series(1, {rows}) AS i; ROLLBACK;
         UPDATE big SET n = n + 1 WHERE id = -1"
    );
    large.client.batch_execute(&sql).await.unwrap();
    large.same().await;
    assert_eq!(applied(&large.daemon).await, 1, "what was rolled back is not sent");
    let log = large.daemon.log();
    assert!(!log.contains("the source is away"), "{log}");
}

/// Some of them rolled back, some within others.
#[tokio::test]
async fn a_transaction_of_many_subtransactions_is_one_step() {
    let mut large = Large::new().await;
    let count = subtransactions();
    let sql = format!(
        "DO $$ BEGIN FOR i IN 1..{count} / 2 LOOP
             BEGIN
                 INSERT INTO big VALUES (i, i % 10, i);
                 BEGIN
                     UPDATE big SET n = n + 1 WHERE id = -i % {BEFORE};
                     IF i % 7 = 0 THEN RAISE EXCEPTION 'inner'; END IF;
                 EXCEPTION WHEN raise_exception THEN NULL; END;
                 IF i % 5 = 0 THEN RAISE EXCEPTION 'outer'; END IF;
             EXCEPTION WHEN raise_exception THEN NULL; END;
         END LOOP; END $$"
    );
    large.client.batch_execute(&sql).await.unwrap();
    let lsn = one(&large.client, "SELECT pg_current_wal_insert_lsn()::text").await;
    until_delivered(&mut large.daemon, "big", "reporting", &lsn).await;
    large.same().await;
}
