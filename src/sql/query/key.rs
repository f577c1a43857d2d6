//! Functional dependences: which columns decide which others, and so which tell the rows apart.

use std::collections::BTreeSet;

use sqlparser::ast::{BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::aggregate::is_called;
use super::column::{ColumnId, Scalar, bare, decisive, id_of};
use super::order::joins;
use super::planner::Planner;
use super::relation::{Condition, Relation};
use super::types;
use crate::sql::plan::JoinKind;

/// What is known of a relation's rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Columns that tell the rows apart, none of them superfluous; empty: one row at most.
    pub(super) key: Option<Vec<ColumnId>>,
    dependences: Vec<Dependence>,
}

/// Rows that agree in `from` agree in `to`.
#[derive(Clone, Debug)]
struct Dependence {
    from: BTreeSet<ColumnId>,
    to: BTreeSet<ColumnId>,
    /// Holds as well where an outer join has put NULLs into all of these columns.
    of_missing: bool,
}

impl Facts {
    /// All that these columns decide.
    pub(super) fn closure(&self, from: impl IntoIterator<Item = ColumnId>) -> BTreeSet<ColumnId> {
        let mut known: BTreeSet<ColumnId> = from.into_iter().collect();
        loop {
            let before = known.len();
            for dependence in &self.dependences {
                if dependence.from.is_subset(&known) {
                    known.extend(&dependence.to);
                }
            }
            if known.len() == before {
                return known;
            }
        }
    }

    /// Without the columns that the others decide; the first ones stay.
    pub(super) fn minimal(&self, mut columns: Vec<ColumnId>) -> Vec<ColumnId> {
        for at in (0..columns.len()).rev() {
            let others = columns.iter().enumerate().filter(|(other, _)| *other != at);
            if self.closure(others.map(|(_, id)| *id)).contains(&columns[at]) {
                columns.remove(at);
            }
        }
        columns
    }

    /// Whether rows that agree in these columns are one row.
    pub(super) fn is_key(&self, columns: impl IntoIterator<Item = ColumnId>) -> bool {
        let decided = self.closure(columns);
        self.key.as_ref().is_some_and(|key| key.iter().all(|id| decided.contains(id)))
    }

    fn add(&mut self, from: impl IntoIterator<Item = ColumnId>, to: BTreeSet<ColumnId>) {
        let from = from.into_iter().collect();
        self.dependences.push(Dependence { from, to, of_missing: false });
    }

    fn equal(&mut self, condition: &Condition) {
        let Some((left, right)) = &condition.equality else { return };
        if let (Some(left), Some(right)) = (decisive(left), decisive(right)) {
            for (from, to) in [(left, right), (right, left)] {
                let (from, to) = (BTreeSet::from([from]), BTreeSet::from([to]));
                self.dependences.push(Dependence { from, to, of_missing: true });
            }
        }
    }
}

pub(super) fn facts(planner: &Planner<'_>, relation: &Relation) -> Facts {
    match relation {
        Relation::Table { table, columns } => of_table(planner, *table, columns),
        Relation::Common { number, columns } => of_common(planner, *number, columns),
        Relation::Inner { factors, conditions } => {
            let inputs = factors.iter().map(|factor| facts(planner, &factor.relation));
            inner(inputs.collect(), conditions)
        }
        Relation::Join { left, right, kind, conditions } => match kind {
            JoinKind::Inner => inner(vec![facts(planner, left), facts(planner, right)], conditions),
            JoinKind::Left => of_left(planner, left, right, conditions),
            JoinKind::Semi | JoinKind::Anti | JoinKind::AntiNull => facts(planner, left),
        },
        Relation::Filter { input, conditions } => {
            let mut facts = facts(planner, input);
            for id in conditions.iter().filter_map(constant) {
                facts.add([], BTreeSet::from([id]));
            }
            facts.key = facts.key.take().map(|key| facts.minimal(key));
            facts
        }
        Relation::Map { input, columns } => {
            let mut facts = facts(planner, input);
            for (id, scalar) in columns {
                match scalar.as_column() {
                    Some(other) => {
                        facts.add([other], BTreeSet::from([*id]));
                        facts.add([*id], BTreeSet::from([other]));
                    }
                    None if let Some((a, b)) = full_pair(planner, scalar) => {
                        facts.add([*id], BTreeSet::from([a, b]));
                    }
                    // 1.0 and 1.00 are equal, and print differently.
                    None if scalar
                        .columns
                        .iter()
                        .all(|id| types::is_exact(&planner.info(*id).ty)) =>
                    {
                        facts.add(scalar.columns.iter().copied(), BTreeSet::from([*id]));
                    }
                    None => {}
                }
            }
            facts
        }
        Relation::Expand { input, expansion, .. } => {
            let mut facts = facts(planner, input);
            facts.key = facts.key.take().zip(expansion.key.clone()).map(|(mut key, more)| {
                key.extend(more);
                key
            });
            if let Some(key) = facts.key.clone() {
                facts.add(key, expansion.columns.iter().copied().collect());
            }
            facts
        }
        Relation::Union { columns, key, .. } => {
            let mut facts = Facts { key: key.clone(), dependences: Vec::new() };
            if let Some(key) = key {
                facts.add(key.iter().copied(), columns.iter().copied().collect());
            }
            facts
        }
        Relation::Aggregate { input, group, aggregates, .. } => {
            let mut facts = facts(planner, input);
            facts.add(group.iter().copied(), aggregates.iter().map(|a| a.column).collect());
            facts.key = Some(facts.minimal(group.clone()));
            facts
        }
        Relation::TopN { input, partition, limit, .. } => {
            let mut facts = facts(planner, input);
            if *limit == Some(1) {
                facts.add(partition.iter().copied(), input.columns());
                facts.key = Some(facts.minimal(partition.clone()));
            }
            facts
        }
    }
}

