//! `/metrics`: names, labels and text are contract.

use std::collections::BTreeSet;

use readside::metrics::Metrics;
use reqwest::StatusCode;

use crate::daemon::{Daemon, Options};

#[tokio::test]
async fn metrics_have_their_names_and_labels() {
    let daemon = Daemon::start(Options::default()).await;
    let metrics = Metrics::new(&daemon.registry);
    metrics.applied_lsn.set(0x16_0000_0A00);
    metrics.table("public.orders").truncate.inc();
    metrics.table("public.orders").load_rows.inc_by(7);
    metrics.clone().sink("cache").batch_seconds.observe(0.004);
    metrics.sink("cache").end_to_end_seconds.observe(0.02);
    metrics.lane("cache", "orders").lag_seconds.set(0.25);
    metrics.lane("cache", "odd \"name\"\\").upserts.inc();
    metrics.state_bytes("memory").set(5);
    metrics.state_bytes("disk").set(6);
    metrics.lane("cache", "gone").upserts.inc();
    metrics.forget_lane("cache", "gone");
    metrics.reloaded("applied");
    metrics.reloaded("refused");

    let answer = daemon.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    let series: BTreeSet<_> = answer.text.lines().filter(|line| !line.starts_with('#')).collect();
    for line in [
        "readside_source_up 0",
        "readside_source_lag_bytes 0",
        "readside_slot_retained_bytes 0",
        "readside_applied_lsn 94489283072",
        "readside_durable_lsn 0",
        "readside_changes_total{op=\"insert\",table=\"public.orders\"} 0",
        "readside_changes_total{op=\"update\",table=\"public.orders\"} 0",
        "readside_changes_total{op=\"delete\",table=\"public.orders\"} 0",
        "readside_changes_total{op=\"truncate\",table=\"public.orders\"} 1",
        "readside_transactions_total 0",
        "readside_load_rows_total{table=\"public.orders\"} 7",
        "readside_load_rows_expected{table=\"public.orders\"} 0",
        "readside_sink_lag_bytes{projection=\"orders\",sink=\"cache\"} 0",
        "readside_sink_lag_seconds{projection=\"orders\",sink=\"cache\"} 0.25",
        "readside_rows_written_total{op=\"upsert\",projection=\"orders\",sink=\"cache\"} 0",
        "readside_rows_written_total{op=\"delete\",projection=\"orders\",sink=\"cache\"} 0",
        "readside_rows_written_total{op=\"upsert\",projection=\"odd \\\"name\\\"\\\\\",sink=\"cache\"} 1",
        "readside_batch_seconds_bucket{sink=\"cache\",le=\"0.0025\"} 0",
        "readside_batch_seconds_bucket{sink=\"cache\",le=\"0.005\"} 1",
        "readside_batch_seconds_bucket{sink=\"cache\",le=\"+Inf\"} 1",
        "readside_batch_seconds_count{sink=\"cache\"} 1",
        "readside_sink_up{sink=\"cache\"} 0",
        "readside_retries_total{sink=\"cache\"} 0",
        "readside_dead_letters{projection=\"orders\",sink=\"cache\"} 0",
        "readside_end_to_end_seconds_bucket{sink=\"cache\",le=\"0.015\"} 0",
        "readside_end_to_end_seconds_bucket{sink=\"cache\",le=\"0.02\"} 1",
        "readside_end_to_end_seconds_count{sink=\"cache\"} 1",
        "readside_state_bytes{where=\"memory\"} 5",
        "readside_state_bytes{where=\"disk\"} 6",
        "readside_reload_total{result=\"applied\"} 1",
        "readside_reload_refused 1",
    ] {
        assert!(series.contains(line), "{line} is not in\n{}", answer.text);
    }
    assert!(!answer.text.contains("gone"), "{}", answer.text);
    let is_there = |name: &str| series.iter().any(|line| line.starts_with(name));
    #[cfg(target_os = "linux")]
    assert!(is_there("process_cpu_seconds_total ") && is_there("process_resident_memory_bytes "));
    assert!(is_there("readside_batch_seconds_sum{sink=\"cache\"} "));
    // Each is described, and typed as its name promises.
    for (name, kind) in [
        ("readside_source_lag_bytes", "gauge"),
        ("readside_changes_total", "counter"),
        ("readside_sink_lag_seconds", "gauge"),
        ("readside_end_to_end_seconds", "histogram"),
    ] {
        assert!(answer.text.contains(&format!("# HELP {name} ")), "{name}");
        assert!(answer.text.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
    }
}
