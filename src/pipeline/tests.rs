//! The machine under hand-made streams: what a restart, a reconnect or a load finds must be what an
//! undisturbed run would have shown.

mod simulation;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::engine::{Batch, Entry, LoadedChunk, RowBuffer, RowsOf, TableLayout};
use crate::lsn::Lsn;
use crate::output::{Standing, Work};
use crate::pgoutput::Position;
use crate::sql::plan::Plan;
use crate::value::{self, Column, Type};

const A: u32 = 100;
const B: u32 = 200;
/// Rows of the tables in the store, then those of the projection by `other`.
const ROWS_OF: [RowsOf; 3] = [1, 2, 3];

fn columns() -> Vec<Column> {
    let column = |name: &str, ty, sql_type: &str, type_oid| Column {
        name: name.to_owned(),
        ty,
        sql_type: sql_type.to_owned(),
        type_oid,
        typmod: -1,
        not_null: false,
    };
    vec![
        column("id", Type::Int4, "integer", 23),
        column("other", Type::Int4, "integer", 23),
        column("body", Type::Text, "text", 25),
    ]
}

fn layout() -> TableLayout {
    TableLayout { columns: columns(), identity: vec![0] }
}

/// `-` is an unchanged TOASTed value, the empty text NULL.
fn tuple(cells: [&str; 3]) -> Vec<u8> {
    let mut out = 3_u16.to_be_bytes().to_vec();
    for cell in cells {
        match cell {
            "" => out.push(b'n'),
            "-" => out.push(b'u'),
            text => {
                out.push(b't');
                out.extend((text.len() as u32).to_be_bytes());
                out.extend(text.as_bytes());
            }
        }
    }
    out
}

fn relation(oid: u32) -> Vec<u8> {
    let mut out = vec![b'R'];
    out.extend(oid.to_be_bytes());
    out.extend(format!("public\0t{oid}\0d").as_bytes());
    out.extend(3_u16.to_be_bytes());
    for column in columns() {
        out.push(u8::from(column.name == "id"));
        out.extend(column.name.as_bytes());
        out.push(0);
        out.extend(column.type_oid.to_be_bytes());
        out.extend(column.typmod.to_be_bytes());
    }
    out
}

fn insert(oid: u32, new: [&str; 3]) -> Vec<u8> {
    [&b"I"[..], &oid.to_be_bytes(), b"N", &tuple(new)].concat()
}

fn update(oid: u32, new: [&str; 3]) -> Vec<u8> {
    [&b"U"[..], &oid.to_be_bytes(), b"N", &tuple(new)].concat()
}

fn rekey(oid: u32, old: &str, new: [&str; 3]) -> Vec<u8> {
    [&b"U"[..], &oid.to_be_bytes(), b"K", &tuple([old, "", ""]), b"N", &tuple(new)].concat()
}

fn delete(oid: u32, old: &str) -> Vec<u8> {
    [&b"D"[..], &oid.to_be_bytes(), b"K", &tuple([old, "", ""])].concat()
}

fn begin(commit_lsn: u64) -> Vec<u8> {
    [&b"B"[..], &commit_lsn.to_be_bytes(), &[0; 8], &7_u32.to_be_bytes()].concat()
}

/// Ends five bytes behind its record.
fn commit(commit_lsn: u64) -> Vec<u8> {
    let end = commit_lsn + 5;
    [&b"C\0"[..], &commit_lsn.to_be_bytes(), &end.to_be_bytes(), &[0; 8]].concat()
}

fn data(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for body in bodies {
        out.push(b'd');
        out.extend((4 + 1 + 24 + body.len() as u32).to_be_bytes());
        out.push(b'w');
        out.extend([0; 24]);
        out.extend(body);
    }
    out
}

fn keepalive(wal_end: u64) -> Vec<u8> {
    [&b"d\0\0\0\x16k"[..], &wal_end.to_be_bytes(), &[0; 9]].concat()
}

fn transaction(commit_lsn: u64, changes: &[Vec<u8>]) -> Vec<u8> {
    data(&[&[begin(commit_lsn)], changes, &[commit(commit_lsn)]].concat())
}

