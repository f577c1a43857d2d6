//! An arrangement: an ordered map from key bytes to the current version of a row, and beside it the
//! log of what changed lately, in commit order.
//!
//! Invariants:
//! * The map holds at most one entry per key; a tombstone stands for a deleted row until every
//!   consumer is known to be past it.
//! * `recent` is in the order of the changes, so its LSNs never fall. An entry in it is current
//!   exactly when `superseded_at` is `Lsn::MAX`, and was current at position `P` exactly when
//!   `lsn < P <= superseded_at`. So a reader of the log sees the state of any position that it still
//!   covers, and writes each key at most once.
//! * A row that a load brings is not in `recent`: whoever needs it scans, or takes it as it arrives.
//! * A *log* (of events) has no map: each entry has a key of its own, in the order in which they come. What
//!   has left `recent` is in the store alone.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;

use super::{Arrivals, Entry};
use crate::lsn::Lsn;

#[derive(Default)]
pub struct Arrangement {
    map: BTreeSet<Slot>,
    live: usize,
    bytes: usize,
    recent: VecDeque<Entry>,
    /// Sequence number of `recent`'s first entry; sequence numbers never repeat in one process.
    recent_first: u64,
    recent_bytes: usize,
    /// Bytes of all changes that were ever in `recent`.
    logged_bytes: u64,
    /// What left `recent` or was never in it has an LSN below this.
    recent_floor: Lsn,
    /// The newest change's commit, an open transaction's included.
    last: Lsn,
    /// Tombstones in commit order, superseded ones included until they reach the front.
    tombstones: VecDeque<Entry>,
    tombstone_bytes: usize,
    /// Deletions below it may be unknown: a reader that stands below must be filled anew.
    tombstone_floor: Lsn,
    /// Deletions of rows that were here, below it, may be forgotten.
    forgotten_floor: Lsn,
    /// While a load goes on and somebody takes its rows as they come.
    arrivals: Option<Arrivals>,
    is_log: bool,
    /// Of a log: the key of the last entry that is in the store alone.
    stored_to: Option<Vec<u8>>,
}

/// What was asked for is no longer known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten;

impl Arrangement {
    /// Rebuilt from the store: `entries` in key order; none of their changes is in `recent`, nor are
    /// those of a transaction that was under way, which lie beyond `position`.
    pub fn restore(
        entries: impl Iterator<Item = Entry>,
        position: Lsn,
        tombstone_floor: Lsn,
    ) -> Self {
        let mut this = Self {
            recent_floor: position,
            tombstone_floor,
            forgotten_floor: tombstone_floor,
            ..Self::default()
        };
        let mut newest = Lsn::ZERO;
        // Collecting a sorted iterator builds the tree bottom-up, with full nodes.
        this.map = entries
            .inspect(|entry| {
                newest = newest.max(entry.lsn());
                this.bytes += entry.bytes();
                this.last = this.last.max(entry.lsn());
                this.recent_floor = this.recent_floor.max(Lsn(entry.lsn().0 + 1));
                if entry.is_tombstone() {
                    this.tombstone_bytes += entry.bytes();
                    this.tombstones.push_back(entry.clone());
                } else {
                    this.live += 1;
                }
            })
            .map(Slot::new)
            .collect();
        this.tombstones.make_contiguous().sort_by_key(Entry::lsn);
        // Rows of a transaction that was not whole at `position` are not in `recent` either.
        this.last = newest;
        if newest >= position {
            this.recent_floor = Lsn(newest.0 + 1);
        }
        this
    }

    /// A log, of which the store has entries up to this one.
    pub fn log_after(last: Option<&Entry>) -> Self {
        let Some(entry) = last else { return Self { is_log: true, ..Self::default() } };
        Self {
            is_log: true,
            recent_floor: Lsn(entry.lsn().0 + 1),
            stored_to: Some(entry.key().to_vec()),
            last: entry.lsn(),
            ..Self::default()
        }
    }

    pub fn is_log(&self) -> bool {
        self.is_log
    }

    /// Of a log: the last entry that is in the store alone, if there ever was one.
    pub fn stored_to(&self) -> Option<&[u8]> {
        self.stored_to.as_deref()
    }

    /// Of a log: the newest entry's key.
    pub fn last_key(&self) -> Option<&[u8]> {
        self.recent.back().map(Entry::key).or(self.stored_to())
    }

