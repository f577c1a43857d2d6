//! Rows as they change, for one client: read from the engine in portions, written as server-sent events.
//!
//! Nothing is queued for a client: who is slow reads newer versions later. While much happens it reads at
//! most every few milliseconds, so that many clients do not keep the engine from its work; and those who have
//! all there is share what is read.

mod hub;
mod shape;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

pub(in crate::pipeline::run) use self::hub::Hubs;
use self::hub::{Hub, Left, Member};
use self::shape::Shape;
use super::{ByHand, Running, between, not_followed};
use crate::http::{ChangesFeed, Fed, Refusal, Why};
use crate::lsn::{Lsn, Place};
use crate::output::{Reader, Reading};
use crate::pipeline::run::questions::{ChangesEnd, Question};
use crate::value::Column;

/// Rows of one reading.
const ROWS: usize = 200;
/// Between two readings of a client that has all there is.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two readings of one that has not, though nothing was found: a transaction is under way.
const MOMENT: Duration = Duration::from_millis(2);
/// What it costs to read a row and to write it down.
const ROW_SHARE: Duration = Duration::from_micros(20);
/// The engine's time for all readings is to its other time as one to this.
const ENGINE_SHARE: u32 = 20;
/// A pipeline that is being built is asked again.
const BETWEEN_PAUSE: Duration = Duration::from_millis(100);

struct Feed {
    by_hand: ByHand,
    projection: String,
    shape: Arc<Shape>,
    stands: Stands,
    place: Place,
    /// In which positions are compared.
    epoch: u64,
    changed: watch::Receiver<()>,
    /// What comes before all others.
    first: Option<Bytes>,
    /// Where it stands is told at first, and when it has all of what was given in several portions.
    owes_position: bool,
}

enum Stands {
    /// It is behind: not before this moment it reads on.
    Alone(Reader, Option<Instant>),
    /// It has all there is, as others have.
    Together(Member),
}

impl ByHand {
    pub(super) async fn changes_of(
        &self,
        projection: String,
        since: Option<Place>,
    ) -> Result<Box<dyn ChangesFeed>, Refusal> {
        let running = self.running_soon().await?;
        running.has_rows(&projection)?;
        let laid = self.shared.laid();
        let changed = laid.followers(&projection).ok_or_else(between)?.subscribe();
        let (named, keys) = (projection.clone(), Vec::new());
        let asked = running.ask(|reply| Question::Rows { projection: named, keys, reply }).await?;
        let now = asked.map_err(|why| not_followed(&projection, &why))?;
        let shape = Arc::new(Shape::new(now.columns, now.key));
        let (place, stands, first) = match since {
            Some(since) => {
                if since.at > now.applied {
                    self.is_of_this_source(&running, since.at, ANOTHER_HISTORY).await?;
                }
                let mut reader = Reader::since(since);
                // Whether the position is too old is told at once, by the answer's status.
                match read(&running, &projection, &shape.columns, &mut reader, 0).await? {
                    Ok(_) => (since, Stands::Alone(reader, None), None),
                    Err(ChangesEnd::TooOld) => return Err(Refusal::new(Why::Gone, TOO_OLD)),
                    Err(ChangesEnd::NotFollowed(why)) => {
                        return Err(not_followed(&projection, &why));
                    }
                }
            }
            None => {
                let listener = running.hubs.hub(&projection, &shape, &changed).listen();
                let (named, keys) = (projection.clone(), Vec::new());
                let asked =
                    running.ask(|reply| Question::Rows { projection: named, keys, reply }).await?;
                let asked = asked.map_err(|why| not_followed(&projection, &why))?;
                let now = Place::from(asked.applied);
                match listener.join(now, true) {
                    Some(member) => {
                        let position = Bytes::from(shape::position_event(now.at));
                        (now, Stands::Together(member), Some(position))
                    }
                    None => (now, Stands::Alone(Reader::since(now), None), None),
                }
            }
        };
        Ok(Box::new(Feed {
            by_hand: self.clone(),
            projection,
            shape,
            stands,
            place,
            epoch: running.epoch,
            changed,
            owes_position: first.is_none(),
            first: first.or_else(|| reset(place)),
        }))
    }

    /// Whether the source has ever come so far: after a restore from a backup it may never have.
    pub(super) async fn is_of_this_source(
        &self,
        running: &Running,
        at: Lsn,
        if_not: &str,
    ) -> Result<(), Refusal> {
        // What it was seen to have written needs no question.
        if at <= self.shared.wal_end() || running.has_come_to(at).await? {
            return Ok(());
        }
        Err(Refusal::new(Why::Gone, if_not))
    }
}

const ANOTHER_HISTORY: &str = "the source has never come to this position, it is of another history: read anew, with since=0/0, and keep nothing of before";
const TOO_OLD: &str = "deletions since this position are forgotten: read anew, with since=0/0, and keep nothing of before";

impl ChangesFeed for Feed {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Fed> + Send + '_>> {
        Box::pin(self.portion())
    }

    fn position(&self) -> String {
        self.place.to_string()
    }
}

