//! From the commit's answer to the row in the store, while the source takes a steady load.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::catch_up::{TO_POSTGRES, TO_REDIS, TO_SEARCH, config, settled, start};
use crate::harness::{Redis, RedisOptions, Search};
use crate::peers::{Subscription, copy_pipe};
use crate::probe::{CUSTOMER, Latency, Patience, Probe, Store};
use crate::report::{Limit, Report};
use crate::servers::Servers;
use crate::shop::{self, Scale, TABLES};
use crate::steady::ORDERS;

const DATA: Scale = Scale(0.02);
pub(crate) const RATES: [u32; 2] = [100, 1000];
const PATIENCE: Patience = Patience { probes: 400, time: Duration::from_secs(600) };
pub(crate) const ROW: &str = "SELECT full_name FROM customers WHERE customer_id = 1";
pub(crate) const HASH: &str = "HGET customer:1 full_name";

pub(crate) async fn run(servers: &Servers, report: &mut Report) -> Result<()> {
    println!("\nLatency");
    servers.new_shop("steady", DATA).await?;
    native(servers, report).await?;

    servers.new_target("steady").await;
    let url = servers.target.url("steady");
    let store = async || Store::postgres(servers.target.client("steady").await, ROW).await;
    ours(servers, report, ("Postgres", "postgres", &url, TO_POSTGRES), store, [3.0, 15.0]).await?;

    let redis = Redis::start(&RedisOptions::default()).await;
    let store = async || Ok(Store::redis(redis.client().await, HASH));
    ours(servers, report, ("Redis", "redis", &redis.url(), TO_REDIS), store, [3.0, 15.0]).await?;

    let search = Search::private().await;
    let url = search.search.url().to_owned();
    let store = async || Ok(Store::search(&url, "customers/_doc/1"));
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
    let to = servers.target.client("steady_sub").await;
    let from = servers.source.url("steady");
    let subscription = Subscription::create(&from, to, "steady_sub", "steady", false).await?;
    subscription.enable().await?;
    let mut probe = probe(servers, Store::postgres(target, ROW).await?).await?;
    for rate in RATES {
        let latency = under_load(servers, &mut probe, rate).await?;
        report.peer(&format!("native subscription at {rate}/s, p50"), latency.p50, "ms");
        report.peer(&format!("native subscription at {rate}/s, p99"), latency.p99, "ms");
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
    let mut probe = probe(servers, store().await?).await?;
    for rate in RATES {
        let latency = under_load(servers, &mut probe, rate).await?;
        for (name, value, max) in [("p50", latency.p50, p50_max), ("p99", latency.p99, p99_max)] {
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

async fn probe(servers: &Servers, store: Store) -> Result<Probe> {
    Probe::new(&servers.source, "steady", CUSTOMER, store).await
}

/// Each row has to come.
async fn under_load(servers: &Servers, probe: &mut Probe, rate: u32) -> Result<Latency> {
    let source = (&servers.source, "steady");
    let latency = probe.under_load(source, (rate, ORDERS), PATIENCE).await?;
    ensure!(latency.p99.is_finite(), "a row does not come");
    Ok(latency)
}
