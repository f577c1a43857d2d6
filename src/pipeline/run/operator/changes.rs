//! Rows as they change, for one client: read from the engine in portions, written as server-sent events.
//!
//! Nothing is queued for a client: who is slow reads newer versions later. While much happens it reads at
//! most every few milliseconds, so that many clients do not keep the engine from its work.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use super::{ByHand, Running, between, not_followed};
use crate::engine::Entry;
use crate::http::{ChangesFeed, Fed, Refusal, Why};
use crate::lsn::Lsn;
use crate::output::{Reader, Reading};
use crate::pipeline::run::questions::{ChangesEnd, Question};
use crate::value::{self, Column, DocumentWriter, ValueError};

/// Rows of one reading.
const ROWS: usize = 200;
/// Between two readings of a client that has all there is.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two readings of one that has not, though nothing was found: a transaction is under way.
const MOMENT: Duration = Duration::from_millis(2);
/// What a row costs all of them.
const ROW_SHARE: Duration = Duration::from_micros(20);
/// A pipeline that is being built is asked again.
const BETWEEN_PAUSE: Duration = Duration::from_millis(100);

struct Feed {
    by_hand: ByHand,
    projection: String,
    shape: Shape,
    reader: Reader,
    changed: watch::Receiver<()>,
    /// Not before this moment.
    pause_until: Option<Instant>,
    /// All there was has been given.
    has_all: bool,
    /// Where it stands is told at first, and when it has all of what was given in several portions.
    owes_position: bool,
    /// It begins with nothing: whatever the client holds is to go.
    owes_reset: bool,
}

/// How the projection's rows are written.
struct Shape {
    columns: Vec<Column>,
    key: Vec<usize>,
    document: DocumentWriter,
}

impl ByHand {
    pub(super) async fn changes_of(
        &self,
        projection: String,
        since: Option<Lsn>,
    ) -> Result<Box<dyn ChangesFeed>, Refusal> {
        let running = self.running()?;
        running.has_rows(&projection)?;
        let laid = self.shared.laid();
        let changed = laid.followers(&projection).ok_or_else(between)?.subscribe();
        let (named, keys) = (projection.clone(), Vec::new());
        let asked = running.ask(|reply| Question::Rows { projection: named, keys, reply }).await?;
        let now = asked.map_err(|why| not_followed(&projection, &why))?;
        let shape = Shape::new(now.columns, now.key);
        let reader = Reader::since(since.unwrap_or(now.applied));
        let mut feed = Feed {
            by_hand: self.clone(),
            projection,
            shape,
            reader,
            changed,
            pause_until: None,
            has_all: false,
            owes_position: true,
            owes_reset: since == Some(Lsn::ZERO),
        };
        // Whether the position is too old is told at once, by the answer's status.
        match feed.read(&running, 0).await? {
            Ok(_) => Ok(Box::new(feed)),
            Err(ChangesEnd::TooOld) => Err(Refusal::new(Why::Gone, TOO_OLD)),
            Err(ChangesEnd::NotFollowed(why)) => Err(not_followed(&feed.projection, &why)),
        }
    }
}

const TOO_OLD: &str = "deletions since this position are forgotten: read anew, with since=0/0, and keep nothing of before";

impl ChangesFeed for Feed {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Fed> + Send + '_>> {
        Box::pin(self.portion())
    }

    fn position(&self) -> String {
        self.reader.position().to_string()
    }
}

impl Feed {
    async fn portion(&mut self) -> Fed {
        if std::mem::take(&mut self.owes_reset) {
            return Fed::Events(Bytes::from_static(b"event: reset\nid: 0/0\ndata: {}\n\n"));
        }
        loop {
            if self.has_all {
                // An error says that there is no such projection any more: the engine says why.
                let _ = self.changed.changed().await;
                self.has_all = false;
            }
            if let Some(until) = self.pause_until {
                tokio::time::sleep_until(until.into()).await;
            }
            self.changed.mark_unchanged();
            let Ok(running) = self.by_hand.running() else {
                self.begin_again().await;
                continue;
            };
            let reading = match self.read(&running, ROWS).await {
                Err(_) => {
                    self.begin_again().await;
                    continue;
                }
                Ok(Ok(reading)) => reading,
                Ok(Err(ChangesEnd::TooOld)) => {
                    return Fed::End { event: "gone", why: TOO_OLD.to_owned() };
                }
                // It may be back in a moment, or be loaded for hours: the client asks again.
                Ok(Err(ChangesEnd::NotFollowed(why))) => {
                    let why = not_followed(&self.projection, &why).error;
                    return Fed::End { event: "away", why };
                }
            };
            self.has_all = reading.whole;
            self.pause_until = Some(Instant::now() + self.pause(&reading));
            if reading.entries.is_empty() && !(reading.whole && self.owes_position) {
                continue;
            }
            self.owes_position = !reading.whole;
            match self.shape.events(&reading) {
                Ok(events) => return Fed::Events(Bytes::from(events)),
                Err(error) => return Fed::End { event: "away", why: error.to_string() },
            }
        }
    }

