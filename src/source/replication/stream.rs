//! The bytes of a running replication stream: gulps in, status updates out.
//!
//! How it reads decides what the walsender can do: one that is woken for each message keeps the
//! walsender from working. So while we are behind, bytes gather in the socket, up to
//! [`GATHER_BYTES`] or for [`GATHER_TIME`]; when we are caught up, the first byte wakes us. A walsender
//! that shares its cores with us may need longer to make so many: while they come fast, it is given
//! [`RUSH_TIME`].

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, BytesMut};
use postgres_protocol::message::backend::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::gulp::{Cut, Gulp, Rest};
use super::low_water;
use crate::lsn::{Durable, Lsn};
use crate::pg::wire::Wire;
use crate::pg::{Error, Kind, ServerError, Stream};

/// The mark while behind.
const GATHER_BYTES: i32 = 256 * 1024;
/// Below the mark nothing wakes us; after this long we look ourselves.
const GATHER_TIME: Duration = Duration::from_millis(1);
/// The same while at least [`RUSH_BYTES`] come in a millisecond: nobody writes so much who waits for each commit.
const RUSH_TIME: Duration = Duration::from_millis(8);
const RUSH_BYTES: u128 = 8 * 1024;
/// So much without a pause of [`GATHER_TIME`], and we are behind.
const BEHIND_BYTES: usize = 16 * 1024;
/// What one allocation of the read buffer holds, so what a gulp is at most, unless one message is
/// longer.
const BUFFER_BYTES: usize = 1024 * 1024;
const READ_BYTES_MIN: usize = 64 * 1024;
/// 2000-01-01, from which Postgres counts.
const POSTGRES_EPOCH: Duration = Duration::from_secs(946_684_800);

/// A walsender in CopyBoth mode.
#[derive(Debug)]
pub struct ReplicationStream {
    stream: Stream,
    at: String,
    walsender_timeout: Option<Duration>,
    incoming: BytesMut,
    cut: Cut,
    /// Status updates that the socket has not taken yet.
    outgoing: BytesMut,
    pace: Pace,
    bytes_read: u64,
}

/// Whether to wait for much or for the first byte.
#[derive(Debug)]
struct Pace {
    gathering: bool,
    /// How long bytes gather.
    patience: Duration,
    /// The mark that the socket has.
    mark: i32,
    /// Until when bytes gather that are being waited for.
    gather_until: Option<Instant>,
    /// Read without a pause.
    run_bytes: usize,
    last_read: Instant,
}

/// What the server is told (Standby status update). Only the durable position is acknowledged; it is
/// `Lsn::ZERO`, which the server ignores, until something is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub received: Lsn,
    pub durable: Durable,
    pub reply_requested: bool,
}

impl ReplicationStream {
    pub(super) fn new(wire: Wire, walsender_timeout: Option<Duration>) -> Self {
        let (stream, incoming, at) = wire.into_parts();
        let pace = Pace {
            gathering: false,
            patience: GATHER_TIME,
            mark: 1,
            gather_until: None,
            run_bytes: 0,
            last_read: Instant::now(),
        };
        let (cut, outgoing) = (Cut::default(), BytesMut::new());
        Self { stream, at, walsender_timeout, incoming, cut, outgoing, pace, bytes_read: 0 }
    }

    /// `host:port`, for errors.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// After how long the server ends a walsender that hears nothing from us; `None`: never.
    pub fn walsender_timeout(&self) -> Option<Duration> {
        self.walsender_timeout
    }

    /// Received so far: it grows while a long message is on its way.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The next whole messages. Cancel-safe: what has been read stays here. An error is final; all
    /// that came whole before it has been given out.
    pub async fn next_gulp(&mut self) -> Result<Gulp, Error> {
        loop {
            let rest = self.cut.scan(&self.incoming);
            let caught_up = self.cut.caught_up();
            if let Some(gulp) = self.cut.take(&mut self.incoming) {
                self.pace.gave_out(caught_up);
                return Ok(gulp);
            }
            match rest.map_err(|what| Error::protocol(&self.at, what))? {
                Rest::Other => self.other_message()?,
                Rest::Missing(bytes) => {
                    self.make_room(bytes);
                    self.read().await?;
                }
            }
        }
    }

    /// Puts a status update on its way. Cancel-safe: what the socket has not taken stays here and
    /// goes before the next.
    pub async fn send_status(&mut self, status: Status) -> Result<(), Error> {
        self.outgoing.put_u8(b'd');
        self.outgoing.put_u32(4 + 1 + 3 * 8 + 8 + 1);
        self.outgoing.put_u8(b'r');
        self.outgoing.put_u64(status.received.max(status.durable.0).0);
        // Flushed and applied.
        self.outgoing.put_u64(status.durable.0.0);
        self.outgoing.put_u64(status.durable.0.0);
        self.outgoing.put_i64(postgres_clock());
        self.outgoing.put_u8(u8::from(status.reply_requested));
        self.flush().await
    }

