//! Partitioned tables: what the stream tells of their leaves, and what only the catalog does.

use crate::harness::Daemon;
use crate::world::World;

const SALES: &str = "
    CREATE TABLE sales (id int, year int, v text, PRIMARY KEY (id, year)) PARTITION BY RANGE (year);
    CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM (2001) TO (2002);
    CREATE TABLE sales_2 PARTITION OF sales FOR VALUES FROM (2002) TO (2003);
    -- Columns in another order, and one that is gone.
    CREATE TABLE sales_3 (v text, gone int, year int NOT NULL, id int NOT NULL, PRIMARY KEY (id, year));
    ALTER TABLE sales_3 DROP gone;
    ALTER TABLE sales ATTACH PARTITION sales_3 FOR VALUES FROM (2003) TO (2004);
    CREATE TABLE sales_4 PARTITION OF sales FOR VALUES FROM (2004) TO (2005) PARTITION BY LIST (id);
    CREATE TABLE sales_4_rest PARTITION OF sales_4 DEFAULT;
    INSERT INTO sales SELECT i, 2001 + i % 4, 'v' || i FROM generate_series(1, 400) AS i;";

const KEY: [&str; 2] = ["id", "year"];

#[tokio::test]
async fn rows_and_truncates_of_leaves_come_by_the_stream() {
    let world = World::new(SALES).await;
    let mut daemon = Daemon::start(&world.config(&world.projection("sales", "sales", &KEY)));
    daemon.wait_ready().await;
    let steps = [
        "UPDATE sales SET v = 'u' WHERE id % 5 = 0",
        // Rows move to other leaves.
        "UPDATE sales SET year = 2003 WHERE year = 2001 AND id < 100",
        "UPDATE sales SET year = CASE year WHEN 2002 THEN 2004 ELSE 2002 END WHERE id > 300 AND year <> 2003",
        "DELETE FROM sales WHERE id % 7 = 0",
        "TRUNCATE sales_3",
        "INSERT INTO sales VALUES (1000, 2003, 'n'), (1000, 2004, 'n')",
        "BEGIN; TRUNCATE sales_1; INSERT INTO sales VALUES (1, 2001, 'again'); COMMIT",
        "BEGIN; UPDATE sales SET year = 2001, id = id + 5000 WHERE year = 2002; TRUNCATE sales_2; COMMIT",
        "TRUNCATE sales",
        "INSERT INTO sales SELECT i, 2001 + i % 4, 'new' FROM generate_series(1, 40) AS i",
    ];
    for sql in steps {
        world.execute(sql).await;
        world.same(&mut daemon, "sales", "sales", &KEY).await;
    }
    daemon.kill9();
    daemon.restart();
    world.execute("TRUNCATE sales_2").await;
    world.same(&mut daemon, "sales", "sales", &KEY).await;
    let log = daemon.log();
    assert_eq!(log.matches("a load begins").count(), 1, "{log}");
}

#[tokio::test]
async fn leaves_that_come_and_go_are_found() {
    let world = World::new(SALES).await;
    let mut daemon = Daemon::start(&world.config(&world.projection("sales", "sales", &KEY)));
    daemon.wait_ready().await;
    let steps = [
        // Filled before.
        "CREATE TABLE sales_5 (LIKE sales INCLUDING ALL);
         INSERT INTO sales_5 SELECT i, 2005, 'attached' FROM generate_series(1, 50) AS i;
         ALTER TABLE sales ATTACH PARTITION sales_5 FOR VALUES FROM (2005) TO (2006);
         UPDATE sales SET v = 'after' WHERE year = 2005 AND id < 5",
        "ALTER TABLE sales DETACH PARTITION sales_2; DROP TABLE sales_1",
        // Empty, and filled at once.
        "CREATE TABLE sales_6 PARTITION OF sales FOR VALUES FROM (2006) TO (2007);
         INSERT INTO sales SELECT i, 2006, 'new leaf' FROM generate_series(1, 50) AS i",
        "DELETE FROM sales WHERE year = 2006 AND id < 25",
        "UPDATE sales SET year = 2006, id = id + 5000 WHERE year = 2005",
    ];
    for sql in steps {
        world.execute(sql).await;
        world.soon_same("sales", "sales", &KEY).await;
    }
    world.execute("UPDATE sales SET v = 'last'").await;
    world.same(&mut daemon, "sales", "sales", &KEY).await;
}
