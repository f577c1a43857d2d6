//! One projection on its way into one sink: where it stands, and the entries that it has yet to get.
//!
//! A lane reads either the log of recent changes or, where the log no longer reaches back far enough
//! (a fill, a long outage), the arrangement itself in key order. A scan takes what is current and
//! older than the position at which it began; the log from there on brings the rest.

use crate::engine::{Arrangement, Entry};
use crate::lsn::Lsn;

/// Entries that one call looks at, so that a scan never keeps the engine from the stream for long.
const LOOK_MAX: usize = 20_000;
/// Rows may be large: with so much a step is large enough, however few they are. The row that exceeds it is
/// the last one.
const TAKEN_BYTES_MAX: usize = 8 << 20;

/// Where a sink says it stands with a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has nothing usable; the greatest generation that it has seen, 0 if none.
    /// Readers may have seen rows up to `reaching`: nothing is sent before the engine has passed it.
    Fresh { generation: u64, reaching: Lsn },
    /// Every change before `lsn` is in it, no row is as new as `reaching`.
    At { lsn: Lsn, reaching: Lsn, generation: u64 },
}

/// For people: what a lane is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    /// The sink has not answered yet.
    Unknown,
    /// The projection's tables are being loaded.
    Loading,
    /// The sink is ahead of the engine, which has gone back to its last durable position.
    Held,
    Filling,
    Live,
    /// Stopped by a refused row (`on_error = "halt"`).
    Halted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Unknown,
    Held {
        lsn: Lsn,
        reaching: Lsn,
    },
    Fresh,
    Filling(Scan),
    /// The fill's scan is through; what changed meanwhile follows.
    Amending(Cursor),
    Live(Cursor),
    Halted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cursor {
    Log(Log),
    Scan(Scan),
}

/// A place in an arrangement's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Log {
    /// The next change's sequence number.
    pub seq: u64,
    /// What was read so far can be whole from this position on only: a scan before it passed over
    /// rows that had newer versions already, which the log brings.
    pub whole_from: Lsn,
}

/// Entries of `since <= lsn < until`, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    pub since: Lsn,
    pub until: Lsn,
    after: Option<Vec<u8>>,
    through: bool,
    /// Where the log goes on.
    seq: u64,
}

impl Scan {
    /// `None` while the log lacks changes after `applied`, which a large open transaction can bring about.
    pub(super) fn begin(arrangement: &Arrangement, since: Lsn, applied: Lsn) -> Option<Self> {
        let seq = arrangement.seq_at(applied)?;
        Some(Self { since, until: applied, after: None, through: false, seq })
    }

    /// Appends up to `room` entries to `out`, of no more than a step's bytes.
    pub(super) fn take(
        &mut self,
        from: &Arrangement,
        tombstones: bool,
        room: usize,
        out: &mut Vec<Entry>,
    ) {
        let mut last: Option<&Entry> = None;
        let end = out.len() + room;
        let mut bytes = 0;
        let after = self.after.take();
        for (looked, entry) in from.scan_after(after.as_deref()).enumerate() {
            if out.len() == end || bytes >= TAKEN_BYTES_MAX || looked == LOOK_MAX {
                self.after = last.map(|entry| entry.key().to_vec()).or_else(|| after.clone());
                return;
            }
            last = Some(entry);
            if (self.since..self.until).contains(&entry.lsn())
                && (tombstones || !entry.is_tombstone())
            {
                bytes += entry.bytes();
                out.push(entry.clone());
            }
        }
        self.through = true;
    }

    /// Everything was taken.
    pub(super) fn is_through(&self) -> bool {
        self.through
    }

    /// The log from where the scan began.
    pub(super) fn following(&self, from: &Arrangement) -> Cursor {
        Cursor::Log(Log { seq: self.seq, whole_from: Lsn(from.last_change().0 + 1) })
    }

    /// The first change that the log has to keep for it.
    pub(super) fn log_seq(&self) -> u64 {
        self.seq
    }
}

impl Cursor {
    /// What a sink that has everything before `lsn` lacks.
    pub(super) fn since(arrangement: &Arrangement, lsn: Lsn, applied: Lsn) -> Option<Self> {
        match arrangement.seq_at(lsn) {
            Some(seq) => Some(Cursor::Log(Log { seq, whole_from: Lsn::ZERO })),
            None => Scan::begin(arrangement, lsn, applied).map(Cursor::Scan),
        }
    }
}

/// Whether everything up to the target was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Through {
    Yes,
    No,
}

/// Appends to `out` the log's entries from `seq` to before `until` that were current at `until`, at
/// most `room` and no more than a step's bytes. Returns the next sequence number, and whether that was all; `None` when the log no
/// longer holds `seq`.
pub(super) fn take_log(
    from: &Arrangement,
    seq: u64,
    until: Lsn,
    room: usize,
    out: &mut Vec<Entry>,
) -> Option<(u64, Through)> {
    let mut next = seq;
    let end = out.len() + room;
    let mut bytes = 0;
    for entry in from.changes_from(seq)? {
        if entry.lsn() >= until {
            return Some((next, Through::Yes));
        }
        if until <= entry.superseded_at() {
            if out.len() == end || bytes >= TAKEN_BYTES_MAX {
                return Some((next, Through::No));
            }
            bytes += entry.bytes();
            out.push(entry.clone());
        }
        next += 1;
    }
    Some((next, Through::Yes))
}
