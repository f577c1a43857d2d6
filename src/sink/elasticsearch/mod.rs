//! The Elasticsearch sink, for Elasticsearch 8 and 9 and OpenSearch 2 and 3.
//!
//! * A target's `index` is an alias; the index behind it is one generation (`swap`, `prepare`).
//! * A document's external version is its row's commit position, and is never lowered (`encode`), so
//!   sending anything again is harmless and an older row cannot replace a newer one.
//! * The server forgets the versions of removed documents after a minute, and when it restarts. So
//!   before a step removes anything, while its other documents are on their way, the watermark's document says how far the step reaches; after
//!   a restart nothing is sent before the engine has passed that point (`watermark`).
//! * The watermark is written when the last document of a step is in, by compare-and-set.
//! * The leader of a group writes documents through an alias of its term (`lead`).
//! * What the next leader has to know of refused rows stands in an index of its own (`refused`).
//! * Ids that depend on more than the key need a record of where a row's document is (`places`).
//! * Reads of documents and watermarks by id are real-time; searches see what a refresh made
//!   visible ([`Refresher`]).

mod apply;
mod audit;
mod bulk;
mod check;
mod client;
mod encode;
mod error;
mod lead;
mod mapping;
mod places;
mod prepare;
mod projection;
mod refused;
mod swap;
mod target;
mod watermark;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use apply::{Limits, Refused, Writer};
use client::{Client, Content, Method};
use projection::Projection;
use swap::Names;
use target::CompiledTarget;
use watermark::{Document, Record};

pub use audit::ElasticsearchAudit;
pub use check::{check, store};

use crate::config::SinkConfig;
use crate::engine::Entry;
use crate::failpoint;
use crate::lsn::Lsn;
use crate::sink::{
    Origin, Outcome, Poison, Refusal, Role, Sink, SinkError, SinkProjection, Step, Watermark,
};

/// How long an index that was replaced behind our back (restored from a snapshot, made anew) may go
/// unnoticed while we write. One that is gone is noticed at once: all writes require the alias.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(10);

pub struct ElasticsearchSink {
    name: String,
    client: Client,
    origin: Origin,
    limits: Limits,
    projections: Vec<Projection>,
    confirmed_at: Instant,
    /// What this process has written into the watermarks.
    term: u64,
    /// By projection: something there is in its way, and it is left alone.
    blocked: Vec<bool>,
}

impl ElasticsearchSink {
    /// `origin` names the pipeline in watermarks and indices; `projections` have targets in this sink.
    pub fn new(
        config: &SinkConfig,
        origin: Origin,
        projections: Vec<SinkProjection>,
    ) -> Result<Self, SinkError> {
        let projections = projections.iter().map(Projection::new).collect::<Result<Vec<_>, _>>()?;
        let blocked = vec![false; projections.len()];
        Ok(Self {
            name: config.name.clone(),
            client: Client::new(config),
            origin,
            limits: Limits::default(),
            projections,
            confirmed_at: Instant::now(),
            term: 0,
            blocked,
        })
    }

    /// A handle for `/v1/wait?search=true`, apart from the task that owns the sink.
    pub fn refresher(&self) -> Refresher {
        let aliases = |projection: &Projection| {
            let aliases = projection.targets.iter().map(|target| target.alias.clone());
            (projection.name.clone(), aliases.collect())
        };
        Refresher {
            client: self.client.clone(),
            aliases: self.projections.iter().map(aliases).collect(),
        }
    }

