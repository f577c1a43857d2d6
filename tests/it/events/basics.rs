//! What makes events, and what they look like in each store.

use serde_json::{Value, json};

use super::{ids, lists, stream};
use crate::harness::{Daemon, readside};
use crate::world::{World, until_metric};

const SHOP: &str = "
    CREATE TABLE customers (customer_id int PRIMARY KEY, email text);
    CREATE TABLE orders (order_id int PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL,
        total_cents int, note text);
    INSERT INTO customers VALUES (1, 'a@x'), (2, 'b@x');
    INSERT INTO orders VALUES (1, 1, 'pending', 100), (2, 2, 'confirmed', 200);";

#[tokio::test]
async fn changes_that_a_condition_takes_are_events() {
    let world = World::new(SHOP).await;
    let name = world.name("confirmed");
    let config = world.config(&format!(
        "[event.{name}]\ntable = \"orders\"\n\
         when = \"old.status = 'pending' AND new.status = 'confirmed'\"\n\
         data = \"new.order_id, new.total_cents AS cents, old.note IS NULL AS bare\"\n\
         to.cache = [{{ stream = \"events:orders\", maxlen = 2 }}, {{ list = \"recent\", ttl = \"1h\" }}]\n\
         to.search = {{ index = \"{name}\" }}\n\
         to.reporting = {{ table = \"order_events\", indexes = [\"(order_id)\"] }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    for sql in [
        "UPDATE orders SET status = 'confirmed' WHERE order_id = 1",
        "UPDATE orders SET status = 'confirmed'",
        "BEGIN; INSERT INTO orders VALUES (3, 1, 'pending', 1); \
         UPDATE orders SET status = 'confirmed' WHERE order_id = 3; \
         UPDATE orders SET status = 'pending' WHERE order_id = 3; \
         UPDATE orders SET status = 'confirmed', total_cents = 2 WHERE order_id = 3; \
         DELETE FROM orders WHERE order_id = 3; COMMIT",
        "TRUNCATE orders",
    ] {
        world.execute(sql).await;
    }
    let lsn = world.lsn().await;
    for sink in ["reporting", "cache", "search"] {
        daemon.wait_for(&name, sink, &lsn).await;
    }
    let rows = world
        .reporting
        .query(
            "SELECT type, order_id, cents, bare, committed_at <= now(),
                lsn::text || '/' || ordinal AS id
             FROM order_events ORDER BY lsn, ordinal",
            &[],
        )
        .await
        .unwrap();
    let shown: Vec<(String, i32, i32, bool, bool)> =
        rows.iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3), r.get(4))).collect();
    let kind = |order, cents| (name.clone(), order, cents, true, true);
    assert_eq!(shown, [kind(1, 100), kind(3, 1), kind(3, 2)]);
    let in_table: Vec<String> = rows.iter().map(|row| row.get(5)).collect();

    let entries = stream(&world, "events:orders").await;
    assert_eq!(ids(&entries), in_table[1..], "the oldest one has gone");
    assert_eq!(entries[1]["type"], name);
    assert!(entries[1]["committed_at"].as_str().unwrap().ends_with("+00:00"));
    assert_eq!(entries[1]["data"], json!({ "order_id": 3, "cents": 2, "bare": true }));
    let listed = lists(&world, "recent").await;
    assert_eq!(ids(&listed), in_table);
    assert_eq!(listed[1..], entries);
    let documents = world.search.documents(&name).await;
    let documents: std::collections::BTreeMap<String, Value> = documents.into_iter().collect();
    assert_eq!(documents.len(), 3);
    for entry in &listed {
        assert_eq!(&documents[entry["id"].as_str().unwrap()], entry);
    }
    for (op, count) in [("insert", 1.0), ("update", 3.0), ("delete", 1.0)] {
        let labels = [("table", "public.orders"), ("op", op)];
        until_metric(&daemon, "readside_event_unmatched_total", &labels, |n| n == count).await;
    }
    assert!(daemon.status().await.to_string().contains(&name));
}

