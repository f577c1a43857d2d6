//! The read models of `config/examples/shop.toml`, as they are printed there: whatever the shop's
//! application does, and however often the daemon is killed, each of their stores holds what the
//! source answers.
//!
//! `READSIDE_SEED=… cargo test --test it examples::` takes other transactions.

mod stores;
mod workload;

use std::cell::Cell;

use fastrand::Rng;
use futures_util::future::{join, join_all};

use self::stores::Model;
use self::workload::Writer;
use crate::harness::{Daemon, readside, wait};
use crate::world::{World, one};

const SCHEMA: &str = include_str!("../../../config/examples/shop.sql");
const EXAMPLE: &str = include_str!("../../../config/examples/shop.toml");

/// So that a comparison is quick: the example's own rows are for people to look at.
const FEWER: &str = "
    DELETE FROM order_items WHERE order_id > 300;
    DELETE FROM orders WHERE order_id > 300;
    DELETE FROM cart_events WHERE cart_id > 40;
    DELETE FROM reviews WHERE review_id > 300;
    DELETE FROM addresses WHERE customer_id > 150;
    DELETE FROM customers c WHERE customer_id > 150
      AND NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.customer_id)
      AND NOT EXISTS (SELECT FROM reviews r WHERE r.customer_id = c.customer_id)";

fn rng() -> Rng {
    let seed = std::env::var("READSIDE_SEED").map_or(11, |seed| seed.parse().unwrap());
    eprintln!("examples: READSIDE_SEED={seed}");
    Rng::with_seed(seed)
}

/// The example with other addresses, and with names that no other test uses.
fn config(world: &World) -> String {
    let at = EXAMPLE.find("[projection.").unwrap();
    let (_, projections) = EXAMPLE.split_at(at);
    let ours = world.name("");
    let renamed = projections
        .replace("[projection.", &format!("[projection.{ours}"))
        .replace("index = \"", &format!("index = \"{ours}"));
    world.config(&renamed)
}

async fn same(world: &World, daemon: &mut Daemon, models: &[Model]) {
    let lsn = world.lsn().await;
    for model in models {
        for sink in model.sinks() {
            daemon.wait_for(&world.name(&model.name), sink, &lsn).await;
        }
    }
    stores::compare(world, models).await;
}

/// The networks that the command uses are this runtime's, so it is waited for elsewhere.
async fn explained(daemon: &Daemon, projection: String) {
    let config = daemon.config_file();
    let told =
        tokio::task::spawn_blocking(move || readside(&["explain", &projection], Some(&config)));
    let told = told.await.unwrap();
    assert!(told.status.success() && !told.stdout.is_empty(), "{told:?}");
}

#[tokio::test]
async fn each_store_holds_what_the_source_answers() {
    let mut rng = rng();
    let world = World::new(SCHEMA).await;
    let models = stores::models(EXAMPLE);
    let mut daemon = Daemon::start(&config(&world));
    daemon.wait_ready().await;
    // The rows that the example comes with, once.
    same(&world, &mut daemon, &models).await;
    for model in &models {
        explained(&daemon, world.name(&model.name)).await;
    }
    world.execute(FEWER).await;

    let mut writer = Writer::new(&world, rng.fork()).await;
    for round in 0..6 {
        for _ in 0..rng.u32(5..60) {
            writer.transaction().await;
        }
        if round % 2 == 0 {
            daemon.kill9();
            for _ in 0..rng.u32(0..20) {
                writer.transaction().await;
            }
            daemon.restart();
            // Perhaps again, before it has finished anything.
            for _ in 0..rng.u32(0..20) {
                writer.transaction().await;
            }
            daemon.restart();
        }
        same(&world, &mut daemon, &models).await;
    }
}

/// What the orders in one read model amount to is what the customers, and the days, amount to in others.
const INVARIANT: &str = "
    SELECT concat_ws(' ',
      (SELECT coalesce(sum(total_cents), 0) FROM order_summary WHERE status <> 'cancelled'),
      (SELECT coalesce(sum(total_cents), 0) FROM customer_lifetime_value),
      (SELECT coalesce(sum(revenue_cents), 0) FROM daily_revenue))";

#[tokio::test]
async fn an_invariant_between_read_models_holds_for_every_reader() {
    let mut rng = rng();
    let world = World::new(&format!("{SCHEMA};{FEWER}")).await;
    let mut daemon = Daemon::start(&config(&world));
    daemon.wait_ready().await;

    let (met, stopped) = (Cell::new(0), Cell::new(false));
    let reading = async {
        let mut last = String::new();
        while !stopped.get() {
            let sums = one(&world.reporting, INVARIANT).await;
            let all: Vec<_> = sums.split(' ').collect();
            assert!(all.iter().all(|sum| *sum == all[0]), "orders, customers, days: {sums}");
            if sums != last {
                met.set(met.get() + 1);
                last = sums;
            }
        }
    };
    let writing = async {
        let mut writers = join_all((0..3).map(|_| Writer::new(&world, rng.fork()))).await;
        for states in [20, 40, 60] {
            wait::until(&format!("the reader to meet {states} states"), async || {
                join_all(writers.iter_mut().map(Writer::order)).await;
                if met.get() < states { Err(met.get()) } else { Ok(()) }
            })
            .await;
            daemon.restart();
        }
        daemon.wait_ready().await;
        let lsn = world.lsn().await;
        for name in ["order_summary", "customer_lifetime_value", "daily_revenue"] {
            daemon.wait_for(&world.name(name), "reporting", &lsn).await;
        }
        stopped.set(true);
    };
    join(reading, writing).await;
    let expected = one(
        &world.client,
        "SELECT coalesce(sum(total_cents), 0)::text FROM orders WHERE status <> 'cancelled'",
    )
    .await;
    let sums = one(&world.reporting, INVARIANT).await;
    assert_eq!(sums, [expected.as_str(); 3].join(" "));
}
