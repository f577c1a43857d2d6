//! The machine's part in durability: what goes to the store, and what may be forgotten.

use super::machine::Machine;
use crate::engine::{Arrangement, Batch};
use crate::lsn::Lsn;
use crate::output::Progress;
use crate::pgoutput::Position;

/// Bytes of the newest occurrences that are kept for those who look on.
const TAIL_BYTES_MAX: usize = 4 << 20;

/// Deletions of so long are kept for readers who have lost their connection, by the source's clock.
const READERS_MICROS: i64 = 300_000_000;
/// Between two positions that are remembered for it.
const MARK_MICROS: i64 = 10_000_000;
/// So many of a load's rows wait for sinks that have not come yet.
const ARRIVALS_WAITING_MAX: u64 = 1 << 20;

/// What is to become durable, and the position that may be acknowledged then.
#[derive(Debug)]
pub struct Checkpoint {
    pub batch: Batch,
    pub position: Position,
    pub committed_at: i64,
    /// The greatest transaction that the stream has brought; 0: none.
    pub xid: u32,
}

/// Where it is remembered up to which position a lane's outcomes are known, letters included.
pub fn told_fact(lane: &str) -> String {
    format!("told/{lane}")
}

impl Machine {
    /// Changes that the store does not have yet; the caller bounds them.
    pub fn unstored(&self) -> usize {
        let logs = self.engine.arrangements().iter().zip(&self.stored);
        let changes: u64 = logs.map(|(arrangement, seq)| arrangement.next_seq() - seq).sum();
        changes as usize + self.batch.entries.len()
    }

    /// Bytes of these changes, versions included that others have taken the place of.
    pub fn unstored_bytes(&self) -> u64 {
        self.logged_bytes() - self.stored_bytes
    }

    fn logged_bytes(&self) -> u64 {
        self.engine.arrangements().iter().map(Arrangement::logged_bytes).sum()
    }

    /// Chunks of a load that the store does not have yet.
    pub fn unstored_chunks(&self) -> usize {
        self.batch.chunks.len()
    }

    /// Whether there is anything but a position to store.
    pub fn has_unstored(&self) -> bool {
        self.unstored() > 0 || self.backlog_bytes() > 0 || !self.batch.is_empty()
    }

    /// Bytes of the backlog that are not in the store yet.
    pub fn backlog_bytes(&self) -> usize {
        self.load.as_ref().map_or(0, |load| load.pending.len())
    }

    pub fn position(&self) -> Position {
        self.position
    }

    /// Everything since the last checkpoint, with the position that it brings the store to.
    pub fn checkpoint(&mut self) -> Checkpoint {
        self.checkpoints_taken += 1;
        let mut batch = std::mem::take(&mut self.batch);
        self.store_logs(&mut batch);
        for (id, arrangement) in self.engine.arrangements().iter().enumerate() {
            if !arrangement.is_log() {
                let changes = arrangement.changes_from(self.stored[id]);
                let changes = changes.expect("the log is never cut before the store has it");
                let current = changes.filter(|entry| entry.superseded_at() == Lsn::MAX);
                batch.entries.extend(current.map(|entry| (self.rows_of[id], entry.clone())));
                self.stored[id] = arrangement.next_seq();
            }
            if arrangement.tombstone_floor() > self.floors[id] {
                self.floors[id] = arrangement.tombstone_floor();
                let name = format!("floor/{}", self.rows_of[id]);
                batch.fact(name, self.floors[id].0.to_be_bytes().to_vec());
            }
        }
        self.stored_bytes = self.logged_bytes();
        for sink in &mut self.sinks {
            for (lane, stored) in sink.told_stored.iter_mut().enumerate() {
                let told = sink.feed.told(lane);
                if *stored != told {
                    *stored = told;
                    let name = told_fact(sink.letters.lane_name(lane));
                    batch.fact(name, told.0.to_be_bytes().to_vec());
                }
            }
        }
        // A chunk's row that has changed since must not cover its newer version.
        batch.entries.retain(|(_, entry)| entry.superseded_at() == Lsn::MAX);
        for rows in batch.chunks.iter_mut().flat_map(|chunk| &mut chunk.rows) {
            rows.retain(|entry| entry.superseded_at() == Lsn::MAX);
        }
        if let Some(load) = &mut self.load
            && !load.pending.is_empty()
        {
            batch.backlog = Some((load.backlog_end, std::mem::take(&mut load.pending)));
            load.backlog_end += 1;
        }
        let committed_at = self.progress.committed_at;
        Checkpoint { batch, position: self.position, committed_at, xid: self.xid_max }
    }

