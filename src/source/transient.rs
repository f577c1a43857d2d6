//! Which of Postgres' errors pass by themselves.

use std::time::Duration;

use crate::pg::{Error, Kind};

/// Whether trying again later can help. What a human must change first is not transient, but for
/// authentication: passwords are changed on the two sides at different moments.
pub(crate) fn is_transient(error: &Error) -> bool {
    match error.kind() {
        Kind::Unreachable
        | Kind::Closed
        | Kind::Protocol
        | Kind::Authentication
        | Kind::Unsuitable => true,
        Kind::Configuration | Kind::Tls => false,
        Kind::Server => error.code().is_some_and(|code| {
            // Connection exceptions, insufficient resources, operator intervention, I/O errors.
            ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class))
                // Serialization failure, deadlock, lock not available.
                || ["40001", "40P01", "55P03"].contains(&code)
        }),
    }
}

/// Growing delays between attempts, with jitter: bounded by `MAX`.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(5);

    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// How long to wait before the next attempt.
    pub(super) fn next_delay(&mut self) -> Duration {
        let delay = Self::FIRST.saturating_mul(1 << self.attempts.min(16)).min(Self::MAX);
        self.attempts = self.attempts.saturating_add(1);
        delay.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_stay_bounded() {
        let mut backoff = Backoff::default();
        let first = backoff.next_delay();
        assert!(first <= Backoff::FIRST, "{first:?}");
        for _ in 0..100 {
            assert!(backoff.next_delay() <= Backoff::MAX);
        }
        assert!(backoff.next_delay() >= Backoff::MAX / 2);
        backoff.reset();
        assert!(backoff.next_delay() <= Backoff::FIRST);
    }
}
