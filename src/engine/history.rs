//! Versions of a projection's rows as entries of a log.
//!
//! ```text
//! key   = lsn, the row's key
//! value = committed-at i64 BE, and the row; a version that says the row is gone has no row
//! ```

use super::event::log_from;
use super::{Entry, Leaf};

const ROW: Leaf = 0;
const GONE: Leaf = 1;
/// A row under whose key nothing was known before.
const FIRST: Leaf = 2;

/// A version for the log.
pub fn pack_version(version: &Entry, committed_at: i64) -> Entry {
    let mut key = log_from(version.lsn());
    key.extend_from_slice(version.key());
    let mut value = committed_at.to_be_bytes().to_vec();
    value.extend_from_slice(version.value().unwrap_or_default());
    let kind = match version.is_tombstone() {
        true => GONE,
        false if version.is_first() => FIRST,
        false => ROW,
    };
    Entry::row_in(kind, version.lsn(), &key, &value)
}

/// The version that an entry of the log is, and when it was committed.
pub fn unpack_version(entry: &Entry) -> Option<(Entry, i64)> {
    let key = entry.key().get(log_from(entry.lsn()).len()..)?;
    let (committed_at, row) = entry.value()?.split_first_chunk::<8>()?;
    let version = match entry.leaf() {
        GONE => Entry::tombstone(entry.lsn(), key),
        _ => Entry::row(entry.lsn(), key, row),
    };
    if entry.leaf() == FIRST {
        version.set_first();
    }
    Some((version, i64::from_be_bytes(*committed_at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    #[test]
    fn versions_come_back_as_they_were_and_lie_in_the_order_of_commits() {
        let versions = [
            Entry::row(Lsn(5), b"z", b"row"),
            Entry::row(Lsn(6), b"a", b""),
            Entry::tombstone(Lsn(7), b"a"),
        ];
        versions[1].set_first();
        let packed = versions.each_ref().map(|version| pack_version(version, -3));
        assert!(packed.is_sorted_by(|a, b| a.key() < b.key()));
        for (version, packed) in versions.iter().zip(&packed) {
            let (back, at) = unpack_version(packed).expect("a version");
            assert_eq!(
                (back.lsn(), back.key(), back.value(), back.is_first(), at),
                (version.lsn(), version.key(), version.value(), version.is_first(), -3)
            );
        }
    }
}
