//! Generations: a fill overwrites rows in place, and what it did not write leaves at its end.
//!
//! What older generations may have left is found in two ways:
//!
//! * by their records (`readside:reverse:…`), which prove that an entry is ours;
//! * by SCAN for the templates that `readside:shapes:<projection>` names, the current ones among
//!   them. A key leaves when it fits such a template (an integer where a column of integers stands),
//!   has its type, is a hash of no other fields than the target's or a JSON object of just its
//!   fields, and fits no other projection's template; a member of a key leaves likewise. Templates without a fixed part, such as `{id}`,
//!   are never scanned for: their entries are all recorded.
//!
//! A key whose template stays and whose type changes is the one that is not overwritten in place: what
//! is left of the older type leaves before the fill, or Redis would refuse the rows.
//!
//! Where nothing can be left over, nothing is remembered. Else the locations written are remembered
//! here as 64-bit hashes, 10 to 20 bytes each. (Two locations of one hash keep a leftover alive; with
//! ten million rows and a million leftovers the odds are one in a million.)

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use serde::{Deserialize, Serialize};

use crate::engine::Entry;
use crate::lsn::Lsn;
use crate::sink::{Outcome, SinkError, StepProjection, Watermark};

use super::RedisSink;
use super::apply::{Mark, add, reaching_past};
use super::encode::{Batch, Before};
use super::error::interrupted;
use super::pattern::Pattern;
use super::record::Reverse;
use super::row::Args;
use super::target::{Plan, Structure};
use super::watermark;

/// The locations that a fill has written.
#[derive(Default)]
pub(super) struct Keep {
    hasher: RandomState,
    locations: hashbrown::HashSet<u64, foldhash::fast::RandomState>,
}

impl Keep {
    pub(super) fn insert(&mut self, structure: Structure, key: &[u8], member: &[u8]) {
        self.locations.insert(self.hasher.hash_one((structure, key, member)));
    }

    pub(super) fn contains(&self, structure: Structure, key: &[u8], member: &[u8]) -> bool {
        self.locations.contains(&self.hasher.hash_one((structure, key, member)))
    }
}

/// What a call of a fill brings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FillPart {
    /// Each row once.
    Rows,
    /// What became of them since.
    Changes,
}

/// A fill under way.
pub(super) struct Fill {
    pub(super) generation: u64,
    /// `None`: no older generation has left anything.
    pub(super) keep: Option<Keep>,
    /// Of older generations, by fingerprint.
    pub(super) older: Vec<(String, Shape)>,
}

/// A generation's templates, as `readside:shapes:<projection>` holds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) targets: Vec<ShapeTarget>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShapeTarget {
    pub(super) structure: Structure,
    pub(super) key: Pattern,
    pub(super) member: Option<Pattern>,
    /// Of a hash or a JSON string.
    pub(super) fields: Vec<String>,
}

impl Shape {
    pub(super) fn of(plan: &Plan) -> Self {
        let target = |target: &super::target::Target| ShapeTarget {
            structure: target.structure,
            key: target.location.key.clone(),
            member: target.location.member.clone(),
            fields: match target.structure {
                Structure::Hash | Structure::Json => {
                    target.fields.iter().map(|&at| plan.columns[at].name.clone()).collect()
                }
                _ => Vec::new(),
            },
        };
        Self { targets: plan.targets.iter().map(target).collect() }
    }
}

impl ShapeTarget {
    pub(super) fn fits(&self, key: &[u8], member: &[u8]) -> bool {
        self.key.matches(key) && self.member.as_ref().is_none_or(|m| m.matches(member))
    }
}

impl RedisSink {
    pub(super) async fn begin(
        &mut self,
        projection: usize,
        generation: u64,
    ) -> Result<(), SinkError> {
        let plan = &self.plans[projection];
        let (name, shape) = (plan.name.clone(), Shape::of(plan));
        let shapes_key = watermark::shapes_key(&name);
        let command = redis::cmd("HGETALL").arg(&shapes_key).take();
        let shapes: HashMap<String, String> = self.ask(&shapes_key, command).await?;
        let fingerprint = self.plans[projection].fingerprint.clone();
        let mut older = Vec::new();
        for (of, text) in shapes {
            if of == fingerprint {
                continue;
            }
            match serde_json::from_str(&text) {
                Ok(shape) => older.push((of, shape)),
                // Written by another version: its records are followed, its templates are not.
                Err(error) => {
                    tracing::warn!(projection = name, %error, "unreadable entry in {shapes_key}");
                    older.push((of, Shape { targets: Vec::new() }));
                }
            }
        }
        let fresh = older.is_empty() && self.nothing_stands(projection, &shape).await?;
        let text = serde_json::to_string(&shape)
            .map_err(|e| interrupted(format!("cannot describe the templates of {name}: {e}")))?;
        let mut batch = Batch::default();
        for argument in ["W", &shapes_key, &fingerprint, &text] {
            batch.moves.push(argument);
        }
        let standing = &mut self.standings[projection];
        standing.fill = Some(Fill { generation, keep: (!fresh).then(Keep::default), older });
        let mark = self.filling_mark(projection, generation, None);
        self.run(vec![mark], batch).await?;
        self.make_way(projection, generation, &shape).await
    }

