//! Side by side: the same data, the same WAL and the same load for Readside and for others that do the
//! same work. All load first and stop; then the WAL is written once, and each reads it alone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::catch_up::wal;
use crate::contender::{Contender, Kind};
use crate::harness::{Search, wait};
use crate::latency::RATES;
use crate::probe::{LOST, ORDER, Patience, Probe, Store};
use crate::servers::Servers;
use crate::shop::{self, ORDER_SUMMARY, Scale};
use crate::steady::ORDERS;
use crate::table::Table;
use crate::usage;

const ALL: [Kind; 7] = [
    Kind::Tables,
    Kind::Subscription,
    Kind::Hashes,
    Kind::Debezium,
    Kind::Documents,
    Kind::PgSync,
    Kind::Summary,
];
/// Orders without end come meanwhile: of the load's size.
const STEADY: Scale = Scale(0.02);
const PATIENCE: Patience = Patience { probes: 300, time: Duration::from_secs(15) };
/// One that is not there by then has not caught up.
const BOUND: Duration = Duration::from_secs(240);

pub(crate) async fn run(scale: Scale) -> Result<()> {
    ensure!(scale.0 >= STEADY.0, "the steady load needs a scale of {} or more", STEADY.0);
    let servers = Servers::counting(scale).await?;
    let search = Search::private().await;
    let mut table = Table::default();
    let ended = measure(&servers, &search.search, &mut table).await;
    // What was measured is worth something whatever came then.
    table.print();
    ended
}

async fn measure(servers: &Servers, search: &Search, table: &mut Table) -> Result<()> {
    load_and_catch_up(servers, search, table).await?;
    refresh(servers, table).await?;
    steady(servers, search, table).await
}

async fn load_and_catch_up(servers: &Servers, search: &Search, table: &mut Table) -> Result<()> {
    let source = servers.source.client("shop").await;
    let mut contenders = Vec::new();
    for kind in ALL {
        println!("{}: load", kind.name());
        let begun = Instant::now();
        let mut contender = Contender::start(servers, search, kind, "shop").await?;
        let rows = match kind {
            Kind::Documents | Kind::PgSync | Kind::Summary => servers.scale.orders(),
            _ => servers.scale.rows(),
        };
        contender.loaded(servers, search, rows).await?;
        table.of(kind).load_s = Some(begun.elapsed().as_secs_f64());
        contender.stop().await?;
        contenders.push(contender);
    }
    let before = changes(servers, "shop").await?;
    wal(servers, &source).await?;
    let mark = "all is there";
    for update in [crate::probe::CUSTOMER, ORDER] {
        source.execute(update, &[&mark]).await?;
    }
    let end = shop::position(&source).await?;
    let changes = changes(servers, "shop").await? - before;
    for mut contender in contenders {
        let kind = contender.kind;
        println!("{}: catching up with {changes:.0} changes", kind.name());
        let mut store = contender.store(servers, search).await?;
        contender.resume().await?;
        let slot = contender.slot();
        // PGSync asks its slot now and then instead: its time begins with its start.
        if kind != Kind::PgSync {
            until(&source, "active", &slot, "0/0", BOUND).await?;
        }
        let server = servers.source.pid();
        let pid = contender.pid(&servers.target).await?;
        let (begun, own, theirs) =
            (Instant::now(), usage::cpu_seconds(pid)?, usage::server_cpu_seconds(server)?);
        while !store.holds(mark).await? && begun.elapsed() < BOUND {
            contender.runs()?;
            wait::delay(Duration::from_millis(5)).await;
        }
        if kind == Kind::PgSync {
            let passed = "confirmed_flush_lsn >= $2::text::pg_lsn";
            let left = BOUND.saturating_sub(begun.elapsed());
            until(&source, passed, &slot, &end, left).await?;
        }
        let seconds = begun.elapsed();
        let figures = table.of(kind);
        if seconds < BOUND {
            figures.changes_per_s = Some(changes / seconds.as_secs_f64());
            let per_million = |seconds: f64| Some(seconds / changes * 1e6);
            figures.cpu_s = per_million(usage::cpu_seconds(pid)? - own);
            figures.source_cpu_s = per_million(usage::server_cpu_seconds(server)? - theirs);
        }
        figures.memory_mib = Some(match kind {
            Kind::Subscription => usage::memory(pid)?.own_mib,
            _ => usage::memory(pid)?.peak_mib,
        });
        contender.remove(&source).await?;
    }
    Ok(())
}

