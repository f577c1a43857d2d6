//! FROM: tables, subqueries, and the joins between them.

use std::collections::BTreeSet;
use std::ops::Range;

use sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, TableWithJoins,
};

use super::Fault;
use super::column::ColumnId;
use super::condition::conjuncts;
use super::planner::{Commons, Planner, Result};
use super::push::{Sieve, push};
use super::relation::{Condition, Expansion, Factor, Relation, Sort};
use super::resolve::Clause;
use super::scope::{Named, Scope};
use super::subquery::{computed_alone, onto, outer_columns};
use crate::sql::expr::fold_case;
use crate::sql::plan::JoinKind;

/// What FROM gives.
pub(super) struct From {
    pub(super) relation: Relation,
    pub(super) scope: Scope,
    /// Conditions that hold over columns of the surrounding query.
    pub(super) correlated: Vec<Condition>,
    /// Of a subquery that stands alone.
    pub(super) order: Vec<Sort>,
    pub(super) place: Range<usize>,
}

/// One item, and what there is to be done when it is joined to what stands before it.
pub(super) struct Item {
    pub(super) from: From,
    /// A LATERAL subquery of one row for each row before it: computed after the join.
    pub(super) lifted: Option<Vec<(ColumnId, super::column::Scalar)>>,
    /// That row may be taken away by HAVING.
    pub(super) may_be_none: bool,
    /// Columns of a LATERAL subquery that look at what stands before it.
    pub(super) deferred: Vec<(ColumnId, super::column::Scalar)>,
    /// Rows that a function makes of a value of what stands before it.
    pub(super) expansion: Option<Box<Expansion>>,
}

/// Where an item stands.
#[derive(Clone, Copy)]
pub(super) struct Around<'f> {
    /// What stands before it, for LATERAL.
    pub(super) before: &'f Scope,
    pub(super) outer: Option<&'f Clause<'f>>,
    pub(super) commons: &'f Commons,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Inner,
    Left,
    Right,
    Full,
}

