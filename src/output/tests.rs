//! Feeds under random schedules: changes, open transactions, a load beside them, pulls, sinks that break
//! off before or after they did what they were told, logs cut and tombstones forgotten at any moment, rows asked for once more and rebuilds.
//! After every settled step the model sink must equal the history at exactly that position; and of each
//! row that it has at the end, what became of it must have been told.

mod load;

use std::collections::{BTreeMap, BTreeSet};

use self::load::Load;
use super::{Feed, LaneInit, Progress, Rows as ThereIs, Standing, Step, Work};
use crate::engine::{Engine, Entry, TableLayout};
use crate::lsn::Lsn;
use crate::sql::plan::Plan;

const SEEDS: u64 = 3_000;
const LANES: usize = 3;
/// Of the table that is not there from the start.
const LATE: usize = 2;
const KEYS: u8 = 12;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Default)]
struct LaneModel {
    rows: Rows,
    watermark: Option<(Lsn, u64)>,
    fill: Option<Rows>,
    /// The fill was begun before the load was over.
    early: bool,
}

/// A transactional sink: unsettled steps stay in `open` until a settled one commits them.
#[derive(Default)]
struct SinkModel {
    lanes: Vec<LaneModel>,
    open: Option<Vec<LaneModel>>,
}

struct World {
    rng: fastrand::Rng,
    engine: Engine,
    feed: Feed,
    sink: SinkModel,
    progress: Progress,
    wal: u64,
    /// Commit LSN of the open transaction.
    transaction: Option<u64>,
    /// By lane: the rows of which the sink's answer has come, as a caller needs it to know of refusals.
    told: Vec<Rows>,
    /// The state after each commit, by position.
    history: BTreeMap<Lsn, Vec<Rows>>,
    there_is: Vec<ThereIs>,
    load: Option<Load>,
    hides_fills: bool,
    /// Fills that were begun while a load went on, and became what readers see.
    early_fills: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut engine = Engine::default();
        let layout = || TableLayout { columns: Vec::new(), identity: Vec::new() };
        let outputs: Vec<_> = (0..LANES)
            .map(|_| {
                let table = engine.add_table(layout());
                engine.add_plan(&Plan::table(table, Vec::new()))
            })
            .collect();
        let hides_fills = rng.bool();
        let lanes = outputs.iter().map(|&output| LaneInit {
            arrangement: engine.output_arrangement(output),
            rows: Some(engine.output_arrangement(output)),
            generation: 0,
            told: Lsn::ZERO,
            rebuild: false,
            hides_fills,
            once: false,
            halted: false,
        });
        let feed = Feed::new(lanes, rng.usize(1..6), rng.usize(1..12));
        let progress = Progress { applied: Lsn(10), committed_at: 0 };
        let sink = SinkModel { lanes: vec![LaneModel::default(); LANES], open: None };
        let mut world = Self {
            rng,
            engine,
            feed,
            sink,
            progress,
            wal: 10,
            transaction: None,
            told: vec![Rows::new(); LANES],
            history: BTreeMap::from([(Lsn(10), vec![Rows::new(); LANES])]),
            there_is: vec![ThereIs::Live, ThereIs::Live, ThereIs::Stopped],
            load: None,
            hides_fills,
            early_fills: 0,
        };
        if world.rng.bool() {
            world.begin_load();
        }
        world.open_sink();
        world
    }

    fn rows(&self) -> Vec<Rows> {
        let mut rows = self.engine_rows();
        if let Some(load) = &self.load {
            rows[LATE] = load.source.clone();
        }
        rows
    }

    fn engine_rows(&self) -> Vec<Rows> {
        (0..LANES)
            .map(|table| {
                let arrangement = &self.engine.arrangements()[self.engine.table_arrangement(table)];
                let live = arrangement.scan_after(None).filter_map(|e| Some((e.key(), e.value()?)));
                live.map(|(key, row)| (key.to_vec(), row.to_vec())).collect()
            })
            .collect()
    }

    fn change(&mut self) {
        let lsn = *self.transaction.get_or_insert_with(|| {
            self.wal += 10;
            self.wal
        });
        let table = self.rng.usize(0..LANES);
        let key = [self.rng.u8(0..KEYS)];
        if table == LATE && self.load.is_some() {
            self.defer(lsn, key[0]);
        } else if self.rng.u8(0..3) == 0 {
            self.engine.delete(table, Lsn(lsn), &key).expect("no dependants");
        } else {
            let row = self.rng.u32(..).to_be_bytes();
            self.engine.put(table, Entry::row(Lsn(lsn), &key, &row)).expect("no dependants");
        }
    }

    fn commit(&mut self) {
        if let Some(lsn) = self.transaction.take() {
            self.engine.commit(Lsn(lsn)).expect("no dependants");
            if let Some(load) = &mut self.load {
                load.commit();
            }
            self.progress = Progress { applied: Lsn(lsn + 5), committed_at: lsn as i64 };
        } else {
            // A keepalive: the position moves, nothing changed.
            self.wal += 10;
            self.progress.applied = Lsn(self.wal);
        }
        self.history.insert(self.progress.applied, self.rows());
    }

    fn open_sink(&mut self) {
        self.sink.open = None;
        let standings: Vec<_> = self
            .sink
            .lanes
            .iter()
            .map(|lane| match lane.watermark {
                None => Standing::Fresh { generation: 0, reaching: Lsn::ZERO },
                Some((lsn, generation)) => Standing::At { lsn, reaching: lsn, generation },
            })
            .collect();
        self.feed.opened(&standings, &self.engine);
        // As the machine forgets letters of rows that are gone.
        let rows = self.engine_rows();
        for (told, rows) in self.told.iter_mut().zip(&rows) {
            told.retain(|key, _| rows.contains_key(key));
        }
    }

    fn pull(&mut self) -> bool {
        let there_is = self.there_is.clone();
        let idle = self.rng.u8(0..4) == 0;
        let Some(work) = self.feed.next(&self.engine, self.progress, |lane| there_is[lane], idle)
        else {
            return false;
        };
        let fate = self.rng.u8(0..30);
        if fate == 0 {
            // It breaks off before anything was done.
            self.feed.closed();
            self.open_sink();
            return true;
        }
        let done = self.perform(&work);
        if fate == 1 {
            // It was done, but the answer is lost.
            self.feed.closed();
            self.open_sink();
        } else if done {
            self.tell(&work);
            if let Work::Step(step) = &work {
                self.feed.done(step);
            }
        }
        true
    }

    /// As the machine does with letters.
    fn tell(&mut self, work: &Work) {
        match work {
            Work::BeginFill { lane, .. } => self.told[*lane].clear(),
            Work::Fill { lane, rows } => apply(rows, &mut self.told[*lane]),
            Work::Amend { lane, changes } => apply(changes, &mut self.told[*lane]),
            Work::Step(step) => {
                step.lanes.iter().for_each(|part| apply(&part.entries, &mut self.told[part.lane]));
            }
            Work::EndFill { .. } | Work::Forget { .. } | Work::Reopen => {}
        }
    }

    fn perform(&mut self, work: &Work) -> bool {
        match work {
            Work::Reopen => {
                self.feed.closed();
                self.open_sink();
                return false;
            }
            Work::BeginFill { lane, .. } => {
                let early = *lane == LATE && self.load.is_some();
                assert!(!early || self.hides_fills, "rows of no one position are not shown");
                let lane = &mut self.sink.lanes[*lane];
                (lane.fill, lane.early) = (Some(Rows::new()), early);
            }
            Work::EndFill { .. } | Work::Forget { .. } => {}
            Work::Fill { lane, rows } => {
                let fill = self.sink.lanes[*lane].fill.as_mut().expect("a fill was begun");
                for entry in rows {
                    let row = entry.value().expect("a fill has no tombstones").to_vec();
                    assert!(
                        fill.insert(entry.key().to_vec(), row).is_none(),
                        "a fill names a key once"
                    );
                }
            }
            Work::Amend { lane, changes } => {
                let fill = self.sink.lanes[*lane].fill.as_mut().expect("a fill was begun");
                let keys: BTreeSet<_> = changes.iter().map(Entry::key).collect();
                assert_eq!(keys.len(), changes.len(), "an amendment names a key once");
                apply(changes, fill);
            }
            Work::Step(step) => self.step(step),
        }
        true
    }

    fn step(&mut self, step: &Step) {
        if step.lanes.is_empty() && !step.settled {
            // A scan's look at rows that have not changed: the sink is not asked.
            return;
        }
        let mut lanes = self.sink.open.take().unwrap_or_else(|| self.sink.lanes.clone());
        for part in &step.lanes {
            let lane = &mut lanes[part.lane];
            if part.finish_fill {
                assert!(step.settled);
                lane.rows = self.sink.lanes[part.lane].fill.take().expect("a fill was begun");
                lane.fill = None;
                self.early_fills += u64::from(lane.early);
            }
            let mut seen = BTreeSet::new();
            for entry in &part.entries {
                assert!(entry.lsn() < step.reaching);
                assert!(seen.insert(entry.key().to_vec()), "a step names a key once");
            }
            apply(&part.entries, &mut lane.rows);
            let before = lane.watermark.map_or(Lsn::ZERO, |(lsn, _)| lsn);
            assert!(part.finish_fill || before <= step.position, "a watermark never falls");
            if step.settled {
                lane.watermark = Some((step.position, part.generation));
                let expected = &self.history[&step.position][part.lane];
                assert_eq!(&lane.rows, expected, "lane {} at {}", part.lane, step.position);
            } else {
                assert_eq!(
                    before, step.position,
                    "an unsettled step leaves the watermark where it is"
                );
            }
        }
        if step.settled {
            for (lane, fill) in lanes.iter_mut().zip(&self.sink.lanes) {
                if lane.fill.is_some() {
                    lane.fill = fill.fill.clone();
                }
            }
            self.sink.lanes = lanes;
        } else {
            self.sink.open = Some(lanes);
        }
    }

    fn forget(&mut self) {
        for table in 0..LANES {
            let id = self.engine.table_arrangement(table);
            let passed = self.feed.passed(id).unwrap_or(Lsn::MAX);
            let over_budget = self.rng.u8(0..4) == 0;
            let needed =
                self.feed.needs(id, |_| true).filter(|_| self.rng.bool()).unwrap_or(Lsn::MAX);
            let arrangement = self.engine.arrangement_mut(id);
            if over_budget {
                let next = arrangement.next_seq();
                arrangement.trim(self.rng.u64(0..=next));
                arrangement.drop_tombstones(passed, needed, self.rng.usize(0..200));
            } else {
                arrangement.drop_tombstones(passed, needed, usize::MAX);
            }
            let Some(arrivals) = arrangement.arrivals() else { continue };
            let waits = self.load.is_some() && arrivals.has_all() && self.rng.bool();
            arrangement.trim_arrivals(self.feed.takes_from(id, waits));
        }
        if self.rng.bool() {
            for (id, seq) in self.feed.reads_from(&self.engine) {
                self.engine.arrangement_mut(id).trim(seq);
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..self.rng.usize(20..200) {
            match self.rng.u8(0..22) {
                0..7 => self.change(),
                7..10 => self.commit(),
                10..17 => drop(self.pull()),
                17 => self.forget(),
                18 => self.feed.again(self.rng.usize(0..LANES), vec![self.rng.u8(0..12)]),
                19 if self.rng.u8(0..4) == 0 => self.feed.rebuild(self.rng.usize(0..LANES)),
                _ if self.load.is_some() => self.load_on(),
                _ => self.there_is[LATE] = ThereIs::Live,
            }
        }
        while self.load.is_some() {
            self.commit();
            self.load_on();
        }
        self.there_is = vec![ThereIs::Live; LANES];
        self.commit();
        self.commit();
        let mut steps = 0;
        while self.pull() || self.progress.applied > self.feed.watermark(0).lsn {
            steps += 1;
            assert!(steps < 10_000, "the feed does not come to rest");
        }
        for lane in 0..LANES {
            let delivered = self.feed.delivered(lane, &self.engine, self.progress.applied);
            assert_eq!(delivered.lsn, self.progress.applied);
            assert_eq!(self.sink.lanes[lane].rows, self.rows()[lane]);
            assert_eq!(self.told[lane], self.rows()[lane], "what became of each row is known");
            assert!(!self.feed.is_rebuilding(lane), "a rebuild comes to its end");
        }
        self.feed.closed();
        let lacks_nothing =
            |world: &Self| world.feed.lacks_nothing(0, &world.engine, world.progress.applied);
        self.commit();
        assert!(lacks_nothing(self), "nothing has changed since");
        let lsn = Lsn(self.wal + 10);
        self.engine.put(0, Entry::row(lsn, &[0], b"new")).expect("no dependants");
        self.engine.commit(lsn).expect("no dependants");
        self.progress.applied = Lsn(lsn.0 + 5);
        assert!(!lacks_nothing(self), "a row has changed");
    }
}

fn apply(entries: &[Entry], rows: &mut Rows) {
    for entry in entries {
        match entry.value() {
            Some(row) => drop(rows.insert(entry.key().to_vec(), row.to_vec())),
            None => drop(rows.remove(entry.key())),
        }
    }
}

/// All of them, or the one that `READSIDE_SEED` names.
fn seeds() -> std::ops::Range<u64> {
    match std::env::var("READSIDE_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("READSIDE_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    }
}

#[test]
fn every_settled_step_shows_exactly_its_position() {
    let mut early_fills = 0;
    for seed in seeds() {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            world.early_fills
        });
        match result {
            Ok(finished) => early_fills += finished,
            Err(panic) => {
                eprintln!("replay with READSIDE_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(early_fills > 0 || seeds().count() == 1, "no fill has followed a load to its end");
}

/// A log whose older entries are in a store alone: pages come when they are asked for, and each entry is
/// told once, in order, whatever is trimmed meanwhile.
#[test]
fn a_log_is_told_from_the_store_and_then_from_memory() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut engine = Engine::default();
        let log = engine.add_log(None);
        let mut store: Vec<Entry> = Vec::new();
        let mut stored = 0;
        let init = LaneInit {
            arrangement: log,
            rows: None,
            generation: 0,
            told: Lsn::ZERO,
            rebuild: false,
            hides_fills: true,
            once: true,
            halted: false,
        };
        let mut feed = Feed::new([init], 5, 5);
        let fresh = Standing::Fresh { generation: 0, reaching: Lsn::ZERO };
        feed.opened(std::slice::from_ref(&fresh), &engine);
        let (mut told, mut committed, mut lsn, mut all) = (Vec::new(), Vec::new(), 10, Vec::new());
        for _ in 0..120 {
            match rng.u8(0..4) {
                0 => {
                    for ordinal in 1..rng.i64(1..9) {
                        let mut key = crate::engine::log_from(Lsn(lsn));
                        crate::value::encode_int(ordinal, &mut key);
                        let entry = Entry::row(Lsn(lsn), &key, b"");
                        engine.arrangement_mut(log).append(&entry);
                        all.push(key);
                    }
                    lsn += 10;
                }
                1 => {
                    let arrangement = &engine.arrangements()[log];
                    store.extend(arrangement.changes_from(stored).expect("kept").cloned());
                    stored = arrangement.next_seq();
                    if rng.bool() {
                        let reads = feed.reads_from(&engine);
                        let read = reads.iter().map(|(_, seq)| *seq).min().unwrap_or(u64::MAX);
                        engine.arrangement_mut(log).trim(stored.min(read));
                    }
                }
                2 if rng.u8(0..9) == 0 => {
                    // What was committed to the sink stays there.
                    feed.closed();
                    told.clone_from(&committed);
                    let delivered = feed.watermark(0).lsn;
                    let standing = match delivered {
                        Lsn::ZERO => fresh.clone(),
                        lsn => Standing::At { lsn, reaching: lsn, generation: 1 },
                    };
                    feed.opened(&[standing], &engine);
                }
                _ => {
                    while let Some(wanted) = feed.wanted_page(|_| true) {
                        let (from, after) = match &wanted.from {
                            super::PageFrom::After(key) => (key, true),
                            super::PageFrom::At(key) => (key, false),
                        };
                        let behind = |entry: &&Entry| {
                            let key = entry.key();
                            (if after { key > from.as_slice() } else { key >= from.as_slice() })
                                && key <= wanted.to.as_slice()
                        };
                        let rest: Vec<Entry> = store.iter().filter(behind).cloned().collect();
                        let is_last = rest.len() <= 3;
                        feed.give_page(0, rest.into_iter().take(3).collect(), is_last);
                    }
                    let progress = Progress { applied: Lsn(lsn), committed_at: 0 };
                    let Some(Work::Step(step)) =
                        feed.next(&engine, progress, |_| ThereIs::Live, false)
                    else {
                        continue;
                    };
                    for part in &step.lanes {
                        told.extend(part.entries.iter().map(|entry| entry.key().to_vec()));
                    }
                    if step.settled {
                        committed.clone_from(&told);
                        let end = crate::engine::log_from(step.position);
                        let whole: Vec<_> = all.iter().filter(|key| **key < end).cloned().collect();
                        assert_eq!(told, whole, "seed {seed}");
                    }
                    feed.done(&step);
                }
            }
        }
    }
}
