//! A state larger than `state.memory`: it works, slower, and the process stays within its bound.

use crate::harness::{Daemon, Postgres, PostgresOptions, Redis, RedisOptions, wait};
use crate::world::{World, one};

const ROWS: u32 = 110_000;
const MIB: f64 = 1024.0 * 1024.0;

/// Rows compare by their digests.
async fn digest(client: &tokio_postgres::Client) -> String {
    const DIGEST: &str =
        "SELECT md5(string_agg(id || ':' || n || ':' || md5(pad), ',' ORDER BY id)) FROM big";
    one(client, DIGEST).await
}

/// What is resident now, in bytes.
fn resident(daemon: &Daemon) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<f64>().unwrap() * 1024.0
}

#[tokio::test]
async fn a_state_of_many_times_the_memory_works_within_its_bound() {
    let options = PostgresOptions {
        settings: &[("max_wal_size", "4GB"), ("synchronous_commit", "off")],
        ..PostgresOptions::default()
    };
    let redis_options = RedisOptions::default();
    let (postgres, redis) = tokio::join!(Postgres::start(&options), Redis::start(&redis_options));
    let (source, sink) = (postgres.new_database().await, postgres.new_database().await);
    let (client, reporting) = (postgres.client(&source).await, postgres.client(&sink).await);
    let rows = format!(
        "CREATE TABLE big (id int PRIMARY KEY, n int, pad text);
         ALTER TABLE big ALTER pad SET STORAGE PLAIN;
         INSERT INTO big SELECT i, i, repeat(md5(i::text), 70) FROM generate_series(1, {ROWS}) AS i"
    );
    client.batch_execute(&rows).await.unwrap();
    let config = format!(
        "[source]\nurl = \"{}\"\n[sink.reporting.postgres]\nurl = \"{}\"\n\
         [sink.cache.redis]\nurl = \"{}\"\n\
         [projection.big]\ntable = \"big\"\nto.reporting = {{ table = \"big\" }}\n\
         to.cache = {{ sorted_set = \"by_n\", member = \"{{id}}\", score = \"n\" }}",
        postgres.url(&source),
        postgres.url(&sink),
        redis.url(),
    );
    let mut daemon = Daemon::start_with(&config, &[("READSIDE__STATE__MEMORY", "64MiB")]);
    let statements = [
        "SELECT 1",
        "UPDATE big SET n = n + 1",
        "DELETE FROM big WHERE id % 3 = 0",
        "UPDATE big SET pad = reverse(pad) WHERE id % 100 = 1",
    ];
    for (at, statement) in statements.iter().enumerate() {
        client.batch_execute(statement).await.unwrap();
        if at == 2 {
            daemon.kill9();
            daemon.restart();
        }
        let lsn = one(&client, "SELECT pg_current_wal_insert_lsn()::text").await;
        daemon.wait_for("big", "reporting", &lsn).await;
        daemon.wait_for("big", "cache", &lsn).await;
        assert_eq!(digest(&reporting).await, digest(&client).await, "after {statement}");
        let metrics = daemon.metrics().await;
        let spilled = metrics.get("readside_state_bytes", &[("where", "spilled")]);
        assert!(spilled.is_some_and(|bytes| bytes > 64.0 * MIB), "all fits: {spilled:?}");
        // Pages that a scan has just touched are given back in a moment.
        wait::until(&format!("memory to be given back after {statement}"), async || {
            let resident = resident(&daemon);
            if resident < (64.0 + 256.0) * MIB { Ok(()) } else { Err(resident / MIB) }
        })
        .await;
    }
    assert!(daemon.log().contains("the memory is used up"), "{}", daemon.log());
}

#[tokio::test]
async fn what_fits_lies_in_memory_alone() {
    let world = World::new(
        "CREATE TABLE few (id int PRIMARY KEY); INSERT INTO few SELECT generate_series(1, 81)",
    )
    .await;
    let mut daemon = Daemon::start(&world.config(&world.projection("few", "few", &["id"])));
    daemon.wait_ready().await;
    let metrics = daemon.metrics().await;
    assert_eq!(metrics.get("readside_state_bytes", &[("where", "spilled")]), Some(0.0));
    // One page that was never analysed, which the planner takes for ten.
    let expected = metrics.get("readside_load_rows_expected", &[("table", "public.few")]).unwrap();
    assert!((1.0..1000.0).contains(&expected), "{expected}");
}