    /// A last status, the end of the stream, and the server's goodbye: it has then read the status
    /// and released the slot. What still comes is dropped.
    pub async fn finish(mut self, status: Status) -> Result<(), Error> {
        self.send_status(status).await?;
        // CopyDone and Terminate. They are one write, so that the walsender need not answer between.
        self.outgoing.put_slice(b"c\0\0\0\x04X\0\0\0\x04");
        self.flush().await?;
        self.lower_mark().map_err(|error| Error::io(&self.at, error))?;
        loop {
            self.incoming.clear();
            self.incoming.reserve(READ_BYTES_MIN);
            match self.stream.read_buf(&mut self.incoming).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(Error::io(&self.at, error)),
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let sent = async {
            while self.outgoing.has_remaining() {
                if self.stream.write_buf(&mut self.outgoing).await? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
            self.stream.flush().await
        };
        sent.await.map_err(|error| Error::io(&self.at, error))
    }

    /// A whole message that is not CopyData, at the front of the buffer.
    fn other_message(&mut self) -> Result<(), Error> {
        let message = Message::parse(&mut self.incoming)
            .map_err(|error| Error::protocol(&self.at, "a malformed message").caused_by(error))?;
        match message {
            Some(Message::NoticeResponse(_) | Message::ParameterStatus(_)) => Ok(()),
            Some(Message::ErrorResponse(body)) => Err(match ServerError::read(&body) {
                Ok(error) => Error::server(&self.at, error),
                Err(error) => Error::protocol(&self.at, "a malformed error").caused_by(error),
            }),
            // A walsender whose server shuts down sends the latter alone.
            Some(Message::CopyDone | Message::CommandComplete(_)) => {
                Err(Error::new(Kind::Closed, &self.at, "the server ended the replication stream"))
            }
            _ => Err(Error::protocol(&self.at, "an unexpected message in the replication stream")),
        }
    }

    /// Room for what is known to be missing, but no more at once than is already there: a length is
    /// believed only as its bytes come.
    fn make_room(&mut self, missing: usize) {
        if self.spare() < READ_BYTES_MIN {
            self.incoming.reserve(BUFFER_BYTES.max(missing.min(self.incoming.len())));
        }
    }

    /// Waits for bytes as the pace has it and takes all there are.
    async fn read(&mut self) -> Result<(), Error> {
        let read = match self.read_paced().await {
            Ok(0) if self.incoming.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => {
                let what = "the server closed the connection in the middle of a message";
                return Err(Error::new(Kind::Closed, &self.at, what));
            }
            other => other,
        };
        let mut bytes = read.map_err(|error| Error::io(&self.at, error))?;
        // More may be there: TLS gives one record at a time. An end or an error will show again.
        while let Some(more @ 1..) = self.read_now().await {
            bytes += more;
        }
        self.pace.note(bytes);
        self.bytes_read += bytes as u64;
        Ok(())
    }

    async fn read_paced(&mut self) -> io::Result<usize> {
        if !self.pace.gathering || self.stream.tcp().is_none() {
            self.lower_mark()?;
            return self.stream.read_buf(&mut self.incoming).await;
        }
        // Kept over reads that are dropped: they may be dropped more often than time runs out.
        let patience = self.pace.patience;
        let until = *self.pace.gather_until.get_or_insert_with(|| Instant::now() + patience);
        if Instant::now() < until {
            self.set_mark(GATHER_BYTES)?;
            let read = self.stream.read_buf(&mut self.incoming);
            if let Ok(read) = tokio::time::timeout_at(until, read).await {
                return read;
            }
        }
        self.lower_mark()?;
        self.stream.read_buf(&mut self.incoming).await
    }

    /// What can be read without waiting, into the room that there is; `None`: nothing.
    async fn read_now(&mut self) -> Option<usize> {
        if self.spare() == 0 {
            return None;
        }
        let mut read = std::pin::pin!(self.stream.read_buf(&mut self.incoming));
        let polled = poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.ok()),
            Poll::Pending => Poll::Ready(None),
        });
        polled.await
    }

    fn spare(&self) -> usize {
        self.incoming.capacity() - self.incoming.len()
    }

    fn lower_mark(&mut self) -> io::Result<()> {
        self.set_mark(1)
    }

    fn set_mark(&mut self, bytes: i32) -> io::Result<()> {
        if self.pace.mark != bytes
            && let Some(tcp) = self.stream.tcp()
        {
            low_water::set(tcp, bytes)?;
            self.pace.mark = bytes;
        }
        Ok(())
    }
}

impl Pace {
    /// `caught_up`: the last message said that there is nothing more for now.
    fn gave_out(&mut self, caught_up: bool) {
        if caught_up {
            self.run_bytes = 0;
            self.gathering = false;
        }
    }

    fn note(&mut self, bytes: usize) {
        let now = Instant::now();
        let pause = now - self.last_read;
        self.last_read = now;
        self.gather_until = None;
        // Gathering is itself a pause; one that lasts longer means that there was nothing.
        let longest = if self.gathering { 3 * self.patience } else { GATHER_TIME };
        let paused = pause > longest;
        let rushing = !paused && bytes as u128 >= RUSH_BYTES * pause.as_millis().max(1);
        self.patience = if rushing { RUSH_TIME } else { GATHER_TIME };
        self.run_bytes = if paused { bytes } else { self.run_bytes.saturating_add(bytes) };
        self.gathering = self.run_bytes >= BEHIND_BYTES;
    }
}

fn postgres_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH + POSTGRES_EPOCH);
    // A clock before 2000 has no say: the server only shows this time.
    since.ok().and_then(|since| i64::try_from(since.as_micros()).ok()).unwrap_or(0)
}
