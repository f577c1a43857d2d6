//! A sink that is away, or that somebody else has emptied, is its own trouble.

use redis::AsyncCommands as _;
use reqwest::Method;

use crate::harness::{Daemon, wait};
use crate::world::{SINKS, World, one, until_metric};

const ITEMS: &str = "
    CREATE TABLE items (id int PRIMARY KEY, v text);
    INSERT INTO items SELECT i, 'v' || i FROM generate_series(1, 500) AS i;";

async fn start(world: &World) -> Daemon {
    let mut daemon = Daemon::start(&world.config(&world.projection("items", "items", &["id"])));
    daemon.wait_ready().await;
    daemon
}

fn net<'a>(world: &'a World, sink: &str) -> &'a crate::harness::Proxy {
    match sink {
        "reporting" => &world.reporting_net,
        "cache" => &world.cache_net,
        _ => &world.search_net,
    }
}

async fn confirmed(world: &World) -> i64 {
    let sql = "SELECT (confirmed_flush_lsn - '0/0')::text FROM pg_replication_slots WHERE slot_name = 'readside'";
    one(&world.client, sql).await.parse().unwrap()
}

#[tokio::test]
async fn one_sinks_outage_is_its_own() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    for (round, sick) in SINKS.into_iter().enumerate() {
        let network = net(&world, sick);
        if round == 1 {
            network.blackhole()
        } else {
            network.cut()
        }
        world
            .execute(&format!("UPDATE items SET v = 'round {round}' WHERE id % 3 = {round}"))
            .await;
        let lsn = world.lsn().await;
        for healthy in SINKS.into_iter().filter(|sink| *sink != sick) {
            daemon.wait_for(&world.name("items"), healthy, &lsn).await;
        }
        // An idle connection into a black hole shows its state only when it is used.
        until_metric(&daemon, "readside_sink_up", &[("sink", sick)], |up| up == 0.0).await;
        wait::until("the sick sink to be a reason", async || {
            let (status, reasons) = daemon.get("/readyz").await;
            let told = status == 503 && reasons.contains(&format!("sink {sick}"));
            if told { Ok(()) } else { Err(format!("{status} {reasons}")) }
        })
        .await;
        let query =
            format!("projection={}&sink={sick}&lsn={lsn}&timeout=100ms", world.name("items"));
        assert_eq!(daemon.get(&format!("/v1/wait?{query}")).await.0, 408);
        // The slot moves on: what the sick one lacks is in the state.
        let before = confirmed(&world).await;
        world.execute(&format!("DELETE FROM items WHERE id = {round} + 10; UPDATE items SET v = v || '!' WHERE id < 20")).await;
        wait::until("the slot to move on", async || {
            let now = confirmed(&world).await;
            if now > before { Ok(()) } else { Err(now) }
        })
        .await;
        until_metric(&daemon, "readside_retries_total", &[("sink", sick)], |retries| {
            retries >= 1.0
        })
        .await;
        network.heal();
        world.same(&mut daemon, "items", "items", &["id"]).await;
        until_metric(&daemon, "readside_sink_up", &[("sink", sick)], |up| up == 1.0).await;
        daemon.wait_ready().await;
    }
    // Many changes of few keys cost a sink that was away one write for each key.
    let labels = [("sink", "cache"), ("projection", &*world.name("items"))];
    world.cache_net.cut();
    until_metric(&daemon, "readside_sink_up", &[("sink", "cache")], |up| up == 0.0).await;
    let before = daemon.metrics().await.get("readside_rows_written_total", &labels).unwrap();
    for round in 0..30 {
        world
            .execute(&format!("UPDATE items SET v = 'again {round}' WHERE id BETWEEN 101 AND 110"))
            .await;
    }
    world.cache_net.heal();
    world.same(&mut daemon, "items", "items", &["id"]).await;
    let after = daemon.metrics().await.get("readside_rows_written_total", &labels).unwrap();
    assert!(after - before <= 20.0, "{before} {after}");
}

