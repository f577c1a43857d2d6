//! Those who have all there is of a projection's rows go on together: what one of them reads from the engine and
//! writes down is what all of them are given.
//!
//! There is no task for it: whoever of them wants the next portion first reads it, at the pace of all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use super::shape::Shape;
use super::{ROWS, pause, read};
use crate::engine::Entry;
use crate::http::Refusal;
use crate::lsn::{Lsn, Place};
use crate::output::{Reader, Reading};
use crate::pipeline::run::operator::Running;
use crate::pipeline::run::questions::ChangesEnd;
use crate::pipeline::run::shared::lock;
use crate::value::{Column, ValueError};

/// Portions that are kept for those who are slower than the others. Who lacks one goes on alone.
const PORTIONS: usize = 8;
/// What a row costs for each of those who are given it.
const GIVEN_SHARE: Duration = Duration::from_micros(3);

/// By projection.
#[derive(Default)]
pub(in crate::pipeline::run) struct Hubs {
    hubs: Mutex<BTreeMap<String, Arc<Hub>>>,
}

pub(super) struct Hub {
    shape: Arc<Shape>,
    /// `None`: nothing more comes.
    portions: broadcast::Sender<Option<Arc<Portion>>>,
    members: Mutex<Members>,
    head: tokio::sync::Mutex<Head>,
}

#[derive(Default)]
struct Members {
    count: usize,
    /// Where the first of these members stood when it came.
    begun: Lsn,
    /// It lacked something then.
    lacks: bool,
    /// They were given something.
    given: bool,
    /// Counts the times that somebody came when nobody was there.
    times: u64,
}

/// Where all of them stand.
struct Head {
    reader: Reader,
    /// Of the members' times.
    time: u64,
    changed: watch::Receiver<()>,
    has_all: bool,
    owes_position: bool,
    pause_until: Option<Instant>,
}

/// One reading, written down.
pub(super) struct Portion {
    pub(super) reading: Reading,
    events: Bytes,
    /// The smallest position of a change within.
    oldest: Lsn,
}

impl Hubs {
    /// The projection's, for rows of this shape.
    pub(super) fn hub(
        &self,
        projection: &str,
        shape: &Arc<Shape>,
        changed: &watch::Receiver<()>,
    ) -> Arc<Hub> {
        let mut hubs = lock(&self.hubs);
        if let Some(hub) = hubs.get(projection)
            && hub.shape.columns == shape.columns
        {
            return Arc::clone(hub);
        }
        let hub = Arc::new(Hub::new(Arc::clone(shape), changed.clone()));
        hubs.insert(projection.to_owned(), Arc::clone(&hub));
        hub
    }

    /// Whoever comes next begins another one.
    fn forget(&self, hub: &Arc<Hub>) {
        lock(&self.hubs).retain(|_, known| !Arc::ptr_eq(known, hub));
    }

    fn len(&self) -> usize {
        lock(&self.hubs).values().filter(|hub| lock(&hub.members).count > 0).count()
    }
}

impl Hub {
    fn new(shape: Arc<Shape>, changed: watch::Receiver<()>) -> Self {
        let head = Head {
            reader: Reader::since(Place::default()),
            time: 0,
            changed,
            has_all: false,
            owes_position: false,
            pause_until: None,
        };
        Self {
            shape,
            portions: broadcast::channel(PORTIONS).0,
            members: Mutex::default(),
            head: tokio::sync::Mutex::new(head),
        }
    }

    /// To what is read from now on.
    pub(super) fn listen(self: &Arc<Self>) -> Listener {
        Listener { hub: Arc::clone(self), portions: self.portions.subscribe() }
    }
}

/// Not a member yet.
pub(super) struct Listener {
    hub: Arc<Hub>,
    portions: broadcast::Receiver<Option<Arc<Portion>>>,
}

impl Listener {
    /// For who stands there. `has_all`: it has read so far since it listens. `None`: the members may
    /// have been given what it lacks, or be given older versions of what it has seen: it has to read on alone.
    pub(super) fn join(self, place: Place, has_all: bool) -> Option<Member> {
        let position = place.at;
        if place.seen > position {
            return None;
        }
        let mut members = lock(&self.hub.members);
        if members.count == 0 {
            let times = members.times + 1;
            *members = Members { begun: position, lacks: !has_all, times, ..Members::default() };
        } else if position < members.begun || !(has_all || members.lacks && !members.given) {
            return None;
        }
        members.count += 1;
        drop(members);
        Some(Member { hub: self.hub, portions: self.portions, place })
    }
}

