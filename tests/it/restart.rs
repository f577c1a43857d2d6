//! A restart, orderly or not, goes on from the state.

use std::time::{Duration, Instant};

use crate::harness::{Daemon, PostgresOptions, wait};
use crate::world::{World, one, until_logged, until_metric};

const SHOP: &str = "
    CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL, price numeric);
    INSERT INTO products SELECT i, 'product ' || i, i * 1.50 FROM generate_series(1, 5000) AS i;";

async fn loaded(daemon: &Daemon) -> f64 {
    daemon.metrics().await.get("readside_load_rows_total", &[("table", "public.products")]).unwrap()
}

/// Far below the bound of a test, and far above what a slow machine needs.
const SECONDS: Duration = Duration::from_secs(15);

#[tokio::test]
async fn goes_on_without_a_reload() {
    let world = World::new(SHOP).await;
    let mut daemon =
        Daemon::start(&world.config(&world.projection("products", "products", &["id"])));
    daemon.wait_ready().await;
    world.same(&mut daemon, "products", "products", &["id"]).await;
    assert_eq!(loaded(&daemon).await, 5000.0);

    world.execute("UPDATE products SET name = 'renamed' WHERE id <= 100").await;
    assert!(daemon.terminate().await.success(), "{}", daemon.log());
    world
        .execute("DELETE FROM products WHERE id <= 10; INSERT INTO products VALUES (0, 'zero')")
        .await;
    daemon.restart();
    world.same(&mut daemon, "products", "products", &["id"]).await;
    assert_eq!(loaded(&daemon).await, 5000.0, "kept, and nothing was loaded again");

    for round in 0..5 {
        world.execute(&format!("UPDATE products SET price = {round} WHERE id % 7 = {round}")).await;
        daemon.kill9();
        world.execute(&format!("DELETE FROM products WHERE id = {}", 1000 + round)).await;
        daemon.restart();
    }
    world.same(&mut daemon, "products", "products", &["id"]).await;
    assert_eq!(loaded(&daemon).await, 5000.0);
    let log = daemon.log();
    assert_eq!(log.matches("a load begins").count(), 1, "{log}");
}

#[tokio::test]
async fn acknowledges_only_what_is_durable() {
    let world = World::new(SHOP).await;
    let mut daemon =
        Daemon::start(&world.config(&world.projection("products", "products", &["id"])));
    daemon.wait_ready().await;
    for round in 0..40 {
        world.execute(&format!("UPDATE products SET price = {round} WHERE id < 500")).await;
        let confirmed: i64 = one(
            &world.client,
            "SELECT (confirmed_flush_lsn - '0/0')::text FROM pg_replication_slots WHERE slot_name = 'readside'",
        )
        .await
        .parse()
        .unwrap();
        let durable = daemon.metrics().await.get("readside_durable_lsn", &[]).unwrap();
        let applied = daemon.metrics().await.get("readside_applied_lsn", &[]).unwrap();
        // Shown a quarter of a second late at most, so asked again before it counts as wrong.
        if confirmed as f64 > durable {
            wait::until("the durable position to be shown", async || {
                let durable = daemon.metrics().await.get("readside_durable_lsn", &[]).unwrap();
                if confirmed as f64 <= durable { Ok(()) } else { Err(durable) }
            })
            .await;
        }
        assert!(durable <= applied);
    }
    daemon.kill9();
    // What the slot has let go of must be in the state.
    daemon.restart();
    world.same(&mut daemon, "products", "products", &["id"]).await;
    assert!(!daemon.log().contains("acknowledged beyond"), "{}", daemon.log());
}

/// SIGTERM ends it with 0 within seconds, whatever is away.
async fn ends(daemon: &mut Daemon) {
    let begun = Instant::now();
    let status = daemon.terminate().await;
    assert!(status.success(), "{status}\n{}", daemon.log());
    assert!(begun.elapsed() < SECONDS, "{:?}\n{}", begun.elapsed(), daemon.log());
}

#[tokio::test]
async fn sigterm_ends_it_while_something_is_away() {
    let world = World::new(SHOP).await;
    let config = world.config(&world.projection("products", "products", &["id"]));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    world.source_net.cut();
    until_logged(&daemon, "retry_in_ms").await;
    ends(&mut daemon).await;
    world.source_net.heal();

    daemon.restart();
    world.same(&mut daemon, "products", "products", &["id"]).await;
    world.source_net.blackhole();
    world.reporting_net.blackhole();
    world.cache_net.blackhole();
    world.search_net.blackhole();
    world.execute("UPDATE products SET name = 'unseen'").await;
    ends(&mut daemon).await;
    world.source_net.heal();
    for net in [&world.reporting_net, &world.cache_net, &world.search_net] {
        net.cut();
    }
    daemon.restart();
    until_logged(&daemon, "the sink is away").await;
    ends(&mut daemon).await;
    for net in [&world.reporting_net, &world.cache_net, &world.search_net] {
        net.heal();
    }
    daemon.restart();
    world.same(&mut daemon, "products", "products", &["id"]).await;
    assert_eq!(loaded(&daemon).await, 5000.0);
}