    /// From which sequence number on the newest changes are that take so many bytes.
    pub fn seq_of_newest(&self, bytes_max: usize) -> u64 {
        let mut bytes = 0;
        let newest = self.recent.iter().rev().take_while(|entry| {
            bytes += entry.bytes();
            bytes <= bytes_max
        });
        self.next_seq() - newest.count() as u64
    }

    /// The first position of which the log of changes is known to lack nothing.
    pub fn recent_floor(&self) -> Lsn {
        self.recent_floor
    }

    /// The sequence number of the oldest change that the log still has.
    pub fn first_seq(&self) -> u64 {
        self.recent_first
    }

    /// Adds an entry to a log, behind all others. One that is there already is left as it is: what a load's
    /// backlog has made before a restart it makes again.
    pub fn append(&mut self, entry: &Entry) {
        debug_assert!(self.is_log);
        let last = self.last_key();
        if last.is_none_or(|last| last < entry.key()) {
            self.log(entry);
        }
    }

    /// The current row under `key`.
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.version(key).filter(|entry| !entry.is_tombstone())
    }

    /// What is known under `key`: a row, or that it was deleted.
    pub fn version(&self, key: &[u8]) -> Option<&Entry> {
        let probe = Probe { prefix: prefix(key), key };
        self.map.get(&probe as &dyn Keyed).map(|slot| &slot.entry)
    }

    /// The row under `key` as of `position`, without what is not committed yet. `Err`: the version that
    /// was current there has left the log.
    pub fn row_at(&self, key: &[u8], position: Lsn) -> Result<Option<Entry>, Forgotten> {
        let Some(now) = self.version(key) else { return Ok(None) };
        let row = |entry: &Entry| (!entry.is_tombstone()).then(|| entry.clone());
        if now.lsn() < position {
            return Ok(row(now));
        }
        let mut older = self.recent.iter().rev().filter(|entry| entry.key() == key);
        match older.find(|entry| entry.lsn() < position) {
            Some(entry) => Ok(row(entry)),
            None if position >= self.recent_floor => Ok(None),
            None => Err(Forgotten),
        }
    }

    /// Puts a new version in the place of the one under its key, which is returned when it was a row.
    pub fn put(&mut self, entry: Entry) -> Option<Entry> {
        debug_assert!(!entry.is_tombstone());
        self.log(&entry);
        let known = self.replace(entry);
        if known.is_none()
            && let Some(entry) = self.recent.back()
        {
            entry.set_first();
        }
        let old = known.filter(|old| !old.is_tombstone());
        self.live += usize::from(old.is_none());
        old
    }

    /// Puts a row that a load read; nobody is told of it.
    pub fn load(&mut self, entry: Entry) {
        self.recent_floor = self.recent_floor.max(Lsn(entry.lsn().0 + 1));
        let arrival = self.arrivals.is_some().then(|| entry.clone());
        let is_new = self.replace(entry).is_none_or(|old| old.is_tombstone());
        self.live += usize::from(is_new);
        if let (Some(arrivals), Some(entry)) = (&mut self.arrivals, arrival) {
            arrivals.add(entry, is_new);
        }
    }

    /// From now on rows come by `load`; changes since then will have LSNs from `since` on.
    pub fn expect_load(&mut self, since: Lsn) {
        let there = self.map.iter().map(|slot| &slot.entry).filter(|entry| !entry.is_tombstone());
        self.arrivals = Some(Arrivals::new(since, self.next_seq(), there.cloned()));
    }

    /// The rows that a load has brought so far, unless nobody has wanted them for a while.
    pub fn arrivals(&self) -> Option<&Arrivals> {
        self.arrivals.as_ref()
    }

    /// A load has brought all rows.
    pub fn load_is_whole(&mut self) {
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.end_here();
        }
    }

    /// Forgets the load's rows before this number; with `None` that there was a load.
    pub fn trim_arrivals(&mut self, before: Option<u64>) {
        match (before, &mut self.arrivals) {
            (Some(before), Some(arrivals)) => arrivals.trim(before),
            _ => self.arrivals = None,
        }
    }

    /// Deletes the row under `key` and returns it; without one nothing happens.
    pub fn delete(&mut self, lsn: Lsn, key: &[u8]) -> Option<Entry> {
        self.get(key)?;
        let tombstone = Entry::tombstone(lsn, key);
        self.log(&tombstone);
        self.tombstone_bytes += tombstone.bytes();
        self.tombstones.push_back(tombstone.clone());
        self.live -= 1;
        self.replace(tombstone)
    }

    fn log(&mut self, entry: &Entry) {
        debug_assert!(self.recent.back().is_none_or(|last| last.lsn() <= entry.lsn()));
        self.last = entry.lsn();
        self.recent_bytes += entry.bytes();
        self.logged_bytes += entry.bytes() as u64;
        self.recent.push_back(entry.clone());
    }

    /// The commit of the newest change, which may belong to a transaction that is not whole yet.
    pub fn last_change(&self) -> Lsn {
        self.last
    }

    /// Returns the version that was under its key, which may be a tombstone.
    fn replace(&mut self, entry: Entry) -> Option<Entry> {
        let lsn = entry.lsn();
        self.bytes += entry.bytes();
        let old = self.map.replace(Slot::new(entry))?.entry;
        self.bytes -= old.bytes();
        old.supersede(lsn);
        Some(old)
    }

    /// Rows, not counting tombstones.
    pub fn len(&self) -> usize {
        self.live
    }

    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Bytes of the entries in the map, and of those that only `recent` still holds at most.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries of the map in key order, tombstones included, after `key` or from the start.
    pub fn scan_after(&self, key: Option<&[u8]>) -> impl Iterator<Item = &Entry> {
        let probe = key.map(|key| Probe { prefix: prefix(key), key });
        let from = match &probe {
            Some(probe) => Bound::Excluded(probe as &dyn Keyed),
            None => Bound::Unbounded,
        };
        self.map.range::<dyn Keyed, _>((from, Bound::Unbounded)).map(|slot| &slot.entry)
    }

    /// The sequence number that the next change will get.
    pub fn next_seq(&self) -> u64 {
        self.recent_first + self.recent.len() as u64
    }

    /// The changes from sequence number `seq` on, or `None` when some of them have left the log.
    pub fn changes_from(&self, seq: u64) -> Option<impl Iterator<Item = &Entry>> {
        let skip = seq.checked_sub(self.recent_first)?;
        Some(self.recent.range((skip as usize).min(self.recent.len())..))
    }

    /// The sequence number of the first change at or after `lsn`, or `None` when the log may lack some.
    pub fn seq_at(&self, lsn: Lsn) -> Option<u64> {
        (lsn >= self.recent_floor).then(|| {
            self.recent_first + self.recent.partition_point(|entry| entry.lsn() < lsn) as u64
        })
    }

    /// Bytes of all changes that were ever logged: the difference of two looks is what came between.
    pub fn logged_bytes(&self) -> u64 {
        self.logged_bytes
    }

    /// Bytes that the log holds on to.
    pub fn recent_bytes(&self) -> usize {
        self.recent_bytes
    }

    /// Forgets the changes below sequence number `seq`.
    pub fn trim(&mut self, seq: u64) {
        let mut last = None;
        while self.recent_first < seq {
            let Some(entry) = self.recent.pop_front() else { break };
            self.recent_first += 1;
            self.recent_bytes -= entry.bytes();
            self.recent_floor = self.recent_floor.max(Lsn(entry.lsn().0 + 1));
            last = Some(entry);
        }
        if let (true, Some(last)) = (self.is_log, last) {
            self.stored_to = Some(last.key().to_vec());
        }
        if self.recent.capacity() > 4096 && self.recent.len() < self.recent.capacity() / 4 {
            self.recent.shrink_to(self.recent.len() * 2);
        }
    }

    pub fn tombstone_bytes(&self) -> usize {
        self.tombstone_bytes
    }

    /// A reader whose position lies below it may have missed deletions that are forgotten.
    pub fn tombstone_floor(&self) -> Lsn {
        self.tombstone_floor
    }

    /// A reader that has taken rows from here, and changes below a lower position than this, may have
    /// missed their deletions.
    pub fn forgotten_floor(&self) -> Lsn {
        self.forgotten_floor
    }

    /// Deletions below `floor` happened unseen: while the rows were being loaded.
    pub fn raise_tombstone_floor(&mut self, floor: Lsn) {
        self.tombstone_floor = self.tombstone_floor.max(floor);
    }

    /// Forgets deletions that the log no longer holds: all below `passed`, and of the others the oldest
    /// until they take at most `bytes_max`, but none from `needed` on. Returns the keys whose tombstones are gone, for the
    /// store to forget as well.
    pub fn drop_tombstones(&mut self, passed: Lsn, needed: Lsn, bytes_max: usize) -> Vec<Entry> {
        let mut dropped = Vec::new();
        while let Some(first) = self.tombstones.front() {
            let is_too_much = self.tombstone_bytes > bytes_max && first.lsn() < needed;
            if first.lsn() >= passed && !is_too_much {
                break;
            }
            // The log's reader must see it superseded when its key comes back, so it stays findable.
            if self.recent.front().is_some_and(|oldest| oldest.lsn() <= first.lsn()) {
                break;
            }
            let tombstone = self.tombstones.pop_front().expect("front() was there");
            self.tombstone_bytes -= tombstone.bytes();
            self.forgotten_floor = self.forgotten_floor.max(Lsn(tombstone.lsn().0 + 1));
            self.tombstone_floor = self.tombstone_floor.max(self.forgotten_floor);
            if tombstone.superseded_at() == Lsn::MAX {
                self.bytes -= tombstone.bytes();
                let probe = Probe { prefix: prefix(tombstone.key()), key: tombstone.key() };
                self.map.remove(&probe as &dyn Keyed);
                dropped.push(tombstone);
            }
        }
        dropped
    }
}

