//! The Redis sink: a first fill from the state, the backlog of an outage, and catching up with the
//! stream, each beside a raw client.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use readside::lsn::Lsn;

use crate::catch_up::{
    BareSlot, TO_REDIS, against_raw, answers, catch_up, config, cost, settled, wal, xid,
};
use crate::harness::{Daemon, Redis, RedisOptions, wait};
use crate::peers::ChangedRows;
use crate::report::{Limit, Report};
use crate::servers::Servers;
use crate::shop;
use crate::usage;

/// Far beyond what any of these takes.
const BOUND: Duration = Duration::from_secs(1_800);

pub(crate) async fn run(servers: &Servers, report: &mut Report) -> Result<()> {
    let source = servers.source.client("shop").await;
    let mut redis = Redis::start(&RedisOptions::default()).await;
    let from = servers.source.url("shop");
    let text = config("bench_redis", &from, "redis", &redis.url(), TO_REDIS);

    println!("\nA first fill of Redis");
    redis.kill9();
    let mut daemon = Daemon::start(&text);
    answers(&daemon).await;
    applied(&mut daemon, &shop::position(&source).await?, servers.scale.rows()).await?;
    redis.restart().await;
    let filled = working(&mut daemon, &redis, &shop::position(&source).await?).await?;
    let some = ChangedRows::sample(&source).await?;
    let raw = some.to_redis(&mut redis.client().await).await?;
    filled.report(report, "Redis, first fill", some.len(), raw);
    drop(some);

    println!("\nThe backlog of an outage of Redis");
    redis.save_and_stop().await;
    let before = xid(&source).await?;
    let end = wal(servers, &source).await?;
    applied(&mut daemon, &end, servers.scale.rows()).await?;
    redis.restart().await;
    let drained = working(&mut daemon, &redis, &end).await?;
    let rows = ChangedRows::read(&source, before).await?;
    let raw = rows.to_redis(&mut redis.client().await).await?;
    drained.report(report, "Redis, backlog", rows.len(), raw);
    daemon.terminate().await;

    println!("\nCatching up into Redis");
    let bare = BareSlot::create(&source, "bench_redis_bare").await?;
    let before = xid(&source).await?;
    let end = wal(servers, &source).await?;
    let caught_up = catch_up(&mut daemon, &end).await?;
    cost(report, "Redis", &daemon, &caught_up)?;
    daemon.terminate().await;
    let bare = bare.read(servers, &source, &end).await?;
    let rows = ChangedRows::read(&source, before).await?;
    let raw = rows.to_redis(&mut redis.client().await).await?;
    source.batch_execute("SELECT pg_drop_replication_slot('bench_redis')").await?;
    against_raw(report, "Redis", rows.len(), caught_up.time, raw, bare);
    Ok(())
}

/// Until the daemon has all rows of the load and all that was committed before `end`.
async fn applied(daemon: &mut Daemon, end: &str, rows: i64) -> Result<()> {
    let end: Lsn = end.parse()?;
    let begun = Instant::now();
    loop {
        let metrics = daemon.metrics().await;
        let loaded: f64 =
            metrics.series("readside_load_rows_total", &[]).iter().map(|(_, value)| value).sum();
        let applied = metrics.get("readside_applied_lsn", &[]).unwrap_or(0.0);
        if loaded >= rows as f64 && applied >= end.0 as f64 {
            return Ok(());
        }
        ensure!(daemon.exited().is_none(), "Readside ended:\n{}", daemon.log());
        ensure!(begun.elapsed() < BOUND, "the stream does not get there");
        wait::delay(Duration::from_millis(20)).await;
    }
}

/// What the sink did while the stream stood still.
struct Work {
    time: Duration,
    rows: f64,
    cpu: f64,
    redis_cpu: f64,
    peak_mib: f64,
}

/// From the moment at which the sink is back until everything is there.
async fn working(daemon: &mut Daemon, redis: &Redis, end: &str) -> Result<Work> {
    while daemon.metrics().await.get("readside_sink_up", &[]) != Some(1.0) {
        ensure!(daemon.exited().is_none(), "Readside ended:\n{}", daemon.log());
        wait::delay(Duration::from_millis(2)).await;
    }
    let written = async |daemon: &mut Daemon| -> f64 {
        let metrics = daemon.metrics().await;
        metrics.series("readside_rows_written_total", &[]).iter().map(|(_, value)| value).sum()
    };
    let (begun, before) = (Instant::now(), written(daemon).await);
    let (cpu, redis_cpu) = (usage::cpu_seconds(daemon.pid())?, usage::cpu_seconds(redis.pid())?);
    settled(daemon, end).await?;
    Ok(Work {
        time: begun.elapsed(),
        rows: written(daemon).await - before,
        cpu: usage::cpu_seconds(daemon.pid())? - cpu,
        redis_cpu: usage::cpu_seconds(redis.pid())? - redis_cpu,
        peak_mib: usage::memory(daemon.pid())?.peak_mib,
    })
}

impl Work {
    fn report(&self, report: &mut Report, what: &str, raw_rows: usize, raw: Duration) {
        let ours = self.rows / self.time.as_secs_f64();
        let raw = raw_rows as f64 / raw.as_secs_f64();
        report.peer(&format!("{what}: {:.0} rows", self.rows), self.time.as_secs_f64(), "s");
        report.peer(&format!("{what}: rows per second"), ours / 1e3, "k/s");
        report.peer(&format!("{what}: a raw client's rows per second"), raw / 1e3, "k/s");
        let speed = format!("{what}: speed to the raw client's");
        report.figure(&speed, ours / raw, "x", Limit::AtLeast(0.7));
        report.peer(&format!("{what}: CPU per million rows"), self.cpu / self.rows * 1e6, "s");
        let redis = self.redis_cpu / self.rows * 1e6;
        report.peer(&format!("{what}: Redis' CPU per million rows"), redis, "s");
        report.peer(&format!("{what}: memory, at most"), self.peak_mib, "MiB");
    }
}