fn entry(lsn: u64, row: [&str; 3]) -> Entry {
    let mut buffer = RowBuffer::default();
    let cells = row.iter().map(|text| crate::engine::Cell::Text(text.as_bytes()));
    layout().encode(cells, None, &mut buffer).expect("values of their types");
    Entry::row(Lsn(lsn), &buffer.key, &buffer.row)
}

fn text(row: &[u8]) -> String {
    let columns = columns();
    let cells = value::columns(&columns, row).zip(&columns).map(|(datum, column)| {
        let mut text = Vec::new();
        value::write_text(&column.ty, datum.expect("a datum"), &mut text).expect("a text");
        String::from_utf8(text).expect("UTF-8")
    });
    cells.collect::<Vec<_>>().join(" ")
}

/// What a store would hold.
#[derive(Default, Clone)]
struct Kept {
    rows: BTreeMap<(RowsOf, Vec<u8>), Entry>,
    facts: BTreeMap<String, Vec<u8>>,
    backlog: BTreeMap<u64, Vec<u8>>,
    position: Position,
}

impl Kept {
    fn write(&mut self, Checkpoint { batch, position, .. }: Checkpoint) {
        let Batch { chunks, entries, forgotten, passed, backlog, backlog_dropped, facts, .. } =
            batch;
        for (of, entry) in forgotten {
            self.rows.remove(&(of, entry.key().to_vec()));
        }
        for LoadedChunk { rows_of, rows } in chunks {
            let rows = rows.into_iter().flatten();
            self.rows.extend(rows.map(|row| ((rows_of, row.key().to_vec()), row)));
        }
        for (of, keys) in passed {
            self.rows.retain(|(rows_of, key), _| *rows_of != of || !keys.contains(key));
        }
        for (of, entry) in entries {
            self.rows.insert((of, entry.key().to_vec()), entry);
        }
        if backlog_dropped {
            self.backlog.clear();
        }
        self.backlog.extend(backlog);
        for (name, value) in facts {
            match value {
                Some(value) => self.facts.insert(name, value),
                None => self.facts.remove(&name),
            };
        }
        self.position = position;
    }

    /// As read again from a disk.
    fn rows_of(&self, of: RowsOf) -> Vec<Entry> {
        let rows = self.rows.iter().filter(|((rows_of, _), _)| *rows_of == of);
        rows.map(|(_, entry)| match entry.value() {
            Some(row) => Entry::row_in(entry.leaf(), entry.lsn(), entry.key(), row),
            None => Entry::tombstone(entry.lsn(), entry.key()),
        })
        .collect()
    }
}

/// A machine of two tables and the projections `a`, `b`, each of one, and `by_other` of A under another
/// key; all go to one sink.
struct World {
    machine: Machine,
    kept: Kept,
}

struct Start {
    stages: [Stage; 2],
    load: Option<LoadInit>,
    hides_fills: bool,
}

impl Default for Start {
    fn default() -> Self {
        Self { stages: [Stage::Live, Stage::Live], load: None, hides_fills: false }
    }
}

fn load(chunks_left: &[(u32, usize)]) -> Start {
    let chunks_left = chunks_left.iter().copied().collect();
    let load = LoadInit { from: Lsn(50), bound: Lsn(50), chunks_left, backlog_end: 0 };
    let stages = [Stage::Loading, Stage::Loading];
    Start { stages, load: Some(load), hides_fills: false }
}

