//! A reload while something else is under way, or goes wrong.

use tokio::task::JoinSet;

use super::{SHOP, loaded, strings};
use crate::harness::{Daemon, http, wait};
use crate::world::{World, one, until_logged, until_metric};

#[tokio::test]
async fn while_it_loads() {
    let world = World::new(SHOP).await;
    world
        .execute("INSERT INTO orders SELECT i, i % 50, i FROM generate_series(3001, 20000) AS i")
        .await;
    let orders = world.projection("orders", "orders", &["id"]);
    let customers = world.projection("customers", "customers", &["id"]);
    let sums = "SELECT customer, count(*) AS n FROM orders GROUP BY customer";
    let of_query = world.query("sums", sums, &["customer"]);
    let slow = "load_rows_per_second = 4000";
    let mut daemon = Daemon::start(&world.config_with(slow, &orders));
    until_logged(&daemon, "a load begins").await;
    until_metric(&daemon, "readside_load_rows_total", &[], |rows| rows > 0.0).await;
    // Over the table that is being loaded: the load goes on.
    let more = format!("{orders}{of_query}");
    let reload = daemon.reload(&world.config_with(slow, &more)).await;
    assert_eq!(reload["result"], "applied", "{reload}");
    until_logged(&daemon, "the load goes on").await;
    world.execute("UPDATE orders SET total = 0 WHERE id % 9 = 0").await;
    // Over another one, and faster.
    let reload = daemon.reload(&world.config(&format!("{more}{customers}"))).await;
    let customers_added = format!("added projection {}", world.name("customers"));
    assert_eq!(
        strings(&reload["changes"]),
        [customers_added, "removed source.load_rows_per_second".to_owned()]
    );
    world.execute("DELETE FROM customers WHERE id > 30; DELETE FROM orders WHERE id % 7 = 0").await;
    daemon.wait_ready().await;
    world.same(&mut daemon, "orders", "orders", &["id"]).await;
    world.same(&mut daemon, "customers", "customers", &["id"]).await;
    world.same(&mut daemon, "sums", &format!("({sums})"), &["customer"]).await;
    assert!(loaded(&daemon, "customers").await >= 31.0);
}

#[tokio::test]
async fn killed_right_after() {
    let world = World::new(SHOP).await;
    let orders = world.projection("orders", "orders", &["id"]);
    let customers = world.projection("customers", "customers", &["id"]);
    let query = |what: &str| format!("SELECT customer, {what} AS n FROM orders GROUP BY customer");
    let sums = |what: &str| world.query("sums", &query(what), &["customer"]);
    let mut daemon = Daemon::start(&world.config(&orders));
    daemon.wait_ready().await;
    let steps = [
        format!("{orders}{}", sums("count(*)")),
        format!("{orders}{customers}{}", sums("sum(total)")),
        format!("{orders}{}", sums("max(total)")),
    ];
    for (step, config) in steps.iter().enumerate() {
        world
            .execute(&format!("UPDATE orders SET total = total + {step} WHERE id % 3 = {step}"))
            .await;
        let reload = daemon.reload(&world.config(config)).await;
        assert_eq!(reload["result"], "applied", "{reload}");
        daemon.kill9();
        world.execute(&format!("DELETE FROM orders WHERE id % 100 = {step}")).await;
        daemon.restart();
        world.soon_same("orders", "orders", &["id"]).await;
    }
    world.soon_same("sums", &format!("({})", query("max(total)")), &["customer"]).await;
    daemon.wait_ready().await;
    assert_eq!(loaded(&daemon, "orders").await, 3000.0);
}

#[tokio::test]
async fn during_an_outage_of_a_sink() {
    let world = World::new(SHOP).await;
    let orders = world.projection("orders", "orders", &["id"]);
    let customers = world.projection("customers", "customers", &["id"]);
    let event = world.name("raised");
    let event = format!(
        "[event.{event}]\ntable = 'orders'\nwhen = 'new.total > old.total'\ndata = 'new.id, new.total'\n\
         to.reporting = {{ table = 'raised' }}\n"
    );
    let mut daemon = Daemon::start(&world.config(&format!("{orders}{event}")));
    daemon.wait_ready().await;
    world.reporting_net.cut();
    world.execute("UPDATE orders SET total = total + 1 WHERE id <= 3").await;
    until_metric(&daemon, "readside_sink_up", &[("sink", "reporting")], |up| up == 0.0).await;
    // Somebody waits for what the sink lacks, over the reload.
    let lsn = world.lsn().await;
    let name = world.name("orders");
    let query = format!("projection={name}&sink=reporting&lsn={lsn}&timeout=5m");
    let url = format!("{}/v1/wait?{query}", daemon.url());
    let mut waiters = JoinSet::new();
    waiters.spawn(async move { http().get(url).send().await.unwrap().status() });

    let reload = daemon.reload(&world.config(&format!("{orders}{event}{customers}"))).await;
    assert_eq!(reload["result"], "applied", "{reload}");
    let up = daemon.metrics().await.get("readside_sink_up", &[("sink", "reporting")]);
    assert_eq!(up, Some(0.0), "it is still away");
    world
        .execute(
            "UPDATE orders SET total = total + 1 WHERE id = 4; DELETE FROM customers WHERE id = 9",
        )
        .await;
    let lsn = world.lsn().await;
    for projection in ["orders", "customers"] {
        for sink in ["cache", "search"] {
            daemon.wait_for(&world.name(projection), sink, &lsn).await;
        }
    }
    assert!(waiters.try_join_next().is_none());
    world.reporting_net.heal();
    assert_eq!(waiters.join_next().await.unwrap().unwrap(), 200);
    world.same(&mut daemon, "orders", "orders", &["id"]).await;
    world.same(&mut daemon, "customers", "customers", &["id"]).await;
    daemon.wait_for(&world.name("raised"), "reporting", &lsn).await;
    let told = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM raised";
    assert_eq!(one(&world.reporting, told).await, "1 2 3 4", "each once");
}

#[tokio::test]
async fn while_the_source_is_away() {
    let world = World::new(SHOP).await;
    let orders = world.projection("orders", "orders", &["id"]);
    let customers = world.projection("customers", "customers", &["id"]);
    let mut daemon = Daemon::start(&world.config(&orders));
    daemon.wait_ready().await;
    world.source_net.cut();
    until_metric(&daemon, "readside_source_up", &[], |up| up == 0.0).await;
    daemon.set_config(&world.config(&format!("{orders}{customers}")));
    wait::until("it to wait for the source", async || {
        let reload = daemon.status().await["reload"].clone();
        if reload["result"] == "waiting" { Ok(()) } else { Err(reload) }
    })
    .await;
    world.source_net.heal();
    daemon.wait_ready().await;
    world.soon_same("customers", "customers", &["id"]).await;
    world.same(&mut daemon, "orders", "orders", &["id"]).await;
    assert_eq!(daemon.status().await["reload"]["result"], "applied");
}