    /// Rows of a fill, or changes to them, a script for `step_rows` of them.
    pub(super) async fn write_filling(
        &mut self,
        projection: usize,
        entries: &[Entry],
        part: FillPart,
    ) -> Result<Outcome, SinkError> {
        let standing = &self.standings[projection];
        if let Some(Fill { generation, keep: None, .. }) = standing.fill
            && self.transactions
        {
            let newest = entries.iter().map(Entry::lsn).max();
            let mark = self.filling_mark(projection, generation, newest);
            let rows: Vec<_> = entries.iter().map(|entry| (projection, entry)).collect();
            let before = if part == FillPart::Rows { Before::Nothing } else { Before::Older };
            return self.write_backlog(vec![mark], &rows, before).await;
        }
        let mut outcome = Outcome::default();
        let mut rest = entries;
        while !rest.is_empty() {
            let plan = &self.plans[projection];
            let Some(fill) = &mut self.standings[projection].fill else {
                return Err(lost(&plan.name));
            };
            let generation = fill.generation;
            let before = match (&fill.keep, part) {
                (Some(_), FillPart::Rows) => Before::OtherGeneration,
                (Some(_), FillPart::Changes) => Before::Either,
                (None, FillPart::Rows) => Before::Nothing,
                (None, FillPart::Changes) => Before::Older,
            };
            let mut batch = Batch::default();
            let mut taken = 0;
            for entry in rest.iter().take(self.step_rows) {
                if batch.is_full() {
                    break;
                }
                batch.push(projection, plan, entry, before, fill.keep.as_mut());
                taken += 1;
            }
            let now;
            (now, rest) = rest.split_at(taken);
            let newest = now.iter().map(Entry::lsn).max();
            let mark = self.filling_mark(projection, generation, newest);
            add(&mut outcome, self.run(vec![mark], batch).await?);
        }
        Ok(outcome)
    }

    /// Nothing can be said of the sink while a generation is filled, but how new its rows may be.
    pub(super) fn filling_mark(
        &self,
        projection: usize,
        generation: u64,
        newest: Option<Lsn>,
    ) -> Mark {
        let before = &self.standings[projection].watermark;
        let watermark = Watermark {
            lsn: Lsn::ZERO,
            reaching: reaching_past(before.reaching, newest),
            committed_at: before.committed_at,
            settled: false,
            generation,
            fingerprint: String::new(),
            history: self.origin.history.tag(),
            term: self.term,
        };
        Mark { projection, watermark }
    }

    /// Before the script that makes the generation current: what older ones left leaves.
    pub(super) async fn finish_fill(&mut self, part: &StepProjection) -> Result<(), SinkError> {
        let plan = &self.plans[part.projection];
        let fill = &mut self.standings[part.projection].fill;
        let Some(mut fill) = fill.take_if(|_| part.finish_fill) else {
            return Err(lost(&plan.name));
        };
        let mut swept = Ok(());
        if let Some(keep) = &mut fill.keep {
            // What the step itself is about to write must not be absent in between.
            let mut unsent = Batch::default();
            for entry in &part.entries {
                unsent.push(part.projection, plan, entry, Before::Either, Some(keep));
            }
            swept = self.sweep(part.projection, &fill).await;
        }
        self.standings[part.projection].fill = Some(fill);
        swept
    }

    /// With the script that ends a fill: its generation is the only one.
    pub(super) fn forget_older(&self, projection: usize, moves: &mut Args) {
        let Some(fill) = &self.standings[projection].fill else { return };
        let name = &self.plans[projection].name;
        for (fingerprint, _) in &fill.older {
            moves.push("D");
            moves.push(watermark::shapes_key(name));
            moves.push(fingerprint);
            for key in Reverse::of(name, fingerprint, self.layout).keys() {
                moves.push("U");
                moves.push(key);
            }
        }
    }
}

fn lost(projection: &str) -> SinkError {
    interrupted(format!("no fill of {projection} stands in Redis: it begins again"))
}
