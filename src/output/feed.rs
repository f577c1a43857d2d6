//! One sink's feed: what it is told next.
//!
//! Work goes in *rounds* (`round`). A round has a target, the position applied when it began, and brings
//! every live lane of the sink from where it stands to exactly that position: each key that changed on
//! the way at most once, in the version of the target (P4). A round that fits into one step is one
//! consistent step; a larger one is a series of unsettled steps closed by a settled one (P1).
//!
//! A lane whose sink keeps a history reads the log of its projection's versions in place of the rows, and is
//! told every one of them; it is filled from the rows.
//!
//! Lanes that are being filled (`fill`) stand apart until so little is missing that the next settled step
//! can take them in.

mod fill;
mod round;

use std::collections::{BTreeSet, HashSet};

use self::round::{Round, Taken, has_entries};
use super::lane::{Cursor, LaneState, Stage, Standing, WantedPage};
use super::work::{Step, Work};

use crate::engine::{ArrangementId, Arrivals, Engine, Entry, unpack_version};
use crate::lsn::Lsn;

/// How far a lane's sink is known to have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    pub lsn: Lsn,
    pub settled: bool,
}

pub struct Feed {
    lanes: Vec<Lane>,
    step_rows: usize,
    /// Of an unsettled step.
    backlog_rows: usize,
    round: Option<Round>,
    /// Fills and steps take turns, so that neither waits for the whole of the other.
    fill_next: bool,
    /// A step was handed out and its outcome is not known yet.
    step_under_way: bool,
    /// A lane was halted in the middle of a round: what it has sent must not be settled.
    broken: bool,
    presence: Presence,
}

/// Whether the sink is going to ask for more by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// It was not asked yet.
    Unknown,
    Open,
    /// It cannot be reached, or another instance writes to it.
    Away,
}

struct Lane {
    /// What changed: of rows, of an event, or of a history.
    arrangement: ArrangementId,
    /// What it is filled from; `None`: nothing fills it.
    rows: Option<ArrangementId>,
    stage: Stage,
    generation: u64,
    /// The greatest that was ever begun, also in a sink that has gone back since.
    newest: u64,
    /// What the sink's watermark says, as far as is known.
    delivered: Delivered,
    /// No fill begins before the engine has passed what readers may have seen (P3).
    held_until: Lsn,
    /// While it is filled: the position at which the fill's scan began.
    filled_from: Lsn,
    /// What became of changes before it is known: which were refused, above all. A sink that stands
    /// further on has taken some of which its answer was lost; they are sent once more.
    told: Lsn,
    /// Another instance has brought the sink forward, or we have and forgot it: what was refused on the way, the
    /// sink knows.
    is_anothers: bool,
    /// Letters that were settled by hand, which the sink may remember.
    settled: BTreeSet<Vec<u8>>,
    hides_fills: bool,
    /// Keys whose rows are to be sent again though they have not changed.
    again: BTreeSet<Vec<u8>>,
    /// Of an event: occurrences that are to be sent again.
    again_occurred: Vec<Entry>,
    /// It is to be filled anew though nothing is wrong with it.
    rebuild: bool,
    /// `generation` is that of a fill, and whether the sink has finished it is not known.
    fills: bool,
    /// Sent again, an entry would be there twice: the lane goes on from exactly where its sink stands.
    once: bool,
    /// Of a history's fill: the first position at which it can be whole.
    whole_from: Lsn,
}

pub struct LaneInit {
    /// What the lane is told of.
    pub arrangement: ArrangementId,
    /// What it is filled from: itself, or a history's rows; nothing fills an event's lane.
    pub rows: Option<ArrangementId>,
    /// The last one that was begun.
    pub generation: u64,
    /// What became of changes before it is known.
    pub told: Lsn,
    /// A rebuild was asked for and is not over.
    pub rebuild: bool,
    /// Readers see nothing of a fill before it is finished.
    pub hides_fills: bool,
    /// Sent again, an entry would be there twice.
    pub once: bool,
    /// A refused occurrence has halted it.
    pub halted: bool,
}

/// What there is of a lane's projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Those of the position applied.
    Live,
    /// What a load has read so far, of no one position.
    Loading,
    /// Its tables are not followed any more: it stays where it is.
    Stopped,
}

/// How far the engine is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub applied: Lsn,
    /// Commit time of the last transaction before it.
    pub committed_at: i64,
}

