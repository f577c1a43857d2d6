//! One script at a time over the fence, and a step as one of them; a backlog's goes by `backlog.rs`.

use redis::{Cmd, RedisError, Value, from_redis_value};

use crate::engine::Entry;
use crate::failpoint;
use crate::lsn::Lsn;
use crate::sink::{Outcome, SinkError, Step, Watermark};

use super::RedisSink;
use super::connect::opened;
use super::encode::{Batch, Before, Refused};
use super::error::{self, fatal, interrupted, retryable};
use super::record::Layout;
use super::session::marks_text;
use super::watermark;

pub(super) const STEP_SCRIPT: &str = include_str!("step.lua");

/// What a script or a transaction leaves as one projection's watermark.
#[derive(Clone)]
pub(super) struct Mark {
    pub(super) projection: usize,
    pub(super) watermark: Watermark,
}

/// What the script answered.
pub(super) enum Answer {
    Done(Vec<Refused>),
    /// Another watermark stood there than the one last seen.
    Fenced {
        mark: usize,
        owner: String,
    },
}

impl RedisSink {
    /// Runs one batch with its watermarks, in one script; in a cluster, in one for each slot.
    pub(super) async fn run(
        &mut self,
        marks: Vec<Mark>,
        batch: Batch<'_>,
    ) -> Result<Outcome, SinkError> {
        if self.layout == Layout::Cluster {
            return self.run_spread(marks, batch).await;
        }
        let token = self.next_token();
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.step_sha).arg(0).arg(&token).arg(marks.len());
        for mark in &marks {
            self.mark_arguments(mark, &mut command);
        }
        batch.append_to(&mut command);
        for mark in &marks {
            self.standings[mark.projection].possible = Some(token.clone());
        }
        let answer = self.evaluate(&command).await.map_err(|error| {
            // Its effect is unknown: only `open` can tell.
            self.connection = None;
            retryable(&format!("{}: a step failed", self.server.address), error)
        })?;
        match read_answer(answer) {
            Some(Answer::Done(refused)) => {
                for mark in &marks {
                    self.stand(mark, &token);
                }
                Ok(batch.finish(&refused))
            }
            Some(Answer::Fenced { mark, owner }) => {
                Err(self.fenced(marks.get(mark).map(|mark| mark.projection), &owner))
            }
            None => {
                self.connection = None;
                Err(interrupted("Redis gave an answer that the script never gives"))
            }
        }
    }

    /// The server holds this watermark, with this token.
    pub(super) fn stand(&mut self, mark: &Mark, token: &str) {
        let standing = &mut self.standings[mark.projection];
        self.origin.owner.name().clone_into(&mut standing.owner);
        token.clone_into(&mut standing.step);
        standing.possible = None;
        let is_log = self.plans[mark.projection].log.is_some();
        standing.filling = mark.watermark.fingerprint.is_empty() && !is_log;
        standing.watermark = mark.watermark.clone();
    }

    /// Another watermark stands there than the one last seen; nothing was written.
    pub(super) fn fenced(&mut self, projection: Option<usize>, owner: &str) -> SinkError {
        self.connection = None;
        let name = projection.map_or("", |projection| &self.plans[projection].name);
        if owner.is_empty() || self.origin.owner.is(owner) {
            let address = &self.server.address;
            interrupted(format!("{address}: the watermark of {name} is not the one last seen"))
        } else {
            other_owner(name, owner)
        }
    }

    pub(super) fn mark_arguments(&self, mark: &Mark, command: &mut Cmd) {
        let standing = &self.standings[mark.projection];
        let name = &self.plans[mark.projection].name;
        let mut fields = watermark::fields(name, &mark.watermark, self.origin.owner.name());
        if self.layout == Layout::Cluster {
            fields.push(("session", self.session.name.clone()));
            fields.push(("marks", marks_text(&self.session.marks)));
        }
        command
            .arg(&self.plans[mark.projection].watermark_key)
            .arg(&standing.owner)
            .arg(&standing.step)
            .arg(mark.watermark.reaching.to_string())
            .arg(2 * fields.len());
        for (field, value) in &fields {
            command.arg(field).arg(value);
        }
    }

    /// Loads the script where the server has lost it: a restart, a failover, SCRIPT FLUSH.
    async fn evaluate(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let Ok(connection) = opened(&mut self.connection) else {
            return Err(std::io::Error::from(std::io::ErrorKind::NotConnected).into());
        };
        match command.query_async(connection).await {
            Err(error) if error::code(&error) == Some("NOSCRIPT") => {
                redis::cmd("SCRIPT").arg("LOAD").arg(STEP_SCRIPT).exec_async(connection).await?;
                command.query_async(connection).await
            }
            answer => answer,
        }
    }

    /// See `Sink::apply`. A settled step is cut into several scripts only when it is too large for one;
    /// then all but the last are unsettled.
    pub(super) async fn apply_step(&mut self, step: &Step) -> Result<Outcome, SinkError> {
        for part in &step.projections {
            if self.standings[part.projection].filling {
                self.finish_fill(part).await?;
                failpoint::reached_in("swap", &self.name);
            }
        }
        // An event must not be added twice: it goes with its watermark, in the script.
        let has_events =
            step.projections.iter().any(|part| self.plans[part.projection].log.is_some());
        if !step.settled && self.transactions && !has_events {
            let marks = self.marks(step, Boundary::End);
            let mut rows = Vec::new();
            for part in &step.projections {
                rows.extend(part.entries.iter().map(|entry| (part.projection, entry)));
            }
            return self.write_backlog(marks, &rows, Before::Older).await;
        }
        let mut outcome = Outcome::default();
        let mut batch = Batch::default();
        let (logs, rows): (Vec<_>, Vec<_>) =
            step.projections.iter().partition(|part| self.plans[part.projection].log.is_some());
        for part in rows {
            let before = self.before(part.projection);
            self.forget_older_refusals(part.projection, &mut batch.moves);
            for entry in &part.entries {
                // Others wait for a script; a settled step must be one.
                let is_long = !step.settled && batch.passages().len() >= self.step_rows;
                if batch.is_full() || is_long {
                    let marks = self.marks(step, Boundary::Within);
                    let full = std::mem::take(&mut batch);
                    add(&mut outcome, self.run(marks, full).await?);
                }
                batch.push(part.projection, &self.plans[part.projection], entry, before, None);
            }
            self.forget_older(part.projection, &mut batch.moves);
        }
        // Events that share a stream stand there in the order of their commits.
        let mut occurrences: Vec<(usize, &Entry)> = logs
            .iter()
            .flat_map(|part| part.entries.iter().map(|entry| (part.projection, entry)))
            .collect();
        occurrences.sort_by(|(_, a), (_, b)| a.key().cmp(b.key()));
        for (projection, entry) in occurrences {
            if batch.is_full() {
                let marks = self.marks(step, Boundary::Within);
                let full = std::mem::take(&mut batch);
                add(&mut outcome, self.run(marks, full).await?);
            }
            batch.push(projection, &self.plans[projection], entry, Before::Nothing, None);
        }
        failpoint::reached_in("delivered", &self.name);
        add(&mut outcome, self.run(self.marks(step, Boundary::End), batch).await?);
        for part in &step.projections {
            self.standings[part.projection].fill = None;
        }
        Ok(outcome)
    }

    /// What may stand where this projection's rows go.
    pub(super) fn before(&self, projection: usize) -> Before {
        match &self.standings[projection].fill {
            Some(fill) if fill.keep.is_some() => Before::Either,
            _ => Before::Older,
        }
    }

    fn marks(&self, step: &Step, boundary: Boundary) -> Vec<Mark> {
        let mark = |part: &crate::sink::StepProjection| {
            let standing = &self.standings[part.projection];
            let mut watermark = Watermark {
                lsn: step.position,
                reaching: step.reaching,
                committed_at: step.committed_at,
                settled: step.settled,
                generation: part.generation,
                fingerprint: self.plans[part.projection].fingerprint.clone(),
                history: self.origin.history.tag(),
                term: self.term,
            };
            let within = boundary == Boundary::Within;
            if within {
                watermark.lsn = standing.watermark.lsn;
                watermark.committed_at = standing.watermark.committed_at;
                watermark.settled = false;
                watermark.fingerprint.clone_from(&standing.watermark.fingerprint);
            }
            Mark { projection: part.projection, watermark }
        };
        step.projections.iter().map(mark).collect()
    }

    pub(super) fn next_token(&mut self) -> String {
        self.scripts += 1;
        match self.layout {
            Layout::Single => format!("{:016x}-{}", self.run_id, self.scripts),
            Layout::Cluster => {
                format!("{}-{:016x}-{}", self.session.name, self.run_id, self.scripts)
            }
        }
    }
}

