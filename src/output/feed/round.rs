//! Rounds: how live lanes go from one position to the next.

use std::collections::BTreeSet;

use super::{Feed, Lane, Progress, last_of_each, versions};
use crate::engine::{Arrangement, Engine, Entry};
use crate::lsn::Lsn;
use crate::output::lane::{Cursor, Log, Scan, Stage, Through, take_log};
use crate::output::{Step, StepLane};

pub(super) struct Round {
    until: Lsn,
    committed_at: i64,
    /// The lanes it brings forward; all live ones unless they stand at different positions and there
    /// is too much for one step: then those that stand furthest behind.
    pub(super) members: Vec<usize>,
    /// Lanes whose fill the round's last step finishes.
    pub(super) finishing: Vec<usize>,
    /// A step of it had entries: from then on its members go together.
    has_sent: bool,
}

impl Feed {
    /// A round that can no longer end where it was to takes in the lanes that can read again by now, so that
    /// readers meet all that a transaction has changed at once: it is given up for a new one, or, when
    /// the sink has a part of it, those join it that stand where its members do.
    pub(super) fn renew_round(
        &mut self,
        engine: &Engine,
        applied: Lsn,
        ready: &impl Fn(usize) -> bool,
    ) {
        let (whole_from, is_cut) = (self.whole_from(), self.is_cut(engine));
        let Some(round) = &self.round else { return };
        if !is_cut && whole_from <= round.until {
            return;
        }
        if !round.has_sent {
            self.round = None;
            return;
        }
        if applied < whole_from {
            return;
        }
        self.catch_up(engine, applied, ready);
        let Some(round) = &mut self.round else { return };
        let position = round.members.first().map(|&at| self.lanes[at].delivered.lsn);
        for (at, lane) in self.lanes.iter().enumerate() {
            let takes_part = round.members.contains(&at) || round.finishing.contains(&at);
            let stands_there = position == Some(lane.delivered.lsn);
            if lane.is_live() && ready(at) && stands_there && !takes_part {
                round.members.push(at);
            }
        }
    }

    /// The first position at which all lanes can be whole.
    fn whole_from(&self) -> Lsn {
        self.lanes.iter().map(Lane::whole_from).max().unwrap_or(Lsn::ZERO)
    }

    fn is_cut(&self, engine: &Engine) -> bool {
        self.lanes.iter().any(|lane| lane.is_cut(engine))
    }

    pub(super) fn next_step(
        &mut self,
        engine: &Engine,
        progress: Progress,
        ready: &impl Fn(usize) -> bool,
        idle: bool,
    ) -> Taken {
        if self.round.is_none() {
            self.round = self.begin_round(engine, progress, ready, idle);
        }
        let whole_from = self.whole_from();
        let cut = self.is_cut(engine);
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
        self.add_occurred(&mut lanes);
        if through == Through::No {
            // A scan may have looked at many rows and found none that changed; the step is empty then.
            lanes.retain(|part| !part.entries.is_empty());
            if let Some(round) = &mut self.round {
                round.has_sent |= !lanes.is_empty();
            }
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
        self.add_again(&mut lanes, engine, until, committed_at);
        lanes.extend(self.finish_fills(&round, engine));
        Taken::Step(Step { lanes, position: until, reaching: until, committed_at, settled: true })
    }

    /// Occurrences that are to be sent again go first, with the next step.
    fn add_occurred(&mut self, parts: &mut [StepLane]) {
        for part in parts {
            let again = std::mem::take(&mut self.lanes[part.lane].again_occurred);
            part.entries.splice(..0, again);
        }
    }

    /// Rows that are to be sent again go with a settled step that has room for them. Of one that has
    /// changed since, the newer version comes by itself.
    fn add_again(
        &mut self,
        parts: &mut [StepLane],
        engine: &Engine,
        until: Lsn,
        committed_at: i64,
    ) {
        let taken: usize = parts.iter().map(|part| part.entries.len()).sum();
        let mut room = self.step_rows.saturating_sub(taken);
        for part in parts {
            let lane = &mut self.lanes[part.lane];
            if lane.again.is_empty() {
                continue;
            }
            let sent: BTreeSet<Vec<u8>> =
                part.entries.iter().map(|entry| entry.key().to_vec()).collect();
            lane.again.retain(|key| !sent.contains(key));
            let Some(rows) = lane.rows else { continue };
            let arrangement = &engine.arrangements()[rows];
            while room > 0
                && let Some(key) = lane.again.pop_first()
            {
                let entry = match arrangement.version(&key) {
                    Some(version) => version.clone(),
                    None => Entry::tombstone(Lsn(until.0.saturating_sub(1)), &key),
                };
                if entry.lsn() < until {
                    part.entries.push(entry);
                    // A history shows it from now on: nobody could read it before.
                    part.times.extend(lane.is_history().then_some(committed_at));
                    room -= 1;
                }
            }
        }
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
                        || !lane.again.is_empty()
                        || !lane.again_occurred.is_empty()
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
        let committed_at = progress.committed_at;
        worth.then_some(Round { until, committed_at, members, finishing, has_sent: false })
    }
}

pub(super) enum Taken {
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

pub(super) fn has_entries(cursor: &Cursor, from: &Arrangement, until: Lsn) -> bool {
    match cursor {
        Cursor::Scan(_) => true,
        Cursor::Log(log) => from
            .changes_from(log.seq)
            .is_none_or(|mut changes| changes.next().is_some_and(|first| first.lsn() < until)),
    }
}
