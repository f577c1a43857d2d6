//! The machine's part in events: which occurrences a change or a message makes, and how long they are kept.
//!
//! An event's log is an arrangement that only grows. Its entries are made with the changes, in their order;
//! those with look-ups wait for their transaction's end, since a look-up sees the rows as of the commit, and
//! for the loads of the tables that they look into. What waits is stored as it is, so that a restart inside
//! the transaction makes the same of it.
//!
//! An entry goes from the store when every sink of the event is durably past it. A sink that cannot say
//! what is durable gets an hour more.

use std::collections::VecDeque;

use super::letters::Refused;
use super::machine::{Fault, Machine};
use super::table::Stage;
use super::{EventInit, News};
use crate::engine::{
    ArrangementId, Engine, Entry, EventMaker, Made, Moment, Notice, RAW, RowError, RowsOf, log_from,
};
use crate::lsn::Lsn;
use crate::value::Column;

/// What a sink that cannot say what is durable may have lost.
const FORGETFUL_SECONDS: u64 = 3600;
/// Between two notes of where such a sink stands.
const NOTE_SECONDS: u64 = 60;

/// Of a change: how much of its versions is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Both,
    /// The version before is one that a load has read, which may be newer.
    New,
    Nothing,
}

pub(super) struct EventLog {
    pub(super) projection: usize,
    pub(super) arrangement: ArrangementId,
    maker: EventMaker,
    table: Option<usize>,
    prefix: Option<String>,
    /// Tables that it looks into.
    lookups: Vec<usize>,
    pending: VecDeque<Pending>,
    /// So many of `pending`, the first ones, are in the store.
    stored_pending: usize,
    /// The first commit of which the store has entries.
    stored_from: Option<Lsn>,
    /// All commits below have been passed.
    passed: Lsn,
}

/// A change that waits to become an occurrence.
struct Pending {
    moment: Moment,
    base: Vec<u8>,
}

/// Where a sink stood, and when.
#[derive(Default)]
pub(super) struct Notes(VecDeque<(u64, Lsn)>);

impl Notes {
    /// Where it stood an hour ago.
    fn passed(&mut self, now: u64, at: Lsn) -> Lsn {
        if self.0.back().is_none_or(|(noted, _)| now >= noted + NOTE_SECONDS) {
            self.0.push_back((now, at));
        }
        let is_old = |note: &(u64, Lsn)| now >= note.0 + FORGETFUL_SECONDS;
        while self.0.get(1).is_some_and(is_old) {
            self.0.pop_front();
        }
        self.0.front().filter(|note| is_old(note)).map_or(Lsn::ZERO, |(_, lsn)| *lsn)
    }
}

impl EventLog {
    pub(super) fn new(init: EventInit, engine: &mut Engine, projection: usize) -> (Self, RowsOf) {
        let EventInit { maker, table, prefix, rows_of, last, stored_from, pending, .. } = init;
        let pending: VecDeque<Pending> = pending.iter().filter_map(Pending::read).collect();
        let mut lookups: Vec<usize> = maker.lookups().collect();
        lookups.sort_unstable();
        lookups.dedup();
        let log = Self {
            projection,
            arrangement: engine.add_log(last.as_ref()),
            maker,
            table,
            prefix,
            lookups,
            stored_pending: pending.len(),
            pending,
            stored_from,
            passed: Lsn::ZERO,
        };
        (log, rows_of)
    }

    /// The tables that have to be there before it goes anywhere.
    pub(super) fn tables(&self) -> Vec<usize> {
        self.table.iter().chain(&self.lookups).copied().collect()
    }
}

impl Pending {
    /// committed_at i64 BE, change u64 BE, what the expressions run over.
    fn entry(&self, maker: &EventMaker) -> Entry {
        let mut value = self.moment.committed_at.to_be_bytes().to_vec();
        value.extend_from_slice(&self.moment.change.to_be_bytes());
        value.extend_from_slice(&self.base);
        Entry::row_in(RAW, self.moment.lsn, &maker.key(self.moment), &value)
    }

