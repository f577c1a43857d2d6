//! Read models that are queries: every sink holds the answer that the source gives, while rows come and
//! go and the daemon is killed.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Daemon;
use crate::world::{SINKS, World, until_metric};

const SHOP: &str = "
    CREATE TABLE customers (customer_id int PRIMARY KEY, email text, full_name text NOT NULL, country text);
    CREATE TABLE products (product_id int PRIMARY KEY, name text NOT NULL, price numeric(10, 2));
    CREATE TABLE orders (order_id int PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL,
                         total_cents bigint, created_at timestamptz NOT NULL);
    CREATE TABLE order_items (item_id int PRIMARY KEY, order_id int, product_id int, quantity int);
    INSERT INTO customers SELECT i, 'c' || i || '@x', 'Customer ' || i, CASE i % 3 WHEN 0 THEN 'DE' WHEN 1 THEN 'FR' END
      FROM generate_series(1, 40) AS i;
    INSERT INTO products SELECT i, 'Product ' || i, i * 1.25 FROM generate_series(1, 25) AS i;
    INSERT INTO orders SELECT i, 1 + i % 37, 'pending', i * 100, '2024-01-01Z'::timestamptz + i * interval '1 hour'
      FROM generate_series(1, 300) AS i;
    INSERT INTO order_items SELECT i, 1 + i % 310, 1 + i % 27, i % 5 FROM generate_series(1, 900) AS i;";

/// Name, key and query.
const MODELS: [(&str, &[&str], &str); 5] = [
    (
        "order_summary",
        &["order_id"],
        "SELECT o.order_id, o.customer_id, o.status, o.total_cents, o.created_at,
                c.email AS customer_email, c.full_name AS customer_name,
                count(i.item_id) AS item_count,
                (array_agg(p.name ORDER BY i.item_id))[1] AS first_item_name,
                jsonb_agg(jsonb_build_object('product', p.name, 'quantity', i.quantity) ORDER BY i.item_id)
                  FILTER (WHERE i.item_id IS NOT NULL) AS items
         FROM orders o
         JOIN customers c ON c.customer_id = o.customer_id
         LEFT JOIN order_items i ON i.order_id = o.order_id
         LEFT JOIN products p ON p.product_id = i.product_id
         GROUP BY o.order_id, c.customer_id",
    ),
    (
        "lifetime",
        &["customer_id"],
        "SELECT c.customer_id, c.full_name, count(o.order_id) AS orders,
                coalesce(sum(o.total_cents), 0) AS total, avg(o.total_cents) AS mean, max(o.created_at) AS latest
         FROM customers c LEFT JOIN orders o ON o.customer_id = c.customer_id AND o.status <> 'cancelled'
         GROUP BY c.customer_id",
    ),
    (
        "sold",
        &["product_id", "day"],
        "SELECT i.product_id, date_trunc('day', o.created_at AT TIME ZONE 'UTC')::date AS day, sum(i.quantity) AS units
         FROM order_items i JOIN orders o ON o.order_id = i.order_id
         WHERE i.product_id IS NOT NULL
         GROUP BY 1, 2 HAVING sum(i.quantity) > 1",
    ),
    (
        "wanted",
        &["product_id"],
        "SELECT p.product_id, p.name, p.price FROM products p
         WHERE EXISTS (SELECT FROM order_items i WHERE i.product_id = p.product_id AND i.quantity > 2)",
    ),
    (
        "latest",
        &["customer_id", "order_id"],
        "SELECT c.customer_id, l.order_id, l.total_cents FROM customers c
         JOIN LATERAL (SELECT o.order_id, o.total_cents FROM orders o WHERE o.customer_id = c.customer_id
                       ORDER BY o.created_at DESC, o.order_id LIMIT 2) l ON true
         WHERE c.country = 'DE'",
    ),
];

