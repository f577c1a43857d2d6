//! Dead letters: rows that a sink refuses for good. A letter goes when its row is accepted in a newer
//! version, or deleted.

use std::collections::BTreeMap;

use crate::engine::Entry;
use crate::lsn::Lsn;

/// A row that a sink refuses, in its words.
#[derive(Debug, Clone)]
pub struct Refused {
    pub lane: usize,
    pub entry: Entry,
    pub error: String,
}

/// The letters of one sink.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// By lane: `sink/projection`.
    names: Vec<String>,
    /// With the LSN of the row's version.
    by_key: BTreeMap<(usize, Vec<u8>), Lsn>,
    counts: Vec<usize>,
}

type Facts = Vec<(String, Option<Vec<u8>>)>;

impl Letters {
    pub(super) fn new(
        names: Vec<String>,
        known: impl IntoIterator<Item = (usize, Vec<u8>, Lsn)>,
    ) -> Self {
        let mut this = Self { counts: vec![0; names.len()], names, by_key: BTreeMap::new() };
        for (lane, key, lsn) in known {
            this.counts[lane] += 1;
            this.by_key.insert((lane, key), lsn);
        }
        this
    }

    pub(super) fn lane_name(&self, lane: usize) -> &str {
        &self.names[lane]
    }

    pub(super) fn count(&self, lane: usize) -> usize {
        self.counts[lane]
    }

    /// These rows have newer versions in the sink, or are deleted there.
    pub(super) fn accepted(&mut self, lane: usize, entries: &[Entry], facts: &mut Facts) {
        if self.counts[lane] == 0 {
            return;
        }
        for entry in entries {
            if self.by_key.remove(&(lane, entry.key().to_vec())).is_some() {
                self.counts[lane] -= 1;
                facts.push((self.fact(lane, entry.key()), None));
            }
        }
    }

    /// The lane is filled anew.
    pub(super) fn clear(&mut self, lane: usize, facts: &mut Facts) {
        let gone: Vec<Vec<u8>> = self.of_lane(lane).map(|(key, _)| key.to_vec()).collect();
        for key in gone {
            facts.push((self.fact(lane, &key), None));
            self.by_key.remove(&(lane, key));
        }
        self.counts[lane] = 0;
    }

    /// Letters of rows that are no longer there go, also where it is forgotten when they were deleted.
    pub(super) fn retain(&mut self, is_there: impl Fn(usize, &[u8]) -> bool, facts: &mut Facts) {
        let gone = self.by_key.keys().filter(|(lane, key)| !is_there(*lane, key)).cloned();
        let gone: Vec<(usize, Vec<u8>)> = gone.collect();
        for (lane, key) in gone {
            facts.push((self.fact(lane, &key), None));
            self.counts[lane] -= 1;
            self.by_key.remove(&(lane, key));
        }
    }

    pub(super) fn refused(&mut self, refused: Refused, facts: &mut Facts) {
        let Refused { lane, entry, error } = refused;
        let mut letter = entry.lsn().0.to_be_bytes().to_vec();
        letter.extend_from_slice(error.as_bytes());
        facts.push((self.fact(lane, entry.key()), Some(letter)));
        if self.by_key.insert((lane, entry.key().to_vec()), entry.lsn()).is_none() {
            self.counts[lane] += 1;
        }
    }

    /// Somebody has settled it by hand. Whether there was one.
    pub(super) fn remove(&mut self, lane: usize, key: &[u8], facts: &mut Facts) -> bool {
        let found = self.by_key.remove(&(lane, key.to_vec())).is_some();
        if found {
            self.counts[lane] -= 1;
            facts.push((self.fact(lane, key), None));
        }
        found
    }

    pub(super) fn holds(&self, lane: usize, key: &[u8]) -> bool {
        self.by_key.contains_key(&(lane, key.to_vec()))
    }

    /// The LSN of the oldest row that is refused.
    pub(super) fn oldest(&self, lane: usize) -> Option<Lsn> {
        self.of_lane(lane).map(|(_, lsn)| lsn).min()
    }

    fn of_lane(&self, lane: usize) -> impl Iterator<Item = (&[u8], Lsn)> {
        let from = self.by_key.range((lane, Vec::new())..);
        from.take_while(move |((of, _), _)| *of == lane)
            .map(|((_, key), lsn)| (key.as_slice(), *lsn))
    }

    fn fact(&self, lane: usize, key: &[u8]) -> String {
        format!("dead/{}/{}", self.names[lane], key_hex(key))
    }
}

/// How a letter's fact names its row's key, after the lane's name.
pub fn key_hex(key: &[u8]) -> String {
    key.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The key again.
pub fn letter_key(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_stays_until_its_row_is_accepted() {
        let mut letters = Letters::new(vec!["s/p".into()], []);
        let mut facts = Facts::new();
        let entry = Entry::row(Lsn(5), b"\x01k", b"row");
        letters.refused(Refused { lane: 0, entry: entry.clone(), error: "no".into() }, &mut facts);
        letters.refused(Refused { lane: 0, entry: entry.clone(), error: "no".into() }, &mut facts);
        assert_eq!(letters.count(0), 1);
        assert_eq!(facts[0].0, "dead/s/p/016b");
        letters.accepted(0, &[Entry::tombstone(Lsn(6), b"other")], &mut facts);
        assert_eq!(letters.count(0), 1);
        letters.accepted(0, &[Entry::tombstone(Lsn(6), b"\x01k")], &mut facts);
        assert_eq!(letters.count(0), 0);
        assert_eq!(facts.last(), Some(&("dead/s/p/016b".into(), None)));
        letters.refused(Refused { lane: 0, entry, error: "no".into() }, &mut facts);
        letters.retain(|lane, key| (lane, key) == (0, b"\x01k"), &mut facts);
        assert_eq!(letters.count(0), 1);
        letters.retain(|_, _| false, &mut facts);
        assert_eq!(letters.count(0), 0);
        assert_eq!(facts.last(), Some(&("dead/s/p/016b".into(), None)));
        assert_eq!(letter_key("016b"), Some(b"\x01k".to_vec()));
    }
}
