//! DDL under read models that are queries: only those are concerned that look at what has changed.

use super::quarantined;
use crate::harness::{Daemon, wait};
use crate::world::World;

const TABLES: &str = "
    CREATE TABLE items (id int PRIMARY KEY, v text, n numeric, idle int, parent int);
    CREATE TABLE parents (id int PRIMARY KEY, name text, idle int);
    INSERT INTO items SELECT i, 'v' || i, i, i, i % 10 FROM generate_series(1, 300) AS i;
    INSERT INTO parents SELECT i, 'p' || i FROM generate_series(0, 9) AS i;";

const TEXTS: &str = "SELECT id, v FROM items";
const NUMBERS: &str = "SELECT id, n * 2 AS n FROM items";
const SUMS: &str = "SELECT p.id, p.name, sum(i.n) AS n FROM parents p LEFT JOIN items i ON i.parent = p.id GROUP BY p.id";

fn config(world: &World, queries: &[(&str, &str)]) -> String {
    let queries = queries.iter().map(|(name, sql)| world.query(name, sql, &["id"]));
    world.config(&queries.collect::<String>())
}

async fn same(world: &World, daemon: &mut Daemon, name: &str, sql: &str) {
    world.same(daemon, name, &format!("({sql})"), &["id"]).await;
}

async fn soon_same(world: &World, name: &str, sql: &str) {
    world.soon_same(name, &format!("({sql})"), &["id"]).await;
}

/// How often the source's rows were read.
async fn loaded(daemon: &Daemon, table: &str) -> f64 {
    let rows = daemon.metrics().await;
    rows.get("readside_load_rows_total", &[("table", table)]).unwrap_or_default()
}

#[tokio::test]
async fn columns_that_no_query_looks_at_may_do_what_they_like() {
    let world = World::new(TABLES).await;
    let queries = [("texts", TEXTS), ("sums", SUMS)];
    let mut daemon = Daemon::start(&config(&world, &queries));
    daemon.wait_ready().await;
    for sql in [
        "ALTER TABLE items DROP idle",
        "ALTER TABLE items ADD more text; UPDATE items SET more = 'x', v = 'new' WHERE id < 9",
        "ALTER TABLE items RENAME more TO less; ALTER TABLE parents RENAME idle TO busy",
        "ALTER TABLE items DROP less, ADD less int; INSERT INTO items VALUES (1000, 'late', 1, 5, 5)",
    ] {
        world.execute(sql).await;
        world
            .execute("UPDATE items SET n = n + 1 WHERE id % 7 = 0; DELETE FROM items WHERE id = 3")
            .await;
        for (name, sql) in queries {
            same(&world, &mut daemon, name, sql).await;
        }
    }
    // The catalog has been looked at since: a change that does matter is known.
    world.execute("ALTER TABLE parents ALTER name TYPE varchar(50)").await;
    quarantined(&daemon, &world.name("sums"), "column name was text and is character varying(50)")
        .await;
    same(&world, &mut daemon, "texts", TEXTS).await;
    assert_eq!(loaded(&daemon, "public.items").await, 300.0, "{}", daemon.log());
}

