//! SELECT … FROM … WHERE … GROUP BY … HAVING.

use std::ops::Range;

use sqlparser::ast::{
    self, Distinct, Expr, GroupByExpr, Select, SelectItem, SelectItemQualifiedWildcardKind,
};

use super::Fault;
use super::column::{ColumnId, Scalar, all, bare, case_when, name_of};
use super::from::{From, parts};
use super::group::{Group, Grouped, sort};
use super::naming::shown_name;
use super::planner::{Commons, Planner, Result};
use super::relation::{Condition, Relation, Sort};
use super::resolve::{Clause, has_aggregate};
use super::scope::similar;
use super::subquery::{Prepared, Sub};
use super::whole::{Tail, Wanted};
use crate::sql::expr::fold_case;

/// An item of the SELECT list under its name; stars are expanded.
struct Item {
    name: String,
    value: ItemValue,
}

enum ItemValue {
    Column(ColumnId),
    Expr(Box<Expr>),
}

/// A query on its way: its rows, and what is to be computed of them.
pub(super) struct Draft {
    pub(super) relation: Relation,
    pub(super) output: Vec<(String, ColumnId)>,
    pub(super) computed: Vec<(ColumnId, Scalar)>,
    pub(super) correlated: Vec<Condition>,
    pub(super) place: Range<usize>,
    /// In which its rows come, where what they come from says it.
    pub(super) order: Vec<Sort>,
}