impl Feed {
    pub fn new(
        lanes: impl IntoIterator<Item = LaneInit>,
        step_rows: usize,
        backlog_rows: usize,
    ) -> Self {
        let lanes = lanes
            .into_iter()
            .map(|init| {
                let LaneInit { arrangement, rows, generation, told, rebuild, hides_fills, .. } =
                    init;
                Lane {
                    arrangement,
                    rows,
                    told,
                    is_anothers: false,
                    settled: BTreeSet::new(),
                    again: BTreeSet::new(),
                    again_occurred: Vec::new(),
                    rebuild,
                    fills: false,
                    hides_fills,
                    once: init.once,
                    stage: if init.halted { Stage::Halted } else { Stage::Unknown },
                    generation,
                    newest: generation,
                    delivered: Delivered { lsn: Lsn::ZERO, settled: false },
                    held_until: Lsn::ZERO,
                    filled_from: Lsn::ZERO,
                    whole_from: Lsn::ZERO,
                }
            })
            .collect();
        Self {
            lanes,
            step_rows,
            backlog_rows: backlog_rows.max(step_rows),
            round: None,
            fill_next: true,
            step_under_way: false,
            broken: false,
            presence: Presence::Unknown,
        }
    }

    /// The sink was opened, for the first time or again, and says where it stands. Returns lanes whose fill was
    /// not known to be over.
    pub fn opened(&mut self, standings: &[Standing], engine: &Engine) -> Vec<usize> {
        assert_eq!(standings.len(), self.lanes.len(), "one standing per lane");
        self.round = None;
        self.step_under_way = false;
        self.broken = false;
        self.presence = Presence::Open;
        let mut filled = Vec::new();
        for (at, (lane, standing)) in self.lanes.iter_mut().zip(standings).enumerate() {
            if matches!(lane.stage, Stage::Halted) {
                continue;
            }
            let arrangement = &engine.arrangements()[lane.arrangement];
            match *standing {
                // A log is not filled: what is kept of it follows.
                Standing::Fresh { generation, reaching } if lane.rows.is_none() => {
                    lane.generation = generation.max(1);
                    lane.delivered = Delivered { lsn: Lsn::ZERO, settled: false };
                    lane.stage = Stage::Held { lsn: Lsn::ZERO, reaching };
                }
                Standing::Blocked => lane.stage = Stage::Unknown,
                Standing::Fresh { generation, reaching } => {
                    lane.newest = lane.newest.max(generation);
                    lane.refill();
                    lane.held_until = reaching;
                    // It may have been ahead of the engine before it was emptied.
                    lane.delivered.lsn = Lsn::ZERO;
                }
                Standing::At { lsn, reaching, generation } => {
                    // Which rows its fill refused has been forgotten by a crash.
                    let mut fill_is_untold = generation > lane.generation && lane.rows.is_some();
                    if lane.is_history() && lane.fills && generation == lane.generation {
                        fill_is_untold = true;
                    }
                    lane.fills = false;
                    if fill_is_untold && lane.is_history() {
                        // Another fill would lack versions. The sink itself knows what it refused.
                        fill_is_untold = false;
                        lane.rebuild = false;
                        lane.told = lsn;
                        lane.is_anothers = true;
                        filled.push(at);
                    }
                    lane.generation = generation;
                    lane.delivered = Delivered { lsn, settled: lsn >= reaching };
                    // Deletions below the floor are forgotten: only a fill finds what has to go.
                    let is_cut = lsn < arrangement.tombstone_floor();
                    if is_cut || fill_is_untold || lane.rebuild {
                        lane.refill();
                        // What readers have seen stays until the fill is its equal.
                        lane.held_until = reaching.max(lsn);
                    } else {
                        lane.stage = Stage::Held { lsn, reaching: reaching.max(lsn) };
                    }
                }
            }
        }
        filled
    }

