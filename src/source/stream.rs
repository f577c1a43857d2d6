//! Drives a replication stream: gulps go to the engine's thread, what it has made durable goes back to
//! the server.
//!
//! * The queue is bounded by [`HeldGulp`]s: one counts until the engine has dropped it.
//! * Feedback keeps flowing while the queue is full: then nothing is read, so requests of the server
//!   are not seen, and it is told unasked.
//! * Only what the engine says is durable is acknowledged, never a position that was just received or
//!   that the stream resumed from. An idle slot advances because the engine, too, takes part: a
//!   keepalive is a gulp, and when all before it is durable the engine says so with the keepalive's
//!   position, which it has stored first. (A server that shuts down waits for that.)
//! * A server that says nothing is asked, and then given up.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lsn::{Durable, Lsn};
use crate::pg::{Error, Kind};
use crate::source::replication::{Gulp, ReplicationStream, Status};

/// Durable positions may come by the thousand; the server gets at most one in so long.
const STATUS_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Unasked while nothing is read, unless the server's patience is shorter.
const HELD_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// For the goodbye.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// A status update at least so often.
    pub status_interval: Duration,
    /// A server that is silent for half of it is asked for an answer; after all of it, given up.
    pub silence_timeout: Duration,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { status_interval: Duration::from_secs(10), silence_timeout: Duration::from_secs(60) }
    }
}

/// A gulp and its place in the bounded queue, which is free again when this is dropped.
#[derive(Debug)]
pub struct HeldGulp {
    gulp: Gulp,
    _place: OwnedSemaphorePermit,
}

impl Deref for HeldGulp {
    type Target = Gulp;

    fn deref(&self) -> &Gulp {
        &self.gulp
    }
}

/// The stream's end of the queue.
#[derive(Clone, Debug)]
pub struct GulpSender {
    sender: Sender<HeldGulp>,
    places: Arc<Semaphore>,
}

/// A queue of at most `capacity` gulps, those included that the receiver has taken and not dropped.
/// The receiver is for a thread; the sender waits as a task.
pub fn gulp_queue(capacity: usize) -> (GulpSender, Receiver<HeldGulp>) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    (GulpSender { sender, places: Arc::new(Semaphore::new(capacity)) }, receiver)
}

/// Runs until it is cancelled or until nobody takes gulps or says what is durable any more: then the
/// server gets a last status and a goodbye. Anything else that ends the stream is an error.
pub async fn run_stream(
    stream: ReplicationStream,
    out: GulpSender,
    durable: watch::Receiver<Durable>,
    config: StreamConfig,
    cancel: CancellationToken,
) -> Result<(), Error> {
    let mut driver = Driver::new(stream, out, durable, config);
    loop {
        // The place first: a gulp is only read when there is room for it.
        let step = tokio::select! {
            biased;
            () = cancel.cancelled() => Step::End,
            step = driver.wait_for_place() => step?,
        };
        let Step::Place(place) = step else { break };
        let step = tokio::select! {
            biased;
            () = cancel.cancelled() => Step::End,
            step = driver.wait_for_gulp() => step?,
        };
        let Step::Gulp(gulp) = step else { break };
        if !driver.hand_on(gulp, place).await? {
            break;
        }
    }
    driver.finish().await
}

/// What a wait ended with.
enum Step {
    Place(OwnedSemaphorePermit),
    Gulp(Gulp),
    End,
}

struct Driver {
    stream: ReplicationStream,
    out: GulpSender,
    durable: watch::Receiver<Durable>,
    config: StreamConfig,
    held_interval: Duration,
    received: Lsn,
    told: Durable,
    told_at: Instant,
}

impl Driver {
    fn new(
        stream: ReplicationStream,
        out: GulpSender,
        durable: watch::Receiver<Durable>,
        config: StreamConfig,
    ) -> Self {
        let patience = stream.walsender_timeout().map_or(HELD_INTERVAL_MAX, |timeout| timeout / 3);
        Self {
            stream,
            out,
            durable,
            config,
            held_interval: patience.min(HELD_INTERVAL_MAX).min(config.status_interval),
            received: Lsn::ZERO,
            told: Durable::default(),
            told_at: Instant::now(),
        }
    }

