//! One projection on its way into one sink: where it stands, and the entries that it has yet to get.
//!
//! A lane reads either the log of recent changes or, where the log no longer reaches back far enough
//! (a fill, a long outage), the arrangement itself in key order. A scan takes what is current and
//! older than the position at which it began; the log from there on brings the rest. A fill may also
//! take a load's rows in the order in which they arrive. A log of events a lane reads from the store, page
//! by page.

use std::collections::VecDeque;

use crate::engine::{Arrangement, ArrangementId, Entry, log_from};
use crate::lsn::Lsn;

/// Entries that one call looks at, so that a scan never keeps the engine from the stream for long.
const LOOK_MAX: usize = 20_000;
/// Rows may be large: with so much a step is large enough, however few they are. The row that exceeds it is
/// the last one.
const TAKEN_BYTES_MAX: usize = 8 << 20;

/// How much is taken in one go: so many entries, of which the last one may exceed so many bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

/// A step's.
impl From<usize> for Room {
    fn from(entries: usize) -> Self {
        Self { entries, bytes: TAKEN_BYTES_MAX }
    }
}

/// Where a sink says it stands with a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has nothing usable; the greatest generation that it has seen, 0 if none.
    /// Readers may have seen rows up to `reaching`: nothing is sent before the engine has passed it.
    Fresh { generation: u64, reaching: Lsn },
    /// Every change before `lsn` is in it, no row is as new as `reaching`.
    At { lsn: Lsn, reaching: Lsn, generation: u64 },
    /// Something there stands in its way: it gets nothing before the sink is opened again.
    Blocked,
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

#[derive(Debug, Clone)]
pub(super) enum Stage {
    Unknown,
    Held {
        lsn: Lsn,
        reaching: Lsn,
    },
    Fresh,
    /// It is filled with a load's rows as they arrive; the next one's number.
    Following(u64),
    /// The load's rows are all in it; those that arrived again follow, the next one's place.
    Repeating(usize),
    Filling(Scan),
    /// The fill's scan is through; what changed meanwhile follows.
    Amending(Cursor),
    Live(Cursor),
    Halted,
}

#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
pub(super) struct Scan {
    pub since: Lsn,
    pub until: Lsn,
    after: Option<Vec<u8>>,
    through: bool,
    /// Entries taken so far.
    taken: u64,
    /// Where the log goes on.
    seq: u64,
    /// Of a log.
    stored: Option<Stored>,
}

/// What a scan reads of a log in the store.
#[derive(Debug, Clone)]
struct Stored {
    /// The last entry's key.
    to: Vec<u8>,
    page: VecDeque<Entry>,
    /// Nothing comes after the page.
    is_last: bool,
}

/// A piece of a log that a lane wants to read from the store.
#[derive(Debug, PartialEq, Eq)]
pub struct WantedPage {
    pub lane: usize,
    pub arrangement: ArrangementId,
    /// Entries behind this key, or from it on.
    pub from: PageFrom,
    /// The last one's key.
    pub to: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum PageFrom {
    After(Vec<u8>),
    At(Vec<u8>),
}

impl Scan {
    /// `None` while the log lacks changes after `applied`, which a large open transaction can bring about.
    pub(super) fn begin(arrangement: &Arrangement, since: Lsn, applied: Lsn) -> Option<Self> {
        if arrangement.is_log() {
            if arrangement.recent_floor() > applied {
                return None;
            }
            let stored = arrangement.stored_to().map(|to| Stored {
                to: to.to_vec(),
                page: VecDeque::new(),
                is_last: false,
            });
            let (through, seq) = (stored.is_none(), arrangement.first_seq());
            return Some(Self {
                since,
                until: applied,
                after: None,
                through,
                taken: 0,
                seq,
                stored,
            });
        }
        let seq = arrangement.seq_at(applied)?;
        Some(Self {
            since,
            until: applied,
            after: None,
            through: false,
            taken: 0,
            seq,
            stored: None,
        })
    }

    /// What has to be read from the store before it can go on.
    pub(super) fn wanted_page(
        &self,
        lane: usize,
        arrangement: ArrangementId,
    ) -> Option<WantedPage> {
        let stored = self.stored.as_ref()?;
        if self.through || stored.is_last || !stored.page.is_empty() {
            return None;
        }
        let from = match &self.after {
            Some(after) => PageFrom::After(after.clone()),
            None => PageFrom::At(log_from(self.since)),
        };
        Some(WantedPage { lane, arrangement, from, to: stored.to.clone() })
    }