    /// Another instance brings the sink forward, and it stands there. What would be needed to go on from
    /// there is kept; what became of the rows before is the other one's to know. Lanes whose generation is
    /// another one than before.
    pub fn watched(&mut self, standings: &[Standing], engine: &Engine) -> Vec<usize> {
        let mut others = Vec::new();
        for (at, (lane, standing)) in self.lanes.iter_mut().zip(standings).enumerate() {
            lane.again.clear();
            lane.settled.clear();
            lane.is_anothers = true;
            if matches!(lane.stage, Stage::Halted) {
                lane.stage = Stage::Unknown;
            }
            if let Standing::At { lsn, generation, .. } = *standing {
                lane.told = lsn;
                if lane.generation != generation {
                    lane.generation = generation;
                    others.push(at);
                }
            }
        }
        self.opened(standings, engine);
        self.presence = Presence::Away;
        others
    }

    /// The sink is away: nothing is known of it until it is opened again.
    pub fn closed(&mut self) {
        self.round = None;
        self.step_under_way = false;
        self.broken = false;
        self.presence = Presence::Away;
        for lane in &mut self.lanes {
            if !matches!(lane.stage, Stage::Halted) {
                lane.stage = Stage::Unknown;
            }
        }
    }

    /// A refused row, or what has become of its table, halts a projection in this sink: its watermark
    /// stays where it is.
    pub fn halt(&mut self, lane: usize) {
        self.lanes[lane].stage = Stage::Halted;
        let takes_part =
            |round: &Round| round.members.contains(&lane) || round.finishing.contains(&lane);
        self.broken |= self.round.as_ref().is_some_and(takes_part);
    }

    /// A halted projection goes on, from the oldest row that the sink has refused.
    pub fn release(&mut self, lane: usize, refused: Option<Lsn>) {
        let of = &mut self.lanes[lane];
        if !matches!(of.stage, Stage::Halted) {
            return;
        }
        of.told = refused.unwrap_or(of.told).min(of.told);
        of.stage = Stage::Unknown;
        // Where it goes on is told by the sink itself.
        self.broken = true;
    }

    pub fn is_halted(&self, lane: usize) -> bool {
        matches!(self.lanes[lane].stage, Stage::Halted)
    }

    /// The current version of the row under `key` is sent once more, with the next step.
    pub fn again(&mut self, lane: usize, key: Vec<u8>) {
        self.lanes[lane].again.insert(key);
    }

    /// An occurrence is sent once more, before all that come after it.
    pub fn again_occurrence(&mut self, lane: usize, entry: Entry) {
        self.lanes[lane].again_occurred.push(entry);
    }

    /// It can be told something.
    pub fn is_open(&self) -> bool {
        self.presence == Presence::Open
    }

    /// Whether a refusal that the sink remembers says anything here: not, when our own letters were durable
    /// after it, or when the lane is to be filled anew, which meets the row again.
    pub fn takes_refusal(&self, lane: usize, lsn: Lsn) -> bool {
        let of = &self.lanes[lane];
        (of.is_anothers || lsn >= of.told) && !matches!(of.stage, Stage::Fresh | Stage::Unknown)
    }

    /// Of a history: what became of changes before this position, the sink alone knows.
    pub fn told_by_sink(&self, lane: usize) -> Option<Lsn> {
        let of = &self.lanes[lane];
        (of.is_anothers && of.is_history()).then_some(of.told)
    }

    /// The letter of this key was settled by hand: the sink need not remember it.
    pub fn settled_by_hand(&mut self, lane: usize, key: Vec<u8>) {
        self.lanes[lane].settled.insert(key);
    }

    /// The projection is filled anew beside the generation that readers see.
    pub fn rebuild(&mut self, lane: usize) {
        let of = &mut self.lanes[lane];
        match of.stage {
            // It is being done.
            Stage::Fresh
            | Stage::Following(_)
            | Stage::Repeating(_)
            | Stage::Filling(_)
            | Stage::Amending(_) => {}
            _ => of.rebuild = true,
        }
        self.release(lane, None);
    }

    /// A rebuild was asked for and is not over.
    pub fn is_rebuilding(&self, lane: usize) -> bool {
        self.lanes[lane].rebuild
    }

