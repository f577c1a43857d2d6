//! Rows per second, shared by the workers.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Spreads rows over time without saving up for bursts.
#[derive(Debug)]
pub(super) struct Throttle {
    rows_per_second: Option<u64>,
    /// When the rows that were let through are paid for.
    paid_at: Mutex<Instant>,
}

impl Throttle {
    pub(super) fn new(rows_per_second: Option<u64>) -> Self {
        Self { rows_per_second, paid_at: Mutex::new(Instant::now()) }
    }

    /// Waits until the rows before these are paid for.
    pub(super) async fn pass(&self, rows: usize) {
        let Some(rows_per_second) = self.rows_per_second else { return };
        let cost = Duration::from_secs_f64(rows as f64 / rows_per_second.max(1) as f64);
        let start = {
            let mut paid_at = self.paid_at.lock().await;
            let start = (*paid_at).max(Instant::now());
            *paid_at = start + cost;
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_are_spread() {
        let throttle = Throttle::new(Some(1000));
        let start = Instant::now();
        for _ in 0..6 {
            throttle.pass(10).await;
        }
        // Five batches of ten have been paid for when the sixth passes.
        assert!(start.elapsed() >= Duration::from_millis(50));
        Throttle::new(None).pass(1_000_000).await;
    }
}
