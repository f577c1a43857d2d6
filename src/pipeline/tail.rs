//! Occurrences as they are made, for those who look on: of one event or of all, in commit order.
//!
//! Nothing is kept for a reader but the newest occurrences, in memory; older ones are in the store for as
//! long as a sink wants them. A reader that stands before what is left is told so.

use super::events::EventLog;
use super::machine::{Fault, Machine};
use super::operate::NotFollowed;
use crate::engine::{Entry, EventPlace, RowsOf, log_from};
use crate::value::Column;

/// With so much a reading is large enough, however few its occurrences are.
const READ_BYTES_MAX: usize = 256 << 10;

/// One reading.
#[derive(Debug)]
pub struct Tailed {
    /// The columns of each event's rows.
    pub events: Vec<(String, Vec<Column>)>,
    /// Each with its event's place among these.
    pub entries: Vec<(usize, Entry)>,
    /// Where the next reading goes on.
    pub place: EventPlace,
    /// These were all there are.
    pub whole: bool,
    /// Older ones, behind the place that was asked for, may be missing.
    pub lacks: bool,
}

/// A piece of a log that is in the store alone: behind one key, up to another.
pub struct StoredPart<'m> {
    pub rows_of: RowsOf,
    pub after: &'m [u8],
    pub to: &'m [u8],
}

impl Machine {
    /// Behind everything that has happened.
    pub fn tail_end(&self) -> EventPlace {
        EventPlace::at(self.progress.applied)
    }

    /// At most `room` occurrences of this event, or of all, behind a place, fewer where they are large. `stored` reads the first of a
    /// part's entries, and says whether these were all.
    pub fn tail<E: From<Fault>>(
        &self,
        event: Option<&str>,
        after: EventPlace,
        room: usize,
        mut stored: impl FnMut(StoredPart<'_>) -> Result<(Vec<Entry>, bool), E>,
    ) -> Result<Result<Tailed, NotFollowed>, E> {
        let named = |log: &&EventLog| {
            event.is_none_or(|name| self.projections[log.projection].name == name)
        };
        let logs: Vec<&EventLog> = self.events.iter().filter(named).collect();
        if event.is_some() && logs.is_empty() {
            return Ok(Err(NotFollowed::Apart));
        }
        let (key, end) = (after.key(), log_from(self.progress.applied));
        // Before it nothing is left out of any log.
        let mut until = end.clone();
        let (mut entries, mut lacks) = (Vec::new(), false);
        for (at, log) in logs.iter().enumerate() {
            let arrangement = &self.engine.arrangements()[log.log.arrangement];
            lacks |= log.log.lacks(&self.engine, &key);
            if let Some(to) = arrangement.stored_to().filter(|to| *to > key.as_slice()) {
                let rows_of = self.rows_of[log.log.arrangement];
                let (page, is_last) = stored(StoredPart { rows_of, after: &key, to })?;
                let last = page.last().map(|entry| [entry.key(), &[0]].concat());
                for entry in page {
                    entries.push((at, log.renewed(entry).map_err(Fault::from)?));
                }
                if !is_last {
                    until = until.min(last.unwrap_or_else(|| key.clone()));
                    continue;
                }
            }
            let from = arrangement.seq_at(after.lsn).unwrap_or(arrangement.first_seq());
            let recent = arrangement.changes_from(from).into_iter().flatten();
            let behind = recent.skip_while(|entry| entry.key() <= key.as_slice());
            entries.extend(behind.take(room + 1).map(|entry| (at, entry.clone())));
        }
        entries.retain(|(_, entry)| entry.key() < until.as_slice());
        entries.sort_by(|a, b| a.1.key().cmp(b.1.key()));
        let mut bytes = 0;
        let fits = entries.iter().take(room).take_while(|(_, entry)| {
            let fits = bytes < READ_BYTES_MAX;
            bytes += entry.bytes();
            fits
        });
        let fitting = fits.count();
        let whole = until == end && entries.len() == fitting;
        entries.truncate(fitting);
        let place = match entries.last() {
            // The engine may have gone back behind a reader.
            _ if whole => after.max(self.tail_end()),
            Some((_, last)) => EventPlace::of(last).map_err(Fault::from)?,
            None => after,
        };
        let columns = |log: &&EventLog| {
            (self.projections[log.projection].name.clone(), log.columns().to_vec())
        };
        let events = match entries.is_empty() {
            true => Vec::new(),
            false => logs.iter().map(columns).collect(),
        };
        Ok(Ok(Tailed { events, entries, place, whole, lacks }))
    }
}
