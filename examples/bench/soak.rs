//! The same load for a long time: nothing may grow. Rows come and go at the same rate, so that what grows
//! is Readside's.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::MissedTickBehavior;

use crate::catch_up::{settled_one, start};
use crate::harness::{Daemon, Redis, RedisOptions};
use crate::plot;
use crate::probe::{CUSTOMER, Latency, Probe, Store};
use crate::servers::Servers;
use crate::shop::{self, ORDER_SUMMARY, Scale};
use crate::steady::{Load, Mix, UNBOUNDED};
use crate::usage;

const DATA: Scale = Scale(0.05);
const EACH: Duration = Duration::from_secs(10);
/// Caches and allocators settle meanwhile.
const WARM_UP: f64 = 0.2;
/// What a growth has to be, of the median, to be one.
const GROWTH: f64 = 0.2;

/// Each new order takes the place of the oldest; beside that statuses, names and prices change.
const TURNOVER: Mix = &[
    (
        5,
        "WITH placed AS (INSERT INTO orders (customer_id, total_cents)
           VALUES (2 + $1::bigint % 4000, $1::bigint) RETURNING order_id),
         bought AS (INSERT INTO order_items (order_id, product_id, quantity, price_cents)
           SELECT order_id, 1 + $1::bigint % 400 + k, k, 100 FROM placed, generate_series(1, 3) k),
         oldest AS (SELECT order_id FROM orders ORDER BY order_id LIMIT 1 FOR UPDATE SKIP LOCKED),
         emptied AS (DELETE FROM order_items USING oldest WHERE order_items.order_id = oldest.order_id)
         DELETE FROM orders USING oldest WHERE orders.order_id = oldest.order_id",
    ),
    (
        4,
        "UPDATE orders SET status = 'status ' || $1::bigint WHERE order_id =
           (SELECT max(order_id) - 100 - $1::bigint % 40000 FROM orders)",
    ),
    (
        1,
        "UPDATE customers SET full_name = 'Customer ' || $1::bigint
         WHERE customer_id = 2 + $1::bigint % 4000",
    ),
];

/// What is looked at: its name, its unit, and how much more is no growth whatever the median.
const SERIES: [(&str, &str, f64); 6] = [
    ("memory", "MiB", 16.0),
    ("state on disk", "MiB", 32.0),
    ("retained WAL", "MiB", 32.0),
    ("open files", "", 8.0),
    ("latency p50", "ms", 2.0),
    ("latency p99", "ms", 20.0),
];

struct Sample {
    seconds: f64,
    rate: f64,
    values: [f64; SERIES.len()],
}

pub(crate) struct Options<'a> {
    pub(crate) minutes: f64,
    /// Transactions per second; half of what the source and Readside do together without one.
    pub(crate) rate: Option<u32>,
    /// Where the samples and the plot go.
    pub(crate) out: &'a Path,
}

pub(crate) async fn run(options: &Options<'_>) -> Result<()> {
    let servers = Servers::tended().await;
    let source = servers.new_shop("soak", DATA).await?;
    let target = servers.new_target("soak").await;
    let redis = Redis::start(&RedisOptions::default()).await;
    let mut daemon = start(&config(&servers, &redis)).await;
    for projection in ["customers", "order_summary"] {
        settled_one(&mut daemon, projection, &shop::position(&source).await?).await?;
    }
    let rate = match options.rate {
        Some(rate) => rate,
        None => half_of_the_greatest(&servers, &mut daemon).await?,
    };
    println!("Soak: {rate} transactions per second for {} minutes", options.minutes);
    let row = "SELECT full_name FROM customers WHERE customer_id = 1";
    let store = Store::postgres(target, row).await?;
    let mut probe = Probe::new(&servers.source, "soak", CUSTOMER, store).await?;
    let mut load = Load::start(&servers.source, "soak", rate, TURNOVER).await;
    let samples = sample(&daemon, &load, &mut probe, options).await?;
    println!("  {:.0} transactions per second", load.stop().await?);
    settled_one(&mut daemon, "order_summary", &shop::position(&source).await?).await?;
    daemon.terminate().await;
    judge(&samples)
}

fn config(servers: &Servers, redis: &Redis) -> String {
    format!(
        "[source]\nurl = \"{}\"\nslot = \"soak\"\n[sink.store.postgres]\nurl = \"{}\"\n\
         [sink.cache.redis]\nurl = \"{}\"\n\
         [projection.customers]\ntable = \"customers\"\nto.store = {{ table = \"customers\" }}\n\
         [projection.order_summary]\nquery = \"\"\"{ORDER_SUMMARY}\"\"\"\n\
         to.store = {{ table = \"order_summary\" }}\nto.cache = {{ hash = \"order:{{order_id}}\" }}\n\
         [event.OrderPlaced]\ntable = \"orders\"\nwhen = \"old IS NULL\"\n\
         data = \"new.order_id, new.total_cents\"\nto.store = {{ table = \"order_events\" }}\n",
        servers.source.url("soak"),
        servers.target.url("soak"),
        redis.url(),
    )
}

/// All that the source takes for a while, and the time until Readside has it.
#[expect(clippy::cast_precision_loss, reason = "some thousands")]
async fn half_of_the_greatest(servers: &Servers, daemon: &mut Daemon) -> Result<u32> {
    let begun = Instant::now();
    let mut load = Load::start(&servers.source, "soak", UNBOUNDED, TURNOVER).await;
    crate::harness::wait::delay(Duration::from_secs(30)).await;
    load.stop().await?;
    let source = servers.source.client("soak").await;
    settled_one(daemon, "order_summary", &shop::position(&source).await?).await?;
    let greatest = load.transactions() as f64 / begun.elapsed().as_secs_f64();
    println!("  at most {greatest:.0} transactions per second");
    Ok((greatest / 2.0) as u32)
}

