//! One version of one row: the unit that the engine's arrangements hold, the store persists and the
//! sinks deliver, shared by all of them behind one pointer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use triomphe::ThinArc;

use crate::lsn::Lsn;

/// Immutable but for what the engine sets once: `is_first` when the version takes its place, `superseded_at` when a
/// newer one does.
#[derive(Clone)]
pub struct Entry(ThinArc<Header, u8>);

struct Header {
    /// The commit record of the transaction that made this version.
    lsn: Lsn,
    /// The commit record of the transaction that replaced it; `u64::MAX` while it is current.
    superseded_at: AtomicU64,
    key_len: u32,
    /// Which leaf of a partitioned table holds the row; 0 for other tables.
    leaf: Leaf,
    tombstone: bool,
    is_first: AtomicBool,
}

/// A leaf of a partitioned table, numbered within its root.
pub type Leaf = u16;

impl Entry {
    /// A version of the row under `key`.
    pub fn row(lsn: Lsn, key: &[u8], row: &[u8]) -> Self {
        Self::new(lsn, key, row, 0, false)
    }

    /// A version of a partitioned table's row, which lies in `leaf`.
    pub fn row_in(leaf: Leaf, lsn: Lsn, key: &[u8], row: &[u8]) -> Self {
        Self::new(lsn, key, row, leaf, false)
    }

    /// The row under `key` was deleted.
    pub fn tombstone(lsn: Lsn, key: &[u8]) -> Self {
        Self::new(lsn, key, &[], 0, true)
    }

    fn new(lsn: Lsn, key: &[u8], row: &[u8], leaf: Leaf, tombstone: bool) -> Self {
        let key_len =
            u32::try_from(key.len()).expect("a key is shorter than a Postgres field, 1 GB");
        let header = Header {
            lsn,
            superseded_at: AtomicU64::new(u64::MAX),
            key_len,
            leaf,
            tombstone,
            is_first: AtomicBool::new(false),
        };
        // Short ones, the usual case, are put together without an allocation of their own.
        let mut short = [0; 256];
        let len = key.len() + row.len();
        if let Some(bytes) = short.get_mut(..len) {
            bytes[..key.len()].copy_from_slice(key);
            bytes[key.len()..].copy_from_slice(row);
            return Self(ThinArc::from_header_and_slice(header, bytes));
        }
        Self(ThinArc::from_header_and_slice(header, &[key, row].concat()))
    }

    /// The same version in memory of its own, taken now and by this thread.
    pub fn copied(&self) -> Self {
        let header = &self.0.header.header;
        let key = self.key();
        Self::new(header.lsn, key, &self.0.slice[key.len()..], header.leaf, header.tombstone)
    }

    /// Where it lies: of all entries that there are, its own alone.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(&self.0.header.header).addr()
    }

    pub fn lsn(&self) -> Lsn {
        self.0.header.header.lsn
    }

    /// The key's encoding (`value`: key datums).
    pub fn key(&self) -> &[u8] {
        &self.0.slice[..self.0.header.header.key_len as usize]
    }

    /// The row's encoding (`value`: datums), or `None` for a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        (!self.is_tombstone()).then(|| &self.0.slice[self.0.header.header.key_len as usize..])
    }

    pub fn is_tombstone(&self) -> bool {
        self.0.header.header.tombstone
    }

    pub fn leaf(&self) -> Leaf {
        self.0.header.header.leaf
    }

    /// Whether nothing was known under its key before it, a deletion neither. So a sink that has everything before
    /// this version has no such row, unless somebody else has put it there. `false`: not known.
    pub fn is_first(&self) -> bool {
        self.0.header.header.is_first.load(Ordering::Relaxed)
    }

    /// Called as `supersede` is.
    pub(crate) fn set_first(&self) {
        self.0.header.header.is_first.store(true, Ordering::Relaxed);
    }

    /// The commit that replaced this version, or `Lsn::MAX`.
    pub fn superseded_at(&self) -> Lsn {
        Lsn(self.0.header.header.superseded_at.load(Ordering::Relaxed))
    }

    /// Called by the engine's thread alone; relaxed, since readers on other threads only use the bytes.
    pub(crate) fn supersede(&self, lsn: Lsn) {
        self.0.header.header.superseded_at.store(lsn.0, Ordering::Relaxed);
    }

    /// What this version costs in memory, allocator rounding left out.
    pub fn bytes(&self) -> usize {
        size_of::<Header>() + 2 * size_of::<usize>() + self.0.slice.len()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("lsn", &self.lsn())
            .field("key", &self.key())
            .field("value", &self.value())
            .finish()
    }
}
