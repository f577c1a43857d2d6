//! Rows that no reader is shown as the state of a position: a backlog's and a first fill's. They are
//! written as plain commands (`plain.rs`), a transaction for some hundred of them.
//!
//! The fence: a transaction watches its watermarks, reads them, and is executed only when they are the
//! ones last seen here and nobody has touched them since. It leaves them unsettled.
//!
//! Redis is kept busy: while it executes one transaction the next is made. So a message carries parts
//! of three portions of the rows,
//!
//! ```text
//! EXEC of the first | WATCH and watermarks for the second | reads for the fourth
//!                   | MULTI and commands of the second
//! ```
//!
//! and until its answers are here the third portion, whose reads came with the last answers, becomes
//! commands, and a fifth is encoded.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value, from_redis_value};

use crate::engine::Entry;
use crate::failpoint;
use crate::sink::{Outcome, SinkError};

use super::RedisSink;
use super::apply::{Mark, add};
use super::connect::opened;
use super::encode::{Batch, Before};
use super::error::retryable;
use super::plain::{Writes, reads};
use super::watermark;

/// Of one transaction, in which Redis serves nobody else.
const PORTION_ROWS: usize = 400;
const PORTION_BYTES: usize = 1 << 20;

/// An unsettled step has so many times the rows of a settled one: between two of them Redis waits.
pub const BACKLOG_STEPS: usize = 5;

/// Some rows on their way.
#[derive(Default)]
struct Portion<'e> {
    batch: Batch<'e>,
    reads: Vec<Cmd>,
    read: Vec<Value>,
    writes: Writes,
    /// What its transaction leaves in the watermarks.
    token: String,
}

/// What became of the rows so far.
#[derive(Default)]
struct Done<'e> {
    outcome: Outcome,
    /// What is left to scripts.
    left: Vec<Batch<'e>>,
}

impl RedisSink {
    /// Writes rows and leaves the watermarks unsettled. Each row is new to the sink, or its older
    /// version there, for `Before::Older`, is of the same generation.
    pub(super) async fn write_backlog(
        &mut self,
        marks: Vec<Mark>,
        mut rows: &[(usize, &Entry)],
        before: Before,
    ) -> Result<Outcome, SinkError> {
        let mut connection = opened(&mut self.connection)?.clone();
        let mut done = Done::default();
        let (mut first, mut second, mut third) = (None, None, None);
        let mut fourth = self.encode(&mut rows, before);
        while first.is_some() || second.is_some() || third.is_some() || fourth.is_some() {
            let message = self.message(&marks, first.as_ref(), second.as_mut(), fourth.as_mut());
            let (answers, (translated, encoded)) = tokio::join!(
                biased;
                exchange(&mut connection, &message),
                async { (self.translate(third.take()), self.encode(&mut rows, before)) }
            );
            let mut answers = answers.map_err(|error| self.failed(error))?.into_iter();
            if let Some(portion) = first.take() {
                self.executed(&marks, portion, answers.next(), &mut done)?;
            }
            if second.is_some() {
                self.require_watermarks(&marks, &mut answers)?;
            }
            if let Some(portion) = &mut fourth {
                portion.read = answers.by_ref().take(portion.reads.len()).collect();
            }
            // What the server would refuse (no memory, no permission, a replica), it refuses here.
            if let Some(Value::ServerError(error)) = answers.find(is_error) {
                return Err(self.failed(error.into()));
            }
            failpoint::reached_in("backlog", &self.name);
            first = second;
            second = self.unless_left(translated, &mut done);
            third = fourth;
            fourth = encoded;
        }
        for batch in done.left {
            add(&mut done.outcome, self.run(marks.clone(), batch).await?);
        }
        Ok(done.outcome)
    }

