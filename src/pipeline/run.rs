//! The daemon: everything that the machine decides is done here, by tasks and two threads.
//!
//! ```text
//! stream task -> gulps -> engine's thread -> checkpoints -> store's thread
//!                          |        ^
//!                  work    v        |  standings, outcomes, loaded rows
//!                        delivery tasks, load task
//! ```
//!
//! A pipeline lives until something about it is no longer true: the store fails, the catalog changes,
//! the stream cannot be read. Then it is taken down, and built anew from the store. What readers see
//! stays as it is meanwhile.

mod apart;
mod bind;
pub(crate) mod check;
mod engine_thread;
mod estimate;
mod events;
pub(crate) mod explain;
mod facts;
mod histories;
mod history;
mod laid;
mod lead;
mod link;
mod load_task;
mod look;
mod operator;
mod pipeline;
mod plan_load;
mod queries;
mod questions;
mod reload;
mod report;
mod schema;
mod shared;
mod standing;
mod start;
mod stream_task;
mod uses;
mod wal_budget;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::pipeline::{Build, PipelineError};
use self::reload::{Next, Reloader};
pub(crate) use self::reload::{Origin, outlive_hangups};
use self::shared::Shared;
use self::uses::Seen;
use crate::config::Config;
use crate::pg::Params;
use crate::sink::Backoff;
use crate::sink::delivery::chain;

/// How long tasks may take to end before they are left behind.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT, or until something that only a human can mend.
pub(crate) fn run(config: Config, origin: Origin) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let cancel = CancellationToken::new();
        let signals = signals(cancel.clone())?;
        let hangups = signal(SignalKind::hangup())?;
        let daemon = daemon(Arc::new(config), origin, hangups, cancel);
        tokio::select! {
            ended = daemon => ended,
            () = signals => Ok(()),
        }
    })
}

/// Cancels at the first signal; ends at the second, which is for the impatient.
fn signals(cancel: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A file beyond the limit of its size is an error of whoever writes it, not our end.
    let too_large = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
    Ok(async move {
        let _too_large = too_large;
        for round in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if round == 0 {
                tracing::info!("stopping");
                cancel.cancel();
            }
        }
    })
}

async fn daemon(
    config: Arc<Config>,
    origin: Origin,
    hangups: Signal,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let password = config.source.password.as_ref();
    let params = Params::parse(config.source.url.expose(), password)?;
    let shared = Shared::new(&config, &params);
    let tasks = TaskTracker::new();
    tasks.spawn(shared.serve(&config, cancel.clone()).await?);
    // The lease is given back when nothing is delivered any more.
    let leaves = CancellationToken::new();
    if let Some(ha) = config.ha.clone() {
        tasks.spawn(lead::keep(ha, Arc::clone(&shared), leaves.clone()));
    }
    tasks.spawn(shared.push(cancel.clone()));
    tasks.spawn(wal_budget::guard(Arc::clone(&shared), cancel.clone()));
    let (reloads, next) = mpsc::channel(1);
    let reloader = Reloader {
        origin,
        config: Arc::clone(&config),
        shared: Arc::clone(&shared),
        hangups,
        daemon: reloads,
    };
    tasks.spawn(reloader.run(cancel.clone()));
    introduce(&config, &params);
    let ended = pipelines(config, params, &shared, next, &cancel).await;
    cancel.cancel();
    leaves.cancel();
    tasks.close();
    // Connections of HTTP clients may linger; they end with the process.
    let _ = tokio::time::timeout(SHUTDOWN_PATIENCE, tasks.wait()).await;
    ended
}

/// One after the other, each by the configuration that is the newest when it begins.
async fn pipelines(
    mut config: Arc<Config>,
    mut params: Params,
    shared: &Arc<Shared>,
    mut reloads: mpsc::Receiver<Next>,
    cancel: &CancellationToken,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::default();
    let mut seen = Seen::default();
    loop {
        shared.take_wanted_anew().iter().for_each(|of| seen.forget(of));
        let stop = cancel.child_token();
        let (ended, mut next) = {
            let build = Build {
                config: &config,
                params: &params,
                shared,
                cancel: stop.clone(),
                seen: &mut seen,
                backoff: &mut backoff,
            };
            let built = build.undisturbed();
            tokio::pin!(built);
            tokio::select! {
                ended = &mut built => (ended, None),
                Some(next) = reloads.recv() => {
                    stop.cancel();
                    (built.await, Some(next))
                }
            }
        };
        match ended {
            _ if cancel.is_cancelled() => return ended.or_else(unless_passing),
            // The slot was dropped meanwhile, or another configuration takes over.
            Ok(()) => {}
            Err(error) if error.is_final() => return Err(error.into()),
            Err(error) => {
                let pause = backoff.pause();
                shared.source_error(&chain(&error));
                tracing::warn!(retry_in_ms = pause.as_millis(), error = %chain(&error), "the pipeline is built anew");
                if next.is_none() {
                    next = tokio::select! {
                        () = cancel.cancelled() => return Ok(()),
                        Some(next) = reloads.recv() => Some(next),
                        () = tokio::time::sleep(pause) => None,
                    };
                }
            }
        }
        let Some(Next { config: other, params: its, changes, applied }) = next else { continue };
        changes.iter().filter_map(|change| change.part.projection()).for_each(|of| seen.forget(of));
        (config, params) = (other, its);
        shared.lay(&config, &params);
        // Who asked may be at its end.
        let _ = applied.send(());
    }
}

/// At the process's end only what a human has to mend is an error.
fn unless_passing(error: PipelineError) -> anyhow::Result<()> {
    if error.is_final() { Err(error.into()) } else { Ok(()) }
}

fn introduce(config: &Config, params: &Params) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        source = params.place(),
        slot = config.source.slot,
        publication = config.source.publication,
        state = %config.state.dir.display(),
        http = config.http.listen,
        "readside"
    );
    for sink in &config.sinks {
        let of_sink = config
            .projections
            .iter()
            .filter(|projection| projection.targets.iter().any(|(name, _)| *name == sink.name));
        let projections: Vec<&str> = of_sink.map(|projection| projection.name.as_str()).collect();
        tracing::info!(sink = sink.name, kind = %sink.kind, projections = projections.join(", "), "sink");
    }
}