    fn writer(&self) -> Writer<'_> {
        Writer { client: &self.client, limits: self.limits }
    }

    async fn open_projection(
        &mut self,
        at: usize,
        record: Option<Record>,
    ) -> Result<Option<Watermark>, SinkError> {
        let projection = &mut self.projections[at];
        if let Some(record) = &record
            && !self.origin.owner.is(&record.document.owner)
        {
            return Err(SinkError::Fatal {
                what: format!(
                    "the watermark of {} in this search server belongs to pipeline {}",
                    projection.name, record.document.owner
                ),
                hint: format!(
                    "stop that pipeline and remove the document {} from readside-watermark, or \
                     give this projection another name",
                    projection.name
                ),
            });
        }
        // The answer to the watermark's write may not have come, but the fill is over.
        if let (Some(filling), Some(record)) = (&projection.filling, &record)
            && filling.indices.iter().map(|index| &index.place).eq(&record.document.targets)
        {
            projection.filling = None;
        }
        projection.record = record.map(|record| record.judged(&self.origin)).transpose()?;
        if projection.role == Role::Events {
            projection.make_missing(&self.client, &self.origin.owner, self.term).await?;
        }
        projection.live = projection.find_live(&self.client, &self.origin.owner).await?;
        projection.watermark()
    }

    /// What must be known before a document is removed, or before the read model is no longer the answer.
    fn announcements(&self, step: &Step) -> Vec<(usize, Document)> {
        let mut writes = Vec::new();
        for part in &step.projections {
            let projection = &self.projections[part.projection];
            let removes = part.finish_fill
                || part.entries.iter().any(Entry::is_tombstone)
                || projection.targets.iter().any(CompiledTarget::moves);
            let recorded = projection.record.as_ref().map(|record| &record.document);
            let reaching = recorded.map_or(Lsn::ZERO, Document::reaching);
            let settled = recorded.is_some_and(|document| document.settled);
            if (removes && reaching < step.reaching) || (settled && !step.settled) {
                let blank = || Document { term: self.term, ..Document::blank(&self.origin) };
                let mut document = recorded.cloned().unwrap_or_else(blank);
                document.reaching = reaching.max(step.reaching).to_string();
                document.settled = settled && step.settled;
                writes.push((part.projection, document));
            }
        }
        writes
    }

    /// With what is to be known before.
    async fn write_documents(&mut self, step: &Step) -> Result<Vec<Refused>, SinkError> {
        let mut announcements = self.announcements(step);
        if !step.settled {
            self.write_watermarks(std::mem::take(&mut announcements)).await?;
        }
        let mut jobs = Vec::new();
        for part in &step.projections {
            let projection = &self.projections[part.projection];
            if projection.finishes(part) {
                projection.filling_jobs(part.projection, &part.entries, &mut jobs)?;
            } else {
                projection.live_jobs(part.projection, self.term, &part.entries, &mut jobs)?;
            }
        }
        let announced = self.send_watermarks(announcements);
        let (records, refused) = self.writer().write(&jobs, announced).await?;
        self.wrote_watermarks(records);
        Ok(refused)
    }

    async fn swap(&self, step: &Step) -> Result<(), SinkError> {
        for part in &step.projections {
            let projection = &self.projections[part.projection];
            if projection.finishes(part)
                && let Some(filling) = &projection.filling
            {
                swap::swap(&self.client, &self.origin.owner, filling, self.term).await?;
            }
        }
        Ok(())
    }

    /// The last step: where the documents are.
    async fn settle(&mut self, step: &Step) -> Result<(), SinkError> {
        let mut writes = Vec::new();
        for part in &step.projections {
            let projection = &self.projections[part.projection];
            let targets = match &projection.filling {
                Some(filling) if projection.finishes(part) => {
                    filling.indices.iter().map(|index| index.place.clone()).collect()
                }
                // An unsettled step's watermark was written before it, and stays.
                _ if !step.settled => continue,
                _ => projection.live.clone(),
            };
            let recorded = projection.record.as_ref().map(|record| &record.document);
            let reaching = recorded.map_or(Lsn::ZERO, Document::reaching);
            let document = Document {
                lsn: step.position.to_string(),
                committed_at: Some(watermark::time::format(step.committed_at)),
                settled: step.settled,
                generation: part.generation,
                owner: self.origin.owner.name().to_owned(),
                reaching: reaching.max(step.reaching).to_string(),
                fingerprint: projection.fingerprint.clone(),
                history: self.origin.history.tag(),
                targets,
                term: self.term,
            };
            writes.push((part.projection, document));
        }
        self.write_watermarks(writes).await
    }

    /// What is left of finished fills. The data and its watermark are in, so a failure here is not
    /// the step's; the next `open` finds the mark of it and tries again.
    async fn clean(&mut self, step: &Step) {
        for part in &step.projections {
            let projection = &mut self.projections[part.projection];
            if !projection.finishes(part) {
                continue;
            }
            let Some(filling) = projection.filling.take() else { continue };
            projection.live = filling.indices.into_iter().map(|index| index.place).collect();
            for place in &projection.live {
                let cleaned =
                    swap::clean(&self.client, &self.origin.owner, &place.alias, &place.index, None)
                        .await;
                if let Err(error) = cleaned {
                    tracing::warn!(
                        projection = projection.name,
                        index = place.index,
                        error = &error as &dyn std::error::Error,
                        "what the old generation left could not be removed; tried again later"
                    );
                }
            }
        }
    }

    /// Each document in place of the one last read or written.
    async fn write_watermarks(&mut self, writes: Vec<(usize, Document)>) -> Result<(), SinkError> {
        let records = self.send_watermarks(writes).await?;
        self.wrote_watermarks(records);
        Ok(())
    }

    async fn send_watermarks(
        &self,
        writes: Vec<(usize, Document)>,
    ) -> Result<Vec<(usize, Record)>, SinkError> {
        let record = |(at, document): (usize, Document)| {
            let record = match &self.projections[at].record {
                Some(record) => record.with(document),
                None => Record::new(document),
            };
            (at, record)
        };
        let mut records: Vec<(usize, Record)> = writes.into_iter().map(record).collect();
        let mut documents = Vec::with_capacity(records.len());
        for (at, record) in &mut records {
            documents.push((self.projections[*at].name.as_str(), record));
        }
        watermark::write(&self.client, documents).await?;
        Ok(records)
    }

    fn wrote_watermarks(&mut self, records: Vec<(usize, Record)>) {
        for (at, record) in records {
            self.projections[at].record = Some(record);
        }
    }

    /// From time to time: whether the aliases still lead to the indices that we fill.
    async fn confirm(&mut self, step: &Step) -> Result<(), SinkError> {
        if self.confirmed_at.elapsed() < CONFIRM_INTERVAL {
            return Ok(());
        }
        for part in &step.projections {
            let projection = &self.projections[part.projection];
            if !projection.finishes(part)
                && projection.find_live(&self.client, &self.origin.owner).await? != projection.live
            {
                return Err(error::trouble(format!(
                    "an index of {} was removed or replaced by somebody else",
                    projection.name
                )));
            }
        }
        self.confirmed_at = Instant::now();
        Ok(())
    }

    async fn write_filling(&self, at: usize, entries: &[Entry]) -> Result<Outcome, SinkError> {
        let mut jobs = Vec::new();
        self.projections[at].filling_jobs(at, entries, &mut jobs)?;
        let nothing = std::future::ready(Ok(()));
        let ((), refused) = self.writer().write(&jobs, nothing).await?;
        Ok(outcome([(at, entries)], refused))
    }
}

