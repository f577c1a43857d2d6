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
use super::member::as_in;
use super::planner::{Planner, Result};
use super::push::{Sieve, push};
use super::relation::{Aggregate, Condition, Relation, Sort};
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
    /// HAVING may take that row away: its columns are NULL then.
    pub(super) may_be_none: bool,
    pub(super) after_join: Vec<(ColumnId, Scalar)>,
    /// Columns of the result that look at the surrounding row as well: computed beside it.
    pub(super) deferred: Vec<(ColumnId, Scalar)>,
    /// ORDER BY, for an aggregate over these rows that says no other.
    pub(super) order: Vec<Sort>,
}

impl Sub {
    pub(super) fn no_outer_columns(&self, place: &Range<usize>) -> Result<()> {
        match self.deferred.first() {
            None => Ok(()),
            Some((_, scalar)) => Err(outer_columns(match scalar.place.is_empty() {
                true => place.clone(),
                false => scalar.place.clone(),
            })),
        }
    }
}

pub(super) fn outer_columns(place: Range<usize>) -> Fault {
    Fault::new("columns of the surrounding query in this subquery's SELECT list are not supported")
        .hint("give out the subquery's own columns, and compute with them outside")
        .at(place)
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
        if let Some(same) = as_in(part) {
            return self.part(&same);
        }
        let prepared = match bare(part) {
            Expr::Exists { subquery, negated } => self.exists(subquery, *negated, place.clone())?,
            Expr::InSubquery { expr, subquery, negated } => {
                self.is_in(expr, subquery, *negated, place.clone())?
            }
            part => return Ok(Prepared::Condition(Box::new(self.condition(part)?))),
        };
        match self.outer {
            // It says nothing of the rows here: it is a condition on the surrounding row, which has its value.
            Some(outer) if self.is_about_outer(&prepared) => {
                let scalar = self.planner.scalar(outer.resolved(part)?, place)?;
                let condition = super::condition::condition(self.planner, scalar)?;
                Ok(Prepared::Condition(Box::new(condition)))
            }
            _ => Ok(prepared),
        }
    }

    fn is_about_outer(&self, prepared: &Prepared) -> bool {
        let Prepared::Semi { right, conditions, .. } = prepared else { return false };
        let of_right = right.columns();
        let columns = conditions.iter().flat_map(|condition| &condition.scalar.columns);
        let mut outside = columns.filter(|id| !of_right.contains(id)).peekable();
        let is_own = |id: &ColumnId| {
            self.scope.relations.iter().any(|of| of.columns.iter().any(|(_, own)| own == id))
        };
        outside.peek().is_some() && !outside.any(is_own)
    }

    /// The rows for which all parts are true. What looks at the surrounding query goes to `correlated`.
    pub(super) fn filtered(
        &self,
        relation: Relation,
        parts: Vec<Prepared>,
        correlated: &mut Vec<Condition>,
    ) -> Result<Relation> {
        let whole = |part: &Prepared| match part {
            Prepared::Condition(condition) => Some((**condition).clone()),
            Prepared::Semi { .. } => None,
        };
        let conditions: Vec<Condition> = parts.iter().filter_map(whole).collect();
        self.planner.learn(&relation.columns(), conditions.iter().chain(correlated.iter()));
        let mut relation = self.attached_within(relation)?;
        let own = relation.columns();
        for part in parts {
            match part {
                Prepared::Condition(condition) if condition.scalar.columns.is_subset(&own) => {
                    relation = push(relation, Sieve::Condition(condition));
                }
                Prepared::Condition(condition) => correlated.push(*condition),
                Prepared::Semi { right, kind, conditions, place } => {
                    let of_right = right.columns();
                    let near = |condition| self.planner.brought_near(condition, &own, &of_right);
                    let conditions: Vec<Condition> =
                        conditions.into_iter().map(near).collect::<Result<_>>()?;
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
        let left = self.left_side(expr)?;
        let sub = self.member_query(query, left.len(), &place)?;
        let kind = match (negated, self.nowhere_null(&left, &sub)) {
            _ if sub.lifted => None,
            (false, _) => Some(JoinKind::Semi),
            (true, true) => Some(JoinKind::Anti),
            (true, false) if sub.correlated.is_empty() && left.len() == 1 => {
                Some(JoinKind::AntiNull)
            }
            (true, false) => None,
        };
        let Some(kind) = kind else {
            let value = self.in_value(expr, query, negated, place.clone())?;
            let scalar = self.planner.scalar(value, place)?;
            let condition = super::condition::condition(self.planner, scalar)?;
            return Ok(Prepared::Condition(Box::new(condition)));
        };
        let conditions = self.membership(left, &sub, &place)?;
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
        let found = self.mark(sub.relation, sub.correlated, "EXISTS as a value", &place)?;
        Ok(match negated {
            true => {
                let op = ast::UnaryOperator::Not;
                super::column::nested(Expr::UnaryOp { op, expr: Box::new(found) })
            }
            false => found,
        })
    }

    /// Whether a row has a partner: true or false.
    pub(super) fn mark(
        &self,
        mut relation: Relation,
        correlated: Vec<Condition>,
        what: &str,
        place: &Range<usize>,
    ) -> Result<Expr> {
        let planner = self.planner;
        let (keys, conditions) = planner.outer_keys(&mut relation, correlated, what, place)?;
        let none = Span::empty();
        let place = place.clone();
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
            let zero = Expr::value(ast::Value::Number("0".into(), false));
            let some = binary(name_of(count, none), ast::BinaryOperator::Gt, zero);
            return Ok(super::column::nested(some));
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
        Ok(super::column::nested(Expr::IsNotNull(Box::new(name_of(mark, none)))))
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
            let mut after = after_join.clone();
            let (mut relation, conditions) = (sub.relation, sub.correlated);
            if !sub.deferred.is_empty() {
                let (marked, deferred) = planner.beside(relation, kind, sub.deferred, &place)?;
                relation = marked;
                after.extend(deferred);
            }
            self.attach(Attached { relation, kind, conditions, after, place });
            return Ok(result);
        }
        sub.no_outer_columns(&place)?;
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
    /// What is to be computed beside the surrounding row. Beside a row that an outer join has added it is
    /// NULL: the relation gets a mark that tells.
    pub(super) fn beside(
        &self,
        relation: Relation,
        kind: JoinKind,
        deferred: Vec<(ColumnId, Scalar)>,
        place: &Range<usize>,
    ) -> Result<(Relation, Vec<(ColumnId, Scalar)>)> {
        if kind == JoinKind::Inner {
            return Ok((relation, deferred));
        }
        let truth = self.scalar(Expr::value(ast::Value::Boolean(true)), place.clone())?;
        let mark = self.new_column("present", types::boolean());
        let relation = relation.map(vec![(mark, truth)]);
        let there = || Expr::IsNotNull(Box::new(name_of(mark, Span::empty())));
        let guarded = |(id, scalar): (ColumnId, Scalar)| {
            let place = scalar.place.clone();
            let value = self.scalar(super::column::case_when(there(), scalar.ast), place)?;
            self.make_nullable([id]);
            Ok((id, value))
        };
        let deferred = deferred.into_iter().map(guarded).collect::<Result<_>>()?;
        Ok((relation, deferred))
    }

    /// The columns of a subquery that the surrounding query chooses rows by, and the conditions on them.
    pub(super) fn outer_keys(
        &self,
        relation: &mut Relation,
        correlated: Vec<Condition>,
        what: &str,
        place: &Range<usize>,
    ) -> Result<(Vec<ColumnId>, Vec<Condition>)> {
        let correlated = self.brought_within(relation, correlated, place)?;
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
