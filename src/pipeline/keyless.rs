//! Tables without a key, under REPLICA IDENTITY FULL: a row is known by all of its columns, so two equal
//! ones could not be told apart. They are refused, never taken for one.
//!
//! For that a load of them has to be exact. Rows with a key may be read by many snapshots: the changes
//! since are replayed, and it does no harm to meet the same version twice. Here it would not be known
//! whether an inserted row is the one that was read, or its equal. So each leaf is read by one snapshot,
//! and a change counts in the replay when its transaction had not ended for that.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::events::Known;
use super::machine::Machine;
use crate::engine::{Entry, Leaf, RowError, Version};
use crate::lsn::Lsn;
use crate::pgoutput::Change;

/// Whether a transaction had ended for the snapshot by which a leaf was read.
pub struct Seen(Box<dyn Fn(u32) -> bool + Send>);

impl Seen {
    pub fn by(has_ended: impl Fn(u32) -> bool + Send + 'static) -> Self {
        Self(Box::new(has_ended))
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen")
    }
}

#[derive(Debug, Default)]
pub(super) struct Keyless {
    tables: BTreeSet<usize>,
    /// By table and leaf, once its rows are read.
    seen: HashMap<(usize, Leaf), Seen>,
    /// Quarantined because of equal rows, of which none has changed since.
    equal: BTreeSet<usize>,
}

impl Keyless {
    pub(super) fn has(&self, table: usize) -> bool {
        self.tables.contains(&table)
    }

    pub(super) fn has_seen(&self, table: usize, leaf: Leaf, xid: u32) -> bool {
        self.seen.get(&(table, leaf)).is_some_and(|seen| seen.0(xid))
    }

    pub(super) fn refused(&mut self, table: usize, error: &RowError) {
        if *error == RowError::Equal {
            self.equal.insert(table);
        }
    }

    /// A row of a quarantined table has changed or gone: there may be no equal ones any more. What is
    /// inserted makes them no fewer.
    pub(super) fn may_differ(&mut self, table: usize) {
        self.equal.remove(&table);
    }
}

impl Machine {
    /// Rows of these tables have no key.
    pub fn keyless(&mut self, tables: impl IntoIterator<Item = usize>) {
        self.keyless.tables = tables.into_iter().collect();
    }

    /// What the snapshot has seen that read all rows of a leaf of a table without a key.
    pub fn seen(&mut self, table: usize, leaf: Leaf, seen: Seen) {
        self.keyless.seen.insert((table, leaf), seen);
    }

    /// It would be quarantined again: it has equal rows, as far as one can tell.
    pub fn has_equal_rows(&self, table: usize) -> bool {
        self.keyless.equal.contains(&table)
    }

    /// A change that the load's rows of a table without a key have seen. With REPLICA IDENTITY FULL the
    /// stream has both versions for the events.
    pub(super) fn pass_over(
        &mut self,
        relation: u32,
        lsn: Lsn,
        change: &Change<'_>,
    ) -> Result<(), RowError> {
        let Some(route) = self.routes.get(&relation).filter(|route| route.is_described()) else {
            return Ok(());
        };
        let (at, leaf) = (route.table, route.leaf);
        let has_events = self.has_events(at);
        let layout = self.engine.layout(self.tables[at].id);
        let buffer = &mut self.buffer;
        let counts = &mut self.counts[at];
        let (old, new) = match change {
            Change::Insert { new, .. } => {
                counts.insert += 1;
                (None, Some((new, None)))
            }
            Change::Update { before, new, .. } => {
                counts.update += 1;
                let before = before.as_ref().map(|before| before.tuple());
                (Some(before), Some((new, before)))
            }
            Change::Delete { before, .. } => {
                counts.delete += 1;
                (Some(Some(before.tuple())), None)
            }
            Change::Truncate { .. } => return Ok(()),
        };
        if !has_events {
            return Ok(());
        }
        let old = match old {
            None => Version::None,
            Some(None) => Version::Unknown,
            Some(Some(before)) => {
                route.encode(&before, None, layout, None, buffer)?;
                Version::Row(Entry::row_in(leaf, lsn, &buffer.key, &buffer.row))
            }
        };
        let new = match new {
            None => Version::None,
            Some((new, before)) => {
                route.encode(new, before.as_ref(), layout, None, buffer)?;
                Version::Row(Entry::row_in(leaf, lsn, &buffer.key, &buffer.row))
            }
        };
        self.occurred(at, &old, &new, Known::Both)
    }
}
