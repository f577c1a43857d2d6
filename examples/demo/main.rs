//! The demo: a small shop whose four tables Readside keeps equal in Postgres, Redis and a search
//! server while orders come in. `./demo` builds and runs it; everything it starts it removes.

#![allow(clippy::print_stdout, reason = "it is there to be watched")]

#[path = "../../tests/it/harness/mod.rs"]
mod harness;

mod compare;
mod screen;
mod shop;
mod stores;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use harness::{Daemon, Postgres, PostgresOptions, Redis, RedisOptions, Search, scratch};
use screen::Screen;
use shop::Load;
use stores::Stores;

#[derive(Parser)]
#[command(about = "A small shop, kept equal in Postgres, Redis and a search server")]
struct Options {
    /// End after so many seconds, with a comparison of all rows; until Ctrl-C without it.
    #[arg(long)]
    seconds: Option<u64>,
    /// Transactions per second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// What Readside runs with; the addresses in it are replaced.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/shop-tables.toml"))]
    config: PathBuf,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = demo(&options) => ended,
            stopped = stopped() => stopped.map(|()| ExitCode::SUCCESS),
        }
    });
    // The servers went with the future that owned them.
    scratch::remove_root();
    ended
}

async fn stopped() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("\nStopped; what the demo started is removed.");
    Ok(())
}

async fn demo(options: &Options) -> Result<ExitCode> {
    let config = std::fs::read_to_string(&options.config)
        .with_context(|| format!("cannot read {}", options.config.display()))?;

    println!("Starting PostgreSQL, Redis and a search server ...");
    let postgres_options = PostgresOptions::default();
    let redis_options = RedisOptions::default();
    let (postgres, redis, search) = tokio::join!(
        Postgres::start(&postgres_options),
        Redis::start(&redis_options),
        Search::private(),
    );

    println!("Filling the shop ...");
    postgres.create_database("shop").await;
    postgres.create_database("shop_read").await;
    shop::fill(&postgres.client("shop").await).await?;

    println!("Starting Readside with {} ...", options.config.display());
    let started = Instant::now();
    let mut daemon = Daemon::start_with(
        &config,
        &[
            ("READSIDE__SOURCE__URL", &postgres.url("shop")),
            ("READSIDE__SINK__REPORTING__POSTGRES__URL", &postgres.url("shop_read")),
            ("READSIDE__SINK__CACHE__REDIS__URL", &redis.url()),
            ("READSIDE__SINK__SEARCH__ELASTICSEARCH__URL", search.search.url()),
        ],
    );
    if let Err(seen) = daemon.ready().await {
        println!("\nReadside is not ready: {seen}. Its log:\n{}", daemon.log());
        return Ok(ExitCode::FAILURE);
    }
    println!("Loaded and streaming after {:.1} s.", started.elapsed().as_secs_f64());

    let mut stores = Stores::connect(&postgres, &redis, search.search.again()).await;
    let addresses = [
        format!("psql {}", postgres.url("shop_read")),
        format!("redis-cli -p {}", redis.port()),
        format!("curl {}/orders/_search?pretty", search.search.url()),
        format!("curl {}/metrics", daemon.url()),
    ];
    let screen = Screen::new(options.rate, addresses, daemon.metrics().await);
    let load = Load::start(postgres.client("shop").await, options.rate);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    while end.is_none_or(|end| Instant::now() < end) {
        second.tick().await;
        if let Some(status) = daemon.exited() {
            println!("\nReadside ended ({status}). Its log:\n{}", daemon.log());
            return Ok(ExitCode::FAILURE);
        }
        if load.failed() {
            break;
        }
        screen.show(&stores.look().await?, &daemon.metrics().await, load.transactions());
    }

    let transactions = load.stop().await?;
    let equal = compare::settled_and_equal(&mut daemon, &mut stores).await?;
    screen.summary(&daemon.metrics().await, transactions);
    let status = daemon.terminate().await;
    println!("Readside stopped on SIGTERM: {status}.");
    Ok(if equal && status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
