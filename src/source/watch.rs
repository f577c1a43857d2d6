//! The catalog, read again every few seconds: finds what the WAL does not tell, and how much WAL the
//! slot makes the server keep.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::catalog::{self, Catalog, CatalogChange, Scope};
use super::transient::Backoff;
use crate::pg::{self, Params, Session};

/// The one query that the source sees in steady state.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// A reading, and how it differs from the one before.
#[derive(Clone, Debug)]
pub struct Reading {
    pub catalog: Arc<Catalog>,
    /// Since the reading before, or since the catalog that the watch began with.
    pub changes: Vec<CatalogChange>,
}

/// Reads at once and then every `interval`, until the receiver has gone. A connection that breaks is
/// opened again; a reading that fails is told in the log, and the next one finds what it would have.
pub async fn run(
    params: Params,
    application_name: String,
    scope: Scope,
    mut last: Arc<Catalog>,
    interval: Duration,
    out: mpsc::Sender<Reading>,
    cancel: CancellationToken,
) {
    let watch = async {
        let (mut session, mut backoff) = (None, Backoff::default());
        loop {
            match read(&mut session, &params, &application_name, &scope).await {
                Ok(catalog) => {
                    backoff.reset();
                    let catalog = Arc::new(catalog);
                    let changes = catalog::diff(&last, &catalog);
                    last = Arc::clone(&catalog);
                    if out.send(Reading { catalog, changes }).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(interval).await;
                }
                Err(error) => {
                    session = None;
                    let delay = backoff.next_delay();
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        ?delay,
                        "the source's catalog cannot be read; trying again"
                    );
                    tokio::time::sleep(delay).await;
                }
            }
        }
    };
    // Nothing is to be said when it is stopped.
    cancel.run_until_cancelled(watch).await;
}

async fn read(
    session: &mut Option<Session>,
    params: &Params,
    application_name: &str,
    scope: &Scope,
) -> Result<Catalog, pg::Error> {
    let session = match session {
        Some(session) => session,
        None => session.insert(pg::connect(params, application_name).await?),
    };
    Catalog::read(session, scope).await
}
