//! The write database's application: an unchanging mix of small transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_postgres::Client;

pub(crate) async fn fill(client: &Client) -> Result<()> {
    let script = include_str!("../../config/examples/shop.sql");
    client.batch_execute(script).await.context("cannot fill the shop")
}

/// Transactions at a steady rate, until stopped.
pub(crate) struct Load {
    task: JoinHandle<Result<(), tokio_postgres::Error>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    transactions: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    #[expect(clippy::disallowed_methods, reason = "Load owns the task; `stop` waits for it")]
    pub(crate) fn start(client: Client, rate: u32) -> Load {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(run(client, rate, Arc::clone(&shared)));
        Load { task, shared }
    }

    pub(crate) fn transactions(&self) -> u64 {
        self.shared.transactions.load(Ordering::Relaxed)
    }

    /// It never ends by itself but by a fault, which `stop` tells.
    pub(crate) fn failed(&self) -> bool {
        self.task.is_finished()
    }

    /// How many there were, all of them committed.
    pub(crate) async fn stop(self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.task.await.context("the load panicked")?.context("the load failed")?;
        Ok(self.shared.transactions.load(Ordering::Relaxed))
    }
}

async fn run(client: Client, rate: u32, shared: Arc<Shared>) -> Result<(), tokio_postgres::Error> {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
    // A pause of the machine is made up for: the rate holds on average.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !shared.stop.load(Ordering::Relaxed) {
        tick.tick().await;
        client.execute(transaction(), &[]).await?;
        shared.transactions.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// One statement, so one transaction.
fn transaction() -> &'static str {
    match fastrand::u32(0..20) {
        0..10 => {
            "WITH picked AS MATERIALIZED (
               SELECT product_id, price_cents, 1 + (random() * 3)::int AS quantity
               FROM products ORDER BY random() LIMIT 3),
             placed AS (
               INSERT INTO orders (customer_id, total_cents)
               SELECT (SELECT customer_id FROM customers ORDER BY random() LIMIT 1),
                      (SELECT sum(quantity * price_cents) FROM picked)
               RETURNING order_id)
             INSERT INTO order_items (order_id, product_id, quantity, price_cents)
             SELECT order_id, product_id, quantity, price_cents FROM placed, picked"
        }
        10..15 => {
            "UPDATE orders SET status = CASE status WHEN 'pending' THEN 'confirmed' ELSE 'shipped' END
             WHERE order_id = (SELECT order_id FROM orders WHERE status <> 'shipped'
                               ORDER BY order_id DESC LIMIT 1)"
        }
        15..17 => {
            "UPDATE customers SET full_name = 'Customer ' || md5(random()::text)
             WHERE customer_id = 1 + (random() * 999)::int"
        }
        17..19 => {
            "UPDATE products SET price_cents = 100 + (random() * 9900)::int
             WHERE product_id = 1 + (random() * 199)::int"
        }
        _ => {
            "DELETE FROM order_items
             WHERE item_id = (SELECT max(item_id) FROM order_items WHERE quantity = 1)"
        }
    }
}
