//! A server that says nothing while an answer is due. A statement may take its time, so no time is too long
//! in itself: the server is asked over a connection of its own, and given up when that is not answered
//! either. What the network has dropped meanwhile is found by TCP's keepalives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Error, Kind, Params, Purpose, attempt};

/// After so long it is asked, and has as long for its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a connection has heard, and whether an answer is due.
#[derive(Debug)]
pub(super) struct Hearing {
    begun: Instant,
    /// The last sign of life, or the moment when an answer came to be due.
    at_millis: AtomicU64,
    is_due: AtomicBool,
}

impl Hearing {
    pub(super) fn new() -> Self {
        let (at_millis, is_due) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { begun: Instant::now(), at_millis, is_due }
    }

    /// Something was sent.
    pub(super) fn sent(&self) {
        if !self.is_due.swap(true, Ordering::Relaxed) {
            self.note();
        }
    }

    /// Something has arrived; `whole`: and ends an answer.
    pub(super) fn heard(&self, whole: bool) {
        self.note();
        self.is_due.store(!whole, Ordering::Relaxed);
    }

    fn note(&self) {
        let now = self.begun.elapsed().as_millis();
        self.at_millis.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long an answer has been due.
    fn silent_for(&self) -> Duration {
        if !self.is_due.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let at = Duration::from_millis(self.at_millis.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(at)
    }
}

/// Resolves when the server is to be given up, and says why.
pub(super) async fn given_up(hearing: &Hearing, params: &Params, application_name: &str) -> String {
    loop {
        let silent = hearing.silent_for();
        if silent < PATIENCE {
            sleep(PATIENCE - silent).await;
            continue;
        }
        let asked = timeout(PATIENCE, Box::pin(ask(params, application_name))).await;
        let why = match asked {
            Err(_) => "".to_owned(),
            Ok(Err(error)) if matches!(error.kind(), Kind::Unreachable | Kind::Closed) => {
                format!(" ({error})")
            }
            // Even a refusal is an answer.
            Ok(_) => {
                sleep(PATIENCE).await;
                continue;
            }
        };
        if hearing.silent_for() >= PATIENCE {
            let seconds = hearing.silent_for().as_secs();
            return format!(
                "the server has said nothing for {seconds} s, and answers no other connection{why}"
            );
        }
    }
}

async fn ask(params: &Params, application_name: &str) -> Result<(), Error> {
    let purpose = Purpose { application_name, replication: false };
    let mut opened = attempt::open(params, purpose).await?;
    opened.wire.query("SELECT 1").await.map(|_| ())
}