    /// A reader that stood here or further on finds all deletions since.
    fn kept_for_readers(&mut self) -> Lsn {
        let Progress { applied, committed_at } = self.progress;
        if self.marks.back().is_none_or(|(at, _)| committed_at - at >= MARK_MICROS) {
            self.marks.push_back((committed_at, applied));
        }
        while self.marks.get(1).is_some_and(|(at, _)| committed_at - at >= READERS_MICROS) {
            self.marks.pop_front();
        }
        self.marks.front().map_or(applied, |(_, lsn)| *lsn)
    }

    /// The last checkpoint is durable. Forgets changes that the store and all sinks have, and those that the
    /// slowest would have to have but that take too much memory; then tombstones likewise.
    ///
    /// `now` are seconds of any clock that goes on.
    pub fn stored(&mut self, now: u64) {
        self.checkpoints_stored = self.checkpoints_taken;
        self.pass_logs(now);
        let mut needed: Vec<u64> = self.stored.clone();
        for sink in &self.sinks {
            for (arrangement, seq) in sink.feed.reads_from(&self.engine) {
                needed[arrangement] = needed[arrangement].min(seq);
            }
        }
        for event in &self.events {
            let id = event.log.arrangement;
            let newest = TAIL_BYTES_MAX / self.events.len();
            needed[id] = needed[id].min(self.engine.arrangements()[id].seq_of_newest(newest));
        }
        for history in &self.histories {
            let rows = self.projections[history.projection].arrangement;
            needed[rows] = needed[rows].min(history.seen);
        }
        for (id, &seq) in needed.iter().enumerate() {
            self.engine.arrangement_mut(id).trim(seq);
        }
        let recent: usize = self.engine.arrangements().iter().map(|a| a.recent_bytes()).sum();
        if recent > self.recent_bytes_max {
            for (id, &seq) in self.stored.iter().enumerate() {
                self.engine.arrangement_mut(id).trim(seq);
            }
        }
        self.forget_arrivals();
        self.forget_tombstones();
    }

    /// `state.tombstones` is one bound for all.
    fn forget_tombstones(&mut self) {
        let arrangements = self.engine.arrangements()[..self.rows_of.len()].iter();
        let bytes = arrangements.map(|of| of.tombstone_bytes()).collect();
        let bytes_max = level(bytes, self.tombstone_bytes_max);
        let kept = self.kept_for_readers();
        for id in 0..self.rows_of.len() {
            let passed = self.sinks.iter().filter_map(|sink| sink.feed.passed(id)).min();
            let mut passed = passed.unwrap_or(Lsn::MAX);
            if self.projections.iter().any(|of| of.output.is_some() && of.arrangement == id) {
                passed = passed.min(kept);
            }
            let needed = self.sinks.iter().filter_map(|sink| {
                sink.feed.needs(id, |lane| self.is_followed(sink.projections[lane]))
            });
            let mut needed = needed.min().unwrap_or(Lsn::MAX);
            if self.histories.iter().any(|of| self.projections[of.projection].arrangement == id) {
                // At the end of the transaction under way its deletions are versions.
                needed = needed.min(self.progress.applied);
                passed = passed.min(self.progress.applied);
            }
            let arrangement = self.engine.arrangement_mut(id);
            let gone = arrangement.drop_tombstones(passed, needed, bytes_max);
            let rows_of = self.rows_of[id];
            self.batch.forgotten.extend(gone.into_iter().map(|entry| (rows_of, entry)));
        }
    }

    /// A load's rows are kept in their order for the slowest of the sinks that take them as they come.
    fn forget_arrivals(&mut self) {
        let loads = self.load.is_some();
        for id in 0..self.rows_of.len() {
            let Some(arrivals) = self.engine.arrangements()[id].arrivals() else { continue };
            let waits = loads && arrivals.has_all() && arrivals.end() <= ARRIVALS_WAITING_MAX;
            let next = self.sinks.iter().filter_map(|sink| sink.feed.takes_from(id, waits)).min();
            self.engine.arrangement_mut(id).trim_arrivals(next);
        }
    }
}

/// What each may have, that all together have no more than `max`: who has less is not cut for those who have more.
fn level(mut bytes: Vec<usize>, max: usize) -> usize {
    bytes.sort_unstable();
    let mut left = max;
    for (at, &own) in bytes.iter().enumerate() {
        let share = left / (bytes.len() - at);
        if own > share {
            return share;
        }
        left -= own;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::level;

    #[test]
    fn the_greatest_are_cut_to_one_level() {
        assert_eq!(level(vec![], 10), usize::MAX);
        assert_eq!(level(vec![5, 5], 10), usize::MAX);
        assert_eq!(level(vec![900, 2, 20], 10), 4);
        assert_eq!(level(vec![9, 1, 1], 10), 8);
        assert_eq!(level(vec![3], 0), 0);
    }
}
