//! EXISTS, IN, scalar subqueries and LATERAL become joins.
//!
//! A subquery is planned by itself. The conditions of its WHERE that look at the surrounding query's
//! columns are taken out of it and become conditions of the join. Where it has an aggregate, DISTINCT or
//! LIMIT, they have to be equalities: what they compare inside is grouped by (or partitioned by) as well.

use std::ops::Range;

use sqlparser::ast::{self, Expr, Query};
use sqlparser::tokenizer::Span;

use super::Fault;
use super::column::{ColumnId, Scalar, bare, binary, decisive, name_of};
use super::group::equality;
use super::key;
use super::planner::{Planner, Result};
use super::push::{Sieve, push};
use super::relation::{Aggregate, Condition, Relation};
use super::resolve::{Attached, Clause};
use super::types;
use crate::sql::plan::{Function, JoinKind};

/// A planned query.
#[derive(Debug)]
pub(super) struct Sub {
    pub(super) relation: Relation,
    pub(super) output: Vec<(String, ColumnId)>,
    /// Conditions over the surrounding query's columns.
    pub(super) correlated: Vec<Condition>,
    /// An aggregate without GROUP BY over rows that the surrounding query chooses: it has one row where
    /// `relation` has none, and `after_join` computes it.
    pub(super) lifted: bool,
    pub(super) after_join: Vec<(ColumnId, Scalar)>,
}

/// A part of WHERE, of HAVING, or of ON of an inner join.
pub(super) enum Prepared {
    Condition(Box<Condition>),
    Semi { right: Relation, kind: JoinKind, conditions: Vec<Condition>, place: Range<usize> },
}

