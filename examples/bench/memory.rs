//! Memory with ten thousand rows in the state.

use anyhow::Result;

use crate::catch_up::{TO_POSTGRES, config, settled, start};
use crate::report::{Limit, Report};
use crate::servers::Servers;
use crate::shop::{self, Scale};
use crate::usage;

/// Of the standard data: about ten thousand rows.
const SMALL: Scale = Scale(0.0025);

pub(crate) async fn run(servers: &Servers, report: &mut Report) -> Result<()> {
    println!("\nMemory with ten thousand rows");
    let source = servers.new_shop("small", SMALL).await?;
    servers.new_target("small").await;
    let (from, to) = (servers.source.url("small"), servers.target.url("small"));
    let mut daemon = start(&config("bench_small", &from, "postgres", &to, TO_POSTGRES)).await;
    settled(&mut daemon, &shop::position(&source).await?).await?;
    shop::write_wal(&source, SMALL).await?;
    settled(&mut daemon, &shop::position(&source).await?).await?;
    let memory = usage::memory(daemon.pid())?;
    daemon.terminate().await;
    let name = format!("memory with ten thousand rows (peak {:.0})", memory.peak_mib);
    report.figure(&name, memory.now_mib, "MiB", Limit::AtMost(64.0));
    Ok(())
}
