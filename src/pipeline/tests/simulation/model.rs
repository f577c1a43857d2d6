//! The source and the sinks of the simulation.

use super::*;

const IDS: u8 = 8;
const OTHERS: u8 = 6;
/// Sinks refuse such bodies.
const POISON: &str = "p";

#[derive(Clone, PartialEq, Eq, Debug)]
struct Row {
    other: u8,
    body: String,
}

type Table = BTreeMap<u8, Row>;

pub(super) struct Source {
    wal: u64,
    next_body: u64,
    tables: [Table; 2],
    /// By commit LSN: what the stream says of a transaction between BEGIN and COMMIT, with its table.
    transactions: BTreeMap<u64, Vec<(u32, Vec<u8>)>>,
    /// The tables from this position on.
    history: BTreeMap<Lsn, [Table; 2]>,
}

/// A walsender's place.
pub(super) struct Stream {
    from: Lsn,
    /// The transaction that comes next or goes on, and how many of its messages are sent.
    at: u64,
    sent: usize,
    described: BTreeSet<u32>,
}

impl Source {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let mut source = Self {
            wal: 50,
            next_body: 0,
            tables: Default::default(),
            transactions: BTreeMap::new(),
            history: BTreeMap::new(),
        };
        for table in 0..2 {
            for _ in 0..rng.u8(0..IDS) {
                let row = source.row(rng);
                source.tables[table].insert(rng.u8(0..IDS), row);
            }
        }
        source.history.insert(Lsn(source.wal), source.tables.clone());
        source
    }

    /// All that has happened is before it.
    pub(super) fn end(&self) -> Lsn {
        Lsn(self.wal)
    }

    fn row(&mut self, rng: &mut Rng) -> Row {
        self.next_body += 1;
        let kind = if rng.u32(0..12) == 0 { POISON } else { "v" };
        Row { other: rng.u8(0..OTHERS), body: format!("{kind}{}", self.next_body) }
    }

    pub(super) fn idle(&mut self, rng: &mut Rng) {
        self.wal += rng.u64(1..30);
    }

    pub(super) fn transaction(&mut self, rng: &mut Rng) {
        let count = if rng.u32(0..6) == 0 { rng.usize(5..25) } else { rng.usize(0..4) };
        let messages = (0..count).filter_map(|_| self.change(rng)).collect();
        let commit_lsn = self.wal + 10;
        self.wal = commit_lsn + 5;
        self.transactions.insert(commit_lsn, messages);
        self.history.insert(self.end(), self.tables.clone());
    }

    fn change(&mut self, rng: &mut Rng) -> Option<(u32, Vec<u8>)> {
        let at = rng.usize(0..2);
        let oid = [A, B][at];
        let id = rng.u8(0..IDS);
        let new = self.row(rng);
        let cells = |id: u8, row: &Row| [id.to_string(), row.other.to_string(), row.body.clone()];
        let table = &mut self.tables[at];
        let message = match table.get(&id).cloned() {
            None => {
                table.insert(id, new.clone());
                insert(oid, cells(id, &new).each_ref().map(String::as_str))
            }
            Some(_) if rng.u32(0..4) == 0 => {
                table.remove(&id);
                delete(oid, &id.to_string())
            }
            Some(old) if rng.u32(0..4) == 0 => {
                // Its body is large, and not sent when it does not change.
                let row = Row { body: old.body, ..new };
                table.insert(id, row.clone());
                let [id, other, _] = cells(id, &row);
                update(oid, [&id, &other, "-"])
            }
            Some(_) if rng.u32(0..20) == 0 => {
                table.clear();
                [&b"T\0\0\0\x01\0"[..], &oid.to_be_bytes()].concat()
            }
            Some(old) if rng.u32(0..4) == 0 => {
                let to = (0..IDS).find(|to| !table.contains_key(to))?;
                let keeps = rng.bool();
                let row = if keeps { Row { body: old.body, ..new } } else { new };
                table.remove(&id);
                table.insert(to, row.clone());
                let [to, other, body] = cells(to, &row);
                let body = if keeps { "-" } else { body.as_str() };
                rekey(oid, &id.to_string(), [&to, &other, body])
            }
            Some(_) => {
                table.insert(id, new.clone());
                update(oid, cells(id, &new).each_ref().map(String::as_str))
            }
        };
        Some((oid, message))
    }

    /// As a walsender: transactions that end behind the position, whole.
    pub(super) fn stream(&self, from: Lsn) -> Stream {
        Stream { from, at: 0, sent: 0, described: BTreeSet::new() }
    }

    /// Some messages; at the end of all a keepalive.
    pub(super) fn gulp(&self, stream: &mut Stream, count: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..count {
            let next = self.transactions.range(stream.at..).find(|(at, _)| *at + 5 > stream.from.0);
            let Some((&lsn, messages)) = next else {
                out.extend(keepalive(self.wal));
                break;
            };
            if stream.at != lsn {
                (stream.at, stream.sent) = (lsn, 0);
            }
            match stream.sent {
                0 => out.extend(data(&[begin(lsn)])),
                at if at <= messages.len() => {
                    let (oid, message) = &messages[at - 1];
                    if stream.described.insert(*oid) {
                        out.extend(data(&[relation(*oid)]));
                    }
                    out.extend(data(std::slice::from_ref(message)));
                }
                _ => {
                    out.extend(data(&[commit(lsn)]));
                    stream.at = lsn + 1;
                    stream.sent = 0;
                    continue;
                }
            }
            stream.sent += 1;
        }
        out
    }

    /// Rows as a load reads them now.
    pub(super) fn entries(
        &self,
        table: usize,
        from: Lsn,
        wanted: impl Fn(u8) -> bool,
    ) -> Vec<Entry> {
        let rows = self.tables[table].iter().filter(|(id, _)| wanted(**id));
        let lsn = rows_lsn(from).0;
        rows.map(|(id, row)| entry(lsn, [&id.to_string(), &row.other.to_string(), &row.body]))
            .collect()
    }

    /// The rows of a projection at a position.
    fn rows(&self, lane: usize, at: Lsn) -> impl Iterator<Item = (u8, &Row)> {
        let (_, tables) = self.history.range(..=at).next_back().expect("it begins there");
        let table = &tables[[0, 1, 0][lane]];
        let claimed = |other: u8| table.values().filter(|row| row.other == other).count();
        let rows = table.iter().filter(move |(_, row)| lane != 2 || claimed(row.other) == 1);
        rows.map(|(id, row)| (*id, row))
    }

    /// What a projection shows at a position, but for what sinks refuse.
    fn shows(&self, lane: usize, at: Lsn) -> BTreeSet<String> {
        let rows = self.rows(lane, at).filter(|(_, row)| !row.body.starts_with(POISON));
        rows.map(|(id, row)| format!("{id} {} {}", row.other, row.body)).collect()
    }

    /// Which of a projection's keys, all below a bound, sinks refuse now.
    pub(super) fn refused(&self, lane: usize) -> (u8, BTreeSet<u8>) {
        let rows = self.rows(lane, self.end()).filter(|(_, row)| row.body.starts_with(POISON));
        let key = |(id, row): (u8, &Row)| if lane == 2 { row.other } else { id };
        (IDS.max(OTHERS), rows.map(key).collect())
    }
}