impl Planner<'_> {
    pub(super) fn select(
        &self,
        select: &Select,
        tail: &Tail,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
        wanted: Wanted,
    ) -> Result<Sub> {
        let place = self.text.place(select);
        let from = self.from(&select.from, outer, commons)?;
        let From { relation, scope, mut correlated, order, .. } = from;
        let clause = Clause::new(self, &scope, outer, commons, "WHERE");
        let parts = clause.prepared(select.selection.as_ref())?;
        let relation = clause.filtered(relation, parts, &mut correlated)?;
        if wanted == Wanted::Rows && !is_grouped(select, tail) {
            if tail.limit == Some(0) || tail.offset > 0 {
                return Err(Fault::new("LIMIT 0 and OFFSET in EXISTS are not supported").at(place));
            }
            let output = Vec::new();
            let (after_join, deferred) = Default::default();
            let (lifted, may_be_none) = (false, false);
            return Ok(Sub {
                relation,
                output,
                correlated,
                lifted,
                may_be_none,
                after_join,
                deferred,
                order,
            });
        }
        let clause = Clause::new(self, &scope, outer, commons, "the SELECT list");
        let items = match wanted {
            Wanted::Columns => self.items(select, &clause)?,
            Wanted::Rows => Vec::new(),
        };
        let (output, computed) = Default::default();
        let draft = Draft { relation, output, computed, correlated, place, order };
        match is_grouped(select, tail) {
            true => self.grouped(select, tail, &items, draft, &clause),
            false => self.plain(select, tail, &items, draft, &clause),
        }
    }

    fn plain(
        &self,
        select: &Select,
        tail: &Tail,
        items: &[Item],
        mut draft: Draft,
        clause: &Clause<'_>,
    ) -> Result<Sub> {
        self.outputs(items, clause, &mut draft)?;
        let (on, order) = self.sorts(select, tail, clause, &mut draft)?;
        self.learn(&draft.relation.columns(), draft.correlated.iter());
        draft.relation = clause.attached_to(draft.relation)?;
        self.finish(select, tail, on, order, draft)
    }

    fn grouped(
        &self,
        select: &Select,
        tail: &Tail,
        items: &[Item],
        mut draft: Draft,
        clause: &Clause<'_>,
    ) -> Result<Sub> {
        let input = Clause::new(self, clause.scope, clause.outer, clause.commons, "an aggregate");
        let keys = self.group_keys(select, items, &input)?;
        let correlated = std::mem::take(&mut draft.correlated);
        draft.relation = input.attached_to(draft.relation)?;
        let (outer_keys, correlated) = self.outer_keys(
            &mut draft.relation,
            correlated,
            "a subquery with an aggregate",
            &draft.place,
        )?;
        let lifted = keys.is_empty() && !correlated.is_empty();
        draft.correlated = correlated;
        let group = Group::new(&input, keys, lifted, std::mem::take(&mut draft.order));
        let over_groups = |name| {
            Clause::new(self, clause.scope, clause.outer, clause.commons, name).grouped(&group)
        };
        let clause = over_groups("the SELECT list");
        let having_clause = over_groups("HAVING");
        let having = having_clause.prepared(select.having.as_ref())?;
        self.outputs(items, &clause, &mut draft)?;
        let (on, order) = self.sorts(select, tail, &clause, &mut draft)?;
        let relation = std::mem::replace(&mut draft.relation, Relation::one_row());
        let Grouped { relation, after_join } = group.close(relation, &outer_keys, &draft.place)?;
        if lifted {
            // There is one row.
            if tail.limit == Some(0)
                || tail.offset > 0
                || matches!(select.distinct, Some(Distinct::On(_)))
            {
                return Err(Fault::new(
                    "LIMIT 0, OFFSET and DISTINCT ON beside an aggregate over the surrounding query's \
                     rows are not supported",
                )
                .hint("group by the column that the surrounding query is compared with")
                .at(draft.place));
            }
            let attached = clause.attached().into_iter().chain(having_clause.attached());
            if let Some(attached) = attached.into_iter().next() {
                return Err(Fault::new(
                    "a subquery beside an aggregate over the surrounding query's rows is not supported",
                )
                .hint("write it in the surrounding query, beside this one")
                .at(attached.place));
            }
            let mut after_join: Vec<(ColumnId, Scalar)> =
                after_join.into_iter().chain(draft.computed).collect();
            let Draft { mut output, correlated, place, order, .. } = draft;
            if !having.is_empty() {
                let conditions = having.into_iter().map(|part| match part {
                    Prepared::Condition(condition) => Ok(condition.scalar.ast),
                    Prepared::Semi { place, .. } => Err(Fault::new(
                        "a subquery in HAVING beside an aggregate over the surrounding query's rows is \
                         not supported",
                    )
                    .at(place)),
                });
                let conditions = all(conditions.collect::<Result<_>>()?);
                for (name, id) in &mut output {
                    let Some(conditions) = conditions.clone() else { continue };
                    let value = name_of(*id, sqlparser::tokenizer::Span::empty());
                    let value = self.scalar(case_when(conditions, value), place.clone())?;
                    *id = self.new_column(name.as_str(), value.ty.clone());
                    after_join.push((*id, value));
                }
                let deferred = Vec::new();
                return Ok(Sub {
                    relation,
                    output,
                    correlated,
                    lifted,
                    may_be_none: true,
                    after_join,
                    deferred,
                    order,
                });
            }
            let (deferred, may_be_none) = (Vec::new(), false);
            return Ok(Sub {
                relation,
                output,
                correlated,
                lifted,
                may_be_none,
                after_join,
                deferred,
                order,
            });
        }
        let relation = having_clause.filtered(relation, having, &mut draft.correlated)?;
        draft.relation = clause.attached_to(relation)?;
        self.finish(select, tail, on, order, draft)
    }

    /// The keys of GROUP BY: columns of the rows that are grouped, or computed of them.
    fn group_keys(
        &self,
        select: &Select,
        items: &[Item],
        input: &Clause<'_>,
    ) -> Result<Vec<(ColumnId, Scalar)>> {
        let GroupByExpr::Expressions(exprs, _) = &select.group_by else { return Ok(Vec::new()) };
        let mut flat = Vec::new();
        for expr in exprs {
            match bare(expr) {
                Expr::Tuple(parts) => flat.extend(parts.iter().cloned()),
                _ => flat.push(expr.clone()),
            }
        }
        let mut keys: Vec<(ColumnId, Scalar)> = Vec::new();
        for expr in flat {
            let place = self.text.place(&expr);
            let scalar = match self.group_item(&expr, items, input, &place)? {
                Some(ItemValue::Column(id)) => self.column_scalar(*id, &place),
                Some(ItemValue::Expr(expr)) => input.scalar(expr)?,
                None => input.scalar(&expr)?,
            };
            if keys.iter().any(|(_, known)| known.ast == scalar.ast) {
                continue;
            }
            let id = scalar.as_column().unwrap_or_else(|| {
                self.new_column(self.text.shown(&scalar.place), scalar.ty.clone())
            });
            keys.push((id, scalar));
        }
        Ok(keys)
    }

    /// The item of the SELECT list that GROUP BY means: by its number, or by its alias where no column of
    /// the rows has that name.
    fn group_item<'i>(
        &self,
        expr: &Expr,
        items: &'i [Item],
        input: &Clause<'_>,
        place: &Range<usize>,
    ) -> Result<Option<&'i ItemValue>> {
        match bare(expr) {
            Expr::Value(_) => ordinal(expr, items, place),
            Expr::Identifier(name) => {
                if input.scope.column(std::slice::from_ref(name), place)?.is_some() {
                    return Ok(None);
                }
                let name = fold_case(name);
                Ok(items.iter().find(|item| item.name == name).map(|item| &item.value))
            }
            _ => Ok(None),
        }
    }

    fn items(&self, select: &Select, clause: &Clause<'_>) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let column = |(name, id): (String, ColumnId)| Item { name, value: ItemValue::Column(id) };
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => items.push(Item {
                    name: shown_name(expr).unwrap_or_else(|| "?column?".into()),
                    value: ItemValue::Expr(Box::new(expr.clone())),
                }),
                SelectItem::ExprWithAlias { expr, alias } => items.push(Item {
                    name: fold_case(alias),
                    value: ItemValue::Expr(Box::new(expr.clone())),
                }),
                SelectItem::Wildcard(_) => {
                    items.extend(clause.scope.star().into_iter().map(column))
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    _,
                ) => {
                    let path = parts(name);
                    let (schema, table) = match path.as_slice() {
                        [schema, table] => (Some(schema.as_str()), table),
                        [table, ..] => (None, table),
                        [] => continue,
                    };
                    let Some(named) = clause.scope.relation(schema, table) else {
                        let known = clause.scope.relations.iter().map(|named| named.name.as_str());
                        return Err(Fault::new(format!("there is no `{table}` in FROM"))
                            .hint(similar(table, known))
                            .at(self.text.place(item)));
                    };
                    items.extend(named.columns.iter().cloned().map(column));
                }
                _ => {
                    return Err(Fault::new("this item of the SELECT list is not supported")
                        .hint("name the columns")
                        .at(self.text.place(item)));
                }
            }
        }
        Ok(items)
    }

    /// The columns of the result.
    fn outputs(&self, items: &[Item], clause: &Clause<'_>, draft: &mut Draft) -> Result<()> {
        for item in items {
            let id = match &item.value {
                ItemValue::Column(id) => match clause.group {
                    None => *id,
                    Some(group) => group.column(*id, clause.scope, &draft.place)?,
                },
                ItemValue::Expr(expr) => {
                    let scalar = clause.scalar(expr)?;
                    self.computed(&item.name, scalar, draft)
                }
            };
            draft.output.push((item.name.clone(), id));
        }
        Ok(())
    }

    fn computed(&self, name: &str, scalar: Scalar, draft: &mut Draft) -> ColumnId {
        if let Some(id) = scalar.as_column() {
            return id;
        }
        if let Some((id, _)) = draft.computed.iter().find(|(_, known)| known.ast == scalar.ast) {
            return *id;
        }
        let id = self.new_column(name, scalar.ty.clone());
        draft.computed.push((id, scalar));
        id
    }

    /// The columns of DISTINCT ON, and ORDER BY.
    fn sorts(
        &self,
        select: &Select,
        tail: &Tail,
        clause: &Clause<'_>,
        draft: &mut Draft,
    ) -> Result<(Vec<ColumnId>, Vec<Sort>)> {
        let mut on = Vec::new();
        if let Some(Distinct::On(exprs)) = &select.distinct {
            for expr in exprs {
                on.push(self.sorted(expr, clause, draft)?);
            }
        }
        let mut order = Vec::new();
        for by in &tail.order {
            let column = self.sorted(&by.expr, clause, draft)?;
            order.push(sort(clause, by, &self.info(column).ty, column)?);
        }
        Ok((on, order))
    }

    /// A column to order by: of the result by its name or number, or an expression.
    fn sorted(&self, expr: &Expr, clause: &Clause<'_>, draft: &mut Draft) -> Result<ColumnId> {
        let place = self.text.place(expr);
        match bare(expr) {
            Expr::Identifier(name) => {
                let name = fold_case(name);
                if let Some((_, id)) = draft.output.iter().find(|(output, _)| *output == name) {
                    return Ok(*id);
                }
            }
            Expr::Value(_) => {
                if let Some(at) = number(expr) {
                    let found = at.checked_sub(1).and_then(|at| draft.output.get(at));
                    return found.map(|(_, id)| *id).ok_or_else(|| no_such_item(at, place));
                }
            }
            _ => {}
        }
        let scalar = clause.scalar(expr)?;
        Ok(self.computed("order", scalar, draft))
    }
}

fn is_grouped(select: &Select, tail: &Tail) -> bool {
    let grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(exprs, _) => !exprs.is_empty(),
    };
    let in_items = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            has_aggregate(expr)
        }
        _ => false,
    });
    grouped
        || select.having.is_some()
        || in_items
        || tail.order.iter().any(|by| has_aggregate(&by.expr))
}

fn number(expr: &Expr) -> Option<usize> {
    match bare(expr) {
        Expr::Value(value) => match &value.value {
            ast::Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn ordinal<'i>(
    expr: &Expr,
    items: &'i [Item],
    place: &Range<usize>,
) -> Result<Option<&'i ItemValue>> {
    let Some(at) = number(expr) else { return Ok(None) };
    let found = at.checked_sub(1).and_then(|at| items.get(at));
    found.map(|item| Some(&item.value)).ok_or_else(|| no_such_item(at, place.clone()))
}

fn no_such_item(at: usize, place: Range<usize>) -> Fault {
    Fault::new(format!("the SELECT list has no item {at}")).at(place)
}
