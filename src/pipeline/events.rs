//! The machine's part in events: which occurrences a change or a message makes.
//!
//! An event's log is an arrangement that only grows. Its entries are made with the changes, in their order;
//! those with look-ups wait for their transaction's end, since a look-up sees the rows as of the commit, and
//! for the loads of the tables that they look into. What waits is stored as it is, so that a restart inside
//! the transaction makes the same of it.

use std::collections::VecDeque;

use super::layouts::{Layout, renewed};
use super::letters::{Payload, Refused, key_hex};
use super::load::rows_lsn;
use super::log::KeptLog;
use super::machine::{Fault, Machine, Sink};
use super::table::Stage;
use super::{EventInit, News};
use crate::engine::{
    Batch, EVENT_COLUMNS, Engine, Entry, EventMaker, Made, Moment, Notice, RAW, RowError, RowsOf,
    Version, gap_entry,
};
use crate::lsn::Lsn;
use crate::output::PageFrom;
use crate::value::{Column, ValueError, split_pg_lsn};

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
    pub(super) log: KeptLog,
    maker: EventMaker,
    table: Option<usize>,
    prefix: Option<String>,
    /// Tables that it looks into.
    lookups: Vec<usize>,
    pending: VecDeque<Pending>,
    /// So many of `pending`, the first ones, are in the store.
    stored_pending: usize,
    /// As it was when it was stored last.
    stored_gone: Option<Vec<u8>>,
    older: Vec<Layout>,
    /// Occurrences may be missing before the load that is to come.
    gap_at_load: bool,
    /// Where it was added to a state that was there.
    pub(super) added: Lsn,
    /// The checkpoint that makes its beginning durable.
    pub(super) begins_with: u64,
}

/// A change that waits to become an occurrence.
struct Pending {
    moment: Moment,
    base: Vec<u8>,
}

impl EventLog {
    pub(super) fn new(init: EventInit, engine: &mut Engine, projection: usize) -> (Self, RowsOf) {
        let EventInit { maker, table, prefix, rows_of, last, stored_from, .. } = init;
        let EventInit { gone_to, pending, older, gap_at_load, added, .. } = init;
        let pending: VecDeque<Pending> = pending.iter().filter_map(Pending::read).collect();
        let mut lookups: Vec<usize> = maker.lookups().collect();
        lookups.sort_unstable();
        lookups.dedup();
        let log = Self {
            projection,
            log: KeptLog::new(
                engine.add_log(last_of(last, gone_to.as_deref()).as_ref()),
                stored_from,
                gone_to,
            ),
            maker,
            table,
            prefix,
            lookups,
            stored_pending: pending.len(),
            pending,
            stored_gone: None,
            older,
            gap_at_load,
            added,
            begins_with: 0,
        };
        (log, rows_of)
    }

    pub(super) fn columns(&self) -> &[Column] {
        self.maker.columns()
    }

    /// An occurrence from the store, with the columns that the data has now.
    pub(super) fn renewed(&self, entry: Entry) -> Result<Entry, ValueError> {
        renewed(&self.older, self.columns(), entry)
    }

    /// The tables that have to be there before it goes anywhere.
    pub(super) fn tables(&self) -> Vec<usize> {
        self.table.iter().chain(&self.lookups).copied().collect()
    }
}

/// The newest of what a log has ever had in the store.
fn last_of(kept: Option<Entry>, gone_to: Option<&[u8]>) -> Option<Entry> {
    let gone = gone_to.and_then(|key| {
        let (lsn, ordinal) = split_pg_lsn(key)?;
        let lsn = if ordinal.is_empty() { rows_lsn(Lsn(lsn)) } else { Lsn(lsn) };
        Some(Entry::row(lsn, key, &[]))
    });
    kept.into_iter().chain(gone).max_by(|a, b| a.key().cmp(b.key()))
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
        if entry.leaf() != RAW {
            return None;
        }
        let (committed_at, rest) = entry.value()?.split_first_chunk::<8>()?;
        let (change, base) = rest.split_first_chunk::<8>()?;
        let committed_at = i64::from_be_bytes(*committed_at);
        let moment = Moment { lsn: entry.lsn(), committed_at, change: u64::from_be_bytes(*change) };
        Some(Self { moment, base: base.to_vec() })
    }
}

impl Machine {
    /// A load begins at this position: what was committed before is in its rows, and made nothing.
    pub(super) fn begin_events(&mut self, from: Lsn) {
        for event in &mut self.events {
            if std::mem::take(&mut event.gap_at_load) {
                let name = &self.projections[event.projection].name;
                tracing::warn!(event = name, at = %from, "occurrences may be missing before here");
                let data = event.columns().len() - EVENT_COLUMNS.len();
                let gap = gap_entry(data, rows_lsn(from), self.progress.committed_at);
                self.engine.arrangement_mut(event.log.arrangement).append(&gap);
            }
        }
    }

