//! Metrics in Prometheus' model. Their names and labels are contract with users.
//!
//! No globals: `Metrics::new` registers everything once. Children are resolved once, by whoever keeps
//! them, so that counting is an atomic addition and a scrape never waits for the engine or holds it up.
//! LSNs are numbers here: bytes since `0/0`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

const ONCE: &str = "each name is registered once";

/// Seconds. A small step takes well under a millisecond, a large one into a busy sink many seconds.
const BATCH_BUCKETS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];

/// Seconds. Dense where a sink in step is, wide where one catches up.
const END_TO_END_BUCKETS: &[f64] = &[
    0.000_5, 0.001, 0.002, 0.003, 0.005, 0.007_5, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
];

/// Cheap to clone: every clone counts into the same series.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// 1 or 0.
    pub source_up: IntGauge,
    /// 1 or 0.
    pub leader: IntGauge,
    pub term: IntGauge,
    pub source_lag_bytes: IntGauge,
    pub slot_retained_bytes: IntGauge,
    pub applied_lsn: IntGauge,
    pub durable_lsn: IntGauge,
    pub transactions: IntCounter,
    changes: IntCounterVec,
    unmatched: IntCounterVec,
    load_rows: IntCounterVec,
    load_rows_expected: IntGaugeVec,
    sink_lag_bytes: IntGaugeVec,
    sink_lag_seconds: GaugeVec,
    rows_written: IntCounterVec,
    batch_seconds: HistogramVec,
    sink_up: IntGaugeVec,
    retries: IntCounterVec,
    dead_letters: IntGaugeVec,
    end_to_end_seconds: HistogramVec,
    state_bytes: IntGaugeVec,
    reloads: IntCounterVec,
    reload_refused: IntGauge,
    /// Those that have series.
    tables: Arc<Mutex<BTreeSet<String>>>,
}

/// One table of the source.
#[derive(Clone, Debug)]
pub struct TableMetrics {
    pub insert: IntCounter,
    pub update: IntCounter,
    pub delete: IntCounter,
    pub truncate: IntCounter,
    /// Kept over restarts: whoever starts adds what had been loaded before.
    pub load_rows: IntCounter,
    pub load_expected: IntGauge,
}

#[derive(Clone, Debug)]
pub struct SinkMetrics {
    /// 1 or 0.
    pub up: IntGauge,
    pub retries: IntCounter,
    pub batch_seconds: Histogram,
    pub end_to_end_seconds: Histogram,
}

/// One projection in one sink.
#[derive(Clone, Debug)]
pub struct LaneMetrics {
    pub lag_bytes: IntGauge,
    /// 0 when the sink has all there is.
    pub lag_seconds: Gauge,
    pub upserts: IntCounter,
    pub deletes: IntCounter,
    pub dead_letters: IntGauge,
}

impl Metrics {
    /// Panics when the registry has one of the names already: there is one `Metrics` per registry.
    pub fn new(registry: &Registry) -> Metrics {
        let r = registry;
        #[cfg(target_os = "linux")]
        r.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect(ONCE);
        Metrics {
            source_up: gauge(
                r,
                "readside_source_up",
                "1 while the stream from the source flows, else 0.",
            ),
            leader: gauge(
                r,
                "readside_leader",
                "1 while this instance delivers, 0 while another one of its group does.",
            ),
            term: gauge(
                r,
                "readside_term",
                "The leader's term in the group of instances, 0 where there is none.",
            ),
            source_lag_bytes: gauge(
                r,
                "readside_source_lag_bytes",
                "WAL that the source has written and Readside has not applied.",
            ),
            slot_retained_bytes: gauge(
                r,
                "readside_slot_retained_bytes",
                "WAL that the source keeps for the replication slot.",
            ),
            applied_lsn: gauge(
                r,
                "readside_applied_lsn",
                "Position up to which transactions are applied to the state, in bytes since 0/0.",
            ),
            durable_lsn: gauge(
                r,
                "readside_durable_lsn",
                "Position up to which the state is durable, in bytes since 0/0.",
            ),
            transactions: register(
                r,
                IntCounter::new("readside_transactions_total", "Transactions applied."),
            ),
            changes: counters(
                r,
                "readside_changes_total",
                "Row changes applied; a TRUNCATE counts once per table.",
                &["table", "op"],
            ),
            unmatched: counters(
                r,
                "readside_event_unmatched_total",
                "Row changes of tables that events name which no event's condition takes.",
                &["table", "op"],
            ),
            load_rows: counters(
                r,
                "readside_load_rows_total",
                "Rows read by initial loads, kept over restarts.",
                &["table"],
            ),
            load_rows_expected: gauges(
                r,
                "readside_load_rows_expected",
                "Rows that the table's load is expected to read, as the source estimates them.",
                &["table"],
            ),
            sink_lag_bytes: gauges(
                r,
                "readside_sink_lag_bytes",
                "WAL that is applied and not yet in the sink.",
                &["sink", "projection"],
            ),
            sink_lag_seconds: register(
                r,
                GaugeVec::new(
                    Opts::new(
                        "readside_sink_lag_seconds",
                        "Age of the oldest change that is not in the sink; 0 when it has all.",
                    ),
                    &["sink", "projection"],
                ),
            ),
            rows_written: counters(
                r,
                "readside_rows_written_total",
                "Rows that the sink has taken.",
                &["sink", "projection", "op"],
            ),
            batch_seconds: histograms(
                r,
                "readside_batch_seconds",
                "Time that the sink takes to answer one batch.",
                BATCH_BUCKETS,
            ),
            sink_up: gauges(r, "readside_sink_up", "1 while the sink answers, else 0.", &["sink"]),
            retries: counters(
                r,
                "readside_retries_total",
                "Attempts that the sink failed and that were made again.",
                &["sink"],
            ),
            dead_letters: gauges(
                r,
                "readside_dead_letters",
                "Rows that the sink has refused and that wait as dead letters.",
                &["sink", "projection"],
            ),
            end_to_end_seconds: histograms(
                r,
                "readside_end_to_end_seconds",
                "Time from a transaction's commit on the source to the sink's answer.",
                END_TO_END_BUCKETS,
            ),
            state_bytes: gauges(
                r,
                "readside_state_bytes",
                "Size of the state, in memory and on disk.",
                &["where"],
            ),
            reloads: counters(
                r,
                "readside_reload_total",
                "Attempts to apply another configuration without a restart.",
                &["result"],
            ),
            reload_refused: gauge(
                r,
                "readside_reload_refused",
                "1 while the configuration in the file is not the one in use, since it was refused.",
            ),
            tables: Arc::default(),
        }
    }

