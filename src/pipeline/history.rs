//! The machine's part in histories: every committed version of a projection's rows goes into a log.
//!
//! At each commit the rows that it changed are found in the log of the projection's own changes: those that are
//! current then, so that a row which was changed several times has one version. Where that log lacks some (a
//! restart inside the transaction, or one that was too large for it), they are found by their position among
//! all rows.

use super::log::KeptLog;
use super::machine::Machine;
use crate::engine::{Arrangement, Engine, Entry, RowsOf, pack_version};
use crate::lsn::Lsn;

pub struct HistoryInit {
    /// Position in `MachineInit::projections`.
    pub projection: usize,
    pub rows_of: RowsOf,
    /// The newest entry in the store.
    pub last: Option<Entry>,
    /// The oldest one's commit.
    pub stored_from: Option<Lsn>,
    /// From here on it has every version.
    pub floor: Lsn,
}

pub(super) struct History {
    pub(super) projection: usize,
    pub(super) log: KeptLog,
    /// The first change of the projection that was not looked at.
    pub(super) seen: u64,
    /// The checkpoint that makes its beginning durable.
    begins_with: u64,
    /// A transaction whose first changes were made before the machine was.
    begun_before: Option<Lsn>,
}

impl History {
    pub(super) fn new(init: &HistoryInit, engine: &mut Engine, inside: Option<Lsn>) -> Self {
        let arrangement = engine.add_log(init.last.as_ref());
        engine.arrangement_mut(arrangement).raise_tombstone_floor(init.floor);
        Self {
            projection: init.projection,
            log: KeptLog::new(arrangement, init.stored_from, None),
            seen: 0,
            begins_with: 0,
            begun_before: inside,
        }
    }
}

impl Machine {
    /// What the transaction has changed is a version each.
    pub(super) fn remember_versions(&mut self, lsn: Lsn, committed_at: i64) {
        // Clocks may go back; versions follow one another all the same.
        self.versions_at = self.versions_at.max(committed_at);
        for history in &mut self.histories {
            let of = &self.projections[history.projection];
            let is_whole = history.begun_before.take() != Some(lsn);
            let rows = &self.engine.arrangements()[of.arrangement];
            let seen = std::mem::replace(&mut history.seen, rows.next_seq());
            let mut versions = match is_whole {
                true => changed_since(rows, seen, self.versions_at),
                false => None,
            }
            .unwrap_or_else(|| of_commit(rows, lsn, self.versions_at));
            // A log is in the order of its keys, from which the store is read.
            versions.sort_by(|a, b| a.key().cmp(b.key()));
            let log = self.engine.arrangement_mut(history.log.arrangement);
            versions.iter().for_each(|version| log.append(version));
        }
    }

    /// A crash would begin the projection's history, or the event, again, later: no sink may have more of it.
    pub(super) fn may_begin_anew(&self, projection: usize) -> bool {
        let histories = self.histories.iter().map(|of| (of.projection, of.begins_with));
        let events = self.events.iter().map(|of| (of.projection, of.begins_with));
        let mut own = histories.chain(events).filter(|(of, _)| *of == projection);
        own.any(|(_, begins_with)| begins_with > self.checkpoints_stored)
    }

    /// These tables have been loaded: what happened before is in no log.
    pub(super) fn begin_histories(&mut self, loaded: &[usize]) {
        for history in &mut self.histories {
            let of = &self.projections[history.projection];
            if of.tables.iter().any(|table| loaded.contains(table)) {
                history.seen = self.engine.arrangements()[of.arrangement].next_seq();
                history.begins_with = self.checkpoints_taken + 1;
                // Of the transaction under way a part is in the rows already.
                history.begun_before = self.position.inside.map(|inside| inside.commit_lsn);
                let floor = self.progress.applied;
                self.engine.arrangement_mut(history.log.arrangement).raise_tombstone_floor(floor);
            }
        }
    }
}

/// What is current of the changes from this one on; `None` where some of them have left memory.
fn changed_since(rows: &Arrangement, seq: u64, at: i64) -> Option<Vec<Entry>> {
    let current = |entry: &&Entry| entry.superseded_at() == Lsn::MAX;
    let changes = rows.changes_from(seq)?.filter(current);
    Some(changes.map(|entry| pack_version(entry, at)).collect())
}

/// All that a commit has left.
fn of_commit(rows: &Arrangement, lsn: Lsn, at: i64) -> Vec<Entry> {
    let changed = rows.scan_after(None).filter(|entry| entry.lsn() == lsn);
    changed.map(|entry| pack_version(entry, at)).collect()
}
