//! Every column that is looked at is there: what the passes before have moved, they have moved to where
//! it can be computed. A query of which that is not true looks at a surrounding query in a way that has
//! not been refused by name; it is refused here, and `lower` can rely on it.

use std::collections::BTreeSet;

use super::Fault;
use super::column::ColumnId;
use super::planner::{Planner, Result};
use super::relation::{Condition, Relation, Sort};

pub(super) fn sound(planner: &Planner<'_>, relation: &Relation) -> Result<()> {
    for input in inputs(relation) {
        sound(planner, input)?;
    }
    let there: BTreeSet<ColumnId> = inputs(relation).flat_map(Relation::columns).collect();
    match looked_at(relation).find(|id| !there.contains(id)) {
        None => Ok(()),
        Some(id) => {
            let what = format!(
                "column `{}` is looked at by a subquery in a way that is not supported",
                planner.info(id).name
            );
            Err(Fault::new(what)
                .hint("join in FROM instead, or compare it by = in the subquery's WHERE")
                .at(0..planner.text.text.len()))
        }
    }
}

fn inputs(relation: &Relation) -> Box<dyn Iterator<Item = &Relation> + '_> {
    match relation {
        Relation::Table { .. } | Relation::Common { .. } => Box::new(std::iter::empty()),
        Relation::Inner { factors, .. } => Box::new(factors.iter().map(|factor| &factor.relation)),
        Relation::Join { left, right, .. } => Box::new([&**left, &**right].into_iter()),
        Relation::Union { inputs, .. } => Box::new(inputs.iter().map(|(input, _)| input)),
        Relation::Filter { input, .. }
        | Relation::Map { input, .. }
        | Relation::Expand { input, .. }
        | Relation::Aggregate { input, .. }
        | Relation::TopN { input, .. } => Box::new(std::iter::once(&**input)),
    }
}

fn looked_at(relation: &Relation) -> Box<dyn Iterator<Item = ColumnId> + '_> {
    let of = |conditions: &'_ [Condition]| -> Vec<ColumnId> {
        conditions.iter().flat_map(|c| c.scalar.columns.iter().copied()).collect()
    };
    let sorted = |order: &'_ [Sort]| -> Vec<ColumnId> { order.iter().map(|s| s.column).collect() };
    match relation {
        Relation::Table { .. } | Relation::Common { .. } => Box::new(std::iter::empty()),
        Relation::Inner { conditions, .. } | Relation::Join { conditions, .. } => {
            Box::new(of(conditions).into_iter())
        }
        Relation::Filter { conditions, .. } => {
            Box::new(conditions.iter().flat_map(|condition| condition.columns.iter().copied()))
        }
        Relation::Map { columns, .. } => {
            Box::new(columns.iter().flat_map(|(_, scalar)| scalar.columns.iter().copied()))
        }
        Relation::Expand { expansion, .. } => Box::new(expansion.list.columns.iter().copied()),
        Relation::Union { inputs, .. } => {
            Box::new(inputs.iter().flat_map(|(_, ids)| ids.iter().copied()))
        }
        Relation::Aggregate { group, aggregates, .. } => {
            let of_aggregates = aggregates.iter().flat_map(move |aggregate| {
                let order = sorted(&aggregate.order);
                aggregate.arguments.iter().copied().chain(order).chain(aggregate.filter)
            });
            Box::new(group.iter().copied().chain(of_aggregates))
        }
        Relation::TopN { partition, order, .. } => {
            Box::new(partition.iter().copied().chain(sorted(order)))
        }
    }
}
