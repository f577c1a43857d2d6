//! A table's first load.

use std::time::Instant;

use anyhow::Result;

use crate::catch_up::{settled_one, start};
use crate::peers;
use crate::report::{Limit, Report};
use crate::servers::Servers;
use crate::shop;
use crate::usage;

pub(crate) async fn run(servers: &Servers, report: &mut Report) -> Result<()> {
    println!("\nThe load of order_items into Postgres");
    let source = servers.source.client("shop").await;
    let piped = servers.new_target("piped").await;
    piped.batch_execute(shop::TARGET_TABLES).await?;
    let (from, to) = ((&servers.source, "shop"), (&servers.target, "piped"));
    let pipe = peers::copy_pipe(from, to, "order_items").await?.as_secs_f64();

    servers.new_target("loaded").await;
    let text = format!(
        "[source]\nurl = \"{}\"\nslot = \"bench_load\"\n[sink.store.postgres]\nurl = \"{}\"\n\
         [projection.order_items]\ntable = \"order_items\"\nto.store = {{ table = \"order_items\" }}\n",
        servers.source.url("shop"),
        servers.target.url("loaded"),
    );
    let end = shop::position(&source).await?;
    let begun = Instant::now();
    let mut daemon = start(&text).await;
    settled_one(&mut daemon, "order_items", &end).await?;
    let ours = begun.elapsed().as_secs_f64();
    let cpu = usage::cpu_seconds(daemon.pid())?;
    let memory = usage::memory(daemon.pid())?;
    daemon.terminate().await;
    source.batch_execute("SELECT pg_drop_replication_slot('bench_load')").await?;

    #[expect(clippy::cast_precision_loss, reason = "rows by the million")]
    let rows = servers.scale.items() as f64;
    report.peer("Load: COPY into COPY", rows / pipe / 1e3, "k/s");
    report.peer("Load: ours, from the start to settled", rows / ours / 1e3, "k/s");
    report.peer("Load: CPU per million rows", cpu / rows * 1e6, "s");
    report.peer(&format!("Load: memory (peak {:.0})", memory.peak_mib), memory.now_mib, "MiB");
    report.figure("Load: speed to COPY's into COPY", pipe / ours, "x", Limit::AtLeast(0.7));
    Ok(())
}
