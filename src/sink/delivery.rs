//! Delivery: one task that brings one sink from position to position, for ever.
//!
//! It decides nothing about what is delivered (that is the feed's, asked through `Upstream`) and
//! nothing about how (that is the sink's). It opens, executes, and opens again after a failure, with
//! growing pauses; another sink's trouble never reaches it (P4).

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::retry::Backoff;
use super::{
    Outcome, Poison, Role, Sink, SinkError, SinkProjection, Step, StepProjection, Watermark,
};
use crate::failpoint;
use crate::lsn::Lsn;
use crate::output::{self, Standing, Work};
use crate::value::key_text;

/// A fatal error needs a human; the sink is looked at again after this pause.
const FATAL_PAUSE: Duration = Duration::from_secs(30);
/// The first pause after which an idle sink's watermark follows the source's position; it doubles up to
/// the second while nothing else happens, so that a watermark written to the source's own server does
/// not keep both busy.
const IDLE_MIN: Duration = Duration::from_millis(250);
const IDLE_MAX: Duration = Duration::from_secs(8);
/// Refused rows of one answer that the log names.
const REFUSED_TOLD_MAX: usize = 20;

/// The pipeline, as delivery sees it. Lanes are positions in the list given to the sink.
pub trait Upstream: Send {
    /// The sink is open and stands there.
    fn opened(&mut self, standings: Vec<Standing>) -> impl Future<Output = ()> + Send;
    /// The sink is away; why, for people.
    fn closed(&mut self, why: &SinkError) -> impl Future<Output = ()> + Send;
    /// The next work; waits for it. With `idle` also what moves watermarks alone. `None`: nothing came
    /// within `patience`.
    fn pull(&mut self, idle: bool, patience: Duration)
    -> impl Future<Output = Option<Work>> + Send;
    /// The work was done; the refused rows are dead letters now, or halt their projections.
    fn done(
        &mut self,
        work: Work,
        outcome: Outcome,
        took: Duration,
    ) -> impl Future<Output = ()> + Send;
}

/// Runs until cancelled.
pub async fn deliver<S: Sink, U: Upstream>(
    name: &str,
    mut sink: S,
    projections: &[SinkProjection],
    mut upstream: U,
    cancel: CancellationToken,
) {
    let mut backoff = Backoff::default();
    loop {
        let error = tokio::select! {
            () = cancel.cancelled() => return,
            error = session(name, &mut sink, projections, &mut upstream, &mut backoff) => error,
        };
        let pause = match &error {
            SinkError::Retryable { .. } => backoff.pause(),
            SinkError::Fatal { .. } => FATAL_PAUSE,
        };
        tracing::warn!(sink = name, retry_in_ms = pause.as_millis(), error = %chain(&error), "the sink is away");
        upstream.closed(&error).await;
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// From opening the sink to its next failure.
async fn session<S: Sink, U: Upstream>(
    name: &str,
    sink: &mut S,
    projections: &[SinkProjection],
    upstream: &mut U,
    backoff: &mut Backoff,
) -> SinkError {
    let watermarks = match sink.open().await {
        Ok(watermarks) => watermarks,
        Err(error) => return error,
    };
    upstream.opened(standings(&watermarks, projections)).await;
    let mut idle_pause = IDLE_MIN;
    let mut idle = false;
    loop {
        let Some(work) = upstream.pull(idle, idle_pause).await else {
            idle = true;
            continue;
        };
        idle_pause = if idle { (idle_pause * 2).min(IDLE_MAX) } else { IDLE_MIN };
        idle = false;
        let begun = Instant::now();
        match execute(sink, &work).await {
            Ok(outcome) => {
                if matches!(&work, Work::Step(step) if step.settled) {
                    failpoint::reached_in("watermark", name);
                }
                backoff.reset();
                tell_refused(name, projections, &outcome.poison);
                upstream.done(work, outcome, begun.elapsed()).await;
            }
            Err(error) => return error,
        }
    }
}

fn standings(watermarks: &[Option<Watermark>], projections: &[SinkProjection]) -> Vec<Standing> {
    let pairs = watermarks.iter().zip(projections);
    pairs
        .map(|(watermark, projection)| match watermark {
            None => Standing::Fresh { generation: 0, reaching: Lsn::ZERO },
            // What a log holds stays, whatever becomes of its event.
            Some(watermark)
                if watermark.fingerprint != projection.fingerprint
                    && projection.role == Role::Rows =>
            {
                let reaching = watermark.reaching.max(watermark.lsn);
                Standing::Fresh { generation: watermark.generation, reaching }
            }
            Some(watermark) => Standing::At {
                lsn: watermark.lsn,
                reaching: watermark.reaching,
                generation: watermark.generation,
            },
        })
        .collect()
}

async fn execute<S: Sink>(sink: &mut S, work: &Work) -> Result<Outcome, SinkError> {
    match work {
        Work::BeginFill { lane, generation } => {
            sink.begin_fill(*lane, *generation).await.map(|()| Outcome::default())
        }
        Work::Fill { lane, rows } => sink.fill(*lane, rows).await,
        Work::EndFill { lane } => sink.end_fill(*lane).await.map(|()| Outcome::default()),
        Work::Amend { lane, changes } => sink.amend(*lane, changes).await,
        // A scan's look at rows that have not changed.
        Work::Step(step) if step.lanes.is_empty() && !step.settled => Ok(Outcome::default()),
        Work::Step(step) => sink.apply(&translate(step)).await,
        Work::Reopen => Err(SinkError::Retryable {
            what: "what was begun cannot be completed; the sink is opened again".to_owned(),
            source: None,
        }),
    }
}

fn translate(step: &output::Step) -> Step {
    let parts = step.lanes.iter().map(|part| StepProjection {
        projection: part.lane,
        entries: part.entries.clone(),
        times: part.times.clone(),
        generation: part.generation,
        finish_fill: part.finish_fill,
    });
    Step {
        projections: parts.collect(),
        position: step.position,
        reaching: step.reaching,
        committed_at: step.committed_at,
        settled: step.settled,
    }
}

/// A line for each refused row, up to a bound: all of a table's rows may be refused at once.
fn tell_refused(sink: &str, projections: &[SinkProjection], refused: &[Poison]) {
    for poison in refused.iter().take(REFUSED_TOLD_MAX) {
        let projection = &projections[poison.projection];
        let types = projection.key.iter().map(|&at| &projection.columns[at].ty);
        tracing::warn!(
            sink,
            projection = %projection.name,
            key = %key_text(types, poison.entry.key()),
            lsn = %poison.entry.lsn(),
            error = %poison.error,
            "the sink refuses a row for good"
        );
    }
    if let Some(more) = refused.len().checked_sub(REFUSED_TOLD_MAX + 1) {
        tracing::warn!(sink, rows = more + 1, "the sink refuses more rows for good");
    }
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

impl Outcome {
    /// The refused rows of one lane.
    pub fn refused(&self, lane: usize) -> impl Iterator<Item = &Poison> {
        self.poison.iter().filter(move |poison| poison.projection == lane)
    }
}
