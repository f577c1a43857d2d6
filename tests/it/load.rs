//! The initial load, and those of tables that come later, while everything goes on.

use crate::harness::{Daemon, PostgresOptions, wait};
use crate::world::{World, one, until_logged, until_metric};

const ROWS: &str = "
    CREATE TABLE items (id int PRIMARY KEY, n int, pad text, big text);
    ALTER TABLE items ALTER big SET STORAGE EXTERNAL;
    INSERT INTO items SELECT i, i, repeat('p', 700), CASE WHEN i % 50 = 0 THEN repeat(i::text, 3000) END
      FROM generate_series(1, 6000) AS i;
    CREATE TABLE empty (id int PRIMARY KEY, v text);
    CREATE TABLE others (id int PRIMARY KEY, v text);
    INSERT INTO others SELECT i, 'o' FROM generate_series(1, 100) AS i;";

const TABLES: [&str; 3] = ["items", "empty", "others"];

fn all(world: &World) -> String {
    TABLES.map(|table| world.projection(table, table, &["id"])).concat()
}

async fn is_loading(daemon: &Daemon) {
    until_logged(daemon, "a load begins").await;
    wait::until("rows of the load", async || {
        let status = daemon.status().await;
        let rows = status["load"]["tables"].as_array().map_or(0, |tables| {
            tables.iter().map(|table| table["rows"].as_u64().unwrap_or(0)).sum()
        });
        if rows > 0 { Ok(()) } else { Err(status) }
    })
    .await;
}

/// Changes of every kind, all over the table, most of them of rows that are not read yet.
async fn write(world: &World, round: i32) {
    world
        .execute(&format!(
            "UPDATE items SET n = -{round} WHERE id % 97 = {round};
             UPDATE items SET id = id + 100000 WHERE id % 101 = {round};
             DELETE FROM items WHERE id % 103 = {round};
             INSERT INTO items VALUES (200000 + {round}, {round}, 'new', repeat('n', 5000));
             UPDATE items SET n = 7 WHERE id % 50 = 0 AND n % 7 = {round};
             INSERT INTO empty VALUES ({round}, 'now') ON CONFLICT DO NOTHING;
             UPDATE others SET v = '{round}' WHERE id % 10 = {round}"
        ))
        .await;
}

#[tokio::test]
async fn writes_and_kills_during_the_load() {
    let world = World::new(ROWS).await;
    let mut daemon = Daemon::start(&world.config_with("load_rows_per_second = 1500", &all(&world)));
    is_loading(&daemon).await;
    let (status, reasons) = daemon.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(reasons.contains("loading"), "{reasons}");
    let lsn = world.lsn().await;
    let query = format!("/v1/wait?projection={}&lsn={lsn}&timeout=100ms", world.name("items"));
    assert_eq!(daemon.get(&query).await.0, 408);
    let expected =
        daemon.metrics().await.get("readside_load_rows_expected", &[("table", "public.items")]);
    assert!(expected > Some(0.0), "{expected:?}");
    for round in 0..4 {
        write(&world, round).await;
        if round == 1 {
            daemon.kill9();
            write(&world, 10).await;
            daemon.restart();
            until_logged(&daemon, "streaming").await;
        }
    }
    daemon.kill9();
    daemon.set_config(&world.config(&all(&world)));
    daemon.restart();
    write(&world, 5).await;
    for table in TABLES {
        world.same(&mut daemon, table, table, &["id"]).await;
    }
    let log = daemon.log();
    assert_eq!(log.matches("a load begins").count(), 1, "{log}");
    assert!(log.contains("the load goes on"), "{log}");
    write(&world, 6).await;
    for table in TABLES {
        world.same(&mut daemon, table, table, &["id"]).await;
    }
}

#[tokio::test]
async fn tables_that_move_or_empty_during_the_load() {
    let world = World::new(ROWS).await;
    let mut daemon = Daemon::start(&world.config_with("load_rows_per_second = 2000", &all(&world)));
    is_loading(&daemon).await;
    world
        .execute("DELETE FROM items WHERE id % 3 = 0; UPDATE items SET n = -1 WHERE id % 5 = 0")
        .await;
    world.execute("VACUUM FULL items").await;
    write(&world, 1).await;
    world.execute("TRUNCATE others; INSERT INTO others VALUES (1, 'after')").await;
    world.execute("UPDATE items SET n = -2 WHERE id % 7 = 0").await;
    for table in TABLES {
        world.same(&mut daemon, table, table, &["id"]).await;
    }
    world.execute("TRUNCATE items").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
}