/// One each ten seconds, with the probes of the time before it.
#[expect(clippy::cast_precision_loss, reason = "some millions")]
async fn sample(
    daemon: &Daemon,
    load: &Load,
    probe: &mut Probe,
    options: &Options<'_>,
) -> Result<Vec<Sample>> {
    let mut csv = String::from("seconds,transactions_per_second");
    for (name, unit, _) in SERIES {
        let unit =
            if unit.is_empty() { String::new() } else { format!("_{}", unit.to_lowercase()) };
        write!(csv, ",{}{unit}", name.to_lowercase().replace(' ', "_"))?;
    }
    csv.push('\n');
    let begun = Instant::now();
    let end = Duration::from_secs_f64(options.minutes * 60.0);
    let mut samples: Vec<Sample> = Vec::new();
    let mut probe_tick = tokio::time::interval(Duration::from_millis(50));
    probe_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut times, mut since, mut transactions, mut number) = (Vec::new(), begun, 0, 0_u64);
    while begun.elapsed() < end {
        probe_tick.tick().await;
        number += 1;
        times.push(probe.once(&format!("probe {number}.")).await?);
        if since.elapsed() < EACH {
            continue;
        }
        let latency = Latency::of(std::mem::take(&mut times)).context("there were probes")?;
        ensure!(latency.p99.is_finite(), "a row does not come");
        let done = load.transactions();
        let sample = Sample {
            seconds: begun.elapsed().as_secs_f64(),
            rate: (done - transactions) as f64 / since.elapsed().as_secs_f64(),
            values: values(daemon, &latency).await?,
        };
        (since, transactions) = (Instant::now(), done);
        write!(csv, "{:.0},{:.0}", sample.seconds, sample.rate)?;
        for value in sample.values {
            write!(csv, ",{value:.2}")?;
        }
        csv.push('\n');
        samples.push(sample);
        // As far as it has come, whatever happens then.
        fs::write(options.out.join("soak.csv"), &csv)?;
        fs::write(options.out.join("soak.svg"), drawn(&samples)?)?;
    }
    Ok(samples)
}

#[expect(clippy::cast_precision_loss, reason = "some dozens")]
async fn values(daemon: &Daemon, latency: &Latency) -> Result<[f64; SERIES.len()]> {
    let metrics = daemon.metrics().await;
    let mib = |name: &str, labels: &[(&str, &str)]| -> Result<f64> {
        Ok(metrics.get(name, labels).context("it is told")? / f64::from(1 << 20))
    };
    Ok([
        usage::memory(daemon.pid())?.now_mib,
        mib("readside_state_bytes", &[("where", "disk")])?,
        mib("readside_slot_retained_bytes", &[])?,
        fs::read_dir(format!("/proc/{}/fd", daemon.pid()))?.count() as f64,
        latency.p50,
        latency.p99,
    ])
}

fn drawn(samples: &[Sample]) -> Result<String> {
    let title = "Readside under the same load for a long time";
    let mut panels = vec![plot::Panel {
        name: "load (transactions per second)".into(),
        points: samples.iter().map(|sample| (sample.seconds / 60.0, sample.rate)).collect(),
    }];
    for (at, (name, unit, _)) in SERIES.iter().enumerate() {
        let name = if unit.is_empty() { (*name).into() } else { format!("{name} ({unit})") };
        let points = samples.iter().map(|s| (s.seconds / 60.0, s.values[at])).collect();
        panels.push(plot::Panel { name, points });
    }
    plot::svg(title, "minutes", &panels)
}

/// Prints each slope; an error when something grows.
fn judge(samples: &[Sample]) -> Result<()> {
    let warm = samples.last().map_or(0.0, |last| last.seconds * WARM_UP);
    let steady: Vec<&Sample> = samples.iter().filter(|sample| sample.seconds >= warm).collect();
    ensure!(steady.len() >= 10, "there are too few samples: let it run for two minutes or more");
    let span = steady[steady.len() - 1].seconds - steady[0].seconds;
    let mut growing = Vec::new();
    println!("  after the first {warm:.0} s, {} samples:", steady.len());
    for (at, (name, unit, least)) in SERIES.iter().enumerate() {
        let points: Vec<_> = steady.iter().map(|s| (s.seconds, s.values[at])).collect();
        let middle = median(points.iter().map(|(_, value)| *value).collect());
        let slope = slope(&points);
        let grows = slope * span > (middle * GROWTH).max(*least);
        let verdict = if grows { "  GROWS" } else { "" };
        println!(
            "  {name:<16} {middle:>9.1} {unit:<4} {:>+9.2} per hour{verdict}",
            slope * 3_600.0
        );
        if grows {
            growing.push(*name);
        }
    }
    ensure!(growing.is_empty(), "grows: {}", growing.join(", "));
    Ok(())
}

/// The median of the slopes between all pairs (Theil and Sen): a few outliers do not matter.
fn slope(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::new();
    for (at, (x, y)) in points.iter().enumerate() {
        slopes.extend(points[at + 1..].iter().map(|(later, value)| (value - y) / (later - x)));
    }
    median(slopes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
