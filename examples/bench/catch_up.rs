//! Catching up: the standard WAL is written while nobody reads, then each reads it from its slot.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use readside::lsn::Lsn;
use tokio_postgres::Client;

use crate::harness::{Daemon, Search, wait};
use crate::peers::{self, ChangedRows, Subscription};
use crate::pipe;
use crate::report::{Limit, Report};
use crate::servers::Servers;
use crate::shop::{self, TABLES};
use crate::usage;

/// The four tables in one sink; each section's `to` in the order of the tables.
pub(crate) fn config(slot: &str, source: &str, sink: &str, url: &str, to: [&str; 4]) -> String {
    let mut config = format!(
        "[source]\nurl = \"{source}\"\nslot = \"{slot}\"\n\n[sink.store.{sink}]\nurl = \"{url}\"\n"
    );
    for (table, to) in TABLES.iter().zip(to) {
        config += &format!("\n[projection.{table}]\ntable = \"{table}\"\nto.store = {to}\n");
    }
    config
}

pub(crate) const TO_POSTGRES: [&str; 4] = [
    r#"{ table = "customers" }"#,
    r#"{ table = "products" }"#,
    r#"{ table = "orders" }"#,
    r#"{ table = "order_items" }"#,
];

pub(crate) const TO_REDIS: [&str; 4] = [
    r#"{ hash = "customer:{customer_id}" }"#,
    r#"{ hash = "product:{product_id}" }"#,
    r#"[{ hash = "order:{order_id}" }, { sorted_set = "customer:{customer_id}:orders", member = "{order_id}", score = "created_at" }]"#,
    r#"{ hash = "item:{item_id}" }"#,
];

pub(crate) const TO_SEARCH: [&str; 4] = [
    r#"{ index = "customers" }"#,
    r#"{ index = "products" }"#,
    r#"{ index = "orders" }"#,
    r#"{ index = "order_items" }"#,
];

/// Waits for all four tables, however long it takes.
pub(crate) async fn settled(daemon: &mut Daemon, end: &str) -> Result<()> {
    for table in TABLES {
        settled_one(daemon, table, end).await?;
    }
    Ok(())
}

pub(crate) async fn settled_one(daemon: &mut Daemon, table: &str, end: &str) -> Result<()> {
    let query = format!("projection={table}&sink=store&lsn={end}&timeout=30s");
    loop {
        let (status, answer) = daemon.get(&format!("/v1/wait?{query}")).await;
        match status.as_u16() {
            200 => return Ok(()),
            408 | 503 => {}
            _ => bail!("/v1/wait?{query}: {status} {answer}"),
        }
        if let Some(status) = daemon.exited() {
            bail!("Readside ended ({status}):\n{}", daemon.log());
        }
    }
}

/// Starts it and waits for HTTP to answer.
pub(crate) async fn start(config: &str) -> Daemon {
    let daemon = Daemon::start(config);
    answers(&daemon).await;
    daemon
}

pub(crate) async fn answers(daemon: &Daemon) {
    let url = format!("{}/healthz", daemon.url());
    let http = crate::harness::http();
    wait::until("Readside to answer", async || http.get(&url).send().await.map(drop)).await;
}

/// One catch-up: how long, processor seconds, row changes.
pub(crate) struct CaughtUp {
    restart: Duration,
    pub(crate) time: Duration,
    cpu: f64,
    pub(crate) changes: f64,
}

/// Starts the daemon on its state again, and measures from the beginning of the stream.
pub(crate) async fn catch_up(daemon: &mut Daemon, end: &str) -> Result<CaughtUp> {
    catch_up_with(daemon, end, &[]).await
}

/// The same with more in the daemon's environment.
pub(crate) async fn catch_up_with(
    daemon: &mut Daemon,
    end: &str,
    environment: &[(&str, &str)],
) -> Result<CaughtUp> {
    let before = streams(daemon);
    let restarted = Instant::now();
    daemon.restart_with(environment);
    while streams(daemon) == before {
        ensure!(daemon.exited().is_none(), "Readside ended:\n{}", daemon.log());
        wait::delay(Duration::from_millis(2)).await;
    }
    let restart = restarted.elapsed();
    let (begun, cpu) = (Instant::now(), usage::cpu_seconds(daemon.pid())?);
    settled(daemon, end).await?;
    let time = begun.elapsed();
    let cpu = usage::cpu_seconds(daemon.pid())? - cpu;
    let changes = daemon.metrics().await.get("readside_changes_total", &[]);
    Ok(CaughtUp { restart, time, cpu, changes: changes.context("changes are counted")? })
}

