//! Each store tampered with by hand: `verify` finds exactly that, and a repair puts exactly that right.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::{Daemon, beside};
use crate::world::{World, one, until_metric};

const TABLES: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL, status text, total numeric(10, 2));
    CREATE TABLE items (order_id int REFERENCES orders ON DELETE CASCADE, line int, name text,
        PRIMARY KEY (order_id, line));
    INSERT INTO orders SELECT i, i % 5, 'new', i * 1.50 FROM generate_series(1, 60) AS i;
    INSERT INTO items SELECT i, n, 'item ' || n FROM generate_series(1, 60) AS i, generate_series(1, 3) AS n";

fn config(world: &World, name: &str) -> String {
    world.config(&format!(
        "[projection.{name}]\n\
         key = ['id']\n\
         query = \"\"\"SELECT o.id, o.customer, o.status, o.total, count(i.line) AS items,
                      array_agg(i.name) AS names
               FROM orders o LEFT JOIN items i ON i.order_id = o.id GROUP BY o.id\"\"\"\n\
         to.reporting = {{ table = 'orders' }}\n\
         to.search = {{ index = '{name}' }}\n\
         to.cache = [ {{ hash = 'order:{{id}}', columns = ['id', 'status', 'total'] }},
             {{ json = 'doc:{{id}}' }},
             {{ sorted_set = 'customer:{{customer}}:orders', member = '{{id}}', score = 'total' }},
             {{ set = 'status:{{status}}', member = '{{id}}' }} ]\n"
    ))
}

/// The lines of a `verify` that has found something, and whether it ended as it should.
fn differences(output: &Output) -> Vec<String> {
    let out = String::from_utf8(output.stdout.clone()).expect("text");
    let lines: Vec<String> =
        out.lines().filter(|line| !line.contains(" rows compared")).map(str::to_owned).collect();
    let code = if lines.is_empty() { 0 } else { 1 };
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    lines
}

/// Those that a difference was expected of, by their beginnings, in any order.
fn assert_found(output: &Output, expected: &[&str]) {
    let mut found = differences(output);
    for beginning in expected {
        let at = found.iter().position(|line| line.starts_with(beginning));
        let at = at.unwrap_or_else(|| panic!("{beginning} is not in {found:#?}"));
        found.remove(at);
    }
    assert!(found.is_empty(), "{found:#?}");
}

async fn tamper(world: &World, name: &str) {
    world
        .reporting
        .batch_execute(
            "DELETE FROM orders WHERE id = 3;
             UPDATE orders SET total = 4.00, status = NULL WHERE id = 4;
             INSERT INTO orders (id, customer) VALUES (999, 1)",
        )
        .await
        .unwrap();
    let mut redis = world.redis.client().await;
    let _: () = redis::pipe()
        .cmd("HSET")
        .arg(&["order:5", "status", "old", "more", "x"])
        .cmd("DEL")
        .arg("order:6")
        .cmd("HSET")
        .arg(&["order:998", "id", "998"])
        .cmd("SET")
        .arg(&["doc:7", "{}"])
        .cmd("ZADD")
        .arg(&["customer:1:orders", "0", "11"])
        .cmd("ZREM")
        .arg(&["customer:2:orders", "12"])
        .cmd("ZADD")
        .arg(&["customer:3:orders", "1", "14"])
        .cmd("SREM")
        .arg(&["status:new", "15"])
        .cmd("SADD")
        .arg(&["status:sent", "16", "997"])
        // Somebody else's.
        .cmd("HSET")
        .arg(&["order:stats", "id", "1"])
        .cmd("HSET")
        .arg(&["order:777", "other", "1"])
        .cmd("SET")
        .arg(&["other:1", "x"])
        .query_async(&mut redis)
        .await
        .unwrap();
    let http = crate::harness::http();
    let url = |id: &str| format!("{}/{name}/_doc/{id}?refresh=true", world.search.url());
    http.delete(url("3")).send().await.unwrap().error_for_status().unwrap();
    for id in ["4", "996"] {
        let document = json!({ "id": 4, "status": "old" });
        http.put(url(id)).json(&document).send().await.unwrap().error_for_status().unwrap();
    }
}