    /// The next work, or `None` when there is nothing to do before more is applied. `rows` tells what
    /// there is of each lane's projection. `idle` asks for a step even when only the position moved.
    pub fn next(
        &mut self,
        engine: &Engine,
        progress: Progress,
        rows: impl Fn(usize) -> Rows,
        idle: bool,
    ) -> Option<Work> {
        let ready = |lane| rows(lane) == Rows::Live;
        if self.broken {
            return Some(Work::Reopen);
        }
        self.renew_round(engine, progress.applied, &ready);
        if self.round.is_none() {
            if let Some(work) = self.forget_settled() {
                return Some(work);
            }
            self.begin_rebuilds(&ready);
            self.catch_up(engine, progress.applied, &ready);
            self.follow_to_end(engine, progress.applied, &ready);
        }
        let fill_first = self.fill_next;
        self.fill_next = !fill_first;
        if fill_first
            && self.round.is_none()
            && let Some(work) = self.next_fill(engine, progress, &rows)
        {
            return Some(work);
        }
        match self.next_step(engine, progress, &ready, idle) {
            Taken::Step(step) => {
                self.step_under_way = true;
                return Some(Work::Step(step));
            }
            Taken::Broken => return Some(Work::Reopen),
            Taken::Nothing => {}
        }
        self.fill_next = true;
        // The fills that a round is to finish must not overtake its position.
        if self.round.is_some() { None } else { self.next_fill(engine, progress, &rows) }
    }

    /// Between two rounds, since it belongs to no step.
    fn forget_settled(&self) -> Option<Work> {
        let mut lanes = self.lanes.iter().enumerate();
        let (lane, of) = lanes.find(|(_, of)| !of.settled.is_empty())?;
        Some(Work::Forget { lane, keys: of.settled.iter().cloned().collect() })
    }

    /// The sink has forgotten them.
    pub fn forgot(&mut self, lane: usize, keys: &[Vec<u8>]) {
        for key in keys {
            self.lanes[lane].settled.remove(key);
        }
    }

