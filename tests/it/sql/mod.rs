//! Queries: what PostgreSQL takes and the planner plans, and that both see the same names and types.

mod answers;
mod corpus;
mod daemon;
pub(crate) mod generate;
mod readers;

use std::fmt::Write as _;

use fastrand::Rng;

use crate::harness::daemon::readside;
use crate::harness::postgres::{Postgres, PostgresOptions};
use crate::harness::scratch::Scratch;

/// A source with a schema, and a place to write to.
struct Shop {
    postgres: Postgres,
    scratch: Scratch,
}

impl Shop {
    async fn start(schema: &str) -> Shop {
        let postgres = Postgres::start(&PostgresOptions::default()).await;
        postgres.create_database("shop").await;
        postgres.create_database("reads").await;
        postgres.client("shop").await.batch_execute(schema).await.unwrap();
        Shop { postgres, scratch: Scratch::new("sql") }
    }

    /// Runs a command over projections of these queries; its exit code and what it says.
    fn run(&self, arguments: &[&str], queries: &[generate::Generated]) -> (Option<i32>, String) {
        let mut config = format!(
            "[source]\nurl = \"{}\"\n[state]\ndir = \"state\"\n[sink.reads.postgres]\nurl = \"{}\"\n",
            self.postgres.url("shop"),
            self.postgres.url("reads"),
        );
        for (at, query) in queries.iter().enumerate() {
            writeln!(config, "[projection.q{at}]\nquery = '''\n{}'''", query.sql).unwrap();
            if let Some(key) = &query.key {
                writeln!(config, "key = {key:?}").unwrap();
            }
            writeln!(config, "to.reads = {{ table = \"q{at}\" }}").unwrap();
        }
        let file = self.scratch.path().join("readside.toml");
        std::fs::write(&file, config).unwrap();
        let output = readside(arguments, Some(&file));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        (output.status.code(), text.replace(&file.display().to_string(), "readside.toml"))
    }
}

fn queries(all: &[&str]) -> Vec<generate::Generated> {
    all.iter().map(|sql| generate::Generated { sql: (*sql).to_owned(), key: None }).collect()
}

fn unions() -> impl Iterator<Item = generate::Generated> {
    let key = || Some(vec!["kind".to_owned(), "id".to_owned()]);
    UNIONS.iter().map(move |sql| generate::Generated { sql: (*sql).to_owned(), key: key() })
}