    fn read(entry: &Entry) -> Option<Self> {
        let (committed_at, rest) = entry.value()?.split_first_chunk::<8>()?;
        let (change, base) = rest.split_first_chunk::<8>()?;
        let committed_at = i64::from_be_bytes(*committed_at);
        let moment = Moment { lsn: entry.lsn(), committed_at, change: u64::from_be_bytes(*change) };
        Some(Self { moment, base: base.to_vec() })
    }
}

impl Machine {
    pub(super) fn event_columns(&self, projection: usize) -> &[Column] {
        let log = self.events.iter().find(|log| log.projection == projection);
        log.map_or(&[], |log| log.maker.columns())
    }

    pub(super) fn has_events(&self, table: usize) -> bool {
        self.events.iter().any(|log| log.table == Some(table))
    }

    /// A row of the table has changed.
    pub(super) fn occurred(
        &mut self,
        table: usize,
        old: Option<&Entry>,
        new: Option<&Entry>,
        known: Known,
    ) -> Result<(), RowError> {
        let mut taken = false;
        for at in 0..self.events.len() {
            let log = &self.events[at];
            if log.table != Some(table) {
                continue;
            }
            let is_known = match known {
                Known::Both => true,
                Known::New => !log.maker.looks_at_old(),
                Known::Nothing => false,
            };
            // What a load cannot tell is no occurrence: the log begins where its table is whole.
            taken |= !is_known || self.occur(at, log.maker.of_change(old, new))?;
        }
        if !taken {
            let unmatched = &mut self.unmatched[table];
            match (old, new) {
                (None, _) => unmatched.insert += 1,
                (_, None) => unmatched.delete += 1,
                _ => unmatched.update += 1,
            }
        }
        Ok(())
    }

    /// A message of a transaction.
    pub(super) fn said(&mut self, prefix: &str, content: &[u8]) -> Result<(), Fault> {
        for at in 0..self.events.len() {
            let log = &self.events[at];
            if log.prefix.as_deref() != Some(prefix) {
                continue;
            }
            match log.maker.of_message(prefix, content) {
                Ok(base) => drop(self.occur(at, base)?),
                Err(error) => {
                    let key = log.maker.key(self.moment);
                    let error = format!("the message is no text: {error}");
                    self.refuse_occurrence(at, self.moment.lsn, &key, error);
                }
            }
        }
        Ok(())
    }

    /// Whether the event's condition is true of it, or may be.
    fn occur(&mut self, at: usize, base: Vec<u8>) -> Result<bool, crate::value::ValueError> {
        let log = &mut self.events[at];
        if log.maker.is_taken(&base)? == Some(false) {
            return Ok(false);
        }
        if !log.lookups.is_empty() {
            log.pending.push_back(Pending { moment: self.moment, base });
            return Ok(true);
        }
        self.make(at, Pending { moment: self.moment, base })
    }

    fn make(&mut self, at: usize, pending: Pending) -> Result<bool, crate::value::ValueError> {
        let log = &self.events[at];
        let Pending { moment, base } = pending;
        match log.maker.make(&self.engine, base, moment)? {
            Made::Entry(entry) => {
                self.engine.arrangement_mut(log.arrangement).append(&entry);
                Ok(true)
            }
            Made::Nothing => Ok(false),
            Made::Failed(error) => {
                let key = log.maker.key(moment);
                self.refuse_occurrence(at, moment.lsn, &key, error);
                Ok(true)
            }
        }
    }

    /// What waited for the end of its transaction, and for loads, is made.
    pub(super) fn make_pending(&mut self) -> Result<(), Fault> {
        for at in 0..self.events.len() {
            let log = &self.events[at];
            let is_live = |&table: &usize| self.tables[table].stage == Stage::Live;
            if log.pending.is_empty() || !log.lookups.iter().all(is_live) {
                continue;
            }
            let rows_of = self.rows_of[log.arrangement];
            while let Some(pending) = self.events[at].pending.pop_front() {
                let log = &mut self.events[at];
                if log.stored_pending > 0 {
                    // What takes its place comes after it in the same batch.
                    log.stored_pending -= 1;
                    self.batch.forgotten.push((rows_of, pending.entry(&log.maker)));
                }
                self.make(at, pending)?;
            }
        }
        Ok(())
    }

