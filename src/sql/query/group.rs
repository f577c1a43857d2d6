//! GROUP BY, HAVING and aggregates.

use std::cell::RefCell;
use std::ops::Range;

use sqlparser::ast::{self, Expr, OrderByExpr};

use super::Fault;
use super::aggregate::is_ordered;
use super::column::{ColumnId, Scalar, bare, coalesce};
use super::key;
use super::planner::{Instance, Result};
use super::relation::{Aggregate, Condition, Factor, Relation, Sort};
use super::resolve::{Clause, has_aggregate, has_subquery};
use super::scope::Scope;
use super::types;
use crate::sql::plan::{Function, JoinKind};

/// What the clauses behind GROUP BY may use, and what they have used so far.
pub(super) struct Group<'g> {
    /// Names and subqueries of the rows that are grouped.
    pub(super) input: &'g Clause<'g>,
    keys: Vec<(ColumnId, Scalar)>,
    /// A subquery's, over rows that the surrounding query chooses: without rows its counts are 0.
    lifted: bool,
    /// In which the rows come, for aggregates that say no other.
    order: Vec<Sort>,
    computed: RefCell<Vec<(ColumnId, Scalar)>>,
    aggregates: RefCell<Vec<Aggregate>>,
    /// Counts as they are shown, and as the aggregate has them.
    counts: RefCell<Vec<(ColumnId, ColumnId)>>,
    fetched: RefCell<Vec<Fetched>>,
}

/// A table whose primary key is grouped by: its other columns are one value for each group. They are
/// joined to the groups, so that no group has to be moved when one of them changes.
struct Fetched {
    table: usize,
    key: Vec<ColumnId>,
    /// The column among the rows that were grouped, and here.
    columns: Vec<(ColumnId, ColumnId)>,
    nullable: bool,
}

/// Groups, and what is to be computed once they have been joined to the surrounding query's rows.
pub(super) struct Grouped {
    pub(super) relation: Relation,
    pub(super) after_join: Vec<(ColumnId, Scalar)>,
}

impl<'g> Group<'g> {
    pub(super) fn new(
        input: &'g Clause<'g>,
        keys: Vec<(ColumnId, Scalar)>,
        lifted: bool,
        order: Vec<Sort>,
    ) -> Self {
        Self {
            input,
            keys,
            lifted,
            order,
            computed: RefCell::default(),
            aggregates: RefCell::default(),
            counts: RefCell::default(),
            fetched: RefCell::default(),
        }
    }

    /// A column of the rows that were grouped, as the groups have it.
    pub(super) fn column(
        &self,
        id: ColumnId,
        scope: &Scope,
        place: &Range<usize>,
    ) -> Result<ColumnId> {
        let is_key = |id: &ColumnId| self.keys.iter().any(|(_, key)| key.as_column() == Some(*id));
        if is_key(&id) {
            return Ok(id);
        }
        let named = scope.relations.iter().find(|named| named.columns.iter().any(|c| c.1 == id));
        if let Some(named) = named
            && let Some((table, key)) = &named.table
            && key.iter().all(is_key)
        {
            let all: Vec<ColumnId> = named.columns.iter().map(|(_, id)| *id).collect();
            return Ok(self.fetch(*table, key, &all, named.nullable, id));
        }
        let name = self.input.planner.info(id).name;
        Err(Fault::new(format!("column `{name}` is neither grouped by nor inside an aggregate"))
            .hint("add it to GROUP BY, or the primary key of its table")
            .at(place.clone()))
    }