impl Planner<'_> {
    pub(super) fn from(
        &self,
        items: &[TableWithJoins],
        outer: Option<&Clause<'_>>,
        commons: &Commons,
    ) -> Result<From> {
        let (mut all, mut order) = (From::nothing(), Vec::new());
        for item in items {
            let before = all.scope.clone();
            let around = Around { before: &before, outer, commons };
            let first = self.factor(&item.relation, around)?;
            if items.len() == 1 && item.joins.is_empty() {
                order.clone_from(&first.from.order);
            }
            if first.stands_beside() && item.joins.iter().all(keeps_left) {
                // What stands before it comes with it: (a, f(a.x) e) JOIN b is a, (f(a.x) e JOIN b).
                all = self.join(all, first, Kind::Inner, &JoinConstraint::None, around)?;
                let nothing = Scope::default();
                let around = Around { before: &nothing, ..around };
                all = self.joined(Item::of(all), &item.joins, around)?.from;
                continue;
            }
            let item = self.joined(first, &item.joins, around)?;
            all = self.join(all, item, Kind::Inner, &JoinConstraint::None, around)?;
        }
        Ok(From { order, ..all })
    }

    /// An item of FROM with the joins behind it.
    pub(super) fn joined(&self, first: Item, joins: &[Join], around: Around<'_>) -> Result<Item> {
        let mut left = first;
        for join in joins {
            if left.stands_beside() {
                return Err(Fault::new(
                    "a join with what looks at what stands before it on its left is not supported",
                )
                .hint("write the function or LATERAL subquery last, by a comma or JOIN LATERAL … ON true")
                .at(left.from.place));
            }
            let mut before = around.before.clone();
            before.append(left.from.scope.clone(), &left.from.place)?;
            let around = Around { before: &before, ..around };
            let (kind, constraint) = self.operator(&join.join_operator, &left.from.place)?;
            let right = self.factor(&join.relation, around)?;
            let from = self.join(left.from, right, kind, constraint, around)?;
            left = Item::of(from);
        }
        Ok(left)
    }

    fn operator<'j>(
        &self,
        operator: &'j JoinOperator,
        before: &Range<usize>,
    ) -> Result<(Kind, &'j JoinConstraint)> {
        match operator {
            JoinOperator::Join(on) | JoinOperator::Inner(on) | JoinOperator::CrossJoin(on) => {
                Ok((Kind::Inner, on))
            }
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => Ok((Kind::Left, on)),
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => Ok((Kind::Right, on)),
            JoinOperator::FullOuter(on) => Ok((Kind::Full, on)),
            _ => Err(Fault::new("this join is not PostgreSQL's")
                .hint("write JOIN, LEFT JOIN, RIGHT JOIN, FULL JOIN or CROSS JOIN")
                .at(before.clone())),
        }
    }

    fn join(
        &self,
        left: From,
        right: Item,
        kind: Kind,
        constraint: &JoinConstraint,
        around: Around<'_>,
    ) -> Result<From> {
        let Item { from: right, lifted, may_be_none, deferred, expansion } = right;
        let place = right.place.clone();
        let mut scope = left.scope.clone();
        scope.append(right.scope.clone(), &place)?;
        if let Some(expansion) = expansion {
            let outer = kind == Kind::Left;
            if !expansion.list.columns.is_subset(&left.relation.columns()) {
                let right = self.expanded_within(*expansion, deferred, right)?;
                return self.join(left, Item::of(right), kind, constraint, around);
            }
            if outer {
                self.make_nullable(expansion.columns.iter().copied());
                self.make_nullable(deferred.iter().map(|(id, _)| *id));
                scope.relations.iter_mut().rev().take(1).for_each(|named| named.nullable = true);
            }
            let relation = Relation::Expand { input: Box::new(left.relation), expansion, outer };
            let relation = relation.map(deferred);
            let from = From::joined(relation, scope, left.correlated, place);
            return self.one_beside(from, kind, constraint, around);
        }
        let mut both = left.relation.columns();
        both.append(&mut right.relation.columns());
        let inside = |condition: &Condition| condition.scalar.columns.is_subset(&both);
        let (mut conditions, outside): (Vec<_>, Vec<_>) =
            right.correlated.into_iter().partition(inside);
        let missing_is_tied = match kind {
            Kind::Inner => false,
            Kind::Left => !outside.is_empty(),
            Kind::Right | Kind::Full => !outside.is_empty() || !left.correlated.is_empty(),
        };
        if missing_is_tied {
            return Err(Fault::new(
                "a subquery on the outer side of a join looks at columns of the surrounding query",
            )
            .hint("write the condition in WHERE")
            .at(place));
        }
        let mut correlated = left.correlated;
        correlated.extend(outside);
        // A LATERAL subquery of exactly one row stands beside its row whatever the join is.
        if may_be_none && kind == Kind::Inner {
            return Err(Fault::new(
                "HAVING in a LATERAL subquery that aggregates without GROUP BY is supported in a LEFT JOIN",
            )
            .hint("write LEFT JOIN LATERAL … ON true, without HAVING, and its condition in WHERE")
            .at(place));
        }
        if lifted.is_some() || computed_alone(&right.relation) {
            let mut filters = Vec::new();
            if computed_alone(&right.relation) {
                filters = std::mem::take(&mut conditions);
            }
            if !filters.is_empty() && (kind != Kind::Inner || lifted.is_some()) {
                return Err(Fault::new(
                    "WHERE in a LATERAL subquery without FROM is supported in an inner join",
                )
                .hint("write CASE WHEN … THEN … END for its columns")
                .at(place));
            }
            let relation = beside(self, left.relation, right.relation, conditions);
            let pushed =
                |relation, condition| push(relation, Sieve::Condition(Box::new(condition)));
            let relation = filters.into_iter().fold(relation, pushed);
            let relation = relation.map_in_turn(lifted.unwrap_or_default());
            let from = From::joined(relation, scope, correlated, place);
            return self.one_beside(from, kind, constraint, around);
        }
        let sides = (&left.scope, &right.scope);
        let names = match constraint {
            JoinConstraint::Using(names) => names.clone(),
            JoinConstraint::Natural => self.natural(&left.scope, &right.scope),
            JoinConstraint::On(_) | JoinConstraint::None => Vec::new(),
        };
        let using = self.using(&names, sides, kind, &mut scope, &place)?;
        conditions.extend(using.conditions);
        if let Some((_, scalar)) = deferred.iter().find(|(_, s)| !s.columns.is_subset(&both)) {
            return Err(outer_columns(scalar.place.clone()));
        }
        if kind == Kind::Inner {
            let factor = Factor { relation: right.relation, place: place.clone() };
            let relation = left.relation.inner(left.place, factor, Vec::new());
            let pushed =
                |relation, condition| push(relation, Sieve::Condition(Box::new(condition)));
            let relation = conditions.into_iter().fold(relation, pushed).map(deferred);
            let mut from = From::joined(relation, scope, correlated, place);
            self.inner_on(&mut from, constraint, around)?;
            return Ok(from);
        }
        let (mut left_rows, mut right_rows) = (left.relation, right.relation);
        if let JoinConstraint::On(on) = constraint {
            let clause = Clause::new(self, &scope, around.outer, around.commons, "ON");
            for part in conjuncts(on) {
                let condition = clause.condition(&part)?;
                // What a subquery gives stands beside the side that it looks at.
                for attached in clause.attached() {
                    let wanted = attached.looked_at();
                    let place = attached.place.clone();
                    let side = match wanted.is_subset(&right_rows.columns()) {
                        true => &mut right_rows,
                        false if wanted.is_subset(&left_rows.columns()) => &mut left_rows,
                        false => return Err(both_sides(place)),
                    };
                    let rows = std::mem::replace(side, Relation::one_row());
                    *side = attached.beside(self, rows)?;
                }
                both.append(&mut left_rows.columns());
                both.append(&mut right_rows.columns());
                conditions.push(self.outer_on(condition, &both)?);
            }
        }
        let kind_of_join = if kind == Kind::Inner { JoinKind::Inner } else { JoinKind::Left };
        let (right_rows, deferred) = self.beside(right_rows, kind_of_join, deferred, &place)?;
        let (kept, missing) = match kind {
            Kind::Full if !deferred.is_empty() => {
                return Err(Fault::new("FULL JOIN with LATERAL is not possible").at(place));
            }
            Kind::Full => {
                let relation =
                    self.full_join(left_rows, right_rows, conditions, &using.pairs, &mut scope);
                return Ok(From::joined(relation, scope, correlated, place));
            }
            Kind::Right => (right_rows, left_rows),
            Kind::Left | Kind::Inner => (left_rows, right_rows),
        };
        let missing_columns = missing.columns();
        self.make_nullable(missing_columns.iter().copied());
        for named in &mut scope.relations {
            named.nullable |= named.columns.iter().any(|(_, id)| missing_columns.contains(id));
        }
        let relation = outer_join(kept, missing, conditions).map(deferred);
        Ok(From::joined(relation, scope, correlated, place))
    }

    /// The join with a LATERAL subquery of exactly one row, which has been made.
    fn one_beside(
        &self,
        mut from: From,
        kind: Kind,
        constraint: &JoinConstraint,
        around: Around<'_>,
    ) -> Result<From> {
        let fault = match kind {
            Kind::Right | Kind::Full => {
                Fault::new("RIGHT and FULL JOIN with LATERAL are not possible")
            }
            Kind::Left if !is_true(constraint) => {
                Fault::new("LEFT JOIN LATERAL of one row or of a function is supported ON true")
                    .hint("write ON true, and the condition in WHERE")
            }
            Kind::Inner
                if matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural) =>
            {
                Fault::new("USING and NATURAL with LATERAL and functions are not supported")
                    .hint("write the equality in ON")
            }
            Kind::Left | Kind::Inner => {
                self.inner_on(&mut from, constraint, around)?;
                return Ok(from);
            }
        };
        Err(fault.at(from.place))
    }

    /// ON of an inner join is no different from WHERE.
    fn inner_on(
        &self,
        from: &mut From,
        constraint: &JoinConstraint,
        around: Around<'_>,
    ) -> Result<()> {
        let JoinConstraint::On(on) = constraint else { return Ok(()) };
        let clause = Clause::new(self, &from.scope, around.outer, around.commons, "ON");
        let prepared = clause.prepared(Some(on))?;
        let relation = std::mem::replace(&mut from.relation, Relation::one_row());
        from.relation = clause.filtered(relation, prepared, &mut from.correlated)?;
        Ok(())
    }

    fn outer_on(&self, condition: Condition, both: &BTreeSet<ColumnId>) -> Result<Condition> {
        let place = condition.scalar.place.clone();
        if !condition.scalar.columns.is_subset(both) {
            return Err(Fault::new(
                "ON of an outer join that looks at columns of the surrounding query is not supported",
            )
            .hint("write the outer join in a subquery in FROM, and the condition in its WHERE")
            .at(place));
        }
        Ok(condition)
    }
}

