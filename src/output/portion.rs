//! What a lane gives at a time: from the log of recent changes, or from a scan where that was cut.

use super::feed::Lane;
use super::lane::{Cursor, Scan, Through, take_log};
use crate::engine::{Arrangement, Entry};
use crate::lsn::Lsn;

/// One step's worth of a live lane. `None`: its log was cut, and a scan cannot begin yet.
pub(super) fn take(
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

pub(super) enum Amended {
    Some,
    Nothing,
    /// Deletions that it would have needed are forgotten.
    Lost,
}

/// One call's worth of a fill's amendments; a scan that is through turns into the log behind it, a log
/// that was cut into a scan.
pub(super) fn amend(
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