fn config(world: &World) -> String {
    let mut text = String::new();
    for (name, key, query) in MODELS {
        let template: Vec<String> = key.iter().map(|column| format!("{{{column}}}")).collect();
        let full = world.name(name);
        text += &format!(
            "[projection.{full}]\nkey = {key:?}\nquery = \"\"\"{query}\"\"\"\n\
             to.reporting = {{ table = \"{name}\" }}\n\
             to.cache = {{ json = \"{name}:{}\" }}\n\
             to.search = {{ index = \"{full}\" }}\n",
            template.join("|")
        );
    }
    world.config(&text)
}

async fn same(world: &World, daemon: &mut Daemon) {
    let lsn = world.lsn().await;
    for (name, key, query) in MODELS {
        for sink in SINKS {
            daemon.wait_for(&world.name(name), sink, &lsn).await;
        }
        world.compare(name, &format!("({query})"), key).await;
    }
}

#[tokio::test]
async fn every_sink_holds_the_answer() {
    let world = World::new(SHOP).await;
    let mut daemon = Daemon::start(&config(&world));
    daemon.wait_ready().await;
    same(&world, &mut daemon).await;
    let steps = [
        "INSERT INTO orders VALUES (1000, 5, 'pending', 1, '2025-01-01Z'), (1001, 99, 'pending', 2, '2025-01-01Z');
         INSERT INTO order_items VALUES (5000, 1000, 3, 7), (5001, 1001, NULL, 2), (5002, NULL, 3, 9)",
        "UPDATE products SET name = name || '!' WHERE product_id % 4 = 0",
        "UPDATE order_items SET order_id = order_id + 1 WHERE item_id % 10 = 0",
        "UPDATE orders SET customer_id = 99, status = 'cancelled' WHERE order_id % 9 = 0",
        "INSERT INTO customers VALUES (99, NULL, 'Late', 'DE')",
        "UPDATE orders SET order_id = order_id + 10000 WHERE order_id % 50 = 0",
        "DELETE FROM customers WHERE customer_id < 5; DELETE FROM order_items WHERE item_id % 7 = 0",
        "UPDATE customers SET country = CASE country WHEN 'DE' THEN NULL ELSE 'DE' END",
        "TRUNCATE products",
        "INSERT INTO products SELECT i, 'New ' || i, i FROM generate_series(1, 12) AS i",
        "BEGIN; TRUNCATE orders; INSERT INTO orders VALUES (1, 6, 'back', 5, '2023-05-05Z'); COMMIT",
        "UPDATE order_items SET order_id = 1 WHERE item_id < 200",
        "DELETE FROM orders; DELETE FROM order_items",
        "INSERT INTO orders SELECT i, 10 + i % 5, 'again', i, '2024-06-01Z' FROM generate_series(1, 50) AS i;
         INSERT INTO order_items SELECT i, i % 60, i % 13, i FROM generate_series(1, 150) AS i",
    ];
    for (at, sql) in steps.into_iter().enumerate() {
        world.execute(sql).await;
        if at % 4 == 1 {
            daemon.kill9();
            world
                .execute("UPDATE orders SET total_cents = total_cents + 1 WHERE order_id % 3 = 0")
                .await;
            daemon.restart();
        }
        same(&world, &mut daemon).await;
    }
}