impl Item {
    pub(super) fn of(from: From) -> Self {
        let deferred = Vec::new();
        Item { from, lifted: None, may_be_none: false, deferred, expansion: None }
    }

    /// Part of it is computed of what stands before it.
    fn stands_beside(&self) -> bool {
        self.expansion.is_some() || self.lifted.is_some() || !self.deferred.is_empty()
    }
}

/// A join for which it does not matter whether more stands beside its left side.
fn keeps_left(join: &Join) -> bool {
    match &join.join_operator {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::CrossJoin(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on) => {
            matches!(on, JoinConstraint::On(_) | JoinConstraint::None)
        }
        _ => false,
    }
}

fn both_sides(place: Range<usize>) -> Fault {
    Fault::new("a subquery in ON of an outer join that looks at both sides is not supported")
        .hint("join the subquery first, in FROM")
        .at(place)
}

impl From {
    fn nothing() -> Self {
        From::joined(Relation::one_row(), Scope::default(), Vec::new(), 0..0)
    }

    pub(super) fn of(relation: Relation, named: Named, place: Range<usize>) -> Self {
        let scope = Scope { relations: vec![named], merged: Vec::new() };
        From::joined(relation, scope, Vec::new(), place)
    }

    /// Rows of several parts come in no order.
    fn joined(
        relation: Relation,
        scope: Scope,
        correlated: Vec<Condition>,
        place: Range<usize>,
    ) -> Self {
        From { relation, scope, correlated, order: Vec::new(), place }
    }
}