/// As many as READSIDE_QUERIES says, or a few.
fn count() -> u64 {
    std::env::var("READSIDE_QUERIES").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

/// Each construct that is supported, at least once.
const SUPPORTED: &[&str] = &[
    "SELECT * FROM orders",
    "SELECT o.* FROM public.orders AS o WHERE o.total > 5;",
    "SELECT \"id\", ID AS again, public.orders.status FROM ORDERS",
    "SELECT a, b.c FROM (SELECT id AS a, status FROM orders) AS x (a, b1), \
     (SELECT id, region AS c FROM customers) AS b (c0, c) WHERE b.c0 = x.a",
    "SELECT orders.id, customers.name FROM orders, customers WHERE orders.customer_id = customers.id",
    "SELECT i.id, c.name, p.name AS product FROM products p, customers c, items i, orders o \
     WHERE i.order_id = o.id AND o.customer_id = c.id AND p.id = i.product_id",
    "SELECT i.id, o.status FROM orders o RIGHT JOIN items i ON i.order_id = o.id",
    "SELECT order_id, tag, i.id FROM tags JOIN items i USING (order_id)",
    "SELECT t.tag, order_id, i.id FROM tags t LEFT JOIN items i USING (order_id)",
    "SELECT o.id, c.id AS customer FROM (orders o JOIN customers c ON c.id = o.customer_id)",
    "SELECT o.id, p.id AS parent, g.id AS grandparent FROM orders o \
     LEFT JOIN orders p ON p.id = o.parent_id LEFT JOIN orders g ON g.id = p.parent_id",
    "SELECT i.id, o.id AS o FROM items i JOIN orders o ON o.total = i.order_id AND o.id > i.quantity",
    "SELECT o.id FROM orders o JOIN customers c ON (o.customer_id, o.id) = (c.id, c.id)",
    "SELECT count(*) FROM orders",
    "SELECT count(*), sum(total), avg(total), min(status), max(placed), bool_and(total > 1), \
     every(total > 1), bool_or(total > 1) FROM orders",
    "SELECT status, count(DISTINCT customer_id) FROM orders GROUP BY status HAVING max(total) > 3",
    "SELECT status AS s, total / 10, count(*) FROM orders GROUP BY s, 2",
    "SELECT total % 7 AS day, total % 7 + 1 AS next, sum(total) FROM orders o GROUP BY o.total % 7",
    "SELECT customer_id, string_agg(status, ', ' ORDER BY placed, id) AS list FROM orders GROUP BY 1",
    "SELECT order_id, array_agg(price), array_agg(DISTINCT quantity) AS distinct_ones, json_agg(price), \
     jsonb_agg(quantity ORDER BY quantity DESC NULLS LAST), jsonb_object_agg(id, price), \
     json_object_agg(id, quantity) FROM items GROUP BY order_id",
    "SELECT customer_id, json_agg(o ORDER BY id) AS rows, jsonb_agg(o ORDER BY id) AS same, count(*) FROM orders o \
     GROUP BY customer_id",
    "SELECT id, to_jsonb(o) AS doc, row_to_json(o) AS text FROM orders o",
    "SELECT o.id, o.status, c.name, count(i.id), sum(i.quantity) FILTER (WHERE i.price > 2) \
     FROM orders o JOIN customers c ON c.id = o.customer_id LEFT JOIN items i ON i.order_id = o.id \
     GROUP BY o.id, c.id",
    "SELECT DISTINCT status, customer_id FROM orders",
    "SELECT DISTINCT ON (customer_id) customer_id, id, total FROM orders ORDER BY customer_id, placed DESC, id",
    "SELECT id FROM orders ORDER BY placed",
    "WITH big AS (SELECT * FROM orders WHERE total > 9), n (c, m) AS \
     (SELECT customer_id, count(*) FROM big GROUP BY customer_id) \
     SELECT b.id, n.m FROM big b JOIN n ON n.c = b.customer_id",
    "WITH orders AS (SELECT id, total FROM orders) SELECT id FROM orders WHERE total > 1",
    "SELECT id FROM orders o WHERE EXISTS (SELECT FROM items i WHERE i.order_id = o.id)",
    "SELECT id FROM orders o WHERE NOT EXISTS (SELECT * FROM items i WHERE i.order_id = o.id \
     AND i.quantity > o.total)",
    "SELECT id FROM orders WHERE EXISTS (SELECT 1 FROM products WHERE active)",
    "SELECT id FROM orders WHERE id IN (SELECT order_id FROM items) AND customer_id NOT IN \
     (SELECT id FROM customers WHERE region = 'EU') AND NOT (id IN (SELECT parent_id FROM orders))",
    "SELECT id FROM orders WHERE (id, customer_id) IN (SELECT order_id, product_id FROM items)",
    "SELECT id, EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id) AS some, \
     NOT EXISTS (SELECT 1 FROM tags t WHERE t.order_id = o.id) OR total > 3 AS other FROM orders o",
    "SELECT id, (SELECT name FROM customers c WHERE c.id = o.customer_id) FROM orders o",
    "SELECT id, (SELECT count(*) FROM items i WHERE i.order_id = o.id AND i.quantity > 1) + 1 AS n, \
     (SELECT sum(quantity) FROM items WHERE order_id = o.id) FROM orders o",
    "SELECT id, (SELECT tag FROM tags t WHERE t.order_id = o.id) AS only, \
     (SELECT tag FROM tags t WHERE t.order_id = o.id ORDER BY tag DESC LIMIT 1) AS last FROM orders o",
    "SELECT id FROM orders WHERE total > (SELECT avg(total) FROM orders)",
    "SELECT id, (SELECT count(*) FROM items i WHERE o.total > 3) AS n, EXISTS (SELECT 1 FROM items i \
     WHERE o.total > 3) AS some, (SELECT max(i.id) FROM items i WHERE i.order_id = o.id AND o.total < 5) \
     FROM orders o",
    "SELECT c.id, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id AND EXISTS \
     (SELECT 1 FROM items i WHERE i.order_id = o.id)) AS n FROM customers c",
    "SELECT c.id, l.id AS last, l.total FROM customers c LEFT JOIN LATERAL (SELECT * FROM orders o \
     WHERE o.customer_id = c.id ORDER BY placed DESC, id LIMIT 2 OFFSET 1) l ON true",
    "SELECT c.id, t.n, t.s FROM customers c CROSS JOIN LATERAL (SELECT count(*) AS n, sum(total) AS s \
     FROM orders o WHERE o.customer_id = c.id) t",
    "SELECT o.id, x.double FROM orders o CROSS JOIN LATERAL (SELECT o.total * 2 AS double) x",
    "SELECT o.id, m.most FROM orders o CROSS JOIN (SELECT max(total) AS most FROM orders) m",
    "SELECT c.id, (SELECT jsonb_agg(l.total ORDER BY l.total) FROM (SELECT o.total FROM orders o \
     WHERE o.customer_id = c.id ORDER BY o.placed DESC, o.id LIMIT 3) l) AS latest FROM customers c",
    "SELECT status, customer_id, count(*), (SELECT count(*) FROM customers c WHERE c.id = o.customer_id) AS n \
     FROM orders o GROUP BY status, customer_id",
    "SELECT t.id, e.at, e.x FROM things t, unnest(t.arr) WITH ORDINALITY AS e (x, at)",
    "SELECT id, ordinality AS at, word FROM things LEFT JOIN LATERAL unnest(words) WITH ORDINALITY AS word ON true \
     WHERE id > 1",
    "SELECT t.id, l.ordinality, l.value, l.value ->> 'a' AS a FROM things t CROSS JOIN LATERAL \
     jsonb_array_elements(CASE WHEN jsonb_typeof(t.j) = 'array' THEN t.j END) WITH ORDINALITY l",
    "SELECT t.id, e.key, e.value, upper(e.key) AS loud FROM things t JOIN LATERAL \
     jsonb_each(CASE jsonb_typeof(j) WHEN 'object' THEN j END) e ON e.value <> '1'",
    "SELECT t.id, k, e.key, e.value FROM things t, jsonb_object_keys(CASE jsonb_typeof(j) WHEN 'object' THEN j END) k, \
     jsonb_each_text(CASE jsonb_typeof(j) WHEN 'object' THEN j END) e WHERE e.key = k",
    "SELECT l, count(*) AS n, min(t.id) AS first FROM things t, unnest(arr) AS l GROUP BY l",
    "SELECT t.id, sum(l::numeric) AS total, array_agg(l ORDER BY l COLLATE \"C\") AS all FROM things t LEFT JOIN \
     jsonb_array_elements_text(CASE WHEN jsonb_typeof(t.j) = 'array' THEN t.j END) l ON true GROUP BY t.id",
    "SELECT o.id, ordinality, x.x AS wanted FROM orders o, unnest(ARRAY[1, 5, 9]) WITH ORDINALITY x WHERE x.x = o.total",
    "SELECT t.id, e.ordinality, o.id AS o, o.status FROM things t CROSS JOIN unnest(t.arr) WITH ORDINALITY e \
     JOIN orders o ON o.total = e.e",
    "SELECT id FROM (SELECT id, total FROM orders ORDER BY total DESC, id LIMIT 10) top",
    "SELECT t.status, t.n FROM (SELECT status, count(*) AS n FROM orders GROUP BY status) t WHERE t.status = 'a'",
];

/// Unions show no key by themselves.
const UNIONS: &[&str] = &[
    "SELECT id, 'o' AS kind, total FROM orders UNION ALL SELECT id, 'i', quantity FROM items",
    "(SELECT id, 1 AS kind FROM orders) UNION ALL SELECT id, 2 FROM items WHERE price > 1 \
     UNION ALL SELECT id, 3 FROM products",
];

#[tokio::test]
async fn what_is_supported_is_taken_by_both() {
    let shop = Shop::start(generate::SCHEMA).await;
    let mut all = queries(SUPPORTED);
    let keyed = |sql: &&str| generate::Generated {
        sql: (*sql).to_owned(),
        key: Some(vec!["kind".to_owned(), "id".to_owned()]),
    };
    all.extend(UNIONS.iter().map(keyed));
    let (code, text) = shop.run(&["check"], &all);
    assert_eq!(code, Some(0), "{text}");
}

/// PostgreSQL prepares each of them, and names and types of the results are those that were planned.
#[tokio::test]
async fn random_queries_are_taken_by_both() {
    let shop = Shop::start(generate::SCHEMA).await;
    let mut found = String::new();
    let generated: Vec<_> =
        (0..count()).map(|seed| generate::query(&mut Rng::with_seed(seed))).collect();
    for (chunk, queries) in generated.chunks(50).enumerate() {
        let (code, text) = shop.run(&["check"], queries);
        if code != Some(0) {
            writeln!(found, "seeds from {}:\n{text}", chunk * 50).unwrap();
        }
    }
    assert!(found.is_empty(), "{found}");
}

/// What the catalog, the planner and PostgreSQL refuse, each at its place in the file.
#[tokio::test]
async fn faults_of_queries_stand_at_their_place() {
    let more = "CREATE VIEW open_orders AS SELECT * FROM orders WHERE status = 'open';
                CREATE TABLE bare (x int); CREATE TABLE notes (id int PRIMARY KEY, note text COLLATE \"en-x-icu\");";
    let shop = Shop::start(&format!("{}{more}", generate::SCHEMA)).await;
    let refused = queries(&[
        "SELECT o.id\nFROM orders o\nJOIN costumers c ON c.id = o.customer_id",
        "SELECT id FROM open_orders",
        "SELECT x FROM bare",
        "SELECT id,\n  statsu\nFROM orders",
        "SELECT id, total FROM orders GROUP BY status",
        "SELECT c.id, c.name + 1 AS n FROM customers c",
        "SELECT id FROM customers WHERE name = 5",
        "SELECT status FROM orders",
        "SELECT max(note) FROM notes",
        "SELECT DISTINCT ON (customer_id)\n  customer_id, id FROM orders ORDER BY id",
    ]);
    let (code, text) = shop.run(&["check"], &refused);
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(text, @r#"
    readside.toml: 11 faults
    error: table public.costumers does not exist
      --> readside.toml:11:6
       |
    11 | JOIN costumers c ON c.id = o.customer_id'''
       |      ^^^^^^^^^
       |
    hint: did you mean public.customers?

    error: public.open_orders is a view: it has no rows and no changes of its own
      --> readside.toml:15:16
       |
    15 | SELECT id FROM open_orders'''
       |                ^^^^^^^^^^^
       |
    hint: name the tables that it reads

    error: the query shows no key of its own
      --> readside.toml:18:9
       |
    18 | query = '''
       |         ^^^
       |
    hint: add key = ["COLUMN", …] with the columns that tell its rows apart

    error: table public.bare has no usable replica identity: there is no primary key; once it is published, its UPDATEs and DELETEs would fail
      --> readside.toml:19:15
       |
    19 | SELECT x FROM bare'''
       |               ^^^^
       |
    hint: add a primary key, or, where the whole old row is to name each row, run on the source:
          ALTER TABLE public.bare REPLICA IDENTITY FULL;

    error: `query` of projection `q3`: there is no column `statsu`
      --> readside.toml:24:3
       |
    24 |   statsu
       |   ^^^^^^
       |
    hint: did you mean `status`?

    error: `query` of projection `q4`: column `id` is neither grouped by nor inside an aggregate
      --> readside.toml:29:8
       |
    29 | SELECT id, total FROM orders GROUP BY status'''
       |        ^^
       |
    hint: add it to GROUP BY, or the primary key of its table

    error: `query` of projection `q5`: there is no operator text + integer
      --> readside.toml:33:14
       |
    33 | SELECT c.id, c.name + 1 AS n FROM customers c'''
       |              ^^^^^^^^^^
       |
    hint: write numbers without quotes, or cast one side

    error: `query` of projection `q6`: there is no operator text = integer
      --> readside.toml:37:32
       |
    37 | SELECT id FROM customers WHERE name = 5'''
       |                                ^^^^^^^^
       |
    hint: write numbers without quotes, or cast one side

    error: the query of projection `q7` does not show its key: it lacks `orders.id`
      --> readside.toml:40:9
       |
    40 | query = '''
       |         ^^^
       |
    hint: add that to the SELECT list, or name by key = ["COLUMN", …] what tells its rows apart

    error: `query` of projection `q8`: texts are ordered by their bytes here, not under this collation
      --> readside.toml:45:8
       |
    45 | SELECT max(note) FROM notes'''
       |        ^^^^^^^^^
       |
    hint: write COLLATE "C" behind the expression

    error: `query` of projection `q9`: PostgreSQL refuses it: SELECT DISTINCT ON expressions must match initial ORDER BY expressions
      --> readside.toml:49:21
       |
    49 | SELECT DISTINCT ON (customer_id)
       |                     ^^^^^^^^^^^
    "#);
}

#[tokio::test]
async fn explain_tells_the_plan() {
    let shop = Shop::start(generate::SCHEMA).await;
    let rows = "INSERT INTO customers (id, region) SELECT i, 'x' FROM generate_series(1, 100) i;
                INSERT INTO orders (id, customer_id, status, total, placed)
                  SELECT i, 1 + i % 100, 'x', 1, '2026-01-01' FROM generate_series(1, 2000) i;
                ANALYZE customers, orders";
    shop.postgres.client("shop").await.batch_execute(rows).await.unwrap();
    let query = "SELECT o.id, c.name, count(i.id) AS items FROM orders o \
                 JOIN customers c ON c.id = o.customer_id LEFT JOIN items i ON i.order_id = o.id \
                 GROUP BY o.id, c.id";
    let other = "SELECT customer_id, min(id) AS first FROM orders GROUP BY customer_id";
    let (code, text) = shop.run(&["explain", "q0"], &queries(&[query, other]));
    assert_eq!(code, Some(0), "{text}");
    insta::assert_snapshot!(text, @r#"
    projection q0
      id integer, key
      name text
      items bigint

    the projection's rows by id
      columns o.id, c.name, count
        join on c.id = c.id
          a change of the second changes each row of the first that refers to it
          count of each o.id, c.id
            columns o.id, c.id, i.id
              left join on i.order_id = o.id
                a change of the first changes each row of the second that refers to it
                columns o.id, c.id
                  join on c.id = o.customer_id
                    a change of the second changes each row of the first that refers to it
                    rows of public.orders
                    rows of public.customers
                rows of public.items
          rows of public.customers

    changes of public.customers name their rows by id
    changes of public.items name their rows by id
    changes of public.orders name their rows by id

    estimated from the source's statistics:
      rows of public.customers: 100 rows, 0.0 MiB
      rows of public.items: 0 rows, 0.0 MiB
      rows of public.orders: 2000 rows, 0.1 MiB; also for q1
      index of public.orders by customer_id: 2000 rows, 0.1 MiB
      index of public.items by order_id: 0 rows, 0.0 MiB
      groups by id, id: 2000 rows, 0.1 MiB
      the projection's rows: 2000 rows, 0.2 MiB
      (no statistics of public.items: ANALYZE it)
    "#);
    let (code, text) = shop.run(&["explain", "q2"], &queries(&[query]));
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(text, @r#"
    readside.toml: 1 fault
    error: there is no projection `q2`
     |
    hint: did you mean `q0`?
    "#);
}