    async fn wait_for_place(&mut self) -> Result<Step, Error> {
        loop {
            let due = self.status_due(self.held_interval);
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => self.tell(false).await?,
                changed = self.durable.changed() => {
                    if changed.is_err() {
                        return Ok(Step::End);
                    }
                }
                place = Arc::clone(&self.out.places).acquire_owned() => {
                    // The semaphore is never closed.
                    return Ok(place.map_or(Step::End, Step::Place));
                }
            }
        }
    }

    async fn wait_for_gulp(&mut self) -> Result<Step, Error> {
        let half = self.config.silence_timeout / 2;
        let mut silent_until = Instant::now() + half;
        let (mut asked, mut heard) = (false, self.stream.bytes_read());
        loop {
            let due = self.status_due(self.config.status_interval);
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => self.tell(false).await?,
                changed = self.durable.changed() => {
                    if changed.is_err() {
                        return Ok(Step::End);
                    }
                }
                gulp = self.stream.next_gulp() => return gulp.map(Step::Gulp),
                () = tokio::time::sleep_until(silent_until) => {
                    let heard_before = std::mem::replace(&mut heard, self.stream.bytes_read());
                    // A part of a long message is a sign of life, too.
                    let silent = heard == heard_before;
                    if silent && asked {
                        return Err(self.silent("the server has said nothing for"));
                    }
                    if silent {
                        self.tell(true).await?;
                    }
                    (asked, silent_until) = (silent, Instant::now() + half);
                }
            }
        }
    }

    /// False when nobody takes it.
    async fn hand_on(&mut self, gulp: Gulp, place: OwnedSemaphorePermit) -> Result<bool, Error> {
        self.received = self.received.max(gulp.wal_end);
        let reply_requested = gulp.reply_requested;
        // There is room: each gulp in the queue has a place, and this one has, too.
        let taken = self.out.sender.try_send(HeldGulp { gulp, _place: place }).is_ok();
        if taken && reply_requested {
            self.tell(false).await?;
        }
        Ok(taken)
    }

    /// When the next status update is to go out: soon after something became durable, else after the
    /// interval.
    fn status_due(&mut self, interval: Duration) -> Instant {
        let news = *self.durable.borrow_and_update() > self.told;
        self.told_at + if news { STATUS_INTERVAL_MIN } else { interval }
    }

    fn status(&self, reply_requested: bool) -> Status {
        Status { received: self.received, durable: *self.durable.borrow(), reply_requested }
    }

    async fn tell(&mut self, reply_requested: bool) -> Result<(), Error> {
        let status = self.status(reply_requested);
        let sent = self.stream.send_status(status);
        match tokio::time::timeout(self.config.silence_timeout, sent).await {
            Ok(sent) => sent?,
            Err(_) => return Err(self.silent("the server has taken no status update for")),
        }
        // A position never goes back: what was durable once stays so.
        assert!(status.durable >= self.told, "durable {:?} after {:?}", status.durable, self.told);
        (self.told, self.told_at) = (status.durable, Instant::now());
        Ok(())
    }

    fn silent(&self, what: &str) -> Error {
        let seconds = self.config.silence_timeout.as_secs_f32();
        Error::new(Kind::Closed, self.stream.at(), format!("{what} {seconds} s"))
    }

    async fn finish(self) -> Result<(), Error> {
        let status = self.status(false);
        let at = self.stream.at().to_string();
        match tokio::time::timeout(FINISH_TIMEOUT, self.stream.finish(status)).await {
            Ok(finished) => finished,
            // Amid a large transaction the server does not listen; the closed socket will tell it.
            Err(_) => {
                tracing::debug!(server = at, "the server took no leave of the stream in time");
                Ok(())
            }
        }
    }
}