    /// An occurrence that cannot be: a letter for each sink of the event, and what follows goes on.
    fn refuse_occurrence(&mut self, event: usize, lsn: Lsn, key: &[u8], error: String) {
        let projection = self.events[event].projection;
        for sink in &mut self.sinks {
            let lanes = sink.projections.iter().enumerate();
            let lanes: Vec<usize> =
                lanes.filter(|(_, of)| **of == projection).map(|(lane, _)| lane).collect();
            for lane in lanes {
                if sink.halts[lane] {
                    sink.feed.halt(lane);
                }
                let entry = Entry::row(lsn, key, &[]);
                let refused = Refused { lane, entry, error: error.clone() };
                sink.letters.refused(refused, &mut self.batch.facts);
            }
        }
        let key = self.key_text(projection, key);
        let projection = self.projections[projection].name.clone();
        let notice = Notice::Refused { key: Vec::new(), error };
        self.tell(News { projection, key, lsn, notice });
    }

    /// What of the logs the store does not have yet, but for what every sink has already.
    pub(super) fn store_events(&mut self, batch: &mut crate::engine::Batch) {
        for log in &mut self.events {
            let arrangement = &self.engine.arrangements()[log.arrangement];
            let rows_of = self.rows_of[log.arrangement];
            let changes = arrangement.changes_from(self.stored[log.arrangement]);
            let changes = changes.expect("the log is never cut before the store has it");
            for entry in changes.filter(|entry| entry.lsn() >= log.passed) {
                log.stored_from.get_or_insert(entry.lsn());
                batch.entries.push((rows_of, entry.clone()));
            }
            self.stored[log.arrangement] = arrangement.next_seq();
            for pending in log.pending.range(log.stored_pending..) {
                log.stored_from.get_or_insert(pending.moment.lsn);
                batch.entries.push((rows_of, pending.entry(&log.maker)));
            }
            log.stored_pending = log.pending.len();
            if !log.lookups.is_empty() {
                let name = pending_fact(&self.projections[log.projection].name);
                match log.pending.front() {
                    Some(first) => batch.fact(name, log.maker.key(first.moment)),
                    None => batch.remove_fact(name),
                }
            }
        }
    }

    /// Forgets what every sink has, `now` being seconds of any clock.
    pub(super) fn pass_events(&mut self, now: u64) {
        for log in &mut self.events {
            let mut passed = Lsn::MAX;
            for sink in &mut self.sinks {
                let Some(at) = sink.feed.passed(log.arrangement) else { continue };
                let at = match sink.forgetful {
                    true => sink.notes.entry(log.arrangement).or_default().passed(now, at),
                    false => at,
                };
                passed = passed.min(at);
            }
            log.passed = log.passed.max(passed);
            if let Some(from) = log.stored_from.filter(|from| *from < log.passed) {
                let rows_of = self.rows_of[log.arrangement];
                self.batch.passed.push((rows_of, log_from(from)..log_from(log.passed)));
                let pending = log.pending.front().map(|first| first.moment.lsn);
                let arrangement = &self.engine.arrangements()[log.arrangement];
                let newest = arrangement.last_change();
                log.stored_from = (newest >= log.passed || pending.is_some()).then_some(log.passed);
            }
        }
    }
}

/// Where it is remembered from which key on occurrences of an event wait.
pub fn pending_fact(event: &str) -> String {
    format!("pending/{event}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgetful_sink_has_passed_what_it_had_an_hour_ago() {
        let mut notes = Notes::default();
        assert_eq!(notes.passed(0, Lsn(10)), Lsn::ZERO);
        assert_eq!(notes.passed(30, Lsn(20)), Lsn::ZERO);
        assert_eq!(notes.passed(60, Lsn(30)), Lsn::ZERO);
        assert_eq!(notes.passed(3_599, Lsn(40)), Lsn::ZERO);
        assert_eq!(notes.passed(3_600, Lsn(40)), Lsn(10));
        assert_eq!(notes.passed(3_660, Lsn(50)), Lsn(30));
        assert_eq!(notes.passed(20_000, Lsn(60)), Lsn(50));
        assert!(notes.0.len() < 4);
    }
}