impl World {
    fn new(kept: Kept, start: Start) -> Self {
        let Start { stages, load, hides_fills } = start;
        let tables = [A, B].into_iter().zip(stages).enumerate().map(|(at, (oid, stage))| {
            let name = format!("table/{oid}");
            TableInit {
                name: format!("public.t{oid}"),
                layout: layout(),
                leaves: vec![(oid, 0)],
                partitioned: false,
                rows_of: ROWS_OF[at],
                stage,
                rows: kept.rows_of(ROWS_OF[at]),
                tombstone_floor: Lsn::ZERO,
                facts: TableFacts { name, live: b"live".to_vec(), stale: b"stale".to_vec() },
            }
        });
        let projection = |name: &str, plan, rows_of| ProjectionInit {
            name: name.to_owned(),
            plan,
            rows_of,
            rows: kept.rows_of(rows_of),
            tombstone_floor: Lsn::ZERO,
        };
        let init = MachineInit {
            tables: tables.collect(),
            projections: vec![
                projection("a", Plan::table(0, vec![0]), 0),
                projection("b", Plan::table(1, vec![0]), 0),
                projection("by_other", Plan::table(0, vec![1]), ROWS_OF[2]),
            ],
            sinks: vec![SinkInit {
                name: "sink".to_owned(),
                step_rows: 100,
                backlog_rows: 100,
                forgetful: false,
                projections: vec![0, 1, 2],
                halts: vec![false; 3],
                hides_fills,
                histories: vec![false; 3],
                generations: vec![1; 3],
                told: vec![kept.position.lsn; 3],
                rebuilds: vec![false; 3],
                letters: Vec::new(),
                waived: Vec::new(),
            }],
            events: Vec::new(),
            histories: Vec::new(),
            position: kept.position,
            committed_at: 0,
            xid_max: 0,
            load,
            load_to_come: false,
            recent_bytes_max: usize::MAX,
            tombstone_bytes_max: usize::MAX,
        };
        let mut machine = Machine::new(init).expect("rows are whole");
        machine.connected();
        Self { machine, kept }
    }

    fn at(lsn: u64) -> Self {
        Self::new(
            Kept { position: Position { lsn: Lsn(lsn), inside: None }, ..Kept::default() },
            Start::default(),
        )
    }

    fn loading(chunks_left: &[(u32, usize)]) -> Self {
        let position = Position { lsn: Lsn(50), inside: None };
        Self::new(Kept { position, ..Kept::default() }, load(chunks_left))
    }

    fn gulp(&mut self, bytes: &[u8]) {
        self.machine.gulp(bytes).expect("a stream");
    }

    fn checkpoint(&mut self) {
        let checkpoint = self.machine.checkpoint();
        self.kept.write(checkpoint);
        self.machine.stored(0);
    }

    fn restart(self, start: Start) -> Self {
        Self::new(self.kept, start)
    }

    fn rows(&self, projection: usize) -> Vec<String> {
        let arrangement = self.machine.projections[projection].arrangement;
        let rows = self.machine.engine.arrangements()[arrangement].scan_after(None);
        rows.filter_map(|entry| entry.value().map(text)).collect()
    }

    /// Replays what can be replayed.
    fn replay(&mut self) -> Option<Replayed> {
        while let Some(at) = self.machine.replay_at() {
            let outcome = match self.kept.backlog.get(&at) {
                Some(piece) => {
                    self.machine.replay(piece).expect("a backlog");
                    None
                }
                None => self.machine.finish_load().expect("a backlog"),
            };
            if let Some(Replayed::NeedsRow { .. }) = outcome {
                return outcome;
            }
        }
        None
    }

    fn chunk(&mut self, chunk: u32, table: usize, rows: &[[&str; 3]], bound: u64) {
        let entries = rows.iter().map(|row| entry(49, *row)).collect();
        self.machine.loaded(table, chunk, entries, None, Vec::new()).expect("rows");
        let ended = Some(Lsn(bound));
        self.machine.loaded(table, chunk, Vec::new(), ended, Vec::new()).expect("rows");
    }

    /// Lets the sink stand there with everything.
    fn open_at(&mut self, lsn: u64) {
        let at = Standing::At { lsn: Lsn(lsn), reaching: Lsn(lsn), generation: 1 };
        self.machine.opened(0, &vec![at; 3]);
    }

