//! What durability and those who read costs: the same catch-up into Postgres with and without.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;

use crate::catch_up::{
    CaughtUp, TO_POSTGRES, catch_up, catch_up_with, config, settled, start, wal,
};
use crate::harness::{Daemon, http, wait};
use crate::report::{Limit, Report};
use crate::servers::Servers;
use crate::shop::{self, TABLES};

const WAITERS: usize = 1_000;
const FOLLOWERS: usize = 100;
const ROUNDS: usize = 3;

pub(crate) async fn run(servers: &Servers, report: &mut Report) -> Result<()> {
    println!("\nWhat durability, waiters and followers cost");
    let source = servers.source.client("shop").await;
    servers.new_target("overhead").await;
    let url = servers.target.url("overhead");
    let from = servers.source.url("shop");
    let mut daemon = start(&config("bench_overhead", &from, "postgres", &url, TO_POSTGRES)).await;
    settled(&mut daemon, &shop::position(&source).await?).await?;
    daemon.terminate().await;

    // Taken in turns: whatever else the machine does meets both.
    let (mut plain, mut read) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(rate(&catch_up(&mut daemon, &wal(servers, &source).await?).await?));
        daemon.terminate().await;
        let end = wal(servers, &source).await?;
        let readers = readers(&daemon);
        read.push(rate(&catch_up(&mut daemon, &end).await?));
        drop(readers);
        daemon.terminate().await;
    }
    let (plain, read) = (median(plain), median(read));
    report.peer("plain: changes per second", plain, "k/s");
    report.peer("with 1000 waiters and 100 followers: changes per second", read, "k/s");
    report.figure("with them: time to plain", plain / read, "x", Limit::AtMost(1.05));

    // The last, for the state is behind afterwards.
    let end = wal(servers, &source).await?;
    let without = catch_up_with(&mut daemon, &end, &[("READSIDE_FAILPOINT", "store")]).await?;
    let without = rate(&without);
    daemon.terminate().await;
    source.batch_execute("SELECT pg_drop_replication_slot('bench_overhead')").await?;
    report.peer("without the store: changes per second", without, "k/s");
    report.figure(
        "durability: time to that without the store",
        without / plain,
        "x",
        Limit::AtMost(1.15),
    );
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn rate(caught_up: &CaughtUp) -> f64 {
    caught_up.changes / caught_up.time.as_secs_f64() / 1e3
}

/// Waiters for what is far away, and followers of all tables; they come as soon as the daemon answers. Their own
/// work is on the same processors.
fn readers(daemon: &Daemon) -> JoinSet<()> {
    let (http, url) = (http(), daemon.url());
    let mut readers = JoinSet::new();
    for _ in 0..WAITERS {
        let (http, url) = (http.clone(), url.clone());
        readers.spawn(async move {
            let far = format!("{url}/v1/wait?projection=orders&sink=store&lsn=FFFF/0&timeout=60s");
            loop {
                // Not there yet, or not in time: again.
                if http.get(&far).send().await.is_err() {
                    wait::delay(Duration::from_millis(50)).await;
                }
            }
        });
    }
    for (number, table) in (0..FOLLOWERS).zip(TABLES.iter().cycle()) {
        let (http, url) = (http.clone(), format!("{url}/v1/changes/{table}"));
        readers.spawn(async move {
            // Not all in the same moment.
            let pause = Duration::from_millis(50 + number as u64 % 20);
            loop {
                if let Ok(mut answer) = http.get(&url).send().await {
                    while let Ok(Some(_)) = answer.chunk().await {}
                }
                wait::delay(pause).await;
            }
        });
    }
    readers
}
