//! REPLICA IDENTITY FULL without a key: two equal rows cannot be told apart, and are never one.

use super::quarantined;
use crate::harness::Daemon;
use crate::world::{World, one, until_logged};

const EQUAL: &str = "two equal rows";

async fn start(rows: &str) -> (World, Daemon) {
    let world = World::new(&format!(
        "CREATE TABLE marks (a int, b text); ALTER TABLE marks REPLICA IDENTITY FULL;
         CREATE TABLE others (id int PRIMARY KEY, v text); {rows}"
    ))
    .await;
    let sums = world.query("sums", "SELECT a, count(*) AS n FROM marks GROUP BY a", &["a"]);
    let others = world.projection("others", "others", &["id"]);
    let daemon = Daemon::start(&world.config(&(sums + &others)));
    until_logged(&daemon, "a load begins").await;
    (world, daemon)
}

const SUMS: &str = "(SELECT a, count(*) AS n FROM marks GROUP BY a)";

#[tokio::test]
async fn equal_rows_of_a_load_are_refused() {
    // Together in one chunk; far from each other.
    for rows in [
        "INSERT INTO marks VALUES (1, 'x'), (1, 'x'), (2, 'y')",
        "INSERT INTO marks VALUES (1, 'x');
         INSERT INTO marks SELECT 10 + i, repeat('p', 1000) || i FROM generate_series(1, 30000) AS i;
         INSERT INTO marks VALUES (1, 'x')",
    ] {
        let (world, mut daemon) = start(rows).await;
        quarantined(&daemon, &world.name("sums"), EQUAL).await;
        world.execute("INSERT INTO others VALUES (1, 'goes on')").await;
        world.same(&mut daemon, "others", "others", &["id"]).await;
        daemon.restart();
        until_logged(&daemon, "streaming").await;
        quarantined(&daemon, &world.name("sums"), EQUAL).await;
        world
            .execute("DELETE FROM marks WHERE ctid = (SELECT min(ctid) FROM marks WHERE a = 1)")
            .await;
        world.soon_same("sums", SUMS, &["a"]).await;
        world.execute("INSERT INTO marks VALUES (3, 'z'); DELETE FROM marks WHERE a = 1").await;
        world.soon_same("sums", SUMS, &["a"]).await;
    }
}

/// The load that follows meets them again.
#[tokio::test]
async fn equal_rows_of_the_stream_are_refused_until_they_differ() {
    let (world, mut daemon) = start("INSERT INTO marks VALUES (1, 'x'), (2, 'y')").await;
    daemon.wait_ready().await;
    let before = world.rows(&world.reporting, "sums", &["a"]).await;
    world.execute("INSERT INTO marks VALUES (1, 'x')").await;
    quarantined(&daemon, &world.name("sums"), EQUAL).await;
    // The catalog is looked at meanwhile: the column that is new there arrives.
    for column in ["one", "two"] {
        world.execute(&format!("ALTER TABLE others ADD {column} int DEFAULT 7")).await;
        world.execute("INSERT INTO marks VALUES (9, 'busy' || random())").await;
        world.execute(&format!("INSERT INTO others VALUES ({})", column.len() + 1)).await;
        world.soon_same("others", "others", &["id"]).await;
        world.execute("TRUNCATE others").await;
        quarantined(&daemon, &world.name("sums"), EQUAL).await;
        assert_eq!(world.rows(&world.reporting, "sums", &["a"]).await, before);
    }
    world.execute("UPDATE marks SET b = 'other' WHERE ctid = '(0,1)'").await;
    world.soon_same("sums", SUMS, &["a"]).await;
    daemon.wait_ready().await;
}

/// Whether a row that is inserted is the one that the load has read or its equal is known for each.
#[tokio::test]
async fn rows_that_are_written_during_a_load_are_there_once() {
    let world = World::new(
        "CREATE TABLE marks (a int, b text); ALTER TABLE marks REPLICA IDENTITY FULL;
         INSERT INTO marks SELECT i, 'b' || i FROM generate_series(1, 6000) AS i;
         CREATE TABLE parts (a int, b text) PARTITION BY RANGE (a);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (3000);
         CREATE TABLE parts_2 (b text, a int);
         ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (3000) TO (100000);
         ALTER TABLE parts_1 REPLICA IDENTITY FULL; ALTER TABLE parts_2 REPLICA IDENTITY FULL;
         INSERT INTO parts SELECT * FROM marks;",
    )
    .await;
    let tables = ["marks", "parts"];
    let event = |table: &str| {
        format!(
            "[event.{full}]\ntable = '{table}'\nwhen = 'true'\n\
             data = 'old.b AS old_b, new.b AS new_b'\n\
             to.reporting = {{ table = '{table}_told' }}\n",
            full = world.name(&format!("{table}_told"))
        )
    };
    let config = tables.map(|table| world.projection(table, table, &["a", "b"]) + &event(table));
    let slow = world.config_with("load_rows_per_second = 2000", &config.concat());
    let mut daemon = Daemon::start(&slow);
    for round in 0..6 {
        until_logged(&daemon, "streaming").await;
        for table in tables {
            world
                .execute(&format!(
                    "INSERT INTO {table} VALUES (10000 + {round}, 'new');
                     BEGIN; DELETE FROM {table} WHERE a = 5 + {round};
                     INSERT INTO {table} VALUES (5 + {round}, 'b' || 5 + {round}); COMMIT;
                     UPDATE {table} SET b = b WHERE a % 100 = {round};
                     UPDATE {table} SET a = a + 3000 WHERE a = 2000 + {round};
                     DELETE FROM {table} WHERE a = 5990 + {round}"
                ))
                .await;
        }
        if round == 3 {
            daemon.kill9();
            daemon.restart();
        }
    }
    for table in tables {
        world.same(&mut daemon, table, table, &["a", "b"]).await;
        let told = world.name(&format!("{table}_told"));
        daemon.wait_for(&told, "reporting", &world.lsn().await).await;
        let new = format!(
            "SELECT string_agg(concat_ws(' ', old_b, new_b), ',' ORDER BY lsn, ordinal)
             FROM {table}_told
             WHERE old_b IS NULL AND new_b = 'new' OR old_b LIKE 'b599%' AND new_b IS NULL"
        );
        let expected: Vec<String> = (0..6).map(|round| format!("new,b{}", 5990 + round)).collect();
        assert_eq!(one(&world.reporting, &new).await, expected.join(","), "{table}");
    }
    let log = daemon.log();
    assert!(!log.contains(EQUAL), "{log}");
    // It is followed as exactly as it was loaded.
    world.execute("INSERT INTO marks VALUES (10000, 'new')").await;
    quarantined(&daemon, &world.name("marks"), EQUAL).await;
    world.same(&mut daemon, "parts", "parts", &["a", "b"]).await;
}