fn of_table(planner: &Planner<'_>, table: usize, columns: &[ColumnId]) -> Facts {
    let key = planner.schema.tables[table].primary_key.as_ref();
    let key: Option<Vec<ColumnId>> = key.map(|key| key.iter().map(|at| columns[*at]).collect());
    let dependence = key.as_ref().map(|key| Dependence {
        from: key.iter().copied().collect(),
        to: columns.iter().copied().collect(),
        of_missing: true,
    });
    Facts { key, dependences: dependence.into_iter().collect() }
}

fn of_common(planner: &Planner<'_>, number: usize, columns: &[(ColumnId, ColumnId)]) -> Facts {
    let there = planner.common.borrow()[number].facts.clone();
    let here = |id: &ColumnId| columns.iter().find(|(_, t)| t == id).map(|(here, _)| *here);
    let key: Option<Vec<ColumnId>> =
        there.key.and_then(|key| key.iter().map(here).collect::<Option<Vec<_>>>());
    let mut facts = Facts { key, dependences: Vec::new() };
    if let Some(key) = facts.key.clone() {
        facts.add(key, columns.iter().map(|(here, _)| *here).collect());
    }
    facts
}

fn inner(inputs: Vec<Facts>, conditions: &[Condition]) -> Facts {
    let mut facts = Facts { key: Some(Vec::new()), dependences: Vec::new() };
    for input in inputs {
        facts.dependences.extend(input.dependences);
        facts.key = facts.key.zip(input.key).map(|(mut key, more)| {
            key.extend(more);
            key
        });
    }
    for condition in conditions {
        facts.equal(condition);
    }
    facts.key = facts.key.take().map(|key| facts.minimal(key));
    facts
}

fn of_left(
    planner: &Planner<'_>,
    left: &Relation,
    right: &Relation,
    conditions: &[Condition],
) -> Facts {
    let mut facts = facts(planner, left);
    let of_right = self::facts(planner, right);
    let (left_columns, right_columns) = (left.columns(), right.columns());
    let joined = conditions.iter().filter(|c| joins(c, &left_columns, &right_columns));
    let keys = joined.filter_map(|condition| {
        let (a, b) = condition.equality.as_ref()?;
        let right = if a.columns.is_subset(&right_columns) { a } else { b };
        decisive(right)
    });
    let single = of_right.is_key(keys);
    facts.dependences.extend(of_right.dependences.into_iter().filter(|d| d.of_missing));
    if single {
        // One partner at most, and the left row decides which.
        match &facts.key {
            Some(key) => facts.add(key.clone(), right_columns),
            None => facts.add(left_columns, right_columns),
        }
    } else {
        facts.key = facts.key.take().zip(of_right.key).map(|(mut key, more)| {
            key.extend(more);
            key
        });
        facts.key = facts.key.take().map(|key| facts.minimal(key));
    }
    facts
}

/// The columns of a FULL JOIN that this merges: `coalesce(a.id, b.id)`.
fn full_pair(planner: &Planner<'_>, scalar: &Scalar) -> Option<(ColumnId, ColumnId)> {
    let Expr::Function(call) = bare(&scalar.ast) else { return None };
    let FunctionArguments::List(list) = &call.args else { return None };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(a))),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(b))),
    ] = list.args.as_slice()
    else {
        return None;
    };
    let (a, b) = (id_of(a)?, id_of(b)?);
    let pairs = planner.full_pairs.borrow();
    let is_merged = pairs.contains(&(a, b)) || pairs.contains(&(b, a));
    (is_merged && is_called(&call.name, "coalesce")).then_some((a, b))
}

/// The column that the condition holds to one value.
fn constant(condition: &Scalar) -> Option<ColumnId> {
    if let Expr::IsNull(of) = bare(&condition.ast) {
        return match bare(of) {
            Expr::Identifier(name) => id_of(name),
            _ => None,
        };
    }
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = bare(&condition.ast) else {
        return None;
    };
    match (bare(left), bare(right)) {
        (Expr::Identifier(name), Expr::Value(_)) | (Expr::Value(_), Expr::Identifier(name)) => {
            id_of(name)
        }
        _ => None,
    }
}
