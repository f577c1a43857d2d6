//! What a join sees of one of its sides: rows under a key, and what of them it has processed.

use std::collections::BTreeSet;
use std::ops::Range;

use super::delta::Sorted;
use super::index::{Held as _, Index, Packed, Slot};
use super::{Arrangement, Entry};

/// The rows of one side by the join's key.
#[derive(Clone, Copy)]
pub(in crate::engine) enum View<'a> {
    /// A table under its identity, which begins with the key.
    Table(&'a Arrangement),
    /// A table's rows under other columns.
    Shared(&'a Index<Entry>),
    Own(&'a Index<Packed>),
}

/// The row that a scan has got to.
#[derive(Clone)]
enum At {
    Table(Vec<u8>),
    Shared(Slot<Entry>),
    Own(Slot<Packed>),
}

/// A scan of the processed rows under one key, which goes on where it was interrupted.
#[derive(Default)]
pub(in crate::engine) struct Scan {
    at: Option<At>,
    /// Pending rows that the scan has met.
    met: BTreeSet<usize>,
    /// All rows were seen; what follows are pending rows that are gone: how many of them.
    gone: Option<usize>,
}

/// Whether a scan is to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Go {
    On,
    Rest,
}

impl<'a> View<'a> {
    /// The rows under a key with their weights, behind the one that `at` stands at. Where it rests, `at`
    /// is set and false the answer.
    fn rows(self, key: &[u8], at: &mut Option<At>, see: &mut dyn FnMut(&[u8], i64) -> Go) -> bool {
        match self {
            View::Table(arrangement) => {
                let after = match at.take() {
                    Some(At::Table(key)) => Some(key),
                    _ => None,
                };
                // Nothing can follow a row whose key is the whole identity.
                let whole = arrangement.get(key).filter(|_| after.is_none());
                let beyond = arrangement.scan_after(Some(after.as_deref().unwrap_or(key)));
                let beyond = beyond.take_while(|entry| entry.key().starts_with(key));
                for entry in whole.into_iter().chain(beyond) {
                    let Some(row) = entry.value() else { continue };
                    if see(row, 1) == Go::Rest {
                        *at = Some(At::Table(entry.key().to_vec()));
                        return false;
                    }
                }
            }
            View::Shared(index) => {
                let after = match at.take() {
                    Some(At::Shared(slot)) => Some(slot),
                    _ => None,
                };
                for slot in index.under(key, after.as_ref()) {
                    if see(slot.row.content(), 1) == Go::Rest {
                        *at = Some(At::Shared(slot.clone()));
                        return false;
                    }
                }
            }
            View::Own(index) => {
                let after = match at.take() {
                    Some(At::Own(slot)) => Some(slot),
                    _ => None,
                };
                for slot in index.under(key, after.as_ref()) {
                    if see(slot.row.content(), slot.row.weight()) == Go::Rest {
                        *at = Some(At::Own(slot.clone()));
                        return false;
                    }
                }
            }
        }
        true
    }

    /// All rows under a key; all there are under the empty one.
    pub(in crate::engine) fn each(self, key: &[u8], see: &mut dyn FnMut(&[u8], i64)) {
        self.rows(key, &mut None, &mut |row, weight| {
            see(row, weight);
            Go::On
        });
    }
}

/// One side of a join: its rows, and the deltas that are in them but not to be seen yet, sorted by the key
/// that is scanned.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Side<'a> {
    pub(in crate::engine) view: View<'a>,
    pub(in crate::engine) unseen: &'a Sorted,
}

impl Side<'_> {
    /// The processed rows under a key, from where `scan` stands; false where it rests.
    pub(in crate::engine) fn scan(
        self,
        key: &[u8],
        scan: &mut Scan,
        see: &mut dyn FnMut(&[u8], i64) -> Go,
    ) -> bool {
        let pending = self.unseen.under(key);
        if scan.gone.is_none() {
            let Scan { at, met, .. } = scan;
            let whole = self.view.rows(key, at, &mut |row, weight| {
                let unseen = self.unseen_weight(&pending, row, met);
                if weight == unseen { Go::On } else { see(row, weight - unseen) }
            });
            if !whole {
                return false;
            }
            scan.gone = Some(pending.start);
        }
        while let Some(at) = scan.gone.filter(|&at| at < pending.end) {
            scan.gone = Some(at + 1);
            let (row, weight) = self.unseen.row(at);
            if !scan.met.contains(&at) && see(row, -weight) == Go::Rest {
                return false;
            }
        }
        true
    }

    fn unseen_weight(self, pending: &Range<usize>, row: &[u8], met: &mut BTreeSet<usize>) -> i64 {
        if pending.is_empty() {
            return 0;
        }
        let found = self.unseen.find(pending, row);
        found.map_or(0, |at| {
            met.insert(at);
            self.unseen.row(at).1
        })
    }

    /// Whether any processed row is under the key.
    pub(in crate::engine) fn has(self, key: &[u8]) -> bool {
        !self.scan(key, &mut Scan::default(), &mut |_, _| Go::Rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::delta::Deltas;
    use crate::engine::row::{Key, RowLayout};
    use crate::engine::testing::{int_columns, ints};

    #[test]
    fn what_is_pending_is_as_if_it_had_not_happened() {
        let layout = RowLayout::new(int_columns(2));
        let by = Key::new(&layout, &[0]);
        let row = |value| ints(&[Some(1), Some(value)]);
        let key = ints(&[Some(1)]);
        let mut index = Index::default();
        // Before: 10 once, 20 twice, 30 once. Since then 10 went, 20 once, and 40 came.
        for (value, weight) in [(20, 1), (30, 1), (40, 1)] {
            index.add(&key, &row(value), weight);
        }
        let mut pending = Deltas::default();
        for (value, weight) in [(10, -1), (20, -1), (40, 1)] {
            pending.push(&row(value), weight);
        }
        let unseen = Sorted::new(pending.iter(), &layout, &by, &mut |_, _| ()).expect("rows");
        let side = Side { view: View::Own(&index), unseen: &unseen };
        // Resting after each row changes nothing.
        let (mut seen, mut scan) = (Vec::new(), Scan::default());
        while !side.scan(&key, &mut scan, &mut |row, weight| {
            seen.push((row.to_vec(), weight));
            Go::Rest
        }) {}
        assert_eq!(seen, [(row(20), 2), (row(30), 1), (row(10), 1)]);
        assert!(side.has(&key));
        assert!(!side.has(&ints(&[Some(2)])));
    }
}