#[tokio::test]
async fn look_ups_see_the_rows_as_of_the_commit() {
    let world = World::new(SHOP).await;
    let name = world.name("placed");
    let config = world.config(&format!(
        "[event.{name}]\ntable = \"orders\"\nwhen = \"old IS NULL\"\ntype = \"Placed.{{status}}\"\n\
         data = '''new.order_id, new.status,
                   (SELECT c.email FROM customers c WHERE c.customer_id = new.customer_id),
                   (SELECT o.total_cents FROM orders o WHERE o.order_id = new.order_id) AS total'''\n\
         to.reporting = {{ table = \"placed\" }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    world
        .execute(
            "BEGIN; INSERT INTO orders VALUES (3, 3, 'new', 1), (4, 1, 'new', 7);
             INSERT INTO customers VALUES (3, 'early'); UPDATE customers SET email = 'late' WHERE customer_id = 3;
             UPDATE orders SET total_cents = 99 WHERE order_id = 3; DELETE FROM orders WHERE order_id = 4; COMMIT",
        )
        .await;
    world.execute("UPDATE customers SET email = 'later'").await;
    world.execute("INSERT INTO orders VALUES (5, 77, 'odd', NULL)").await;
    let lsn = world.lsn().await;
    daemon.wait_for(&name, "reporting", &lsn).await;
    let sql =
        "SELECT concat_ws(' ', type, order_id, email, total) FROM placed ORDER BY lsn, ordinal";
    let rows = world.reporting.query(sql, &[]).await.unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, ["Placed.new 3 late 99", "Placed.new 4 a@x", "Placed.odd 5"]);
}

#[tokio::test]
async fn an_occurrence_that_cannot_be_computed_is_a_dead_letter() {
    let world = World::new(SHOP).await;
    let name = world.name("ratio");
    let config = world.config(&format!(
        "[event.{name}]\ntable = \"orders\"\nwhen = \"new.status = 'x'\"\ntype = \"{{note}}\"\n\
         data = \"new.order_id, new.note, 100 / new.total_cents AS ratio\"\n\
         to.cache = {{ stream = \"ratio\" }}\nto.reporting = {{ table = \"ratio\" }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    world.execute("INSERT INTO orders VALUES (3, 1, 'x', 0, 'a'), (4, 1, 'x', 5, 'a'), (5, 1, 'x', 5, NULL)").await;
    let lsn = world.lsn().await;
    for sink in ["reporting", "cache"] {
        daemon.wait_for(&name, sink, &lsn).await;
        let labels = [("sink", sink), ("projection", &*name)];
        until_metric(&daemon, "readside_dead_letters", &labels, |count| count == 2.0).await;
    }
    let log = daemon.log();
    assert!(log.contains("division by zero") && log.contains("the event's type is NULL"), "{log}");
    daemon.restart();
    daemon.wait_for(&name, "cache", &lsn).await;
    let labels = [("sink", "cache"), ("projection", &*name)];
    until_metric(&daemon, "readside_dead_letters", &labels, |count| count == 2.0).await;
    let entries = stream(&world, "ratio").await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["data"], json!({ "order_id": 4, "note": "a", "ratio": 20 }));
}

#[tokio::test]
async fn messages_are_events_and_need_no_table() {
    let world = World::new("CREATE TABLE unused (id int PRIMARY KEY)").await;
    let name = world.name("sent");
    let config = world.config(&format!(
        "[event.{name}]\nmessage = \"billing\"\nwhen = \"content::jsonb ->> 'kind' = 'sent'\"\n\
         data = \"content::jsonb -> 'invoice' AS invoice, prefix\"\n\
         to.cache = {{ stream = \"billing\" }}\n"
    ));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let emit = |transactional: bool, prefix: &str, content: &str| {
        format!("SELECT pg_logical_emit_message({transactional}, '{prefix}', '{content}');")
    };
    for sql in [
        emit(true, "billing", r#"{"kind": "sent", "invoice": 1}"#),
        emit(true, "billing", r#"{"kind": "drafted", "invoice": 2}"#),
        emit(true, "other", r#"{"kind": "sent", "invoice": 3}"#),
        // Outside of transactions: it may be of one that was rolled back.
        emit(false, "billing", r#"{"kind": "sent", "invoice": 4}"#),
        format!("BEGIN; {} ROLLBACK", emit(true, "billing", r#"{"kind": "sent", "invoice": 5}"#)),
        emit(true, "billing", "no json"),
        format!(
            "BEGIN; {} INSERT INTO unused VALUES (1); {} COMMIT",
            emit(true, "billing", r#"{"kind": "sent", "invoice": 6}"#),
            emit(true, "billing", r#"{"kind": "sent", "invoice": [7]}"#)
        ),
    ] {
        world.execute(&sql).await;
    }
    let lsn = world.lsn().await;
    daemon.wait_for(&name, "cache", &lsn).await;
    let invoices = async || -> Vec<Value> {
        let entries = stream(&world, "billing").await;
        entries.iter().map(|entry| entry["data"]["invoice"].clone()).collect()
    };
    assert_eq!(invoices().await, [json!(1), json!(6), json!([7])]);
    let labels = [("sink", "cache"), ("projection", &*name)];
    until_metric(&daemon, "readside_dead_letters", &labels, |count| count == 1.0).await;
    daemon.restart();
    world.execute(&emit(true, "billing", r#"{"kind": "sent", "invoice": 8}"#)).await;
    let lsn = world.lsn().await;
    daemon.wait_for(&name, "cache", &lsn).await;
    assert_eq!(invoices().await, [json!(1), json!(6), json!([7]), json!(8)]);
}

#[tokio::test]
async fn faults_of_events_have_their_places() {
    let world = World::new(SHOP).await;
    let config = world.config(
        "[event.A]\ntable = \"orders\"\nwhen = \"new.state = 'x'\"\ndata = \"new.order_id\"\n\
         to.cache = { stream = \"a\" }\n\
         [event.B]\ntable = \"orders\"\nwhen = \"old IS NULL\"\ntype = \"{kind}\"\ndata = \"new.order_id AS type\"\n\
         to.cache = { stream = \"b:{customer}\" }\nto.reporting = { table = \"b\" }\n\
         [event.C]\ntable = \"order\"\nwhen = \"true\"\ndata = \"new.order_id\"\nto.cache = { list = \"c\" }\n\
         [event.D]\ntable = \"orders\"\nwhen = \"true\"\n\
         data = \"new.order_id, (SELECT x FROM customer WHERE customer_id = 1)\"\nto.cache = { list = \"d\" }\n\
         [event.E]\ntable = \"orders\"\nwhen = \"true\"\ndata = \"'x'\"\nto.cache = { list = \"e:{customer_id}\" }\n",
    );
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("readside.toml");
    std::fs::write(&file, format!("[state]\ndir = \"/tmp/unused\"\n{config}")).unwrap();
    let told =
        tokio::task::spawn_blocking(move || readside(&["check"], Some(&file))).await.unwrap();
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    let shown: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("error: ") || line.starts_with("hint: "))
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    error: `when` of event `A`: there is no column `new.state`
    hint: known here: `order_id`, `customer_id`, `status`, `total_cents`, `note`
    error: `type` names a column `kind`, which the data of event `B` does not have
    hint: known here: `type`
    error: `stream` names a column `customer`, which the data of event `B` does not have
    hint: known here: `type`
    error: table public."order" does not exist
    hint: did you mean public.orders?
    error: table public.customer does not exist
    hint: did you mean public.customers?
    error: `list` names a column `customer_id`, which the data of event `E` does not have
    hint: known here: `?column?`
    "#);
}
