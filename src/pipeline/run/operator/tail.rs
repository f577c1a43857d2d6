//! Occurrences as they are made, for one client: read from the engine in portions, written as server-sent
//! events.
//!
//! Nothing is queued for a client: who is slow asks for older ones later, which may then have gone.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use super::{ByHand, Running, not_followed};
use crate::config::Definition;
use crate::engine::EventPlace;
use crate::http::{ChangesFeed, Fed, Refusal, Why};
use crate::pipeline::Tailed;
use crate::pipeline::run::questions::Question;
use crate::sink::EventWriter;
use crate::value::ValueError;

/// Occurrences of one reading.
const ROWS: usize = 200;
/// Between two readings of a client that has all there is.
const PAUSE: Duration = Duration::from_millis(20);
/// What an occurrence costs all of them.
const ROW_SHARE: Duration = Duration::from_micros(20);
/// A pipeline that is being built is asked again.
const BETWEEN_PAUSE: Duration = Duration::from_millis(100);

const ANOTHER_HISTORY: &str = "the source has never come to this place, it is of another history: begin anew, without `since`; what was told of before may never have been";

/// What became of a reading.
enum Read {
    Tailed(Tailed),
    End {
        event: &'static str,
        why: String,
    },
    /// The pipeline is being built.
    Between,
}

struct Tail {
    by_hand: ByHand,
    /// `None`: of all events.
    event: Option<String>,
    place: EventPlace,
    /// In which places are compared.
    epoch: u64,
    occurred: watch::Receiver<()>,
    /// Changes when a pipeline begins.
    begun: watch::Receiver<()>,
    /// Not before this moment.
    pause_until: Option<Instant>,
    /// All there was has been given.
    has_all: bool,
    /// Where it stands is told at first.
    owes_place: bool,
}

impl ByHand {
    pub(super) async fn tail_of(
        &self,
        event: Option<String>,
        since: Option<String>,
    ) -> Result<Box<dyn ChangesFeed>, Refusal> {
        let bad = |error| Refusal::new(Why::Bad, format!("since: {error}"));
        let since: Option<EventPlace> =
            since.map(|since| since.parse().map_err(bad)).transpose()?;
        let running = self.running_soon().await?;
        if let Some(event) = &event {
            running.has_occurrences(event)?;
        }
        let occurred = self.shared.occurred().subscribe();
        let end = running.ask(|reply| Question::TailEnd { reply }).await?;
        let place = since.unwrap_or(end);
        if place.lsn > end.lsn {
            self.is_of_this_source(&running, place.lsn, ANOTHER_HISTORY).await?;
        }
        let by_hand = self.clone();
        let tail = Tail {
            by_hand,
            event,
            place,
            epoch: running.epoch,
            occurred,
            begun: self.shared.begun(),
            pause_until: None,
            has_all: false,
            owes_place: true,
        };
        Ok(Box::new(tail))
    }
}

impl Running {
    fn has_occurrences(&self, event: &str) -> Result<(), Refusal> {
        let known = self.config.projections.iter().find(|known| known.name == event);
        let error = match known.map(|known| &known.definition) {
            Some(Definition::Event(_)) => return Ok(()),
            Some(_) => format!("{event} is a projection: /v1/changes/{event} tells of its rows"),
            None => format!("there is no event {event}"),
        };
        Err(Refusal::new(Why::Unknown, error))
    }
}

impl ChangesFeed for Tail {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Fed> + Send + '_>> {
        Box::pin(self.portion())
    }

    fn position(&self) -> String {
        self.place.to_string()
    }
}

