//! What operators and readers ask of the engine's thread, and its answers.

use std::ops::Bound;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::engine_thread::{End, EngineThread};
use crate::engine::{Entry, EventPlace};
use crate::output::{Reader, Reading, TooOld, Work};
use crate::pipeline::{
    Again, Machine, NotFollowed, Payload, Refused, Rows, StoredPart, Tailed, Withheld, payload_fact,
};
use crate::sink::delivery::chain;
use crate::state::Store;
use crate::value::Column;

const DEAD: &str = "dead/";

/// Sinks are named by their positions in the configuration.
pub(super) enum Question {
    /// Answered when all that is known at this moment is durable.
    Durable { reply: oneshot::Sender<()> },
    /// A projection's columns and its key's positions among them.
    Shape { projection: String, reply: oneshot::Sender<Option<(Vec<Column>, Vec<usize>)>> },
    Rows {
        projection: String,
        keys: Vec<Vec<u8>>,
        reply: oneshot::Sender<Result<Rows, NotFollowed>>,
    },
    /// The row whose key equals this one.
    Row { projection: String, key: Vec<u8>, reply: oneshot::Sender<Result<Rows, NotFollowed>> },
    /// A portion of what a reader has not read yet; it comes back with it, and the time that it took. `columns`: as the
    /// reader knows the projection's.
    Changes {
        projection: String,
        columns: Vec<Column>,
        reader: Reader,
        room: usize,
        reply: oneshot::Sender<Result<(Reader, Reading, Duration), ChangesEnd>>,
    },
    /// What has happened behind a place, of one event or of all, or at most `room` of it.
    Tail {
        event: Option<String>,
        after: EventPlace,
        room: usize,
        reply: oneshot::Sender<Result<Tailed, NotFollowed>>,
    },
    /// Behind all that has happened.
    TailEnd { reply: oneshot::Sender<EventPlace> },
    /// Keys that the engine itself cannot show, after one of them.
    Withheld {
        projection: String,
        after: Option<Vec<u8>>,
        limit: usize,
        reply: oneshot::Sender<Vec<Withheld>>,
    },
    /// Facts of letters behind the one named so, as the store has them.
    Letters { after: String, limit: usize, reply: oneshot::Sender<Vec<(String, Vec<u8>)>> },
    /// Another try for a refused row; answered when its outcome is known. `None`: there is no such letter.
    Retry { sink: usize, projection: String, key: Vec<u8>, reply: oneshot::Sender<Tried> },
    /// What the letter of an event keeps, as the store has it.
    Payload {
        sink: usize,
        projection: String,
        key: Vec<u8>,
        reply: oneshot::Sender<Option<Payload>>,
    },
    /// Whether the sink refuses this row.
    IsLetter { sink: usize, projection: String, key: Vec<u8>, reply: oneshot::Sender<bool> },
    /// Whether there was such a letter.
    DropLetter { sink: usize, projection: String, key: Vec<u8>, reply: oneshot::Sender<bool> },
    /// The generation that it comes to; `None`: the machine has no such lane, so nothing was ordered.
    Rebuild { sink: usize, projection: String, reply: oneshot::Sender<Option<u64>> },
}

/// Why a reader gets nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChangesEnd {
    TooOld,
    NotFollowed(NotFollowed),
}

/// What became of another try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tried {
    Accepted,
    Refused(String),
    NoLetter,
}

/// A try whose outcome somebody waits for.
pub(super) struct Try {
    sink: usize,
    lane: usize,
    key: Vec<u8>,
    reply: oneshot::Sender<Tried>,
}

