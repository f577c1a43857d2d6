//! Tables' rows change one by one; what depends on them is told at the commit.

use super::graph::{Engine, TableId};
use super::{Entry, Leaf};
use crate::lsn::Lsn;
use crate::value::{Type, ValueError};

/// Changes are worked off early when a transaction gathers more of them than this.
const PENDING_BYTES_MAX: usize = 16 << 20;

impl Engine {
    /// The current row of a table under its identity's key.
    pub fn get(&self, table: TableId, key: &[u8]) -> Option<&Entry> {
        self.arrangements[self.tables[table].arrangement].get(key)
    }

    /// The current row of a table whose identity's key equals this one.
    pub fn get_equal(&self, table: TableId, key: &[u8]) -> Result<Option<&Entry>, ValueError> {
        if let Some(row) = self.get(table, key) {
            return Ok(Some(row));
        }
        let layout = self.layout(table);
        let types: Vec<&Type> = layout.identity.iter().map(|&at| &layout.columns[at].ty).collect();
        let keys = self.arrangements[self.tables[table].arrangement].equal_keys(&types, key)?;
        Ok(keys.iter().find_map(|key| self.get(table, key)))
    }

    /// Inserts a row or replaces the one under the same identity.
    pub fn put(&mut self, table: TableId, entry: Entry) -> Result<(), ValueError> {
        let arrangement = self.tables[table].arrangement;
        if !self.is_followed(table) {
            self.arrangements[arrangement].put(entry);
            return Ok(());
        }
        let new = entry.clone();
        let old = self.arrangements[arrangement].put(entry);
        self.changed(table, new.lsn(), old, Some(new))
    }

    /// Deletes the row under a key of the table's identity; without one nothing happens.
    pub fn delete(&mut self, table: TableId, lsn: Lsn, key: &[u8]) -> Result<bool, ValueError> {
        let arrangement = self.tables[table].arrangement;
        let Some(old) = self.arrangements[arrangement].delete(lsn, key) else { return Ok(false) };
        if self.is_followed(table) {
            self.changed(table, lsn, Some(old), None)?;
        }
        Ok(true)
    }

    /// Deletes all rows of a table, or of one leaf of it.
    pub fn truncate(
        &mut self,
        table: TableId,
        lsn: Lsn,
        leaf: Option<Leaf>,
    ) -> Result<(), ValueError> {
        let arrangement = &self.arrangements[self.tables[table].arrangement];
        let gone: Vec<Entry> = arrangement
            .scan_after(None)
            .filter(|entry| !entry.is_tombstone() && leaf.is_none_or(|leaf| entry.leaf() == leaf))
            .cloned()
            .collect();
        for entry in gone {
            self.delete(table, lsn, entry.key())?;
        }
        Ok(())
    }

    /// Puts a row that a load read: nobody is told of it by the log of changes, who needs it scans.
    pub fn load(&mut self, table: TableId, entry: Entry) -> Result<(), ValueError> {
        let arrangement = self.tables[table].arrangement;
        if !self.is_followed(table) {
            self.arrangements[arrangement].load(entry);
            return Ok(());
        }
        let old = self.arrangements[arrangement].get(entry.key()).cloned();
        self.arrangements[arrangement].load(entry.clone());
        self.changed(table, entry.lsn(), old, Some(entry))
    }

    /// Whether anything is made of the table's rows.
    fn is_followed(&self, table: TableId) -> bool {
        let table = &self.tables[table];
        let users = table.scan.map_or(0, |scan| self.nodes[scan].users.len());
        !table.asleep && users + table.indexes.len() > 0
    }

    /// Whether changes wait for their transaction's end.
    pub(super) fn has_pending(&self) -> bool {
        self.tables.iter().any(|table| !table.pending.is_empty())
    }

    fn changed(
        &mut self,
        table: TableId,
        lsn: Lsn,
        old: Option<Entry>,
        new: Option<Entry>,
    ) -> Result<(), ValueError> {
        let of = &mut self.tables[table];
        for (entry, weight) in [(old, -1), (new, 1)] {
            if let Some(entry) = entry {
                of.pending_bytes += entry.bytes();
                of.pending.push((entry, weight));
            }
        }
        if of.pending_bytes > PENDING_BYTES_MAX {
            self.follow(&[table], lsn)?;
        }
        Ok(())
    }
}