impl Tail {
    async fn portion(&mut self) -> Fed {
        loop {
            if self.has_all {
                tokio::select! {
                    // An error cannot be: the senders live as long as the daemon.
                    _ = self.occurred.changed() => {}
                    // It may be of another history.
                    _ = self.begun.changed() => {}
                }
                self.has_all = false;
            }
            if let Some(until) = self.pause_until {
                tokio::time::sleep_until(until.into()).await;
            }
            self.occurred.mark_unchanged();
            self.begun.mark_unchanged();
            let tailed = match self.read().await {
                Read::Tailed(tailed) => tailed,
                Read::End { event, why } => return Fed::End { event, why },
                Read::Between => {
                    tokio::time::sleep(BETWEEN_PAUSE).await;
                    continue;
                }
            };
            let clients = u32::try_from(self.by_hand.shared.followers_total()).unwrap_or(u32::MAX);
            let rows = u32::try_from(tailed.entries.len()).unwrap_or(u32::MAX);
            let share = ROW_SHARE.saturating_mul(rows).saturating_mul(clients);
            let pause = if tailed.whole { share.max(PAUSE) } else { share };
            (self.has_all, self.pause_until) = (tailed.whole, Some(Instant::now() + pause));
            let told = self.events(&tailed);
            self.place = tailed.place;
            match told {
                Ok(events) if events.is_empty() => {}
                Ok(events) => return Fed::Events(Bytes::from(events)),
                Err(error) => return Fed::End { event: "away", why: error.to_string() },
            }
        }
    }

    async fn read(&self) -> Read {
        let Ok(running) = self.by_hand.running() else { return Read::Between };
        if running.epoch != self.epoch {
            return Read::End { event: "gone", why: ANOTHER_HISTORY.to_owned() };
        }
        let (event, after) = (self.event.clone(), self.place);
        match running.ask(|reply| Question::Tail { event, after, room: ROWS, reply }).await {
            Ok(Ok(tailed)) => Read::Tailed(tailed),
            Ok(Err(why)) => {
                let event = self.event.as_deref().unwrap_or_default();
                Read::End { event: "away", why: not_followed(event, &why).error }
            }
            Err(_) => Read::Between,
        }
    }

    /// ```text
    /// event: occurrence
    /// id: 0/1A2B3C/5
    /// data: {"event": "OrderConfirmed", "id": "0/1A2B3C/5", "type": …, "committed_at": …, "data": {…}}
    /// ```
    ///
    /// Before occurrences of which older ones may be missing: `event: gap`. `position` says that it has all
    /// that has happened.
    fn events(&mut self, tailed: &Tailed) -> Result<Vec<u8>, ValueError> {
        let mut out = Vec::new();
        if tailed.lacks {
            let error = "occurrences behind this place may be missing: they are no longer kept";
            let gap = serde_json::json!({ "after": self.place.to_string(), "error": error });
            out.extend_from_slice(format!("event: gap\ndata: {gap}\n\n").as_bytes());
        }
        let writers = tailed.events.iter().map(|(name, columns)| {
            let quoted = serde_json::Value::from(name.as_str()).to_string();
            (quoted, EventWriter::new(columns))
        });
        let writers: Vec<(String, EventWriter)> = writers.collect();
        for (at, entry) in &tailed.entries {
            let (name, writer) = &writers[*at];
            let id = EventPlace::of(entry)?;
            let start = out.len();
            out.extend_from_slice(
                format!("event: occurrence\nid: {id}\ndata: {{\"event\": {name}, ").as_bytes(),
            );
            let members = out.len();
            let written = writer.write_document(entry.value().unwrap_or_default(), &mut out);
            if written.is_err() {
                // A json value that jsonb does not take: it is a dead letter where it has a document.
                out.truncate(start);
                continue;
            }
            // The document's own brace.
            out.remove(members);
            out.extend_from_slice(b"\n\n");
        }
        let owes_place = std::mem::replace(&mut self.owes_place, false);
        if tailed.whole && (owes_place || !tailed.entries.is_empty()) {
            let place = tailed.place;
            out.extend_from_slice(
                format!("event: position\nid: {place}\ndata: {{}}\n\n").as_bytes(),
            );
        }
        Ok(out)
    }
}
