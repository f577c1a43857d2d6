//! An ordered bag of rows under keys: what operators keep. Many rows may have one key; rows with one key
//! are in the order of their own bytes, a table's in that of their addresses: to be told apart they need not
//! be looked at, which would be a miss of the processor's caches for each. No key is the beginning of another one, so that all rows under a
//! key, or under the first columns of it, lie side by side.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;

use triomphe::ThinArc;

use super::Entry;

/// What an index holds of a row.
pub(in crate::engine) trait Held: Clone {
    fn content(&self) -> &[u8];
    fn weight(&self) -> i64;
    fn place(&self) -> Place<'_>;
    /// Memory that it costs this index.
    fn cost(&self) -> usize;
}

/// What tells a row from the others under its key: where it lies, or its bytes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct Place<'r>(usize, &'r [u8]);

/// A row of our own: its weight and its bytes.
pub(in crate::engine) type Packed = ThinArc<i64, u8>;

impl Held for Packed {
    fn content(&self) -> &[u8] {
        &self.slice
    }
    fn weight(&self) -> i64 {
        self.header.header
    }
    fn place(&self) -> Place<'_> {
        Place(0, &self.slice)
    }
    fn cost(&self) -> usize {
        3 * size_of::<usize>() + self.slice.len()
    }
}

/// A row of a table, shared with the table's own arrangement.
impl Held for Entry {
    fn content(&self) -> &[u8] {
        self.value().unwrap_or_default()
    }
    fn weight(&self) -> i64 {
        1
    }
    fn place(&self) -> Place<'_> {
        Place(self.address(), &[])
    }
    fn cost(&self) -> usize {
        0
    }
}

pub(in crate::engine) struct Index<R> {
    slots: BTreeSet<Slot<R>>,
    bytes: usize,
}

impl<R> Default for Index<R> {
    fn default() -> Self {
        Self { slots: BTreeSet::new(), bytes: 0 }
    }
}

impl<R: Held> Index<R> {
    /// Distinct rows.
    pub(in crate::engine) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Slots whose keys begin with `key`, from the first or behind one of them.
    pub(in crate::engine) fn under<'s>(
        &'s self,
        key: &'s [u8],
        after: Option<&'s Slot<R>>,
    ) -> impl Iterator<Item = &'s Slot<R>> {
        let probe = Probe::before(key);
        let from: Bound<&dyn Keyed> = match after {
            Some(slot) => Bound::Excluded(slot),
            None => Bound::Included(&probe),
        };
        let slots = self.slots.range::<dyn Keyed, _>((from, Bound::Unbounded));
        slots.take_while(move |slot| slot.is_under(key))
    }

    /// The last slot whose key begins with `key`.
    pub(in crate::engine) fn last_under(&self, key: &[u8]) -> Option<&Slot<R>> {
        let end = successor(key);
        let probe = end.as_deref().map(Probe::before);
        let to: Bound<&dyn Keyed> = match &probe {
            Some(probe) => Bound::Excluded(probe),
            None => Bound::Unbounded,
        };
        let last = self.slots.range::<dyn Keyed, _>((Bound::Unbounded, to)).next_back()?;
        last.is_under(key).then_some(last)
    }

    /// The first slot whose key is behind all that begin with `key`.
    pub(in crate::engine) fn first_behind(&self, key: &[u8]) -> Option<&Slot<R>> {
        let end = successor(key)?;
        let probe = Probe::before(&end);
        let from: Bound<&dyn Keyed> = Bound::Included(&probe);
        self.slots.range::<dyn Keyed, _>((from, Bound::Unbounded)).next()
    }

    fn insert(&mut self, slot: Slot<R>) -> Option<Slot<R>> {
        self.bytes += slot.cost();
        let old = self.slots.replace(slot)?;
        self.bytes -= old.cost();
        Some(old)
    }

    fn take(&mut self, key: &[u8], place: Place<'_>) -> Option<Slot<R>> {
        let probe = Probe { place: Some(place), ..Probe::before(key) };
        let old = self.slots.take(&probe as &dyn Keyed)?;
        self.bytes -= old.cost();
        Some(old)
    }
}