impl Feed {
    async fn portion(&mut self) -> Fed {
        if let Some(events) = self.first.take() {
            return Fed::Events(events);
        }
        loop {
            let Ok(running) = self.by_hand.running() else {
                self.begin_again().await;
                continue;
            };
            if running.epoch != self.epoch {
                return Fed::End { event: "gone", why: ANOTHER_HISTORY.to_owned() };
            }
            let given = match self.stands {
                Stands::Alone(..) => self.alone(&running).await,
                Stands::Together(_) => self.together(&running).await,
            };
            match given {
                Some(Fed::Events(events)) if events.is_empty() => {}
                Some(fed) => return fed,
                None => self.begin_again().await,
            }
        }
    }

    /// `None`: the pipeline has ended.
    async fn together(&mut self, running: &Running) -> Option<Fed> {
        let Stands::Together(member) = &mut self.stands else { return None };
        let followers = self.by_hand.shared.followers_total();
        match member.portion(running, &self.projection, followers).await {
            Ok(portion) => {
                let events = member.take(&portion);
                self.place = member.place;
                Some(events.map_or_else(|error| away(error.to_string()), Fed::Events))
            }
            Err(Left::Alone) => {
                self.stands = Stands::Alone(Reader::since(self.place), None);
                Some(Fed::Events(Bytes::new()))
            }
            Err(Left::Ended(end)) => Some(self.end(end)),
            Err(Left::Between) => None,
        }
    }

    async fn alone(&mut self, running: &Running) -> Option<Fed> {
        let hub: Arc<Hub> = running.hubs.hub(&self.projection, &self.shape, &self.changed);
        let Stands::Alone(reader, pause_until) = &mut self.stands else { return None };
        if let Some(until) = *pause_until {
            tokio::time::sleep_until(until.into()).await;
        }
        // One that begins with nothing needs no deletions: it is not as the others are.
        if self.place.at != Lsn::ZERO
            && let Some(member) = hub.listen().join(self.place, false)
        {
            self.stands = Stands::Together(member);
            return Some(Fed::Events(Bytes::new()));
        }
        let listener = hub.listen();
        let columns = &self.shape.columns;
        let (reading, took) = match read(running, &self.projection, columns, reader, ROWS).await {
            Err(_) => return None,
            Ok(Ok(read)) => read,
            Ok(Err(end)) => return Some(self.end(end)),
        };
        let followers = self.by_hand.shared.followers_total();
        let others = u32::try_from(followers).unwrap_or(u32::MAX);
        let pause = pause(&reading, ROW_SHARE.saturating_mul(others), took, followers);
        *pause_until = Some(Instant::now() + pause);
        self.place = reading.place;
        if reading.whole
            && let Some(member) = listener.join(reading.place, true)
        {
            self.stands = Stands::Together(member);
        }
        if reading.entries.is_empty() && !(reading.whole && self.owes_position) {
            return Some(Fed::Events(Bytes::new()));
        }
        self.owes_position = !reading.whole;
        let events = self.shape.events(&reading);
        Some(
            events
                .map_or_else(|error| away(error.to_string()), |events| Fed::Events(events.into())),
        )
    }

    /// The next pipeline knows nothing of this reader.
    async fn begin_again(&mut self) {
        self.stands = Stands::Alone(Reader::since(self.place), None);
        self.first = reset(self.place);
        self.owes_position = true;
        tokio::time::sleep(BETWEEN_PAUSE).await;
    }

    fn end(&self, end: ChangesEnd) -> Fed {
        match end {
            ChangesEnd::TooOld => Fed::End { event: "gone", why: TOO_OLD.to_owned() },
            // It may be back in a moment, or be loaded for hours: the client asks again.
            ChangesEnd::NotFollowed(why) => away(not_followed(&self.projection, &why).error),
        }
    }
}

/// For who begins with nothing: whatever the client holds is to go.
fn reset(place: Place) -> Option<Bytes> {
    let event = Bytes::from_static(b"event: reset\nid: 0/0\ndata: {}\n\n");
    (place.at == Lsn::ZERO).then_some(event)
}

fn away(why: String) -> Fed {
    Fed::End { event: "away", why }
}

/// All clients together take rows at a rate that the engine hardly feels. `share` is what a row costs beside its
/// reading, which took so long; so many may be reading.
fn pause(reading: &Reading, share: Duration, took: Duration, readers: usize) -> Duration {
    let rows = u32::try_from(reading.entries.len()).unwrap_or(u32::MAX);
    let readers = u32::try_from(readers).unwrap_or(u32::MAX);
    let least = if reading.whole { PAUSE } else { MOMENT };
    let rows = (ROW_SHARE + share).saturating_mul(rows);
    rows.max(took.saturating_mul(ENGINE_SHARE).saturating_mul(readers)).max(least)
}

/// What the reader lacks, and the engine's time for it. Nothing is lost when the answer is not waited for.
async fn read(
    running: &Running,
    projection: &str,
    columns: &[Column],
    reader: &mut Reader,
    room: usize,
) -> Result<Result<(Reading, Duration), ChangesEnd>, Refusal> {
    let (projection, columns, from) = (projection.to_owned(), columns.to_vec(), reader.clone());
    let read = running
        .ask(|reply| Question::Changes { projection, columns, reader: from, room, reply })
        .await?;
    Ok(read.map(|(from, reading, took)| {
        *reader = from;
        (reading, took)
    }))
}