    /// All clients together take rows at a rate that the engine hardly feels.
    fn pause(&self, reading: &Reading) -> Duration {
        let clients = u32::try_from(self.by_hand.shared.followers_total()).unwrap_or(u32::MAX);
        let rows = u32::try_from(reading.entries.len()).unwrap_or(u32::MAX);
        let share = ROW_SHARE.saturating_mul(rows).saturating_mul(clients);
        if reading.whole { share.max(PAUSE) } else { share.max(MOMENT) }
    }

    /// The next pipeline knows nothing of this reader.
    async fn begin_again(&mut self) {
        self.reader = Reader::since(self.reader.position());
        self.owes_reset = self.reader.position() == Lsn::ZERO;
        self.owes_position = true;
        (self.has_all, self.pause_until) = (false, None);
        tokio::time::sleep(BETWEEN_PAUSE).await;
    }

    async fn read(
        &mut self,
        running: &Running,
        room: usize,
    ) -> Result<Result<Reading, ChangesEnd>, Refusal> {
        let (projection, reader) = (self.projection.clone(), self.reader.clone());
        let columns = self.shape.columns.clone();
        let read = running
            .ask(|reply| Question::Changes { projection, columns, reader, room, reply })
            .await?;
        Ok(read.map(|(reader, reading)| {
            self.reader = reader;
            reading
        }))
    }
}

impl Shape {
    fn new(columns: Vec<Column>, key: Vec<usize>) -> Self {
        Self { document: DocumentWriter::new(&columns, None), columns, key }
    }

    /// ```text
    /// event: upsert                                  event: delete         event: position
    /// id: 0/1A2B3C                                   id: 0/1A2B3C          id: 0/1A2B40
    /// data: {"key": [7], "lsn": …, "row": {…}}       data: {"key": [7], …} data: {"lsn": "0/1A2B40"}
    /// ```
    ///
    /// Before all that, where it begins with nothing: `event: reset`. An id is where a client goes on that
    /// has taken the event. `position` says that it has all that was
    /// committed before.
    fn events(&self, reading: &Reading) -> Result<Vec<u8>, ValueError> {
        let mut out = Vec::new();
        for entry in &reading.entries {
            let id = if reading.in_order { entry.lsn() } else { reading.position };
            self.event(entry, id, &mut out)?;
        }
        if reading.whole {
            let lsn = reading.position;
            out.extend_from_slice(
                format!("event: position\nid: {lsn}\ndata: {{\"lsn\": \"{lsn}\"}}\n\n").as_bytes(),
            );
        }
        Ok(out)
    }

    fn event(&self, entry: &Entry, id: Lsn, out: &mut Vec<u8>) -> Result<(), ValueError> {
        let name = if entry.is_tombstone() { "delete" } else { "upsert" };
        out.extend_from_slice(format!("event: {name}\nid: {id}\ndata: {{\"key\": [").as_bytes());
        let mut rest = entry.key();
        for (number, &at) in self.key.iter().enumerate() {
            if number > 0 {
                out.extend_from_slice(b", ");
            }
            let ty = &self.columns[at].ty;
            let (datum, after) = rest.split_at(value::datum_len(ty, rest)?.min(rest.len()));
            rest = after;
            value::write_json(ty, datum, out)?;
        }
        out.extend_from_slice(format!("], \"lsn\": \"{}\"", entry.lsn()).as_bytes());
        if let Some(row) = entry.value() {
            out.extend_from_slice(b", \"row\": ");
            let start = out.len();
            if self.document.write(row, out).is_err() {
                // A json value that jsonb does not take: the row has no document.
                out.truncate(start);
                out.extend_from_slice(b"null");
            }
        }
        // A document has no line breaks: they are escaped in its strings.
        out.extend_from_slice(b"}\n\n");
        Ok(())
    }
}
