//! Changes of rows in every shape that the stream brings them, in all three sinks.

use crate::harness::Daemon;
use crate::world::{World, until_metric};

#[tokio::test]
async fn keys_move_and_swap() {
    let world = World::new(
        "CREATE TABLE pairs (a int, b text, v int, PRIMARY KEY (b, a));
         CREATE TABLE parents (id int PRIMARY KEY);
         CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE);
         CREATE TABLE unique_later (id int, v text, PRIMARY KEY (id) DEFERRABLE INITIALLY IMMEDIATE);
         ALTER TABLE unique_later REPLICA IDENTITY FULL;
         INSERT INTO pairs VALUES (1, 'x', 1), (2, 'x', 2), (1, 'y|', 3), (1, '', 4);
         INSERT INTO parents SELECT generate_series(1, 9);
         INSERT INTO children SELECT i, i % 9 + 1 FROM generate_series(1, 50) AS i;
         INSERT INTO unique_later VALUES (1, 'one'), (2, 'two'), (3, 'three');",
    )
    .await;
    let config = [
        // In the order of its own columns, which is not the key's.
        world.projection("pairs", "pairs", &["a", "b"]),
        world.projection("children", "children", &["id"]),
        world.projection("later", "unique_later", &["id"]),
    ];
    let mut daemon = Daemon::start(&world.config(&config.concat()));
    daemon.wait_ready().await;
    let all = [("children", "children", "id"), ("later", "unique_later", "id")];
    let steps = [
        "UPDATE pairs SET a = 10 WHERE a = 2",
        "UPDATE pairs SET b = b || 'z' WHERE v = 4",
        // Swapped through a third place within one transaction.
        "BEGIN; UPDATE pairs SET a = -1 WHERE v = 1; UPDATE pairs SET a = 1, b = 'x' WHERE v = 2;
         UPDATE pairs SET a = 10, b = 'x' WHERE v = 1; COMMIT",
        // All at once: each row takes the key of the next.
        "UPDATE unique_later SET id = id % 3 + 1",
        "UPDATE children SET parent = 9 WHERE parent < 5",
        "BEGIN; DELETE FROM pairs WHERE v = 3; INSERT INTO pairs VALUES (1, 'y|', 33); COMMIT",
        "BEGIN; INSERT INTO pairs VALUES (7, 'gone', 0); SAVEPOINT s; UPDATE pairs SET v = 100;
         ROLLBACK TO s; DELETE FROM pairs WHERE a = 7; COMMIT",
        "BEGIN; INSERT INTO pairs VALUES (8, 'never', 0); ROLLBACK",
        "DELETE FROM parents WHERE id = 9",
        "INSERT INTO pairs VALUES (10, 'x', 5) ON CONFLICT (b, a) DO UPDATE SET v = excluded.v",
    ];
    for sql in steps {
        world.execute(sql).await;
        world.same(&mut daemon, "pairs", "pairs", &["a", "b"]).await;
        for (name, table, key) in all {
            world.same(&mut daemon, name, table, &[key]).await;
        }
    }
}

#[tokio::test]
async fn truncate_empties_what_it_names() {
    let world = World::new(
        "CREATE TABLE parents (id int PRIMARY KEY, v text);
         CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents);
         CREATE TABLE others (id int PRIMARY KEY);
         CREATE TABLE unpublished (id int PRIMARY KEY REFERENCES parents);
         INSERT INTO parents SELECT i FROM generate_series(1, 20) AS i;
         INSERT INTO children SELECT i, i FROM generate_series(1, 20) AS i;
         INSERT INTO others SELECT generate_series(1, 20);",
    )
    .await;
    let config = [
        world.projection("parents", "parents", &["id"]),
        world.projection("children", "children", &["id"]),
        world.projection("others", "others", &["id"]),
    ];
    let mut daemon = Daemon::start(&world.config(&config.concat()));
    daemon.wait_ready().await;
    let steps = [
        "TRUNCATE others",
        "BEGIN; INSERT INTO others VALUES (1), (2); TRUNCATE others; INSERT INTO others VALUES (3); COMMIT",
        "TRUNCATE others, children",
        "INSERT INTO children VALUES (1, 1), (2, 2)",
        "TRUNCATE parents CASCADE",
        "INSERT INTO parents VALUES (5, 'after'), (6, 'after')",
        "BEGIN; TRUNCATE parents CASCADE; ROLLBACK",
        "BEGIN; TRUNCATE parents CASCADE; INSERT INTO parents VALUES (6, 'again'); COMMIT",
    ];
    for sql in steps {
        world.execute(sql).await;
        for name in ["parents", "children", "others"] {
            world.same(&mut daemon, name, name, &["id"]).await;
        }
    }
    let labels = [("table", "public.parents"), ("op", "truncate")];
    until_metric(&daemon, "readside_changes_total", &labels, |count| count == 2.0).await;
    let log = daemon.log();
    assert_eq!(log.matches("a load begins").count(), 1, "{log}");
}

