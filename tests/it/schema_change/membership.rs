//! Tables that are published by way of others: what is written while the way is closed is not sent.

use crate::harness::Daemon;
use crate::world::{World, one};

const TABLES: &str = "
    CREATE SCHEMA shop;
    CREATE TABLE shop.items (id int PRIMARY KEY, v text);
    CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (50) PARTITION BY RANGE (id);
    CREATE TABLE parts_1_1 PARTITION OF parts_1 FOR VALUES FROM (0) TO (50);
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50) TO (500);
    INSERT INTO shop.items SELECT i, 'v' FROM generate_series(1, 100) AS i;
    INSERT INTO parts SELECT * FROM shop.items;
    CREATE PUBLICATION readside FOR TABLE parts;";

/// Each way, closed and opened again; those by a schema are there since PostgreSQL 15.
const WAYS: [(&str, &str); 3] = [
    ("ALTER PUBLICATION readside DROP TABLE parts", "ALTER PUBLICATION readside ADD TABLE parts"),
    (
        "ALTER PUBLICATION readside DROP TABLES IN SCHEMA shop",
        "ALTER PUBLICATION readside ADD TABLES IN SCHEMA shop",
    ),
    ("ALTER TABLE shop.items SET SCHEMA public", "ALTER TABLE items SET SCHEMA shop"),
];

#[tokio::test]
async fn what_is_published_by_way_of_others_and_was_not_for_a_moment() {
    let world = World::new(TABLES).await;
    let version = one(&world.client, "SHOW server_version_num").await;
    let has_schemas = version.parse::<u32>().unwrap() >= 150_000;
    let (published, more, ways) = match has_schemas {
        true => ("TABLES IN SCHEMA shop", "parts_2, shop.items", &WAYS[..]),
        false => ("TABLE shop.items", "parts_2", &WAYS[..1]),
    };
    world.execute(&format!("ALTER PUBLICATION readside ADD {published}")).await;
    let items = world.projection("items", "shop.items", &["id"]);
    let parts = world.projection("parts", "parts", &["id"]);
    let mut daemon = Daemon::start(&world.config(&(items + &parts)));
    daemon.wait_ready().await;
    let same = async || {
        world.soon_same("items", "shop.items", &["id"]).await;
        world.soon_same("parts", "parts", &["id"]).await;
    };
    same().await;
    let mut round = 0;
    for stopped in [false, true] {
        for &(close, open) in ways {
            round += 1;
            if stopped {
                daemon.terminate().await;
            }
            world.execute(close).await;
            let items = match close.starts_with("ALTER TABLE") {
                true => "items",
                false => "shop.items",
            };
            for table in [items, "parts"] {
                let sql = format!("UPDATE {table} SET v = 'unheard {round}' WHERE id % 7 = 0");
                world.execute(&sql).await;
            }
            world.execute(open).await;
            if stopped {
                daemon.restart();
            }
            same().await;
            world.execute(&format!("UPDATE shop.items SET v = 'heard {round}' WHERE id < 9")).await;
            world.execute(&format!("UPDATE parts SET v = 'heard {round}' WHERE id < 9")).await;
            same().await;
        }
    }
    // One more way closes nothing.
    let loads = daemon.log().matches("a load begins").count();
    world.execute(&format!("ALTER PUBLICATION readside ADD TABLE ONLY {more}")).await;
    world.execute("ALTER TABLE parts ADD more int DEFAULT 1").await;
    same().await;
    let log = daemon.log();
    let begun: Vec<_> = log.lines().filter(|line| line.contains("a load begins")).collect();
    assert_eq!(begun.len(), loads + 1, "{log}");
    assert!(begun[loads].contains("tables=\"public.parts\""), "{log}");
}
