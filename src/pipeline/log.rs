//! Logs of events and histories: what the store keeps of them, and for how long.
//!
//! An entry goes from the store when every lane is durably past it. A sink that cannot say what is durable gets
//! an hour more.

use std::collections::VecDeque;

use super::load::rows_lsn;
use super::machine::Sink;
use crate::engine::{ArrangementId, Batch, Engine, RowsOf, log_from};
use crate::lsn::Lsn;
use crate::value::split_pg_lsn;

/// What a sink that cannot say what is durable may have lost.
const FORGETFUL_SECONDS: u64 = 3600;
/// Between two notes of where such a sink stands.
const NOTE_SECONDS: u64 = 60;

pub(super) struct KeptLog {
    pub(super) arrangement: ArrangementId,
    /// The first commit of which the store has entries.
    pub(super) stored_from: Option<Lsn>,
    /// All commits below have been passed.
    passed: Lsn,
    /// Entries before this key, and the one under it, may have gone from the store.
    pub(super) gone_to: Option<Vec<u8>>,
    /// No entry of this commit or a later one has gone.
    pub(super) whole_from: Lsn,
    /// Up to which key they had gone when the machine was built: what has gone before is not in memory either.
    gone_before: Option<Vec<u8>>,
}

impl KeptLog {
    pub(super) fn new(
        arrangement: ArrangementId,
        stored_from: Option<Lsn>,
        gone_to: Option<Vec<u8>>,
    ) -> Self {
        let gone_before = gone_to.clone();
        let (passed, whole_from) = (Lsn::ZERO, Lsn::ZERO);
        Self { arrangement, stored_from, passed, gone_to, whole_from, gone_before }
    }

    /// Whether entries behind this key may be neither in memory nor in the store.
    pub(super) fn lacks(&self, engine: &Engine, after: &[u8]) -> bool {
        let is_behind = |key: Option<&[u8]>| key.is_some_and(|key| after < key);
        let arrangement = &engine.arrangements()[self.arrangement];
        let in_memory =
            !is_behind(arrangement.stored_to()) && !is_behind(self.gone_before.as_deref());
        is_behind(self.gone_to.as_deref()) && !in_memory
    }

    /// Where a gap stands behind all that may have gone from the store of what lies behind a key and is no newer than
    /// another.
    pub(super) fn gone_between(&self, after: &[u8], to: &[u8]) -> Option<Lsn> {
        let gone_to = self.gone_to.as_deref()?.min(to);
        let (lsn, ordinal) = split_pg_lsn(gone_to).filter(|_| after < gone_to)?;
        Some(if ordinal.is_empty() { rows_lsn(Lsn(lsn)) } else { Lsn(lsn + 1) })
    }

    /// What the store does not have yet, but for what every lane has already.
    pub(super) fn store(
        &mut self,
        engine: &Engine,
        rows_of: RowsOf,
        stored: &mut u64,
        batch: &mut Batch,
    ) {
        let arrangement = &engine.arrangements()[self.arrangement];
        let changes = arrangement.changes_from(*stored);
        let changes = changes.expect("the log is never cut before the store has it");
        for entry in changes {
            if entry.lsn() < self.passed {
                self.gone_to = Some(entry.key().to_vec());
                self.whole_from = Lsn(entry.lsn().0 + 1);
                continue;
            }
            self.stored_from.get_or_insert(entry.lsn());
            batch.entries.push((rows_of, entry.clone()));
        }
        *stored = arrangement.next_seq();
    }

    /// Forgets what every lane has, `now` being seconds of any clock. With `more` the store has what is
    /// not in the log yet.
    pub(super) fn pass(
        &mut self,
        engine: &Engine,
        sinks: &mut [Sink],
        now: u64,
        more: bool,
    ) -> Option<std::ops::Range<Vec<u8>>> {
        let mut passed = Lsn::MAX;
        for sink in sinks {
            let Some(at) = sink.feed.passed(self.arrangement) else { continue };
            let is_open = sink.feed.is_open();
            let at = match sink.forgetful {
                true => sink.notes.entry(self.arrangement).or_default().passed(now, at, is_open),
                false => at,
            };
            passed = passed.min(at);
        }
        let arrangement = &engine.arrangements()[self.arrangement];
        if passed == Lsn::MAX {
            // Who is filled first needs nothing of what there is, but all that comes.
            passed = arrangement.last_change();
        }
        self.passed = self.passed.max(passed);
        let from = self.stored_from.filter(|from| *from < self.passed)?;
        let is_all = arrangement.last_change() < self.passed;
        self.whole_from = self.passed.min(Lsn(arrangement.last_change().0 + 1));
        self.gone_to = match arrangement.last_key() {
            Some(newest) if is_all => Some(newest.to_vec()),
            _ => Some(log_from(self.passed)),
        };
        self.stored_from = (!is_all || more).then_some(self.passed);
        Some(log_from(from)..log_from(self.passed))
    }
}

