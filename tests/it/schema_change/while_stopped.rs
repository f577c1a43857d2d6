//! Columns that become other ones under the same name while nobody looks.

use crate::harness::Daemon;
use crate::world::World;

#[tokio::test]
async fn a_column_that_was_made_again_holds_other_values() {
    let world = World::new(
        "CREATE TABLE items (id int PRIMARY KEY, note text, a text, b text);
         INSERT INTO items SELECT i, 'note', 'a', 'b' FROM generate_series(1, 100) AS i;
         CREATE TABLE parts (id int PRIMARY KEY, note text, a text, b text) PARTITION BY RANGE (id);
         CREATE TABLE parts_1 (b text, id int NOT NULL, a text, note text);
         ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (0) TO (50);
         CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50) TO (500);
         INSERT INTO parts SELECT * FROM items;",
    )
    .await;
    let notes = |table: &str| format!("(SELECT id, note FROM {table})");
    let named = |table: &str| format!("(SELECT id, b FROM {table})");
    let mut config = String::new();
    for table in ["items", "parts"] {
        let query = format!("SELECT id, note FROM {table}");
        config += &world.query(&format!("{table}_notes"), &query, &["id"]);
        let query = format!("SELECT id, b FROM {table}");
        config += &world.query(&format!("{table}_named"), &query, &["id"]);
    }
    let mut daemon = Daemon::start(&world.config(&config));
    daemon.wait_ready().await;
    let all_same = async || {
        for table in ["items", "parts"] {
            world.soon_same(&format!("{table}_notes"), &notes(table), &["id"]).await;
            world.soon_same(&format!("{table}_named"), &named(table), &["id"]).await;
        }
    };
    for change in ["DROP COLUMN note, ADD COLUMN note text", "DROP COLUMN b"] {
        daemon.terminate().await;
        for table in ["items", "parts"] {
            world.execute(&format!("ALTER TABLE {table} {change}")).await;
            if change == "DROP COLUMN b" {
                world.execute(&format!("ALTER TABLE {table} RENAME COLUMN a TO b")).await;
            }
        }
        daemon.restart();
        all_same().await;
    }
    // Nothing is loaded again where nothing has changed.
    daemon.terminate().await;
    world.execute("ALTER TABLE items ADD idle int").await;
    daemon.restart();
    daemon.wait_ready().await;
    all_same().await;
    let log = daemon.log();
    assert_eq!(log.matches("a load begins").count(), 3, "{log}");
}
