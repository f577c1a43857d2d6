//! Relations as the clauses of a query make them, before there are rows with positions.

use std::collections::BTreeSet;
use std::ops::Range;

use super::column::{ColumnId, Scalar};
use crate::sql::expr::Series;
use crate::sql::plan::{Function, JoinKind};

#[derive(Clone, Debug)]
pub(super) enum Relation {
    /// A table of the schema; its columns in their order.
    Table { table: usize, columns: Vec<ColumnId> },
    /// A query of WITH; the column here, and there.
    Common { number: usize, columns: Vec<(ColumnId, ColumnId)> },
    /// Inner joins of any number; of none: one row without columns.
    Inner { factors: Vec<Factor>, conditions: Vec<Condition> },
    /// Two joined; an inner one where its order is known.
    Join { left: Box<Relation>, right: Box<Relation>, kind: JoinKind, conditions: Vec<Condition> },
    /// The rows for which all conditions are true.
    Filter { input: Box<Relation>, conditions: Vec<Scalar> },
    /// The input's rows with more columns.
    Map { input: Box<Relation>, columns: Vec<(ColumnId, Scalar)> },
    /// Each row of the input beside the rows that a function makes of a value of it.
    Expand { input: Box<Relation>, expansion: Box<Expansion>, outer: bool },
    /// UNION ALL; of each input the columns that come under `columns`.
    Union {
        inputs: Vec<(Relation, Vec<ColumnId>)>,
        columns: Vec<ColumnId>,
        /// Where something tells their rows apart.
        key: Option<Vec<ColumnId>>,
    },
    Aggregate {
        input: Box<Relation>,
        group: Vec<ColumnId>,
        aggregates: Vec<Aggregate>,
        scalar: bool,
    },
    TopN {
        input: Box<Relation>,
        partition: Vec<ColumnId>,
        order: Vec<Sort>,
        limit: Option<u64>,
        offset: u64,
    },
}

/// What a function in FROM makes rows of, and their columns.
#[derive(Clone, Debug)]
pub(super) struct Expansion {
    pub(super) list: Scalar,
    pub(super) series: Series,
    pub(super) columns: Vec<ColumnId>,
    /// The columns that tell the rows apart that are made of one value.
    pub(super) key: Option<Vec<ColumnId>>,
}

/// A relation among those that are joined, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    pub(super) relation: Relation,
    pub(super) place: Range<usize>,
}

/// A condition of WHERE or ON.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) scalar: Scalar,
    /// Where it says that two things over different columns are equal: both, of one type.
    pub(super) equality: Option<(Scalar, Scalar)>,
    /// It stands in the query's text like this.
    pub(super) written: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Aggregate {
    pub(super) column: ColumnId,
    pub(super) function: Function,
    pub(super) arguments: Vec<ColumnId>,
    pub(super) distinct: bool,
    pub(super) order: Vec<Sort>,
    pub(super) filter: Option<ColumnId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: ColumnId,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
}

impl Sort {
    pub(super) fn ascending(column: ColumnId) -> Self {
        Self { column, descending: false, nulls_first: false }
    }
}

impl Relation {
    /// One row without columns.
    pub(super) fn one_row() -> Self {
        Relation::Inner { factors: Vec::new(), conditions: Vec::new() }
    }

    pub(super) fn is_one_row(&self) -> bool {
        matches!(self, Relation::Inner { factors, conditions } if factors.is_empty() && conditions.is_empty())
    }

    /// One filter, however many conditions there are.
    pub(super) fn filter(self, condition: Scalar) -> Self {
        match self {
            Relation::Filter { input, mut conditions } => {
                conditions.push(condition);
                Relation::Filter { input, conditions }
            }
            input => Relation::Filter { input: Box::new(input), conditions: vec![condition] },
        }
    }

    /// Without columns to compute it is the input itself.
    pub(super) fn map(self, columns: Vec<(ColumnId, Scalar)>) -> Self {
        match columns.is_empty() {
            true => self,
            false => Relation::Map { input: Box::new(self), columns },
        }
    }

    /// Columns of which later ones may be computed of earlier ones.
    pub(super) fn map_in_turn(self, columns: Vec<(ColumnId, Scalar)>) -> Self {
        let (mut relation, mut together) = (self, Vec::new());
        for (id, scalar) in columns {
            if together.iter().any(|(known, _)| scalar.columns.contains(known)) {
                relation = relation.map(std::mem::take(&mut together));
            }
            together.push((id, scalar));
        }
        relation.map(together)
    }

    /// The inner join of two; those that they are joins of already go into one list.
    pub(super) fn inner(self, place: Range<usize>, right: Factor, more: Vec<Condition>) -> Self {
        let (mut factors, mut conditions) = (Vec::new(), more);
        for Factor { relation, place } in [Factor { relation: self, place }, right] {
            match relation {
                Relation::Inner { factors: inner, conditions: of_inner } => {
                    factors.extend(inner);
                    conditions.extend(of_inner);
                }
                relation => factors.push(Factor { relation, place }),
            }
        }
        Relation::Inner { factors, conditions }
    }

    /// All columns that it has.
    pub(super) fn columns(&self) -> BTreeSet<ColumnId> {
        match self {
            Relation::Table { columns, .. } | Relation::Union { columns, .. } => {
                columns.iter().copied().collect()
            }
            Relation::Common { columns, .. } => columns.iter().map(|(here, _)| *here).collect(),
            Relation::Inner { factors, .. } => {
                factors.iter().flat_map(|factor| factor.relation.columns()).collect()
            }
            Relation::Join { left, right, kind, .. } => {
                let mut columns = left.columns();
                if matches!(kind, JoinKind::Inner | JoinKind::Left) {
                    columns.append(&mut right.columns());
                }
                columns
            }
            Relation::Filter { input, .. } | Relation::TopN { input, .. } => input.columns(),
            Relation::Map { input, columns } => {
                let mut all = input.columns();
                all.extend(columns.iter().map(|(id, _)| *id));
                all
            }
            Relation::Expand { input, expansion, .. } => {
                let mut all = input.columns();
                all.extend(&expansion.columns);
                all
            }
            Relation::Aggregate { group, aggregates, .. } => {
                group.iter().copied().chain(aggregates.iter().map(|a| a.column)).collect()
            }
        }
    }
}