/// One of those who go on together.
pub(super) struct Member {
    hub: Arc<Hub>,
    portions: broadcast::Receiver<Option<Arc<Portion>>>,
    pub(super) place: Place,
}

impl Drop for Member {
    fn drop(&mut self) {
        lock(&self.hub.members).count -= 1;
    }
}

/// Why a member has to leave.
pub(super) enum Left {
    /// The others went on without it, or one of them was told that it cannot go on.
    Alone,
    Ended(ChangesEnd),
    /// The pipeline has ended.
    Between,
}

impl Member {
    /// Waits for the next one, and reads it when nobody else does. Nothing is lost when the wait is given up.
    pub(super) async fn portion(
        &mut self,
        running: &Running,
        projection: &str,
        followers: usize,
    ) -> Result<Arc<Portion>, Left> {
        let hub = Arc::clone(&self.hub);
        loop {
            let mut head = tokio::select! {
                biased;
                portion = self.portions.recv() => return portion.ok().flatten().ok_or(Left::Alone),
                head = hub.head.lock() => head,
            };
            match self.portions.try_recv() {
                Err(broadcast::error::TryRecvError::Empty) => {}
                portion => return portion.ok().flatten().ok_or(Left::Alone),
            }
            head.read_next(&hub, running, projection, followers).await?;
        }
    }

    /// What of a portion is new for this member, as server-sent events.
    pub(super) fn take(&mut self, portion: &Portion) -> Result<Bytes, ValueError> {
        let since = self.place.at;
        let place = portion.reading.place;
        let later = |other: Place| if other.at >= since { other } else { since.into() };
        self.place = later(place);
        if portion.oldest >= since {
            return Ok(portion.events.clone());
        }
        // It has come while the others were behind.
        let Reading { entries, in_order, whole, .. } = &portion.reading;
        let entries: Vec<Entry> =
            entries.iter().filter(|entry| entry.lsn() >= since).cloned().collect();
        let whole = *whole && place.at >= since;
        let (in_order, amid) = (*in_order, later(portion.reading.amid));
        let rest = Reading { entries, in_order, amid, place: self.place, whole };
        self.hub.shape.events(&rest).map(Bytes::from)
    }
}

impl Head {
    async fn read_next(
        &mut self,
        hub: &Arc<Hub>,
        running: &Running,
        projection: &str,
        followers: usize,
    ) -> Result<(), Left> {
        self.begin_with(&lock(&hub.members));
        if self.has_all {
            // An error says that there is no such projection any more: the engine says why.
            let _ = self.changed.changed().await;
            self.has_all = false;
        }
        if let Some(until) = self.pause_until {
            tokio::time::sleep_until(until.into()).await;
        }
        self.changed.mark_unchanged();
        let columns: &[Column] = &hub.shape.columns;
        let (reading, took) = match read(running, projection, columns, &mut self.reader, ROWS).await
        {
            Ok(Ok(read)) => read,
            Ok(Err(ChangesEnd::TooOld)) => {
                running.hubs.forget(hub);
                let _ = hub.portions.send(None);
                return Err(Left::Ended(ChangesEnd::TooOld));
            }
            Ok(Err(end)) => return Err(Left::Ended(end)),
            Err(Refusal { .. }) => return Err(Left::Between),
        };
        self.has_all = reading.whole;
        let given = GIVEN_SHARE.saturating_mul(u32::try_from(followers).unwrap_or(u32::MAX));
        self.pause_until = Some(Instant::now() + pause(&reading, given, took, running.hubs.len()));
        if reading.entries.is_empty() && !(reading.whole && self.owes_position) {
            return Ok(());
        }
        self.owes_position = !reading.whole;
        let oldest = reading.entries.iter().map(Entry::lsn).min().unwrap_or(reading.place.at);
        lock(&hub.members).given = true;
        let events = hub.shape.events(&reading).map(Bytes::from);
        let portion = events.ok().map(|events| Arc::new(Portion { reading, events, oldest }));
        // Whoever reads is among the receivers.
        let _ = hub.portions.send(portion);
        Ok(())
    }

    /// They may be others than those who were here last.
    fn begin_with(&mut self, members: &Members) {
        if self.time != members.times {
            self.time = members.times;
            self.reader = Reader::since(members.begun.into());
            (self.has_all, self.owes_position, self.pause_until) = (false, members.lacks, None);
        }
    }
}