    fn encode<'e>(&self, rows: &mut &[(usize, &'e Entry)], before: Before) -> Option<Portion<'e>> {
        let mut batch = Batch::default();
        let mut count = 0;
        while count < PORTION_ROWS && batch.bytes() < PORTION_BYTES {
            let Some((&(projection, entry), rest)) = rows.split_first() else { break };
            batch.push(projection, &self.plans[projection], entry, before, None);
            *rows = rest;
            count += 1;
        }
        let reads = reads(&batch, &self.plans);
        (count > 0).then(|| Portion { batch, reads, ..Portion::default() })
    }

    fn translate<'e>(&self, portion: Option<Portion<'e>>) -> Option<Portion<'e>> {
        let mut portion = portion?;
        portion.writes = Writes::of(&portion.batch, &self.plans, &portion.read);
        Some(portion)
    }

    /// Empty: there is nothing to send.
    fn message(
        &mut self,
        marks: &[Mark],
        first: Option<&Portion<'_>>,
        second: Option<&mut Portion<'_>>,
        fourth: Option<&mut Portion<'_>>,
    ) -> redis::Pipeline {
        let mut message = redis::pipe();
        if let Some(portion) = first {
            message.cmd("EXEC");
            for mark in marks {
                self.standings[mark.projection].possible = Some(portion.token.clone());
            }
        }
        if second.is_some() {
            let keys = marks.iter().map(|mark| &self.plans[mark.projection].watermark_key);
            message.cmd("WATCH").arg(keys.clone().collect::<Vec<_>>());
            for key in keys {
                message.cmd("HMGET").arg(key).arg("owner").arg("step");
            }
        }
        for read in fourth.iter().flat_map(|portion| &portion.reads) {
            message.add_command(read.clone());
        }
        if let Some(portion) = second {
            portion.token = self.next_token();
            message.cmd("MULTI");
            for mark in marks {
                message.cmd("HSET").arg(&self.plans[mark.projection].watermark_key);
                message.arg("step").arg(&portion.token);
                let name = &self.plans[mark.projection].name;
                let owner = self.origin.owner.name();
                for (field, value) in watermark::fields(name, &mark.watermark, owner) {
                    message.arg(field).arg(value);
                }
            }
            portion.writes.move_into(&mut message);
        }
        message
    }

    /// What EXEC answered.
    fn executed<'e>(
        &mut self,
        marks: &[Mark],
        portion: Portion<'e>,
        answer: Option<Value>,
        done: &mut Done<'e>,
    ) -> Result<(), SinkError> {
        let answers = match answer {
            Some(Value::Array(answers)) => answers,
            Some(Value::ServerError(error)) => return Err(self.failed(error.into())),
            // Somebody touched a watermark after it was read.
            _ => return Err(self.fenced(marks.first().map(|mark| mark.projection), "")),
        };
        let (of_marks, of_rows) = answers.split_at(marks.len().min(answers.len()));
        if let Some(Value::ServerError(error)) = of_marks.iter().find(|answer| is_error(answer)) {
            return Err(self.failed(error.clone().into()));
        }
        let left = match portion.writes.finish(of_rows) {
            Ok(left) => left,
            Err(error) => return Err(self.failed(error.into())),
        };
        for mark in marks {
            self.stand(mark, &portion.token);
        }
        self.leave(portion.batch, &left, done);
        Ok(())
    }

    /// A portion that has nothing to be written plainly needs no transaction.
    fn unless_left<'e>(
        &self,
        portion: Option<Portion<'e>>,
        done: &mut Done<'e>,
    ) -> Option<Portion<'e>> {
        let portion = portion?;
        if !portion.writes.is_empty() {
            return Some(portion);
        }
        let left: Vec<usize> = (0..portion.batch.passages().len()).collect();
        self.leave(portion.batch, &left, done);
        None
    }

    /// The outcome of a portion but for these passages, which go to a script.
    fn leave<'e>(&self, mut batch: Batch<'e>, passages: &[usize], done: &mut Done<'e>) {
        for &number in passages {
            let is_full =
                |batch: &Batch<'_>| batch.is_full() || batch.passages().len() >= self.step_rows;
            if done.left.last().is_none_or(is_full) {
                done.left.push(Batch::default());
            }
            let plan = &self.plans[batch.passages()[number].projection];
            let script = done.left.last_mut().expect("one was pushed");
            script.take_over(&mut batch, number, plan);
        }
        add(&mut done.outcome, batch.into_outcome());
    }

    /// The answers to WATCH and to the question for each watermark.
    fn require_watermarks(
        &mut self,
        marks: &[Mark],
        answers: &mut impl Iterator<Item = Value>,
    ) -> Result<(), SinkError> {
        if let Some(Value::ServerError(error)) = answers.next() {
            return Err(self.failed(error.into()));
        }
        for mark in marks {
            let found: Result<(Option<String>, Option<String>), RedisError> = match answers.next() {
                Some(Value::ServerError(error)) => Err(error.into()),
                answer => from_redis_value(answer.unwrap_or_default()).map_err(RedisError::from),
            };
            let (owner, step) = found.map_err(|error| self.failed(error))?;
            let (owner, step) = (owner.unwrap_or_default(), step.unwrap_or_default());
            let standing = &self.standings[mark.projection];
            if owner != standing.owner || step != standing.step {
                return Err(self.fenced(Some(mark.projection), &owner));
            }
        }
        Ok(())
    }

    /// What the server has done is unknown: only `open` can tell.
    fn failed(&mut self, error: RedisError) -> SinkError {
        self.connection = None;
        retryable(&format!("{}: a step failed", self.server.address), error)
    }
}

async fn exchange(
    connection: &mut MultiplexedConnection,
    message: &redis::Pipeline,
) -> Result<Vec<Value>, RedisError> {
    if message.is_empty() {
        return Ok(Vec::new());
    }
    connection.send_packed_commands(message, 0, message.len()).await
}

fn is_error(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(_))
}