    /// Between two rounds, when the sink holds nothing unsettled.
    fn begin_rebuilds(&mut self, ready: &impl Fn(usize) -> bool) {
        if self.step_under_way {
            return;
        }
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if lane.rebuild && lane.is_live() && lane.delivered.settled && ready(at) {
                lane.held_until = lane.delivered.lsn;
                lane.refill();
            }
        }
    }

    /// Lanes whose sink was ahead of the engine go on once it has passed them (P3). They do so together: one that
    /// cannot yet read what is missing would be left behind what readers see of the others.
    fn catch_up(&mut self, engine: &Engine, applied: Lsn, ready: &impl Fn(usize) -> bool) {
        let mut cursors = Vec::new();
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if let Stage::Held { lsn, reaching } = lane.stage
                && reaching <= applied
                && ready(at)
            {
                let arrangement = &engine.arrangements()[lane.arrangement];
                if lsn < arrangement.tombstone_floor() {
                    lane.refill();
                } else {
                    cursors.push((at, Cursor::since(arrangement, lane.from(lsn), applied)));
                }
            }
        }
        // An event's log may begin above the position, with a gap: until then nothing can be missing of it.
        let waits = |&(at, ref cursor): &(usize, Option<Cursor>)| {
            cursor.is_none() && self.lanes[at].rows.is_some()
        };
        if cursors.iter().any(waits) {
            return;
        }
        for (at, cursor) in cursors {
            if let Some(cursor) = cursor {
                self.lanes[at].stage = Stage::Live(cursor);
            }
        }
    }

    /// The sink has done a step: its lanes stand there now.
    pub fn done(&mut self, step: &Step) {
        self.step_under_way = false;
        for part in &step.lanes {
            let lane = &mut self.lanes[part.lane];
            lane.delivered.settled = step.settled;
            if part.finish_fill {
                (lane.rebuild, lane.fills) = (false, false);
            }
            if step.settled {
                assert!(lane.delivered.lsn <= step.position, "a sink's position never falls (P3)");
                lane.delivered.lsn = step.position;
                // One that this step has halted goes on from what was refused in it.
                if !matches!(lane.stage, Stage::Halted) {
                    lane.told = step.position;
                    lane.is_anothers = false;
                }
            }
        }
    }

    /// How far a lane's sink is, counting that nothing may lie between its watermark and `applied`.
    pub fn delivered(&self, lane: usize, engine: &Engine, applied: Lsn) -> Delivered {
        let lane = &self.lanes[lane];
        let mut delivered = lane.delivered;
        if let Stage::Live(cursor) = &lane.stage
            && delivered.settled
            && !self.step_under_way
            && self.round.is_none()
            && !has_entries(cursor, &engine.arrangements()[lane.arrangement], applied)
        {
            delivered.lsn = delivered.lsn.max(applied);
        }
        delivered
    }

    /// The sink is away, and had all there is.
    pub fn lacks_nothing(&self, lane: usize, engine: &Engine, applied: Lsn) -> bool {
        let Lane { stage, delivered, arrangement, .. } = &self.lanes[lane];
        let arrangement = &engine.arrangements()[*arrangement];
        matches!(stage, Stage::Unknown)
            && delivered.settled
            && arrangement.seq_at(delivered.lsn).is_some_and(|seq| {
                let mut changes = arrangement.changes_from(seq).into_iter().flatten();
                changes.next().is_none_or(|first| first.lsn() >= applied)
            })
    }

    /// What became of changes before it is known.
    pub fn told(&self, lane: usize) -> Lsn {
        self.lanes[lane].told
    }

    /// The position that the sink's own watermark shows.
    pub fn watermark(&self, lane: usize) -> Delivered {
        self.lanes[lane].delivered
    }

    pub fn state(&self, lane: usize, ready: bool) -> LaneState {
        match &self.lanes[lane].stage {
            Stage::Halted => LaneState::Halted,
            Stage::Unknown => LaneState::Unknown,
            _ if !ready => LaneState::Loading,
            Stage::Held { .. } => LaneState::Held,
            Stage::Fresh
            | Stage::Following(_)
            | Stage::Repeating(_)
            | Stage::Filling(_)
            | Stage::Amending(_) => LaneState::Filling,
            Stage::Live(_) => LaneState::Live,
        }
    }

    /// While it is filled: rows that were handed out so far.
    pub fn filled(&self, lane: usize) -> Option<u64> {
        match &self.lanes[lane].stage {
            Stage::Fresh | Stage::Following(_) | Stage::Repeating(_) => Some(0),
            Stage::Filling(scan) => Some(scan.taken()),
            _ => None,
        }
    }

    pub fn generation(&self, lane: usize) -> u64 {
        self.lanes[lane].generation
    }

    /// The changes of each arrangement that this sink may still read from the log: (arrangement, first
    /// sequence number). A sink that is away holds nothing: it scans when it is back.
    pub fn reads_from(&self, engine: &Engine) -> Vec<(ArrangementId, u64)> {
        let mut from = Vec::new();
        for lane in &self.lanes {
            let arrangement = &engine.arrangements()[lane.arrangement];
            let seq = match &lane.stage {
                // Of a log everything else is in the store.
                Stage::Live(Cursor::Log(log)) if arrangement.is_log() => {
                    arrangement.seq_at(lane.delivered.lsn.min(lane.told)).or(Some(log.seq))
                }
                Stage::Live(_) => arrangement.seq_at(lane.delivered.lsn.min(lane.told)),
                Stage::Filling(_) if lane.is_history() => arrangement.seq_at(lane.filled_from),
                Stage::Filling(scan) | Stage::Amending(Cursor::Scan(scan)) => Some(scan.log_seq()),
                Stage::Amending(Cursor::Log(log)) => Some(log.seq),
                Stage::Following(_) | Stage::Repeating(_) => {
                    arrangement.arrivals().map(Arrivals::log_seq)
                }
                Stage::Held { lsn, .. } => arrangement.seq_at((*lsn).min(lane.told)),
                _ => None,
            };
            from.extend(seq.map(|seq| (lane.arrangement, seq)));
        }
        from
    }

    /// The first of a load's arrivals in the arrangement that this sink has yet to take; `None`: it takes
    /// none. With `waits` also for a lane that has not begun.
    pub fn takes_from(&self, arrangement: ArrangementId, waits: bool) -> Option<u64> {
        let lanes = self.lanes.iter().filter(|lane| lane.arrangement == arrangement);
        lanes
            .filter_map(|lane| match lane.stage {
                Stage::Following(next) => Some(next),
                // Of those there are none left; what came again it has yet to take.
                Stage::Repeating(_) => Some(u64::MAX),
                Stage::Unknown | Stage::Fresh => (waits && lane.hides_fills).then_some(0),
                _ => None,
            })
            .min()
    }

    /// The next piece of a log that one of the lanes has to read from the store.
    pub fn wanted_page(&self, ready: impl Fn(usize) -> bool) -> Option<WantedPage> {
        (0..self.lanes.len()).filter(|&at| ready(at)).find_map(|at| self.wanted_of(at))
    }

    /// The same of one of them.
    pub fn wanted_of(&self, lane: usize) -> Option<WantedPage> {
        let of = &self.lanes[lane];
        match &of.stage {
            Stage::Live(Cursor::Scan(scan)) | Stage::Amending(Cursor::Scan(scan)) => {
                scan.wanted_page(lane, of.arrangement)
            }
            _ => None,
        }
    }

    /// The sink has had more than it has now.
    pub fn has_gone_back(&self, lane: usize) -> bool {
        let of = &self.lanes[lane];
        of.delivered.lsn < of.told
    }

    /// What was read for `wanted_page`; whether it is the last piece.
    pub fn give_page(&mut self, lane: usize, entries: Vec<Entry>, is_last: bool) {
        if let Stage::Live(Cursor::Scan(scan)) | Stage::Amending(Cursor::Scan(scan)) =
            &mut self.lanes[lane].stage
        {
            scan.give_page(entries, is_last);
        }
    }

    /// The position below which this sink has every deletion of the arrangement; `None`: it reads none of it.
    pub fn passed(&self, arrangement: ArrangementId) -> Option<Lsn> {
        let lanes = self.lanes.iter().filter(|lane| lane.arrangement == arrangement);
        lanes.map(Lane::passed).min()
    }

    /// The same of lanes that go on by themselves, being `followed`: what they have yet to get is kept however
    /// much it is. One that is away, for nobody knows how long, is filled anew when it comes back too late.
    pub fn needs(
        &self,
        arrangement: ArrangementId,
        is_followed: impl Fn(usize) -> bool,
    ) -> Option<Lsn> {
        let goes_on = |lane: &Lane| match self.presence {
            Presence::Unknown => true,
            Presence::Open => !matches!(lane.stage, Stage::Unknown | Stage::Halted),
            Presence::Away => false,
        };
        let lanes = self.lanes.iter().enumerate();
        let lanes = lanes.filter(|(at, lane)| {
            lane.arrangement == arrangement && goes_on(lane) && is_followed(*at)
        });
        lanes.map(|(_, lane)| lane.passed()).min()
    }
}

