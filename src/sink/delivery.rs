//! Delivery: one task that brings one sink from position to position, for ever.
//!
//! It decides nothing about what is delivered (that is the feed's, asked through `Upstream`) and
//! nothing about how (that is the sink's). It opens, executes, and opens again after a failure, with
//! growing pauses; another sink's trouble never reaches it (P4).

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::retry::Backoff;
use super::{
    Outcome, Poison, Refusal, Role, Sink, SinkError, SinkProjection, Step, StepProjection,
    Watermark,
};
use crate::failpoint;
use crate::lsn::Lsn;
use crate::output::{self, Standing, Work};
use crate::value::key_text;

/// A fatal error needs a human; the sink, or the projection in it, is looked at again after this pause.
const FATAL_PAUSE: Duration = Duration::from_secs(30);
/// The first pause after which an idle sink's watermark follows the source's position; it doubles up to
/// the second while nothing else happens, so that a watermark written to the source's own server does
/// not keep both busy.
const IDLE_MIN: Duration = Duration::from_millis(250);
const IDLE_MAX: Duration = Duration::from_secs(8);
/// Between two looks at a sink that another instance brings forward.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// Refused rows of one answer that the log names.
const REFUSED_TOLD_MAX: usize = 20;

/// The pipeline, as delivery sees it. Lanes are positions in the list given to the sink.
pub trait Upstream: Send {
    /// The sink is open, stands there, and remembers these refusals.
    fn opened(
        &mut self,
        standings: Vec<Standing>,
        refusals: Vec<Refusal>,
    ) -> impl Future<Output = ()> + Send;
    /// The sink is away; why, for people.
    fn closed(&mut self, why: &SinkError) -> impl Future<Output = ()> + Send;
    /// A projection stands still in the sink; why, for people. `None`: it is tried again.
    fn blocked(
        &mut self,
        projection: &str,
        why: Option<&SinkError>,
    ) -> impl Future<Output = ()> + Send;
    /// The next work; waits for it. With `idle` also what moves watermarks alone. `None`: nothing came
    /// within `patience`.
    fn pull(&mut self, idle: bool, patience: Duration)
    -> impl Future<Output = Option<Work>> + Send;
    /// Not we lead: there it stands, brought by another instance.
    fn watched(&mut self, watermarks: Vec<Option<Watermark>>) -> impl Future<Output = ()> + Send;
    /// The sink has been written by a leader of this term.
    fn outranked(&mut self, term: u64);
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
    sink: &mut S,
    projections: &[SinkProjection],
    upstream: &mut U,
    cancel: &CancellationToken,
) {
    let mut backoff = Backoff::default();
    let mut blocked = Blocked(vec![None; projections.len()]);
    loop {
        let ended = tokio::select! {
            () = cancel.cancelled() => return,
            ended = session(name, sink, projections, upstream, &blocked, &mut backoff) => ended,
        };
        let error = match ended {
            Ended::Unblocks => {
                for at in blocked.release() {
                    upstream.blocked(&projections[at].name, None).await;
                }
                continue;
            }
            Ended::Failed(error) => error,
        };
        if let SinkError::Blocked { projection, .. } = error {
            let name_of = &projections[projection].name;
            tracing::error!(sink = name, projection = name_of, error = %chain(&error), "the projection stands still in this sink");
            blocked.0[projection] = Some(Instant::now() + FATAL_PAUSE);
            upstream.blocked(name_of, Some(&error)).await;
            continue;
        }
        if let SinkError::Outranked { term } = error {
            upstream.outranked(term);
        }
        let pause = match &error {
            SinkError::Retryable { .. } | SinkError::Outranked { .. } => backoff.pause(),
            SinkError::Fatal { .. } | SinkError::Blocked { .. } => FATAL_PAUSE,
        };
        tracing::warn!(sink = name, retry_in_ms = pause.as_millis(), error = %chain(&error), "the sink is away");
        upstream.closed(&error).await;
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What an instance does with a sink while another one leads: it looks where the sink stands, for ever. So
/// it knows what it may forget, and from where it would go on.
pub async fn watch<S: Sink, U: Upstream>(
    name: &str,
    sink: &mut S,
    upstream: &mut U,
    cancel: &CancellationToken,
) {
    let mut backoff = Backoff::default();
    loop {
        let looked = tokio::select! {
            () = cancel.cancelled() => return,
            looked = sink.look() => looked,
        };
        let pause = match looked {
            Ok(watermarks) => {
                backoff.reset();
                upstream.watched(watermarks).await;
                WATCH_PAUSE
            }
            Err(error) => {
                let pause = backoff.pause().max(WATCH_PAUSE);
                tracing::warn!(sink = name, retry_in_ms = pause.as_millis(), error = %chain(&error), "the sink cannot be looked at");
                upstream.closed(&error).await;
                pause
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// By projection: until when it is left alone.
struct Blocked(Vec<Option<Instant>>);

impl Blocked {
    fn is_over(&self) -> bool {
        let now = Instant::now();
        self.0.iter().flatten().any(|until| *until <= now)
    }

    /// Those that are to be tried again.
    fn release(&mut self) -> Vec<usize> {
        let now = Instant::now();
        let over = |at: &usize| self.0[*at].is_some_and(|until| until <= now);
        let over: Vec<usize> = (0..self.0.len()).filter(over).collect();
        over.iter().for_each(|&at| self.0[at] = None);
        over
    }
}

enum Ended {
    Failed(SinkError),
    /// A projection that was left alone is to be tried again.
    Unblocks,
}

/// From opening the sink to its next failure.
async fn session<S: Sink, U: Upstream>(
    name: &str,
    sink: &mut S,
    projections: &[SinkProjection],
    upstream: &mut U,
    blocked: &Blocked,
    backoff: &mut Backoff,
) -> Ended {
    sink.leave_alone(&blocked.0.iter().map(Option::is_some).collect::<Vec<_>>());
    let watermarks = match sink.open().await {
        Ok(watermarks) => watermarks,
        Err(error) => return Ended::Failed(error),
    };
    let refusals = match sink.refusals().await {
        Ok(refusals) => refusals,
        Err(error) => return Ended::Failed(error),
    };
    let mut standings = standings(&watermarks, projections);
    for (standing, blocked) in standings.iter_mut().zip(&blocked.0) {
        if blocked.is_some() {
            *standing = Standing::Blocked;
        }
    }
    upstream.opened(standings, refusals).await;
    let mut idle_pause = IDLE_MIN;
    let mut idle = false;
    loop {
        if blocked.is_over() {
            return Ended::Unblocks;
        }
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
            Err(error) => return Ended::Failed(error),
        }
    }
}

pub fn standings(
    watermarks: &[Option<Watermark>],
    projections: &[SinkProjection],
) -> Vec<Standing> {
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
        Work::Forget { lane, keys } => sink.forget(*lane, keys).await.map(|()| Outcome::default()),
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