    /// What the sink is told of each projection, and the position of the last settled step for it.
    fn deliver(&mut self) -> (Vec<Vec<String>>, Vec<Option<Lsn>>) {
        let mut told = vec![Vec::new(); 3];
        let mut position = vec![None; 3];
        while let Some(work) = self.machine.next_work(0, true) {
            match &work {
                Work::Fill { lane, rows } | Work::Amend { lane, changes: rows } => {
                    told[*lane].extend(rows.iter().filter_map(|row| row.value().map(text)));
                }
                Work::Step(step) => {
                    for part in &step.lanes {
                        let row = |row: &Entry| row.value().map_or("gone".to_owned(), text);
                        told[part.lane].extend(part.entries.iter().map(row));
                        if step.settled {
                            position[part.lane] = Some(step.position);
                        }
                    }
                }
                _ => {}
            }
            self.machine.done(0, &work, Vec::new());
        }
        (told, position)
    }
}

#[test]
fn a_restart_inside_a_transaction_tells_the_sinks_of_its_first_changes_too() {
    let mut world = World::at(10);
    let (first, second) = (insert(A, ["1", "10", "x"]), insert(A, ["2", "20", "y"]));
    world.gulp(&data(&[begin(60), relation(A), first.clone()]));
    world.checkpoint();

    let mut world = world.restart(Start::default());
    world.open_at(10);
    assert_eq!(world.deliver().0[0], [""; 0], "the transaction is not whole");
    world.gulp(&transaction(60, &[relation(A), first, second]));
    let (told, position) = world.deliver();
    assert_eq!(told[0], ["1 10 x", "2 20 y"]);
    assert_eq!(told[2], ["1 10 x", "2 20 y"], "what depends on them follows");
    assert_eq!(position, [Some(Lsn(65)); 3]);
}

/// What reads the log and what has to scan the rows: readers meet them at once.
#[test]
fn a_transaction_that_a_restart_has_cut_arrives_in_one_step() {
    let mut world = World::at(10);
    world.open_at(10);
    world.gulp(&transaction(20, &[relation(A), insert(A, ["1", "10", "x"])]));
    world.deliver();
    // The store goes on to where the sink has not been told of yet.
    world.gulp(&keepalive(40));
    let (first, second) = (insert(A, ["2", "20", "y"]), update(A, ["1", "11", "z"]));
    world.gulp(&data(&[begin(60), relation(A), first.clone()]));
    world.checkpoint();

    // It has the transaction before, or lacks it.
    for stands in [25, 10] {
        let mut world = World::new(world.kept.clone(), Start::default());
        world.open_at(stands);
        world.deliver();
        world.gulp(&transaction(60, &[relation(A), first.clone(), second.clone()]));
        let mut shown = BTreeSet::new();
        while let Some(work) = world.machine.next_work(0, true) {
            if let Work::Step(step) = &work {
                let parts = step.lanes.iter().filter(|part| !part.entries.is_empty());
                shown.extend(parts.map(|part| part.lane));
                if step.settled {
                    break;
                }
            }
            world.machine.done(0, &work, Vec::new());
        }
        assert_eq!(shown, BTreeSet::from([0, 2]), "before the first settled step from {stands}");
    }
}

#[test]
fn deletions_that_a_sink_is_on_its_way_to_are_kept_however_many_they_are() {
    let rows = ["1", "2", "3"].map(|id| insert(A, [id, id, "x"]));
    let delete = |id| delete(A, id);
    let mut world = World::at(10);
    world.open_at(10);
    world.gulp(&transaction(20, &[&[relation(A)], &rows[..]].concat()));
    world.deliver();
    world.gulp(&data(&[begin(60), relation(A), delete("1")]));
    world.checkpoint();

    let mut world = world.restart(Start::default());
    world.machine.tombstone_bytes_max = 0;
    world.checkpoint();
    world.open_at(25);
    world.checkpoint();
    world.gulp(&transaction(60, &[relation(A), delete("1"), delete("2")]));
    world.checkpoint();
    let (told, position) = world.deliver();
    assert_eq!((&told[0], &told[2]), (&vec!["gone".to_owned(); 2], &vec!["gone".to_owned(); 2]));
    assert_eq!(position, [Some(Lsn(65)); 3]);

    // One that is away may stay away for ever.
    world.machine.closed(0);
    world.gulp(&transaction(80, &[relation(A), delete("3"), insert(A, ["4", "4", "y"])]));
    world.checkpoint();
    world.open_at(65);
    let filled = std::iter::from_fn(|| {
        let work = world.machine.next_work(0, true)?;
        world.machine.done(0, &work, Vec::new());
        Some(matches!(work, Work::Fill { .. }))
    });
    assert!(filled.fuse().any(|is_fill| is_fill), "it has missed a deletion that is forgotten");
}

