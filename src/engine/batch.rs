//! What the engine asks of a store: changes that are written together.

use std::ops::Range;

use super::Entry;

/// The number under which an arrangement's rows lie in the store; never used twice.
pub type RowsOf = u32;

/// Changes that become durable together or not at all, but for `chunks`.
#[derive(Default, Debug)]
pub struct Batch {
    /// Current versions, tombstones included.
    pub entries: Vec<(RowsOf, Entry)>,
    /// Rows of a load's chunks. They may become durable before all else in the batch: a chunk counts
    /// only with its fact, and is read again without it.
    pub chunks: Vec<LoadedChunk>,
    /// Tombstones that nobody needs any more.
    pub forgotten: Vec<(RowsOf, Entry)>,
    /// Entries of logs that nobody needs any more, by their keys.
    pub passed: Vec<(RowsOf, Range<Vec<u8>>)>,
    /// All rows of these go first.
    pub dropped: Vec<RowsOf>,
    /// Appended to the backlog: position in it, and the bytes.
    pub backlog: Option<(u64, Vec<u8>)>,
    /// The whole backlog goes.
    pub backlog_dropped: bool,
    /// Small facts by name; `None` removes one.
    pub facts: Vec<(String, Option<Vec<u8>>)>,
}

/// What a load has read of a range of a table, as it came. Of rows under one key the last counts.
#[derive(Debug)]
pub struct LoadedChunk {
    pub rows_of: RowsOf,
    pub rows: Vec<Vec<Entry>>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.chunks.is_empty()
            && self.forgotten.is_empty()
            && self.passed.is_empty()
            && self.dropped.is_empty()
            && self.backlog.is_none()
            && !self.backlog_dropped
            && self.facts.is_empty()
    }

    pub fn fact(&mut self, name: impl Into<String>, value: Vec<u8>) {
        self.facts.push((name.into(), Some(value)));
    }

    pub fn remove_fact(&mut self, name: impl Into<String>) {
        self.facts.push((name.into(), None));
    }
}