impl Sink for ElasticsearchSink {
    async fn open(&mut self) -> Result<Vec<Option<Watermark>>, SinkError> {
        self.limits = read_limits(&self.client).await?;
        let names: Vec<&str> = self.projections.iter().map(|p| p.name.as_str()).collect();
        let mut records = watermark::read(&self.client, &names).await?;
        let term = self.origin.term.get();
        lead::claim(&self.client, &self.origin, &names, &mut records, term, self.term).await?;
        self.term = term;
        if term > 0 {
            refused::ensure(&self.client).await?;
        }
        let mut watermarks = Vec::with_capacity(records.len());
        for (at, record) in records.into_iter().enumerate() {
            let watermark = match self.blocked[at] {
                true => {
                    self.projections[at].live.clear();
                    None
                }
                false => {
                    let opened = self.open_projection(at, record).await;
                    opened.map_err(|error| error.of_projection(at))?
                }
            };
            watermarks.push(watermark);
        }
        let live = self.projections.iter().flat_map(|projection| &projection.live);
        lead::take_aliases(&self.client, live, term).await?;
        self.confirmed_at = Instant::now();
        Ok(watermarks)
    }

    fn leave_alone(&mut self, blocked: &[bool]) {
        self.blocked = blocked.to_vec();
    }

    async fn refusals(&mut self) -> Result<Vec<Refusal>, SinkError> {
        self.read_refusals().await
    }

    async fn forget(&mut self, projection: usize, keys: &[Vec<u8>]) -> Result<(), SinkError> {
        self.forget_refusals(projection, keys).await
    }

    async fn look(&mut self) -> Result<Vec<Option<Watermark>>, SinkError> {
        let names: Vec<&str> = self.projections.iter().map(|p| p.name.as_str()).collect();
        lead::look(&self.client, &self.origin.owner, &names).await
    }