impl Named {
    pub(super) fn subquery(name: String, columns: Vec<(String, ColumnId)>) -> Self {
        let (schema, hidden, table) = Default::default();
        Named { name, schema, columns, hidden, table, nullable: false, is_value: false }
    }
}

/// The left join, with the conditions about the right side alone on that side.
pub(super) fn outer_join(
    left: Relation,
    mut right: Relation,
    conditions: Vec<Condition>,
) -> Relation {
    let right_columns = right.columns();
    let mut kept = Vec::new();
    for condition in conditions {
        let columns = &condition.scalar.columns;
        if !columns.is_empty() && columns.is_subset(&right_columns) {
            right = push(right, Sieve::Condition(Box::new(condition)));
        } else {
            kept.push(condition);
        }
    }
    Relation::Join {
        left: Box::new(left),
        right: Box::new(right),
        kind: JoinKind::Left,
        conditions: kept,
    }
}

/// A relation of one row for each row of the left one.
fn beside(
    planner: &Planner<'_>,
    left: Relation,
    right: Relation,
    conditions: Vec<Condition>,
) -> Relation {
    if computed_alone(&right) {
        return onto(right, left);
    }
    planner.make_nullable(right.columns());
    Relation::Join {
        left: Box::new(left),
        right: Box::new(right),
        kind: JoinKind::Left,
        conditions,
    }
}

fn is_true(constraint: &JoinConstraint) -> bool {
    match constraint {
        JoinConstraint::On(Expr::Value(value)) => {
            matches!(value.value, sqlparser::ast::Value::Boolean(true))
        }
        JoinConstraint::None => true,
        _ => false,
    }
}

/// The parts of a name as PostgreSQL reads them.
pub(in crate::sql) fn parts(name: &ObjectName) -> Vec<String> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(name) => fold_case(name),
        ObjectNamePart::Function(function) => fold_case(&Ident::new(function.name.value.clone())),
    };
    name.0.iter().map(part).collect()
}
