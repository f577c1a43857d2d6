//! Whether the source still is where it was: the same system, on the same timeline or on one that has
//! left ours behind all that is applied here, and not restored to the past.
//!
//! A source that was restored and has overtaken our position, on the same timeline and with as many
//! transactions, cannot be told from one that was not.

use super::facts::{SourceFact, Stored};
use crate::lsn::Lsn;
use crate::pg;
use crate::pg::wire::Row;
use crate::sink::History;
use crate::source::replication::{ReplicationConnection, System, TimelineSwitch};

/// What the source says of itself.
pub(super) struct Identity {
    pub system: System,
    /// The ancestors of its timeline.
    switches: Vec<TimelineSwitch>,
    /// The first transaction that may not have begun, in 32 bits.
    next_xid: u32,
}

/// How far the source is known to have been.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub timeline: u32,
    pub lsn: Lsn,
    /// The greatest transaction that the stream has brought; 0: none.
    pub xid: u32,
}

impl Known {
    pub(super) fn stored(source: &SourceFact, stored: &Stored) -> Self {
        Self { timeline: source.timeline, lsn: stored.position().lsn, xid: stored.xid }
    }
}

/// Asks a walsender, before it streams.
pub(super) async fn identify(
    connection: &mut ReplicationConnection,
) -> Result<Identity, pg::Error> {
    // The newest that runs comes first: one that is over by then has ended for the snapshot, whose own end is
    // the newest transaction that is over. A commit that waits for a synchronous standby is in the WAL, and
    // runs on for as long as that takes.
    const NEWEST: &str = "SELECT transactionid FROM pg_catalog.pg_locks
        WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted
        ORDER BY pg_catalog.age(transactionid) LIMIT 1";
    const NEXT: &str = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
    let newest = number(&connection.query(NEWEST).await?);
    // Both before the system: they can only be behind what is flushed then.
    let next = number(&connection.query(NEXT).await?).ok_or_else(|| {
        let what = "no transaction where one was asked for";
        pg::Error::new(pg::Kind::Protocol, connection.at(), what)
    })?;
    let system = connection.identify_system().await?;
    let switches = connection.timeline_history(system.timeline).await?;
    Ok(Identity { system, switches, next_xid: not_begun(next, newest) })
}

fn number(rows: &[Row]) -> Option<u32> {
    let number = rows.first()?.first()?.as_ref()?.parse::<u64>().ok()?;
    // Streams name transactions by 32 bits of them.
    Some((number & u64::from(u32::MAX)) as u32)
}

/// The first transaction after all that are over and `newest`, which runs.
fn not_begun(next: u32, newest: Option<u32>) -> u32 {
    newest.filter(|newest| is_ahead(*newest, next)).map_or(next, |newest| newest.wrapping_add(1))
}

/// Whether a transaction is `next` or comes after it. Numbers wrap around: half of them are before, half
/// after.
fn is_ahead(xid: u32, next: u32) -> bool {
    xid.wrapping_sub(next) < 1 << 31
}

impl Identity {
    /// Why positions of `known` mean nothing any more, when they do not.
    pub(super) fn refutes(&self, known: Known) -> Option<String> {
        let Known { timeline, lsn, xid } = known;
        let System { timeline: now, xlogpos, .. } = &self.system;
        if timeline == *now {
            if lsn > *xlogpos {
                return Some(format!(
                    "its WAL ends at {xlogpos}, and {lsn} was applied: it was restored to the past"
                ));
            }
        } else {
            let left = self.switches.iter().find(|switch| switch.timeline == timeline);
            let Some(TimelineSwitch { end, .. }) = left else {
                return Some(format!(
                    "it is on timeline {now}, which does not come from timeline {timeline}"
                ));
            };
            if lsn > *end {
                return Some(format!(
                    "timeline {now} has left timeline {timeline} at {end}, and {lsn} was applied: \
                     the last changes were lost in a failover"
                ));
            }
        }
        (xid != 0 && is_ahead(xid, self.next_xid)).then(|| {
            format!("it has not begun transaction {xid} yet, which was applied: it was restored to the past")
        })
    }

    /// For the sinks.
    pub(super) fn history(&self, epoch: u64) -> History {
        let left = self.switches.iter().map(|switch| (switch.timeline, switch.end));
        History { epoch, timeline: self.system.timeline, left: left.collect() }
    }
}

/// Another one than any before it.
pub(super) fn new_epoch(before: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 is as good as any other that only has to move on.
    let micros = now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
    micros.max(before.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(timeline: u32, end: u64, next_xid: u32) -> Identity {
        let switch = |timeline, end| TimelineSwitch { timeline, end: Lsn(end) };
        Identity {
            system: System {
                system_id: "7".into(),
                timeline,
                xlogpos: Lsn(end),
                dbname: "shop".into(),
            },
            switches: vec![switch(1, 100), switch(2, 200)],
            next_xid,
        }
    }

    #[test]
    fn a_source_that_went_back_is_known_by_timeline_end_or_transaction() {
        let refuted = |now: &Identity, timeline, lsn, xid| {
            now.refutes(Known { timeline, lsn: Lsn(lsn), xid }).is_some()
        };
        let now = identity(3, 300, 50);
        assert!(!refuted(&now, 3, 300, 49));
        assert!(refuted(&now, 3, 301, 49), "its end is before ours");
        assert!(!refuted(&now, 2, 200, 49));
        assert!(refuted(&now, 2, 201, 49), "a lost tail");
        assert!(!refuted(&now, 1, 100, 0));
        assert!(refuted(&now, 4, 10, 0), "a timeline that it does not come from");
        assert!(refuted(&now, 3, 10, 50), "a transaction that is still to come");
        assert!(!refuted(&identity(3, 300, 5), 3, 10, u32::MAX - 5), "wrapped around");
        assert!(refuted(&identity(3, 300, u32::MAX - 5), 3, 10, 5));
        assert_eq!(now.history(9).left, [(1, Lsn(100)), (2, Lsn(200))]);
    }

    #[test]
    fn what_runs_has_begun() {
        for (next, newest, expected) in [
            (50, None, 50),
            (50, Some(40), 50),
            (50, Some(49), 50),
            (50, Some(50), 51),
            (50, Some(60), 61),
            (u32::MAX, Some(u32::MAX), 0),
            (u32::MAX - 5, Some(7), 8),
            (7, Some(u32::MAX - 5), 7),
        ] {
            assert_eq!(not_begun(next, newest), expected, "{next} {newest:?}");
        }
    }

    #[test]
    fn epochs_differ() {
        let first = new_epoch(0);
        assert!(new_epoch(first) > first);
        assert_eq!(new_epoch(u64::MAX - 5), u64::MAX - 4);
    }
}