#[tokio::test]
async fn sinks_that_are_away_at_the_start_come_later() {
    let world = World::new(ITEMS).await;
    for sink in SINKS {
        net(&world, sink).cut();
    }
    let mut daemon = Daemon::start(&world.config(&world.projection("items", "items", &["id"])));
    for (healed, sink) in SINKS.into_iter().enumerate() {
        world.execute(&format!("UPDATE items SET v = 'healed {healed}' WHERE id < 50")).await;
        net(&world, sink).heal();
        let lsn = world.lsn().await;
        daemon.wait_for(&world.name("items"), sink, &lsn).await;
        // Restarted with some sinks still away.
        if healed == 0 {
            daemon.kill9();
            daemon.restart();
        }
        if healed == 1 {
            break;
        }
    }
    world.search_net.heal();
    world.same(&mut daemon, "items", "items", &["id"]).await;
    daemon.wait_ready().await;
}

/// A sink that restarts without its data is filled again.
#[tokio::test]
async fn what_somebody_else_removed_is_filled_again() {
    let world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    world.same(&mut daemon, "items", "items", &["id"]).await;

    let mut redis = world.redis.client().await;
    let () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    world.execute("UPDATE items SET v = 'flushed' WHERE id = 1").await;
    world.soon_same("items", "items", &["id"]).await;

    let index = world.name("items");
    let (_, aliases) = world.search.get(&format!("_alias/{index}")).await;
    let real = aliases.as_object().unwrap().keys().next().unwrap().clone();
    let (status, answer) = world.search.request(Method::DELETE, &real, None).await;
    assert!(status.is_success(), "{answer}");
    world.execute("UPDATE items SET v = 'index dropped' WHERE id = 2").await;
    world.soon_same("items", "items", &["id"]).await;

    world.reporting.batch_execute("DROP TABLE items").await.unwrap();
    world.execute("UPDATE items SET v = 'table dropped' WHERE id = 3").await;
    world.soon_same("items", "items", &["id"]).await;

    world.reporting.batch_execute("DROP SCHEMA readside CASCADE").await.unwrap();
    world.execute("UPDATE items SET v = 'watermarks dropped' WHERE id = 4").await;
    world.soon_same("items", "items", &["id"]).await;
    world.same(&mut daemon, "items", "items", &["id"]).await;

    // While the daemon is away.
    daemon.terminate().await;
    let () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    world.reporting.batch_execute("DROP TABLE items").await.unwrap();
    daemon.restart();
    world.same(&mut daemon, "items", "items", &["id"]).await;
}

#[tokio::test]
async fn sinks_that_restart_are_found_again() {
    let mut world = World::new(ITEMS).await;
    let mut daemon = start(&world).await;
    for round in 0..3 {
        world.redis.kill9();
        world
            .execute(&format!("UPDATE items SET v = 'killed {round}' WHERE id % 5 = {round}"))
            .await;
        world.redis.restart().await;
        world.same(&mut daemon, "items", "items", &["id"]).await;
    }
}

/// Something that only a human can move is in an event's way in each of the sinks.
#[tokio::test]
async fn what_is_in_the_way_of_one_stops_that_one_alone() {
    let world = World::new(ITEMS).await;
    let event = world.name("changed");
    world.reporting.batch_execute("CREATE TABLE item_events (x int)").await.unwrap();
    let owner = [("owner", "1/somebody"), ("lsn", "0/1"), ("settled", "true")];
    let key = format!("readside:watermark:{event}");
    let () = world.redis.client().await.hset_multiple(&key, &owner).await.unwrap();
    let index = format!("{}/{event}", world.search.url());
    let made = crate::harness::http().request(Method::PUT, index).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    let events = format!(
        "[event.{event}]\ntable = 'items'\nwhen = 'new IS NOT NULL'\nto.reporting = {{ table = 'item_events' }}\n\
         to.cache = {{ stream = '{event}' }}\nto.search = {{ index = '{event}' }}\n"
    );
    let items = world.projection("items", "items", &["id"]);
    let mut daemon = Daemon::start(&world.config(&format!("{items}{events}")));
    world.same(&mut daemon, "items", "items", &["id"]).await;
    world.execute("UPDATE items SET v = v || '!' WHERE id < 10").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
    for sink in SINKS {
        until_metric(&daemon, "readside_sink_up", &[("sink", sink)], |up| up == 1.0).await;
        wait::until("the event to be a reason", async || {
            let (status, reasons) = daemon.get("/readyz").await;
            let told = |line: &str| line.contains(&event) && line.contains(sink);
            let told = status == 503 && reasons.lines().any(told);
            if told { Ok(()) } else { Err(format!("{status} {reasons}")) }
        })
        .await;
    }
}