    pub(super) fn give_page(&mut self, entries: Vec<Entry>, is_last: bool) {
        if let Some(stored) = &mut self.stored {
            stored.page = entries.into();
            stored.is_last = is_last;
        }
    }

    fn take_stored(&mut self, room: usize, out: &mut Vec<Entry>) {
        let Some(stored) = &mut self.stored else { return };
        for entry in stored.page.drain(..stored.page.len().min(room)) {
            self.after = Some(entry.key().to_vec());
            if entry.lsn() >= self.since {
                out.push(entry);
            }
        }
        self.through = stored.is_last && stored.page.is_empty();
    }

    /// Appends entries to `out` while there is room.
    pub(super) fn take(
        &mut self,
        from: &Arrangement,
        tombstones: bool,
        room: impl Into<Room>,
        out: &mut Vec<Entry>,
    ) {
        let room = room.into();
        if self.stored.is_some() {
            return self.take_stored(room.entries, out);
        }
        let mut last: Option<&Entry> = None;
        let end = out.len() + room.entries;
        let mut bytes = 0;
        let after = self.after.take();
        for (looked, entry) in from.scan_after(after.as_deref()).enumerate() {
            if out.len() == end || bytes >= room.bytes || looked == LOOK_MAX {
                self.after = last.map(|entry| entry.key().to_vec()).or_else(|| after.clone());
                return;
            }
            last = Some(entry);
            if (self.since..self.until).contains(&entry.lsn())
                && (tombstones || !entry.is_tombstone())
            {
                bytes += entry.bytes();
                out.push(entry.clone());
                self.taken += 1;
            }
        }
        self.through = true;
    }

    /// So many entries were taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// A log may have gone on to the store meanwhile: then there is more to read there.
    pub(super) fn go_on(&mut self, from: &Arrangement, applied: Lsn) {
        let Some(stored) = &mut self.stored else { return };
        if self.seq < from.first_seq()
            && from.recent_floor() <= applied
            && let Some(to) = from.stored_to()
        {
            stored.to = to.to_vec();
            (stored.is_last, self.through, self.seq) = (false, false, from.first_seq());
        }
    }

    /// Everything was taken.
    pub(super) fn is_through(&self) -> bool {
        self.through
    }

    /// The log from where the scan began.
    pub(super) fn following(&self, from: &Arrangement) -> Cursor {
        // Nothing in a log is superseded.
        let whole_from = if from.is_log() { Lsn::ZERO } else { scan_whole_from(from) };
        Cursor::Log(Log { seq: self.seq, whole_from })
    }

    /// The first change that the log has to keep for it.
    pub(super) fn log_seq(&self) -> u64 {
        self.seq
    }
}

/// The first position at which a scan of rows can be whole: behind all that has changed, deletions included that are
/// forgotten already, as after a restart within the transaction that made them.
pub(super) fn scan_whole_from(rows: &Arrangement) -> Lsn {
    Lsn(rows.last_change().0 + 1).max(rows.tombstone_floor())
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

/// The first `room` entries, of no more than a step's bytes.
pub(super) fn take_some<'e>(entries: impl Iterator<Item = &'e Entry>, room: usize) -> Vec<Entry> {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        let fits = bytes < TAKEN_BYTES_MAX;
        bytes += entry.bytes();
        fits
    };
    entries.take(room).take_while(fits).cloned().collect()
}

/// Whether everything up to the target was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Through {
    Yes,
    No,
}

/// Appends to `out` the log's entries from `seq` to before `until` that were current at `until`, while there
/// is room. Returns the next sequence number, and whether that was all; `None` when the log no
/// longer holds `seq`.
pub(super) fn take_log(
    from: &Arrangement,
    seq: u64,
    until: Lsn,
    room: impl Into<Room>,
    out: &mut Vec<Entry>,
) -> Option<(u64, Through)> {
    let room = room.into();
    let mut next = seq;
    let end = out.len().saturating_add(room.entries);
    let mut bytes = 0;
    for entry in from.changes_from(seq)? {
        if entry.lsn() >= until {
            return Some((next, Through::Yes));
        }
        if until <= entry.superseded_at() {
            if out.len() == end || bytes >= room.bytes {
                return Some((next, Through::No));
            }
            bytes += entry.bytes();
            out.push(entry.clone());
        }
        next += 1;
    }
    Some((next, Through::Yes))
}