#[tokio::test]
async fn a_table_that_goes_during_the_load_does_not_stop_the_others() {
    let world = World::new(ROWS).await;
    let mut daemon = Daemon::start(&world.config_with("load_rows_per_second = 1000", &all(&world)));
    is_loading(&daemon).await;
    world.execute("DROP TABLE items; UPDATE others SET v = 'go on'").await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
    world.same(&mut daemon, "empty", "empty", &["id"]).await;
}

#[tokio::test]
async fn projections_join_and_leave_a_running_pipeline() {
    let world = World::new(ROWS).await;
    let items = world.projection("items", "items", &["id"]);
    let others = world.projection("others", "others", &["id"]);
    let mut daemon = Daemon::start(&world.config(&others));
    daemon.wait_ready().await;
    write(&world, 1).await;
    daemon.terminate().await;
    daemon
        .set_config(&world.config_with("load_rows_per_second = 2000", &(items.clone() + &others)));
    daemon.restart();
    is_loading(&daemon).await;
    // What was there does not wait for what comes.
    write(&world, 2).await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
    let status = daemon.status().await;
    assert!(status["load"].is_object(), "{status}");
    write(&world, 3).await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
    until_metric(&daemon, "readside_load_rows_total", &[("table", "public.others")], |rows| {
        rows == 100.0
    })
    .await;

    // One leaves, changes meanwhile, and comes back.
    daemon.terminate().await;
    daemon.set_config(&world.config(&others));
    daemon.restart();
    write(&world, 4).await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
    daemon.terminate().await;
    daemon.set_config(&world.config(&(others + &items)));
    daemon.restart();
    world.same(&mut daemon, "items", "items", &["id"]).await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
}

/// Of other transactions of any age, a load that joins waits for the end, and those who are followed do not.
#[tokio::test]
async fn a_load_that_cannot_begin_yet_holds_nobody_up() {
    let world = World::new(ROWS).await;
    let items = world.projection("items", "items", &["id"]);
    let others = world.projection("others", "others", &["id"]);
    let mut daemon = Daemon::start(&world.config(&others));
    daemon.wait_ready().await;
    let open = world.postgres.client(&world.source).await;
    open.batch_execute("BEGIN; INSERT INTO items VALUES (300000, 1, 'late', 'x')").await.unwrap();
    let reload = daemon.reload(&world.config(&(items + &others))).await;
    assert_eq!(reload["result"], "applied", "{reload}");
    until_logged(&daemon, "creating the slot waits for").await;
    write(&world, 1).await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
    // Nor after a kill.
    daemon.kill9();
    daemon.restart();
    write(&world, 2).await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
    wait::until("the status to name it", async || {
        let waiting = daemon.status().await["load"]["waiting_for"].take();
        if waiting.is_string() { Ok(()) } else { Err(waiting) }
    })
    .await;
    open.batch_execute("COMMIT").await.unwrap();
    write(&world, 3).await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
    assert_eq!(daemon.status().await["load"], serde_json::Value::Null);
}