/// An entry in the map; the first eight bytes of its key lie in the tree's node itself, so that most
/// comparisons need not follow the pointer.
struct Slot {
    prefix: u64,
    entry: Entry,
}

impl Slot {
    fn new(entry: Entry) -> Self {
        Self { prefix: prefix(entry.key()), entry }
    }
}

/// The first eight bytes, zeros behind a shorter key: orders like the bytes wherever it differs.
fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut padded = [0; 8];
            padded[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(padded)
        }
    }
}

/// What a slot and a bare key have in common, so that one finds the other in the map.
trait Keyed {
    fn prefix(&self) -> u64;
    fn key(&self) -> &[u8];
}

struct Probe<'a> {
    prefix: u64,
    key: &'a [u8],
}

impl Keyed for Probe<'_> {
    fn prefix(&self) -> u64 {
        self.prefix
    }
    fn key(&self) -> &[u8] {
        self.key
    }
}

impl Keyed for Slot {
    fn prefix(&self) -> u64 {
        self.prefix
    }
    fn key(&self) -> &[u8] {
        self.entry.key()
    }
}

impl<'a> Borrow<dyn Keyed + 'a> for Slot {
    fn borrow(&self) -> &(dyn Keyed + 'a) {
        self
    }
}

impl Ord for dyn Keyed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.prefix().cmp(&other.prefix()).then_with(|| self.key().cmp(other.key()))
    }
}

