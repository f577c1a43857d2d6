//! A delivery task's line to the engine's thread.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::engine_thread::{Command, Commands};
use super::laid::SinkShared;
use super::lead::Lead;
use crate::output::{Standing, Work};
use crate::sink::delivery::{Upstream, chain, standings};
use crate::sink::{History, Outcome, Refusal, SinkError, SinkProjection, Watermark};

pub(super) struct Link {
    sink: usize,
    commands: Commands,
    shared: Arc<SinkShared>,
    lead: Arc<Lead>,
    history: History,
    projections: Vec<SinkProjection>,
    /// A pull that is parked with the engine, and whether it takes idle work.
    parked: Option<(bool, oneshot::Receiver<Work>)>,
}

impl Link {
    pub(super) fn new(
        sink: usize,
        commands: Commands,
        shared: Arc<SinkShared>,
        lead: Arc<Lead>,
        history: History,
        projections: Vec<SinkProjection>,
    ) -> Self {
        Self { sink, commands, shared, lead, history, projections, parked: None }
    }

    /// The engine's thread only ends with the pipeline, which ends this task, too.
    async fn send(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Upstream for Link {
    async fn opened(&mut self, standings: Vec<Standing>, refusals: Vec<Refusal>) {
        self.parked = None;
        self.shared.opened();
        self.send(Command::Opened { sink: self.sink, standings, refusals }).await;
    }

    async fn watched(&mut self, watermarks: Vec<Option<Watermark>>) {
        self.parked = None;
        self.shared.opened();
        self.lead.saw(self.sink, &watermarks, &self.history);
        let judge = |found: Option<Watermark>| found.map(|found| self.history.judge(found));
        let judged: Vec<Option<Watermark>> = watermarks.into_iter().map(judge).collect();
        let standings = standings(&judged, &self.projections);
        self.send(Command::Watched { sink: self.sink, standings }).await;
    }

    fn outranked(&mut self, term: u64) {
        self.lead.outranked(term);
    }

    async fn closed(&mut self, why: &SinkError) {
        self.parked = None;
        self.shared.closed(&chain(why));
        self.send(Command::Closed { sink: self.sink }).await;
    }

    async fn blocked(&mut self, projection: &str, why: Option<&SinkError>) {
        self.shared.blocked(projection, why.map(|error| chain(error)));
    }

    async fn pull(&mut self, idle: bool, patience: Duration) -> Option<Work> {
        // A pull that is parked may have got its work in the very moment its patience ended: it is
        // kept, and only replaced when idle work is welcome now and was not before.
        let (_, mut answer) = match self.parked.take() {
            Some((parked_idle, answer)) if parked_idle == idle => (idle, answer),
            Some((_, mut answer)) => match answer.try_recv() {
                Ok(work) => return Some(work),
                Err(_) => {
                    answer.close();
                    if let Ok(work) = answer.try_recv() {
                        return Some(work);
                    }
                    (idle, self.ask(idle).await)
                }
            },
            None => (idle, self.ask(idle).await),
        };
        match tokio::time::timeout(patience, &mut answer).await {
            Ok(Ok(work)) => Some(work),
            // The engine's thread is gone; so is this task in a moment.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => {
                self.parked = Some((idle, answer));
                None
            }
        }
    }

    async fn done(&mut self, work: Work, outcome: Outcome, took: Duration) {
        self.shared.done(&work, took);
        self.send(Command::Done { sink: self.sink, work, outcome }).await;
    }
}

impl Link {
    async fn ask(&self, idle: bool) -> oneshot::Receiver<Work> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Pull { sink: self.sink, idle, reply }).await;
        answer
    }
}
