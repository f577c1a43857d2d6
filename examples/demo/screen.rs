//! What is seen of it: one screen refreshed each second on a terminal, a line each second elsewhere.

use std::io::IsTerminal;
use std::time::Instant;

use crate::harness::daemon::Metrics;
use crate::stores::{Look, SINKS, TABLES};

pub(crate) struct Screen {
    rate: u32,
    addresses: [String; 4],
    started: Instant,
    /// Latencies from before the load are not the load's.
    before: Vec<Buckets>,
    terminal: bool,
}

/// A histogram: upper bounds in seconds and how many lie at or below each.
type Buckets = Vec<(f64, f64)>;

impl Screen {
    pub(crate) fn new(rate: u32, addresses: [String; 4], metrics: Metrics) -> Screen {
        Screen {
            rate,
            addresses,
            started: Instant::now(),
            before: SINKS.iter().map(|sink| latencies(&metrics, sink)).collect(),
            terminal: std::io::stdout().is_terminal(),
        }
    }

    pub(crate) fn show(&self, look: &Look, metrics: &Metrics, transactions: u64) {
        let seconds = self.started.elapsed().as_secs();
        if self.terminal {
            // To the top left, and the rest of the screen cleared.
            println!("\x1b[H\x1b[J{}", self.picture(look, metrics, transactions, seconds));
        } else {
            println!("{}", line(look, metrics, transactions, seconds));
        }
    }

    pub(crate) fn summary(&self, metrics: &Metrics, transactions: u64) {
        println!("{transactions} transactions. From the commit to the store's answer:");
        for (at, sink) in SINKS.iter().enumerate() {
            println!("  {sink:<10} {}", self.latency(metrics, at));
        }
    }

    fn picture(&self, look: &Look, metrics: &Metrics, transactions: u64, seconds: u64) -> String {
        let rate = self.rate;
        let names = TABLES.map(|table| format!("{:>13}", table.name)).concat();
        let cells = |rows: &[u64; 4]| rows.map(|count| format!("{count:>13}")).concat();
        let mut lines = vec![
            "Readside keeps a shop's tables equal in three stores.".into(),
            format!("{seconds} s, {transactions} transactions at {rate}/s"),
            String::new(),
            format!("{:<10}{names}{:>10}   commit to store", "rows", "lag"),
            format!("{:<10}{}", "source", cells(&look.source)),
        ];
        for (at, (sink, rows)) in SINKS.iter().zip(&look.sinks).enumerate() {
            let (lag, latency) = (lag(metrics, sink), self.latency(metrics, at));
            lines.push(format!("{sink:<10}{}{lag:>10}   {latency}", cells(rows)));
        }
        lines.push("\nThe search server shows new documents to searches once a second.".into());
        lines.push("Look around:".into());
        lines.extend(self.addresses.iter().map(|address| format!("  {address}")));
        lines.push("\nCtrl-C ends it and removes everything.".into());
        lines.join("\n")
    }

    fn latency(&self, metrics: &Metrics, sink: usize) -> String {
        let now = latencies(metrics, SINKS[sink]);
        let before = &self.before[sink];
        let since: Buckets = now
            .into_iter()
            .enumerate()
            .map(|(at, (bound, count))| (bound, count - before.get(at).map_or(0.0, |b| b.1)))
            .collect();
        match (quantile(&since, 0.5), quantile(&since, 0.99)) {
            (Some(p50), Some(p99)) => format!("p50 {}, p99 {}", millis(p50), millis(p99)),
            _ => "-".into(),
        }
    }
}

/// Rows of the four tables, in the source and in each store.
fn line(look: &Look, metrics: &Metrics, transactions: u64, seconds: u64) -> String {
    let cells = |rows: &[u64; 4]| rows.map(|count| count.to_string()).join("/");
    let mut line = format!("{seconds:>4} s {transactions:>6} tx | source {}", cells(&look.source));
    for (sink, rows) in SINKS.iter().zip(&look.sinks) {
        line += &format!(" | {sink} {} lag {}", cells(rows), lag(metrics, sink));
    }
    line
}

/// Of the projection that is furthest behind.
fn lag(metrics: &Metrics, sink: &str) -> String {
    let all = metrics.series("readside_sink_lag_seconds", &[("sink", sink)]);
    let most = all.into_iter().map(|(_, seconds)| seconds).reduce(f64::max);
    most.map_or("-".into(), |seconds| format!("{seconds:.1} s"))
}

fn latencies(metrics: &Metrics, sink: &str) -> Buckets {
    let series = metrics.series("readside_end_to_end_seconds_bucket", &[("sink", sink)]);
    let bucket = |(labels, count): (String, f64)| {
        let bound = labels.split("le=\"").nth(1)?.split('"').next()?;
        Some((bound.parse().ok()?, count))
    };
    series.into_iter().filter_map(bucket).collect()
}

/// The bound of the bucket that holds it: what lies in the bucket is not known any finer.
fn quantile(buckets: &[(f64, f64)], part: f64) -> Option<f64> {
    let (_, total) = buckets.last().copied().filter(|(_, total)| *total > 0.0)?;
    buckets.iter().find(|(_, count)| *count >= part * total).map(|(bound, _)| *bound)
}

fn millis(seconds: f64) -> String {
    if seconds.is_finite() { format!("<= {:.0} ms", seconds * 1e3) } else { "> all bounds".into() }
}
