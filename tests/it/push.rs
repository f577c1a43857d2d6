//! Positions that are not in a stream yet, on a real source: a waiter's lies beyond the flushed WAL, or
//! behind a page's header.

use readside::http::{Push, SourcePush, as_boundary};
use readside::lsn::Lsn;
use readside::pg::Params;
use tokio::sync::watch;
use tokio_postgres::Client;

use crate::harness::{Postgres, PostgresOptions, wait};

/// Nothing but a commit flushes for some seconds.
const LAZY: PostgresOptions<'_> = PostgresOptions {
    own_system: false,
    settings: &[("wal_writer_delay", "10s"), ("autovacuum", "off")],
    hba: None,
    tls: None,
    fsync: false,
};

async fn lsn(client: &Client, function: &str) -> Lsn {
    let statement = format!("SELECT {function}()::text");
    let text: String = client.query_one(&statement, &[]).await.unwrap().get(0);
    text.parse().unwrap()
}

async fn flushed(client: &Client) -> Lsn {
    lsn(client, "pg_current_wal_flush_lsn").await
}

/// Our messages that a stream would bring.
async fn messages(client: &Client) -> i64 {
    let peek = "SELECT count(*) FROM pg_logical_slot_peek_binary_changes('s', NULL, NULL, \
                'proto_version', '1', 'publication_names', 'p', 'messages', 'true') \
                WHERE get_byte(data, 0) = ascii('M')";
    client.query_one(peek, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn an_open_transactions_wal_is_pushed_on() {
    let postgres = Postgres::start(&LAZY).await;
    let (watcher, writer) = (postgres.client("postgres").await, postgres.client("postgres").await);
    watcher.batch_execute("CREATE TABLE t (x int); CREATE PUBLICATION p").await.unwrap();
    watcher
        .batch_execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
        .await
        .unwrap();
    // Some other process may flush just then.
    let wanted = wait::until("WAL that is not flushed", async || {
        writer.batch_execute("ROLLBACK; BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
        let inserted = lsn(&writer, "pg_current_wal_insert_lsn").await;
        let flushed = flushed(&watcher).await;
        if flushed < inserted { Ok(inserted) } else { Err(format!("{flushed} {inserted}")) }
    })
    .await;

    let url = postgres.url("postgres");
    let mut source = SourcePush::new(watch::channel(Params::parse(&url, None).unwrap()).1);
    source.push(wanted).await.unwrap();
    assert!(flushed(&watcher).await >= wanted);
    assert_eq!(messages(&watcher).await, 1);
    // What is flushed needs no message.
    source.push(wanted).await.unwrap();
    assert_eq!(messages(&watcher).await, 1);

    // Its session ends, as by a restart of the server; the attempt after has a new one.
    let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
               WHERE application_name = 'readside push'";
    assert!(watcher.query_one(end, &[]).await.unwrap().get::<_, bool>(0));
    source.push(Lsn::MAX).await.unwrap_err();
    source.push(Lsn::MAX).await.unwrap();
    assert_eq!(messages(&watcher).await, 2);
}

#[tokio::test]
async fn behind_a_page_header_is_the_boundary_that_was_flushed() {
    let postgres = Postgres::start(&LAZY).await;
    let client = postgres.client("postgres").await;
    let segment: i64 = client
        .query_one("SELECT setting::int8 FROM pg_settings WHERE name = 'wal_segment_size'", &[])
        .await
        .unwrap()
        .get(0);
    let segment = u64::try_from(segment).unwrap();
    // Outside of transactions, so that it is the only record.
    let emit = async |bytes: u64| {
        let statement =
            format!("SELECT pg_logical_emit_message(false, 'x', repeat('x', {bytes}))::text");
        client.batch_execute(&statement).await.unwrap();
        lsn(&client, "pg_current_wal_insert_lsn").await
    };
    // Other processes write records too, now and then.
    let (inserted, boundary) = wait::until("a record that ends with its page", async || {
        let before = emit(1000).await;
        let after = emit(1000).await;
        let overhead = (after.0 - before.0).wrapping_sub(1000);
        let room = 8192 - after.0 % 8192;
        if overhead > 1000 || room <= overhead {
            return Err(format!("{before} {after}"));
        }
        // Records are as long as a multiple of eight.
        let inserted = emit(room - overhead).await;
        match as_boundary(inserted, segment) {
            boundary if boundary < inserted => Ok((inserted, boundary)),
            _ => Err(format!("{after} {inserted}")),
        }
    })
    .await;
    assert_eq!((inserted.0 - boundary.0, boundary.0 % 8192), (24, 0));
    // A segment begins with a longer header.
    client.batch_execute("SELECT pg_switch_wal()").await.unwrap();
    let inserted = lsn(&client, "pg_current_wal_insert_lsn").await;
    let boundary = as_boundary(inserted, segment);
    assert_eq!((inserted.0 - boundary.0, boundary.0 % segment), (40, 0), "{inserted}");
}
