//! A condition goes down to the one input that it is about.

use std::collections::BTreeSet;

use super::column::ColumnId;
use super::relation::{Condition, Factor, Relation};
use crate::sql::plan::JoinKind;

/// What lets some rows through and leaves them as they are.
#[derive(Debug)]
pub(super) enum Sieve {
    Condition(Box<Condition>),
    /// EXISTS, IN and their negations: a join that gives the left rows alone.
    Semi {
        right: Relation,
        kind: JoinKind,
        conditions: Vec<Condition>,
    },
}

impl Sieve {
    /// Those that the rows have to have.
    fn columns(&self) -> BTreeSet<ColumnId> {
        match self {
            Sieve::Condition(condition) => condition.scalar.columns.clone(),
            Sieve::Semi { right, conditions, .. } => {
                let own = right.columns();
                let all = conditions.iter().flat_map(|c| c.scalar.columns.iter().copied());
                all.filter(|id| !own.contains(id)).collect()
            }
        }
    }

    fn over(self, relation: Relation) -> Relation {
        match self {
            Sieve::Condition(condition) => relation.filter(condition.scalar),
            Sieve::Semi { right, kind, conditions } => Relation::Join {
                left: Box::new(relation),
                right: Box::new(right),
                kind,
                conditions,
            },
        }
    }
}

/// The relation's rows that come through, sieved as early as possible.
///
/// An outer join's rows can be sieved before it where only the side is looked at that is there always;
/// an aggregate's where only what is grouped by is looked at. TopN and subqueries that are used twice
/// stay as they are.
pub(super) fn push(relation: Relation, sieve: Sieve) -> Relation {
    let columns = sieve.columns();
    if columns.is_empty() {
        return sieve.over(relation);
    }
    let fits = |input: &Relation| columns.is_subset(&input.columns());
    match relation {
        Relation::Inner { mut factors, mut conditions } => {
            let one = factors.iter().position(|factor| fits(&factor.relation));
            match (one, sieve) {
                (Some(at), sieve) => {
                    let Factor { relation, place } = factors.remove(at);
                    let relation = push(relation, sieve);
                    factors.insert(at, Factor { relation, place });
                }
                (None, Sieve::Condition(condition)) => conditions.push(*condition),
                (None, sieve) => return sieve.over(Relation::Inner { factors, conditions }),
            }
            Relation::Inner { factors, conditions }
        }
        Relation::Join { left, right, kind, conditions } if fits(&left) => {
            Relation::Join { left: Box::new(push(*left, sieve)), right, kind, conditions }
        }
        Relation::Filter { input, mut conditions } => match push(*input, sieve) {
            // It has come no deeper: as in PostgreSQL the first written is the first looked at.
            Relation::Filter { input, conditions: new } => {
                conditions.extend(new);
                Relation::Filter { input, conditions }
            }
            deeper => conditions.into_iter().fold(deeper, Relation::filter),
        },
        Relation::Map { input, columns } if fits(&input) => {
            Relation::Map { input: Box::new(push(*input, sieve)), columns }
        }
        Relation::Expand { input, expansion, outer } if fits(&input) => {
            Relation::Expand { input: Box::new(push(*input, sieve)), expansion, outer }
        }
        Relation::Aggregate { input, group, aggregates, scalar }
            if columns.iter().all(|id| group.contains(id)) =>
        {
            let input = Box::new(push(*input, sieve));
            Relation::Aggregate { input, group, aggregates, scalar }
        }
        relation => sieve.over(relation),
    }
}