    fn fetch(
        &self,
        table: usize,
        key: &[ColumnId],
        all: &[ColumnId],
        nullable: bool,
        id: ColumnId,
    ) -> ColumnId {
        let mut fetched = self.fetched.borrow_mut();
        let at = fetched.iter().position(|fetched| fetched.key == key).unwrap_or_else(|| {
            let planner = self.input.planner;
            let here = |id: &ColumnId| {
                let info = planner.info(*id);
                (*id, planner.new_like(info))
            };
            let columns: Vec<(ColumnId, ColumnId)> = all.iter().map(here).collect();
            if !nullable {
                let here =
                    |id: &ColumnId| columns.iter().find(|(there, _)| there == id).map(|c| c.1);
                let key = key.iter().filter_map(here).collect();
                let columns = columns.iter().map(|(_, here)| *here).collect();
                planner.instances.borrow_mut().push(Instance { table, columns, key });
            }
            fetched.push(Fetched { table, key: key.to_vec(), columns, nullable });
            fetched.len() - 1
        });
        let columns = &fetched[at].columns;
        columns.iter().find(|(there, _)| *there == id).map_or(id, |(_, here)| *here)
    }

    /// The key that an expression is, where it is more than a column.
    pub(super) fn key_of(&self, expr: &Expr) -> Result<Option<ColumnId>> {
        let expr = bare(expr);
        let alike = |key: &Scalar| {
            std::mem::discriminant(bare(&key.ast)) == std::mem::discriminant(expr)
                && key.as_column().is_none()
        };
        let candidates: Vec<_> = self.keys.iter().filter(|(_, key)| alike(key)).collect();
        if candidates.is_empty() || has_aggregate(expr) || has_subquery(expr) {
            return Ok(None);
        }
        // What does not even resolve is told when its parts are looked at.
        let Ok(resolved) = self.input.resolved(expr) else { return Ok(None) };
        let found = candidates.into_iter().find(|(_, key)| *bare(&key.ast) == resolved);
        Ok(found.map(|(id, _)| *id))
    }

    /// The column of an expression over the rows that are grouped.
    pub(super) fn computed(&self, scalar: Scalar, name: &str) -> ColumnId {
        if let Some(id) = scalar.as_column() {
            return id;
        }
        let mut computed = self.computed.borrow_mut();
        if let Some((id, _)) = computed.iter().find(|(_, known)| known.ast == scalar.ast) {
            return *id;
        }
        let id = self.input.planner.new_column(name, scalar.ty.clone());
        computed.push((id, scalar));
        id
    }

    /// The same aggregate written twice is computed once.
    pub(super) fn shared(
        &self,
        aggregate: Aggregate,
        name: &str,
        ty: crate::sql::expr::Ty,
    ) -> ColumnId {
        let mut aggregates = self.aggregates.borrow_mut();
        let same = |known: &&Aggregate| {
            known.function == aggregate.function
                && known.arguments == aggregate.arguments
                && known.distinct == aggregate.distinct
                && known.order == aggregate.order
                && known.filter == aggregate.filter
        };
        let shown = |column: ColumnId| {
            let counts = self.counts.borrow();
            counts.iter().find(|(_, inner)| *inner == column).map_or(column, |(shown, _)| *shown)
        };
        if let Some(known) = aggregates.iter().find(same) {
            return shown(known.column);
        }
        let column = self.input.planner.new_column(name, ty.clone());
        let is_count = aggregate.function == Function::Count;
        aggregates.push(Aggregate { column, ..aggregate });
        if is_count && self.lifted {
            let shown = self.input.planner.new_column(name, ty);
            self.counts.borrow_mut().push((shown, column));
            return shown;
        }
        column
    }