#[tokio::test]
async fn an_old_transaction_is_named_and_waited_for() {
    let world = World::new(ROWS).await;
    let other = world.postgres.client(&world.source).await;
    other.batch_execute("BEGIN; UPDATE others SET v = 'uncommitted' WHERE id = 1").await.unwrap();
    let pid = one(&other, "SELECT pg_backend_pid()::text").await;
    let mut daemon = Daemon::start(&world.config(&all(&world)));
    until_logged(&daemon, &format!("of pid {pid}")).await;
    until_logged(&daemon, "open for").await;
    let waits_for = async |text: &str| {
        wait::until("the status to name it", async || {
            let waiting = daemon.status().await["load"]["waiting_for"].take();
            let told = waiting.as_str().is_some_and(|told| told.contains(text));
            if told { Ok(()) } else { Err(waiting) }
        })
        .await;
    };
    waits_for(&format!("of pid {pid} (role postgres, idle in transaction, Client ClientRead)"))
        .await;
    let (status, reasons) = daemon.get("/readyz").await;
    assert!(status == 503 && reasons.contains("load: waiting for transaction"), "{reasons}");
    // It can be stopped meanwhile, and leaves nothing behind that would hold WAL for nobody.
    let status = daemon.terminate().await;
    assert!(status.success(), "{status} {}", daemon.log());
    other.batch_execute("COMMIT").await.unwrap();
    wait::until("the creation to be given up", async || {
        let sql = "SELECT count(*)::text FROM pg_replication_slots";
        let slots = one(&world.client, sql).await;
        if slots == "0" { Ok(()) } else { Err(slots) }
    })
    .await;

    other.batch_execute("BEGIN; UPDATE others SET v = 'again' WHERE id = 2").await.unwrap();
    daemon.restart();
    until_logged(&daemon, &format!("of pid {pid}")).await;
    let (status, reasons) = daemon.get("/readyz").await;
    assert_eq!(status, 503, "{reasons}");
    other.batch_execute("COMMIT").await.unwrap();
    world.same(&mut daemon, "others", "others", &["id"]).await;
    assert_eq!(daemon.status().await["load"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_prepared_transaction_is_named_and_waited_for() {
    let options = PostgresOptions {
        settings: &[("max_prepared_transactions", "5")],
        ..PostgresOptions::default()
    };
    let world = World::with(&options, ROWS).await;
    let prepare = "BEGIN; UPDATE others SET v = 'prepared' WHERE id = 1; PREPARE TRANSACTION 'p 7'";
    world.execute(prepare).await;
    let mut daemon = Daemon::start(&world.config(&all(&world)));
    wait::until("the status to name it", async || {
        let waiting = match daemon.try_get("/v1/status").await {
            Ok((_, text)) => text,
            Err(error) => error,
        };
        if waiting.contains("prepared by role postgres as 'p 7'") { Ok(()) } else { Err(waiting) }
    })
    .await;
    world.execute("COMMIT PREPARED 'p 7'").await;
    for table in TABLES {
        world.same(&mut daemon, table, table, &["id"]).await;
    }
}

/// What is durable of a load is not read again.
#[tokio::test]
async fn a_killed_load_goes_on_where_it_was() {
    const ROWS: f64 = 14000.0;
    let world = World::new(
        "CREATE TABLE wide (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, pad text)
             WITH (autovacuum_enabled = false);
         ALTER TABLE wide ALTER COLUMN pad SET STORAGE PLAIN;
         INSERT INTO wide SELECT g, 0, repeat('x', 3000) FROM generate_series(1, 14000) g;",
    )
    .await;
    let name = world.name("wide");
    let wide =
        format!("[projection.{name}]\ntable = \"wide\"\nto.reporting = {{ table = \"wide\" }}");
    let mut daemon = Daemon::start(&world.config_with("load_rows_per_second = 1500", &wide));
    let loaded = async |daemon: &Daemon| {
        let rows = daemon.metrics().await;
        rows.get("readside_load_rows_total", &[("table", "public.wide")]).unwrap_or(0.0)
    };
    is_loading(&daemon).await;
    wait::until("a chunk to be over", async || {
        let load = daemon.status().await["load"].take();
        let table = &load["tables"][0];
        assert!(table["chunks"].as_u64() > Some(2), "{load}");
        if table["chunks_done"].as_u64() > Some(0) { Ok(()) } else { Err(load) }
    })
    .await;
    // It is in the state when a later position is.
    world.execute("UPDATE wide SET n = 2 WHERE id = 14000").await;
    let end = one(&world.client, "SELECT (pg_current_wal_lsn() - '0/0')::bigint::text").await;
    let end: f64 = end.parse().unwrap();
    until_metric(&daemon, "readside_durable_lsn", &[], |lsn| lsn >= end).await;
    daemon.kill9();
    world.execute("UPDATE wide SET n = 1 WHERE id % 10 = 0; DELETE FROM wide WHERE id < 100").await;
    // What is durable of it counts from the beginning.
    daemon.restart();
    let first = wait::until("the load to go on", async || {
        let (_, text) = daemon.try_get("/v1/status").await?;
        let status: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let table = status["load"]["tables"][0].clone();
        if table["chunks_done"].as_u64() > Some(0) { Ok(table) } else { Err(status.to_string()) }
    })
    .await;
    assert!(first["rows"].as_u64() > Some(1000), "{first}");
    daemon.kill9();
    daemon.set_config(&world.config(&wide));
    daemon.restart();
    let lsn = world.lsn().await;
    daemon.wait_for(&name, "reporting", &lsn).await;
    let rows = world.rows(&world.client, "wide", &["id"]).await;
    assert!(world.rows(&world.reporting, "wide", &["id"]).await == rows);
    let log = daemon.log_of_this_start();
    assert!(log.contains("the load goes on") && !log.contains("chunks_done=0"), "{log}");
    // Every row once, and those twice whose chunks were on their way.
    let rows = loaded(&daemon).await;
    assert!((ROWS - 100.0..2.0 * ROWS - 3000.0).contains(&rows), "{rows}");
}

/// Rows are read no faster than the source can spare.
#[tokio::test]
async fn a_throttled_load_takes_its_time() {
    let world = World::new(ROWS).await;
    let items = world.projection("items", "items", &["id"]);
    let begun = std::time::Instant::now();
    let mut daemon = Daemon::start(&world.config_with("load_rows_per_second = 1500", &items));
    daemon.wait_ready().await;
    // 6000 rows, less what the first portions of each worker are let through with.
    assert!(begun.elapsed().as_secs_f64() > 2.0, "{:?}", begun.elapsed());
}

/// A commit is in the WAL, and may reach us, while nobody can see it yet.
#[tokio::test]
async fn commits_that_wait_for_a_standby_are_not_lost() {
    let world = World::new(ROWS).await;
    // Made before: creating it would wait as well.
    world.execute("CREATE PUBLICATION readside FOR TABLE items, empty, others").await;
    standby(&world, "SET synchronous_standby_names = nobody").await;
    world.execute("SET synchronous_commit = local").await;
    let other = world.postgres.client(&world.source).await;
    let pid: i32 = one(&other, "SELECT pg_backend_pid()::text").await.parse().unwrap();
    let stuck = async move {
        // Ends when it is told to; committed it is all the same.
        let _ = other
            .batch_execute("UPDATE items SET n = 99999, id = id + 500000 WHERE id < 50; INSERT INTO others VALUES (7777, 'stuck')")
            .await;
    };
    crate::harness::beside(stuck);
    wait::until("the commit to wait", async || {
        let sql = format!(
            "SELECT coalesce(wait_event, 'nothing') FROM pg_stat_activity WHERE pid = {pid}"
        );
        let event = one(&world.client, &sql).await;
        if event == "SyncRep" { Ok(()) } else { Err(event) }
    })
    .await;
    let mut daemon = Daemon::start(&world.config(&all(&world)));
    // The slot's creation waits for it, or what it wrote would be in neither load nor stream.
    until_logged(&daemon, &format!("of pid {pid}")).await;
    world.execute("UPDATE items SET n = 1 WHERE id = 60").await;
    world.execute(&format!("SELECT pg_cancel_backend({pid})")).await;
    // The Postgres sink's commits wait, too.
    standby(&world, "RESET synchronous_standby_names").await;
    for table in TABLES {
        world.same(&mut daemon, table, table, &["id"]).await;
    }
}

async fn standby(world: &World, setting: &str) {
    world.execute(&format!("ALTER SYSTEM {setting}")).await;
    let expected = if setting.starts_with("SET") { "nobody" } else { "" };
    world.execute("SELECT pg_reload_conf()").await;
    wait::until("the setting", async || {
        let found = one(&world.client, "SHOW synchronous_standby_names").await;
        if found == expected { Ok(()) } else { Err(found) }
    })
    .await;
}

/// A reader takes a watermark's time for the age of what is read.
#[tokio::test]
async fn a_first_loads_watermark_tells_the_time_of_the_load() {
    let world = World::new(ROWS).await;
    let before = one(&world.client, "SELECT clock_timestamp()::text").await;
    let mut daemon = Daemon::start(&world.config(&world.projection("empty", "empty", &["id"])));
    daemon.wait_ready().await;
    let sql = format!(
        "SELECT (committed_at BETWEEN '{before}' AND clock_timestamp())::text FROM readside.watermark"
    );
    assert_eq!(one(&world.reporting, &sql).await, "true");
}
