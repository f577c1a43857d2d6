//! Events and histories, beside plain projections of the same tables: each reads the same WAL into Postgres.

use anyhow::Result;

use crate::catch_up::{TO_POSTGRES, catch_up, config, settled, start, wal};
use crate::harness::Daemon;
use crate::report::{Limit, Report};
use crate::servers::Servers;
use crate::shop::{self, TABLES};

const WITH_HISTORY: [&str; 4] = [
    r#"{ table = "customers", history = "customers_history" }"#,
    r#"{ table = "products", history = "products_history" }"#,
    r#"{ table = "orders", history = "orders_history" }"#,
    r#"{ table = "order_items", history = "order_items_history" }"#,
];

/// Every change of every table is an event.
fn events(slot: &str, source: &str, url: &str) -> String {
    let mut config = format!(
        "[source]\nurl = \"{source}\"\nslot = \"{slot}\"\n\n[sink.store.postgres]\nurl = \"{url}\"\n"
    );
    for table in TABLES {
        config += &format!(
            "\n[event.{table}]\ntable = \"{table}\"\nwhen = \"true\"\n\
             data = \"old IS NULL AS inserted, new IS NULL AS deleted, new.*\"\n\
             to.store = {{ table = \"{table}_events\" }}\n"
        );
    }
    config
}

pub(crate) async fn run(servers: &Servers, report: &mut Report) -> Result<()> {
    println!("\nEvents and histories in Postgres");
    let source = servers.source.client("shop").await;
    let from = servers.source.url("shop");
    let mut daemons: Vec<(&str, Daemon)> = Vec::new();
    for what in ["plain", "history", "events"] {
        let database = format!("logs_{what}");
        servers.new_target(&database).await;
        let (slot, url) = (format!("bench_{what}"), servers.target.url(&database));
        let text = match what {
            "events" => events(&slot, &from, &url),
            "history" => config(&slot, &from, "postgres", &url, WITH_HISTORY),
            _ => config(&slot, &from, "postgres", &url, TO_POSTGRES),
        };
        let mut daemon = start(&text).await;
        settled(&mut daemon, &shop::position(&source).await?).await?;
        daemon.terminate().await;
        daemons.push((what, daemon));
    }
    let end = wal(servers, &source).await?;
    let target = servers.target.client("postgres").await;
    let mut plain = 0.0;
    for (what, mut daemon) in daemons {
        // What the one before has left to write is not the next one's.
        source.batch_execute("CHECKPOINT").await?;
        target.batch_execute("CHECKPOINT").await?;
        let caught_up = catch_up(&mut daemon, &end).await?;
        daemon.terminate().await;
        let drop = format!("SELECT pg_drop_replication_slot('bench_{what}')");
        source.batch_execute(&drop).await?;
        let rate = caught_up.changes / caught_up.time.as_secs_f64() / 1e3;
        report.peer(&format!("{what}: changes per second"), rate, "k/s");
        if what == "plain" {
            plain = rate;
        } else {
            let name = format!("{what}: rate to the plain projections'");
            report.figure(&name, rate / plain, "x", Limit::AtLeast(0.5));
        }
    }
    Ok(())
}