impl Clause<'_> {
    /// The parts of a condition, names resolved.
    pub(super) fn prepared(&self, condition: Option<&Expr>) -> Result<Vec<Prepared>> {
        let parts = condition.map(super::condition::conjuncts).unwrap_or_default();
        parts.iter().map(|part| self.part(part)).collect()
    }

    fn part(&self, part: &Expr) -> Result<Prepared> {
        let place = self.planner.text.place(part);
        match bare(part) {
            Expr::Exists { subquery, negated } => self.exists(subquery, *negated, place),
            Expr::InSubquery { expr, subquery, negated } => {
                self.is_in(expr, subquery, *negated, place)
            }
            part => Ok(Prepared::Condition(Box::new(self.condition(part)?))),
        }
    }

    /// The rows for which all parts are true. What looks at the surrounding query goes to `correlated`.
    pub(super) fn filtered(
        &self,
        relation: Relation,
        parts: Vec<Prepared>,
        correlated: &mut Vec<Condition>,
    ) -> Result<Relation> {
        let mut relation = self.attached_to(relation);
        let own = relation.columns();
        for part in parts {
            match part {
                Prepared::Condition(condition) if condition.scalar.columns.is_subset(&own) => {
                    relation = push(relation, Sieve::Condition(condition));
                }
                Prepared::Condition(condition) => correlated.push(*condition),
                Prepared::Semi { right, kind, conditions, place } => {
                    let of_right = right.columns();
                    let known = |condition: &Condition| {
                        let mut columns = condition.scalar.columns.iter();
                        columns.all(|id| own.contains(id) || of_right.contains(id))
                    };
                    if !conditions.iter().all(known) {
                        return Err(two_levels(place));
                    }
                    relation = push(relation, Sieve::Semi { right, kind, conditions });
                }
            }
        }
        Ok(relation)
    }

    fn exists(&self, query: &Query, negated: bool, place: Range<usize>) -> Result<Prepared> {
        let sub = self.planner.rows_alone(query, Some(self), self.commons)?;
        if sub.lifted {
            return Err(Fault::new("EXISTS over an aggregate without GROUP BY is always true")
                .hint("leave the aggregate out")
                .at(place));
        }
        let kind = if negated { JoinKind::Anti } else { JoinKind::Semi };
        Ok(Prepared::Semi { right: sub.relation, kind, conditions: sub.correlated, place })
    }

    fn is_in(
        &self,
        expr: &Expr,
        query: &Query,
        negated: bool,
        place: Range<usize>,
    ) -> Result<Prepared> {
        let left = match bare(expr) {
            Expr::Tuple(parts) => parts.iter().map(|part| self.scalar(part)).collect(),
            expr => self.scalar(expr).map(|scalar| vec![scalar]),
        };
        let left: Vec<Scalar> = left?;
        let sub = self.planner.query(query, Some(self), self.commons)?;
        if sub.output.len() != left.len() {
            let what = format!(
                "the subquery has {} columns, and {} are compared",
                sub.output.len(),
                left.len()
            );
            return Err(Fault::new(what).at(place));
        }
        if sub.lifted {
            return Err(Fault::new(
                "IN with one aggregate of the surrounding query's rows is not supported",
            )
            .hint("write = instead of IN: there is one value")
            .at(place));
        }
        let nowhere_null = left.iter().all(|scalar| scalar.ty.not_null)
            && sub.output.iter().all(|(_, id)| self.planner.info(*id).ty.not_null);
        let kind = match (negated, nowhere_null) {
            (false, _) => JoinKind::Semi,
            (true, true) => JoinKind::Anti,
            (true, false) if sub.correlated.is_empty() && left.len() == 1 => JoinKind::AntiNull,
            (true, false) => {
                return Err(Fault::new("this NOT IN is not supported where one side may be NULL")
                    .hint("write NOT EXISTS (SELECT … WHERE …)")
                    .at(place));
            }
        };
        let mut conditions = sub.correlated;
        for (left, (_, id)) in left.into_iter().zip(&sub.output) {
            let right = self.planner.column_scalar(*id, &place);
            conditions.push(equality(self.planner, left, right)?);
        }
        Ok(Prepared::Semi { right: sub.relation, kind, conditions, place })
    }

    /// EXISTS as a value: a mark at each row that has a partner.
    pub(super) fn exists_value(
        &self,
        query: &Query,
        negated: bool,
        place: Range<usize>,
    ) -> Result<Expr> {
        let planner = self.planner;
        let sub = planner.rows_alone(query, Some(self), self.commons)?;
        if sub.lifted {
            return Err(Fault::new("EXISTS over an aggregate without GROUP BY is always true")
                .hint("leave the aggregate out")
                .at(place));
        }
        let mut relation = sub.relation;
        let (keys, conditions) =
            planner.outer_keys(&mut relation, sub.correlated, "EXISTS as a value", &place)?;
        let none = Span::empty();
        if conditions.is_empty() {
            let count = planner.new_column("count", types::bigint(true));
            let aggregates = vec![Aggregate {
                column: count,
                function: Function::Count,
                arguments: Vec::new(),
                distinct: false,
                order: Vec::new(),
                filter: None,
            }];
            let input = Box::new(relation);
            let relation =
                Relation::Aggregate { input, group: Vec::new(), aggregates, scalar: true };
            self.attach(Attached {
                relation,
                kind: JoinKind::Inner,
                conditions,
                after: Vec::new(),
                place,
            });
            let op = if negated { ast::BinaryOperator::Eq } else { ast::BinaryOperator::Gt };
            let zero = Expr::value(ast::Value::Number("0".into(), false));
            return Ok(super::column::nested(binary(name_of(count, none), op, zero)));
        }
        let relation = Relation::Aggregate {
            input: Box::new(relation),
            group: keys,
            aggregates: Vec::new(),
            scalar: false,
        };
        let truth = planner.scalar(Expr::value(ast::Value::Boolean(true)), place.clone())?;
        let mark = planner.new_column("exists", types::boolean());
        let relation = relation.map(vec![(mark, truth)]);
        planner.make_nullable(relation.columns());
        self.attach(Attached {
            relation,
            kind: JoinKind::Left,
            conditions,
            after: Vec::new(),
            place,
        });
        let mark = Box::new(name_of(mark, none));
        Ok(super::column::nested(if negated { Expr::IsNull(mark) } else { Expr::IsNotNull(mark) }))
    }

    /// A scalar subquery: the column that has its value, NULL where there is no row.
    pub(super) fn scalar_subquery(&self, query: &Query, place: Range<usize>) -> Result<Expr> {
        let planner = self.planner;
        let sub = planner.query(query, Some(self), self.commons)?;
        let [(name, value)] = sub.output.as_slice() else {
            let what = format!("the subquery has {} columns, and one is wanted", sub.output.len());
            return Err(Fault::new(what).at(place));
        };
        let result = Expr::Nested(Box::new(name_of(*value, Span::empty())));
        let Sub { relation, correlated, lifted, after_join, .. } = &sub;
        if computed_alone(relation) && correlated.is_empty() {
            let after = computations(relation);
            self.attach(Attached {
                relation: Relation::one_row(),
                kind: JoinKind::Inner,
                conditions: Vec::new(),
                after,
                place,
            });
            return Ok(result);
        }
        if *lifted || self.is_single(relation, correlated) {
            let kind = match always_one(relation) && correlated.is_empty() {
                true => JoinKind::Inner,
                false => JoinKind::Left,
            };
            if kind == JoinKind::Left {
                planner.make_nullable(relation.columns());
            }
            let after = after_join.clone();
            let (relation, conditions) = (sub.relation, sub.correlated);
            self.attach(Attached { relation, kind, conditions, after, place });
            return Ok(result);
        }
        let mut relation = sub.relation;
        let (keys, conditions) = planner.outer_keys(
            &mut relation,
            sub.correlated,
            "a scalar subquery that may have several rows",
            &place,
        )?;
        let ty = planner.info(*value).ty;
        let single =
            planner.new_column(name.as_str(), crate::sql::expr::Ty { not_null: false, ..ty });
        let aggregates = vec![Aggregate {
            column: single,
            function: Function::Single,
            arguments: vec![*value],
            distinct: false,
            order: Vec::new(),
            filter: None,
        }];
        let scalar = keys.is_empty();
        let alone = conditions.is_empty();
        let kind = if alone { JoinKind::Inner } else { JoinKind::Left };
        let relation =
            Relation::Aggregate { input: Box::new(relation), group: keys, aggregates, scalar };
        if kind == JoinKind::Left {
            planner.make_nullable(relation.columns());
        }
        self.attach(Attached { relation, kind, conditions, after: Vec::new(), place });
        Ok(Expr::Nested(Box::new(name_of(single, Span::empty()))))
    }

    /// Whether a row of the surrounding query finds one row at most.
    fn is_single(&self, relation: &Relation, correlated: &[Condition]) -> bool {
        let own = relation.columns();
        let inner = correlated.iter().filter_map(|condition| {
            let (left, right) = condition.equality.as_ref()?;
            let (inner, outer) =
                if left.columns.is_subset(&own) { (left, right) } else { (right, left) };
            decisive(inner).filter(|_| outer.columns.is_disjoint(&own))
        });
        key::facts(self.planner, relation).is_key(inner)
    }
}

