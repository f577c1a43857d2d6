//! One sink's feed: what it is told next.
//!
//! Work goes in *rounds*. A round has a target, the position applied when it began, and brings every
//! live lane of the sink from where it stands to exactly that position: each key that changed on the
//! way at most once, in the version of the target (P4). A round that fits into one step is one
//! consistent step; a larger one is a series of unsettled steps closed by a settled one (P1).
//!
//! A lane whose sink keeps a history reads the log of its projection's versions in place of the rows, and is
//! told every one of them; it is filled from the rows.
//!
//! Lanes that are being filled stand apart until so little is missing that the next settled step can
//! take them in.

use super::lane::{Cursor, LaneState, Log, Scan, Stage, Standing, Through, WantedPage, take_log};
use std::collections::HashSet;

use crate::engine::{Arrangement, ArrangementId, Engine, Entry, unpack_version};
use crate::lsn::Lsn;

/// Rows of a fill go in larger portions than steps: nobody sees them as a state of any position, so only
/// other lanes' waiting bounds them.
const FILL_STEPS: usize = 5;

/// What a sink is to do next. Lanes are named by their position in the feed.
#[derive(Debug, Clone)]
pub enum Work {
    BeginFill {
        lane: usize,
        generation: u64,
    },
    Fill {
        lane: usize,
        rows: Vec<Entry>,
    },
    EndFill {
        lane: usize,
    },
    Amend {
        lane: usize,
        changes: Vec<Entry>,
    },
    Step(Step),
    /// Break the connection off and open the sink again: what it was told cannot be completed.
    Reopen,
}

/// See `sink::Step`, which it becomes.
#[derive(Debug, Clone)]
pub struct Step {
    pub lanes: Vec<StepLane>,
    pub position: Lsn,
    pub reaching: Lsn,
    pub committed_at: i64,
    pub settled: bool,
}

#[derive(Debug, Clone)]
pub struct StepLane {
    pub lane: usize,
    pub generation: u64,
    pub entries: Vec<Entry>,
    /// Of a history: when each entry was committed. A key may have several then, in their order.
    pub times: Vec<i64>,
    pub finish_fill: bool,
}

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
}

struct Lane {
    /// What changed: of rows, of an event, or of a history.
    arrangement: ArrangementId,
    /// What it is filled from; `None`: nothing fills it.
    rows: Option<ArrangementId>,
    stage: Stage,
    generation: u64,
    /// What the sink's watermark says, as far as is known.
    delivered: Delivered,
    /// No fill begins before the engine has passed what readers may have seen (P3).
    held_until: Lsn,
    /// While it is filled: the position at which the fill's scan began.
    filled_from: Lsn,
    /// What became of changes before it is known: which were refused, above all. A sink that stands
    /// further on has taken some of which its answer was lost; they are sent once more.
    told: Lsn,
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
    /// Sent again, an entry would be there twice.
    pub once: bool,
}

struct Round {
    until: Lsn,
    committed_at: i64,
    /// The lanes it brings forward; all live ones unless they stand at different positions and there
    /// is too much for one step: then those that stand furthest behind.
    members: Vec<usize>,
    /// Lanes whose fill the round's last step finishes.
    finishing: Vec<usize>,
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
            .map(|LaneInit { arrangement, rows, generation, told, once }| Lane {
                arrangement,
                rows,
                told,
                once,
                stage: Stage::Unknown,
                generation,
                delivered: Delivered { lsn: Lsn::ZERO, settled: false },
                held_until: Lsn::ZERO,
                filled_from: Lsn::ZERO,
                whole_from: Lsn::ZERO,
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
        }
    }

