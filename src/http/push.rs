//! Makes the source flush and send WAL that somebody waits for.
//!
//! A waiter's position can lie beyond what the source has flushed: it was read from the server while
//! another transaction's records were being written, and a stream ends where the flushed WAL ends.
//! An empty message committed after it takes everything before it along.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
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

/// Makes the source flush its WAL up to a position, by whatever means.
pub trait Push: Send {
    type Error: Error + Send + 'static;

    fn push(&mut self, wanted: Lsn) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Answers the board's requests until cancelled. One push answers all who asked before it began: a
/// position read from the server is never beyond the record that is written after.
pub async fn push_loop(board: Arc<Board>, mut source: impl Push, cancel: CancellationToken) {
    let pushes = async {
        loop {
            let wanted = board.take_push_requests().await;
            let mut began = Instant::now();
            let mut delay = RETRY_MIN;
            while let Err(error) = source.push(wanted).await {
                // How long the source is away is told by its own connection.
                if delay == RETRY_MIN {
                    tell(wanted, &error);
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

fn tell(wanted: Lsn, error: &(dyn Error + 'static)) {
    tracing::warn!(%wanted, error, "cannot push the source's WAL on; trying again");
}

/// Pushes by an ordinary session of its own, which it opens when it is first needed and again after a
/// failure.
#[derive(Debug)]
pub struct SourcePush {
    params: watch::Receiver<pg::Params>,
    session: Option<pg::Session>,
}

impl SourcePush {
    /// A new session is opened with the newest parameters.
    pub fn new(params: watch::Receiver<pg::Params>) -> SourcePush {
        SourcePush { params, session: None }
    }

    async fn open(&self) -> Result<pg::Session, PushError> {
        let params = self.params.borrow().clone();
        let session = pg::connect(&params, "readside push").await?;
        // Flushed on the source is enough: an absent synchronous standby must not hold it up.
        session.batch_execute("SET synchronous_commit = local").await?;
        Ok(session)
    }
}

impl Push for SourcePush {
    type Error = PushError;

    /// Commits one empty message unless the source has flushed its WAL so far.
    async fn push(&mut self, wanted: Lsn) -> Result<(), PushError> {
        let open = self.session.take();
        let pushed = async {
            let open = match open {
                Some(open) => open,
                None => self.open().await?,
            };
            // In the text, so that it is one round trip: an LSN is digits and a slash.
            let statement = format!(
                "SELECT pg_logical_emit_message(true, 'readside', '') \
                 WHERE pg_current_wal_flush_lsn() < '{wanted}'"
            );
            open.simple_query(&statement).await?;
            Ok::<_, PushError>(open)
        };
        let open = timeout(ANSWER_MAX, pushed).await.map_err(|_| PushError::Silent)??;
        self.session = Some(open);
        Ok(())
    }
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
