//! The source and the sinks of the simulation.

use super::logs::{Changed, EVENTS, Occurred, Since, Versions, occurrence};
use super::*;
use crate::engine::EventPlace;

const IDS: u8 = 8;
const OTHERS: u8 = 6;
/// Sinks refuse such bodies.
pub(super) const POISON: &str = "p";

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
    /// Of A's rows, in order.
    changes: BTreeMap<(u64, u64), Changed>,
}

/// What a transaction does to a row, and how the stream says it; neither row where all go.
struct Change {
    oid: u32,
    message: Vec<u8>,
    old: Option<(u8, Row)>,
    new: Option<(u8, Row)>,
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
            changes: BTreeMap::new(),
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
        let commit_lsn = self.wal + 10;
        let mut messages = Vec::new();
        for _ in 0..count {
            let Some(Change { oid, message, old, new }) = self.change(rng) else { continue };
            messages.push((oid, message));
            if oid == A && (&old, &new) != (&None, &None) {
                let ordinal = messages.len() as u64;
                let side = |row: Option<(u8, Row)>| row.map(|(id, row)| (id, row.body));
                let changed = Changed { commit_lsn, ordinal, old: side(old), new: side(new) };
                self.changes.insert((commit_lsn, ordinal), changed);
            }
        }
        self.wal = commit_lsn + 5;
        self.transactions.insert(commit_lsn, messages);
        self.history.insert(self.end(), self.tables.clone());
    }

    fn change(&mut self, rng: &mut Rng) -> Option<Change> {
        let at = rng.usize(0..2);
        let oid = [A, B][at];
        let id = rng.u8(0..IDS);
        let new = self.row(rng);
        let cells = |id: u8, row: &Row| [id.to_string(), row.other.to_string(), row.body.clone()];
        let table = &mut self.tables[at];
        let old = table.get(&id).cloned();
        let (message, new) = match &old {
            None => {
                let message = insert(oid, cells(id, &new).each_ref().map(String::as_str));
                (message, Some((id, new)))
            }
            Some(_) if rng.u32(0..4) == 0 => (delete(oid, &id.to_string()), None),
            Some(old) if rng.u32(0..4) == 0 => {
                // Its body is large, and not sent when it does not change.
                let row = Row { body: old.body.clone(), ..new };
                let [cell, other, _] = cells(id, &row);
                (update(oid, [&cell, &other, "-"]), Some((id, row)))
            }
            Some(_) if rng.u32(0..20) == 0 => {
                table.clear();
                let message = [&b"T\0\0\0\x01\0"[..], &oid.to_be_bytes()].concat();
                return Some(Change { oid, message, old: None, new: None });
            }
            Some(old) if rng.u32(0..4) == 0 => {
                let to = (0..IDS).find(|to| !table.contains_key(to))?;
                let keeps = rng.bool();
                let row = if keeps { Row { body: old.body.clone(), ..new } } else { new };
                let [cell, other, body] = cells(to, &row);
                let body = if keeps { "-" } else { body.as_str() };
                (rekey(oid, &id.to_string(), [&cell, &other, body]), Some((to, row)))
            }
            Some(_) => {
                let message = update(oid, cells(id, &new).each_ref().map(String::as_str));
                (message, Some((id, new)))
            }
        };
        table.remove(&id);
        table.extend(new.clone());
        Some(Change { oid, message, old: old.map(|old| (id, old)), new })
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

    /// What an event has to say at this place, what is looked up being of the transaction's end.
    pub(super) fn occurrence(&self, event: usize, place: EventPlace) -> String {
        let ordinal = ((place.ordinal as u64 - 1) >> 24) + 1;
        let changed = self.changes.get(&(place.lsn.0, ordinal));
        let changed = changed.unwrap_or_else(|| panic!("{place} never happened"));
        let looked_up = changed.new.as_ref().and_then(|(id, _)| {
            let (_, tables) = self.history.get_key_value(&Lsn(place.lsn.0 + 5))?;
            Some(tables[1].get(id)?.body.as_str())
        });
        let (at, data) = occurrence(event, changed, looked_up)
            .unwrap_or_else(|| panic!("{place} is no {}", EVENTS[event]));
        assert_eq!(at, place);
        data
    }

    /// Where there are occurrences of an event that were committed between two positions.
    pub(super) fn places(&self, event: usize, from: Lsn, until: Lsn) -> Vec<EventPlace> {
        let changes = self.changes.range((from.0, 0)..(until.0.max(from.0), 0));
        let places = changes.filter_map(|(_, changed)| occurrence(event, changed, None));
        places.map(|(place, _)| place).collect()
    }

    /// Ends of transactions from one position to another.
    pub(super) fn positions(&self, from: Lsn, to: Lsn) -> Vec<Lsn> {
        self.history.range(from..).map(|(at, _)| *at).take_while(|at| *at <= to).collect()
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
    pub(super) fn shows(&self, lane: usize, at: Lsn) -> BTreeSet<String> {
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
    fill: Option<Fill>,
    /// What it has refused, where the sink itself remembers it.
    refused: BTreeMap<Vec<u8>, Entry>,
    versions: Versions,
    /// Something has happened after which its history may begin anew.
    may_refill: bool,
    occurred: Occurred,
}

#[derive(Clone, Default)]
struct Fill {
    rows: Rows,
    refused: BTreeMap<Vec<u8>, Entry>,
}

impl Lane {
    fn shows(&self) -> BTreeSet<String> {
        self.rows.values().map(|(_, row)| row.clone()).collect()
    }
}

type Lanes = [Lane; LANES];

pub(super) struct Sink {
    pub(super) name: &'static str,
    /// Unsettled steps stay in a transaction, too.
    pub(super) hides_fills: bool,
    /// What it has answered it may lose, for up to an hour; an event that is sent again is there twice.
    pub(super) forgetful: bool,
    /// The lane of which it keeps a history.
    pub(super) history: Option<usize>,
    pub(super) step_rows: usize,
    pub(super) backlog_rows: usize,
    pub(super) is_open: bool,
    /// By lane: it remembers what it has refused.
    remembers: [bool; LANES],
    lanes: Lanes,
    transaction: Option<Lanes>,
    backup: (u64, Lanes),
    /// By lane and key: the newest version that a reader has met.
    seen: BTreeMap<(usize, Vec<u8>), Lsn>,
}

impl Sink {
    pub(super) fn new(name: &'static str, hides_fills: bool, rng: &mut Rng) -> Self {
        let (step_rows, backlog_rows) = (rng.usize(1..8), rng.usize(1..16));
        let history = rng.choice([None, Some(0), Some(1), Some(2)]).flatten();
        let history = history.filter(|_| hides_fills);
        let forgetful = !hides_fills && rng.bool();
        // Of the others what becomes of a letter that was lost is told by sending its row again.
        let remembers = |lane: usize| history.is_some() || forgetful && lane >= PROJECTIONS.len();
        Self {
            name,
            hides_fills,
            forgetful,
            history,
            step_rows,
            backlog_rows,
            is_open: false,
            remembers: std::array::from_fn(remembers),
            lanes: Default::default(),
            transaction: None,
            backup: Default::default(),
            seen: BTreeMap::new(),
        }
    }

    /// Where it stands, and what it remembers of refusals.
    pub(super) fn open(&mut self) -> (Vec<Standing>, Vec<Refused>) {
        self.transaction = None;
        self.is_open = true;
        let standing = |lane: &Lane| match lane.watermark {
            None => Standing::Fresh { generation: 0, reaching: Lsn::ZERO },
            Some((lsn, reaching, generation)) => Standing::At { lsn, reaching, generation },
        };
        let standings = self.lanes.iter().map(standing).collect();
        let mut refused = Vec::new();
        for (lane, of) in self.lanes.iter().enumerate().filter(|(lane, _)| self.remembers[*lane]) {
            let entries = of.refused.values().chain(of.occurred.refused());
            refused.extend(entries.map(|entry| refusal(lane, entry)));
        }
        (standings, refused)
    }

    pub(super) fn backup(&mut self, now: u64) {
        self.backup = (now, self.lanes.clone());
    }

    /// To the backup, or to nothing.
    pub(super) fn put_back(&mut self, now: u64, rng: &mut Rng) {
        self.is_open = false;
        let (at, backup) =
            if rng.u32(0..3) == 0 { Default::default() } else { self.backup.clone() };
        let were = std::mem::replace(&mut self.lanes, backup);
        for (lane, was) in self.lanes.iter_mut().zip(were) {
            let is_kept = self.forgetful && now < at + 3_600;
            let had = was.watermark.filter(|_| !is_kept).map_or(Lsn::ZERO, |(had, ..)| had);
            lane.occurred.lost(&was.occurred, had);
            lane.may_refill = true;
        }
        self.seen.clear();
    }

    /// A projection is rebuilt by hand, or its table is loaded again.
    pub(super) fn may_refill(&mut self, lane: usize) {
        self.lanes[lane].may_refill = true;
        if let Some(lanes) = &mut self.transaction {
            lanes[lane].may_refill = true;
        }
    }

    pub(super) fn perform(
        &mut self,
        work: &Work,
        source: &Source,
        since: Option<Since>,
    ) -> Vec<Refused> {
        let mut refused = Vec::new();
        match work {
            Work::BeginFill { lane, .. } => self.lanes[*lane].fill = Some(Fill::default()),
            Work::Fill { lane, rows } | Work::Amend { lane, changes: rows } => {
                let fill = self.lanes[*lane].fill.as_mut().expect("a fill was begun");
                put(*lane, rows, &mut fill.rows, &mut refused);
                remember(rows, &refused, &mut fill.refused);
            }
            Work::EndFill { .. } | Work::Forget { .. } | Work::Reopen => {}
            Work::Step(step) => self.step(step, source, since, &mut refused),
        }
        refused
    }

    fn step(
        &mut self,
        step: &crate::output::Step,
        source: &Source,
        since: Option<Since>,
        refused: &mut Vec<Refused>,
    ) {
        if step.lanes.is_empty() && !step.settled {
            // A look at rows that have not changed: the sink is not asked.
            return;
        }
        let is_seen = step.settled || !self.hides_fills;
        let begun = self.transaction.take();
        let in_place = is_seen && begun.is_none();
        let mut lanes = match begun {
            Some(begun) => begun,
            None if in_place => std::mem::take(&mut self.lanes),
            None => self.lanes.clone(),
        };
        for part in &step.lanes {
            let lane = &mut lanes[part.lane];
            let was = lane.watermark;
            let (lsn, reaching, _) = was.unwrap_or_default();
            assert!(part.finish_fill || lsn <= step.position, "a watermark goes back");
            lane.watermark = Some(match step.settled {
                true => (step.position, step.position, part.generation),
                false => (lsn, reaching.max(step.reaching), part.generation),
            });
            if let Some(event) = part.lane.checked_sub(PROJECTIONS.len()) {
                let once = self.forgetful;
                let not = lane.occurred.put(event, &part.entries, once, source, since);
                refused.extend(not.iter().map(|entry| refusal(part.lane, entry)));
                match (step.settled, since) {
                    (false, _) => lane.occurred.in_backlog(),
                    (true, Some(since)) => {
                        lane.occurred.settled(event, since, step.position, source);
                    }
                    (true, None) => {}
                }
                continue;
            }
            if part.finish_fill {
                // Fills go beside steps.
                let beside =
                    if in_place { &mut lane.fill } else { &mut self.lanes[part.lane].fill };
                let fill = beside.take().expect("a fill was begun");
                (lane.rows, lane.refused, lane.fill) = (fill.rows, fill.refused, None);
            }
            let keeps_history = self.history == Some(part.lane);
            let entries = if keeps_history && !part.finish_fill {
                let last = part.entries.iter().map(|entry| (entry.key().to_vec(), entry.clone()));
                last.collect::<BTreeMap<_, _>>().into_values().collect()
            } else {
                part.entries.clone()
            };
            let known = refused.len();
            put(part.lane, &entries, &mut lane.rows, refused);
            remember(&entries, &refused[known..], &mut lane.refused);
            if keeps_history {
                if part.finish_fill {
                    let may_refill = std::mem::take(&mut lane.may_refill);
                    assert!(
                        was.is_none() || may_refill,
                        "a history has a gap that nothing excuses"
                    );
                    let rows = lane.rows.iter().map(|(key, (_, row))| (key, row));
                    lane.versions.settle(rows, step.position);
                } else {
                    assert_eq!(part.entries.len(), part.times.len(), "each has its time");
                    for entry in &part.entries {
                        lane.versions.put(entry, accepted(entry));
                    }
                    if step.settled {
                        lane.versions.reached(step.position);
                    }
                }
                lane.versions.check(part.lane, lsn, source);
            }
            if step.settled {
                let expected = source.shows(part.lane, step.position);
                let name = PROJECTIONS[part.lane];
                assert_eq!(
                    lane.shows(),
                    expected,
                    "{name} in {} at {} (P1)",
                    self.name,
                    step.position
                );
            }
        }
        if !in_place {
            for (lane, now) in lanes.iter_mut().zip(&mut self.lanes) {
                lane.fill = now.fill.take();
                if !is_seen {
                    now.fill.clone_from(&lane.fill);
                }
            }
        }
        if is_seen {
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
        for (at, name) in PROJECTIONS.iter().enumerate() {
            let lane = &self.lanes[at];
            assert_eq!(
                lane.shows(),
                source.shows(at, end),
                "{name} in {} at the end (P2)",
                self.name
            );
            if self.history == Some(at) {
                lane.versions.check(at, Lsn::ZERO, source);
            }
        }
    }

    pub(super) fn has_refused(&self, event: usize, place: EventPlace) -> bool {
        self.lanes[PROJECTIONS.len() + event].occurred.has_refused(place)
    }
}

fn refusal(lane: usize, entry: &Entry) -> Refused {
    Refused { lane, entry: entry.clone(), error: "poison".to_owned() }
}

/// What a sink shows of a row's version.
fn accepted(entry: &Entry) -> Option<String> {
    entry.value().map(text).filter(|row| !row.contains(POISON))
}

fn put(lane: usize, entries: &[Entry], rows: &mut Rows, refused: &mut Vec<Refused>) {
    let mut named = BTreeSet::new();
    for entry in entries {
        assert!(named.insert(entry.key().to_vec()), "a row is named twice (P4)");
        match accepted(entry) {
            Some(row) => drop(rows.insert(entry.key().to_vec(), (entry.lsn(), row))),
            None => drop(rows.remove(entry.key())),
        }
        if !entry.is_tombstone() && accepted(entry).is_none() {
            refused.push(refusal(lane, entry));
        }
    }
}

fn remember(entries: &[Entry], refused: &[Refused], of: &mut BTreeMap<Vec<u8>, Entry>) {
    of.retain(|key, _| entries.iter().all(|entry| entry.key() != key.as_slice()));
    of.extend(refused.iter().map(|refused| (refused.entry.key().to_vec(), refused.entry.clone())));
}