impl Index<Packed> {
    /// Changes how often the row is there; returns that before and after.
    pub(in crate::engine) fn add(&mut self, key: &[u8], row: &[u8], weight: i64) -> (i64, i64) {
        let slot = |weight| Slot::new(key, ThinArc::from_header_and_slice(weight, row));
        let old = match weight {
            1.. => self.insert(slot(weight)),
            _ => self.take(key, Place(0, row)),
        };
        let before = old.map_or(0, |slot| slot.row.weight());
        let after = before + weight;
        debug_assert!(after >= 0, "a row is there {after} times");
        if after != 0 && (before != 0 || weight < 0) {
            self.insert(slot(after));
        }
        (before, after)
    }
}

impl<R: Held> Index<R> {
    /// Without all rows whose keys begin with `key`.
    pub(in crate::engine) fn remove_under(&mut self, key: &[u8]) {
        let gone: Vec<Slot<R>> = self.under(key, None).cloned().collect();
        for slot in gone {
            if self.slots.remove(&slot) {
                self.bytes -= slot.cost();
            }
        }
    }
}

impl Index<Entry> {
    pub(in crate::engine) fn put(&mut self, key: &[u8], entry: Entry) {
        let old = self.insert(Slot::new(key, entry));
        debug_assert!(old.is_none(), "a table's row is there once");
    }

    /// All rows at once, into an index that has none.
    pub(in crate::engine) fn fill(&mut self, slots: Vec<Slot<Entry>>) {
        debug_assert!(self.slots.is_empty());
        self.bytes = slots.iter().map(Slot::cost).sum();
        // Built bottom-up, with full nodes.
        self.slots = slots.into_iter().collect();
    }

    pub(in crate::engine) fn remove(&mut self, key: &[u8], entry: &Entry) {
        let old = self.take(key, entry.place());
        debug_assert!(old.is_some(), "what goes was there");
    }
}

/// A row under its key. The key's first eight bytes lie in the tree's node itself, and are mostly all.
#[derive(Clone)]
pub(in crate::engine) struct Slot<R> {
    prefix: u64,
    rest: Option<ThinArc<(), u8>>,
    pub(in crate::engine) row: R,
}

pub(in crate::engine) const PREFIX: usize = size_of::<u64>();

impl<R: Held> Slot<R> {
    pub(in crate::engine) fn new(key: &[u8], row: R) -> Self {
        let rest = key.get(PREFIX..).filter(|rest| !rest.is_empty());
        let rest = rest.map(|rest| ThinArc::from_header_and_slice((), rest));
        Self { prefix: prefix(key), rest, row }
    }

    fn is_under(&self, key: &[u8]) -> bool {
        match key.split_at_checked(PREFIX) {
            Some((_, rest)) => self.prefix == prefix(key) && self.key_rest().starts_with(rest),
            None => self.prefix.to_be_bytes().starts_with(key),
        }
    }

    /// A node of a B-tree is three quarters full in the long run.
    fn cost(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| 2 * size_of::<usize>() + rest.slice.len());
        size_of::<Self>() * 4 / 3 + rest + self.row.cost()
    }

    fn key_rest(&self) -> &[u8] {
        self.rest.as_ref().map_or(&[], |rest| &rest.slice)
    }
}

/// The first bytes, zeros behind a shorter key: orders like the bytes wherever it differs, and where it
/// does not the keys are equal that far, since none is the beginning of another.
pub(in crate::engine) fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut padded = [0; PREFIX];
            padded[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(padded)
        }
    }
}

