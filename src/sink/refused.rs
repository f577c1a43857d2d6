//! What a sink itself remembers of the entries that it refuses.
//!
//! Where an entry is not sent again, or not by us, its refusal must not be known here alone when the watermark
//! moves past it (P5): an occurrence in a stream, which sent again would be there twice, every row of a
//! group, whose next leader has never heard the answer, and rows with a history, which sent again by a fill
//! would lack versions. There the refusal is written together with the
//! watermark, stays until the entry is accepted or its letter settled, and is read by who opens the sink.

use std::collections::{BTreeMap, BTreeSet};

use super::{Poison, Role};
use crate::engine::Entry;
use crate::lsn::Lsn;

/// An entry that a sink has refused, as it is written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub projection: usize,
    pub key: Vec<u8>,
    pub lsn: Lsn,
    pub error: String,
    /// Of an event: the occurrence, which nobody else may have any more.
    pub occurrence: Option<Vec<u8>>,
}

impl Refusal {
    pub(super) fn of(poison: &Poison, role: Role) -> Self {
        Self {
            projection: poison.projection,
            key: poison.entry.key().to_vec(),
            lsn: poison.entry.lsn(),
            error: poison.error.clone(),
            occurrence: occurrence(&poison.entry, role).map(<[u8]>::to_vec),
        }
    }
}

/// What a refusal keeps of an entry beside its key.
pub(super) fn occurrence(entry: &Entry, role: Role) -> Option<&[u8]> {
    entry.value().filter(|_| role == Role::Events)
}

/// What is known of one projection's refusals in the sink.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered {
    /// Those that are written there.
    written: BTreeSet<Vec<u8>>,
    /// Those of the generation that is being filled.
    filled: BTreeMap<Vec<u8>, Refusal>,
}

impl Remembered {
    /// The sink was opened and read.
    pub(super) fn read(&mut self, keys: impl IntoIterator<Item = Vec<u8>>) {
        self.written = keys.into_iter().collect();
    }

    pub(super) fn begin_fill(&mut self) {
        self.filled.clear();
    }

    /// What a call of a fill has brought.
    pub(super) fn filled(&mut self, entries: &[Entry], refused: impl Iterator<Item = Refusal>) {
        if !self.filled.is_empty() {
            entries.iter().for_each(|entry| drop(self.filled.remove(entry.key())));
        }
        self.filled.extend(refused.map(|refusal| (refusal.key.clone(), refusal)));
    }

    /// The refusals of the generation that a step makes current.
    pub(super) fn of_fill(&self) -> impl Iterator<Item = &Refusal> {
        self.filled.values()
    }

    pub(super) fn is_written(&self, key: &[u8]) -> bool {
        !self.written.is_empty() && self.written.contains(key)
    }

    /// Those that are no longer true with these entries, if none of them is refused.
    pub(super) fn settled_by<'a>(&'a self, entries: &'a [Entry]) -> impl Iterator<Item = &'a [u8]> {
        entries.iter().map(Entry::key).filter(|key| self.is_written(key))
    }

    /// Those of the generation before, when the one that is filled becomes current.
    pub(super) fn of_older(&self) -> impl Iterator<Item = &[u8]> {
        self.written.iter().filter(|key| !self.filled.contains_key(*key)).map(Vec::as_slice)
    }

    /// They are written.
    pub(super) fn wrote<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) {
        self.written.extend(keys.map(<[u8]>::to_vec));
    }

    /// They are written no longer.
    pub(super) fn removed<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) {
        for key in keys {
            self.written.remove(key);
        }
    }

    /// What was filled is what readers see; its refusals, and no others, are written.
    pub(super) fn become_current(&mut self) {
        self.written = std::mem::take(&mut self.filled).into_keys().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(key: &[u8]) -> Refusal {
        let (lsn, error) = (Lsn(1), "no".to_owned());
        Refusal { projection: 0, key: key.to_vec(), lsn, error, occurrence: None }
    }

    #[test]
    fn a_generation_that_becomes_current_brings_its_own_refusals() {
        let mut remembered = Remembered::default();
        remembered.read([b"a".to_vec(), b"b".to_vec()]);
        remembered.begin_fill();
        let rows = [b"a", b"c", b"d"].map(|key| Entry::row(Lsn(1), key, b"row"));
        remembered.filled(&rows, [refusal(b"a"), refusal(b"c")].into_iter());
        // A newer version is accepted before readers see any.
        remembered.filled(&[Entry::row(Lsn(2), b"c", b"row")], std::iter::empty());
        assert_eq!(remembered.of_fill().map(|of| of.key.as_slice()).collect::<Vec<_>>(), [b"a"]);
        assert_eq!(remembered.of_older().collect::<Vec<_>>(), [b"b"]);
        let entries = [Entry::row(Lsn(3), b"b", b"row"), Entry::tombstone(Lsn(3), b"d")];
        assert_eq!(remembered.settled_by(&entries).collect::<Vec<_>>(), [b"b"]);
        remembered.removed([&b"b"[..]].into_iter());
        remembered.wrote([&b"d"[..]].into_iter());
        assert!(remembered.is_written(b"d") && !remembered.is_written(b"b"));
        remembered.become_current();
        assert!(remembered.is_written(b"a") && !remembered.is_written(b"d"));
    }
}
