//! Another configuration without a restart.

mod applied;
mod files;
mod refused;
mod rotation;
mod troubles;

use serde_json::Value;

use crate::harness::Daemon;
use crate::world::World;

const SHOP: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, customer int, total int);
    CREATE TABLE customers (id int PRIMARY KEY, name text);
    INSERT INTO orders SELECT i, i % 50, i FROM generate_series(1, 3000) AS i;
    INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(0, 49) AS i;";

fn strings(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.map(|item| item.as_str().expect("a text").to_owned()).collect()
}

/// Rows that loads have brought of a table, ever.
async fn loaded(daemon: &Daemon, table: &str) -> f64 {
    let labels = [("table", &*format!("public.{table}"))];
    daemon.metrics().await.get("readside_load_rows_total", &labels).unwrap_or(0.0)
}

/// The generation of a projection in each of its sinks.
async fn generations(world: &World, daemon: &Daemon, projection: &str) -> Vec<u64> {
    let status = daemon.status().await;
    let projections = status["projections"].as_array().expect("a list");
    let of =
        projections.iter().find(|of| of["name"] == world.name(projection)).expect("it is there");
    let lanes = of["sinks"].as_array().expect("a list");
    lanes.iter().map(|lane| lane["generation"].as_u64().expect("a number")).collect()
}