    /// The sink was opened, for the first time or again, and says where it stands.
    pub fn opened(&mut self, standings: &[Standing], engine: &Engine) {
        assert_eq!(standings.len(), self.lanes.len(), "one standing per lane");
        self.round = None;
        self.step_under_way = false;
        self.broken = false;
        for (lane, standing) in self.lanes.iter_mut().zip(standings) {
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
                Standing::Fresh { generation, reaching } => {
                    lane.refill(generation.max(lane.generation) + 1);
                    lane.held_until = reaching;
                }
                Standing::At { lsn, reaching, generation } => {
                    // Which rows its fill refused has been forgotten by a crash.
                    let fill_is_untold = generation > lane.generation && lane.rows.is_some();
                    lane.generation = generation;
                    lane.delivered = Delivered { lsn, settled: lsn >= reaching };
                    // Deletions below the floor are forgotten: only a fill finds what has to go.
                    if lsn < arrangement.tombstone_floor() || fill_is_untold {
                        lane.refill(generation + 1);
                    } else {
                        lane.stage = Stage::Held { lsn, reaching: reaching.max(lsn) };
                    }
                }
            }
        }
    }

    /// The sink is away: nothing is known of it until it is opened again.
    pub fn closed(&mut self) {
        self.round = None;
        self.step_under_way = false;
        self.broken = false;
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

    /// The next work, or `None` when there is nothing to do before more is applied. `ready` tells
    /// which lanes' projections are loaded and followed: the others stay where they are. `idle` asks
    /// for a step even when only the position moved.
    pub fn next(
        &mut self,
        engine: &Engine,
        progress: Progress,
        ready: impl Fn(usize) -> bool,
        idle: bool,
    ) -> Option<Work> {
        if self.broken {
            return Some(Work::Reopen);
        }
        if self.round.is_none() {
            self.release(engine, progress.applied, &ready);
        }
        let fill_first = self.fill_next;
        self.fill_next = !fill_first;
        if fill_first
            && self.round.is_none()
            && let Some(work) = self.next_fill(engine, progress, &ready)
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
        if self.round.is_some() { None } else { self.next_fill(engine, progress, &ready) }
    }

    /// Lanes whose sink was ahead of the engine go on once it has passed them (P3).
    fn release(&mut self, engine: &Engine, applied: Lsn, ready: &impl Fn(usize) -> bool) {
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if let Stage::Held { lsn, reaching } = lane.stage
                && reaching <= applied
                && ready(at)
            {
                let arrangement = &engine.arrangements()[lane.arrangement];
                if lsn < arrangement.tombstone_floor() {
                    lane.refill(lane.generation + 1);
                } else if let Some(cursor) = Cursor::since(arrangement, lane.from(lsn), applied) {
                    lane.stage = Stage::Live(cursor);
                }
            }
        }
    }

    fn next_fill(
        &mut self,
        engine: &Engine,
        progress: Progress,
        ready: &impl Fn(usize) -> bool,
    ) -> Option<Work> {
        let step_rows = self.step_rows;
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if !ready(at) {
                continue;
            }
            let arrangement = &engine.arrangements()[lane.arrangement];
            let Some(rows_of) = lane.rows else { continue };
            let is_history = rows_of != lane.arrangement;
            let rows_of = &engine.arrangements()[rows_of];
            match &mut lane.stage {
                Stage::Fresh if progress.applied < lane.held_until => {}
                Stage::Fresh => {
                    let Some(scan) = Scan::begin(rows_of, Lsn::ZERO, progress.applied) else {
                        continue;
                    };
                    lane.filled_from = progress.applied;
                    lane.stage = Stage::Filling(scan);
                    return Some(Work::BeginFill { lane: at, generation: lane.generation });
                }
                Stage::Filling(scan) => {
                    if !scan.is_through() {
                        let mut rows = Vec::new();
                        scan.take(rows_of, false, step_rows * FILL_STEPS, &mut rows);
                        return Some(Work::Fill { lane: at, rows });
                    }
                    let cursor = if is_history {
                        let cursor = Cursor::since(arrangement, lane.filled_from, progress.applied);
                        let Some(cursor) = cursor else { continue };
                        lane.whole_from = Lsn(rows_of.last_change().0 + 1);
                        cursor
                    } else {
                        scan.following(rows_of)
                    };
                    lane.stage = Stage::Amending(cursor);
                    return Some(Work::EndFill { lane: at });
                }
                Stage::Amending(cursor) => {
                    let mut changes = Vec::new();
                    match amend(
                        cursor,
                        arrangement,
                        lane.filled_from,
                        progress.applied,
                        step_rows,
                        &mut changes,
                    ) {
                        Amended::Some => {
                            if is_history {
                                changes = last_of_each(versions(&changes).0);
                            }
                            return Some(Work::Amend { lane: at, changes });
                        }
                        Amended::Nothing => {}
                        Amended::Lost => {
                            lane.refill(lane.generation);
                            return self.next_fill(engine, progress, ready);
                        }
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn next_step(
        &mut self,
        engine: &Engine,
        progress: Progress,
        ready: &impl Fn(usize) -> bool,
        idle: bool,
    ) -> Taken {
        if self.round.is_none() {
            self.round = self.begin_round(engine, progress, ready, idle);
        }
        let whole_from = self.lanes.iter().map(Lane::whole_from).max().unwrap_or(Lsn::ZERO);
        let cut = self.lanes.iter().any(|lane| lane.is_cut(engine));
        if let Some(round) = self.round.as_mut() {
            // A scan shows what is current: no position before the present one can be whole.
            if cut || round.until < whole_from {
                // One that is no longer followed has no present position.
                if !round.members.iter().chain(&round.finishing).all(|&at| ready(at)) {
                    return Taken::Broken;
                }
                (round.until, round.committed_at) = (progress.applied, progress.committed_at);
            }
            if round.until < whole_from {
                return Taken::Nothing;
            }
        }
        let Some(round) = &self.round else { return Taken::Nothing };
        let until = round.until;
        let committed_at = round.committed_at;
        let mut taken = self.take_from(&round.members, self.step_rows, engine, until);
        if let Some((_, _, Through::No)) = taken {
            // The watermarks of an unsettled step stay where they are, so its lanes stand at one position.
            let members = self.furthest_behind(&round.members);
            if members.len() < round.members.len() || self.step_rows < self.backlog_rows {
                taken = self.take_from(&members, self.backlog_rows, engine, until);
                self.round.as_mut().expect("a round is under way").members = members;
            }
            // More than one settled step takes.
            if let Some((lanes, _, through)) = &mut taken
                && lanes.iter().map(|part| part.entries.len()).sum::<usize>() > self.step_rows
            {
                *through = Through::No;
            }
        }
        let Some((mut lanes, cursors, through)) = taken else {
            return if self.is_lost(engine) { Taken::Broken } else { Taken::Nothing };
        };
        for (part, cursor) in lanes.iter().zip(cursors) {
            self.lanes[part.lane].stage = Stage::Live(cursor);
        }
        if through == Through::No {
            // A scan may have looked at many rows and found none that changed; the step is empty then.
            lanes.retain(|part| !part.entries.is_empty());
            let position = lanes.first().map_or(until, |part| self.lanes[part.lane].delivered.lsn);
            return Taken::Step(Step {
                lanes,
                position,
                reaching: until,
                committed_at,
                settled: false,
            });
        }
        let round = self.round.take().expect("a round is under way");
        lanes.extend(self.finish_fills(&round, engine));
        Taken::Step(Step { lanes, position: until, reaching: until, committed_at, settled: true })
    }

    /// One step's entries of the given lanes and where their cursors stand then; `None` when a lane can
    /// neither read its log any more nor scan yet.
    fn take_from(
        &self,
        lanes: &[usize],
        mut room: usize,
        engine: &Engine,
        until: Lsn,
    ) -> Option<(Vec<StepLane>, Vec<Cursor>, Through)> {
        let mut parts = Vec::new();
        let mut cursors = Vec::new();
        let mut through = Through::Yes;
        for &at in lanes {
            let lane = &self.lanes[at];
            let Stage::Live(cursor) = &lane.stage else { continue };
            let mut cursor = cursor.clone();
            let mut entries = Vec::new();
            let arrangement = &engine.arrangements()[lane.arrangement];
            let done = take(&mut cursor, arrangement, lane, until, room, &mut entries)?;
            if done == Through::No {
                through = Through::No;
            }
            room -= entries.len();
            let (entries, times) = match lane.is_history() {
                true => versions(&entries),
                false => (entries, Vec::new()),
            };
            parts.push(StepLane {
                lane: at,
                generation: lane.generation,
                entries,
                times,
                finish_fill: false,
            });
            cursors.push(cursor);
        }
        Some((parts, cursors, through))
    }

    fn furthest_behind(&self, lanes: &[usize]) -> Vec<usize> {
        let position = lanes.iter().map(|&at| self.lanes[at].delivered.lsn).min();
        lanes.iter().copied().filter(|&at| Some(self.lanes[at].delivered.lsn) == position).collect()
    }

    /// Whether a lane misses deletions that are forgotten, so that only a fill helps.
    fn is_lost(&self, engine: &Engine) -> bool {
        self.lanes.iter().any(|lane| {
            lane.is_live()
                && lane.delivered.lsn < engine.arrangements()[lane.arrangement].tombstone_floor()
        })
    }

    fn finish_fills(&mut self, round: &Round, engine: &Engine) -> Vec<StepLane> {
        let mut parts = Vec::new();
        for &at in &round.finishing {
            let lane = &mut self.lanes[at];
            let Stage::Amending(Cursor::Log(log)) = lane.stage else { continue };
            let arrangement = &engine.arrangements()[lane.arrangement];
            let mut entries = Vec::new();
            // The log may have been cut since; the fill then goes on by a scan.
            if let Some((next, Through::Yes)) =
                take_log(arrangement, log.seq, round.until, usize::MAX, &mut entries)
            {
                lane.stage = Stage::Live(Cursor::Log(Log { seq: next, ..log }));
                if lane.is_history() {
                    entries = last_of_each(versions(&entries).0);
                }
                parts.push(StepLane {
                    lane: at,
                    generation: lane.generation,
                    entries,
                    times: Vec::new(),
                    finish_fill: true,
                });
            }
        }
        parts
    }

    fn begin_round(
        &self,
        engine: &Engine,
        progress: Progress,
        ready: &impl Fn(usize) -> bool,
        idle: bool,
    ) -> Option<Round> {
        let until = progress.applied;
        let mut finishing = Vec::new();
        let mut worth = false;
        for (at, lane) in self.lanes.iter().enumerate() {
            if !ready(at) {
                continue;
            }
            let arrangement = &engine.arrangements()[lane.arrangement];
            match &lane.stage {
                Stage::Live(cursor) => {
                    worth |= !lane.delivered.settled
                        || has_entries(cursor, arrangement, until)
                        || (idle && lane.delivered.lsn < until);
                }
                Stage::Amending(Cursor::Log(log)) => {
                    let mut rest = Vec::new();
                    let taken = take_log(arrangement, log.seq, until, self.step_rows, &mut rest);
                    if log.whole_from.max(lane.whole_from) <= until
                        && matches!(taken, Some((_, Through::Yes)))
                    {
                        finishing.push(at);
                        worth = true;
                    }
                }
                _ => {}
            }
        }
        let is_member = |&at: &usize| self.lanes[at].is_live() && ready(at);
        let members = (0..self.lanes.len()).filter(is_member).collect();
        worth.then_some(Round { until, committed_at: progress.committed_at, members, finishing })
    }

    /// The sink has done a step: its lanes stand there now.
    pub fn done(&mut self, step: &Step) {
        self.step_under_way = false;
        for part in &step.lanes {
            let lane = &mut self.lanes[part.lane];
            lane.delivered.settled = step.settled;
            if step.settled {
                assert!(lane.delivered.lsn <= step.position, "a sink's position never falls (P3)");
                lane.delivered.lsn = step.position;
                lane.told = step.position;
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
            Stage::Fresh | Stage::Filling(_) | Stage::Amending(_) => LaneState::Filling,
            Stage::Live(_) => LaneState::Live,
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
                Stage::Held { lsn, .. } => arrangement.seq_at((*lsn).min(lane.told)),
                _ => None,
            };
            from.extend(seq.map(|seq| (lane.arrangement, seq)));
        }
        from
    }

    /// The next piece of a log that one of the lanes has to read from the store.
    pub fn wanted_page(&self, ready: impl Fn(usize) -> bool) -> Option<WantedPage> {
        self.lanes.iter().enumerate().filter(|(at, _)| ready(*at)).find_map(
            |(at, lane)| match &lane.stage {
                Stage::Live(Cursor::Scan(scan)) | Stage::Amending(Cursor::Scan(scan)) => {
                    scan.wanted_page(at, lane.arrangement)
                }
                _ => None,
            },
        )
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
        lanes
            .map(|lane| match lane.stage {
                Stage::Filling(_) | Stage::Amending(_) => lane.filled_from,
                // It will be filled from a later position than any deletion so far.
                Stage::Fresh => Lsn::MAX,
                _ => lane.delivered.lsn.min(lane.told),
            })
            .min()
    }
}

impl Lane {
    /// Where the entries begin that a sink which has come to `lsn` is sent.
    fn from(&self, lsn: Lsn) -> Lsn {
        if self.once { lsn } else { lsn.min(self.told) }
    }

    fn is_history(&self) -> bool {
        self.rows.is_some_and(|rows| rows != self.arrangement)
    }

    fn refill(&mut self, generation: u64) {
        self.generation = generation;
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

enum Taken {
    Step(Step),
    Nothing,
    Broken,
}

/// One step's worth of a live lane. `None`: its log was cut, and a scan cannot begin yet.
fn take(
    cursor: &mut Cursor,
    from: &Arrangement,
    lane: &Lane,
    until: Lsn,
    room: usize,
    out: &mut Vec<Entry>,
) -> Option<Through> {
    let delivered = lane.delivered.lsn;
    match cursor {
        Cursor::Log(log) => {
            if let Some((next, through)) = take_log(from, log.seq, until, room, out) {
                log.seq = next;
                return Some(through);
            }
            if delivered < from.tombstone_floor() {
                return None;
            }
            *cursor = Cursor::Scan(Scan::begin(from, lane.from(delivered), until)?);
            Some(Through::No)
        }
        Cursor::Scan(_) if delivered < from.tombstone_floor() => None,
        Cursor::Scan(scan) => {
            scan.take(from, true, room, out);
            if scan.is_through() {
                scan.go_on(from, until);
            }
            if scan.is_through() {
                *cursor = scan.following(from);
            }
            // Also when it is through: a key may come again in the log behind the scan, and a step
            // names each key once.
            Some(Through::No)
        }
    }
}

fn has_entries(cursor: &Cursor, from: &Arrangement, until: Lsn) -> bool {
    match cursor {
        Cursor::Scan(_) => true,
        Cursor::Log(log) => from
            .changes_from(log.seq)
            .is_none_or(|mut changes| changes.next().is_some_and(|first| first.lsn() < until)),
    }
}

enum Amended {
    Some,
    Nothing,
    /// Deletions that it would have needed are forgotten.
    Lost,
}

/// One call's worth of a fill's amendments; a scan that is through turns into the log behind it, a log
/// that was cut into a scan.
fn amend(
    cursor: &mut Cursor,
    from: &Arrangement,
    since: Lsn,
    applied: Lsn,
    room: usize,
    out: &mut Vec<Entry>,
) -> Amended {
    match cursor {
        Cursor::Scan(_) if since < from.tombstone_floor() => Amended::Lost,
        Cursor::Scan(scan) => {
            scan.take(from, true, room, out);
            if scan.is_through() {
                scan.go_on(from, applied);
            }
            if scan.is_through() {
                *cursor = scan.following(from);
            }
            Amended::Some
        }
        Cursor::Log(log) => match take_log(from, log.seq, applied, room, out) {
            Some((next, through)) => {
                // What little is left goes with the next settled step.
                if through == Through::Yes {
                    out.clear();
                    return Amended::Nothing;
                }
                log.seq = next;
                Amended::Some
            }
            None if since < from.tombstone_floor() => Amended::Lost,
            None => match Scan::begin(from, since, applied) {
                Some(scan) => {
                    *cursor = Cursor::Scan(scan);
                    Amended::Some
                }
                None => Amended::Nothing,
            },
        },
    }
}
