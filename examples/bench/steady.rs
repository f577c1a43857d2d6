//! A steady load on the source: so many small transactions each second, from several writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_postgres::{Client, Statement};

use crate::harness::{Postgres, wait};

/// So that a commit that waits for the disk does not hold up the rate.
const WRITERS: u32 = 16;

/// As many transactions as the source takes.
pub(crate) const UNBOUNDED: u32 = u32::MAX;

/// Statements of one number each, and how often each is taken.
pub(crate) type Mix = &'static [(usize, &'static str)];

/// New orders with three items, and changes of an order's status. Order 1 is left to probes.
pub(crate) const ORDERS: Mix = &[
    (
        4,
        "WITH placed AS (INSERT INTO orders (customer_id, total_cents)
           VALUES (1 + $1::bigint % 1000, $1::bigint) RETURNING order_id)
         INSERT INTO order_items (order_id, product_id, quantity, price_cents)
         SELECT order_id, 1 + $1::bigint % 100 + k, k, 100 FROM placed, generate_series(1, 3) k",
    ),
    (
        1,
        "UPDATE orders SET status = 'status ' || $1::bigint
         WHERE order_id = 2 + $1::bigint % 19999",
    ),
];

pub(crate) struct Load {
    tasks: JoinSet<Result<(), tokio_postgres::Error>>,
    shared: Arc<Shared>,
    begun: Instant,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    transactions: AtomicU64,
}

impl Load {
    pub(crate) async fn start(source: &Postgres, database: &str, rate: u32, mix: Mix) -> Load {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for _ in 0..WRITERS {
            let client = source.client(database).await;
            tasks.spawn(write(client, rate, mix, Arc::clone(&shared)));
        }
        Load { tasks, shared, begun: Instant::now() }
    }

    /// Transactions so far.
    pub(crate) fn transactions(&self) -> u64 {
        self.shared.transactions.load(Ordering::Relaxed)
    }

    /// Transactions per second that there really were.
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    pub(crate) async fn stop(&mut self) -> Result<f64> {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(self.transactions() as f64 / seconds)
    }
}

async fn write(
    client: Client,
    rate: u32,
    mix: Mix,
    shared: Arc<Shared>,
) -> Result<(), tokio_postgres::Error> {
    let mut statements: Vec<Statement> = Vec::new();
    for (weight, sql) in mix {
        let statement = client.prepare(sql).await?;
        statements.extend(std::iter::repeat_n(statement, *weight));
    }
    let mut tick = tokio::time::interval(Duration::from_secs(1) * WRITERS / rate);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    // The writers do not all begin at once.
    wait::delay(Duration::from_secs(1).mul_f64(fastrand::f64()) * WRITERS / rate).await;
    while !shared.stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let number = fastrand::i64(0..1 << 40);
        let statement = &statements[fastrand::usize(..statements.len())];
        client.execute(statement, &[&number]).await?;
        shared.transactions.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
