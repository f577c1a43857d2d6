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
    /// Versions of rows that a halting projection is to go on without: a fill that begins again meets
    /// them again.
    waived: BTreeMap<(usize, Vec<u8>), Lsn>,
}

type Facts = Vec<(String, Option<Vec<u8>>)>;

/// What a letter of an event keeps, since nothing else will have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The occurrence's row in the log.
    Row(Vec<u8>),
    /// As JSON, the change of which no row can be made.
    Change(String),
}

impl Payload {
    pub fn to_fact(&self) -> Vec<u8> {
        match self {
            Payload::Row(row) => [&b"r"[..], row].concat(),
            Payload::Change(json) => [b"c", json.as_bytes()].concat(),
        }
    }

    pub fn of_fact(fact: &[u8]) -> Option<Self> {
        match fact.split_first()? {
            (b'r', row) => Some(Payload::Row(row.to_vec())),
            (b'c', json) => Some(Payload::Change(String::from_utf8(json.to_vec()).ok()?)),
            _ => None,
        }
    }
}

/// Where the payload of a letter of this lane (`sink/projection`) is remembered.
pub fn payload_fact(lane: &str, key: &[u8]) -> String {
    format!("payload/{lane}/{}", key_hex(key))
}

impl Letters {
    pub(super) fn new(
        names: Vec<String>,
        known: impl IntoIterator<Item = (usize, Vec<u8>, Lsn)>,
        waived: impl IntoIterator<Item = (usize, Vec<u8>, Lsn)>,
    ) -> Self {
        let waived = waived.into_iter().map(|(lane, key, lsn)| ((lane, key), lsn)).collect();
        let counts = vec![0; names.len()];
        let mut this = Self { counts, names, by_key: BTreeMap::new(), waived };
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
        if !self.waived.is_empty() {
            for entry in entries {
                let of = (lane, entry.key().to_vec());
                if self.waived.get(&of).is_some_and(|version| *version < entry.lsn()) {
                    self.waived.remove(&of);
                    facts.push((self.waived_fact(lane, entry.key()), None));
                }
            }
        }
        if self.counts[lane] == 0 {
            return;
        }
        for entry in entries {
            if self.by_key.remove(&(lane, entry.key().to_vec())).is_some() {
                self.counts[lane] -= 1;
                self.forget(lane, entry.key(), facts);
            }
        }
    }

    /// The lane is filled anew.
    pub(super) fn clear(&mut self, lane: usize, facts: &mut Facts) {
        let gone: Vec<Vec<u8>> = self.of_lane(lane).map(|(key, _)| key.to_vec()).collect();
        for key in gone {
            self.forget(lane, &key, facts);
            self.by_key.remove(&(lane, key));
        }
        self.counts[lane] = 0;
    }

    /// Letters of rows that are no longer there go, also where it is forgotten when they were deleted.
    pub(super) fn retain(
        &mut self,
        is_there: impl Fn(usize, &[u8], Lsn) -> bool,
        facts: &mut Facts,
    ) {
        let letters = self.by_key.iter();
        let gone = letters.filter(|((lane, key), lsn)| !is_there(*lane, key, **lsn));
        let gone: Vec<(usize, Vec<u8>)> = gone.map(|(of, _)| of.clone()).collect();
        for (lane, key) in gone {
            self.forget(lane, &key, facts);
            self.counts[lane] -= 1;
            self.by_key.remove(&(lane, key));
        }
    }

    /// `payload`: of an event's occurrence.
    pub(super) fn refused(
        &mut self,
        refused: Refused,
        payload: Option<&Payload>,
        facts: &mut Facts,
    ) {
        let Refused { lane, entry, error } = refused;
        if let Some(payload) = payload {
            let name = payload_fact(&self.names[lane], entry.key());
            facts.push((name, Some(payload.to_fact())));
        }
        let mut letter = entry.lsn().0.to_be_bytes().to_vec();
        letter.extend_from_slice(error.as_bytes());
        facts.push((self.fact(lane, entry.key()), Some(letter)));
        if self.by_key.insert((lane, entry.key().to_vec()), entry.lsn()).is_none() {
            self.counts[lane] += 1;
        }
    }

    /// Somebody has settled it by hand. Whether there was one. `waive`: this version stops nothing any
    /// more.
    pub(super) fn remove(
        &mut self,
        lane: usize,
        key: &[u8],
        waive: bool,
        facts: &mut Facts,
    ) -> bool {
        let Some(lsn) = self.by_key.remove(&(lane, key.to_vec())) else { return false };
        self.counts[lane] -= 1;
        self.forget(lane, key, facts);
        if waive {
            facts.push((self.waived_fact(lane, key), Some(lsn.0.to_be_bytes().to_vec())));
            self.waived.insert((lane, key.to_vec()), lsn);
        }
        true
    }

