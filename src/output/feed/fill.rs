//! Lanes that are filled: a generation beside the one that readers see.
//!
//! A fill takes the rows by a scan, or follows a load: where nobody sees the fill before it is finished,
//! it takes rows as they arrive. These are of different positions, and some are replaced or deleted before
//! the load is over; what became of them is in what arrived again and in the log of changes, and
//! follows when the table is live. So the load is not held up by a slow sink, nor a quick sink by the
//! load.

use super::{Feed, Progress, Rows, last_of_each, versions};
use crate::engine::{Arrangement, Arrivals, Engine, Entry};
use crate::lsn::Lsn;
use crate::output::Work;
use crate::output::lane::{
    Cursor, Log, Scan, Stage, Through, scan_whole_from, take_log, take_some,
};

/// Rows of a fill go in larger portions than steps: nobody sees them as a state of any position, so only
/// other lanes' waiting bounds them.
const FILL_STEPS: usize = 5;

impl Feed {
    pub(super) fn next_fill(
        &mut self,
        engine: &Engine,
        progress: Progress,
        rows: &impl Fn(usize) -> Rows,
    ) -> Option<Work> {
        (0..self.lanes.len()).find_map(|at| self.fill_lane(at, engine, progress, rows(at)))
    }

    /// Fills that have all that a load has brought go on with what has changed since.
    pub(super) fn follow_to_end(
        &mut self,
        engine: &Engine,
        applied: Lsn,
        ready: &impl Fn(usize) -> bool,
    ) {
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            let Stage::Repeating(next) = &mut lane.stage else { continue };
            if !ready(at) {
                continue;
            }
            let arrangement = &engine.arrangements()[lane.arrangement];
            let Some(arrivals) = arrangement.arrivals() else {
                lane.refill_again();
                continue;
            };
            let is_past = |entry: &&Entry| entry.superseded_at() < applied;
            *next += arrivals.again()[*next..].iter().take_while(is_past).count();
            if *next == arrivals.again().len() {
                // Before a transaction that was open at the load's end, some values may not be known.
                let whole_from = Lsn(arrangement.last_change().0 + 1);
                let log = Log { seq: arrivals.log_seq(), whole_from };
                lane.stage = Stage::Amending(Cursor::Log(log));
            }
        }
    }

    fn fill_lane(
        &mut self,
        at: usize,
        engine: &Engine,
        Progress { applied, .. }: Progress,
        there_is: Rows,
    ) -> Option<Work> {
        let step_rows = self.step_rows;
        let lane = &mut self.lanes[at];
        let arrangement = &engine.arrangements()[lane.arrangement];
        let rows_of = &engine.arrangements()[lane.rows?];
        let begin = Work::BeginFill { lane: at, generation: lane.generation };
        loop {
            match (&mut lane.stage, there_is) {
                (_, Rows::Stopped) => return None,
                (Stage::Fresh, _) if applied < lane.held_until => return None,
                (Stage::Fresh, Rows::Live) => {
                    lane.stage = Stage::Filling(Scan::begin(rows_of, Lsn::ZERO, applied)?);
                    lane.filled_from = applied;
                    return Some(begin);
                }
                (Stage::Fresh, Rows::Loading) => {
                    let arrivals = arrangement
                        .arrivals()
                        .filter(|_| lane.hides_fills && !lane.is_history())?;
                    if !arrivals.has_all() || arrangement.forgotten_floor() > arrivals.since() {
                        return None;
                    }
                    lane.stage = Stage::Following(0);
                    lane.filled_from = arrivals.since();
                    return Some(begin);
                }
                (Stage::Following(next), _) => {
                    let Some(arrivals) = arrangement.arrivals() else {
                        lane.refill_again();
                        continue;
                    };
                    let count = arrivals.end() - *next;
                    // Few are not worth a call while there are more to come.
                    if count > 0 && (count >= step_rows as u64 || arrivals.is_whole()) {
                        let rows = take_some(arrivals.rows_from(*next), step_rows * FILL_STEPS);
                        *next += rows.len() as u64;
                        return Some(Work::Fill { lane: at, rows });
                    }
                    if count > 0 || !arrivals.is_whole() {
                        return None;
                    }
                    lane.stage = Stage::Repeating(0);
                    return Some(Work::EndFill { lane: at });
                }
                (Stage::Repeating(next), Rows::Live) => {
                    let again = arrangement.arrivals().map_or(&[][..], Arrivals::again);
                    let rest = again.get(*next..).unwrap_or_default();
                    // What belongs to a transaction that is not whole has to wait for it.
                    let whole = rest.iter().take_while(|entry| entry.lsn() < applied);
                    let mut changes = take_some(whole, step_rows);
                    if changes.is_empty() {
                        return None;
                    }
                    *next += changes.len();
                    changes.retain(|entry| applied <= entry.superseded_at());
                    return Some(Work::Amend { lane: at, changes });
                }
                (Stage::Filling(scan), Rows::Live) => {
                    if !scan.is_through() {
                        let mut rows = Vec::new();
                        scan.take(rows_of, false, step_rows * FILL_STEPS, &mut rows);
                        return Some(Work::Fill { lane: at, rows });
                    }
                    let following = scan.following(rows_of);
                    let cursor = if lane.is_history() {
                        lane.whole_from = scan_whole_from(rows_of);
                        Cursor::since(arrangement, lane.filled_from, applied)?
                    } else {
                        following
                    };
                    lane.stage = Stage::Amending(cursor);
                    return Some(Work::EndFill { lane: at });
                }
                (Stage::Amending(cursor), Rows::Live) => {
                    let (since, mut changes) = (lane.filled_from, Vec::new());
                    match amend(cursor, arrangement, since, applied, step_rows, &mut changes) {
                        Amended::Some => {
                            if lane.is_history() {
                                changes = last_of_each(versions(&changes).0);
                            }
                            return Some(Work::Amend { lane: at, changes });
                        }
                        Amended::Nothing => return None,
                        Amended::Lost => lane.refill_again(),
                    }
                }
                _ => return None,
            }
        }
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
        Cursor::Scan(_) if since < from.forgotten_floor() => Amended::Lost,
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
            None if since < from.forgotten_floor() => Amended::Lost,
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