impl PartialOrd for dyn Keyed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Keyed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for dyn Keyed + '_ {}

impl Ord for Slot {
    fn cmp(&self, other: &Self) -> Ordering {
        self.prefix.cmp(&other.prefix).then_with(|| self.entry.key().cmp(other.entry.key()))
    }
}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Slot {}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(lsn: u64, key: &str, value: &str) -> Entry {
        Entry::row(Lsn(lsn), key.as_bytes(), value.as_bytes())
    }

    fn keys(arrangement: &Arrangement) -> Vec<&[u8]> {
        arrangement.scan_after(None).map(Entry::key).collect()
    }

    #[test]
    fn keys_order_as_bytes_also_around_the_prefix() {
        let mut a = Arrangement::default();
        let mut all =
            ["", "a", "a\0", "a\0\0", "abcdefgh", "abcdefgh\0", "abcdefghi", "abcdefgi", "b"];
        for key in all.iter().rev() {
            a.put(row(1, key, "x"));
        }
        all.sort_unstable();
        assert_eq!(keys(&a), all.map(str::as_bytes));
        for key in all {
            assert_eq!(a.get(key.as_bytes()).map(Entry::key), Some(key.as_bytes()));
        }
        assert_eq!(a.get(b"abcdefgh\x01").map(Entry::key), None);
        let after: Vec<_> = a.scan_after(Some(b"abcdefgh")).map(Entry::key).collect();
        assert_eq!(after, [&b"abcdefgh\0"[..], b"abcdefghi", b"abcdefgi", b"b"]);
    }

    #[test]
    fn the_first_version_of_a_key_is_known_for_one() {
        let mut a = Arrangement::default();
        a.load(row(5, "loaded", "1"));
        a.put(row(10, "loaded", "2"));
        a.put(row(10, "new", "1"));
        a.put(row(20, "new", "2"));
        a.delete(Lsn(30), b"new");
        // Who has yet to learn of the deletion still has a row.
        a.put(row(40, "new", "3"));
        let first = |e: &Entry| e.is_first().then(|| (e.lsn(), e.key().to_vec()));
        let found: Vec<_> = a.changes_from(0).expect("all").filter_map(first).collect();
        assert_eq!(found, [(Lsn(10), b"new".to_vec())]);
        a.delete(Lsn(50), b"new");
        a.trim(a.next_seq());
        a.drop_tombstones(Lsn(60), Lsn::MAX, 0);
        a.put(row(60, "new", "4"));
        assert!(a.get(b"new").is_some_and(Entry::is_first));
    }

    #[test]
    fn the_log_shows_the_state_of_every_position_it_covers() {
        let mut a = Arrangement::default();
        a.put(row(10, "k", "1"));
        a.put(row(20, "k", "2"));
        a.delete(Lsn(30), b"k");
        a.put(row(40, "k", "3"));
        let current_at = |position: u64| -> Vec<Option<Vec<u8>>> {
            a.changes_from(0)
                .expect("nothing was trimmed")
                .filter(|e| e.lsn() < Lsn(position) && Lsn(position) <= e.superseded_at())
                .map(|e| e.value().map(<[u8]>::to_vec))
                .collect()
        };
        assert_eq!(current_at(10), []);
        assert_eq!(current_at(11), [Some(b"1".to_vec())]);
        assert_eq!(current_at(25), [Some(b"2".to_vec())]);
        assert_eq!(current_at(31), [None]);
        assert_eq!(current_at(99), [Some(b"3".to_vec())]);
        assert_eq!(a.seq_at(Lsn(20)), Some(1));
        assert_eq!(a.len(), 1);
    }

    #[test]
    fn deleting_what_is_not_there_leaves_no_trace() {
        let mut a = Arrangement::default();
        assert!(a.delete(Lsn(5), b"k").is_none());
        assert_eq!((a.next_seq(), a.tombstone_bytes(), keys(&a).len()), (0, 0, 0));
        a.put(row(6, "k", "1"));
        assert!(a.delete(Lsn(7), b"k").is_some());
        assert!(a.delete(Lsn(8), b"k").is_none());
        assert_eq!((a.next_seq(), a.len(), keys(&a).len()), (2, 0, 1));
    }

    #[test]
    fn trimming_moves_the_floor_and_refuses_older_readers() {
        let mut a = Arrangement::default();
        for lsn in [10, 20, 30] {
            a.put(row(lsn, "k", "v"));
        }
        a.trim(2);
        assert!(a.changes_from(1).is_none());
        assert_eq!(a.changes_from(2).map(Iterator::count), Some(1));
        assert_eq!(a.seq_at(Lsn(20)), None);
        assert_eq!(a.seq_at(Lsn(21)), Some(2));
    }

    #[test]
    fn tombstones_go_when_passed_or_over_budget_and_raise_the_floor() {
        let mut a = Arrangement::default();
        for key in ["a", "b", "c"] {
            a.put(row(1, key, "v"));
        }
        a.delete(Lsn(10), b"a");
        a.delete(Lsn(20), b"b");
        a.put(row(30, "b", "again"));
        a.delete(Lsn(40), b"c");
        assert!(a.drop_tombstones(Lsn(11), Lsn::MAX, 0).is_empty(), "the log still holds them");
        a.trim(a.next_seq());
        let dropped: Vec<_> = a
            .drop_tombstones(Lsn(11), Lsn::MAX, usize::MAX)
            .iter()
            .map(|e| e.key().to_vec())
            .collect();
        assert_eq!(dropped, [b"a"]);
        assert_eq!(a.tombstone_floor(), Lsn(11));
        // The second one was superseded, so only its place in the queue goes.
        assert!(a.drop_tombstones(Lsn::ZERO, Lsn(40), 0).is_empty(), "it is needed");
        assert_eq!(a.drop_tombstones(Lsn::ZERO, Lsn(41), 0).len(), 1);
        assert_eq!(a.tombstone_floor(), Lsn(41));
        assert_eq!((a.len(), keys(&a).len(), a.tombstone_bytes()), (1, 1, 0));
    }

    #[test]
    fn restored_entries_are_found_but_not_in_the_log() {
        let entries = [row(5, "a", "1"), Entry::tombstone(Lsn(7), b"b"), row(6, "c", "2")];
        let a = Arrangement::restore(entries.clone().into_iter(), Lsn(9), Lsn(3));
        assert_eq!((a.len(), a.seq_at(Lsn(8)), a.seq_at(Lsn(9))), (2, None, Some(0)));
        // The first changes of a transaction that was under way.
        let a = Arrangement::restore(entries.into_iter(), Lsn(6), Lsn(3));
        assert_eq!((a.seq_at(Lsn(7)), a.seq_at(Lsn(8))), (None, Some(0)));
        assert!(a.get(b"b").is_none());
        assert_eq!(a.tombstone_floor(), Lsn(3));
    }
}