/// Until a slot is so.
async fn until(source: &Client, so: &str, slot: &str, lsn: &str, bound: Duration) -> Result<()> {
    let sql = format!(
        "SELECT count(*) FROM pg_replication_slots
         WHERE slot_name = $1 AND $2::text::pg_lsn IS NOT NULL AND {so}"
    );
    let begun = Instant::now();
    while source.query_one(&sql, &[&slot, &lsn]).await?.try_get::<_, i64>(0)? == 0 {
        if begun.elapsed() > bound {
            return Ok(());
        }
        wait::delay(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Row changes of a database so far.
async fn changes(servers: &Servers, database: &str) -> Result<f64> {
    let client = servers.source.client(database).await;
    let sql = "SELECT pg_stat_force_next_flush()::text,
                 (tup_inserted + tup_updated + tup_deleted)::float8
               FROM pg_stat_database WHERE datname = current_database()";
    Ok(client.query_one(sql, &[]).await?.try_get(1)?)
}

/// Of one role, so far. What opens and closes a transaction asks nothing.
async fn queries(servers: &Servers, kind: Kind) -> Result<f64> {
    let client = servers.source.client("postgres").await;
    let sql = "SELECT coalesce(sum(calls), 0)::float8 FROM pg_stat_statements
               WHERE userid = (SELECT oid FROM pg_roles WHERE rolname = $1)
                 AND query !~* '^\\s*(begin|start|commit|rollback|set|reset)'";
    Ok(client.query_one(sql, &[&kind.role()]).await?.try_get(0)?)
}

/// What everybody does without any of these: the whole query again, now and then.
async fn refresh(servers: &Servers, table: &mut Table) -> Result<()> {
    println!("REFRESH MATERIALIZED VIEW CONCURRENTLY");
    let source = servers.source.client("shop").await;
    let begun = Instant::now();
    source
        .batch_execute(&format!(
            "CREATE MATERIALIZED VIEW order_summary AS {ORDER_SUMMARY};
             CREATE UNIQUE INDEX ON order_summary (order_id)"
        ))
        .await?;
    let figures = table.refresh();
    figures.load_s = Some(begun.elapsed().as_secs_f64());
    let before = changes(servers, "shop").await?;
    wal(servers, &source).await?;
    let changed = changes(servers, "shop").await? - before;
    let (begun, server) = (Instant::now(), servers.source.pid());
    let cpu = usage::server_cpu_seconds(server)?;
    source.batch_execute(REFRESH).await?;
    figures.changes_per_s = Some(changed / begun.elapsed().as_secs_f64());
    figures.source_cpu_s = Some((usage::server_cpu_seconds(server)? - cpu) / changed * 1e6);
    let row = "SELECT status FROM order_summary WHERE order_id = 1";
    let store = Store::postgres(servers.source.client("shop").await, row).await?;
    let mut probe = Probe::new(&servers.source, "shop", ORDER, store).await?;
    for (at, rate) in RATES.into_iter().enumerate() {
        let again = Again::start(servers.source.client("shop").await);
        figures.latency[at] =
            Some(probe.under_load((&servers.source, "shop"), (rate, ORDERS), PATIENCE).await?);
        again.stop().await?;
    }
    Ok(())
}

const REFRESH: &str = "REFRESH MATERIALIZED VIEW CONCURRENTLY order_summary";

/// One REFRESH after the other.
struct Again {
    stop: tokio_util::sync::CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Again {
    #[expect(clippy::disallowed_methods, reason = "it is waited for in stop")]
    fn start(client: Client) -> Again {
        let stop = tokio_util::sync::CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            while !stopped.is_cancelled() {
                client.batch_execute(REFRESH).await?;
            }
            Ok(())
        });
        Again { stop, task }
    }

    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.task.await?
    }
}

/// Latencies under a steady load, each contender alone.
async fn steady(servers: &Servers, search: &Search, table: &mut Table) -> Result<()> {
    let source = servers.new_shop("steady", STEADY).await?;
    for kind in ALL {
        println!("{}: latency", kind.name());
        let orders: i64 = source.query_one("SELECT count(*) FROM orders", &[]).await?.try_get(0)?;
        let rows: i64 = source
            .query_one("SELECT count(*) FROM order_items", &[])
            .await?
            .try_get::<_, i64>(0)?
            + orders
            + STEADY.customers()
            + STEADY.products();
        let mut contender = Contender::start(servers, search, kind, "steady").await?;
        let expected = match kind {
            Kind::Documents | Kind::PgSync | Kind::Summary => orders,
            _ => rows,
        };
        contender.loaded(servers, search, expected).await?;
        let mut probe = contender.probe(servers, search).await?;
        // PGSync has all documents before it listens.
        let first = probe.within("first.", BOUND).await?;
        ensure!(first.is_finite(), "{}: nothing comes within {BOUND:?}", kind.name());
        let (asked, changed) = (queries(servers, kind).await?, changes(servers, "steady").await?);
        for (at, rate) in RATES.into_iter().enumerate() {
            let load = (rate, ORDERS);
            let met = probe.under_load((&servers.source, "steady"), load, PATIENCE).await?;
            let lost = met.p99.is_infinite();
            table.of(kind).latency[at] = Some(met);
            if lost {
                println!("    (a change was not there after {LOST:?})");
                break;
            }
        }
        let (asked, changed) =
            (queries(servers, kind).await? - asked, changes(servers, "steady").await? - changed);
        table.of(kind).queries_per_change = Some(asked / changed);
        contender.remove(&source).await?;
    }
    Ok(())
}