#[test]
fn a_sink_that_is_emptied_while_it_is_ahead_is_filled_from_where_the_engine_is() {
    let mut world = World::at(10);
    world.open_at(100);
    assert_eq!(world.deliver().1, [None; 3]);
    world.machine.opened(0, &vec![Standing::Fresh { generation: 0, reaching: Lsn::ZERO }; 3]);
    world.gulp(&transaction(20, &[relation(A), insert(A, ["1", "10", "x"])]));
    assert_eq!(world.deliver().1, [Some(Lsn(25)); 3]);
}

#[test]
fn a_transaction_that_begins_at_the_very_position_is_told_after_a_restart_inside_it() {
    let mut world = World::at(60);
    let change = insert(A, ["1", "10", "x"]);
    world.gulp(&data(&[begin(60), relation(A), change.clone()]));
    world.checkpoint();
    let mut world = world.restart(Start::default());
    world.open_at(60);
    world.gulp(&transaction(60, &[relation(A), change]));
    assert_eq!(world.deliver().0[0], ["1 10 x"]);
}

#[test]
fn a_replay_keeps_its_descriptions_whatever_the_stream_describes_meanwhile() {
    let mut world = World::loading(&[(0, 0), (1, 1)]);
    world.gulp(&transaction(60, &[relation(A), insert(A, ["1", "10", "x"])]));
    world.checkpoint();
    world.gulp(&transaction(70, &[insert(A, ["2", "20", "y"])]));
    world.checkpoint();
    world.chunk(0, 0, &[], 50);
    world.chunk(1, 1, &[], 50);

    let piece = world.kept.backlog[&0].clone();
    world.machine.replay(&piece).expect("a backlog");
    // The connection breaks, and the server describes the table again.
    world.machine.connected();
    world.gulp(&transaction(80, &[relation(A), insert(A, ["3", "30", "z"])]));
    assert_eq!(world.replay(), None);
    assert_eq!(world.rows(0), ["1 10 x", "2 20 y", "3 30 z"]);
    world.gulp(&transaction(90, &[insert(A, ["4", "40", "v"])]));
    assert_eq!(world.rows(0).len(), 4, "the table is live under the connection's description");
}

#[test]
fn a_load_is_not_over_before_the_stream_has_reached_its_rows() {
    let mut world = World::loading(&[(0, 0), (1, 1)]);
    world.machine.opened(0, &vec![Standing::Fresh { generation: 0, reaching: Lsn::ZERO }; 3]);
    world.chunk(0, 0, &[["1", "10", "new"]], 90);
    world.chunk(1, 1, &[], 50);
    world.gulp(&transaction(60, &[relation(A), update(A, ["1", "10", "old"])]));
    assert_eq!(world.replay(), None);
    assert_eq!(world.machine.wanted_position(), Some(Lsn(90)));
    assert!(!world.machine.is_ready(0));
    assert_eq!(world.deliver().0[0], [""; 0]);

    // A row that moved between two chunks, so that none has shown it.
    world.gulp(&transaction(85, &[update(A, ["2", "20", "-"])]));
    world.gulp(&transaction(95, &[update(A, ["1", "10", "newer"])]));
    let needs = Some(Replayed::NeedsRow { table: 0, xid: 7 });
    assert_eq!(world.replay(), needs);
    assert_eq!(world.machine.wanted_key(0).expect("a key"), ["2"]);
    world.machine.fetched(0, Some(entry(49, ["2", "20", "long"])), Lsn(99));
    assert_eq!(world.replay(), None);
    assert!(world.machine.is_ready(0));
    assert_eq!(world.deliver().0[0], ["1 10 newer", "2 20 long"]);
}