/// A row that cannot be computed would fail the whole query on the source.
#[tokio::test]
async fn what_cannot_be_computed_is_missing_and_counted_until_it_can() {
    let world = World::new(
        "CREATE TABLE parts (id int PRIMARY KEY, amount int NOT NULL, share int NOT NULL, code text);
         INSERT INTO parts VALUES (1, 10, 2, '7'), (2, 10, 0, '8'), (3, 10, 5, 'x');",
    )
    .await;
    let name = world.name("shares");
    let query = "SELECT p.id, p.amount / p.share AS part, p.code::int AS code FROM parts p";
    let config = world.config(&format!(
        "[projection.{name}]\nquery = '{query}'\nto.reporting = {{ table = 'shares' }}\n\
         to.cache = {{ json = 'shares:{{id}}' }}\nto.search = {{ index = '{name}' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let steps = [
        ("", "p.id = 1"),
        ("UPDATE parts SET share = 4 WHERE id = 2", "p.id <> 3"),
        ("UPDATE parts SET code = '9' WHERE id = 3", "true"),
        (
            "UPDATE parts SET share = 0 WHERE id = 1; INSERT INTO parts VALUES (4, 1, 1, '')",
            "p.id IN (2, 3)",
        ),
        ("DELETE FROM parts WHERE id = 1", "p.id IN (2, 3)"),
    ];
    for (at, (sql, computed)) in steps.into_iter().enumerate() {
        world.execute(sql).await;
        if at == 3 {
            daemon.restart();
        }
        let lsn = world.lsn().await;
        let refused: i64 = world
            .client
            .query_one(&format!("SELECT count(*) FROM parts p WHERE NOT ({computed})"), &[])
            .await
            .unwrap()
            .get(0);
        for sink in SINKS {
            daemon.wait_for(&name, sink, &lsn).await;
            let labels = [("sink", sink), ("projection", &*name)];
            until_metric(&daemon, "readside_dead_letters", &labels, |letters| {
                letters == refused as f64
            })
            .await;
        }
        world.compare("shares", &format!("({query} WHERE {computed})"), &["id"]).await;
    }
    let log = daemon.log();
    for words in ["key=2", "division by zero", "invalid input syntax for type integer"] {
        assert!(log.contains(words), "{words}: {log}");
    }
}

#[tokio::test]
async fn json_that_a_query_builds_is_searched_by_its_parts() {
    let world = World::new(
        "CREATE TABLE bills (id int PRIMARY KEY, doc jsonb);
         CREATE TABLE lines (id int PRIMARY KEY, bill int, name text, price numeric);
         INSERT INTO bills VALUES (1, '{\"a\": 1}'), (2, '{\"a\": \"x\"}'), (3, '[]');
         INSERT INTO lines VALUES (1, 1, 'pen', 1.50), (2, 1, 'ink', 12), (3, 2, 'paper', 3)",
    )
    .await;
    let name = world.name("bills");
    let config = world.config(&format!(
        "[projection.{name}]\nquery = '''SELECT b.id, b.doc,
           jsonb_agg(jsonb_build_object('name', l.name, 'price', l.price) ORDER BY l.id)
             FILTER (WHERE l.id IS NOT NULL) AS lines
         FROM bills b LEFT JOIN lines l ON l.bill = b.id GROUP BY b.id'''\n\
         to.search = {{ index = '{name}' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let lsn = world.lsn().await;
    let wait = format!("/v1/wait?projection={name}&lsn={lsn}&search=true&timeout=20s");
    let (status, text) = daemon.get(&wait).await;
    assert_eq!(status, 200, "{text}");
    let found = async |query: Value| -> Vec<String> {
        let asked = json!({ "query": query, "sort": ["id"] });
        let path = format!("{name}/_search");
        let (status, found) = world.search.request(Method::POST, &path, Some(asked)).await;
        assert_eq!(status, 200, "{found}");
        let hits = found["hits"]["hits"].as_array().unwrap();
        hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found(json!({ "term": { "lines.name.keyword": "pen" } })).await, ["1"]);
    assert_eq!(found(json!({ "match": { "lines.name": "paper" } })).await, ["2"]);
    assert_eq!(found(json!({ "range": { "lines.price": { "gte": 2 } } })).await, ["1", "2"]);
    // A column's own JSON is kept as it is, whatever it holds, and not searched.
    assert_eq!(found(json!({ "term": { "doc.a": 1 } })).await, Vec::<String>::new());
    assert_eq!(found(json!({ "match_all": {} })).await, ["1", "2", "3"]);
}
