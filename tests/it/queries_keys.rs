//! Keys of queries: with NULLs, of numbers that are equal and print differently, of one row, and not
//! unique in fact.

use tokio_postgres::Client;

use crate::harness::{Daemon, Postgres, PostgresOptions};
use crate::world::one;

const SCHEMA: &str = "
    CREATE SCHEMA \"Sales\";
    CREATE TABLE \"Sales\".\"Orders\" (\"Id\" int PRIMARY KEY, region text, price numeric, parent int);
    CREATE TABLE parts (id int, kind int NOT NULL, order_id int, PRIMARY KEY (kind, id)) PARTITION BY LIST (kind);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
    CREATE TABLE loose (code text, note text); ALTER TABLE loose REPLICA IDENTITY FULL;
    INSERT INTO \"Sales\".\"Orders\" SELECT i, CASE i % 4 WHEN 0 THEN NULL ELSE 'r' || i % 4 END, i % 5, i / 2
      FROM generate_series(1, 40) AS i;
    INSERT INTO parts SELECT i, 1 + i % 2, i % 50 FROM generate_series(1, 60) AS i;
    INSERT INTO loose SELECT 'c' || i % 3, 'n' || i FROM generate_series(1, 9) AS i;";

struct Keys {
    postgres: Postgres,
    source: Client,
    reads: Client,
    names: (String, String),
}

impl Keys {
    async fn start() -> Keys {
        let postgres = Postgres::start(&PostgresOptions::default()).await;
        let names = (postgres.new_database().await, postgres.new_database().await);
        let (source, reads) = (postgres.client(&names.0).await, postgres.client(&names.1).await);
        source.batch_execute(SCHEMA).await.unwrap();
        Keys { postgres, source, reads, names }
    }

    fn config(&self, queries: &[(&str, &str)]) -> String {
        let mut config = format!(
            "[source]\nurl = \"{}\"\n[sink.reads.postgres]\nurl = \"{}\"\n",
            self.postgres.url(&self.names.0),
            self.postgres.url(&self.names.1)
        );
        for (name, query) in queries {
            config += &format!(
                "[projection.{name}]\nquery = '''{query}'''\nto.reads = {{ table = \"{name}\" }}\n"
            );
        }
        config
    }

    async fn same(&self, daemon: &mut Daemon, queries: &[(&str, &str)]) {
        let lsn = one(&self.source, "SELECT pg_current_wal_insert_lsn()::text").await;
        for (name, query) in queries {
            daemon.wait_for(name, "reads", &lsn).await;
            assert_eq!(
                rows(&self.reads, name).await,
                rows(&self.source, &format!("({query})")).await,
                "{name}"
            );
        }
    }
}

async fn rows(client: &Client, relation: &str) -> String {
    let sql = format!(
        "SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\"), '') FROM {relation} AS t"
    );
    one(client, &sql).await
}

const QUERIES: [(&str, &str); 6] = [
    (
        "regions",
        "SELECT region, count(*) AS n, sum(price) AS total FROM \"Sales\".\"Orders\" GROUP BY region",
    ),
    ("pairs", "SELECT DISTINCT region, price FROM \"Sales\".\"Orders\""),
    (
        "family",
        "SELECT o.\"Id\", p.kind, p.id FROM \"Sales\".\"Orders\" o LEFT JOIN parts p ON p.order_id = o.\"Id\"",
    ),
    ("total", "SELECT count(*) AS n, max(price) AS most FROM \"Sales\".\"Orders\""),
    (
        "tree",
        "SELECT c.\"Id\", p.region AS of_parent FROM \"Sales\".\"Orders\" c \
              LEFT JOIN \"Sales\".\"Orders\" p ON p.\"Id\" = c.parent",
    ),
    ("codes", "SELECT code, count(*) AS n FROM loose GROUP BY code"),
];

#[tokio::test]
async fn keys_of_every_kind_are_kept() {
    let keys = Keys::start().await;
    let mut daemon = Daemon::start(&keys.config(&QUERIES));
    daemon.wait_ready().await;
    keys.same(&mut daemon, &QUERIES).await;
    let steps = [
        "UPDATE \"Sales\".\"Orders\" SET region = NULL WHERE \"Id\" < 10",
        "UPDATE \"Sales\".\"Orders\" SET region = 'r2', price = NULL WHERE region IS NULL",
        "UPDATE \"Sales\".\"Orders\" SET price = price * 1.00; DELETE FROM parts WHERE id < 20",
        "UPDATE \"Sales\".\"Orders\" SET price = 1.0; UPDATE loose SET code = NULL WHERE note < 'n4'",
        "UPDATE \"Sales\".\"Orders\" SET price = 1.00; UPDATE parts SET kind = 3 - kind WHERE id > 40",
        "DELETE FROM loose WHERE code IS NULL",
        "TRUNCATE \"Sales\".\"Orders\"",
        "INSERT INTO \"Sales\".\"Orders\" VALUES (1, NULL, NULL, NULL), (2, NULL, 1, 1), (3, 'x', NULL, 1)",
    ];
    for (at, sql) in steps.into_iter().enumerate() {
        keys.source.batch_execute(sql).await.unwrap();
        if at % 3 == 1 {
            daemon.restart();
        }
        keys.same(&mut daemon, &QUERIES).await;
    }
    let letters = daemon.metrics().await.get("readside_dead_letters", &[]).unwrap_or(0.0);
    assert!(letters == 0.0, "{letters} dead letters");
}