#[test]
fn a_fill_that_nobody_sees_takes_a_loads_rows_before_the_load_is_over() {
    let position = Position { lsn: Lsn(50), inside: None };
    let start = Start { hides_fills: true, ..load(&[(0, 0), (1, 0), (2, 1)]) };
    let mut world = World::new(Kept { position, ..Kept::default() }, start);
    world.chunk(0, 0, &[["1", "10", "new"], ["2", "20", "gone"]], 90);
    world.machine.opened(0, &vec![Standing::Fresh { generation: 0, reaching: Lsn::ZERO }; 3]);
    world.checkpoint();
    world.chunk(1, 0, &[["2", "20", "moved"], ["3", "30", "x"]], 90);
    world.chunk(2, 1, &[], 50);
    let (told, position) = world.deliver();
    assert_eq!(told[0], ["1 10 new", "2 20 gone", "3 30 x"]);
    assert_eq!(told[2], [""; 0], "what is computed of them waits");
    assert_eq!(position, [None; 3]);

    let changes = [relation(A), update(A, ["1", "10", "old"]), delete(A, "3")];
    world.gulp(&transaction(60, &changes));
    world.gulp(&transaction(95, &[update(A, ["1", "10", "newer"])]));
    world.checkpoint();
    assert_eq!(world.replay(), None);
    let (told, position) = world.deliver();
    assert_eq!(told[0], ["2 20 moved", "gone", "1 10 newer"]);
    assert_eq!(position, [Some(Lsn(100)); 3]);
}

#[test]
fn rows_of_a_load_are_shown_though_nothing_happens_on_the_source() {
    let mut world = World::loading(&[(0, 0), (1, 1)]);
    world.machine.opened(0, &vec![Standing::Fresh { generation: 0, reaching: Lsn::ZERO }; 3]);
    world.chunk(0, 0, &[["1", "10", "x"]], 50);
    world.chunk(1, 1, &[], 50);
    assert_eq!(world.replay(), None);
    let (told, position) = world.deliver();
    assert_eq!(
        (&told[0][..], &told[2][..]),
        (&["1 10 x".to_owned()][..], &["1 10 x".to_owned()][..])
    );
    assert_eq!(position, [Some(Lsn(50)); 3]);
}

#[test]
fn a_bound_that_a_fetched_row_has_raised_is_waited_for() {
    let mut world = World::loading(&[(0, 0), (1, 1)]);
    world.chunk(0, 0, &[], 50);
    world.chunk(1, 1, &[], 50);
    world.gulp(&transaction(60, &[relation(A), update(A, ["2", "20", "-"])]));
    assert!(world.replay().is_some());
    world.machine.fetched(0, Some(entry(49, ["2", "20", "long"])), Lsn(70));
    assert_eq!(world.replay(), None);
    assert!(!world.machine.is_ready(0));
    // What was replayed goes to the store meanwhile, and is not replayed again.
    world.checkpoint();
    world.gulp(&transaction(75, &[delete(A, "2")]));
    assert_eq!(world.replay(), None);
    assert!(world.machine.is_ready(0));
    assert_eq!(world.rows(0), [""; 0]);
}

#[test]
fn a_moved_row_is_asked_for_under_its_new_key() {
    let mut world = World::loading(&[(0, 0), (1, 1)]);
    // A chunk shows who came to the old key later.
    world.chunk(0, 0, &[["1", "11", "another row"]], 70);
    world.chunk(1, 1, &[], 50);
    world.gulp(&transaction(60, &[relation(A), rekey(A, "1", ["2", "20", "-"])]));
    world.gulp(&transaction(65, &[insert(A, ["1", "11", "another row"])]));
    world.gulp(&transaction(72, &[]));
    assert_eq!(world.replay(), Some(Replayed::NeedsRow { table: 0, xid: 7 }));
    assert_eq!(world.machine.wanted_key(0).expect("a key"), ["2"]);
    world.machine.fetched(0, Some(entry(49, ["2", "20", "its own"])), Lsn(70));
    assert_eq!(world.replay(), None);
    assert_eq!(world.rows(0), ["1 11 another row", "2 20 its own"]);
    assert_eq!(world.rows(2), ["1 11 another row", "2 20 its own"]);
}

