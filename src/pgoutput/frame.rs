//! The outermost layer: a *gulp* is what one read gave, cut to whole messages, and holds CopyData
//! messages of the server side by side (PostgreSQL manual, 55.4 "Streaming Replication Protocol"):
//!
//! ```text
//! CopyData   = 'd' Int32(length, itself included) (XLogData | Keepalive)
//! XLogData   = 'w' Int64(start of WAL) Int64(end of WAL) Int64(clock) body
//! Keepalive  = 'k' Int64(end of WAL) Int64(clock) Byte1(reply requested)
//! ```

use super::error::{DecodeError, Fault};
use super::read::Reader;
use crate::lsn::Lsn;

/// No server sends a longer message: it builds each in one allocation of less than 1 GiB, to which
/// this adds room for headers.
pub const MESSAGE_BYTES_MAX: u32 = (1 << 30) + 64;

/// One CopyData message of the server. Clocks are microseconds since 2000-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// One pgoutput message. `wal_start` and `wal_end` are 0/0 on all but the last message that a
    /// WAL record led to (RELATION before a row, for instance): they are no position to store.
    Data { wal_start: Lsn, wal_end: Lsn, clock: i64, body: &'a [u8] },
    /// Everything before `wal_end` has been decoded, and what there was of it sent.
    Keepalive { wal_end: Lsn, clock: i64, reply_requested: bool },
}

/// How many leading bytes are whole CopyData messages. The count ends before a message of another
/// kind, so when bytes remain and the first of them is not `d`, that message is the reader's own
/// matter (CopyDone, ErrorResponse, NoticeResponse, ParameterStatus).
///
/// Refuses a length that no server sends as soon as its header is there, before anybody waits or
/// makes room for so much.
pub fn complete_prefix(bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut reader = Reader::new("CopyData", bytes);
    loop {
        let whole = reader.offset();
        match reader.rest().first_chunk::<5>() {
            Some(&[b'd', ..]) => {}
            _ => return Ok(whole),
        }
        reader.u8()?;
        let length = payload_length(&mut reader)?;
        if reader.rest().len() < length {
            return Ok(whole);
        }
        reader.bytes(length)?;
    }
}

/// The frames of a gulp. An error ends the iteration: what follows it has no known place.
pub fn frames(gulp: &[u8]) -> Frames<'_> {
    Frames { reader: Some(Reader::new("CopyData", gulp)) }
}

/// See [`frames`].
pub struct Frames<'a> {
    reader: Option<Reader<'a>>,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let reader = self.reader.as_mut().filter(|reader| !reader.rest().is_empty())?;
        let frame = frame(reader);
        if frame.is_err() {
            self.reader = None;
        }
        Some(frame)
    }
}

impl std::iter::FusedIterator for Frames<'_> {}

fn frame<'a>(gulp: &mut Reader<'a>) -> Result<Frame<'a>, DecodeError> {
    match gulp.u8()? {
        b'd' => {}
        other => return Err(gulp.unknown("message between CopyData", other)),
    }
    let length = payload_length(gulp)?;
    let at = gulp.offset();
    payload(gulp.bytes(length)?).map_err(|e| DecodeError { offset: at + e.offset, ..e })
}

fn payload(bytes: &[u8]) -> Result<Frame<'_>, DecodeError> {
    let mut reader = Reader::new("CopyData", bytes);
    match reader.u8()? {
        b'w' => {
            reader.name("XLogData");
            Ok(Frame::Data {
                wal_start: Lsn(reader.u64()?),
                wal_end: Lsn(reader.u64()?),
                clock: reader.i64()?,
                body: reader.rest(),
            })
        }
        b'k' => {
            reader.name("Keepalive");
            let frame = Frame::Keepalive {
                wal_end: Lsn(reader.u64()?),
                clock: reader.i64()?,
                reply_requested: reader.u8()? != 0,
            };
            reader.end()?;
            Ok(frame)
        }
        other => Err(reader.unknown("replication message", other)),
    }
}

