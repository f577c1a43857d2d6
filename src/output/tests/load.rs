//! A load beside all else, as the machine goes about it: chunks of what the source has at the moment,
//! rows that move between two chunks, chunks that are read again; the changes since wait and are replayed
//! over them, some with values that only the load's end can tell.

use std::collections::VecDeque;

use super::{KEYS, LATE, Rows, ThereIs, World};
use crate::engine::Entry;
use crate::lsn::Lsn;

const FROM: Lsn = Lsn(10);

pub(super) struct Load {
    /// What is committed there.
    pub(super) source: Rows,
    uncommitted: Vec<Change>,
    chunks_left: Vec<Vec<u8>>,
    backlog: VecDeque<(Lsn, Change)>,
    /// Values that the replay could not know.
    unknown: Rows,
    bound: Lsn,
}

#[derive(Clone)]
struct Change {
    key: u8,
    row: Option<Vec<u8>>,
}

impl Load {
    pub(super) fn commit(&mut self) {
        for Change { key, row } in self.uncommitted.drain(..) {
            match row {
                Some(row) => drop(self.source.insert(vec![key], row)),
                None => drop(self.source.remove(&[key][..])),
            }
        }
    }
}

impl World {
    pub(super) fn begin_load(&mut self) {
        let mut source = Rows::new();
        for _ in 0..self.rng.u8(0..KEYS) {
            source.insert(vec![self.rng.u8(0..KEYS)], self.row());
        }
        let keys: Vec<u8> = (0..KEYS).collect();
        self.history.insert(FROM, vec![Rows::new(), Rows::new(), source.clone()]);
        self.load = Some(Load {
            source,
            uncommitted: Vec::new(),
            chunks_left: keys.chunks(4).map(<[u8]>::to_vec).collect(),
            backlog: VecDeque::new(),
            unknown: Rows::new(),
            bound: FROM,
        });
        self.there_is[LATE] = ThereIs::Loading;
        let id = self.engine.table_arrangement(LATE);
        self.engine.arrangement_mut(id).expect_load(FROM);
    }

    fn row(&mut self) -> Vec<u8> {
        self.rng.u32(..).to_be_bytes().to_vec()
    }

    /// A change of the table: it waits.
    pub(super) fn defer(&mut self, lsn: u64, key: u8) {
        let row = (self.rng.u8(0..3) > 0).then(|| self.row());
        let load = self.load.as_mut().expect("a load goes on");
        let change = Change { key, row };
        load.uncommitted.push(change.clone());
        load.backlog.push_back((Lsn(lsn), change));
    }

    pub(super) fn load_on(&mut self) {
        let load = self.load.as_ref().expect("a load goes on");
        if !load.chunks_left.is_empty() {
            self.read_chunk();
        } else if self.progress.applied >= load.bound && self.rng.bool() {
            self.replay(usize::MAX);
            self.end_load();
        } else {
            let some = self.rng.usize(0..4);
            self.replay(some);
        }
    }

    fn read_chunk(&mut self) {
        let World { rng, engine, load, .. } = self;
        let load = load.as_mut().expect("a load goes on");
        let at = rng.usize(0..load.chunks_left.len());
        let mut keys = load.chunks_left.swap_remove(at);
        if rng.u8(0..8) == 0 {
            // Its leaf has moved to another file.
            load.chunks_left.push(keys.clone());
        }
        if rng.bool() {
            // A row that has moved here from where another chunk has read it, or will.
            keys.push(rng.u8(0..KEYS));
        }
        let mut moved_away = None;
        for key in keys {
            let Some(row) = load.source.get(&[key][..]) else { continue };
            if self.transaction.is_none() && moved_away.is_none() && rng.u8(0..10) == 0 {
                moved_away = Some(key);
                continue;
            }
            let entry = Entry::row(Lsn(FROM.0 - 1), &[key], row);
            engine.load(LATE, entry).expect("no dependants");
        }
        load.bound = load.bound.max(self.progress.applied);
        if load.chunks_left.is_empty() {
            let id = engine.table_arrangement(LATE);
            engine.arrangement_mut(id).load_is_whole();
        }
        if let Some(key) = moved_away {
            // The UPDATE that moves it is in the backlog.
            self.wal += 10;
            let (lsn, row) = (self.wal, Some(self.row()));
            let load = self.load.as_mut().expect("a load goes on");
            load.uncommitted.push(Change { key, row: row.clone() });
            load.backlog.push_back((Lsn(lsn), Change { key, row }));
            self.transaction = Some(lsn);
            self.commit();
        }
    }

    fn replay(&mut self, count: usize) {
        let World { rng, engine, load, .. } = self;
        let load = load.as_mut().expect("a load goes on");
        let count = count.min(load.backlog.len());
        for (lsn, Change { key, row }) in load.backlog.drain(..count) {
            load.unknown.remove(&[key][..]);
            match row {
                None => drop(engine.delete(LATE, lsn, &[key]).expect("no dependants")),
                Some(row) if rng.u8(0..8) == 0 => {
                    load.unknown.insert(vec![key], row);
                    engine.put(LATE, Entry::row(lsn, &[key], b"unknown")).expect("no dependants");
                }
                Some(row) => {
                    engine.put(LATE, Entry::row(lsn, &[key], &row)).expect("no dependants");
                }
            }
        }
    }

    fn end_load(&mut self) {
        let Some(load) = self.load.take() else { return };
        for (key, row) in load.unknown {
            let lsn = self.engine.get(LATE, &key).expect("it was replayed").lsn();
            self.engine.load(LATE, Entry::row(lsn, &key, &row)).expect("no dependants");
        }
        let id = self.engine.table_arrangement(LATE);
        self.engine.arrangement_mut(id).raise_tombstone_floor(self.progress.applied);
        self.there_is[LATE] = ThereIs::Live;
    }
}
