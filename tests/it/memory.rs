//! A state larger than `state.memory`: it works, slower, and the process stays within its bound.

use crate::harness::{Daemon, Postgres, PostgresOptions, Redis, RedisOptions};
use crate::world::one;

const ROWS: u32 = 110_000;
const MIB: f64 = 1024.0 * 1024.0;

/// Rows compare by their digests.
async fn digest(client: &tokio_postgres::Client) -> String {
    const DIGEST: &str =
        "SELECT md5(string_agg(id || ':' || n || ':' || md5(pad), ',' ORDER BY id)) FROM big";
    one(client, DIGEST).await
}

/// The most that was ever resident since the process began, in bytes.
fn most_resident(daemon: &Daemon) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
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
    let mut daemon = Daemon::start_with(&config, &[("READSIDE__STATE__MEMORY", "16MiB")]);
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
        let state = daemon.metrics().await.get("readside_state_bytes", &[("where", "memory")]);
        assert!(state.is_some_and(|bytes| bytes > 200.0 * MIB), "the state is small: {state:?}");
        let most = most_resident(&daemon);
        assert!(most < (16.0 + 256.0) * MIB, "{} MiB were resident after {statement}", most / MIB);
    }
    assert!(daemon.log().contains("the memory is used up"), "{}", daemon.log());
}
