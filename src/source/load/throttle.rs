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

    /// So many rows are to be let through at once, a second's at most.
    pub(super) fn rows_at_once(&self, most: usize) -> usize {
        match self.rows_per_second.map(usize::try_from) {
            Some(Ok(rows)) => rows.clamp(1, most),
            Some(Err(_)) | None => most,
        }
    }

    /// Waits until these rows are paid for, and all before them.
    pub(super) async fn pass(&self, rows: usize) {
        let Some(rows_per_second) = self.rows_per_second else { return };
        let cost = Duration::from_secs_f64(rows as f64 / rows_per_second.max(1) as f64);
        let paid_at = {
            let mut paid_at = self.paid_at.lock().await;
            *paid_at = (*paid_at).max(Instant::now()) + cost;
            *paid_at
        };
        tokio::time::sleep_until(paid_at).await;
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
        assert!(start.elapsed() >= Duration::from_millis(60));
        assert_eq!(throttle.rows_at_once(4000), 1000);
        assert_eq!(throttle.rows_at_once(400), 400);
        let free = Throttle::new(None);
        free.pass(1_000_000).await;
        assert_eq!(free.rows_at_once(4000), 4000);
    }
}
