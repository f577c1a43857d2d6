//! What people ask of the machine by hand: rows by key, the rows that cannot be shown, another try for a
//! refused row, a generation anew.

use super::letters::Payload;
use super::machine::{Machine, Sink};
use crate::engine::{EVENT_KEY, Entry, Forgotten, Notice, OutputId};
use crate::lsn::Lsn;
use crate::output::{Reader, Reading, TooOld};
use crate::value::{Column, Type, ValueError};

/// Rows of a projection, and how to read them.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Each row is its state before this position.
    pub applied: Lsn,
    pub columns: Vec<Column>,
    /// Positions in `columns`.
    pub key: Vec<usize>,
    /// In the order asked for.
    pub rows: Vec<Option<Entry>>,
    /// Of each key's last change, not committed perhaps; `0/0` where nothing is known of it.
    pub changed: Vec<Lsn>,
}

/// Why nothing is said of a projection's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotFollowed {
    /// The machine does not have it.
    Apart,
    Loading,
    Quarantined(String),
    /// A transaction under way has replaced the row, and the version before has been forgotten.
    Busy,
}

/// A key that the engine itself cannot show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    pub key: Vec<u8>,
    pub lsn: Lsn,
    pub error: String,
}

/// Whether a refused row is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    NoLetter,
    Sent,
    /// It cannot be computed.
    Never,
}

/// Where it is remembered that a rebuild of a lane was asked for.
pub fn rebuild_fact(lane: &str) -> String {
    format!("rebuild/{lane}")
}

impl Machine {
    /// The rows under these keys, as of the applied position.
    pub fn rows(&self, projection: &str, keys: &[Vec<u8>]) -> Result<Rows, NotFollowed> {
        let output = self.followed(projection)?;
        let arrangement = &self.engine.arrangements()[self.engine.output_arrangement(output)];
        let applied = self.progress.applied;
        let row = |key: &Vec<u8>| arrangement.row_at(key, applied);
        let changed = keys.iter().map(|key| arrangement.version(key).map_or(Lsn::ZERO, Entry::lsn));
        let changed = changed.collect();
        let rows: Result<Vec<Option<Entry>>, Forgotten> = keys.iter().map(row).collect();
        Ok(Rows {
            applied,
            columns: self.engine.output_columns(output).to_vec(),
            key: self.engine.output_key(output).to_vec(),
            rows: rows.map_err(|Forgotten| NotFollowed::Busy)?,
            changed,
        })
    }

    /// As [`Machine::rows`], of the one row whose key equals this one, however it is written.
    pub fn row(&self, projection: &str, key: &[u8]) -> Result<Rows, NotFollowed> {
        let of = |key: Vec<u8>| self.rows(projection, &[key]);
        let is_there = |rows: &Rows| rows.rows.iter().any(Option::is_some);
        let exact = of(key.to_vec())?;
        let output = self.followed(projection)?;
        let types: Vec<&Type> = exact.key.iter().map(|&at| &exact.columns[at].ty).collect();
        let arrangement = &self.engine.arrangements()[self.engine.output_arrangement(output)];
        // What cannot be told apart into columns equals nothing.
        let equal = arrangement.equal_keys(&types, key).unwrap_or_default();
        for key in equal {
            let rows = of(key)?;
            if is_there(&rows) {
                return Ok(rows);
            }
        }
        Ok(exact)
    }

    /// What a reader has not read yet, or at most `room` of it.
    pub fn changes(
        &self,
        projection: &str,
        columns: &[Column],
        reader: &mut Reader,
        room: usize,
    ) -> Result<Result<Reading, TooOld>, NotFollowed> {
        let output = self.followed(projection)?;
        if self.engine.output_columns(output) != columns {
            return Ok(Err(TooOld));
        }
        let arrangement = &self.engine.arrangements()[self.engine.output_arrangement(output)];
        Ok(reader.read(arrangement, self.progress.applied, room))
    }

    /// The commit of the newest change of its rows, which may not be whole yet.
    pub fn last_change(&self, projection: usize) -> Lsn {
        self.engine.arrangements()[self.projections[projection].arrangement].last_change()
    }

    /// The output of a projection that has rows, and follows its tables.
    fn followed(&self, projection: &str) -> Result<OutputId, NotFollowed> {
        let at = self.projection(projection).ok_or(NotFollowed::Apart)?;
        if let Some(why) = self.quarantine_of(at) {
            return Err(NotFollowed::Quarantined(why));
        }
        match self.is_followed(at) {
            true => self.projections[at].output.ok_or(NotFollowed::Apart),
            false => Err(NotFollowed::Loading),
        }
    }

    /// Its place among the machine's.
    pub fn projection(&self, name: &str) -> Option<usize> {
        self.projections.iter().position(|projection| projection.name == name)
    }