    /// These tables have been loaded: from here on nothing is missing of what happens to them.
    pub(super) fn events_have_begun(&mut self, loaded: &[usize]) {
        let is_loaded = |event: &&mut EventLog| event.table.is_some_and(|of| loaded.contains(&of));
        for event in self.events.iter_mut().filter(is_loaded) {
            event.begins_with = self.checkpoints_taken + 1;
        }
    }

    pub(super) fn event_log(&self, projection: usize) -> Option<&EventLog> {
        self.events.iter().find(|log| log.projection == projection)
    }

    pub(super) fn event_columns(&self, projection: usize) -> &[Column] {
        self.event_log(projection).map_or(&[], EventLog::columns)
    }

    pub(super) fn has_events(&self, table: usize) -> bool {
        self.events.iter().any(|log| log.table == Some(table))
    }

    /// A row of the table has changed.
    pub(super) fn occurred(
        &mut self,
        table: usize,
        old: &Version,
        new: &Version,
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
                (Version::None, _) => unmatched.insert += 1,
                (_, Version::None) => unmatched.delete += 1,
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
                    let shown = serde_json::json!({
                        "prefix": prefix,
                        "content": format!("\\x{}", key_hex(content)),
                    });
                    self.refuse_occurrence(at, self.moment.lsn, &key, error, shown.to_string());
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
            // A load's backlog has come so far before a restart.
            let is_known =
                log.pending.back().is_some_and(|last| self.moment.place() <= last.moment.place())
                    || self.engine.arrangements()[log.log.arrangement]
                        .last_key()
                        .is_some_and(|last| log.maker.key(self.moment).as_slice() <= last);
            if !is_known {
                log.pending.push_back(Pending { moment: self.moment, base });
            }
            return Ok(true);
        }
        self.make(at, Pending { moment: self.moment, base })
    }

    fn make(&mut self, at: usize, pending: Pending) -> Result<bool, crate::value::ValueError> {
        let log = &self.events[at];
        let Pending { moment, base } = pending;
        match log.maker.make(&self.engine, base, moment)? {
            Made::Entry(entry) => {
                self.engine.arrangement_mut(log.log.arrangement).append(&entry);
                Ok(true)
            }
            Made::Nothing => Ok(false),
            Made::Failed { error, change } => {
                let key = log.maker.key(moment);
                self.refuse_occurrence(at, moment.lsn, &key, error, change);
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
            let rows_of = self.rows_of[log.log.arrangement];
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
    fn refuse_occurrence(
        &mut self,
        event: usize,
        lsn: Lsn,
        key: &[u8],
        error: String,
        change: String,
    ) {
        let payload = Payload::Change(change);
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
                sink.letters.refused(refused, Some(&payload), &mut self.batch.facts);
            }
        }
        let key = self.key_text(projection, key);
        let projection = self.projections[projection].name.clone();
        let notice = Notice::Refused { key: Vec::new(), error };
        self.tell(News { projection, key, lsn, notice });
    }

    /// What of the logs the store does not have yet.
    pub(super) fn store_logs(&mut self, batch: &mut Batch) {
        for event in &mut self.events {
            let arrangement = event.log.arrangement;
            let rows_of = self.rows_of[arrangement];
            event.log.store(&self.engine, rows_of, &mut self.stored[arrangement], batch);
            for pending in event.pending.range(event.stored_pending..) {
                event.log.stored_from.get_or_insert(pending.moment.lsn);
                batch.entries.push((rows_of, pending.entry(&event.maker)));
            }
            event.stored_pending = event.pending.len();
            if let Some(gone) =
                event.log.gone_to.clone().filter(|_| event.stored_gone != event.log.gone_to)
            {
                batch.fact(gone_fact(&self.projections[event.projection].name), gone);
                event.stored_gone = event.log.gone_to.clone();
            }
            if !event.lookups.is_empty() {
                let name = pending_fact(&self.projections[event.projection].name);
                match event.pending.front() {
                    Some(first) => batch.fact(name, event.maker.key(first.moment)),
                    None => batch.remove_fact(name),
                }
            }
        }
        for history in &mut self.histories {
            let arrangement = history.log.arrangement;
            let rows_of = self.rows_of[arrangement];
            history.log.store(&self.engine, rows_of, &mut self.stored[arrangement], batch);
        }
        self.raise_floors();
    }

    /// A sink that was put back to where versions are missing is filled anew: they are its rows, too.
    fn raise_floors(&mut self) {
        for history in &self.histories {
            let log = self.engine.arrangement_mut(history.log.arrangement);
            log.raise_tombstone_floor(history.log.whole_from);
        }
    }

    /// Forgets what every lane has, `now` being seconds of any clock.
    pub(super) fn pass_logs(&mut self, now: u64) {
        let events = self.events.iter_mut().map(|of| (&mut of.log, !of.pending.is_empty()));
        let histories = self.histories.iter_mut().map(|of| (&mut of.log, false));
        for (log, more) in events.chain(histories) {
            let keys = log.pass(&self.engine, &mut self.sinks, now, more);
            let rows_of = self.rows_of[log.arrangement];
            self.batch.passed.extend(keys.map(|keys| (rows_of, keys)));
        }
        self.raise_floors();
    }

    /// The lane reads this piece of its log from the store. Where its sink has had more than it has now, and some of that
    /// is no longer kept, it is told so, in the place of what is missing.
    pub(super) fn tell_gap(
        &self,
        sink: usize,
        lane: usize,
        entries: &mut Vec<Entry>,
        is_last: bool,
    ) {
        let Sink { feed, projections, .. } = &self.sinks[sink];
        let projection = projections[lane];
        let (Some(event), Some(wanted)) = (self.event_log(projection), feed.wanted_of(lane)) else {
            return;
        };
        let after = match &wanted.from {
            PageFrom::After(key) | PageFrom::At(key) => key,
        };
        let Some(to) = event.log.gone_between(after, &wanted.to) else { return };
        if !feed.has_gone_back(lane) {
            return;
        }
        let data = event.columns().len() - EVENT_COLUMNS.len();
        let gap = gap_entry(data, to, self.progress.committed_at);
        let at = entries.partition_point(|entry| entry.key() < gap.key());
        if at < entries.len() || is_last {
            let name = &self.projections[projection].name;
            tracing::warn!(
                event = name, %to,
                "a sink has lost occurrences that are no longer kept: it is told that some may be missing before here"
            );
            entries.insert(at, gap);
        }
    }
}

