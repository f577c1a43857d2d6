//! The benchmarks: how fast Readside is beside its peers, and what it costs. `./bench` builds and runs
//! them. Every limit is a ratio to a peer on the same machine in the same run, or a figure.
//!
//! Both Postgres servers sync their commits, as users' do. Automatic vacuums are off: they would come
//! upon one peer and not upon the other.

#![allow(clippy::print_stdout, reason = "it is there to be read")]

#[path = "../../tests/it/harness/mod.rs"]
mod harness;

mod catch_up;
mod contender;
mod correctness;
mod latency;
mod load;
mod logs;
mod memory;
mod overhead;
mod peers;
mod pipe;
mod plot;
mod probe;
mod redis;
mod report;
mod rivals;
mod servers;
mod shop;
mod soak;
mod steady;
mod table;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use harness::scratch;
use report::Report;
use servers::Servers;
use shop::Scale;

#[derive(Parser)]
#[command(about = "How fast Readside is beside its peers, and what it costs")]
struct Options {
    /// Of the standard data (100 k customers, 10 k products, 1 M orders, 3 M items) and of the standard
    /// WAL (200 k transactions, 840 k row changes).
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How long the soak lasts.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// The soak's transactions per second; without it half of what there can be.
    #[arg(long)]
    rate: Option<u32>,
    /// Where the soak's samples and plot go.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// All but rivals, correctness and soak without one; one of these alone.
    parts: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A table's first load into Postgres, beside COPY into COPY.
    Load,
    /// Catching up into Postgres, beside a native subscription and bare readers.
    Postgres,
    /// Filling Redis, an outage's backlog, and catching up, beside a raw client.
    Redis,
    /// Catching up into a search server, beside a raw client.
    Search,
    /// Events and histories in Postgres, beside plain projections.
    Logs,
    /// What durability, waiters and followers cost.
    Overhead,
    /// From the commit's answer to the row in each store.
    Latency,
    /// With ten thousand rows in the state.
    Memory,
    /// Side by side with others that do the same work.
    Rivals,
    /// The same faults for Readside and others.
    Correctness,
    /// Whether anything grows under the same load for a long time.
    Soak,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = bench(&options) => ended,
            stopped = stopped() => stopped,
        }
    });
    // The servers went with the future that owned them.
    scratch::remove_root();
    ended.map(|()| ExitCode::SUCCESS)
}

async fn stopped() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("\nStopped; what the benchmarks started is removed.");
    Ok(())
}

async fn bench(options: &Options) -> Result<()> {
    let scale = Scale(options.scale);
    if options.parts.contains(&Part::Soak) {
        let (minutes, rate, out) = (options.minutes, options.rate, options.out.as_path());
        return soak::run(&soak::Options { minutes, rate, out }).await;
    }
    if options.parts.contains(&Part::Rivals) {
        return rivals::run(scale).await;
    }
    if options.parts.contains(&Part::Correctness) {
        return correctness::run().await;
    }
    let wanted = |part| options.parts.is_empty() || options.parts.contains(&part);
    let mut report = Report::default();
    let servers = Servers::start(scale).await?;
    if wanted(Part::Load) {
        load::run(&servers, &mut report).await?;
    }
    if wanted(Part::Postgres) {
        catch_up::postgres(&servers, &mut report).await?;
    }
    if wanted(Part::Redis) {
        redis::run(&servers, &mut report).await?;
    }
    if wanted(Part::Search) {
        catch_up::search(&servers, &mut report).await?;
    }
    if wanted(Part::Logs) {
        logs::run(&servers, &mut report).await?;
    }
    if wanted(Part::Overhead) {
        overhead::run(&servers, &mut report).await?;
    }
    if wanted(Part::Latency) {
        latency::run(&servers, &mut report).await?;
    }
    if wanted(Part::Memory) {
        memory::run(&servers, &mut report).await?;
    }
    report.summary();
    Ok(())
}