#[tokio::test]
async fn sigterm_ends_it_while_it_loads() {
    let world = World::new(SHOP).await;
    let projection = world.projection("products", "products", &["id"]);
    let config = world.config_with("load_rows_per_second = 500", &projection);
    let mut daemon = Daemon::start(&config);
    until_logged(&daemon, "a load begins").await;
    wait::until("the load's rows", async || {
        let status = daemon.status().await;
        if status["load"]["tables"][0]["rows"].as_u64() > Some(0) { Ok(()) } else { Err(status) }
    })
    .await;
    ends(&mut daemon).await;
    daemon.set_config(&world.config(&projection));
    daemon.restart();
    world.same(&mut daemon, "products", "products", &["id"]).await;
}

#[tokio::test]
async fn a_source_that_restarts_is_found_again() {
    let options = PostgresOptions { fsync: true, ..PostgresOptions::default() };
    let mut world = World::with(&options, SHOP).await;
    let mut daemon =
        Daemon::start(&world.config(&world.projection("products", "products", &["id"])));
    daemon.wait_ready().await;
    for round in 0..3 {
        world.execute(&format!("UPDATE products SET price = {round}")).await;
        if round == 1 {
            world.postgres.kill9();
        } else {
            world.postgres.stop_fast().await;
        }
        world.postgres.restart().await;
        world.reconnect().await;
        world.execute(&format!("DELETE FROM products WHERE id = {round} + 1")).await;
    }
    world.same(&mut daemon, "products", "products", &["id"]).await;
    assert_eq!(loaded(&daemon).await, 5000.0);
}

/// What the publication lacked for a time the slot has not sent, and will not.
#[tokio::test]
async fn a_table_that_was_not_published_meanwhile_is_loaded_again() {
    let world = World::new(SHOP).await;
    let mut daemon =
        Daemon::start(&world.config(&world.projection("products", "products", &["id"])));
    daemon.wait_ready().await;
    daemon.terminate().await;
    world
        .execute(
            "ALTER PUBLICATION readside DROP TABLE products;
             DELETE FROM products WHERE id <= 10; INSERT INTO products VALUES (0, 'zero')",
        )
        .await;
    daemon.restart();
    daemon.wait_ready().await;
    world.same(&mut daemon, "products", "products", &["id"]).await;

    // Also when it was put in again.
    for (running, at) in [(false, 100), (true, 200)] {
        if !running {
            daemon.terminate().await;
        }
        for sql in [
            "ALTER PUBLICATION readside DROP TABLE products".to_owned(),
            format!(
                "DELETE FROM products WHERE id = {at}; INSERT INTO products VALUES (-{at}, 'new')"
            ),
            "ALTER PUBLICATION readside ADD TABLE products".to_owned(),
        ] {
            world.execute(&sql).await;
        }
        if !running {
            daemon.restart();
        }
        world.soon_same("products", "products", &["id"]).await;
    }

    // While it runs, as well; and the stream that cannot be had meanwhile is not tried all the time.
    world
        .execute(
            "DROP PUBLICATION readside;
             DELETE FROM products WHERE id <= 20; INSERT INTO products VALUES (1, 'one')",
        )
        .await;
    world.soon_same("products", "products", &["id"]).await;
    let log = daemon.log_of_this_start();
    assert!(log.matches("the source is away").count() < 20, "{log}");
}

/// Between two looks at the catalog, or while nobody looks.
#[tokio::test]
async fn a_publication_that_hid_changes_for_a_moment_costs_a_reload() {
    let world = World::new(SHOP).await;
    let mut daemon =
        Daemon::start(&world.config(&world.projection("products", "products", &["id"])));
    daemon.wait_ready().await;
    for (round, running) in [true, false].into_iter().enumerate() {
        if !running {
            daemon.terminate().await;
        }
        for sql in [
            "ALTER PUBLICATION readside SET (publish = 'insert')",
            &format!("DELETE FROM products WHERE id % 100 = {round}"),
            "ALTER PUBLICATION readside SET (publish = 'insert, update, delete, truncate')",
        ] {
            world.execute(sql).await;
        }
        if !running {
            daemon.restart();
        }
        world.soon_same("products", "products", &["id"]).await;
    }
    world.execute("UPDATE products SET name = 'on' WHERE id < 5").await;
    world.same(&mut daemon, "products", "products", &["id"]).await;
}

/// A sink that nothing goes to is up when it is there.
#[tokio::test]
async fn a_sink_without_projections_is_looked_at_too() {
    let world = World::new(SHOP).await;
    let name = world.name("products");
    let mut daemon = Daemon::start(&world.config(&format!(
        "[projection.{name}]\ntable = \"products\"\nto.cache = {{ json = \"p:{{id}}\" }}"
    )));
    daemon.wait_ready().await;
    for sink in ["reporting", "search", "cache"] {
        until_metric(&daemon, "readside_sink_up", &[("sink", sink)], |up| up == 1.0).await;
    }
}
