//! What the positions that people read from a server mean to one who follows its stream.

use crate::lsn::Lsn;

/// PostgreSQL's default `wal_segment_size`.
pub const SEGMENT_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;

/// XLOG_BLCKSZ.
const PAGE_BYTES: u64 = 8 * 1024;
/// MAXALIGN(sizeof(XLogPageHeaderData)).
const SHORT_HEADER_BYTES: u64 = 24;
/// MAXALIGN(sizeof(XLogLongPageHeaderData)), at the start of each segment.
const LONG_HEADER_BYTES: u64 = 40;

/// `pg_current_wal_insert_lsn()` is where the next record will begin: behind the page's header when
/// the last record ended with its page. A stream reports where records end, so there the last one is
/// the page's boundary, and nothing lies between the two.
///
/// `segment_bytes` is the source's `wal_segment_size`, a power of two.
pub fn as_boundary(lsn: Lsn, segment_bytes: u64) -> Lsn {
    debug_assert!(segment_bytes.is_power_of_two() && segment_bytes > PAGE_BYTES);
    let in_segment = lsn.0 & (segment_bytes - 1);
    let in_page = lsn.0 & (PAGE_BYTES - 1);
    let header = match (in_segment < PAGE_BYTES, in_page) {
        (true, LONG_HEADER_BYTES) => LONG_HEADER_BYTES,
        (false, SHORT_HEADER_BYTES) => SHORT_HEADER_BYTES,
        _ => 0,
    };
    Lsn(lsn.0 - header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary(lsn: u64) -> u64 {
        as_boundary(Lsn(lsn), SEGMENT_BYTES_DEFAULT).0
    }

    #[test]
    fn behind_a_short_header_is_the_page() {
        assert_eq!(boundary(0x0100_2000 + 24), 0x0100_2000);
        assert_eq!(boundary(0x7_01FF_E000 + 24), 0x7_01FF_E000);
    }

    #[test]
    fn behind_a_long_header_is_the_segment() {
        assert_eq!(boundary(0x0100_0000 + 40), 0x0100_0000);
        assert_eq!(boundary(0x7_0000_0000 + 40), 0x7_0000_0000);
    }

    #[test]
    fn other_places_are_themselves() {
        for lsn in [
            0,
            0x0100_0000,
            // The long header is there, so nothing begins at 24.
            0x0100_0000 + 24,
            0x0100_0000 + 48,
            0x0100_2000,
            0x0100_2000 + 23,
            0x0100_2000 + 32,
            0x0100_2000 + 40,
            u64::MAX,
        ] {
            assert_eq!(boundary(lsn), lsn, "{lsn:X}");
        }
    }

    #[test]
    fn segments_have_other_sizes() {
        let mib = 1024 * 1024;
        assert_eq!(as_boundary(Lsn(mib + 40), mib), Lsn(mib));
        assert_eq!(as_boundary(Lsn(mib + 24), mib), Lsn(mib + 24));
        assert_eq!(as_boundary(Lsn(16 * mib + 24), 64 * mib), Lsn(16 * mib));
        assert_eq!(as_boundary(Lsn(16 * mib + 40), 64 * mib), Lsn(16 * mib + 40));
    }
}