impl EngineThread {
    pub(super) fn answer(&mut self, question: Question) {
        let machine = &mut self.machine;
        match question {
            Question::Durable { reply } => self.durable_asked.push(reply),
            Question::Shape { projection, reply } => tell(reply, machine.shape(&projection)),
            Question::Rows { projection, keys, reply } => {
                tell(reply, machine.rows(&projection, &keys));
            }
            Question::Row { projection, key, reply } => tell(reply, machine.row(&projection, &key)),
            Question::Changes { projection, columns, mut reader, room, reply } => {
                let begun = Instant::now();
                let read = match machine.changes(&projection, &columns, &mut reader, room) {
                    Ok(Ok(reading)) => Ok((reader, reading, begun.elapsed())),
                    Ok(Err(TooOld)) => Err(ChangesEnd::TooOld),
                    Err(why) => Err(ChangesEnd::NotFollowed(why)),
                };
                tell(reply, read);
            }
            Question::TailEnd { reply } => tell(reply, machine.tail_end()),
            Question::Tail { event, after, room, reply } => {
                let stored = |part: StoredPart<'_>| {
                    let from = Bound::Excluded(part.after);
                    self.reader.page(part.rows_of, from, part.to).map_err(End::from)
                };
                match machine.tail(event.as_deref(), after, room, stored) {
                    Ok(tailed) => tell(reply, tailed),
                    Err(error) => {
                        tracing::error!(error = %chain(&error), "occurrences cannot be read");
                    }
                }
            }
            Question::Withheld { projection, after, limit, reply } => {
                match machine.withheld(&projection, after.as_deref(), limit) {
                    Ok(found) => tell(reply, found),
                    Err(error) => tracing::error!(projection, %error, "a row cannot be read"),
                }
            }
            Question::Letters { after, limit, reply } => {
                match self.reader.facts_after(DEAD, &after, limit) {
                    Ok(facts) => tell(reply, facts),
                    Err(error) => {
                        tracing::error!(error = %chain(&error), "the state cannot be read")
                    }
                }
            }
            Question::Retry { sink, projection, key, reply } => {
                let Some(lane) = machine.lane(sink, &projection) else {
                    return tell(reply, Tried::NoLetter);
                };
                let payload = payload(&self.reader, machine, (sink, lane), &key);
                match machine.retry(sink, lane, &key, payload) {
                    Again::Sent => {
                        self.tries.retain(|one| !one.reply.is_closed());
                        self.tries.push(Try { sink, lane, key, reply });
                    }
                    Again::Never => tell(reply, Tried::Refused("it cannot be computed".into())),
                    Again::NoLetter => tell(reply, Tried::NoLetter),
                }
            }
            Question::Payload { sink, projection, key, reply } => {
                let lane = machine.lane(sink, &projection);
                let found =
                    lane.and_then(|lane| payload(&self.reader, machine, (sink, lane), &key));
                tell(reply, found);
            }
            Question::IsLetter { sink, projection, key, reply } => {
                let lane = machine.lane(sink, &projection);
                tell(reply, lane.is_some_and(|lane| machine.is_letter(sink, lane, &key)));
            }
            Question::DropLetter { sink, projection, key, reply } => {
                let lane = machine.lane(sink, &projection);
                let found = lane.is_some_and(|lane| machine.drop_letter(sink, lane, &key));
                tell(reply, found);
            }
            Question::Rebuild { sink, projection, reply } => {
                let lane = machine.lane(sink, &projection);
                let generation = lane.map(|lane| machine.rebuild(sink, lane));
                tell(reply, generation);
            }
        }
    }

    /// A sink has answered: whoever waits for one of these rows is told.
    pub(super) fn tell_tries(&mut self, sink: usize, work: &Work, refused: &[Refused]) {
        if self.tries.is_empty() {
            return;
        }
        for one in std::mem::take(&mut self.tries) {
            let is_it = |entry: &Entry| entry.key() == one.key;
            let was_sent = one.sink == sink
                && match work {
                    Work::Fill { lane, rows } => *lane == one.lane && rows.iter().any(is_it),
                    Work::Amend { lane, changes } => *lane == one.lane && changes.iter().any(is_it),
                    Work::Step(step) => step
                        .lanes
                        .iter()
                        .any(|part| part.lane == one.lane && part.entries.iter().any(is_it)),
                    Work::BeginFill { .. }
                    | Work::EndFill { .. }
                    | Work::Forget { .. }
                    | Work::Reopen => false,
                };
            if !was_sent {
                self.tries.push(one);
                continue;
            }
            let refusal =
                refused.iter().find(|refused| refused.lane == one.lane && is_it(&refused.entry));
            let tried = match refusal {
                Some(refused) => Tried::Refused(refused.error.clone()),
                None => Tried::Accepted,
            };
            tell(one.reply, tried);
        }
    }
}

/// What the letter of an event keeps.
fn payload(
    store: &Store,
    machine: &Machine,
    (sink, lane): (usize, usize),
    key: &[u8],
) -> Option<Payload> {
    if !machine.is_event(sink, lane) {
        return None;
    }
    match store.fact(&payload_fact(machine.lane_name(sink, lane), key)) {
        Ok(fact) => Some(machine.renewed(sink, lane, key, Payload::of_fact(&fact?)?)),
        Err(error) => {
            tracing::error!(error = %chain(&error), "the state cannot be read");
            None
        }
    }
}

fn tell<T>(reply: oneshot::Sender<T>, answer: T) {
    // Whoever asked may have stopped waiting: then the answer goes nowhere.
    let _ = reply.send(answer);
}