fn streams(daemon: &Daemon) -> usize {
    daemon.log().matches("streaming").count()
}

/// The load's end, with what it cost.
async fn loaded(
    daemon: &mut Daemon,
    source: &Client,
    report: &mut Report,
    what: &str,
) -> Result<()> {
    let begun = Instant::now();
    settled(daemon, &shop::position(source).await?).await?;
    report.peer(&format!("{what}: first load of all tables"), begun.elapsed().as_secs_f64(), "s");
    let memory = usage::memory(daemon.pid())?;
    report.peer(
        &format!("{what}: memory after it (peak {:.0})", memory.peak_mib),
        memory.now_mib,
        "MiB",
    );
    Ok(())
}

pub(crate) fn cost(
    report: &mut Report,
    what: &str,
    daemon: &Daemon,
    caught_up: &CaughtUp,
) -> Result<()> {
    let CaughtUp { restart, cpu, changes, .. } = caught_up;
    report.peer(&format!("{what}: from start to streaming"), restart.as_secs_f64(), "s");
    let per_million = cpu / changes * 1e6;
    report.figure(
        &format!("{what}: CPU per million changes"),
        per_million,
        "s",
        Limit::AtMost(10.0),
    );
    let memory = usage::memory(daemon.pid())?;
    let name = format!("{what}: memory with the data in the state (peak {:.0})", memory.peak_mib);
    report.figure(&name, memory.now_mib, "MiB", Limit::AtMost(1024.0));
    Ok(())
}

pub(crate) async fn xid(client: &Client) -> Result<i64> {
    let row = client.query_one("SELECT txid_current()", &[]).await?;
    Ok(row.try_get(0)?)
}

pub(crate) async fn postgres(servers: &Servers, report: &mut Report) -> Result<()> {
    println!("\nCatching up into Postgres");
    let source = servers.source.client("shop").await;
    source
        .batch_execute(
            "CREATE PUBLICATION bench FOR TABLE customers, products, orders, order_items",
        )
        .await?;
    let copy = servers.new_target("subscribed").await;
    copy.batch_execute(shop::TARGET_TABLES).await?;
    for table in TABLES {
        let from = (&servers.source, "shop");
        peers::copy_pipe(from, (&servers.target, "subscribed"), table).await?;
    }
    copy.batch_execute("VACUUM ANALYZE").await?;
    let to = servers.target.client("subscribed").await;
    let from = servers.source.url("shop");
    let subscription = Subscription::create(&from, to, "bench_sub", "bench", false).await?;
    for slot in ["bench_bare", "bench_recv"] {
        let sql = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
        source.query_one(sql, &[&slot]).await?;
    }

    let target = servers.new_target("projected").await;
    let url = servers.target.url("projected");
    let text = config("bench_pg", &servers.source.url("shop"), "postgres", &url, TO_POSTGRES);
    let mut daemon = start(&text).await;
    loaded(&mut daemon, &source, report, "Postgres").await?;
    daemon.terminate().await;

    let end = wal(servers, &source).await?;
    let lsn: Lsn = end.parse()?;
    let caught_up = catch_up(&mut daemon, &end).await?;
    let ours = caught_up.time.as_secs_f64();
    let rate = |seconds: f64| caught_up.changes / seconds / 1e3;
    report.peer("Postgres: catch-up", ours, "s");
    report.peer("Postgres: catch-up, changes per second", rate(ours), "k/s");
    cost(report, "Postgres", &daemon, &caught_up)?;
    daemon.terminate().await;
    ensure!(shop::sums(&source).await? == shop::sums(&target).await?, "the target is not equal");

    let begun = Instant::now();
    subscription.enable().await?;
    subscription.applied(&source, &end).await?;
    let native = begun.elapsed().as_secs_f64();
    ensure!(
        shop::sums(&source).await? == shop::sums(&copy).await?,
        "the subscription is not equal"
    );
    subscription.drop().await?;
    let recv = peers::recvlogical(&servers.source, "shop", "bench_recv", &end).await?.as_secs_f64();
    let port = servers.source.port();
    let eager = tokio::task::spawn_blocking(move || pipe::eager(port, "shop", "bench_bare", lsn));
    let eager = eager.await??.as_secs_f64();
    let bare = pipe::gathering(&servers.source, "shop", "bench_bare", lsn).await?.as_secs_f64();
    for slot in ["bench_bare", "bench_recv", "bench_pg"] {
        source.query_one("SELECT pg_drop_replication_slot($1)::text", &[&slot]).await?;
    }
    report.peer("pg_recvlogical to nothing", rate(recv), "k/s");
    report.peer("bare reader, eager", rate(eager), "k/s");
    report.peer("bare reader, SO_RCVLOWAT", rate(bare), "k/s");
    report.peer("native subscription", rate(native), "k/s");
    report.figure(
        "Postgres: time to the native subscription's",
        ours / native,
        "x",
        Limit::AtMost(1.0),
    );
    report.figure(
        "Postgres: time to the bare eager reader's",
        ours / eager,
        "x",
        Limit::AtMost(1.0),
    );
    report.figure(
        "Postgres: time to the bare SO_RCVLOWAT reader's",
        ours / bare,
        "x",
        Limit::AtMost(1.6),
    );
    Ok(())
}