/// Where it is remembered from which key on occurrences of an event wait.
pub fn pending_fact(event: &str) -> String {
    format!("pending/{event}")
}

/// Where it is remembered up to which key occurrences of an event have gone.
pub fn gone_fact(event: &str) -> String {
    format!("gone/{event}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EventNumber, KindPart};
    use crate::lsn::Lsn;
    use crate::sql::event::{Of, Texts, compile};
    use crate::sql::query::Schema;

    fn maker(number: u32) -> EventMaker {
        let texts = Texts { when: Some("content <> ''"), data: "content, length(content) AS n" };
        let event = compile(Of::Message, texts, &Schema::default(), &[]).expect("sound");
        let kind = vec![KindPart::Text("said:".into()), KindPart::Column(1)];
        EventMaker::new(event, kind, EventNumber::new(number))
    }

    #[test]
    fn what_waits_comes_back_from_the_store_as_it_was() {
        let maker = maker(0);
        let moment = Moment { lsn: Lsn(7), committed_at: -5, change: 3 };
        let base = maker.of_message("p", b"text").expect("text");
        let waiting = Pending { moment, base };
        let entry = waiting.entry(&maker);
        assert_eq!((entry.leaf(), entry.key()), (RAW, maker.key(moment).as_slice()));
        let back = Pending::read(&entry).expect("it is one");
        assert_eq!((back.moment, back.base), (waiting.moment, waiting.base));
        assert!(Pending::read(&Entry::row_in(RAW, Lsn(7), b"k", b"short")).is_none());
        let made = Entry::row(Lsn(7), entry.key(), entry.value().expect("a row"));
        assert!(Pending::read(&made).is_none());
    }

    #[test]
    fn keys_grow_with_the_changes_and_differ_between_events() {
        let makers = [0, 1, (1 << 24) - 1].map(maker);
        let mut keys = Vec::new();
        for (lsn, change) in [(7, 1), (7, 2), (7, 300), (8, 1)] {
            let moment = Moment { lsn: Lsn(lsn), committed_at: 0, change };
            keys.extend(makers.iter().map(|maker| maker.key(moment)));
        }
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    }

    #[test]
    fn a_message_is_made_taken_or_refused() {
        let (maker, engine) = (maker(0), Engine::default());
        let moment = Moment { lsn: Lsn(7), committed_at: 0, change: 1 };
        let made = |content: &[u8]| {
            let base = maker.of_message("p", content).expect("text");
            (maker.is_taken(&base).expect("whole"), maker.make(&engine, base, moment))
        };
        assert!(matches!(made(b""), (Some(false), Ok(Made::Nothing))));
        let (Some(true), Ok(Made::Entry(entry))) = made(b"abc") else { panic!("an occurrence") };
        let key = crate::value::key_text(
            maker.columns().iter().map(|c| &c.ty),
            entry.value().expect("a row"),
        );
        assert_eq!(key, "0/7|1|said:3|2000-01-01 00:00:00+00|abc|3");
        assert!(maker.of_message("p", b"\xff").is_err());
    }
}