#[test]
fn a_moved_row_that_is_gone_at_the_source_leaves_its_old_key() {
    let mut world = World::loading(&[(0, 0), (1, 1)]);
    world.chunk(0, 0, &[["1", "10", "long"]], 50);
    world.chunk(1, 1, &[], 50);
    world.gulp(&transaction(60, &[relation(A), rekey(A, "1", ["2", "10", "-"])]));
    assert!(world.replay().is_some());
    // The source's answer is of a position beyond the row's deletion, which is on its way.
    world.machine.fetched(0, None, Lsn(70));
    assert_eq!(world.replay(), None);
    assert!(!world.machine.is_ready(0));
    world.gulp(&transaction(75, &[delete(A, "2")]));
    assert_eq!(world.replay(), None);
    assert_eq!(world.rows(0), [""; 0]);
    assert_eq!(world.rows(2), [""; 0]);
}

#[test]
fn an_answer_for_a_table_that_has_dropped_out_is_no_other_rows() {
    let mut world = World::loading(&[(0, 0), (1, 1)]);
    world.chunk(0, 0, &[], 50);
    world.chunk(1, 1, &[], 50);
    let changes =
        [relation(A), relation(B), update(A, ["1", "10", "-"]), update(B, ["2", "20", "-"])];
    world.gulp(&transaction(60, &changes));
    let Some(Replayed::NeedsRow { table: first, .. }) = world.replay() else {
        panic!("two rows are unknown");
    };
    let second = 1 - first;
    world.machine.quarantine(first, "it is gone".to_owned());
    assert_eq!(world.replay(), Some(Replayed::NeedsRow { table: second, xid: 7 }));
    world.machine.fetched(first, Some(entry(49, ["9", "90", "another row"])), Lsn(60));
    let key = ["1", "2"][second];
    let row = [key, ["10", "20"][second], "its own"];
    world.machine.fetched(second, Some(entry(49, row)), Lsn(60));
    assert_eq!(world.replay(), None);
    assert_eq!(world.rows(second), [row.join(" ")]);
}

#[test]
fn chunks_that_are_planned_again_are_all_waited_for() {
    let mut world = World::loading(&[(0, 0), (1, 0)]);
    world.chunk(0, 0, &[["1", "10", "x"]], 50);
    world.machine.replanned(0, &[0, 1], &[2, 3], Vec::new());
    world.chunk(2, 0, &[["1", "10", "x"]], 50);
    assert_eq!(world.machine.replay_at(), None, "one is left");
    world.chunk(3, 0, &[["2", "20", "y"]], 50);
    assert_eq!(world.replay(), None);
    assert!(world.machine.is_ready(0));
    assert_eq!(world.rows(0), ["1 10 x", "2 20 y"]);
}

#[test]
fn rows_of_an_abandoned_chunk_do_not_undo_what_was_replayed() {
    let mut world = World::loading(&[(0, 0)]);
    world.gulp(&transaction(60, &[relation(A), update(A, ["1", "10", "new"])]));
    world.chunk(0, 0, &[["1", "10", "old"]], 60);
    world.checkpoint();
    let piece = world.kept.backlog[&0].clone();
    world.machine.replay(&piece).expect("a backlog");
    world
        .machine
        .loaded(0, 0, vec![entry(49, ["1", "10", "old"])], None, Vec::new())
        .expect("rows");
    assert_eq!(world.replay(), None);
    assert_eq!(world.rows(0), ["1 10 new"]);
}