/// The key of a projection's row.
pub(super) fn key(number: u8) -> Vec<u8> {
    entry(1, [&number.to_string(), "0", ""]).key().to_vec()
}

/// By key, with the version's LSN.
type Rows = BTreeMap<Vec<u8>, (Lsn, String)>;

#[derive(Clone, Default)]
struct Lane {
    rows: Rows,
    /// Position, what rows may reach, generation.
    watermark: Option<(Lsn, Lsn, u64)>,
    fill: Option<Rows>,
}

impl Lane {
    fn shows(&self) -> BTreeSet<String> {
        self.rows.values().map(|(_, row)| row.clone()).collect()
    }
}

pub(super) struct Sink {
    pub(super) name: &'static str,
    /// Unsettled steps stay in a transaction, too.
    pub(super) hides_fills: bool,
    pub(super) step_rows: usize,
    pub(super) backlog_rows: usize,
    pub(super) is_open: bool,
    lanes: [Lane; 3],
    transaction: Option<[Lane; 3]>,
    backup: [Lane; 3],
    /// By lane and key: the newest version that a reader has met.
    seen: BTreeMap<(usize, Vec<u8>), Lsn>,
}

impl Sink {
    pub(super) fn new(name: &'static str, hides_fills: bool, rng: &mut Rng) -> Self {
        let (step_rows, backlog_rows) = (rng.usize(1..8), rng.usize(1..16));
        Self {
            name,
            hides_fills,
            step_rows,
            backlog_rows,
            is_open: false,
            lanes: Default::default(),
            transaction: None,
            backup: Default::default(),
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn open(&mut self) -> Vec<Standing> {
        self.transaction = None;
        self.is_open = true;
        let standing = |lane: &Lane| match lane.watermark {
            None => Standing::Fresh { generation: 0, reaching: Lsn::ZERO },
            Some((lsn, reaching, generation)) => Standing::At { lsn, reaching, generation },
        };
        self.lanes.iter().map(standing).collect()
    }

    pub(super) fn backup(&mut self) {
        self.backup = self.lanes.clone();
    }

    /// To the backup, or to nothing.
    pub(super) fn put_back(&mut self, rng: &mut Rng) {
        self.is_open = false;
        self.lanes = if rng.u32(0..3) == 0 { Default::default() } else { self.backup.clone() };
        self.seen.clear();
    }

    pub(super) fn perform(&mut self, work: &Work, source: &Source) -> Vec<Refused> {
        let mut refused = Vec::new();
        match work {
            Work::BeginFill { lane, .. } => self.lanes[*lane].fill = Some(BTreeMap::new()),
            Work::Fill { lane, rows } | Work::Amend { lane, changes: rows } => {
                let fill = self.lanes[*lane].fill.as_mut().expect("a fill was begun");
                put(*lane, rows, fill, &mut refused);
            }
            Work::EndFill { .. } | Work::Forget { .. } | Work::Reopen => {}
            Work::Step(step) => self.step(step, source, &mut refused),
        }
        refused
    }

    fn step(&mut self, step: &crate::output::Step, source: &Source, refused: &mut Vec<Refused>) {
        if step.lanes.is_empty() && !step.settled {
            // A look at rows that have not changed: the sink is not asked.
            return;
        }
        let mut lanes = self.transaction.take().unwrap_or_else(|| self.lanes.clone());
        for part in &step.lanes {
            let lane = &mut lanes[part.lane];
            if part.finish_fill {
                lane.rows = self.lanes[part.lane].fill.take().expect("a fill was begun");
                lane.fill = None;
            }
            put(part.lane, &part.entries, &mut lane.rows, refused);
            let (lsn, reaching, _) = lane.watermark.unwrap_or_default();
            assert!(part.finish_fill || lsn <= step.position, "a watermark goes back");
            if step.settled {
                lane.watermark = Some((step.position, step.position, part.generation));
                let expected = source.shows(part.lane, step.position);
                let name = PROJECTIONS[part.lane];
                assert_eq!(
                    lane.shows(),
                    expected,
                    "{name} in {} at {} (P1)",
                    self.name,
                    step.position
                );
            } else {
                lane.watermark = Some((lsn, reaching.max(step.reaching), part.generation));
            }
        }
        // Fills go beside steps.
        for (lane, now) in lanes.iter_mut().zip(&self.lanes) {
            lane.fill.clone_from(&now.fill);
        }
        if step.settled || !self.hides_fills {
            self.lanes = lanes;
            self.look();
        } else {
            self.transaction = Some(lanes);
        }
    }

    /// As a reader.
    fn look(&mut self) {
        for (at, lane) in self.lanes.iter().enumerate() {
            for (key, (lsn, row)) in &lane.rows {
                let seen = self.seen.entry((at, key.clone())).or_default();
                assert!(lsn >= seen, "{row} of {lsn} after {seen} in {} (P3)", self.name);
                *seen = *lsn;
            }
        }
    }

    pub(super) fn equals(&self, source: &Source, end: Lsn) {
        for (at, lane) in self.lanes.iter().enumerate() {
            let name = PROJECTIONS[at];
            assert_eq!(
                lane.shows(),
                source.shows(at, end),
                "{name} in {} at the end (P2)",
                self.name
            );
        }
    }
}

fn put(lane: usize, entries: &[Entry], rows: &mut Rows, refused: &mut Vec<Refused>) {
    let mut named = BTreeSet::new();
    for entry in entries {
        assert!(named.insert(entry.key().to_vec()), "a row is named twice (P4)");
        let row = entry.value().map(text);
        let is_poison = row.as_ref().is_some_and(|row| row.contains(POISON));
        match row.filter(|_| !is_poison) {
            Some(row) => drop(rows.insert(entry.key().to_vec(), (entry.lsn(), row))),
            None => drop(rows.remove(entry.key())),
        }
        if is_poison {
            refused.push(Refused { lane, entry: entry.clone(), error: "poison".to_owned() });
        }
    }
}
