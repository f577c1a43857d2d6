//! When the applied position moved: by it is known how old the oldest change is that a sink lacks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::lsn::Lsn;

/// Moves that follow each other within it count as one.
const MOVE: Duration = Duration::from_millis(5);
/// Beyond them the older half is told with half the precision.
const MOVES_MAX: usize = 1024;

pub(super) struct Applied {
    /// All changes below the position were applied at the moment, or later; both rise.
    moves: VecDeque<(Lsn, Instant)>,
}

impl Applied {
    pub(super) fn new(lsn: Lsn, now: Instant) -> Self {
        Self { moves: VecDeque::from([(lsn, now)]) }
    }

    pub(super) fn moved(&mut self, lsn: Lsn, now: Instant) {
        let begun = self.moves.len() > 1;
        if let Some((last, at)) = self.moves.back_mut() {
            if lsn <= *last {
                return;
            }
            // The first is where all began.
            if now.duration_since(*at) < MOVE && begun {
                *last = lsn;
                return;
            }
        }
        self.moves.push_back((lsn, now));
        if self.moves.len() > MOVES_MAX {
            self.thin();
        }
    }

    /// Since when a sink that stands at `lsn` could have had more; `None`: there is no more. Never later
    /// than it was.
    pub(super) fn more_since(&self, lsn: Lsn) -> Option<Instant> {
        let next = self.moves.partition_point(|(applied, _)| *applied <= lsn);
        self.moves.get(next).map(|(_, at)| *at)
    }

    fn thin(&mut self) {
        let mut thinned: VecDeque<(Lsn, Instant)> = VecDeque::with_capacity(MOVES_MAX + 1);
        let kept = self.moves.split_off(MOVES_MAX / 2);
        let mut old = std::mem::take(&mut self.moves).into_iter();
        while let Some((lsn, at)) = old.next() {
            let until = old.next().map_or(lsn, |(lsn, _)| lsn);
            thinned.push_back((until, at));
        }
        thinned.extend(kept);
        self.moves = thinned;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_change_that_a_sink_lacks_counts() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut applied = Applied::new(Lsn(10), start);
        assert_eq!(applied.more_since(Lsn(10)), None);
        applied.moved(Lsn(20), after(1));
        applied.moved(Lsn(20), after(2));
        applied.moved(Lsn(30), after(3));
        applied.moved(Lsn(35), after(3) + MOVE / 2);
        assert_eq!(applied.more_since(Lsn(0)), Some(start), "nobody knows better");
        assert_eq!(applied.more_since(Lsn(10)), Some(after(1)));
        assert_eq!(applied.more_since(Lsn(19)), Some(after(1)));
        assert_eq!(applied.more_since(Lsn(20)), Some(after(3)));
        assert_eq!(applied.more_since(Lsn(34)), Some(after(3)));
        assert_eq!(applied.more_since(Lsn(35)), None);
    }

    #[test]
    fn however_much_is_remembered_no_sink_seems_less_behind_than_it_is() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut applied = Applied::new(Lsn(0), start);
        for moved in 1..=100_000 {
            applied.moved(Lsn(moved), after(moved));
            assert!(applied.moves.len() <= MOVES_MAX);
        }
        for stands in 0..100_000 {
            let since = applied.more_since(Lsn(stands)).unwrap();
            assert!(since <= after(stands + 1), "{stands}");
        }
        // What is recent is exact.
        for stands in 99_600..100_000 {
            assert_eq!(applied.more_since(Lsn(stands)), Some(after(stands + 1)));
        }
    }
}
