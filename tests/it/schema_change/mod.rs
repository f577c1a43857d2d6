//! DDL while the daemon runs.

mod composites;
mod equal_rows;
mod identity;
mod inheritance;
mod membership;
mod queries;
mod rebuilt;
mod while_stopped;

use serde_json::Value;

use crate::harness::{Daemon, wait};
use crate::world::{World, until_metric};

const TABLES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE TABLE items (id int PRIMARY KEY, v text, n numeric, m mood);
    CREATE TABLE others (id int PRIMARY KEY, v text);
    INSERT INTO items SELECT i, 'v' || i, i, 'ok' FROM generate_series(1, 300) AS i;
    INSERT INTO others SELECT i, 'o' || i FROM generate_series(1, 300) AS i;";

async fn start(world: &World) -> Daemon {
    let items = world.projection("items", "items", &["id"]);
    let others = world.projection("others", "others", &["id"]);
    let mut daemon = Daemon::start(&world.config(&(items + &others)));
    daemon.wait_ready().await;
    daemon
}

#[tokio::test]
async fn added_columns_appear_in_every_sink() {
    let world = World::new(TABLES).await;
    let mut daemon = start(&world).await;
    for sql in [
        "ALTER TABLE items ADD plain int",
        "ALTER TABLE items ADD constant text NOT NULL DEFAULT 'all the same';
         ALTER TABLE items ADD computed int DEFAULT (random() * 1000)::int,
           ADD a int[] DEFAULT '{1,2}', ADD j jsonb",
    ] {
        world.execute(sql).await;
        world.execute("UPDATE items SET v = 'touched' WHERE id <= 3; UPDATE others SET v = 'x' WHERE id = 1").await;
        // The other table does not wait for it.
        world.same(&mut daemon, "others", "others", &["id"]).await;
        world.soon_same("items", "items", &["id"]).await;
    }
    world.execute("UPDATE items SET plain = id, j = '{\"a\": 1}'").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    let rows =
        daemon.metrics().await.get("readside_load_rows_total", &[("table", "public.others")]);
    assert_eq!(rows, Some(300.0), "the other table is not loaded again");
}

/// Readers of the Postgres table see it all the time.
#[tokio::test]
async fn readers_keep_the_table_while_it_gains_a_column() {
    let world = World::new(TABLES).await;
    let mut daemon = start(&world).await;
    world.execute("ALTER TABLE items ADD later int DEFAULT 7").await;
    let mut redis = world.redis.client().await;
    wait::until("the column to appear", async || {
        let count: i64 =
            world.reporting.query_one("SELECT count(*) FROM items", &[]).await.unwrap().get(0);
        assert_eq!(count, 300);
        assert_eq!(world.search.count(&world.name("items")).await, Some(300));
        let text: String = redis::cmd("GET").arg("items:1").query_async(&mut redis).await.unwrap();
        let row: Value = serde_json::from_str(&text).unwrap();
        if row.get("later").is_some() { Ok(()) } else { Err(row) }
    })
    .await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
}

#[tokio::test]
async fn rewritten_values_are_found() {
    let world = World::new(TABLES).await;
    let mut daemon = start(&world).await;
    for sql in [
        "ALTER TABLE items ALTER n TYPE numeric USING n * 2",
        "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'",
        "ALTER TYPE mood ADD VALUE 'ecstatic'",
        "VACUUM FULL items",
        "CLUSTER items USING items_pkey",
        "UPDATE items SET m = 'ecstatic' WHERE id < 10",
    ] {
        world.execute(sql).await;
        world.soon_same("items", "items", &["id"]).await;
    }
    world.execute("DELETE FROM items WHERE id < 5").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
}