/// Where a sink stood, and when.
#[derive(Default)]
pub(super) struct Notes {
    stood: VecDeque<(u64, Lsn)>,
    passed: Lsn,
}

impl Notes {
    /// Where it stood an hour ago. While it is away time tells nothing: what it had last it may not have written.
    fn passed(&mut self, now: u64, at: Lsn, is_open: bool) -> Lsn {
        if !is_open {
            return self.passed;
        }
        // What it had and has no more says nothing.
        while self.stood.back().is_some_and(|(_, lsn)| *lsn > at) {
            self.stood.pop_back();
        }
        if self.stood.back().is_none_or(|(noted, _)| now >= noted + NOTE_SECONDS) {
            self.stood.push_back((now, at));
        }
        let is_old = |note: &(u64, Lsn)| now >= note.0 + FORGETFUL_SECONDS;
        while self.stood.get(1).is_some_and(is_old) {
            self.stood.pop_front();
        }
        self.passed =
            self.stood.front().filter(|note| is_old(note)).map_or(Lsn::ZERO, |(_, lsn)| *lsn);
        self.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Entry;

    #[test]
    fn what_has_gone_is_lacked_by_those_that_stand_before_it() {
        let mut engine = Engine::default();
        let id = engine.add_log(None);
        let mut log = KeptLog::new(id, None, None);
        let entry = |lsn: u64| Entry::row(Lsn(lsn), &log_from(Lsn(lsn)), b"");
        for lsn in [10, 20, 30] {
            engine.arrangement_mut(id).append(&entry(lsn));
        }
        log.passed = Lsn(25);
        let (mut stored, mut batch) = (0, Batch::default());
        log.store(&engine, 1, &mut stored, &mut batch);
        assert_eq!((stored, batch.entries.len(), log.stored_from), (3, 1, Some(Lsn(30))));
        assert_eq!(log.gone_to.as_deref(), Some(entry(20).key()));
        assert_eq!(log.whole_from, Lsn(21));
        assert!(!log.lacks(&engine, entry(5).key()), "it is in memory");
        engine.arrangement_mut(id).trim(3);
        assert!(log.lacks(&engine, entry(5).key()));
        assert!(!log.lacks(&engine, entry(20).key()));
        // After a restart, with nothing in the store.
        let again = KeptLog::new(engine.add_log(None), None, log.gone_to);
        assert!(again.lacks(&engine, entry(15).key()));
        assert!(!again.lacks(&engine, entry(20).key()));
    }

    #[test]
    fn a_forgetful_sink_has_passed_what_it_had_an_hour_ago() {
        let mut notes = Notes::default();
        let mut open = |now, lsn| notes.passed(now, Lsn(lsn), true).0;
        assert_eq!(open(0, 10), 0);
        assert_eq!(open(30, 20), 0);
        assert_eq!(open(60, 30), 0);
        assert_eq!(open(3_599, 40), 0);
        assert_eq!(open(3_600, 40), 10);
        assert_eq!(open(3_660, 50), 30);
        assert_eq!(open(20_000, 60), 50);
        assert!(notes.stood.len() < 4);
    }

    #[test]
    fn what_a_sink_lost_before_it_was_away_is_not_passed() {
        let mut notes = Notes::default();
        notes.passed(0, Lsn(10), true);
        notes.passed(100, Lsn(20), true);
        // It dies at once, having written nothing of the last note, and is away for long.
        assert_eq!(notes.passed(9_000, Lsn(20), false), Lsn::ZERO);
        assert_eq!(notes.passed(9_001, Lsn(15), true), Lsn(10));
        assert_eq!(notes.passed(9_002, Lsn(30), true), Lsn(10));
        assert_eq!(notes.passed(13_000, Lsn(40), true), Lsn(15));
    }
}
