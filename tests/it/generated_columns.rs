//! Generated columns of the source: the stream does not bring them, and yet they are there.

use crate::harness::daemon::readside;
use crate::harness::scratch::Scratch;
use crate::harness::{Daemon, Postgres, PostgresOptions};
use crate::world::World;

const TABLES: &str = "
    CREATE TABLE lines (
        id int PRIMARY KEY, name text, price numeric(10, 2), quantity int, at timestamptz,
        total numeric(8, 1) GENERATED ALWAYS AS (price * quantity) STORED,
        \"Label\" varchar(40) GENERATED ALWAYS AS (upper(coalesce(name, 'none')) || '-' || id) STORED,
        wide bigint NOT NULL GENERATED ALWAYS AS (quantity * 2) STORED,
        note text);
    CREATE TABLE parents (id int PRIMARY KEY, title text,
        code text GENERATED ALWAYS AS (left(title, 1) || id) STORED);
    CREATE TABLE parts (id int, kind int NOT NULL, twice int GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (kind, id))
        PARTITION BY LIST (kind);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
    CREATE TABLE full_ones (a int, b int GENERATED ALWAYS AS (a + 1) STORED);
    ALTER TABLE full_ones REPLICA IDENTITY FULL;
    INSERT INTO lines SELECT i, CASE WHEN i % 7 > 0 THEN 'n' || i END, i * 1.37, i % 5, NULL FROM generate_series(1, 200) AS i;
    INSERT INTO parents SELECT i, 'title ' || i FROM generate_series(0, 4) AS i;
    INSERT INTO parts SELECT i, 1 + i % 2 FROM generate_series(1, 50) AS i;
    INSERT INTO full_ones SELECT i FROM generate_series(1, 20) AS i;";

/// Name, key and query of the read models that are queries.
const MODELS: [(&str, &[&str], &str); 3] = [
    ("totals", &["Label"], "SELECT \"Label\", total, wide FROM lines WHERE wide > 2"),
    (
        "joined",
        &["id"],
        "SELECT p.id, p.code, p.title, sum(l.total) AS total, array_agg(l.\"Label\" ORDER BY l.id) AS labels,
                to_jsonb(p) AS whole
         FROM parents p LEFT JOIN lines l ON l.wide = p.id * 2 GROUP BY p.id",
    ),
    ("by_code", &["code"], "SELECT code, count(*) AS n FROM parents GROUP BY code"),
];

const TABLE_MODELS: [(&str, &[&str]); 3] =
    [("lines", &["id"]), ("parts", &["kind", "id"]), ("full_ones", &["a"])];

fn config(world: &World) -> String {
    let tables = TABLE_MODELS.iter().map(|(table, key)| world.projection(table, table, key));
    let queries = MODELS.iter().map(|(name, key, query)| world.query(name, query, key));
    world.config(&tables.chain(queries).collect::<String>())
}

async fn same(world: &World, daemon: &mut Daemon) {
    for (table, key) in TABLE_MODELS {
        world.same(daemon, table, table, key).await;
    }
    for (name, key, query) in MODELS {
        world.same(daemon, name, &format!("({query})"), key).await;
    }
}

#[tokio::test]
async fn generated_columns_are_computed() {
    let world = World::new(TABLES).await;
    let mut daemon = Daemon::start(&config(&world));
    daemon.wait_ready().await;
    same(&world, &mut daemon).await;
    for (at, sql) in [
        "UPDATE lines SET price = price + 0.05, name = NULL WHERE id < 50",
        "UPDATE lines SET id = id + 1000 WHERE id % 3 = 0; DELETE FROM lines WHERE id < 10",
        "INSERT INTO lines VALUES (5000, 'new', 99999.99, 1), (5001, NULL, NULL, 3);
         UPDATE parents SET title = 'other' WHERE id < 2",
        "UPDATE parts SET kind = 3 - kind WHERE id < 20; UPDATE full_ones SET a = a + 100 WHERE a < 5",
        "TRUNCATE parts; DELETE FROM full_ones WHERE b > 100; INSERT INTO parents VALUES (77, 'seven')",
    ]
    .into_iter()
    .enumerate()
    {
        world.execute(sql).await;
        if at % 2 == 1 {
            daemon.restart();
        }
        same(&world, &mut daemon).await;
    }
}

/// Neither a new generated column nor one that becomes an ordinary one leaves a trace in the stream.
#[tokio::test]
async fn generated_columns_come_and_go() {
    let world = World::new(TABLES).await;
    let mut daemon = Daemon::start(&config(&world));
    daemon.wait_ready().await;
    same(&world, &mut daemon).await;
    world
        .execute("ALTER TABLE lines ADD more int GENERATED ALWAYS AS (id % 10) STORED; UPDATE lines SET price = 3")
        .await;
    world.soon_same("lines", "lines", &["id"]).await;
    world.execute("ALTER TABLE parents ALTER code DROP EXPRESSION").await;
    world.execute("UPDATE parents SET code = 'own' || id WHERE id = 2").await;
    world.soon_same("joined", &format!("({})", MODELS[1].2), &["id"]).await;
    world
        .execute("UPDATE parents SET title = 'x' WHERE id = 3; UPDATE lines SET quantity = 4")
        .await;
    same(&world, &mut daemon).await;
}

#[tokio::test]
async fn what_cannot_be_computed_is_refused_where_it_is_wanted() {
    let postgres = Postgres::start(&PostgresOptions::default()).await;
    let (source, sink) = (postgres.new_database().await, postgres.new_database().await);
    let client = postgres.client(&source).await;
    let tables = client.batch_execute(
        "CREATE FUNCTION own(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1';
         CREATE TABLE odd (id int PRIMARY KEY, x int GENERATED ALWAYS AS (own(id)) STORED, y int);
         CREATE TABLE keyed (a int, k int GENERATED ALWAYS AS (a * 2) STORED PRIMARY KEY);",
    );
    tables.await.unwrap();
    let scratch = Scratch::new("generated");
    let file = scratch.path().join("readside.toml");
    let check = |projections: &str| {
        let config = format!(
            "[source]\nurl = \"{}\"\n[state]\ndir = \"state\"\n[sink.reporting.postgres]\nurl = \"{}\"\n{projections}",
            postgres.url(&source),
            postgres.url(&sink)
        );
        std::fs::write(&file, config).unwrap();
        let output = readside(&["check"], Some(&file));
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let (code, text) = check(
        "[projection.fine]\nquery = \"SELECT id, y FROM odd\"\nto.reporting = { table = \"fine\" }",
    );
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = check(
        "[projection.as_it_is]\ntable = \"odd\"\nto.reporting = { table = \"a\" }\n\
         [projection.asked]\nquery = \"SELECT o.id, o.x + 1 AS x\\nFROM odd o\"\nto.reporting = { table = \"b\" }\n\
         [projection.keyed]\ntable = \"keyed\"\nto.reporting = { table = \"c\" }",
    );
    assert_eq!(code, Some(2), "{text}");
    for words in [
        "projection `as_it_is`: the generated column `x` of public.odd is not replicated, and its expression \
         public.own(id) cannot be computed here: ",
        "write query = with the columns that are wanted",
        "`query` of projection `asked`: the generated column `x` of public.odd is not replicated",
        "leave the column out of the query",
        "the replica identity of public.keyed has generated columns, which are not replicated: k",
        "ALTER TABLE public.keyed REPLICA IDENTITY FULL;",
    ] {
        assert!(text.contains(words), "{words}\nis not in\n{text}");
    }
}
