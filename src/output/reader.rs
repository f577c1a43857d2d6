//! One reader of a projection's changes, from a position on.
//!
//! It reads the log of recent changes or, where the log no longer reaches back far enough, the
//! arrangement itself; either way it sees each key at most once per reading, in its newest version.
//! Nothing is kept for it: when the deletions that it would have needed are forgotten it is told so.

use super::lane::{Cursor, Log, Room, Scan, Through, take_log};
use crate::engine::{Arrangement, Entry};
use crate::lsn::{Lsn, Place};

/// There may be a thousand readers, each with what it was given last on its way to a client: with so much a
/// reading is large enough, however few its rows are.
const READ_BYTES_MAX: usize = 256 << 10;

#[derive(Debug, Clone)]
pub struct Reader {
    /// Where another reader can go on.
    place: Place,
    /// Everything before it was given or is still in the scan's way.
    reached: Lsn,
    cursor: Option<Cursor>,
    /// It begins with nothing, so there is nothing to delete.
    from_nothing: bool,
}

/// One reading.
#[derive(Debug)]
pub struct Reading {
    pub entries: Vec<Entry>,
    /// In commit order: who has taken one of them can go on from its LSN.
    pub in_order: bool,
    /// Where to go on from after some of them, when they are in another order.
    pub amid: Place,
    /// Where to go on from after all of them.
    pub place: Place,
    /// These were all there are at this position.
    pub whole: bool,
}

/// Deletions that the reader would have needed are forgotten: it has to begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOld;

impl Reader {
    /// From `0/0` on that is all rows there are.
    pub fn since(place: Place) -> Self {
        Self { place, reached: place.at, cursor: None, from_nothing: place.at == Lsn::ZERO }
    }

    /// At most `room` entries of what was committed before `applied`, fewer where they are large. None, and not
    /// whole: trying again later will tell.
    pub fn read(
        &mut self,
        from: &Arrangement,
        applied: Lsn,
        room: usize,
    ) -> Result<Reading, TooOld> {
        let room = Room { entries: room, bytes: READ_BYTES_MAX };
        let mut entries = Vec::new();
        if self.reached.max(self.place.seen) > applied {
            // The engine has gone back to its last durable position.
            return Ok(self.reading(entries, false, false));
        }
        if self.cursor.is_none() {
            self.check(from)?;
            self.cursor = match self.from_nothing {
                true => Scan::begin(from, Lsn::ZERO, applied).map(Cursor::Scan),
                false => Cursor::since(from, self.reached, applied),
            };
        }
        match &mut self.cursor {
            None => Ok(self.reading(entries, false, false)),
            Some(Cursor::Scan(scan)) => {
                let since = self.reached;
                if !self.from_nothing && since < from.tombstone_floor() {
                    return Err(TooOld);
                }
                scan.take(from, !self.from_nothing, room, &mut entries);
                self.place.seen = self.place.seen.max(until(&entries));
                if scan.is_through() {
                    self.reached = scan.until;
                    self.from_nothing = false;
                    let following = scan.following(from);
                    self.cursor = Some(following);
                }
                Ok(self.reading(entries, false, false))
            }
            Some(Cursor::Log(log)) => {
                let Some((next, through)) = take_log(from, log.seq, applied, room, &mut entries)
                else {
                    // The log was cut behind it.
                    self.cursor = None;
                    self.check(from)?;
                    return Ok(self.reading(entries, false, false));
                };
                let Log { whole_from, .. } = *log;
                log.seq = next;
                let whole = through == Through::Yes && whole_from <= applied;
                // Behind a scan, rows come that belong before what was given already.
                let in_order = whole_from <= self.place.at;
                self.place.seen = self.place.seen.max(until(&entries));
                let mut reading = self.reading(entries, in_order, whole);
                if whole {
                    (self.place, self.reached) = (applied.into(), applied);
                } else if let (true, Some(last)) = (in_order, reading.entries.last()) {
                    (self.place, self.reached) = (last.lsn().into(), last.lsn());
                }
                reading.place = self.place;
                Ok(reading)
            }
        }
    }

    fn check(&self, from: &Arrangement) -> Result<(), TooOld> {
        let complete = self.from_nothing || self.reached >= from.tombstone_floor();
        if complete { Ok(()) } else { Err(TooOld) }
    }

    fn reading(&self, entries: Vec<Entry>, in_order: bool, whole: bool) -> Reading {
        Reading { entries, in_order, amid: self.place, place: self.place, whole }
    }
}

