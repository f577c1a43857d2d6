//! From the commit's answer to the row in the store, while the source takes a steady load.
//!
//! A probe changes a row and asks for it in the store, again and again without a pause, from the moment
//! the commit is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_postgres::{Client, Statement};

use crate::catch_up::{TO_POSTGRES, TO_REDIS, TO_SEARCH, config, settled, start};
use crate::harness::{Redis, RedisOptions, Search, wait};
use crate::peers::{Subscription, copy_pipe};
use crate::report::{Limit, Report};
use crate::servers::Servers;
use crate::shop::{self, Scale, TABLES};

const DATA: Scale = Scale(0.02);
const RATES: [u32; 2] = [100, 1000];
const PROBES: usize = 400;
/// So that a commit that waits for the disk does not hold up the rate.
const WRITERS: u32 = 16;
const LOST: Duration = Duration::from_secs(20);

/// The row that probes change, in one store.
enum Store {
    Postgres(Client, Statement),
    Redis(redis::aio::MultiplexedConnection),
    Search(reqwest::Client, String),
}

impl Store {
    async fn postgres(client: Client) -> Result<Store> {
        let row = client.prepare("SELECT full_name FROM customers WHERE customer_id = 1").await?;
        Ok(Store::Postgres(client, row))
    }

    async fn holds(&mut self, value: &str) -> Result<bool> {
        match self {
            Store::Postgres(client, row) => {
                Ok(client.query_one(row, &[]).await?.try_get::<_, &str>(0)? == value)
            }
            Store::Redis(connection) => {
                let mut get = redis::cmd("HGET");
                get.arg("customer:1").arg("full_name");
                Ok(get.query_async::<String>(connection).await? == value)
            }
            Store::Search(http, url) => {
                Ok(http.get(&*url).send().await?.text().await?.contains(value))
            }
        }
    }
}

pub(crate) async fn run(servers: &Servers, report: &mut Report) -> Result<()> {
    println!("\nLatency");
    servers.new_shop("steady", DATA).await?;
    native(servers, report).await?;

    servers.new_target("steady").await;
    let url = servers.target.url("steady");
    let store = async || Store::postgres(servers.target.client("steady").await).await;
    ours(servers, report, ("Postgres", "postgres", &url, TO_POSTGRES), store, [3.0, 15.0]).await?;

    let redis = Redis::start(&RedisOptions::default()).await;
    let store = async || Ok(Store::Redis(redis.client().await));
    ours(servers, report, ("Redis", "redis", &redis.url(), TO_REDIS), store, [3.0, 15.0]).await?;

    let search = Search::private().await;
    let url = search.search.url().to_owned();
    let row = format!("{url}/customers/_doc/1");
    let store = async || Ok(Store::Search(crate::harness::http(), row.clone()));
    let limits = [15.0, f64::INFINITY];
    ours(servers, report, ("Document", "elasticsearch", &url, TO_SEARCH), store, limits).await
}

async fn native(servers: &Servers, report: &mut Report) -> Result<()> {
    let source = servers.source.client("steady").await;
    let publish = "CREATE PUBLICATION steady FOR TABLE customers, products, orders, order_items";
    source.batch_execute(publish).await?;
    let target = servers.new_target("steady_sub").await;
    target.batch_execute(shop::TARGET_TABLES).await?;
    for table in TABLES {
        let from = (&servers.source, "steady");
        copy_pipe(from, (&servers.target, "steady_sub"), table).await?;
    }
    let subscription =
        Subscription::create(servers, "steady", "steady_sub", "steady_sub", "steady").await?;
    subscription.enable().await?;
    let mut store = Store::postgres(target).await?;
    for rate in RATES {
        let (p50, p99) = measure(servers, &mut store, rate).await?;
        report.peer(&format!("native subscription at {rate}/s, p50"), p50, "ms");
        report.peer(&format!("native subscription at {rate}/s, p99"), p99, "ms");
    }
    subscription.drop().await
}