#[tokio::test]
async fn what_was_tampered_with_is_found_and_put_right() {
    let world = World::new(TABLES).await;
    let name = world.name("orders");
    let mut daemon = Daemon::start(&config(&world, &name));
    daemon.wait_ready().await;
    assert_eq!(differences(&daemon.command(&["verify", &name]).await), Vec::<String>::new());
    tamper(&world, &name).await;
    let expected = [
        "reporting  missing  3  table",
        "reporting  different  4  table public.orders  status: nothing instead of \"new\"  total: \"4.00\" instead of \"6.00\"",
        "reporting  extra  999  table",
        "cache  different  5  hash order:5  status: \"old\" instead of \"new\"  more: \"x\" instead of nothing",
        "cache  missing  6  hash order:6",
        "cache  extra  998  hash order:998",
        "cache  different  7  json doc:7",
        "cache  different  11  sorted set customer:1:orders, member 11  score: \"0\" instead of \"16.5\"",
        "cache  missing  12  sorted set customer:2:orders",
        "cache  extra  14  sorted set customer:3:orders",
        "cache  missing  15  set status:new",
        "cache  extra  16  set status:sent",
        "cache  extra  997  set status:sent",
        "search  missing  3  document 3",
        "search  different  4  document 4",
        "search  extra  996  document 996",
    ];
    assert_found(&daemon.command(&["verify", &name]).await, &expected);
    let of_cache: Vec<&str> =
        expected.iter().copied().filter(|line| line.starts_with("cache")).collect();
    assert_found(&daemon.command(&["verify", &name, "--sink", "cache"]).await, &of_cache);

    let repaired = daemon.command(&["verify", &name, "--repair"]).await;
    assert_found(&repaired, &expected);
    for line in differences(&repaired) {
        assert!(line.ends_with("put right"), "{line}");
    }
    assert_eq!(differences(&daemon.command(&["verify", &name]).await), Vec::<String>::new());
    let mut redis = world.redis.client().await;
    let kept: (Option<String>, Option<String>, Option<String>) = redis::pipe()
        .hget("order:stats", "id")
        .hget("order:777", "other")
        .get("other:1")
        .query_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(kept, (Some("1".into()), Some("1".into()), Some("x".into())));
    // What was put right by hand follows its row as before.
    world
        .execute("UPDATE orders SET status = 'paid', customer = 4 WHERE id < 20; DELETE FROM orders WHERE id IN (3, 4, 12)")
        .await;
    let lsn = world.lsn().await;
    for sink in ["reporting", "cache", "search"] {
        daemon.wait_for(&name, sink, &lsn).await;
    }
    assert_eq!(differences(&daemon.command(&["verify", &name]).await), Vec::<String>::new());
    let documents = world.indexed("orders").await.unwrap();
    assert_eq!((documents.len(), &documents["5"]["status"]), (57, &Value::from("paid")));

    let sampled = daemon.command(&["verify", &name, "--sample", "10"]).await;
    assert_eq!(differences(&sampled), Vec::<String>::new());
    for (arguments, words) in [
        (&["verify", "nothing"][..], "there is no projection nothing"),
        (&["verify", &name, "--sink", "other"], "does not go to a sink other"),
    ] {
        let output = daemon.command(arguments).await;
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && err.contains(words), "{err}");
    }
}

/// Rows on their way are no differences, however many there are.
#[tokio::test]
async fn what_is_on_its_way_is_no_difference() {
    let world = World::new(TABLES).await;
    let name = world.name("orders");
    let mut daemon = Daemon::start(&config(&world, &name));
    daemon.wait_ready().await;
    let writer = world.postgres.client(&world.source).await;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    beside(async move {
        let mut round = 0;
        while !stopped.load(Ordering::Relaxed) {
            round += 1;
            let sql = format!(
                "UPDATE orders SET status = 's{}', total = total + 1 WHERE id % 40 = {};
                 INSERT INTO orders VALUES (1000 + {round}, {}, 'new', 1);
                 DELETE FROM orders WHERE id = 1000 + {round} - 5",
                round % 3,
                round % 40,
                round % 5,
            );
            writer.batch_execute(&sql).await.unwrap();
        }
    });
    let verified = daemon.command(&["verify", &name]).await;
    assert_eq!(differences(&verified), Vec::<String>::new());
    stop.store(true, Ordering::Relaxed);
    assert_eq!(one(&world.client, "SELECT (count(*) > 60)::text FROM orders").await, "true");
}

/// A query may end in a semicolon with a comment behind it; a sink where the projection is halted comes to no
/// position that could be waited for.
#[tokio::test]
async fn a_comment_behind_the_query_and_a_halted_sink() {
    let world = World::new(
        "CREATE TABLE things (id text PRIMARY KEY, note text); INSERT INTO things VALUES ('a', 'x')",
    )
    .await;
    let name = world.name("things");
    let config = world.config(&format!(
        "[projection.{name}]\non_error = 'halt'\n\
         query = \"\"\"SELECT id, note || ';--' AS note FROM things; -- all; of them\n/* ; */ \"\"\"\n\
         to.reporting = {{ table = 'things' }}\nto.search = {{ index = '{name}' }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let verified = daemon.command(&["verify", &name]).await;
    assert_eq!(differences(&verified), Vec::<String>::new());
    world.execute("INSERT INTO things VALUES (repeat('long', 200), 'y')").await;
    let labels = [("sink", "search"), ("projection", name.as_str())];
    until_metric(&daemon, "readside_dead_letters", &labels, |count| count == 1.0).await;
    let verified = daemon.command(&["verify", &name]).await;
    let said =
        String::from_utf8_lossy(&verified.stdout) + String::from_utf8_lossy(&verified.stderr);
    assert!(said.contains("halted"), "{said}");
}
