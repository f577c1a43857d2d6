//! Waiting for conditions. The only place in the tests where time passes by itself.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Far beyond what anything here takes on a slow machine; a failure, not a measure.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// Asks `probe` until it answers `Ok`; panics with the last `Err`, which says what was seen instead.
pub(crate) async fn until<T, E: Display>(
    what: &str,
    probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    until_within(what, BOUND, probe).await
}

/// As [`until`], with another bound.
pub(crate) async fn until_within<T, E: Display>(
    what: &str,
    bound: Duration,
    probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    match poll(bound, probe).await {
        Ok(value) => value,
        Err(seen) => panic!("waited {bound:?} for {what}; last seen: {seen}"),
    }
}

/// Asks `probe` until it answers `Ok`; after `bound`, the last thing seen.
pub(crate) async fn poll<T, E: Display>(
    bound: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, String> {
    let deadline = Instant::now() + bound;
    let mut seen = None;
    let mut step = Duration::from_millis(5);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(other)) => seen = Some(other.to_string()),
            Err(_) => return Err(seen.unwrap_or_else(|| "no answer at all".into())),
        }
        // A probe that answers at once is never cut short by the timeout.
        if Instant::now() >= deadline {
            return Err(seen.unwrap_or_default());
        }
        delay(step).await;
        step = (step * 2).min(Duration::from_millis(100));
    }
}

/// For what is itself a delay, as a slow network is: not for waiting.
pub(crate) async fn delay(time: Duration) {
    tokio::time::sleep(time).await;
}