    /// The groups of the relation. `outer_keys`: columns by which the surrounding query chooses rows.
    pub(super) fn close(
        &self,
        relation: Relation,
        outer_keys: &[ColumnId],
        place: &Range<usize>,
    ) -> Result<Grouped> {
        let planner = self.input.planner;
        let mut relation = self.input.attached_to(relation)?;
        let keys = self.keys.iter().filter(|(_, key)| key.as_column().is_none()).cloned();
        relation = relation.map(keys.chain(self.computed.take()).collect());
        let mut aggregates = self.aggregates.take();
        let facts = key::facts(planner, &relation);
        let all: Vec<ColumnId> = relation.columns().into_iter().collect();
        for aggregate in aggregates.iter_mut().filter(|a| is_ordered(a.function) && !a.distinct) {
            if aggregate.order.is_empty() {
                aggregate.order.clone_from(&self.order);
            }
            // The columns that tell the rows apart, so that the answer is one.
            let more = facts.key.as_deref().unwrap_or(&all).iter().copied();
            let more: Vec<Sort> = more
                .filter(|id| aggregate.order.iter().all(|sort| sort.column != *id))
                .map(Sort::ascending)
                .collect();
            aggregate.order.extend(more);
        }
        let mut group: Vec<ColumnId> = Vec::new();
        for id in self.keys.iter().map(|(id, _)| id).chain(outer_keys) {
            if !group.contains(id) {
                group.push(*id);
            }
        }
        for id in &group {
            let info = planner.info(*id);
            if !types::is_groupable(planner.schema, &info.ty) {
                let what =
                    format!("GROUP BY of `{}`, which is {}, is not supported", info.name, info.ty);
                return Err(Fault::new(what).hint("group by its text").at(place.clone()));
            }
        }
        let scalar = group.is_empty();
        let mut relation =
            Relation::Aggregate { input: Box::new(relation), group, aggregates, scalar };
        for fetched in self.fetched.take() {
            relation = fetched.join(self.input, relation, place)?;
        }
        let mut after_join = Vec::new();
        for (shown, inner) in self.counts.take() {
            let zero = ast::Expr::value(ast::Value::Number("0".into(), false));
            let none = sqlparser::tokenizer::Span::empty();
            let count = coalesce(vec![super::column::name_of(inner, none), zero]);
            after_join.push((shown, planner.scalar(count, place.clone())?));
        }
        Ok(Grouped { relation, after_join })
    }
}

impl Fetched {
    fn join(self, clause: &Clause<'_>, groups: Relation, place: &Range<usize>) -> Result<Relation> {
        let planner = clause.planner;
        let mut conditions = Vec::new();
        for key in &self.key {
            let here = self.columns.iter().find(|(there, _)| there == key);
            let Some((_, here)) = here else { continue };
            let (left, right) =
                (planner.column_scalar(*key, place), planner.column_scalar(*here, place));
            conditions.push(equality(planner, left, right)?);
        }
        let columns: Vec<ColumnId> = self.columns.iter().map(|(_, here)| *here).collect();
        let table = planner.rows_of(self.table, &columns, place);
        if !self.nullable {
            let factor = Factor { relation: table, place: place.clone() };
            // Kept apart from the joins below the aggregate.
            let groups = Factor { relation: groups, place: place.clone() };
            return Ok(Relation::Inner { factors: vec![groups, factor], conditions });
        }
        planner.make_nullable(columns);
        Ok(Relation::Join {
            left: Box::new(groups),
            right: Box::new(table),
            kind: JoinKind::Left,
            conditions,
        })
    }
}

/// The condition that two scalars are equal.
pub(super) fn equality(
    planner: &super::planner::Planner<'_>,
    left: Scalar,
    right: Scalar,
) -> Result<Condition> {
    let place = left.place.clone();
    let whole = super::column::binary(
        super::column::nested(left.ast),
        ast::BinaryOperator::Eq,
        super::column::nested(right.ast),
    );
    let scalar = planner.scalar(whole, place)?;
    Ok(Condition { written: false, ..super::condition::condition(planner, scalar)? })
}

/// How a column is ordered by.
pub(super) fn sort(
    clause: &Clause<'_>,
    by: &OrderByExpr,
    ty: &crate::sql::expr::Ty,
    column: ColumnId,
) -> Result<Sort> {
    let planner = clause.planner;
    let place = planner.text.place(&by.expr);
    if !types::is_sortable(planner.schema, ty) {
        let (what, hint) = types::not_sortable(planner.schema, ty);
        return Err(Fault::new(what).hint(hint).at(place));
    }
    let descending = match &by.options.sort {
        None | Some(ast::OrderBySort::Asc) => false,
        Some(ast::OrderBySort::Desc) => true,
        Some(ast::OrderBySort::Using(_)) => {
            return Err(Fault::new("ORDER BY … USING is not supported")
                .hint("write ASC or DESC")
                .at(place));
        }
    };
    let nulls_first = by.options.nulls_first.unwrap_or(descending);
    Ok(Sort { column, descending, nulls_first })
}