async fn quarantined(daemon: &Daemon, projection: &str, reason: &str) {
    wait::until("the quarantine", async || {
        let status = daemon.status().await;
        let found =
            status["projections"].as_array().unwrap().iter().find(|p| p["name"] == projection);
        let found = found.unwrap();
        let told = found["reason"].as_str().is_some_and(|text| text.contains(reason));
        if found["state"] == "quarantined" && told { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_dropped_column_quarantines_its_projections_alone() {
    let world = World::new(TABLES).await;
    let mut daemon = start(&world).await;
    let before = world.rows(&world.client, "items", &["id"]).await;
    world
        .execute(
            "ALTER TABLE items DROP v; UPDATE items SET n = -1; UPDATE others SET v = 'goes on'",
        )
        .await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
    quarantined(&daemon, &world.name("items"), "column v is gone").await;
    // Its last good state stays, and nobody is told that it is newer than it is.
    assert_eq!(world.rows(&world.reporting, "items", &["id"]).await, before);
    assert_eq!(world.cached("items").await, before);
    let lsn = world.lsn().await;
    world.execute("UPDATE others SET v = 'and on'").await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
    let query = format!("/v1/wait?projection={}&lsn={lsn}&timeout=300ms", world.name("items"));
    let (status, answer) = daemon.get(&query).await;
    assert_eq!(status, 408, "{answer}");
    let (status, reasons) = daemon.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(reasons.contains(&world.name("items")), "{reasons}");

    // Something else changes meanwhile: the others go on, the quarantine stays.
    world.execute("ALTER TABLE others ADD more int DEFAULT 5").await;
    world.soon_same("others", "others", &["id"]).await;
    assert!(daemon.exited().is_none());

    // A restart takes the table as it is now.
    daemon.terminate().await;
    daemon.restart();
    daemon.wait_ready().await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
}

#[tokio::test]
async fn a_dropped_or_replaced_table_does_not_stop_the_others() {
    let world = World::new(TABLES).await;
    let mut daemon = start(&world).await;
    world.execute("DROP TABLE items; UPDATE others SET v = 'goes on'").await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
    quarantined(&daemon, &world.name("items"), "gone").await;
    world.execute("ALTER TABLE others ADD more int DEFAULT 5").await;
    world.soon_same("others", "others", &["id"]).await;
    quarantined(&daemon, &world.name("items"), "").await;
    // Made anew, under the same name.
    world
        .execute(
            "CREATE TABLE items (id int PRIMARY KEY, w text); INSERT INTO items VALUES (1, 'new')",
        )
        .await;
    world.soon_same("items", "items", &["id"]).await;
    world.execute("INSERT INTO items VALUES (2, 'newer')").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    until_metric(&daemon, "readside_source_lag_bytes", &[], |lag| lag < 1e6).await;
}

/// Rows change with a label's name, and nothing in the WAL, nor in the tables' files, tells.
#[tokio::test]
async fn renamed_labels_are_found_in_every_table_and_after_a_stop() {
    let world = World::new(
        "CREATE TYPE mood AS ENUM ('sad', 'ok');
         CREATE DOMAIN state AS mood;
         CREATE TABLE plain (id int PRIMARY KEY, m mood);
         CREATE TABLE lists (id int PRIMARY KEY, m mood[]);
         CREATE TABLE domains (id int PRIMARY KEY, m state);
         INSERT INTO plain VALUES (1, 'ok'), (2, 'sad');
         INSERT INTO lists VALUES (1, '{ok,sad}');
         INSERT INTO domains VALUES (1, 'ok');",
    )
    .await;
    let tables = ["plain", "lists", "domains"];
    let config: Vec<_> = tables.iter().map(|name| world.projection(name, name, &["id"])).collect();
    let mut daemon = Daemon::start(&world.config(&config.concat()));
    daemon.wait_ready().await;
    world.execute("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'").await;
    for name in tables {
        world.soon_same(name, name, &["id"]).await;
    }
    daemon.terminate().await;
    world.execute("ALTER TYPE mood RENAME VALUE 'fine' TO 'well'").await;
    daemon.restart();
    daemon.wait_ready().await;
    for name in tables {
        world.soon_same(name, name, &["id"]).await;
    }
}

#[tokio::test]
async fn a_table_that_is_again_what_is_needed_is_followed_again() {
    let world = World::new(TABLES).await;
    let mut daemon = start(&world).await;
    world.execute("ALTER TABLE items RENAME v TO w; UPDATE items SET n = -1").await;
    quarantined(&daemon, &world.name("items"), "column v").await;
    world
        .execute("UPDATE items SET w = 'unseen' WHERE id = 1; ALTER TABLE items RENAME w TO v")
        .await;
    world.soon_same("items", "items", &["id"]).await;
    // Without its key the application's own changes would fail, were it not unpublished at once.
    world.execute("ALTER TABLE others DROP CONSTRAINT others_pkey").await;
    quarantined(&daemon, &world.name("others"), "").await;
    world.execute("UPDATE items SET v = 'goes on'").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    world.execute("DELETE FROM items WHERE id = 2; ALTER TABLE others ADD PRIMARY KEY (id)").await;
    world.execute("UPDATE others SET v = 'again'").await;
    world.soon_same("others", "others", &["id"]).await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
}

#[tokio::test]
async fn an_added_label_costs_no_reload() {
    let world = World::new(TABLES).await;
    let mut daemon = start(&world).await;
    world.execute("ALTER TYPE mood ADD VALUE 'calm' BEFORE 'ok'").await;
    world.execute("UPDATE items SET m = 'calm' WHERE id < 10").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    daemon.terminate().await;
    world
        .execute("ALTER TYPE mood ADD VALUE 'wild'; UPDATE items SET v = 'later' WHERE id = 20")
        .await;
    daemon.restart();
    daemon.wait_ready().await;
    world.execute("UPDATE items SET m = 'wild' WHERE id = 30").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    let log = daemon.log();
    assert_eq!(log.matches("a load begins").count(), 1, "{log}");
}

/// With rows of before and after, and back again.
#[tokio::test]
async fn retyped_columns_quarantine_until_config_and_schema_agree() {
    let world = World::new(TABLES).await;
    let mut daemon = start(&world).await;
    for sql in [
        "ALTER TABLE items ALTER n TYPE text USING 'n' || n; INSERT INTO items VALUES (1000, 'x', 'text')",
        "ALTER TABLE items ALTER n TYPE int USING length(n); UPDATE items SET n = n + 1",
        "ALTER TABLE items ALTER v TYPE varchar(40); UPDATE items SET v = 'short' WHERE id = 3",
    ] {
        let before = world.rows(&world.reporting, "items", &["id"]).await;
        world.execute(sql).await;
        world.execute("UPDATE others SET v = v || '+'").await;
        world.same(&mut daemon, "others", "others", &["id"]).await;
        quarantined(&daemon, &world.name("items"), "column").await;
        assert_eq!(world.rows(&world.reporting, "items", &["id"]).await, before);
        daemon.terminate().await;
        daemon.restart();
        world.soon_same("items", "items", &["id"]).await;
        daemon.wait_ready().await;
    }
}

#[tokio::test]
async fn a_view_that_blocks_a_swap_stops_that_projection_alone() {
    let world = World::new(TABLES).await;
    let mut daemon = start(&world).await;
    world.reporting.batch_execute("CREATE VIEW of_items AS SELECT id FROM items").await.unwrap();
    world.execute("ALTER TABLE items ADD more int DEFAULT 3").await;
    wait::until("the view to be named", async || {
        let (status, reasons) = daemon.get("/readyz").await;
        let told = reasons.contains("stands still") && reasons.contains("view of_items");
        if status == 503 && told { Ok(()) } else { Err(reasons) }
    })
    .await;
    world.execute("UPDATE others SET v = 'goes on'; UPDATE items SET v = 'waits'").await;
    world.same(&mut daemon, "others", "others", &["id"]).await;
    let lsn = world.lsn().await;
    daemon.wait_for(&world.name("items"), "cache", &lsn).await;
    let up = daemon.metrics().await.get("readside_sink_up", &[("sink", "reporting")]);
    assert_eq!(up, Some(1.0));
    world.reporting.batch_execute("DROP VIEW of_items").await.unwrap();
    world.same(&mut daemon, "items", "items", &["id"]).await;
    daemon.wait_ready().await;
}
