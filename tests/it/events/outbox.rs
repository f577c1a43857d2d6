//! A transactional outbox, as the example has it.

use serde_json::json;

use super::stream;
use crate::harness::Daemon;
use crate::world::{World, until_metric};

const SCHEMA: &str = include_str!("../../../config/examples/outbox.sql");
const EXAMPLE: &str = include_str!("../../../config/examples/outbox.toml");

#[tokio::test]
async fn rows_that_are_deleted_in_their_transaction_are_delivered() {
    let world = World::new(SCHEMA).await;
    let (_, events) = EXAMPLE.split_at(EXAMPLE.find("[event.").unwrap());
    let ours = world.name("");
    let whole = "[event.whole]\ntable = 'domain_events'\nwhen = 'old IS NULL'\ntype = '{event_type}'\n\
                 to.cache = { stream = 'whole' }\n";
    let events = format!("{events}\n{whole}").replace("[event.", &format!("[event.{ours}"));
    let config = world.config(&events);
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let outbox = world.name("outbox");
    let write = |id: u32, aggregate: &str, kind: &str| {
        format!(
            "INSERT INTO domain_events (aggregate_type, aggregate_id, event_type, payload)
             VALUES ('{aggregate}', '{id}', '{kind}', '{{\"number\": {id}}}');"
        )
    };
    for id in 1..=3 {
        world
            .execute(&format!(
                "BEGIN; {} {} DELETE FROM domain_events; COMMIT",
                write(id, "order", "OrderPlaced"),
                write(id, "customer", "CustomerSeen")
            ))
            .await;
    }
    world.execute(&format!("BEGIN; {} ROLLBACK", write(4, "order", "OrderPlaced"))).await;
    world.execute(&write(5, "order", "OrderCancelled")).await;
    let lsn = world.lsn().await;
    for sink in ["cache", "reporting"] {
        daemon.wait_for(&outbox, sink, &lsn).await;
    }
    let orders = stream(&world, "events:order").await;
    let shown: Vec<_> =
        orders.iter().map(|e| (e["type"].as_str().unwrap(), &e["data"]["payload"])).collect();
    assert_eq!(
        shown,
        [
            ("OrderPlaced", &json!({ "number": 1 })),
            ("OrderPlaced", &json!({ "number": 2 })),
            ("OrderPlaced", &json!({ "number": 3 })),
            ("OrderCancelled", &json!({ "number": 5 })),
        ]
    );
    assert_eq!(stream(&world, "events:customer").await.len(), 3);
    daemon.wait_for(&world.name("whole"), "cache", &lsn).await;
    let whole = stream(&world, "whole").await;
    let last = whole.last().unwrap();
    assert_eq!((whole.len(), &last["type"]), (7, &json!("OrderCancelled")));
    assert_eq!(last["data"]["aggregate_id"], "5");
    assert_eq!(last["data"].as_object().unwrap().len(), 5, "{last}");
    let sql = "SELECT count(*), count(DISTINCT (lsn, ordinal)) FROM domain_event_log";
    let row = world.reporting.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (7, 7));
    // What no condition takes is counted: here the rows' ends.
    let labels = |op| [("table", "public.domain_events"), ("op", op)];
    let unmatched = "readside_event_unmatched_total";
    until_metric(&daemon, unmatched, &labels("delete"), |count| count == 6.0).await;
    until_metric(&daemon, unmatched, &labels("insert"), |count| count == 0.0).await;
}
