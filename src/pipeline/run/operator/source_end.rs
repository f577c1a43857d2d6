//! How far the source has come, for those who stand beyond what is known here: in a backup that was restored,
//! or after a failover, it may never have come to where they stand.
//!
//! Each question is a connection of its own. So there is one at a time, and one a second: who comes meanwhile
//! waits for the next answer, which is everybody's.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::Running;
use crate::http::{Refusal, Why};
use crate::lsn::Lsn;
use crate::pg;
use crate::sink::delivery::chain;
use crate::source::APPLICATION_NAME;

const PAUSE: Duration = Duration::from_secs(1);
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(in crate::pipeline::run) struct SourceEnd {
    said: Mutex<Option<Said>>,
}

struct Said {
    /// When it was asked.
    asked: Instant,
    answer: Result<Lsn, Refusal>,
}

impl SourceEnd {
    /// Whether it is beyond `at`. An answer to who asked before may not know of what was written since then:
    /// it can say that the source has come there, and not that it has not.
    async fn is_beyond<F: Future<Output = Result<Lsn, Refusal>>>(
        &self,
        at: Lsn,
        ask: impl Fn() -> F,
    ) -> Result<bool, Refusal> {
        let came = Instant::now();
        let mut said = self.said.lock().await;
        loop {
            if let Some(Said { asked, answer }) = &*said {
                match answer {
                    Ok(end) if at <= *end => return Ok(true),
                    Ok(_) if *asked >= came => return Ok(false),
                    Err(refusal) if *asked >= came => return Err(refusal.clone()),
                    _ => tokio::time::sleep_until((*asked + PAUSE).into()).await,
                }
            }
            let asked = Instant::now();
            *said = Some(Said { asked, answer: ask().await });
        }
    }
}

impl Running {
    /// Whether the source has ever come so far.
    pub(super) async fn has_come_to(&self, at: Lsn) -> Result<bool, Refusal> {
        self.source_end.is_beyond(at, || self.ask_source()).await
    }

    async fn ask_source(&self) -> Result<Lsn, Refusal> {
        let asked = async {
            let session = pg::connect(&self.params, APPLICATION_NAME).await?;
            session.rows("SELECT pg_current_wal_insert_lsn()").await
        };
        let away = |why: String| {
            let error = format!("the source is asked how far it has come, and is away: {why}");
            Refusal::new(Why::Away, error)
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let answer = answer.map_err(|_| away("no answer".to_owned()))?;
        let rows = answer.map_err(|error| away(chain(&error)))?;
        let end = rows.first().and_then(|row| row.first()?.as_deref()?.parse().ok());
        end.ok_or_else(|| away("the answer makes no sense".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn many_share_an_answer_and_what_is_written_meanwhile_is_known() {
        let (end, asked) = (Arc::new(SourceEnd::default()), Arc::new(AtomicU64::new(0)));
        let is_beyond = async |end: &SourceEnd, asked: &AtomicU64, at: u64| {
            // Each time it has come a hundred further.
            let ask = || async {
                let times = asked.fetch_add(1, Ordering::Relaxed) + 1;
                tokio::task::yield_now().await;
                Ok(Lsn(times * 100))
            };
            end.is_beyond(Lsn(at), ask).await
        };
        let mut clients = JoinSet::new();
        for _ in 0..100 {
            let (end, asked) = (Arc::clone(&end), Arc::clone(&asked));
            clients.spawn(async move { is_beyond(&end, &asked, 1_000_000).await });
        }
        while let Some(answer) = clients.join_next().await {
            assert_eq!(answer.expect("it does not panic"), Ok(false));
        }
        let times = asked.load(Ordering::Relaxed);
        assert!(times < 10, "{times}");
        // What has been said is enough for whoever stands before it, and for nobody else.
        assert_eq!(is_beyond(&end, &asked, times * 100).await, Ok(true));
        assert_eq!(asked.load(Ordering::Relaxed), times);
        assert_eq!(is_beyond(&end, &asked, times * 100 + 1).await, Ok(true));
        assert_eq!(asked.load(Ordering::Relaxed), times + 1);
    }

    #[tokio::test]
    async fn a_source_that_is_away_is_asked_again_by_who_comes_later() {
        let end = SourceEnd::default();
        let away = || Refusal::new(Why::Away, "away");
        assert_eq!(end.is_beyond(Lsn(1), || async { Err(away()) }).await, Err(away()));
        assert_eq!(end.is_beyond(Lsn(1), || async { Ok(Lsn(1)) }).await, Ok(true));
    }
}
