//! What the sink knows of one projection: its targets, the watermark's document, and which indices
//! stand behind the aliases or are being filled.

use super::apply::Job;
use super::client::Client;
use super::swap::{self, Filling, Names};
use super::target::CompiledTarget;
use super::watermark::{Place, Record};
use super::{error, prepare};
use crate::config::Target;
use crate::engine::Entry;
use crate::sink::refused::Remembered;
use crate::sink::{Owner, Role, SinkError, SinkProjection, StepProjection, Watermark};

pub(super) struct Projection {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) fingerprint: String,
    pub(super) targets: Vec<CompiledTarget>,
    /// The watermark's document, as last read or written.
    pub(super) record: Option<Record>,
    /// What stands behind the aliases; empty when one of them is missing.
    pub(super) live: Vec<Place>,
    /// The generation being filled. It outlives `open`: a call that failed is repeated after one.
    pub(super) filling: Option<Filling>,
    /// Where there is a group.
    pub(super) remembered: Remembered,
}

impl Projection {
    pub(super) fn new(projection: &SinkProjection) -> Result<Self, SinkError> {
        let mut targets = Vec::new();
        for target in &projection.targets {
            match target {
                Target::Elasticsearch(target) => {
                    targets.push(CompiledTarget::new(projection, target)?);
                }
                Target::Postgres(_) | Target::Redis(_) => {
                    return Err(SinkError::Fatal {
                        what: format!("{} has a target of another kind of sink", projection.name),
                        hint: "write { index = … } for an elasticsearch sink".into(),
                    });
                }
            }
        }
        Ok(Self {
            name: projection.name.clone(),
            role: projection.role,
            fingerprint: projection.fingerprint.clone(),
            targets,
            record: None,
            live: Vec::new(),
            filling: None,
            remembered: Remembered::default(),
        })
    }

    /// What stands behind the aliases now, after the rest of an unfinished swap was done; empty when
    /// one of them is missing.
    pub(super) async fn find_live(
        &self,
        client: &Client,
        owner: &Owner,
    ) -> Result<Vec<Place>, SinkError> {
        let mut live = Vec::with_capacity(self.targets.len());
        for target in &self.targets {
            let Some(index) = prepare::live(client, owner, &target.alias).await? else {
                return Ok(Vec::new());
            };
            let next = self.filling.as_ref();
            if swap::is_unclean(&index) && !next.is_some_and(|next| next.holds(&index.name)) {
                swap::clean(client, owner, &target.alias, &index.name, next).await?;
            }
            let places_uuid = if target.moves() {
                let places = prepare::find(client, &prepare::places_index(&index.name)).await?;
                places.into_iter().next().map(|places| places.uuid)
            } else {
                None
            };
            let alias = target.alias.clone();
            live.push(Place { alias, index: index.name, uuid: index.uuid, places_uuid });
        }
        Ok(live)
    }

    /// Makes the indices of an event that are missing: what fills them are steps.
    pub(super) async fn make_missing(
        &self,
        client: &Client,
        owner: &Owner,
        term: u64,
    ) -> Result<(), SinkError> {
        let generation = self.record.as_ref().map_or(0, |record| record.document.generation) + 1;
        for target in &self.targets {
            if prepare::live(client, owner, &target.alias).await?.is_some() {
                continue;
            }
            let names = Names { owner, projection: &self.name };
            let target = std::slice::from_ref(target);
            let made = swap::begin(client, &names, target, generation).await?;
            swap::end(client, &made).await?;
            swap::swap(client, owner, &made, term).await?;
        }
        Ok(())
    }

    /// What the record says of the indices behind the aliases.
    pub(super) fn watermark(&self) -> Result<Option<Watermark>, SinkError> {
        let Some(record) = &self.record else { return Ok(None) };
        if self.live.is_empty() && !self.targets.is_empty() {
            return Ok(None);
        }
        let mut watermark = record.document.watermark()?;
        if record.document.targets != self.live && self.role == Role::Events {
            return Ok(None);
        }
        if record.document.targets != self.live {
            // Indices of ours, but not those that it speaks of: to be filled anew, yet readers may
            // have seen what it has reached.
            watermark.fingerprint = String::new();
            watermark.settled = false;
        }
        Ok(Some(watermark))
    }

    /// Whether this part of a step ends a fill. Told again after an answer that never came, there may
    /// be none any more.
    pub(super) fn finishes(&self, part: &StepProjection) -> bool {
        part.finish_fill && self.filling.is_some()
    }

    pub(super) fn filling(&self) -> Result<&Filling, SinkError> {
        self.filling.as_ref().ok_or_else(|| SinkError::Fatal {
            what: format!("{} is not being filled", self.name),
            hint: "restart Readside, and report this".into(),
        })
    }

    pub(super) fn live_jobs<'a>(
        &'a self,
        projection: usize,
        term: u64,
        entries: &'a [Entry],
        jobs: &mut Vec<Job<'a>>,
    ) -> Result<(), SinkError> {
        if self.live.len() != self.targets.len() {
            return Err(error::trouble(format!("an index of {} is missing", self.name)));
        }
        for (target, place) in self.targets.iter().zip(&self.live) {
            jobs.push(Job {
                projection,
                target,
                destination: match term {
                    0 => target.alias.clone(),
                    term => prepare::term_alias(&target.alias, term),
                },
                places: target.moves().then(|| prepare::places_index(&place.index)),
                entries,
            });
        }
        Ok(())
    }

    pub(super) fn filling_jobs<'a>(
        &'a self,
        projection: usize,
        entries: &'a [Entry],
        jobs: &mut Vec<Job<'a>>,
    ) -> Result<(), SinkError> {
        for (target, index) in self.targets.iter().zip(&self.filling()?.indices) {
            jobs.push(Job {
                projection,
                target,
                destination: prepare::filling_alias(&index.place.index),
                places: target.moves().then(|| prepare::places_index(&index.place.index)),
                entries,
            });
        }
        Ok(())
    }
}