impl Lane {
    fn passed(&self) -> Lsn {
        match self.stage {
            Stage::Following(_) | Stage::Repeating(_) | Stage::Filling(_) | Stage::Amending(_) => {
                self.filled_from
            }
            // It will be filled from a later position than any deletion so far.
            Stage::Fresh => Lsn::MAX,
            _ => self.delivered.lsn.min(self.told),
        }
    }

    /// Where the entries begin that a sink which has come to `lsn` is sent.
    fn from(&self, lsn: Lsn) -> Lsn {
        if self.once { lsn } else { lsn.min(self.told) }
    }

    fn is_history(&self) -> bool {
        self.rows.is_some_and(|rows| rows != self.arrangement)
    }

    /// A fill begins that no sink has seen anything of.
    fn refill(&mut self) {
        self.newest = self.newest.max(self.generation) + 1;
        self.generation = self.newest;
        self.refill_again();
    }

    /// It begins again.
    fn refill_again(&mut self) {
        self.again.clear();
        self.fills = true;
        self.stage = Stage::Fresh;
        self.delivered.settled = false;
    }

    /// The first position at which the lane can be whole.
    fn whole_from(&self) -> Lsn {
        match &self.stage {
            Stage::Live(Cursor::Log(log)) => log.whole_from,
            _ => Lsn::ZERO,
        }
    }

    /// The log no longer reaches back to where it stands.
    fn is_cut(&self, engine: &Engine) -> bool {
        match &self.stage {
            Stage::Live(Cursor::Log(log)) => {
                engine.arrangements()[self.arrangement].changes_from(log.seq).is_none()
            }
            _ => false,
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Live(_))
    }
}

/// What entries of a history's log say, and when each was committed.
fn versions(entries: &[Entry]) -> (Vec<Entry>, Vec<i64>) {
    entries.iter().filter_map(unpack_version).unzip()
}

/// A fill takes each key once: what it was meanwhile is no version of its own.
fn last_of_each(versions: Vec<Entry>) -> Vec<Entry> {
    let mut seen = HashSet::new();
    let mut last: Vec<Entry> =
        versions.into_iter().rev().filter(|entry| seen.insert(entry.key().to_vec())).collect();
    last.reverse();
    last
}
