//! Refusals that Redis itself remembers: a hash for each projection, written by the scripts that refuse.
//!
//! A field is an entry's key, its value
//!
//! ```text
//! value = lsn " " length " " occurrence ( "=" words | type " " key )
//! ```
//!
//! where the occurrence is an event's, of so many bytes, and `type` is what was found under a key.

use std::collections::HashMap;

use super::RedisSink;
use super::apply::Mark;
use super::encode::Batch;
use super::pattern::shown;
use super::row::Args;
use super::target::Plan;
use crate::engine::Entry;
use crate::lsn::Lsn;
use crate::sink::refused::occurrence;
use crate::sink::{Outcome, Refusal, Role, SinkError, Step};

/// Of a row that met a key of another type.
pub(super) fn words(key: &[u8], found: &[u8]) -> String {
    format!(
        "the Redis key {:?} holds a {}, which is not what this row is written to",
        shown(key),
        shown(found)
    )
}

/// Ends a row's words: the script that refuses it remembers it.
pub(super) fn end_row(plan: &Plan, entry: &Entry, rows: &mut Args) {
    if !plan.remembers {
        return rows.push(")");
    }
    rows.push("]");
    rows.push(&plan.refused_key);
    rows.push(entry.key());
    write_prefix(plan, entry, rows);
    rows.end();
}

/// A row that is refused before it is sent.
pub(super) fn remember(plan: &Plan, entry: &Entry, error: &str, moves: &mut Args) {
    if plan.remembers {
        moves.push("W");
        moves.push(&plan.refused_key);
        moves.push(entry.key());
        write_prefix(plan, entry, moves);
        moves.bytes.push(b'=');
        moves.push(error);
    }
}

pub(super) fn forget(plan: &Plan, key: &[u8], moves: &mut Args) {
    moves.push("D");
    moves.push(&plan.refused_key);
    moves.push(key);
}

fn write_prefix(plan: &Plan, entry: &Entry, out: &mut Args) {
    let occurrence = occurrence(entry, plan.role()).unwrap_or_default();
    let prefix = format!("{} {} ", entry.lsn(), occurrence.len());
    out.bytes.extend_from_slice(prefix.as_bytes());
    out.bytes.extend_from_slice(occurrence);
}

/// `None`: it is none of ours.
fn read(projection: usize, role: Role, key: &[u8], value: &[u8]) -> Option<Refusal> {
    let mut parts = value.splitn(3, |&byte| byte == b' ');
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let lsn: Lsn = text()?.parse().ok()?;
    let length: usize = text()?.parse().ok()?;
    let (occurrence, met) = parts.next()?.split_at_checked(length)?;
    let error = match met.strip_prefix(b"=") {
        Some(words) => String::from_utf8_lossy(words).into_owned(),
        None => {
            let space = met.iter().position(|&byte| byte == b' ')?;
            words(&met[space + 1..], &met[..space])
        }
    };
    let occurrence = (role == Role::Events).then(|| occurrence.to_vec());
    Some(Refusal { projection, key: key.to_vec(), lsn, error, occurrence })
}

impl RedisSink {
    pub(super) async fn read_refusals(&mut self) -> Result<Vec<Refusal>, SinkError> {
        let mut all = Vec::new();
        for projection in 0..self.plans.len() {
            let plan = &self.plans[projection];
            if !plan.remembers {
                continue;
            }
            let (key, role) = (plan.refused_key.clone(), plan.role());
            let mut all_fields = redis::cmd("HGETALL");
            all_fields.arg(&key);
            let fields: HashMap<Vec<u8>, Vec<u8>> = self.ask(&key, all_fields).await?;
            all.extend(fields.iter().filter_map(|(key, value)| read(projection, role, key, value)));
            self.plans[projection].remembered.read(fields.into_keys());
        }
        Ok(all)
    }

    /// What a call of a fill has left in the hash.
    pub(super) fn remember_fill(
        &mut self,
        projection: usize,
        entries: &[Entry],
        outcome: Outcome,
    ) -> Outcome {
        let plan = &mut self.plans[projection];
        if plan.remembers {
            let refused = |poison| Refusal::of(poison, Role::Rows);
            plan.remembered.filled(entries, outcome.poison.iter().map(refused));
            plan.remembered.removed(entries.iter().map(Entry::key));
            plan.remembered.wrote(outcome.poison.iter().map(|poison| poison.entry.key()));
        }
        outcome
    }

    /// What a step has left in the hashes.
    pub(super) fn remember_step(&mut self, step: &Step, outcome: &Outcome) {
        for part in &step.projections {
            let plan = &mut self.plans[part.projection];
            if !plan.remembers {
                continue;
            }
            if part.finish_fill {
                plan.remembered.become_current();
            }
            let refused = outcome.refused(part.projection);
            plan.remembered.removed(part.entries.iter().map(Entry::key));
            plan.remembered.wrote(refused.map(|poison| poison.entry.key()));
        }
    }

    /// With the script that ends a fill: what the generation before was refused is refused no longer.
    pub(super) fn forget_older_refusals(&self, projection: usize, moves: &mut Args) {
        let plan = &self.plans[projection];
        if plan.remembers && self.standings[projection].fill.is_some() {
            plan.remembered.of_older().for_each(|key| forget(plan, key, moves));
        }
    }

    /// Over the fence like a step, with the watermark as it is.
    pub(super) async fn forget_refusals(
        &mut self,
        projection: usize,
        keys: &[Vec<u8>],
    ) -> Result<(), SinkError> {
        let plan = &self.plans[projection];
        let mut batch = Batch::default();
        for key in keys.iter().filter(|key| plan.remembered.is_written(key)) {
            forget(plan, key, &mut batch.moves);
        }
        if batch.is_empty() {
            return Ok(());
        }
        let watermark = self.standings[projection].watermark.clone();
        self.run(vec![Mark { projection, watermark }], batch).await?;
        self.plans[projection].remembered.removed(keys.iter().map(Vec::as_slice));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_the_script_or_we_have_written_it() {
        let read = |value: &[u8]| read(1, Role::Events, b"k", value);
        let refusal = |occurrence: &[u8], error: String| Refusal {
            projection: 1,
            key: b"k".to_vec(),
            lsn: Lsn(0x1A),
            error,
            occurrence: Some(occurrence.to_vec()),
        };
        let met = read(b"0/1A 3 \xFF= string made:a b");
        assert_eq!(met, Some(refusal(b"\xFF= ", words(b"made:a b", b"string"))));
        assert_eq!(read(b"0/1A 0 =no form"), Some(refusal(b"", "no form".into())));
        for value in ["", "0/1A", "0/1A 3 a", "x 0 =", "0/1A x =", "0/1A 0 string"] {
            assert_eq!(read(value.as_bytes()), None, "{value}");
        }
    }
}
