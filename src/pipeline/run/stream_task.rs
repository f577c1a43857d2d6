//! The stream's task: connects, streams from where the engine stands, and connects again; and the
//! task that looks at the catalog for what the WAL does not tell.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::PipelineError;
use super::engine_thread::{Command, Commands};
use super::report::Shared;
use crate::lsn::Durable;
use crate::pg::{self, Params};
use crate::sink::Backoff;
use crate::sink::delivery::chain;
use crate::source::APPLICATION_NAME;
use crate::source::catalog::{Catalog, Scope};
use crate::source::replication::ReplicationConnection;
use crate::source::stream::{GulpSender, StreamConfig, run_stream};
use crate::source::watch;

const CATALOG_PAUSE: Duration = Duration::from_secs(10);

#[expect(clippy::too_many_arguments, reason = "the ends of every line that meets in this task")]
pub(super) async fn run(
    params: Params,
    slot: String,
    publication: String,
    gulps: GulpSender,
    durable: watch::Receiver<Durable>,
    commands: Commands,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) {
    let mut backoff = Backoff::default();
    while !cancel.is_cancelled() {
        let stream = connect(&params, &slot, &publication, &commands, &shared);
        let stream = tokio::select! {
            stream = stream => stream,
            () = cancel.cancelled() => return,
        };
        let ended = match stream {
            Ok(stream) => {
                backoff.reset();
                shared.streaming();
                let config = StreamConfig::default();
                run_stream(stream, gulps.clone(), durable.clone(), config, cancel.clone()).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        let pause = backoff.next();
        shared.source_error(&chain(&error));
        tracing::warn!(retry_in_ms = pause.as_millis(), error = %chain(&error), "the source is away");
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn connect(
    params: &Params,
    slot: &str,
    publication: &str,
    commands: &Commands,
    shared: &Shared,
) -> Result<crate::source::replication::ReplicationStream, pg::Error> {
    let mut connection = ReplicationConnection::connect(params, APPLICATION_NAME).await?;
    let system = connection.identify_system().await?;
    shared.system(&system);
    let (reply, answer) = oneshot::channel();
    let gone = |_| pg::Error::new(pg::Kind::Closed, params.place(), "the pipeline is ending");
    commands.send(Command::Connected { reply }).await.map_err(|error| gone(error.to_string()))?;
    let from = answer.await.map_err(|error| gone(error.to_string()))?;
    let stream = connection.start(slot, publication, from).await?;
    tracing::info!(from = %from, slot, "streaming");
    Ok(stream)
}

/// Ends the pipeline when the catalog has changed in a way that the stream does not tell.
pub(super) async fn watch_catalog(
    params: Params,
    scope: Scope,
    catalog: Catalog,
    ended: mpsc::Sender<PipelineError>,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) {
    let mut session = None;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(CATALOG_PAUSE) => {}
        }
        let found = match look(&params, &scope, &mut session).await {
            Ok(found) => found,
            Err(error) => {
                session = None;
                tracing::debug!(error = %chain(&error), "the catalog cannot be read");
                continue;
            }
        };
        if let Some(slot) = &found.slot {
            shared.retained(slot.retained_bytes);
        }
        let changes = watch::needs_restart(&catalog, &found);
        if !changes.is_empty() {
            let what = changes.join("; ");
            // Another end may have come first.
            let _ = ended.send(PipelineError::Changed(what)).await;
            return;
        }
    }
}

async fn look(
    params: &Params,
    scope: &Scope,
    session: &mut Option<pg::Session>,
) -> Result<Catalog, pg::Error> {
    if session.is_none() {
        *session = Some(pg::connect(params, APPLICATION_NAME).await?);
    }
    match session {
        Some(session) => Catalog::read(session, scope).await,
        None => unreachable!("just connected"),
    }
}
