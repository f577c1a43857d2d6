//! The machine among models of all that it has to do with: a source whose stream is cut anywhere, a store
//! that writes a checkpoint or loses it, a load, sinks that break off, lose answers, refuse rows and go back
//! to what they were. A seed draws the schedule; `READSIDE_SEED` plays one again.
//!
//! What must hold, whatever comes: a settled step is the source's state at its position (P1); the source
//! is never asked for less than has been acknowledged, and all sinks end equal (P2); no row goes back to an
//! older version in a sink that has lost nothing (P3); a step names a row once (P4); what is refused, and only
//! that, has a letter in the end (P5).

mod model;

use fastrand::Rng;

use self::model::{Sink, Source, Stream, key};
use super::*;

/// Of every run; and as many fresh ones.
const SEEDS: u64 = 400;
const CHUNKS: [(u32, usize); 4] = [(0, 0), (1, 0), (2, 1), (3, 1)];

struct Simulation {
    rng: Rng,
    source: Source,
    stream: Option<Stream>,
    /// What the slot has confirmed.
    acknowledged: Lsn,
    kept: Kept,
    writing: Option<Checkpoint>,
    machine: Machine,
    /// Of the load: where it began, and its chunks that are still to be read, each with its table.
    load_from: Lsn,
    unread: Vec<(u32, usize)>,
    /// A row that the source is asked for.
    wanted: Option<usize>,
    sinks: [Sink; 2],
    /// Of recent changes, and of tombstones.
    bytes_max: [usize; 2],
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let source = Source::new(&mut rng);
        let position = Position { lsn: source.end(), inside: None };
        let mut kept = Kept { position, ..Kept::default() };
        let loaded = [A, B].into_iter().enumerate().filter(|_| rng.bool());
        for (at, table) in loaded.collect::<Vec<_>>() {
            let rows = source.entries(at, position.lsn, |_| true);
            let rows = rows.into_iter().map(|row| ((ROWS_OF[at], row.key().to_vec()), row));
            kept.rows.extend(rows);
            kept.facts.insert(format!("table/{table}"), b"live".to_vec());
        }
        if !kept.is_whole() && rng.bool() {
            kept.load_begins(source.end());
        }
        let bytes_max = [(); 2].map(|()| if rng.bool() { usize::MAX } else { rng.usize(0..2_000) });
        let sinks = [Sink::new("hiding", true, &mut rng), Sink::new("open", false, &mut rng)];
        let machine = machine(&kept, &sinks, bytes_max);
        let acknowledged = position.lsn;
        Self {
            rng,
            source,
            stream: None,
            acknowledged,
            load_from: kept.load_from(),
            unread: kept.unread(),
            kept,
            writing: None,
            machine,
            wanted: None,
            sinks,
            bytes_max,
        }
    }

    fn run(&mut self) {
        for _ in 0..self.rng.usize(50..400) {
            match self.rng.u32(0..100) {
                0..12 => self.source.transaction(&mut self.rng),
                12..14 => self.source.idle(&mut self.rng),
                14..40 => self.receive(),
                40..42 => self.stream = None,
                42..50 => self.checkpoint(),
                50..56 => self.load(),
                56..60 => self.replay(),
                60..92 => {
                    let sink = self.rng.usize(0..2);
                    self.deliver(sink);
                }
                92 => self.crash(),
                93 => {
                    let sink = self.rng.usize(0..2);
                    self.sinks[sink].backup();
                }
                94 => {
                    let sink = self.rng.usize(0..2);
                    self.machine.closed(sink);
                    self.sinks[sink].put_back(&mut self.rng);
                }
                95 => {
                    let (sink, lane) = (self.rng.usize(0..2), self.rng.usize(0..3));
                    self.machine.rebuild(sink, lane);
                }
                _ => self.crash_now_and_then(),
            }
        }
        self.settle();
    }

    /// A piece of the stream, cut between any two messages.
    fn receive(&mut self) {
        let Some(stream) = &mut self.stream else {
            let from = self.machine.connected();
            assert!(from >= self.acknowledged, "what was acknowledged is not sent again (P2)");
            self.stream = Some(self.source.stream(from));
            return;
        };
        let gulp = self.source.gulp(stream, self.rng.usize(1..8));
        self.machine.gulp(&gulp).expect("a stream");
        self.machine.take_news();
    }

    /// A checkpoint is taken, or the one that is being written is there.
    fn checkpoint(&mut self) {
        match self.writing.take() {
            None => self.writing = Some(self.machine.checkpoint()),
            Some(written) => {
                self.acknowledged = self.acknowledged.max(written.position.lsn);
                self.kept.write(written);
                self.machine.stored(0);
            }
        }
    }

    /// A chunk of what the source holds by now, its rows at once or in two parts.
    fn load(&mut self) {
        if self.machine.awaits_load() {
            let from = self.source.end();
            let mut begun = Kept { facts: self.kept.facts.clone(), ..Kept::default() };
            begun.load_begins(from);
            let mut facts = begun.facts;
            facts.retain(|name, value| self.kept.facts.get(name) != Some(value));
            let facts = facts.into_iter().map(|(name, value)| (name, Some(value))).collect();
            let stale = CHUNKS.iter().filter(|(_, table)| !self.kept.is_live(*table));
            let chunks: BTreeMap<u32, usize> = stale.copied().collect();
            (self.load_from, self.unread) = (from, chunks.clone().into_iter().collect());
            self.machine.load_begins(from, chunks, facts);
        }
        if self.unread.is_empty() {
            return;
        }
        let next = self.rng.usize(..self.unread.len());
        let (chunk, table) = self.unread[next];
        let is_in = |id: u8| u32::from(id % 2) == chunk % 2;
        let mut rows = self.source.entries(table, self.load_from, is_in);
        let end = self.source.end();
        let fact = (format!("chunk/{chunk}"), Some(end.0.to_be_bytes().to_vec()));
        let rest = rows.split_off(self.rng.usize(0..=rows.len()));
        self.machine.loaded(table, chunk, rows, None, Vec::new()).expect("rows");
        self.machine.loaded(table, chunk, rest, Some(end), vec![fact]).expect("rows");
        self.unread.swap_remove(next);
    }

    fn replay(&mut self) {
        if let Some(table) = self.wanted.take() {
            let key = self.machine.wanted_key(table).expect("a key").remove(0);
            let is_it = |id: u8| id.to_string() == key;
            let row = self.source.entries(table, self.load_from, is_it).pop();
            self.machine.fetched(table, row, self.source.end());
            return;
        }
        let Some(at) = self.machine.replay_at() else { return };
        match self.kept.backlog.get(&at) {
            Some(piece) => self.machine.replay(piece).expect("a backlog"),
            None => {
                if let Some(Replayed::NeedsRow { table, .. }) =
                    self.machine.finish_load().expect("a backlog")
                {
                    self.wanted = Some(table);
                }
            }
        }
    }

    fn deliver(&mut self, at: usize) {
        let sink = &mut self.sinks[at];
        if !sink.is_open {
            let standings = sink.open();
            self.machine.opened(at, &standings);
            return;
        }
        let idle = self.rng.bool();
        let Some(work) = self.machine.next_work(at, idle) else { return };
        let fate = self.rng.u32(0..40);
        if matches!(work, Work::Reopen) || fate == 0 {
            // It breaks off before anything was done.
            self.machine.closed(at);
            sink.is_open = false;
            return;
        }
        let refused = sink.perform(&work, &self.source);
        if fate == 1 {
            // It was done, but the answer is lost.
            self.machine.closed(at);
            sink.is_open = false;
        } else {
            self.machine.done(at, &work, refused);
        }
    }

    fn crash_now_and_then(&mut self) {
        if self.rng.u32(0..8) == 0 {
            self.crash();
        }
    }

    /// The process ends: a checkpoint under way is written or lost, but rows of a load's chunks may be there
    /// in either case.
    fn crash(&mut self) {
        if let Some(mut writing) = self.writing.take() {
            match self.rng.u32(0..3) {
                0 => self.kept.write(writing),
                1 => self.kept.write_chunks(std::mem::take(&mut writing.batch.chunks)),
                _ => {}
            }
        }
        let loads = self.kept.facts.contains_key(LOAD_FACT);
        if !loads && !self.kept.is_whole() {
            self.kept.announce_load();
            if self.rng.bool() {
                self.kept.load_begins(self.source.end());
            }
        }
        self.machine = machine(&self.kept, &self.sinks, self.bytes_max);
        (self.stream, self.wanted) = (None, None);
        (self.load_from, self.unread) = (self.kept.load_from(), self.kept.unread());
        for sink in &mut self.sinks {
            sink.is_open = false;
        }
    }

    /// Nothing fails any more: all comes to rest, and is equal.
    fn settle(&mut self) {
        self.source.transaction(&mut self.rng);
        self.source.idle(&mut self.rng);
        for turn in 0.. {
            assert!(turn < 20_000, "it does not come to rest: {}", self.standing());
            self.receive();
            self.load();
            self.replay();
            self.checkpoint();
            (0..2).for_each(|sink| self.deliver(sink));
            if turn % 50 == 49 && self.is_at_rest() {
                break;
            }
        }
        for (at, sink) in self.sinks.iter().enumerate() {
            sink.equals(&self.source, self.source.end());
            for (lane, name) in PROJECTIONS.iter().enumerate() {
                let (bound, refused) = self.source.refused(lane);
                let is_letter = |number: &u8| self.machine.is_letter(at, lane, &key(*number));
                let letters: BTreeSet<u8> = (0..bound).filter(is_letter).collect();
                assert_eq!(letters, refused, "letters of {name} in {} (P5)", sink.name);
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        let end = self.source.end();
        let lanes = (0..2).flat_map(|sink| (0..3).map(move |lane| (sink, lane)));
        let mut delivered = lanes.map(|(sink, lane)| self.machine.delivered(sink, lane));
        delivered.all(|delivered| delivered.settled && delivered.lsn >= end)
    }

    fn standing(&self) -> String {
        let lanes = (0..2).flat_map(|sink| (0..3).map(move |lane| (sink, lane)));
        let lanes = lanes.map(|(sink, lane)| {
            let delivered = self.machine.delivered(sink, lane);
            format!("{:?} {delivered:?}", self.machine.lane_state(sink, lane))
        });
        let lanes = lanes.collect::<Vec<_>>().join(", ");
        format!("{:?} of {}, {lanes}", self.machine.position(), self.source.end())
    }
}

impl Kept {
    /// The tables' rows are to be read again.
    fn announce_load(&mut self) {
        let stale = self.stale();
        self.rows.retain(|(of, _), _| !stale.iter().any(|&at| ROWS_OF[at] == *of));
        self.facts.retain(|name, _| !name.starts_with("chunk/"));
        self.backlog.clear();
    }

    /// As of this position and later.
    fn load_begins(&mut self, from: Lsn) {
        self.facts.insert(LOAD_FACT.to_owned(), from.0.to_be_bytes().to_vec());
        for at in self.stale() {
            self.facts.insert(format!("floor/{}", ROWS_OF[at]), from.0.to_be_bytes().to_vec());
        }
    }

    fn stale(&self) -> Vec<usize> {
        (0..2).filter(|&table| !self.is_live(table)).collect()
    }

    fn is_whole(&self) -> bool {
        self.stale().is_empty()
    }

    fn is_live(&self, table: usize) -> bool {
        let fact = self.facts.get(&format!("table/{}", [A, B][table]));
        fact.is_some_and(|fact| fact == b"live")
    }

    fn load_from(&self) -> Lsn {
        Lsn(self.number(LOAD_FACT).unwrap_or(0))
    }

    /// Of a load that goes on.
    fn unread(&self) -> Vec<(u32, usize)> {
        let is_unread = |(chunk, table): &&(u32, usize)| {
            !self.is_live(*table) && self.number(&format!("chunk/{chunk}")).is_none()
        };
        let goes_on = self.facts.contains_key(LOAD_FACT);
        CHUNKS.iter().filter(|_| goes_on).filter(is_unread).copied().collect()
    }

    fn write_chunks(&mut self, chunks: Vec<LoadedChunk>) {
        for LoadedChunk { rows_of, rows } in chunks {
            let rows = rows.into_iter().flatten();
            self.rows.extend(rows.map(|row| ((rows_of, row.key().to_vec()), row)));
        }
    }

    fn number(&self, fact: &str) -> Option<u64> {
        let fact = self.facts.get(fact)?;
        Some(u64::from_be_bytes(*fact.first_chunk().expect("eight bytes")))
    }
}

/// As a start makes one of what the store has.
fn machine(kept: &Kept, sinks: &[Sink], bytes_max: [usize; 2]) -> Machine {
    let [recent_bytes_max, tombstone_bytes_max] = bytes_max;
    let floor = |of: RowsOf| Lsn(kept.number(&format!("floor/{of}")).unwrap_or(0));
    let tables = [A, B].into_iter().enumerate().map(|(at, oid)| TableInit {
        name: format!("public.t{oid}"),
        layout: layout(),
        leaves: vec![(oid, 0)],
        partitioned: false,
        rows_of: ROWS_OF[at],
        stage: if kept.is_live(at) { Stage::Live } else { Stage::Loading },
        rows: kept.rows_of(ROWS_OF[at]),
        tombstone_floor: floor(ROWS_OF[at]),
        facts: TableFacts {
            name: format!("table/{oid}"),
            live: b"live".to_vec(),
            stale: b"stale".to_vec(),
        },
    });
    let projection = |name: &str, plan, rows_of| ProjectionInit {
        name: name.to_owned(),
        plan,
        rows_of,
        rows: kept.rows_of(rows_of),
        tombstone_floor: floor(rows_of),
    };
    let load = kept.number(LOAD_FACT).map(|from| {
        let bound = |chunk: u32| kept.number(&format!("chunk/{chunk}"));
        LoadInit {
            from: Lsn(from),
            bound: Lsn(CHUNKS.iter().filter_map(|(chunk, _)| bound(*chunk)).max().unwrap_or(from)),
            chunks_left: kept.unread().into_iter().collect(),
            backlog_end: kept.backlog.keys().next_back().map_or(0, |last| last + 1),
        }
    });
    let lane = |sink: &Sink, lane: usize| format!("{}/{}", sink.name, PROJECTIONS[lane]);
    let number = |fact: String| kept.number(&fact).unwrap_or(0);
    let sinks = sinks.iter().map(|sink| SinkInit {
        name: sink.name.to_owned(),
        step_rows: sink.step_rows,
        backlog_rows: sink.backlog_rows,
        forgetful: false,
        projections: vec![0, 1, 2],
        halts: vec![false; 3],
        hides_fills: sink.hides_fills,
        histories: vec![false; 3],
        generations: (0..3).map(|at| number(format!("generation/{}", lane(sink, at)))).collect(),
        told: (0..3).map(|at| Lsn(number(told_fact(&lane(sink, at))))).collect(),
        rebuilds: (0..3)
            .map(|at| kept.facts.contains_key(&rebuild_fact(&lane(sink, at))))
            .collect(),
        letters: (0..3)
            .flat_map(|at| {
                let prefix = format!("dead/{}/", lane(sink, at));
                let letters = kept.facts.range(prefix.clone()..);
                let letters = letters.take_while(move |(name, _)| name.starts_with(&prefix));
                letters.map(move |(name, letter)| {
                    let (_, hex) = name.rsplit_once('/').expect("it has the prefix");
                    let lsn = Lsn(u64::from_be_bytes(*letter.first_chunk().expect("an LSN")));
                    Letter { lane: at, key: letter_key(hex).expect("hex"), lsn }
                })
            })
            .collect(),
        waived: Vec::new(),
    });
    let init = MachineInit {
        tables: tables.collect(),
        projections: vec![
            projection(PROJECTIONS[0], Plan::table(0, vec![0]), 0),
            projection(PROJECTIONS[1], Plan::table(1, vec![0]), 0),
            projection(PROJECTIONS[2], Plan::table(0, vec![1]), ROWS_OF[2]),
        ],
        sinks: sinks.collect(),
        events: Vec::new(),
        histories: Vec::new(),
        position: kept.position,
        committed_at: 0,
        xid_max: 0,
        load_to_come: load.is_none() && !kept.is_whole(),
        load,
        recent_bytes_max,
        tombstone_bytes_max,
    };
    Machine::new(init).expect("rows are whole")
}

const PROJECTIONS: [&str; 3] = ["a", "b", "by_other"];

fn play(seed: u64) {
    let played = std::panic::catch_unwind(|| Simulation::new(seed).run());
    if let Err(panic) = played {
        eprintln!("replay with READSIDE_SEED={seed}");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn whatever_fails_every_sink_ends_equal_and_shows_nothing_else_on_the_way() {
    if let Ok(seed) = std::env::var("READSIDE_SEED") {
        return play(seed.parse().expect("READSIDE_SEED is a number"));
    }
    (0..SEEDS).for_each(play);
    // Above all that are fixed.
    (0..SEEDS).for_each(|_| play(fastrand::u64(SEEDS..)));
}