pub(crate) async fn wal(servers: &Servers, source: &Client) -> Result<String> {
    let begun = Instant::now();
    shop::write_wal(source, servers.scale).await?;
    println!("  (the WAL was written in {:.1} s)", begun.elapsed().as_secs_f64());
    // Before the clock runs: dirty pages are nobody's fault here.
    source.batch_execute("CHECKPOINT").await?;
    shop::position(source).await
}

/// A second slot over the same WAL, for a reader that does nothing with it.
pub(crate) struct BareSlot(&'static str);

impl BareSlot {
    pub(crate) async fn create(source: &Client, name: &'static str) -> Result<BareSlot> {
        source
            .batch_execute(
                "DROP PUBLICATION IF EXISTS bench;
                 CREATE PUBLICATION bench FOR TABLE customers, products, orders, order_items",
            )
            .await?;
        let sql = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
        source.query_one(sql, &[&name]).await?;
        Ok(BareSlot(name))
    }

    pub(crate) async fn read(
        self,
        servers: &Servers,
        source: &Client,
        end: &str,
    ) -> Result<Duration> {
        let time = pipe::gathering(&servers.source, "shop", self.0, end.parse()?).await?;
        source.query_one("SELECT pg_drop_replication_slot($1)::text", &[&self.0]).await?;
        Ok(time)
    }
}

#[expect(clippy::cast_precision_loss, reason = "rows by the million")]
pub(crate) fn against_raw(
    report: &mut Report,
    what: &str,
    rows: usize,
    ours: Duration,
    raw: Duration,
    bare: Duration,
) {
    let rate = |time: Duration| rows as f64 / time.as_secs_f64() / 1e3;
    report.peer(&format!("{what}: rows per second"), rate(ours), "k/s");
    report.peer(&format!("{what}: a raw client's rows per second"), rate(raw), "k/s");
    let ratio = raw.as_secs_f64() / ours.as_secs_f64();
    report.figure(&format!("{what}: speed to the raw client's"), ratio, "x", Limit::AtLeast(0.7));
    // Nobody can be faster than the stream, which a raw client does not wait for.
    let possible = raw.max(bare).as_secs_f64() / ours.as_secs_f64();
    report.peer(&format!("{what}: bare reader of the same WAL"), bare.as_secs_f64(), "s");
    report.peer(
        &format!("{what}: speed to the slower of raw client and bare reader"),
        possible,
        "x",
    );
}

pub(crate) async fn search(servers: &Servers, report: &mut Report) -> Result<()> {
    println!("\nCatching up into a search server");
    let source = servers.source.client("shop").await;
    let search = Search::private().await;
    let (from, url) = (servers.source.url("shop"), search.search.url().to_owned());
    let mut daemon = start(&config("bench_search", &from, "elasticsearch", &url, TO_SEARCH)).await;
    loaded(&mut daemon, &source, report, "Search").await?;
    daemon.terminate().await;
    peers::clone_indices(&url).await?;
    let bare = BareSlot::create(&source, "bench_search_bare").await?;
    let xid = xid(&source).await?;
    let end = wal(servers, &source).await?;
    let caught_up = catch_up(&mut daemon, &end).await?;
    cost(report, "Search", &daemon, &caught_up)?;
    daemon.terminate().await;
    let bare = bare.read(servers, &source, &end).await?;
    let rows = ChangedRows::read(&source, xid).await?;
    let raw = rows.to_search(&url).await?;
    source.batch_execute("SELECT pg_drop_replication_slot('bench_search')").await?;
    against_raw(report, "Search", rows.len(), caught_up.time, raw, bare);
    Ok(())
}
