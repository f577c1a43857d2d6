//! A load's rows in the order of their arrival, for sinks that take them before the load is over.
//!
//! Invariant: the first versions here, what arrived again, and the log of changes from `log_seq` on are
//! together all that has ever been current in the arrangement since the load began.

use std::collections::VecDeque;

use super::Entry;
use crate::lsn::Lsn;

pub struct Arrivals {
    /// Each key once, in the version that came first. One pointer a row: the rows are in the arrangement.
    rows: VecDeque<Entry>,
    /// The number of the first of `rows`.
    first: u64,
    /// Versions that the load put in the place of others: a row that moved between two chunks, a chunk
    /// that was read again.
    again: Vec<Entry>,
    since: Lsn,
    log_seq: u64,
    whole: bool,
}

impl Arrivals {
    /// `there` is what an earlier process has loaded.
    pub(super) fn new(since: Lsn, log_seq: u64, there: impl Iterator<Item = Entry>) -> Self {
        Self { rows: there.collect(), first: 0, again: Vec::new(), since, log_seq, whole: false }
    }

    pub(super) fn add(&mut self, entry: Entry, is_new: bool) {
        if is_new {
            self.rows.push_back(entry);
        } else {
            self.again.push(entry);
        }
    }

    pub(super) fn end_here(&mut self) {
        self.whole = true;
    }

    /// Forgets the rows before this number.
    pub(super) fn trim(&mut self, before: u64) {
        let gone = before.saturating_sub(self.first).min(self.rows.len() as u64);
        self.rows.drain(..gone as usize);
        self.first += gone;
        if self.rows.capacity() > 4096 && self.rows.len() < self.rows.capacity() / 4 {
            self.rows.shrink_to(self.rows.len() * 2);
        }
    }

    /// None of the rows is forgotten.
    pub fn has_all(&self) -> bool {
        self.first == 0
    }

    /// Rows from this number on, none of which is forgotten.
    pub fn rows_from(&self, next: u64) -> impl Iterator<Item = &Entry> {
        debug_assert!(next >= self.first);
        self.rows.range((next.saturating_sub(self.first) as usize).min(self.rows.len())..)
    }

    /// The number of the row that comes next.
    pub fn end(&self) -> u64 {
        self.first + self.rows.len() as u64
    }

    /// No more rows come, but single ones in the place of others.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// In the order in which they came.
    pub fn again(&self) -> &[Entry] {
        &self.again
    }

    /// Changes below it are in the rows.
    pub fn since(&self) -> Lsn {
        self.since
    }

    /// Where the log of changes went on when the load began.
    pub fn log_seq(&self) -> u64 {
        self.log_seq
    }
}