/// Whether a script ends its step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Boundary {
    Within,
    End,
}

pub(super) fn add(sum: &mut Outcome, outcome: Outcome) {
    sum.upserts += outcome.upserts;
    sum.deletes += outcome.deletes;
    sum.poison.extend(outcome.poison);
}

pub(super) fn other_owner(projection: &str, owner: &str) -> SinkError {
    fatal(
        format!("{projection} in this Redis belongs to another pipeline ({owner})"),
        format!(
            "give each pipeline its own keys or database; if that pipeline is gone for good: \
             DEL {}",
            watermark::key(projection)
        ),
    )
}

/// No row in the sink is as new as what follows the newest of these.
pub(super) fn reaching_past(reaching: Lsn, newest: Option<Lsn>) -> Lsn {
    newest.map_or(reaching, |lsn| reaching.max(Lsn(lsn.0.saturating_add(1))))
}

pub(super) fn read_answer(answer: Value) -> Option<Answer> {
    let Value::Array(items) = answer else { return None };
    let mut items = items.into_iter();
    let mut next = || match items.next() {
        None => Some(None),
        Some(Value::Int(number)) => Some(Some(number.to_string().into_bytes())),
        Some(item) => from_redis_value(item).ok().map(Some),
    };
    let kind = next()??;
    if kind == b"fence" {
        let mark = std::str::from_utf8(&next()??).ok()?.parse().ok()?;
        return Some(Answer::Fenced { mark, owner: String::from_utf8(next()??).ok()? });
    }
    let mut refused = Vec::new();
    while let Some(row) = next()? {
        let row = std::str::from_utf8(&row).ok()?.parse().ok()?;
        refused.push(Refused { row, key: next()??, found: next()?? });
    }
    (kind == b"ok").then_some(Answer::Done(refused))
}