    /// `result` is `applied`, `unchanged`, `refused` or `waiting` (for the source).
    pub fn reloaded(&self, result: &str) {
        self.reloads.with_label_values(&[result]).inc();
        self.reload_refused.set((result == "refused").into());
    }

    /// A sink that is no longer there.
    pub fn forget_sink(&self, name: &str) {
        // Each was there, or nobody has seen it.
        let _ = self.sink_up.remove_label_values(&[name]);
        let _ = self.retries.remove_label_values(&[name]);
        let _ = self.batch_seconds.remove_label_values(&[name]);
        let _ = self.end_to_end_seconds.remove_label_values(&[name]);
    }

    /// A projection that no longer goes to this sink.
    pub fn forget_lane(&self, sink: &str, projection: &str) {
        // As with `forget_sink`.
        let _ = self.sink_lag_bytes.remove_label_values(&[sink, projection]);
        let _ = self.sink_lag_seconds.remove_label_values(&[sink, projection]);
        let _ = self.dead_letters.remove_label_values(&[sink, projection]);
        for op in ["upsert", "delete"] {
            let _ = self.rows_written.remove_label_values(&[sink, projection, op]);
        }
    }

    /// Tables that are not `used` any more have no metrics either, nor what only those `of_events` have.
    pub fn forget_other_tables(&self, used: &BTreeSet<&str>, of_events: &BTreeSet<&str>) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        for name in tables.iter().filter(|name| !of_events.contains(name.as_str())) {
            for op in ["insert", "update", "delete"] {
                // As with `forget_sink`.
                let _ = self.unmatched.remove_label_values(&[name, op]);
            }
        }
        tables.retain(|name| {
            let is_used = used.contains(name.as_str());
            if !is_used {
                for op in ["insert", "update", "delete", "truncate"] {
                    let _ = self.changes.remove_label_values(&[name, op]);
                }
                let _ = self.load_rows.remove_label_values(&[name]);
                let _ = self.load_rows_expected.remove_label_values(&[name]);
            }
            is_used
        });
    }

    /// `name` is schema-qualified.
    pub fn table(&self, name: &str) -> TableMetrics {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        let changes = |op| self.changes.with_label_values(&[name, op]);
        TableMetrics {
            insert: changes("insert"),
            update: changes("update"),
            delete: changes("delete"),
            truncate: changes("truncate"),
            load_rows: self.load_rows.with_label_values(&[name]),
            load_expected: self.load_rows_expected.with_label_values(&[name]),
        }
    }

    /// `table` is schema-qualified.
    pub fn unmatched(&self, table: &str, op: &str) -> IntCounter {
        self.unmatched.with_label_values(&[table, op])
    }

    pub fn sink(&self, name: &str) -> SinkMetrics {
        SinkMetrics {
            up: self.sink_up.with_label_values(&[name]),
            retries: self.retries.with_label_values(&[name]),
            batch_seconds: self.batch_seconds.with_label_values(&[name]),
            end_to_end_seconds: self.end_to_end_seconds.with_label_values(&[name]),
        }
    }

    pub fn lane(&self, sink: &str, projection: &str) -> LaneMetrics {
        let written = |op| self.rows_written.with_label_values(&[sink, projection, op]);
        LaneMetrics {
            lag_bytes: self.sink_lag_bytes.with_label_values(&[sink, projection]),
            lag_seconds: self.sink_lag_seconds.with_label_values(&[sink, projection]),
            upserts: written("upsert"),
            deletes: written("delete"),
            dead_letters: self.dead_letters.with_label_values(&[sink, projection]),
        }
    }

    /// `place` is `memory` or `disk`.
    pub fn state_bytes(&self, place: &str) -> IntGauge {
        self.state_bytes.with_label_values(&[place])
    }
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn histograms(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(registry, HistogramVec::new(options, &["sink"]))
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("names, labels and buckets above are well formed");
    registry.register(Box::new(collector.clone())).expect(ONCE);
    collector
}
