//! What tables' rows were before the changes that are being followed.

use std::ops::Range;

use super::Entry;

/// A row before and after: at least one of them.
pub(super) struct Changed {
    pub(super) old: Option<Entry>,
    pub(super) new: Option<Entry>,
}

impl Changed {
    pub(super) fn key(&self) -> &[u8] {
        self.new.as_ref().or(self.old.as_ref()).map_or(&[], Entry::key)
    }
}

/// A table's changed rows, each once, by key.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) rows: Vec<Changed>,
    /// They are followed now; others wait for their transaction's end.
    pub(super) followed: bool,
}

impl Changes {
    /// Of rows that came and went one after the other, what is left of it all.
    pub(super) fn new(mut pending: Vec<(Entry, i64)>, followed: bool) -> Self {
        pending.sort_by(|(a, _), (b, _)| a.key().cmp(b.key()));
        let rows = pending.chunk_by(|(a, _), (b, _)| a.key() == b.key()).filter_map(|same| {
            let old = same.first().filter(|(_, weight)| *weight < 0);
            let new = same.last().filter(|(_, weight)| *weight > 0);
            let entry = |change: &(Entry, i64)| change.0.clone();
            let changed = Changed { old: old.map(entry), new: new.map(entry) };
            (changed.old.is_some() || changed.new.is_some()).then_some(changed)
        });
        Self { rows: rows.collect(), followed }
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<&Changed> {
        let at = self.rows.binary_search_by(|changed| changed.key().cmp(key)).ok()?;
        Some(&self.rows[at])
    }

    /// Those whose keys begin with `key`.
    pub(super) fn under(&self, key: &[u8]) -> impl Iterator<Item = &Changed> {
        let start = self.rows.partition_point(|changed| changed.key() < key);
        self.rows[start..].iter().take_while(move |changed| changed.key().starts_with(key))
    }
}

/// What went, as an index of the table sees it: by its key.
#[derive(Default)]
pub(super) struct Gone {
    keys: Vec<u8>,
    rows: Vec<(Range<usize>, Entry)>,
}

impl Gone {
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.rows.clear();
    }

    pub(super) fn push(&mut self, key: &[u8], entry: &Entry) {
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        self.rows.push((start..self.keys.len(), entry.clone()));
    }

    pub(super) fn sort(&mut self) {
        let keys = &self.keys;
        self.rows.sort_by(|(a, _), (b, _)| keys[a.clone()].cmp(&keys[b.clone()]));
    }

    /// Rows under a key, or under one that begins with it.
    pub(super) fn under(&self, key: &[u8]) -> impl Iterator<Item = &Entry> {
        let of = |range: &Range<usize>| &self.keys[range.clone()];
        let start = self.rows.partition_point(|(at, _)| of(at) < key);
        let len = self.rows[start..].partition_point(|(at, _)| of(at).starts_with(key));
        self.rows[start..start + len].iter().map(|(_, entry)| entry)
    }
}
