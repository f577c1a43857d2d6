//! Histories from configuration and store.

use serde::{Deserialize, Serialize};

use super::bind::{Bound, Rows};
use super::events::Since;
use super::facts;
use super::start::{Kept, StartError};
use crate::config::Target;
use crate::engine::{Batch, RowsOf};
use crate::lsn::Lsn;
use crate::pipeline::HistoryInit;
use crate::state::{self, Store};

/// Where a history's log lies, and what its versions are rows of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HistoryFact {
    rows_of: RowsOf,
    shape: String,
}

/// Whether a sink keeps a history of the projection.
pub(super) fn is_kept(bound: &Bound<'_>, sink: &str) -> bool {
    bound.projection.targets.iter().any(|(name, target)| {
        let Target::Postgres(target) = target else { return false };
        name == sink && target.history.is_some()
    })
}

/// Of what is not followed versions would be missing.
pub(super) fn forget_unused(
    bound: &[Bound<'_>],
    store: &Store,
    batch: &mut Batch,
) -> Result<(), state::Error> {
    for (name, _) in store.facts(&facts::history(""))? {
        if bound.iter().all(|bound| bound.projection.name != name) {
            let fact: Option<HistoryFact> = facts::read(store, &facts::history(&name))?;
            batch.dropped.extend(fact.map(|fact| fact.rows_of));
            batch.remove_fact(facts::history(&name));
        }
    }
    Ok(())
}

/// The logs of all histories. One that is new, or of other rows than before, begins at the position; also when the
/// positions of before mean nothing.
pub(super) fn inits(
    bound: &[Bound<'_>],
    since: &Since<'_>,
    kept: &mut Kept,
    store: &Store,
    batch: &mut Batch,
) -> Result<Vec<HistoryInit>, StartError> {
    let position = since.position;
    let mut inits = Vec::new();
    let projections = bound.iter().filter(|bound| !matches!(bound.rows, Rows::Event(_)));
    for (projection, bound) in projections.enumerate() {
        let name = facts::history(&bound.projection.name);
        let fact: Option<HistoryFact> = facts::read(store, &name)?;
        let kept_by = bound.projection.targets.iter().any(|(sink, _)| is_kept(bound, sink));
        if !kept_by {
            // It would be taken up again with what is missing meanwhile.
            if let Some(fact) = fact {
                batch.dropped.push(fact.rows_of);
                batch.facts.push((format!("floor/{}", fact.rows_of), None));
                batch.remove_fact(name);
            }
            continue;
        }
        let columns = bound.columns.iter().map(|column| (&column.name, &column.ty));
        let shape = format!("{:?} by {:?}", columns.collect::<Vec<_>>(), bound.key);
        let same = fact.as_ref().filter(|fact| fact.shape == shape && !since.other_history);
        let init = match same.map(|fact| fact.rows_of) {
            Some(rows_of) => {
                let floor = store.fact(&format!("floor/{rows_of}"))?;
                HistoryInit {
                    projection,
                    rows_of,
                    last: store.last_row(rows_of, None)?,
                    stored_from: store.rows(rows_of).next().transpose()?.map(|entry| entry.lsn()),
                    floor: Lsn(facts::number(floor.as_deref())),
                }
            }
            None => {
                if let Some(fact) = fact {
                    batch.dropped.push(fact.rows_of);
                    batch.facts.push((format!("floor/{}", fact.rows_of), None));
                }
                let rows_of = kept.new_rows_of();
                facts::set(batch, name, &HistoryFact { rows_of, shape });
                batch.fact(format!("floor/{rows_of}"), position.0.to_be_bytes().to_vec());
                HistoryInit { projection, rows_of, last: None, stored_from: None, floor: position }
            }
        };
        inits.push(init);
    }
    Ok(inits)
}