    pub(super) fn is_waived(&self, refused: &Refused) -> bool {
        let of = (refused.lane, refused.entry.key().to_vec());
        self.waived.get(&of).is_some_and(|version| *version == refused.entry.lsn())
    }

    /// The lane's fill is over.
    pub(super) fn filled(&mut self, lane: usize, facts: &mut Facts) {
        let of_lane = self.waived.keys().filter(|(of, _)| *of == lane);
        let gone: Vec<Vec<u8>> = of_lane.map(|(_, key)| key.clone()).collect();
        for key in gone {
            facts.push((self.waived_fact(lane, &key), None));
            self.waived.remove(&(lane, key));
        }
    }

    /// The LSN of the version that is refused.
    pub(super) fn version(&self, lane: usize, key: &[u8]) -> Option<Lsn> {
        self.by_key.get(&(lane, key.to_vec())).copied()
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

    fn forget(&self, lane: usize, key: &[u8], facts: &mut Facts) {
        facts.push((payload_fact(&self.names[lane], key), None));
        facts.push((self.fact(lane, key), None));
    }

    fn fact(&self, lane: usize, key: &[u8]) -> String {
        format!("dead/{}/{}", self.names[lane], key_hex(key))
    }

    fn waived_fact(&self, lane: usize, key: &[u8]) -> String {
        format!("waived/{}/{}", self.names[lane], key_hex(key))
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
        let mut letters = Letters::new(vec!["s/p".into()], [], []);
        let mut facts = Facts::new();
        let entry = Entry::row(Lsn(5), b"\x01k", b"row");
        letters.refused(
            Refused { lane: 0, entry: entry.clone(), error: "no".into() },
            None,
            &mut facts,
        );
        letters.refused(
            Refused { lane: 0, entry: entry.clone(), error: "no".into() },
            None,
            &mut facts,
        );
        assert_eq!(letters.count(0), 1);
        assert_eq!(facts[0].0, "dead/s/p/016b");
        letters.accepted(0, &[Entry::tombstone(Lsn(6), b"other")], &mut facts);
        assert_eq!(letters.count(0), 1);
        letters.accepted(0, &[Entry::tombstone(Lsn(6), b"\x01k")], &mut facts);
        assert_eq!(letters.count(0), 0);
        assert_eq!(facts.last(), Some(&("dead/s/p/016b".into(), None)));
        letters.refused(Refused { lane: 0, entry, error: "no".into() }, None, &mut facts);
        letters.retain(|lane, key, _| (lane, key) == (0, b"\x01k"), &mut facts);
        assert_eq!(letters.count(0), 1);
        letters.retain(|_, _, _| false, &mut facts);
        assert_eq!(letters.count(0), 0);
        assert_eq!(facts.last(), Some(&("dead/s/p/016b".into(), None)));
        assert_eq!(letter_key("016b"), Some(b"\x01k".to_vec()));
    }

    #[test]
    fn payloads_come_back_from_their_facts() {
        for payload in [Payload::Row(b"\x00row".to_vec()), Payload::Change("{}".into())] {
            assert_eq!(Payload::of_fact(&payload.to_fact()), Some(payload));
        }
        assert_eq!(Payload::of_fact(b""), None);
        assert_eq!(Payload::of_fact(b"c\xff"), None);
    }

    #[test]
    fn a_version_is_waived_until_it_is_another_one() {
        let mut letters = Letters::new(vec!["s/p".into()], [], []);
        let mut facts = Facts::new();
        let refused = |lsn| Refused {
            lane: 0,
            entry: Entry::row(Lsn(lsn), b"\x01k", b"row"),
            error: "no".into(),
        };
        letters.refused(refused(5), None, &mut facts);
        assert!(letters.remove(0, b"\x01k", true, &mut facts));
        assert_eq!(facts.last().map(|(name, _)| name.as_str()), Some("waived/s/p/016b"));
        // It is sent again, and whatever is sent is taken for accepted first.
        letters.accepted(0, &[refused(5).entry], &mut facts);
        assert!(letters.is_waived(&refused(5)) && !letters.is_waived(&refused(6)));
        letters.accepted(0, &[refused(6).entry], &mut facts);
        assert!(!letters.is_waived(&refused(5)));
        assert_eq!(facts.last(), Some(&("waived/s/p/016b".into(), None)));
        let mut letters = Letters::new(vec!["s/p".into()], [], [(0, b"\x01k".to_vec(), Lsn(5))]);
        assert!(letters.is_waived(&refused(5)));
        letters.filled(0, &mut facts);
        assert!(!letters.is_waived(&refused(5)));
    }
}