/// What follows the length, which counts itself.
fn payload_length(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let at = reader.offset();
    let length = reader.u32()?;
    if length > MESSAGE_BYTES_MAX {
        return Err(reader.fault_at(at, Fault::Oversized(length)));
    }
    match length.checked_sub(4) {
        Some(payload) => Ok(payload as usize),
        None => Err(reader.fault_at(at, Fault::Undersized(length))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy_data(payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len() + 4).expect("small");
        [b"d", &length.to_be_bytes()[..], payload].concat()
    }

    fn data(start: u64, end: u64, clock: i64, body: &[u8]) -> Vec<u8> {
        let numbers = [start.to_be_bytes(), end.to_be_bytes(), clock.to_be_bytes()].concat();
        copy_data(&[b"w", &numbers[..], body].concat())
    }

    fn keepalive(end: u64, clock: i64, reply: u8) -> Vec<u8> {
        let numbers = [end.to_be_bytes(), clock.to_be_bytes()].concat();
        copy_data(&[b"k", &numbers[..], &[reply]].concat())
    }

    fn two() -> Vec<u8> {
        [data(0x10, 0x20, -7, b"body"), keepalive(0x1_0000_0002, 9, 1)].concat()
    }

    #[test]
    fn a_gulp_gives_its_frames() {
        let gulp = two();
        let read: Result<Vec<_>, _> = frames(&gulp).collect();
        assert_eq!(
            read,
            Ok(vec![
                Frame::Data { wal_start: Lsn(0x10), wal_end: Lsn(0x20), clock: -7, body: b"body" },
                Frame::Keepalive { wal_end: Lsn(0x1_0000_0002), clock: 9, reply_requested: true },
            ])
        );
        assert_eq!(frames(b"").next(), None);
    }

    #[test]
    fn only_whole_messages_are_counted() {
        let gulp = two();
        let first = data(0x10, 0x20, -7, b"body").len();
        for cut in 0..gulp.len() {
            let expected = if cut < first { 0 } else { first };
            assert_eq!(complete_prefix(gulp.split_at(cut).0), Ok(expected), "cut at {cut}");
        }
        assert_eq!(complete_prefix(&gulp), Ok(gulp.len()));
    }

    #[test]
    fn counting_ends_before_another_kind_of_message() {
        for other in
            [&b"c\0\0\0\x04"[..], b"E\0\0\0\x05\0", b"N", b"S\0\0", b"\xff\xff\xff\xff\xff"]
        {
            let gulp = two();
            let bytes = [&gulp[..], other].concat();
            assert_eq!(complete_prefix(&bytes), Ok(gulp.len()));
            assert_eq!(complete_prefix(other), Ok(0));
        }
    }

    #[test]
    fn a_cut_gulp_is_an_error_and_ends() {
        let gulp = two();
        let first = data(0x10, 0x20, -7, b"body").len();
        for cut in (1..gulp.len()).filter(|cut| *cut != first) {
            let mut read = frames(gulp.split_at(cut).0).skip(usize::from(cut > first));
            let error = read.next().expect("one more").expect_err("cut");
            assert!(matches!(error.fault, Fault::Truncated { .. }), "cut at {cut}: {error}");
            assert_eq!(read.next(), None);
        }
    }

    fn refusal(gulp: &[u8]) -> String {
        frames(gulp).find_map(Result::err).expect("an error").to_string()
    }

    #[test]
    fn refusals_say_what_and_where() {
        let good = keepalive(1, 2, 0);
        let after_good = |bytes: &[u8]| refusal(&[&good[..], bytes].concat());
        assert_eq!(
            after_good(b"c\0\0\0\x04"),
            "CopyData at byte 23: no known kind of message between CopyData: c"
        );
        assert_eq!(
            after_good(&copy_data(b"x")),
            "CopyData at byte 28: no known kind of replication message: x"
        );
        assert_eq!(
            after_good(&copy_data(b"")),
            "CopyData at byte 28: cut short: 1 bytes wanted, 0 left"
        );
        assert_eq!(
            after_good(&copy_data(b"w\0\0")),
            "XLogData at byte 29: cut short: 8 bytes wanted, 2 left"
        );
        let mut long = keepalive(1, 2, 0);
        long.push(0);
        long.splice(1..5, 23u32.to_be_bytes());
        assert_eq!(after_good(&long), "Keepalive at byte 46: bytes after its end: 1");
        assert_eq!(
            after_good(b"d\0\0\0\x03"),
            "CopyData at byte 24: a message of 3 bytes, less than its own header"
        );
    }

    #[test]
    fn absurd_lengths_are_refused_from_the_header_alone() {
        for length in [MESSAGE_BYTES_MAX + 1, i32::MAX as u32, u32::MAX] {
            let header = [b"d", &length.to_be_bytes()[..]].concat();
            for error in [complete_prefix(&header).expect_err("long"), {
                frames(&header).next().expect("one").expect_err("long")
            }] {
                assert_eq!(error.fault, Fault::Oversized(length));
            }
        }
        let header = [b"d", &MESSAGE_BYTES_MAX.to_be_bytes()[..]].concat();
        assert_eq!(complete_prefix(&header), Ok(0));
        assert!(complete_prefix(b"d\0\0\0\x03").is_err());
    }
}