/// The least bytes that are greater than all that begin with `key`.
fn successor(key: &[u8]) -> Option<Vec<u8>> {
    let last = key.iter().rposition(|&byte| byte != 0xFF)?;
    let mut next = key[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// What a slot and a bare key have in common, so that one finds the other.
trait Keyed {
    fn prefix(&self) -> u64;
    fn rest(&self) -> &[u8];
    /// `None` is before every row under the key.
    fn place(&self) -> Option<Place<'_>>;
}

struct Probe<'a> {
    prefix: u64,
    rest: &'a [u8],
    place: Option<Place<'a>>,
}

impl<'a> Probe<'a> {
    fn before(key: &'a [u8]) -> Self {
        Self { prefix: prefix(key), rest: key.get(PREFIX..).unwrap_or_default(), place: None }
    }
}

impl Keyed for Probe<'_> {
    fn prefix(&self) -> u64 {
        self.prefix
    }
    fn rest(&self) -> &[u8] {
        self.rest
    }
    fn place(&self) -> Option<Place<'_>> {
        self.place.as_ref().map(|&Place(address, bytes)| Place(address, bytes))
    }
}

impl<R: Held> Keyed for Slot<R> {
    fn prefix(&self) -> u64 {
        self.prefix
    }
    fn rest(&self) -> &[u8] {
        self.key_rest()
    }
    fn place(&self) -> Option<Place<'_>> {
        Some(self.row.place())
    }
}

impl<'a, R: Held + 'a> Borrow<dyn Keyed + 'a> for Slot<R> {
    fn borrow(&self) -> &(dyn Keyed + 'a) {
        self
    }
}

impl Ord for dyn Keyed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        let keys = self.prefix().cmp(&other.prefix()).then_with(|| self.rest().cmp(other.rest()));
        keys.then_with(|| self.place().cmp(&other.place()))
    }
}

impl PartialOrd for dyn Keyed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Keyed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for dyn Keyed + '_ {}

impl<R: Held> Ord for Slot<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        let keys =
            self.prefix.cmp(&other.prefix).then_with(|| self.key_rest().cmp(other.key_rest()));
        keys.then_with(|| self.row.place().cmp(&other.row.place()))
    }
}

impl<R: Held> PartialOrd for Slot<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Held> PartialEq for Slot<R> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<R: Held> Eq for Slot<R> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(index: &Index<Packed>, key: &[u8]) -> Vec<(Vec<u8>, i64)> {
        let slots = index.under(key, None);
        slots.map(|slot| (slot.row.content().to_vec(), slot.row.weight())).collect()
    }

    #[test]
    fn rows_under_a_key_lie_side_by_side_in_order() {
        let mut index = Index::default();
        for (key, row) in [("b\0", "2"), ("a\0", "3"), ("abcdefghij\0", "4"), ("a\0", "1")] {
            index.add(key.as_bytes(), row.as_bytes(), 1);
        }
        assert_eq!(rows(&index, b"a\0"), [(b"1".to_vec(), 1), (b"3".to_vec(), 1)]);
        assert_eq!(rows(&index, b"abcdefghij\0"), [(b"4".to_vec(), 1)]);
        assert_eq!(rows(&index, b"").len(), 4);
        let first = index.under(b"a\0", None).next().cloned();
        let after: Vec<_> = index.under(b"a\0", first.as_ref()).map(|s| s.row.content()).collect();
        assert_eq!(after, [b"3"]);
        assert_eq!(index.last_under(b"a\0").map(|s| s.row.content()), Some(&b"3"[..]));
        assert_eq!(index.first_behind(b"a\0").map(|s| s.row.content()), Some(&b"4"[..]));
        assert!(index.last_under(b"c").is_none());
    }

    #[test]
    fn a_row_is_there_as_often_as_it_came() {
        let mut index = Index::default();
        assert_eq!(index.add(b"k", b"r", 1), (0, 1));
        assert_eq!(index.add(b"k", b"r", 2), (1, 3));
        assert_eq!(index.add(b"k", b"r", -1), (3, 2));
        assert_eq!(rows(&index, b"k"), [(b"r".to_vec(), 2)]);
        assert_eq!(index.add(b"k", b"r", -2), (2, 0));
        assert_eq!((index.len(), index.bytes()), (0, 0));
    }
}