#[test]
fn a_table_that_cannot_be_loaded_holds_no_other_up_and_shows_nothing() {
    let mut world = World::loading(&[(0, 0), (1, 1), (2, 1)]);
    world.machine.opened(0, &vec![Standing::Fresh { generation: 0, reaching: Lsn::ZERO }; 3]);
    world.kept.facts.insert("load".to_owned(), b"the load".to_vec());
    world.chunk(0, 0, &[["1", "10", "x"]], 50);
    world.chunk(1, 1, &[["5", "50", "a part"]], 50);
    world.machine.quarantine(1, "permission denied".to_owned());
    assert_eq!(world.replay(), None);
    world.checkpoint();
    assert_eq!(world.kept.facts.get("table/100").map(Vec::as_slice), Some(&b"live"[..]));
    assert_eq!(world.kept.facts.get("table/200").map(Vec::as_slice), Some(&b"stale"[..]));
    assert!(!world.kept.facts.contains_key("load"), "the changes since are not kept");
    assert!(world.machine.is_ready(0) && !world.machine.is_ready(1));
    let (told, _) = world.deliver();
    assert_eq!((&told[0][..], &told[1][..]), (&["1 10 x".to_owned()][..], &[][..]));
}

#[test]
fn what_is_no_longer_followed_stays_where_it_is_in_every_sink() {
    let mut world = World::at(10);
    world.open_at(10);
    world.gulp(&transaction(20, &[relation(A), insert(A, ["1", "10", "x"]), relation(B)]));
    assert_eq!(world.deliver().1, [Some(Lsn(25)); 3]);
    world.machine.quarantine(0, "column body is gone".to_owned());
    world.gulp(&transaction(30, &[insert(B, ["2", "20", "y"])]));
    let (told, position) = world.deliver();
    assert_eq!(told[1], ["2 20 y"]);
    assert_eq!(position, [None, Some(Lsn(35)), None], "settled there would be untrue");
    assert_eq!(world.machine.delivered(0, 0).lsn, Lsn(25));
    assert_eq!(world.machine.delivered(0, 1).lsn, Lsn(35));
}

#[test]
fn a_projection_under_another_key_is_made_from_the_rows_that_are_there() {
    let mut world = World::at(10);
    let rows = [["1", "10", "x"], ["2", "20", "y"], ["3", "20", "z"]];
    let mut changes = vec![relation(A)];
    changes.extend(rows.map(|row| insert(A, row)));
    world.gulp(&transaction(20, &changes));
    world.checkpoint();
    world.kept.rows.retain(|(of, _), _| *of != ROWS_OF[2]);

    let mut world = world.restart(Start::default());
    assert_eq!(world.rows(2), ["1 10 x"], "two rows claim 20");
    let fresh = Standing::Fresh { generation: 0, reaching: Lsn::ZERO };
    let at = Standing::At { lsn: Lsn(25), reaching: Lsn(25), generation: 1 };
    world.machine.opened(0, &[at.clone(), at, fresh]);
    assert_eq!(world.deliver().0, [vec![], vec![], vec!["1 10 x".to_owned()]]);
    world.checkpoint();

    // Which keys are claimed by several rows is found again, too.
    let mut world = world.restart(Start::default());
    world.gulp(&transaction(30, &[relation(A), delete(A, "3")]));
    assert_eq!(world.rows(2), ["1 10 x", "2 20 y"]);
}

#[test]
fn letters_of_a_projection_that_is_filled_anew_are_written_anew() {
    let mut world = World::at(10);
    world.open_at(10);
    world.gulp(&transaction(20, &[relation(A), insert(A, ["1", "10", "x"])]));
    let work = world.machine.next_work(0, false).expect("a step");
    let refused = Refused { lane: 0, entry: entry(20, ["1", "10", "x"]), error: "no".to_owned() };
    world.machine.done(0, &work, vec![refused]);
    assert_eq!(world.machine.dead_letters(0, 0), 1);
    world.machine.opened(0, &vec![Standing::Fresh { generation: 1, reaching: Lsn::ZERO }; 3]);
    world.gulp(&transaction(30, &[delete(A, "1")]));
    world.deliver();
    assert_eq!(world.machine.dead_letters(0, 0), 0, "its row is gone");
}
