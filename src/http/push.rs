//! Makes the source flush and send WAL that somebody waits for.
//!
//! A waiter's position can lie beyond what the source has flushed: it was read from the server while
//! another transaction's records were being written, and a stream ends where the flushed WAL ends.
//! An empty message committed after it takes everything before it along.

use std::error::Error;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use crate::lsn::Lsn;
use crate::pg;

/// At most one push in this time.
const PAUSE: Duration = Duration::from_millis(10);

/// Between two attempts after a failure, doubled up to the greatest.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A server that has not answered by then is taken for gone.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Answers the board's requests by `push`, until cancelled. One push answers all who asked before it
/// began: a position read from the server is never beyond the record that is written after.
pub async fn push_loop<E: Error + 'static>(
    board: &Board,
    mut push: impl AsyncFnMut(Lsn) -> Result<(), E>,
    cancel: CancellationToken,
) {
    let pushes = async {
        loop {
            let wanted = board.take_push_requests().await;
            let mut began = Instant::now();
            let mut delay = RETRY_MIN;
            while let Err(error) = push(wanted).await {
                let error: &(dyn Error + 'static) = &error;
                // The source's connection itself tells how long it is away.
                if delay == RETRY_MIN {
                    tracing::warn!(%wanted, error, "cannot push the source's WAL on; trying again");
                }
                sleep(delay).await;
                delay = (delay * 2).min(RETRY_MAX);
                began = Instant::now();
            }
            sleep_until(began + PAUSE).await;
        }
    };
    cancel.run_until_cancelled(pushes).await;
}

/// Commits one empty message unless the source has flushed its WAL up to `wanted`. Opens the session
/// where there is none; after a failure there is none.
pub async fn push(
    session: &mut Option<pg::Session>,
    params: &pg::Params,
    wanted: Lsn,
) -> Result<(), PushError> {
    let open = session.take();
    let pushed = async {
        let open = match open {
            Some(open) => open,
            None => open_session(params).await?,
        };
        // In the text: an LSN is digits and a slash, and so it is one round trip.
        let statement = format!(
            "SELECT pg_logical_emit_message(true, 'readside', '') \
             WHERE pg_current_wal_flush_lsn() < '{wanted}'"
        );
        open.simple_query(&statement).await?;
        Ok::<_, PushError>(open)
    };
    let open = timeout(ANSWER_MAX, pushed).await.map_err(|_| PushError::Silent)??;
    *session = Some(open);
    Ok(())
}

async fn open_session(params: &pg::Params) -> Result<pg::Session, PushError> {
    let session = pg::connect(params, "readside push").await?;
    // Flushed on the source is enough: an absent synchronous standby must not hold it up.
    session.batch_execute("SET synchronous_commit = local").await?;
    Ok(session)
}

#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("cannot connect to the source")]
    Connect(#[from] pg::Error),
    #[error("the source has not taken the message")]
    Statement(#[from] tokio_postgres::Error),
    #[error("the source has not answered for {ANSWER_MAX:?}")]
    Silent,
}
