//! The order of inner joins: as they are written, but for a table that nothing yet joined is equal with.

use super::Fault;
use super::column::ColumnId;
use super::key;
use super::planner::{Planner, Result};
use super::relation::{Condition, Factor, Relation};
use super::subquery::computed_alone;
use crate::sql::plan::JoinKind;
use std::collections::BTreeSet;

/// Joins of two each.
pub(super) fn ordered(
    planner: &Planner<'_>,
    factors: Vec<Factor>,
    mut conditions: Vec<Condition>,
) -> Result<Relation> {
    let mut rest = factors;
    if rest.is_empty() {
        return Err(reads_no_table(planner));
    }
    let mut joined = rest.remove(0).relation;
    let mut columns = joined.columns();
    while !rest.is_empty() {
        let next = rest.iter().position(|factor| {
            let other = factor.relation.columns();
            conditions.iter().any(|condition| joins(condition, &columns, &other))
        });
        let next = match next {
            Some(next) => next,
            None => one_row(planner, &joined, &rest)?,
        };
        let right = rest.remove(next).relation;
        columns.append(&mut right.columns());
        let (here, later): (Vec<_>, Vec<_>) =
            conditions.into_iter().partition(|c| c.scalar.columns.is_subset(&columns));
        conditions = later;
        joined = Relation::Join {
            left: Box::new(joined),
            right: Box::new(right),
            kind: JoinKind::Inner,
            conditions: here,
        };
    }
    for condition in conditions {
        joined = joined.filter(condition.scalar);
    }
    Ok(joined)
}

pub(super) fn reads_no_table(planner: &Planner<'_>) -> Fault {
    Fault::new("the query reads no table")
        .hint("name a table in FROM: a read model follows a table's changes")
        .at(0..planner.text.text.len())
}

/// Whether the condition is an equality of a thing of the one side and a thing of the other.
pub(super) fn joins(
    condition: &Condition,
    left: &BTreeSet<ColumnId>,
    right: &BTreeSet<ColumnId>,
) -> bool {
    condition.equality.as_ref().is_some_and(|(a, b)| {
        (a.columns.is_subset(left) && b.columns.is_subset(right))
            || (b.columns.is_subset(left) && a.columns.is_subset(right))
    })
}

/// The rows of VALUES: as many as somebody has written.
fn is_written(relation: &Relation) -> bool {
    match relation {
        Relation::Union { inputs, .. } => inputs.iter().all(|(input, _)| computed_alone(input)),
        Relation::Map { input, .. } | Relation::Filter { input, .. } => is_written(input),
        _ => false,
    }
}

/// Without an equality there is one row at most on a side, or few.
fn one_row(planner: &Planner<'_>, joined: &Relation, rest: &[Factor]) -> Result<usize> {
    let is_one = |relation: &Relation| {
        key::facts(planner, relation).key == Some(Vec::new()) || is_written(relation)
    };
    if is_one(joined) {
        return Ok(0);
    }
    rest.iter().position(|factor| is_one(&factor.relation)).ok_or_else(|| {
        let place = rest[0].place.clone();
        let what = format!(
            "no equality joins `{}` with what stands before it: all rows would be paired with all",
            planner.text.shown(&place)
        );
        Fault::new(what).hint("add a condition such as a.id = b.a_id to ON or WHERE").at(place)
    })
}
