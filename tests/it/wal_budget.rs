//! WAL that the source keeps for us: who holds it back is told, and what is ours has a budget.

use serde_json::Value;

use crate::harness::{Daemon, PostgresOptions, wait};
use crate::world::{World, one, until_logged, until_metric};

const ITEMS: &str = "
    CREATE TABLE items (id int PRIMARY KEY, v text);
    CREATE TABLE busy (id int, v text);
    INSERT INTO items SELECT i, 'v' || i FROM generate_series(1, 500) AS i;";

async fn write_wal(world: &World, megabytes: u32) {
    for _ in 0..megabytes {
        world
            .execute("INSERT INTO busy SELECT i, repeat('x', 1000) FROM generate_series(1, 900) i")
            .await;
    }
}

async fn until_source(daemon: &Daemon, what: &str, holds: impl Fn(&Value) -> bool) {
    wait::until(what, async || {
        let source = daemon.status().await["source"].take();
        if holds(&source) { Ok(()) } else { Err(source) }
    })
    .await;
}

async fn start(world: &World, act: &str) -> Daemon {
    let items = world.projection("items", "items", &["id"]);
    let source = format!("wal_budget = \"8MiB\"\non_wal_budget = \"{act}\"");
    let mut daemon = Daemon::start(&world.config_with(&source, &items));
    daemon.wait_ready().await;
    daemon
}

/// More changes come than a file may grow. (The log is such a file, too, and small.)
async fn fill_disk(world: &World, daemon: &Daemon) {
    daemon.limit_files(Some(256 << 10));
    world.execute("UPDATE items SET v = repeat(id::text, 700)").await;
}

#[tokio::test]
async fn a_transaction_that_holds_wal_back_is_named_and_nothing_is_done_to_the_slot() {
    let options = PostgresOptions {
        settings: &[("max_prepared_transactions", "5")],
        ..PostgresOptions::default()
    };
    let world = World::with(&options, ITEMS).await;
    let mut daemon = start(&world, "drop-slot").await;
    let other = world.postgres.client(&world.source).await;
    let pid = one(&other, "SELECT pg_backend_pid()::text").await;
    other.batch_execute("BEGIN; INSERT INTO busy VALUES (1, 'open')").await.unwrap();
    write_wal(&world, 12).await;
    let names = |text: String| {
        move |source: &Value| {
            source["wal_held_by"].as_str().is_some_and(|told| told.contains(&text))
        }
    };
    until_source(&daemon, "the session to be named", names(format!("of pid {pid}"))).await;
    other.batch_execute("PREPARE TRANSACTION 'the gid'").await.unwrap();
    // It is told again when something about it has changed, or after a minute.
    let status = daemon.status().await;
    assert_eq!(status["source"]["wal_alarm"], Value::Null, "{status}");
    assert!(status["source"]["retained_bytes"].as_u64() > Some(8 << 20), "{status}");
    daemon.terminate().await;
    daemon.restart();
    daemon.wait_ready().await;
    until_source(&daemon, "the prepared one to be named", names("'the gid'".to_owned())).await;
    world.execute("UPDATE items SET v = 'goes on'").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    assert_eq!(daemon.log().matches("slot created").count(), 1, "{}", daemon.log());

    world.execute("ROLLBACK PREPARED 'the gid'").await;
    wait::until("the WAL to be let go", async || {
        world.execute("CHECKPOINT; UPDATE items SET v = 'on' WHERE id = 1").await;
        let source = daemon.status().await["source"].take();
        if source["wal_held_by"] == Value::Null { Ok(()) } else { Err(source) }
    })
    .await;
}

/// A state that cannot be written keeps the slot where it is.
#[tokio::test]
async fn what_we_hold_back_is_told_and_held_if_so_configured() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world, "hold").await;
    fill_disk(&world, &daemon).await;
    write_wal(&world, 12).await;
    wait::until("the alarm", async || {
        let (status, reasons) = daemon.get("/readyz").await;
        let told = reasons.contains("of source.wal_budget, because we are behind");
        if status == 503 && told { Ok(()) } else { Err(reasons) }
    })
    .await;
    until_metric(&daemon, "readside_slot_retained_bytes", &[], |bytes| bytes > 8e6).await;
    daemon.limit_files(None);
    world.same(&mut daemon, "items", "items", &["id"]).await;
    until_source(&daemon, "the alarm to end", |source| source["wal_alarm"] == Value::Null).await;
    daemon.wait_ready().await;
    let log = daemon.log();
    assert_eq!(log.matches("a load begins").count(), 1, "{log}");
    assert!(log.contains("keeps it, whatever it costs the source"), "{log}");
}

#[tokio::test]
async fn a_used_up_budget_costs_us_the_slot_if_so_configured() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world, "drop-slot").await;
    fill_disk(&world, &daemon).await;
    world.execute("DELETE FROM items WHERE id > 400").await;
    write_wal(&world, 12).await;
    until_logged(&daemon, "the slot was dropped, as on_wal_budget says").await;
    daemon.limit_files(None);
    world.soon_same("items", "items", &["id"]).await;
    world.execute("UPDATE items SET v = 'goes on'").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    daemon.wait_ready().await;
    let log = daemon.log();
    assert!(log.contains("the slot is lost: everything is loaded anew"), "{log}");
}

/// Nothing of it is published, and all of it is in the WAL that the slot has to read.
#[tokio::test]
async fn idle_tables_beside_busy_ones_hold_back_nothing() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world, "hold").await;
    for _ in 0..3 {
        write_wal(&world, 6).await;
        let end = one(&world.client, "SELECT pg_current_wal_lsn()::text").await;
        wait::until("the slot to move on", async || {
            let sql =
                format!("SELECT (confirmed_flush_lsn >= '{end}')::text FROM pg_replication_slots");
            let moved = one(&world.client, &sql).await;
            if moved == "true" { Ok(()) } else { Err(moved) }
        })
        .await;
    }
    // The sinks need not be there for it.
    for net in [&world.reporting_net, &world.cache_net, &world.search_net] {
        net.cut();
    }
    write_wal(&world, 12).await;
    world.execute("UPDATE items SET v = 'later'").await;
    let end = one(&world.client, "SELECT pg_current_wal_lsn()::text").await;
    wait::until("the slot to move on", async || {
        let sql =
            format!("SELECT (confirmed_flush_lsn >= '{end}')::text FROM pg_replication_slots");
        let moved = one(&world.client, &sql).await;
        if moved == "true" { Ok(()) } else { Err(moved) }
    })
    .await;
    let status = daemon.status().await;
    assert_eq!(status["source"]["wal_alarm"], Value::Null, "{status}");
    for net in [&world.reporting_net, &world.cache_net, &world.search_net] {
        net.heal();
    }
    world.same(&mut daemon, "items", "items", &["id"]).await;
}