impl Planner<'_> {
    /// The columns of a subquery that the surrounding query chooses rows by, and the conditions on them.
    pub(super) fn outer_keys(
        &self,
        relation: &mut Relation,
        correlated: Vec<Condition>,
        what: &str,
        place: &Range<usize>,
    ) -> Result<(Vec<ColumnId>, Vec<Condition>)> {
        let own = relation.columns();
        let (mut keys, mut conditions, mut computed) = (Vec::new(), Vec::new(), Vec::new());
        for condition in correlated {
            let at = condition.scalar.place.clone();
            // About the surrounding query's row alone: the join looks at it.
            if condition.scalar.columns.is_disjoint(&own) {
                conditions.push(condition);
                continue;
            }
            let sides = condition.equality.and_then(|(left, right)| {
                let (inner, outer) =
                    if left.columns.is_subset(&own) { (left, right) } else { (right, left) };
                let apart = inner.columns.is_subset(&own) && outer.columns.is_disjoint(&own);
                apart.then_some((inner, outer))
            });
            let Some((inner, outer)) = sides else {
                let at = if at.is_empty() { place.clone() } else { at };
                return Err(Fault::new(format!(
                    "in {what}, a condition on the surrounding query's columns has to be an equality \
                     with a column of the subquery's own"
                ))
                .hint("write inner.column = outer.column, or join in FROM and group there")
                .at(at));
            };
            let key = inner.as_column().unwrap_or_else(|| {
                let id = self.new_column("key", inner.ty.clone());
                computed.push((id, inner.clone()));
                id
            });
            if !keys.contains(&key) {
                keys.push(key);
            }
            conditions.push(equality(self, self.column_scalar(key, &at), outer)?);
        }
        let input = std::mem::replace(relation, Relation::one_row());
        *relation = input.map(computed);
        Ok((keys, conditions))
    }
}

/// Expressions alone, over columns of the surrounding query: a subquery without FROM.
pub(super) fn computed_alone(relation: &Relation) -> bool {
    match relation {
        Relation::Map { input, .. } => computed_alone(input),
        relation => relation.is_one_row(),
    }
}

fn computations(relation: &Relation) -> Vec<(ColumnId, Scalar)> {
    match relation {
        Relation::Map { input, columns } => {
            let mut all = computations(input);
            all.extend(columns.iter().cloned());
            all
        }
        _ => Vec::new(),
    }
}

/// Such expressions over the rows that they stand beside.
pub(super) fn onto(alone: Relation, rows: Relation) -> Relation {
    match alone {
        Relation::Map { input, columns } => onto(*input, rows).map(columns),
        _ => rows,
    }
}

/// Exactly one row, whatever the tables hold.
fn always_one(relation: &Relation) -> bool {
    match relation {
        Relation::Aggregate { scalar, .. } => *scalar,
        Relation::Map { input, .. } => always_one(input),
        Relation::Inner { factors, conditions } => {
            conditions.is_empty() && factors.iter().all(|factor| always_one(&factor.relation))
        }
        Relation::Join { left, kind: JoinKind::Left, conditions, .. } => {
            conditions.is_empty() && always_one(left)
        }
        _ => false,
    }
}

fn two_levels(place: Range<usize>) -> Fault {
    Fault::new(
        "a subquery looks at columns of a query two levels around it, which is not supported",
    )
    .hint("join that query's table once more in between, or write a join instead of the subquery")
    .at(place)
}