    async fn begin_fill(&mut self, projection: usize, generation: u64) -> Result<(), SinkError> {
        let filled = &mut self.projections[projection];
        filled.filling = None;
        filled.remembered.begin_fill();
        // Readers of the watermark must not take it for what another index holds.
        if let Some(record) = &filled.record
            && record.document.settled
            && record.document.targets != filled.live
        {
            let document = Document { settled: false, ..record.document.clone() };
            self.write_watermarks(vec![(projection, document)]).await?;
        }
        let filled = &mut self.projections[projection];
        let names = Names { owner: &self.origin.owner, projection: &filled.name };
        let filling = swap::begin(&self.client, &names, &filled.targets, generation).await?;
        filled.filling = Some(filling);
        Ok(())
    }

    async fn fill(&mut self, projection: usize, rows: &[Entry]) -> Result<Outcome, SinkError> {
        let outcome = self.write_filling(projection, rows).await?;
        self.remember_fill(projection, rows, &outcome);
        Ok(outcome)
    }

    async fn end_fill(&mut self, projection: usize) -> Result<(), SinkError> {
        swap::end(&self.client, self.projections[projection].filling()?).await
    }

    async fn amend(&mut self, projection: usize, changes: &[Entry]) -> Result<Outcome, SinkError> {
        let outcome = self.write_filling(projection, changes).await?;
        self.remember_fill(projection, changes, &outcome);
        Ok(outcome)
    }

    async fn apply(&mut self, step: &Step) -> Result<Outcome, SinkError> {
        self.confirm(step).await?;
        let refused = self.write_documents(step).await?;
        failpoint::reached_in("delivered", &self.name);
        self.swap(step).await?;
        if step.projections.iter().any(|part| part.finish_fill) {
            failpoint::reached_in("swap", &self.name);
        }
        let parts = step.projections.iter().map(|part| (part.projection, part.entries.as_slice()));
        let outcome = outcome(parts, refused);
        self.write_refusals(step, &outcome.poison).await?;
        self.settle(step).await?;
        self.clean(step).await;
        Ok(outcome)
    }
}

/// Counts rows, not documents: a row that one of several targets refuses is refused.
fn outcome<'a>(
    parts: impl IntoIterator<Item = (usize, &'a [Entry])>,
    refused: Vec<Refused>,
) -> Outcome {
    let mut outcome = Outcome::default();
    for (projection, entries) in parts {
        let mut seen = BTreeSet::new();
        for refusal in refused.iter().filter(|refusal| refusal.projection == projection) {
            if seen.insert(refusal.row) {
                let entry = entries[refusal.row].clone();
                outcome.poison.push(Poison { projection, entry, error: refusal.error.clone() });
            }
        }
        let deletes = entries.iter().filter(|entry| entry.is_tombstone()).count();
        outcome.deletes += deletes as u64;
        outcome.upserts += (entries.len() - deletes - seen.len()) as u64;
    }
    outcome
}

/// The server's bounds; where it does not tell, its defaults.
async fn read_limits(client: &Client) -> Result<Limits, SinkError> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        nodes: std::collections::BTreeMap<String, Node>,
    }
    #[derive(Deserialize)]
    struct Node {
        http: Http,
    }
    #[derive(Deserialize)]
    struct Http {
        max_content_length_in_bytes: usize,
    }
    let path = "_nodes/http?filter_path=nodes.*.http.max_content_length_in_bytes";
    let answer = client.send(Method::Get, path, Content::None).await?;
    match answer.status {
        200 => {}
        // Needs a privilege that nothing else here does.
        400 | 403 | 404 | 405 => return Ok(Limits::default()),
        _ => return Err(error::refusal("reading the server's limits", &answer)),
    }
    // A form that is not known tells nothing, like a refusal.
    let smallest = serde_json::from_slice::<Body>(&answer.body).ok().and_then(|body| {
        body.nodes.values().map(|node| node.http.max_content_length_in_bytes).min()
    });
    Ok(smallest.map_or_else(Limits::default, |body_bytes_max| Limits { body_bytes_max }))
}

/// Makes what was written findable by search; see [`ElasticsearchSink::refresher`].
#[derive(Clone)]
pub struct Refresher {
    client: Client,
    /// By projection.
    aliases: HashMap<String, Vec<String>>,
}

impl Refresher {
    /// Refreshes the indices of one projection.
    pub async fn refresh(&self, projection: &str) -> Result<(), SinkError> {
        for alias in self.aliases.get(projection).into_iter().flatten() {
            prepare::refresh(&self.client, alias).await?;
        }
        Ok(())
    }
}