#[tokio::test]
async fn unchanged_large_values_are_kept() {
    let world = World::new(
        "CREATE TABLE docs (id int PRIMARY KEY, n int, small text, big text, other jsonb);
         CREATE TABLE fulls (id int PRIMARY KEY, n int, big text);
         CREATE TABLE keyed (k text NOT NULL, n int, big text);
         CREATE UNIQUE INDEX keyed_k ON keyed (k);
         ALTER TABLE keyed REPLICA IDENTITY USING INDEX keyed_k;
         ALTER TABLE docs ALTER big SET STORAGE EXTERNAL;
         ALTER TABLE fulls ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;
         ALTER TABLE keyed ALTER big SET STORAGE EXTERNAL, ALTER k SET STORAGE EXTERNAL;
         INSERT INTO docs SELECT i, i, 's', repeat(i::text, 9000), jsonb_build_object('a', repeat('x', 9000 + i))
           FROM generate_series(1, 20) AS i;
         INSERT INTO fulls SELECT i, i, repeat(i::text, 9000) FROM generate_series(1, 20) AS i;
         INSERT INTO keyed SELECT i::text, i, repeat(i::text, 9000) FROM generate_series(1, 20) AS i;",
    )
    .await;
    let config = [
        world.projection("docs", "docs", &["id"]),
        world.projection("fulls", "fulls", &["id"]),
        world.projection("keyed", "keyed", &["k"]),
    ];
    let mut daemon = Daemon::start(&world.config(&config.concat()));
    daemon.wait_ready().await;
    let steps = [
        "UPDATE docs SET n = n + 1; UPDATE fulls SET n = n + 1; UPDATE keyed SET n = n + 1",
        "UPDATE docs SET id = id + 100, small = NULL WHERE id < 5; UPDATE fulls SET id = id + 100 WHERE id < 5;
         UPDATE keyed SET k = k || 'x' WHERE n < 5",
        "UPDATE docs SET big = NULL WHERE id = 10; UPDATE fulls SET big = 'short' WHERE id = 10",
        "BEGIN; INSERT INTO docs VALUES (500, 1, 'new', repeat('new', 9000), '{}');
         UPDATE docs SET n = 2 WHERE id = 500; UPDATE docs SET id = 501 WHERE id = 500; COMMIT",
        "DELETE FROM fulls WHERE id = 12; DELETE FROM keyed WHERE n = 9; DELETE FROM docs WHERE id = 501",
    ];
    for (at, sql) in steps.into_iter().enumerate() {
        if at == 3 {
            daemon.kill9();
            daemon.restart();
        }
        world.execute(sql).await;
        world.same(&mut daemon, "docs", "docs", &["id"]).await;
        world.same(&mut daemon, "fulls", "fulls", &["id"]).await;
        world.same(&mut daemon, "keyed", "keyed", &["k"]).await;
    }
}

#[tokio::test]
async fn names_are_taken_as_they_are() {
    let world = World::new(
        r#"CREATE SCHEMA "Odd.Schema";
           CREATE TABLE "Odd.Schema"."Order" ("ID" int PRIMARY KEY, "select" text, "a ""quoted"" one" int, "from" int);
           CREATE TABLE "Group" ("Key" text PRIMARY KEY, "User" text, "ÄÖ" numeric);
           CREATE TABLE plain (id int PRIMARY KEY, "order" int, "limit" text);
           INSERT INTO "Odd.Schema"."Order" VALUES (1, 'a', 2, 3);
           INSERT INTO "Group" VALUES ('k', 'u', 1.50);
           INSERT INTO plain VALUES (1, 2, 'x');"#,
    )
    .await;
    let config = [
        world.projection("odd", r#""Odd.Schema"."Order""#, &["ID"]),
        world.projection("group", r#""Group""#, &["Key"]),
        world.projection("plain", "PLAIN", &["id"]),
    ];
    let mut daemon = Daemon::start(
        &world.config(&config.concat().replace("table = \"group\"", "table = \"\\\"Group\\\"\"")),
    );
    daemon.wait_ready().await;
    world
        .execute(
            r#"INSERT INTO "Odd.Schema"."Order" VALUES (2, 'b', NULL, 4);
               UPDATE "Odd.Schema"."Order" SET "ID" = 7, "from" = 1 WHERE "ID" = 1;
               UPDATE "Group" SET "Key" = 'K', "ÄÖ" = 'NaN'; INSERT INTO plain VALUES (2, 3, '');"#,
        )
        .await;
    world.same(&mut daemon, "odd", r#""Odd.Schema"."Order""#, &["ID"]).await;
    world.same(&mut daemon, "plain", "plain", &["id"]).await;
    let lsn = world.lsn().await;
    daemon.wait_for(&world.name("group"), "reporting", &lsn).await;
    let rows = world.rows(&world.reporting, r#""Group""#, &["Key"]).await;
    assert_eq!(rows, world.rows(&world.client, r#""Group""#, &["Key"]).await);
    let labels = [("table", "Odd.Schema.Order"), ("op", "insert")];
    until_metric(&daemon, "readside_changes_total", &labels, |count| count == 1.0).await;
}
