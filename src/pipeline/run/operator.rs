//! The operator's and the reader's line to the pipeline: what HTTP asks for, answered by the engine's
//! thread and the store.

mod changes;
mod letters;
mod read;
mod rebuild;
mod source_end;
mod tail;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub(super) use self::changes::Hubs;
pub(super) use self::source_end::SourceEnd;
use super::PipelineError;
use super::engine_thread::{Command, Commands};
use super::questions::Question;
use super::shared::Shared;
use crate::config::{Config, Definition};
use crate::http::{
    Asked, ChangesFeed, LetterShown, Letters, LettersAsked, Operator, ReadRow, Rebuild, Refusal,
    Retried, Verification, VerifyAsked, Why,
};
use crate::lsn::Place;
use crate::pg::Params;
use crate::pipeline::NotFollowed;
use crate::sink::SinkProjection;

/// What is asked for while a pipeline is being built waits so long for it.
const BETWEEN_PATIENCE: Duration = Duration::from_secs(2);

/// The pipeline that is asked, while there is one.
#[derive(Clone)]
pub(super) struct Running {
    pub commands: Commands,
    pub config: Arc<Config>,
    /// Of the source.
    pub params: Params,
    /// Of the source's history: positions of another one mean nothing here.
    pub epoch: u64,
    /// By sink of the configuration: what it holds.
    pub sinks: Arc<[Vec<SinkProjection>]>,
    /// Ends it.
    pub ended: mpsc::Sender<PipelineError>,
    /// How far the source has come, by its own word.
    pub source_end: Arc<SourceEnd>,
    /// Where those who follow its rows meet.
    pub hubs: Arc<Hubs>,
    /// Changes when a pipeline begins.
    pub begun: watch::Receiver<()>,
}

/// A handle; clones are of the same.
#[derive(Clone)]
pub(super) struct ByHand {
    shared: Arc<Shared>,
}

impl ByHand {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn running(&self) -> Result<Running, Refusal> {
        self.shared.running().ok_or_else(between)
    }

    /// One that is being built is waited for, a moment.
    async fn running_soon(&self) -> Result<Running, Refusal> {
        let mut begun = self.shared.begun();
        let running = async {
            loop {
                if let Some(running) = self.shared.running() {
                    return Some(running);
                }
                begun.changed().await.ok()?;
            }
        };
        let running = tokio::time::timeout(BETWEEN_PATIENCE, running).await;
        running.ok().flatten().ok_or_else(between)
    }

    fn is_away(&self, sink: &str) -> bool {
        self.shared.laid().sinks.iter().any(|known| known.name == sink && known.is_away())
    }

    /// For what changes something: whoever delivers has to know of it.
    async fn leading(&self) -> Result<Running, Refusal> {
        if self.shared.lead.delivers() {
            return self.running_soon().await;
        }
        let error = "another instance of the group leads: ask that one";
        Err(Refusal::new(Why::Conflict, error))
    }
}

impl Running {
    /// Asks the engine's thread.
    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, Refusal> {
        self.asked(question).await?.await.map_err(|_| between())
    }

    /// The same; the answer may be waited for, or not.
    async fn asked<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<oneshot::Receiver<T>, Refusal> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Asked(question(reply));
        self.commands.send(command).await.map_err(|_| between())?;
        Ok(answer)
    }

    fn sink(&self, name: &str) -> Result<usize, Refusal> {
        let found = self.config.sinks.iter().position(|sink| sink.name == name);
        found.ok_or_else(|| Refusal::new(Why::Unknown, format!("there is no sink {name}")))
    }

    /// A projection that has rows; an event has occurrences.
    fn has_rows(&self, projection: &str) -> Result<(), Refusal> {
        self.knows(projection)?;
        let is_event = self.config.projections.iter().any(|known| {
            known.name == projection && matches!(known.definition, Definition::Event(_))
        });
        match is_event {
            true => {
                Err(Refusal::new(Why::Unknown, format!("{projection} is an event: it has no rows")))
            }
            false => Ok(()),
        }
    }

    /// Whether it has rows at this moment.
    async fn is_followed(&self, projection: &str) -> Result<(), Refusal> {
        let (named, keys) = (projection.to_owned(), Vec::new());
        let rows = self.ask(|reply| Question::Rows { projection: named, keys, reply }).await?;
        rows.map(drop).map_err(|why| not_followed(projection, &why))
    }

    fn knows(&self, projection: &str) -> Result<(), Refusal> {
        match self.config.projections.iter().any(|known| known.name == projection) {
            true => Ok(()),
            false => {
                Err(Refusal::new(Why::Unknown, format!("there is no projection {projection}")))
            }
        }
    }
}

/// Between the end of one pipeline and the start of the next.
fn between() -> Refusal {
    let error = "the pipeline is being built: try again in a moment";
    Refusal::new(Why::Away, error)
}

fn not_followed(projection: &str, why: &NotFollowed) -> Refusal {
    let error = match why {
        NotFollowed::Apart => format!("projection {projection} is not followed: see /v1/status"),
        NotFollowed::Loading => format!("projection {projection} is being loaded"),
        NotFollowed::Quarantined(why) => format!("projection {projection} is quarantined: {why}"),
        NotFollowed::Busy => {
            format!("projection {projection}: a transaction is changing this row: try again")
        }
    };
    Refusal::new(Why::Away, error)
}

impl Operator for ByHand {
    fn letters(&self, asked: LettersAsked) -> Asked<Letters> {
        let this = self.clone();
        Box::pin(async move { this.running_soon().await?.letters(asked).await })
    }

    fn letter(&self, id: String) -> Asked<LetterShown> {
        let this = self.clone();
        Box::pin(async move { this.running_soon().await?.letter(&id).await })
    }

    fn retry(&self, id: String) -> Asked<Retried> {
        let this = self.clone();
        Box::pin(async move { this.leading().await?.retry(&id, |sink| this.is_away(sink)).await })
    }

    fn drop_letter(&self, id: String) -> Asked<()> {
        let this = self.clone();
        Box::pin(async move { this.leading().await?.drop_letter(&id).await })
    }

    fn read(&self, projection: String, key: Option<String>) -> Asked<ReadRow> {
        let this = self.clone();
        Box::pin(async move { this.running_soon().await?.read(&projection, key.as_deref()).await })
    }

    fn reads(&self, projection: String, key: Option<String>) -> Asked<()> {
        let this = self.clone();
        Box::pin(async move {
            let running = this.running_soon().await?;
            running.key(&projection, key.as_deref()).await?;
            running.is_followed(&projection).await
        })
    }

    fn changes(&self, projection: String, since: Option<Place>) -> Asked<Box<dyn ChangesFeed>> {
        let this = self.clone();
        Box::pin(async move { this.changes_of(projection, since).await })
    }

    fn tail(&self, event: Option<String>, since: Option<String>) -> Asked<Box<dyn ChangesFeed>> {
        let this = self.clone();
        Box::pin(async move { this.tail_of(event, since).await })
    }

    fn verify(&self, asked: VerifyAsked) -> Asked<Verification> {
        let this = self.clone();
        Box::pin(async move { this.verification(asked).await })
    }

    fn rebuild(&self, projection: String, sink: Option<String>) -> Asked<Rebuild> {
        let this = self.clone();
        Box::pin(async move {
            let running = this.leading().await?;
            running.rebuild(&projection, sink.as_deref(), &this.shared).await
        })
    }
}