/// What is as new as this is newer than all of them.
fn until(entries: &[Entry]) -> Lsn {
    let newest = entries.iter().map(Entry::lsn).max();
    newest.map_or(Lsn::ZERO, |newest| Lsn(newest.0 + 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

    /// What a client makes of what it is given.
    fn take(rows: &mut Rows, entries: &[Entry]) {
        for entry in entries {
            match entry.value() {
                Some(row) => drop(rows.insert(entry.key().to_vec(), row.to_vec())),
                None => drop(rows.remove(entry.key())),
            }
        }
    }

    fn rows_of(arrangement: &Arrangement) -> Rows {
        let live = arrangement.scan_after(None);
        live.filter_map(|e| Some((e.key().to_vec(), e.value()?.to_vec()))).collect()
    }

    /// Random changes, open transactions, logs cut, tombstones forgotten, connections lost at any entry.
    #[test]
    fn a_client_that_goes_on_where_it_was_has_what_there_is() {
        for seed in 0..2_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut arrangement = Arrangement::default();
            let (mut applied, mut committed) = (Lsn(10), BTreeMap::from([(Lsn(10), Rows::new())]));
            let (mut open, mut wal) = (None, 10);
            let mut reader = Reader::since(Place::default());
            let (mut rows, mut resume) = (Rows::new(), Place::default());
            for _ in 0..rng.usize(20..150) {
                match rng.u8(0..10) {
                    0..4 => {
                        let lsn = *open.get_or_insert_with(|| {
                            wal += 10;
                            Lsn(wal)
                        });
                        let key = [rng.u8(0..10)];
                        if rng.bool() {
                            arrangement.delete(lsn, &key);
                        } else {
                            arrangement.put(Entry::row(lsn, &key, &rng.u32(..).to_be_bytes()));
                        }
                    }
                    4 | 5 => {
                        if let Some(lsn) = open.take() {
                            applied = Lsn(lsn.0 + 5);
                            committed.insert(applied, rows_of(&arrangement));
                        }
                    }
                    6 => arrangement.trim(rng.u64(0..=arrangement.next_seq())),
                    7 => drop(arrangement.drop_tombstones(
                        Lsn(rng.u64(0..=applied.0)),
                        Lsn::MAX,
                        usize::MAX,
                    )),
                    8 if rng.bool() => {
                        reader = Reader::since(resume);
                        if resume.at == Lsn::ZERO {
                            rows.clear();
                        }
                    }
                    _ => match reader.read(&arrangement, applied, rng.usize(1..5)) {
                        Err(TooOld) => {
                            reader = Reader::since(Place::default());
                            (rows, resume) = (Rows::new(), Place::default());
                        }
                        Ok(reading) => {
                            let seen = match rng.u8(0..8) == 0 {
                                true => rng.usize(0..=reading.entries.len()),
                                false => reading.entries.len(),
                            };
                            take(&mut rows, &reading.entries[..seen]);
                            if seen < reading.entries.len() {
                                // The connection is lost in between.
                                if let Some(last) = reading.entries[..seen].last() {
                                    let in_order = reading.in_order;
                                    resume =
                                        if in_order { last.lsn().into() } else { reading.amid };
                                }
                                reader = Reader::since(resume);
                                if resume.at == Lsn::ZERO {
                                    rows.clear();
                                }
                                continue;
                            }
                            if reading.whole {
                                assert_eq!(rows, committed[&reading.place.at], "seed {seed}");
                            }
                            resume = reading.place;
                        }
                    },
                }
            }
            if let Some(lsn) = open.take() {
                applied = Lsn(lsn.0 + 5);
            }
            for attempt in 0.. {
                assert!(attempt < 1_000, "seed {seed}: it does not come to rest");
                match reader.read(&arrangement, applied, 3) {
                    Err(TooOld) => {
                        reader = Reader::since(Place::default());
                        rows.clear();
                    }
                    Ok(reading) => {
                        take(&mut rows, &reading.entries);
                        if reading.whole && reading.place.at == applied {
                            break;
                        }
                    }
                }
            }
            assert_eq!(rows, rows_of(&arrangement), "seed {seed}");
        }
    }

    /// By the scan that a reader begins with, and by the log that it goes on with.
    #[test]
    fn large_rows_are_read_few_at_a_time() {
        let mut arrangement = Arrangement::default();
        let large = vec![b'x'; 100 << 10];
        let put = |arrangement: &mut Arrangement, lsn: u64| {
            (0..20).for_each(|key| drop(arrangement.put(Entry::row(Lsn(lsn), &[key], &large))));
        };
        put(&mut arrangement, 10);
        let mut reader = Reader::since(Place::default());
        for applied in [Lsn(20), Lsn(40)] {
            let mut read = 0;
            loop {
                let reading =
                    reader.read(&arrangement, applied, 200).expect("nothing is forgotten");
                let bytes: usize = reading.entries.iter().map(Entry::bytes).sum();
                assert!(bytes <= READ_BYTES_MAX + 2 * large.len(), "{bytes}");
                read += reading.entries.len();
                if reading.whole {
                    break;
                }
            }
            assert_eq!(read, 20);
            put(&mut arrangement, 30);
        }
    }
}