    /// Its place among the lanes of the sink.
    pub fn lane(&self, sink: usize, projection: &str) -> Option<usize> {
        let at = self.projection(projection)?;
        self.sinks[sink].projections.iter().position(|&of| of == at)
    }

    /// The projection's columns and its key's positions.
    pub fn shape(&self, projection: &str) -> Option<(Vec<Column>, Vec<usize>)> {
        let at = self.projection(projection)?;
        let Some(output) = self.projections[at].output else {
            return Some((self.event_columns(at).to_vec(), EVENT_KEY.to_vec()));
        };
        Some((self.engine.output_columns(output).to_vec(), self.engine.output_key(output).to_vec()))
    }

    /// Keys of the projection that the engine itself cannot show, in their order, after one of them.
    pub fn withheld(
        &self,
        projection: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Withheld>, ValueError> {
        let output = self.projection(projection).and_then(|at| self.projections[at].output);
        let Some(output) = output else { return Ok(Vec::new()) };
        let all = self.engine.withheld(output);
        let told = all.into_iter().map(|notice| {
            let (notice, lsn) = notice?;
            let (key, error) = match notice {
                Notice::Refused { key, error } => (key, error),
                Notice::Conflict { key, rows } => {
                    (key, format!("the key is claimed by {rows} rows"))
                }
                Notice::Accepted { key } => (key, String::new()),
            };
            Ok(Withheld { key, lsn, error })
        });
        let beyond = |found: &Result<Withheld, ValueError>| match (found, after) {
            (Ok(found), Some(after)) => found.key.as_slice() > after,
            _ => true,
        };
        told.filter(beyond).take(limit).collect()
    }

    /// Sends a refused row again: its current version; of an event its payload, the occurrence.
    pub fn retry(
        &mut self,
        sink: usize,
        lane: usize,
        key: &[u8],
        payload: Option<Payload>,
    ) -> Again {
        let is_event = self.is_event(sink, lane);
        let Sink { feed, letters, .. } = &mut self.sinks[sink];
        let Some(lsn) = letters.version(lane, key) else { return Again::NoLetter };
        match (is_event, payload) {
            (true, Some(Payload::Row(row))) => {
                feed.release(lane, None);
                feed.again_occurrence(lane, Entry::row(lsn, key, &row));
            }
            (true, _) => {
                feed.release(lane, None);
                return Again::Never;
            }
            (false, _) if feed.is_halted(lane) => feed.release(lane, letters.oldest(lane)),
            (false, _) => feed.again(lane, key.to_vec()),
        }
        Again::Sent
    }

    /// What a letter keeps, as it is to be read today.
    pub fn renewed(&self, sink: usize, lane: usize, key: &[u8], payload: Payload) -> Payload {
        let Payload::Row(row) = &payload else { return payload };
        let projection = self.sinks[sink].projections[lane];
        let renewed = self.event_log(projection).and_then(|log| {
            // Of its place only the key counts.
            log.renewed(Entry::row(Lsn::ZERO, key, row)).ok()
        });
        let row = renewed.and_then(|entry| entry.value().map(<[u8]>::to_vec));
        row.map_or(payload, Payload::Row)
    }

    /// `sink/projection`.
    pub fn lane_name(&self, sink: usize, lane: usize) -> &str {
        self.sinks[sink].letters.lane_name(lane)
    }

    /// Whether the lane is an event's: its entries are occurrences, which have no newer versions.
    pub fn is_event(&self, sink: usize, lane: usize) -> bool {
        self.projections[self.sinks[sink].projections[lane]].output.is_none()
    }

    /// Whether the sink refuses the row under this key.
    pub fn is_letter(&self, sink: usize, lane: usize, key: &[u8]) -> bool {
        self.sinks[sink].letters.version(lane, key).is_some()
    }

    /// Forgets a refused row: it stays out of the sink until it changes. A projection that it has halted
    /// goes on. False: there is no such letter.
    pub fn drop_letter(&mut self, sink: usize, lane: usize, key: &[u8]) -> bool {
        let Sink { feed, letters, halts, .. } = &mut self.sinks[sink];
        let found = letters.remove(lane, key, halts[lane], &mut self.batch.facts);
        if found {
            feed.settled_by_hand(lane, key.to_vec());
        }
        if found && letters.oldest(lane).is_none() {
            feed.release(lane, None);
        }
        found
    }

    /// Has the sink fill the projection anew, beside what readers see; also when this process ends before
    /// it is done. Returns the generation that this comes to at least.
    pub fn rebuild(&mut self, sink: usize, lane: usize) -> u64 {
        let sink = &mut self.sinks[sink];
        sink.feed.rebuild(lane);
        let generation = sink.feed.generation(lane);
        if !sink.feed.is_rebuilding(lane) {
            return generation;
        }
        self.batch.fact(rebuild_fact(sink.letters.lane_name(lane)), Vec::new());
        generation + 1
    }
}
