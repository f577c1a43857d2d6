//! What the machine shows of itself: positions, counts and sizes, for metrics and for people.

use super::machine::{Counts, Machine};
use super::table::{Stage, Table};
use crate::lsn::Lsn;

impl Machine {
    /// Everything before it is applied.
    pub fn applied(&self) -> Lsn {
        self.progress.applied
    }

    /// Commit time of the last transaction applied, microseconds since 2000-01-01 UTC.
    pub fn committed_at(&self) -> i64 {
        self.progress.committed_at
    }

    /// Since the machine was built.
    pub fn transactions_total(&self) -> u64 {
        self.transactions_total
    }

    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// By table, since the machine was built.
    pub fn counts(&self) -> &[Counts] {
        &self.counts
    }

    /// By table, since the machine was built: changes that no event takes; `None` where there are no events.
    pub fn unmatched(&self, table: usize) -> Option<Counts> {
        self.has_events(table).then(|| self.unmatched[table])
    }

    pub fn table_rows(&self, table: usize) -> usize {
        let id = self.engine.table_arrangement(self.tables[table].id);
        self.engine.arrangements()[id].len()
    }

    pub fn projection_rows(&self, projection: usize) -> usize {
        self.engine.arrangements()[self.projections[projection].arrangement].len()
    }

    /// Why the projection's tables are no longer followed, if they are not.
    pub fn quarantine_of(&self, projection: usize) -> Option<String> {
        let tables = self.projections[projection].tables.iter().map(|&at| &self.tables[at]);
        let reasons = tables.filter_map(|table| match &table.stage {
            Stage::Quarantined(why) => Some(format!("{}: {why}", table.name)),
            Stage::Live | Stage::Loading => None,
        });
        let reasons: Vec<String> = reasons.collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Bytes of all rows, and of the logs of recent changes.
    pub fn memory_bytes(&self) -> usize {
        self.engine.arrangements().iter().map(|a| a.bytes() + a.recent_bytes()).sum()
    }

    pub fn lanes(&self, sink: usize) -> &[usize] {
        &self.sinks[sink].projections
    }
}
