//! The backlog: changes of tables that are being loaded, kept until the load's rows are there.
//!
//! ```text
//! piece  = record*
//! record = commit-lsn u64 BE, commit-time i64 BE, change u64 BE, xid u32 BE, length u32 BE, body
//! ```
//!
//! `body` is a pgoutput message: RELATION, INSERT, UPDATE, DELETE or TRUNCATE; `change` is its place in its
//! transaction.

use crate::lsn::Lsn;

/// One message of the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) commit_lsn: Lsn,
    pub(super) committed_at: i64,
    pub(super) change: u64,
    pub(super) xid: u32,
    pub(super) body: &'a [u8],
}

impl Record<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.commit_lsn.0.to_be_bytes());
        out.extend_from_slice(&self.committed_at.to_be_bytes());
        out.extend_from_slice(&self.change.to_be_bytes());
        out.extend_from_slice(&self.xid.to_be_bytes());
        let len = u32::try_from(self.body.len()).expect("a protocol message is shorter than 2 GiB");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(self.body);
    }
}

/// The record at the start of `bytes` and its length, or `None` at the end or where bytes are missing.
pub(super) fn read(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let (lsn, rest) = bytes.split_first_chunk::<8>()?;
    let (committed_at, rest) = rest.split_first_chunk::<8>()?;
    let (change, rest) = rest.split_first_chunk::<8>()?;
    let (xid, rest) = rest.split_first_chunk::<4>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let len = u32::from_be_bytes(*len) as usize;
    let body = rest.get(..len)?;
    let record = Record {
        commit_lsn: Lsn(u64::from_be_bytes(*lsn)),
        committed_at: i64::from_be_bytes(*committed_at),
        change: u64::from_be_bytes(*change),
        xid: u32::from_be_bytes(*xid),
        body,
    };
    Some((record, 32 + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_in_order_and_a_cut_one_does_not() {
        let records = [
            Record { commit_lsn: Lsn(1), committed_at: -5, change: 3, xid: 7, body: b"one" },
            Record { commit_lsn: Lsn(2), committed_at: 6, change: 1, xid: 8, body: b"" },
        ];
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.write(&mut bytes));
        let (first, len) = read(&bytes).expect("whole");
        assert_eq!(first, records[0]);
        assert_eq!(read(&bytes[len..]), Some((records[1], 32)));
        assert_eq!(read(&bytes[len..bytes.len() - 1]), None);
        assert_eq!(read(&[]), None);
    }
}