#[tokio::test]
async fn a_changed_column_quarantines_the_queries_that_look_at_it() {
    let world = World::new(TABLES).await;
    let mut daemon =
        Daemon::start(&config(&world, &[("texts", TEXTS), ("numbers", NUMBERS), ("sums", SUMS)]));
    daemon.wait_ready().await;
    let before = world.rows(&world.reporting, "texts", &["id"]).await;
    world.execute("ALTER TABLE items RENAME v TO w; UPDATE items SET n = 7 WHERE id < 50").await;
    quarantined(&daemon, &world.name("texts"), "column v").await;
    soon_same(&world, "numbers", NUMBERS).await;
    soon_same(&world, "sums", SUMS).await;
    assert_eq!(world.rows(&world.reporting, "texts", &["id"]).await, before);
    assert_eq!(world.cached("texts").await, before);
    // The others follow; the reason stays told.
    world.execute("UPDATE items SET w = 'unseen', n = 8 WHERE id < 9").await;
    same(&world, &mut daemon, "numbers", NUMBERS).await;
    for sql in ["VACUUM FULL parents", "UPDATE items SET n = 9 WHERE id < 5"] {
        world.execute(sql).await;
    }
    same(&world, &mut daemon, "sums", SUMS).await;
    quarantined(&daemon, &world.name("texts"), "v").await;
    // What a query needs is there again.
    world.execute("ALTER TABLE items RENAME w TO v").await;
    soon_same(&world, "texts", TEXTS).await;
    // Another type is another column.
    world.execute("ALTER TABLE items ALTER n TYPE text USING n || '!'").await;
    quarantined(&daemon, &world.name("sums"), "column n was numeric and is text").await;
    world.execute("UPDATE items SET v = 'and on' WHERE id > 290").await;
    soon_same(&world, "texts", TEXTS).await;
    assert!(daemon.exited().is_none());
}

#[tokio::test]
async fn a_table_is_quarantined_and_a_query_of_it_goes_on() {
    let world = World::new(TABLES).await;
    let table = world.projection("items", "items", &["id"]);
    let query = world.query("texts", TEXTS, &["id"]);
    let mut daemon = Daemon::start(&world.config(&(table + &query)));
    daemon.wait_ready().await;
    let before = world.rows(&world.reporting, "items", &["id"]).await;
    world
        .execute("ALTER TABLE items DROP idle; UPDATE items SET v = 'goes on' WHERE id < 100")
        .await;
    quarantined(&daemon, &world.name("items"), "column idle is gone").await;
    soon_same(&world, "texts", TEXTS).await;
    quarantined(&daemon, &world.name("items"), "column idle is gone").await;
    assert_eq!(world.rows(&world.reporting, "items", &["id"]).await, before);
    // A new start takes the table as it is.
    daemon.terminate().await;
    daemon.restart();
    daemon.wait_ready().await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
}

/// Readers see the old answer until the new one is whole.
#[tokio::test]
async fn a_changed_query_is_another_generation() {
    let world = World::new(TABLES).await;
    let mut daemon = Daemon::start(&config(&world, &[("texts", TEXTS), ("sums", SUMS)]));
    daemon.wait_ready().await;
    same(&world, &mut daemon, "texts", TEXTS).await;
    let loaded_before = loaded(&daemon, "public.parents").await;
    daemon.terminate().await;
    let changed = "SELECT id, upper(v) || n AS v, parent FROM items WHERE id > 20";
    world.execute("UPDATE items SET v = 'changed' WHERE id < 40").await;
    daemon.set_config(&config(&world, &[("texts", changed), ("numbers", NUMBERS)]));
    daemon.restart();
    wait::until("the new answer", async || {
        let rows = world.rows(&world.reporting, "texts", &["id"]).await;
        match rows.values().any(|row| row.get("parent").is_some()) {
            // Whole and of now, or whole and of then.
            true => {
                assert_eq!(rows, world.rows(&world.client, &format!("({changed})"), &["id"]).await);
                Ok(())
            }
            false => {
                assert_eq!(rows.len(), 300);
                Err("still the old one")
            }
        }
    })
    .await;
    daemon.wait_ready().await;
    for (name, sql) in [("texts", changed), ("numbers", NUMBERS)] {
        same(&world, &mut daemon, name, sql).await;
    }
    // What was there before comes back, and rows that nobody wanted meanwhile are read again.
    world.execute("UPDATE parents SET name = 'unseen'; DELETE FROM items WHERE id < 30").await;
    daemon.terminate().await;
    daemon.set_config(&config(&world, &[("texts", TEXTS), ("sums", SUMS)]));
    daemon.restart();
    daemon.wait_ready().await;
    for (name, sql) in [("texts", TEXTS), ("sums", SUMS)] {
        same(&world, &mut daemon, name, sql).await;
    }
    assert!(loaded(&daemon, "public.parents").await > loaded_before);
}