async fn ours(
    servers: &Servers,
    report: &mut Report,
    (what, kind, url, to): (&str, &str, &str, [&str; 4]),
    store: impl AsyncFn() -> Result<Store>,
    [p50_max, p99_max]: [f64; 2],
) -> Result<()> {
    let source = servers.source.client("steady").await;
    let slot = format!("steady_{kind}");
    let mut daemon = start(&config(&slot, &servers.source.url("steady"), kind, url, to)).await;
    settled(&mut daemon, &shop::position(&source).await?).await?;
    let mut store = store().await?;
    for rate in RATES {
        let (p50, p99) = measure(servers, &mut store, rate).await?;
        for (name, value, max) in [("p50", p50, p50_max), ("p99", p99, p99_max)] {
            let name = format!("{what} at {rate}/s, {name}");
            if max.is_finite() {
                report.figure(&name, value, "ms", Limit::AtMost(max));
            } else {
                report.peer(&name, value, "ms");
            }
        }
    }
    daemon.terminate().await;
    source.query_one("SELECT pg_drop_replication_slot($1)::text", &[&slot]).await?;
    Ok(())
}

/// p50 and p99 in milliseconds.
async fn measure(servers: &Servers, store: &mut Store, rate: u32) -> Result<(f64, f64)> {
    let mut load = Load::start(servers, rate).await;
    let probe = servers.source.client("steady").await;
    let update = "UPDATE customers SET full_name = $1 WHERE customer_id = 1";
    let update = probe.prepare(update).await?;
    let mut times = Vec::with_capacity(PROBES);
    for number in 0..PROBES {
        // Not in step with anything.
        wait::delay(Duration::from_millis(fastrand::u64(5..25))).await;
        let value = format!("probe {rate}/{number}.");
        probe.execute(&update, &[&value]).await?;
        let answered = Instant::now();
        while !store.holds(&value).await? {
            ensure!(answered.elapsed() < LOST, "{value} does not come");
        }
        times.push(answered.elapsed());
    }
    let achieved = load.stop().await?;
    println!("    ({achieved:.0} transactions per second)");
    times.sort_unstable();
    let at = |index: usize| times.get(index).map(|time| time.as_secs_f64() * 1e3);
    at(PROBES / 2).zip(at(PROBES * 99 / 100)).context("there were probes")
}

struct Load {
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
    async fn start(servers: &Servers, rate: u32) -> Load {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for _ in 0..WRITERS {
            let client = servers.source.client("steady").await;
            tasks.spawn(write(client, rate, Arc::clone(&shared)));
        }
        Load { tasks, shared, begun: Instant::now() }
    }

    /// Transactions per second that there really were.
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    async fn stop(&mut self) -> Result<f64> {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(self.shared.transactions.load(Ordering::Relaxed) as f64 / seconds)
    }
}

async fn write(
    client: Client,
    rate: u32,
    shared: Arc<Shared>,
) -> Result<(), tokio_postgres::Error> {
    let order = "WITH placed AS (INSERT INTO orders (customer_id, total_cents)
                   VALUES (1 + $1::bigint % 1000, $1::bigint) RETURNING order_id)
                 INSERT INTO order_items (order_id, product_id, quantity, price_cents)
                 SELECT order_id, 1 + $1::bigint % 100 + k, k, 100 FROM placed, generate_series(1, 3) k";
    let order = client.prepare(order).await?;
    let status = "UPDATE orders SET status = 'status ' || $1::bigint
                  WHERE order_id = 1 + $1::bigint % 20000";
    let status = client.prepare(status).await?;
    let mut tick = tokio::time::interval(Duration::from_secs(1) * WRITERS / rate);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    // The writers do not all begin at once.
    wait::delay(Duration::from_secs(1).mul_f64(fastrand::f64()) * WRITERS / rate).await;
    while !shared.stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let number = fastrand::i64(0..1 << 40);
        let statement = if fastrand::u8(0..5) < 4 { &order } else { &status };
        client.execute(statement, &[&number]).await?;
        shared.transactions.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
