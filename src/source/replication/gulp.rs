//! Cutting the read buffer into gulps: whole CopyData messages, as they came.
//!
//! ```text
//! CopyData   = 'd' Int32(length, itself included) payload
//! XLogData   = 'w' Int64(start) Int64(end) Int64(clock) bytes
//! Keepalive  = 'k' Int64(end) Int64(clock) Byte1(reply requested)
//! ```
//!
//! Only what the connection itself must know is looked at; what the payloads mean is `pgoutput`'s.

use bytes::{Bytes, BytesMut};

use crate::lsn::Lsn;
use crate::pgoutput::MESSAGE_BYTES_MAX;

/// Some messages, received together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gulp {
    /// Whole CopyData messages, framed as on the wire.
    pub bytes: Bytes,
    /// The greatest end of WAL that any of them names; keepalives name where the server has got to.
    pub wal_end: Lsn,
    /// The server wants to hear from us at once. The stream's driver answers; nobody else needs to.
    pub reply_requested: bool,
}

/// What comes after the whole CopyData messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing, or a message of which this many bytes are still missing (as far as is known).
    Missing(usize),
    /// A whole message of another kind.
    Other,
}

/// How far the buffer has been looked at.
#[derive(Debug, Default)]
pub(super) struct Cut {
    whole: usize,
    wal_end: Lsn,
    reply_requested: bool,
    caught_up: bool,
}

impl Cut {
    /// Looks at what has been added to the buffer. The error says what no server sends.
    pub(super) fn scan(&mut self, buffer: &[u8]) -> Result<Rest, String> {
        loop {
            let rest = buffer.get(self.whole..).unwrap_or_default();
            let Some(&[tag, a, b, c, d]) = rest.first_chunk::<5>() else {
                return Ok(Rest::Missing(5 - rest.len()));
            };
            // The length counts itself, not the tag.
            let length = u32::from_be_bytes([a, b, c, d]);
            if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
                return Err(format!(
                    "a message of type {:?} with length {length}",
                    char::from(tag)
                ));
            }
            let length = length as usize;
            let Some(message) = rest.get(..=length) else {
                return Ok(Rest::Missing(length + 1 - rest.len()));
            };
            if tag != b'd' {
                return Ok(Rest::Other);
            }
            self.note(&message[5..])?;
            self.whole += message.len();
        }
    }

    fn note(&mut self, payload: &[u8]) -> Result<(), String> {
        let position = |at| payload.get(at..)?.first_chunk().map(|b| Lsn(u64::from_be_bytes(*b)));
        let end = match payload.first() {
            Some(b'w') => position(1).zip(position(9)).map(|(start, end)| start.max(end)),
            Some(b'k') if payload.len() == 18 => position(1),
            _ => None,
        };
        let end = end.ok_or("a replication message that is neither XLogData nor a keepalive")?;
        self.wal_end = self.wal_end.max(end);
        // The server sends one when it has nothing more to send, or nothing for long.
        self.caught_up = payload.first() == Some(&b'k');
        self.reply_requested |= self.caught_up && payload.last() != Some(&0);
        Ok(())
    }

    /// Whether the last message says that there is nothing more for now.
    pub(super) fn caught_up(&self) -> bool {
        self.caught_up
    }

    /// The whole messages, out of the buffer.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Option<Gulp> {
        if self.whole == 0 {
            return None;
        }
        let cut = std::mem::take(self);
        Some(Gulp {
            bytes: buffer.split_to(cut.whole).freeze(),
            wal_end: cut.wal_end,
            reply_requested: cut.reply_requested,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy_data(payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len() + 4).expect("small").to_be_bytes();
        [b"d", &length[..], payload].concat()
    }

    fn data(start: u64, end: u64, body: &[u8]) -> Vec<u8> {
        let numbers = [start, end, 7].map(u64::to_be_bytes).concat();
        copy_data(&[b"w", &numbers[..], body].concat())
    }

    fn keepalive(end: u64, reply: u8) -> Vec<u8> {
        copy_data(&[b"k", &[end, 7].map(u64::to_be_bytes).concat()[..], &[reply]].concat())
    }

    #[test]
    fn only_whole_messages_leave_the_buffer_wherever_it_is_cut() {
        let (one, two) = (data(0x10, 0x20, b"body"), keepalive(0x30, 1));
        let all = [&one[..], &two].concat();
        for at in 0..=all.len() {
            let mut buffer = BytesMut::from(&all[..at]);
            let mut cut = Cut::default();
            cut.scan(&buffer).expect("well formed");
            let first = cut.take(&mut buffer).map_or(Bytes::new(), |gulp| gulp.bytes);
            buffer.extend_from_slice(&all[at..]);
            assert_eq!(cut.scan(&buffer), Ok(Rest::Missing(5)));
            let second = cut.take(&mut buffer).map_or(Bytes::new(), |gulp| gulp.bytes);
            assert_eq!([&first[..], &second].concat(), all, "cut at {at}");
            assert!([0, one.len(), all.len()].contains(&first.len()));
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn positions_and_requests_are_noted() {
        let all = [data(0x50, 0x20, b""), keepalive(0x30, 1), data(0, 0, b"x")].concat();
        let mut buffer = BytesMut::from(&all[..]);
        let mut cut = Cut::default();
        cut.scan(&buffer).expect("well formed");
        assert!(!cut.caught_up());
        let gulp = cut.take(&mut buffer).expect("three messages");
        assert_eq!((gulp.wal_end, gulp.reply_requested), (Lsn(0x50), true));

        buffer.extend_from_slice(&keepalive(0x60, 0));
        cut.scan(&buffer).expect("well formed");
        assert!(cut.caught_up());
        let gulp = cut.take(&mut buffer).expect("a keepalive");
        assert_eq!((gulp.wal_end, gulp.reply_requested), (Lsn(0x60), false));
        assert_eq!(cut.take(&mut buffer), None);
    }

    #[test]
    fn other_messages_stay_and_malformed_ones_are_refused() {
        let mut buffer = BytesMut::from(&[&keepalive(1, 0)[..], b"c\0\0\0\x04"].concat()[..]);
        let mut cut = Cut::default();
        assert_eq!(cut.scan(&buffer), Ok(Rest::Other));
        assert!(cut.take(&mut buffer).is_some());
        assert_eq!((&buffer[..], cut.scan(&buffer)), (&b"c\0\0\0\x04"[..], Ok(Rest::Other)));

        let missing = |bytes: &[u8]| Cut::default().scan(bytes);
        assert_eq!(missing(b"d\x40\0\0\0"), Ok(Rest::Missing((1 << 30) - 4)));
        for bad in [
            &b"d\0\0\0\x03"[..],
            b"d\x7f\xff\xff\xff",
            b"d\xff\xff\xff\xff",
            b"c\0\0\0\0",
            b"d\0\0\0\x04",
            b"d\0\0\0\x05w",
            b"d\0\0\0\x05x",
            b"d\0\0\0\x06k\0",
        ] {
            assert!(missing(bad).is_err(), "{bad:?}");
        }
    }
}
