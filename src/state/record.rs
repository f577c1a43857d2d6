//! A row in the store.
//!
//! ```text
//! key   = rows-of u32 BE, key bytes
//! value = lsn u64 BE, leaf u16 BE, kind u8 (0 row, 1 tombstone), row bytes
//! ```

use crate::engine::{Entry, RowsOf};
use crate::lsn::Lsn;

const HEADER: usize = 11;

pub(super) fn key(rows_of: RowsOf, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + key.len());
    write_key(rows_of, key, &mut out);
    out
}

pub(super) fn write_key(rows_of: RowsOf, key: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&rows_of.to_be_bytes());
    out.extend_from_slice(key);
}

pub(super) fn value(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + entry.value().map_or(0, <[u8]>::len));
    write_value(entry, &mut out);
    out
}

pub(super) fn write_value(entry: &Entry, out: &mut Vec<u8>) {
    let row = entry.value();
    out.extend_from_slice(&entry.lsn().0.to_be_bytes());
    out.extend_from_slice(&entry.leaf().to_be_bytes());
    out.push(u8::from(row.is_none()));
    out.extend_from_slice(row.unwrap_or_default());
}

/// The entry of a stored pair, or `None` when the pair is not one.
pub(super) fn read(key: &[u8], value: &[u8]) -> Option<Entry> {
    let key = key.get(4..)?;
    let (lsn, rest) = value.split_first_chunk::<8>()?;
    let (leaf, rest) = rest.split_first_chunk::<2>()?;
    let lsn = Lsn(u64::from_be_bytes(*lsn));
    match rest.split_first()? {
        (0, row) => Some(Entry::row_in(u16::from_be_bytes(*leaf), lsn, key, row)),
        (1, []) => Some(Entry::tombstone(lsn, key)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_tombstones_come_back_as_they_were() {
        for entry in [
            Entry::row_in(7, Lsn(42), b"key", b"row"),
            Entry::row(Lsn(1), b"", b""),
            Entry::tombstone(Lsn(u64::MAX - 1), b"gone"),
        ] {
            let back = read(&key(9, entry.key()), &value(&entry)).expect("it is a pair of ours");
            assert_eq!(
                (back.lsn(), back.leaf(), back.key(), back.value()),
                (entry.lsn(), entry.leaf(), entry.key(), entry.value())
            );
        }
    }

    #[test]
    fn what_is_no_record_is_told() {
        let whole = value(&Entry::row(Lsn(1), b"k", b"row"));
        for len in 0..HEADER {
            assert!(read(b"0000k", &whole[..len]).is_none());
        }
        assert!(read(b"000", &whole).is_none());
        let mut unknown = whole;
        unknown[10] = 2;
        assert!(read(b"0000k", &unknown).is_none());
    }
}
