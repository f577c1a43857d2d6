//! A query: WITH, SELECT … FROM … WHERE … GROUP BY … HAVING, DISTINCT, ORDER BY … LIMIT.

use std::collections::BTreeSet;
use std::ops::Range;

use sqlparser::ast::{
    self, Distinct, Expr, GroupByExpr, LimitClause, OrderByExpr, OrderByKind, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
};

use super::Fault;
use super::column::{ColumnId, Scalar, bare};
use super::from::{From, parts};
use super::group::{Group, Grouped, sort};
use super::key;
use super::planner::{Common, Commons, Planner, Result};
use super::relation::{Condition, Relation, Sort};
use super::resolve::{Clause, has_aggregate};
use super::scope::similar;
use super::subquery::{Sub, computed_alone};
use super::types;
use crate::sql::expr::fold_case;

/// Which of a query's clauses count where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Columns,
    /// Only whether there are rows: EXISTS.
    Rows,
}

/// ORDER BY and LIMIT.
#[derive(Clone, Default)]
pub(super) struct Tail {
    pub(super) order: Vec<OrderByExpr>,
    pub(super) limit: Option<u64>,
    pub(super) offset: u64,
}

impl Tail {
    fn is_limited(&self) -> bool {
        self.limit.is_some() || self.offset > 0
    }
}

/// An item of the SELECT list under its name; stars are expanded.
struct Item {
    name: String,
    value: ItemValue,
}

enum ItemValue {
    Column(ColumnId),
    Expr(Expr),
}

/// A query on its way: its rows, and what is to be computed of them.
struct Draft {
    relation: Relation,
    output: Vec<(String, ColumnId)>,
    computed: Vec<(ColumnId, Scalar)>,
    correlated: Vec<Condition>,
    place: Range<usize>,
}

impl Planner<'_> {
    /// The projection's own query.
    pub(super) fn top(&self, query: &Query) -> Result<Sub> {
        let tail = self.tail(query)?;
        if tail.is_limited() {
            let at = self.text.words("LIMIT", self.end_of_body(query));
            return Err(Fault::new(
                "LIMIT at the top is not supported: the reader of the read model chooses",
            )
            .hint(
                "leave it out and let readers write LIMIT; for the first of each group write \
                     DISTINCT ON, or LATERAL (SELECT … ORDER BY … LIMIT n)",
            )
            .at(at));
        }
        let distinct_on = matches!(&*query.body, SetExpr::Select(select)
            if matches!(select.distinct, Some(Distinct::On(_))));
        let mut query = query.clone();
        if !tail.order.is_empty() && !distinct_on {
            self.note(
                "ORDER BY at the top has no effect: a read model has no order, its readers have",
            );
            query.order_by = None;
        }
        let sub = self.query(&query, None, &Commons::default())?;
        let mut names = BTreeSet::new();
        match sub.output.iter().find(|(name, _)| !names.insert(name)) {
            None if sub.output.is_empty() => Err(Fault::new("the result has no columns")
                .hint("name them in the SELECT list")
                .at(self.text.place(&query))),
            None => Ok(sub),
            Some((name, _)) => Err(Fault::new(format!("the result has two columns `{name}`"))
                .hint("give one of them another name by AS")
                .at(self.text.place(&query))),
        }
    }

    pub(super) fn query(
        &self,
        query: &Query,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
    ) -> Result<Sub> {
        self.whole(query, outer, commons, Wanted::Columns)
    }

    /// The query's rows; its SELECT list does not matter.
    pub(super) fn rows_alone(
        &self,
        query: &Query,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
    ) -> Result<Sub> {
        self.whole(query, outer, commons, Wanted::Rows)
    }

    fn whole(
        &self,
        query: &Query,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
        wanted: Wanted,
    ) -> Result<Sub> {
        let commons = self.with(query, commons)?;
        let tail = self.tail(query)?;
        match &*query.body {
            SetExpr::Select(select) => self.select(select, &tail, outer, &commons, wanted),
            SetExpr::Query(inner) if tail.order.is_empty() && !tail.is_limited() => {
                self.whole(inner, outer, &commons, wanted)
            }
            body => self.union(body, &tail, outer, &commons),
        }
    }

    /// WITH: each query is planned once, however often it is used.
    fn with(&self, query: &Query, commons: &Commons) -> Result<Commons> {
        let mut commons = commons.clone();
        for common in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = fold_case(&common.alias.name);
            let sub = self.query(&common.query, None, &commons)?;
            let mut output = sub.output;
            for (column, alias) in output.iter_mut().zip(&common.alias.columns) {
                column.0 = fold_case(&alias.name);
            }
            let relation = sub.relation;
            let facts = key::facts(self, &relation);
            let mut known = self.common.borrow_mut();
            known.push(Common { relation, output, facts, uses: 0 });
            commons = commons.with(name, known.len() - 1);
        }
        Ok(commons)
    }

    fn tail(&self, query: &Query) -> Result<Tail> {
        let order = match &query.order_by {
            None => Vec::new(),
            Some(by) => match &by.kind {
                OrderByKind::Expressions(by) => by.clone(),
                OrderByKind::All(_) => {
                    let at = self.text.words("ORDER BY ALL", self.end_of_body(query));
                    return Err(Fault::new("there is no ORDER BY ALL in PostgreSQL").at(at));
                }
            },
        };
        let mut tail = Tail { order, ..Tail::default() };
        let at = || self.text.words("LIMIT", self.end_of_body(query));
        match &query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                tail.limit = limit.as_ref().map(|limit| self.count(limit, at())).transpose()?;
                let offset = offset.as_ref().map(|offset| self.count(&offset.value, at()));
                tail.offset = offset.transpose()?.unwrap_or(0);
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                return Err(Fault::new("LIMIT a, b is not PostgreSQL's")
                    .hint("write LIMIT b OFFSET a")
                    .at(at()));
            }
        }
        if let Some(fetch) = &query.fetch {
            let one = Expr::value(ast::Value::Number("1".into(), false));
            let at = self.text.words("FETCH", self.end_of_body(query));
            if fetch.with_ties || fetch.percent {
                return Err(Fault::new("FETCH … WITH TIES is not supported")
                    .hint("write LIMIT n")
                    .at(at));
            }
            tail.limit = Some(self.count(fetch.quantity.as_ref().unwrap_or(&one), at)?);
        }
        Ok(tail)
    }

    fn end_of_body(&self, query: &Query) -> usize {
        self.text.place(&*query.body).end
    }

    fn count(&self, expr: &Expr, place: Range<usize>) -> Result<u64> {
        let number = match bare(expr) {
            Expr::Value(value) => match &value.value {
                ast::Value::Number(digits, _) => digits.parse().ok(),
                _ => None,
            },
            _ => None,
        };
        number.ok_or_else(|| {
            Fault::new("LIMIT and OFFSET take a whole number").hint("write the number").at(place)
        })
    }

    fn select(
        &self,
        select: &Select,
        tail: &Tail,
        outer: Option<&Clause<'_>>,
        commons: &Commons,
        wanted: Wanted,
    ) -> Result<Sub> {
        let place = self.text.place(select);
        let from = self.from(&select.from, outer, commons)?;
        let From { relation, scope, mut correlated, .. } = from;
        let clause = Clause::new(self, &scope, outer, commons, "WHERE");
        let parts = clause.prepared(select.selection.as_ref())?;
        let relation = clause.filtered(relation, parts, &mut correlated)?;
        if wanted == Wanted::Rows && !is_grouped(select, tail) {
            if tail.limit == Some(0) || tail.offset > 0 {
                return Err(Fault::new("LIMIT 0 and OFFSET in EXISTS are not supported").at(place));
            }
            let output = Vec::new();
            return Ok(Sub { relation, output, correlated, lifted: false, after_join: Vec::new() });
        }
        let clause = Clause::new(self, &scope, outer, commons, "the SELECT list");
        let items = match wanted {
            Wanted::Columns => self.items(select, &clause)?,
            Wanted::Rows => Vec::new(),
        };
        let draft = Draft { relation, output: Vec::new(), computed: Vec::new(), correlated, place };
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
        draft.relation = clause.attached_to(draft.relation);
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
        draft.relation = input.attached_to(draft.relation);
        let (outer_keys, correlated) = self.outer_keys(
            &mut draft.relation,
            correlated,
            "a subquery with an aggregate",
            &draft.place,
        )?;
        let lifted = keys.is_empty() && !outer_keys.is_empty();
        draft.correlated = correlated;
        let group = Group::new(&input, keys, lifted);
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
            if !having.is_empty() || tail.is_limited() || select.distinct.is_some() {
                return Err(Fault::new(
                    "HAVING, DISTINCT and LIMIT beside an aggregate over the surrounding query's rows \
                     are not supported",
                )
                .hint("group by the column that the surrounding query is compared with")
                .at(draft.place));
            }
            let relation = clause.attached_to(relation);
            let after_join = after_join.into_iter().chain(draft.computed).collect();
            let Draft { output, correlated, .. } = draft;
            return Ok(Sub { relation, output, correlated, lifted, after_join });
        }
        let relation = having_clause.filtered(relation, having, &mut draft.correlated)?;
        draft.relation = clause.attached_to(relation);
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
                    value: ItemValue::Expr(expr.clone()),
                }),
                SelectItem::ExprWithAlias { expr, alias } => items
                    .push(Item { name: fold_case(alias), value: ItemValue::Expr(expr.clone()) }),
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
        if !order.is_empty() && !tail.is_limited() && on.is_empty() {
            let at = self.text.words("ORDER BY", draft.place.end);
            return Err(Fault::new("ORDER BY in a subquery without LIMIT orders nothing for sure")
                .hint("write ORDER BY inside the aggregate, or leave it out")
                .at(at));
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

    /// DISTINCT, ORDER BY and LIMIT over the computed rows.
    fn finish(
        &self,
        select: &Select,
        tail: &Tail,
        on: Vec<ColumnId>,
        order: Vec<Sort>,
        draft: Draft,
    ) -> Result<Sub> {
        let Draft { relation, output, computed, mut correlated, place } = draft;
        let own = relation.columns();
        let outside = computed.iter().find(|(_, scalar)| !scalar.columns.is_subset(&own));
        let free = output.iter().any(|(_, id)| {
            !own.contains(id) && computed.iter().all(|(computed, _)| computed != id)
        });
        if (outside.is_some() || free) && !computed_alone(&relation) {
            let at = outside.map_or(place, |(_, scalar)| scalar.place.clone());
            return Err(Fault::new(
                "columns of the surrounding query in a subquery's SELECT list are not supported",
            )
            .hint("give out the subquery's own columns, and compute with them outside")
            .at(at));
        }
        let mut relation = relation.map(computed);
        let distinct = matches!(select.distinct, Some(Distinct::Distinct));
        let mut keys = Vec::new();
        if distinct || !on.is_empty() || tail.is_limited() {
            (keys, correlated) = self.outer_keys(
                &mut relation,
                correlated,
                "a subquery with DISTINCT or LIMIT",
                &place,
            )?;
        }
        if distinct {
            relation = self.distinct(relation, &output, &keys, &place)?;
        }
        if !on.is_empty() {
            let partition = on.into_iter().chain(keys.iter().copied()).collect();
            relation = self.first(
                relation,
                partition,
                order.clone(),
                &Tail { limit: Some(1), ..Tail::default() },
            );
        }
        if tail.is_limited() {
            relation = self.first(relation, keys, order, tail);
        }
        Ok(Sub { relation, output, correlated, lifted: false, after_join: Vec::new() })
    }

    fn distinct(
        &self,
        relation: Relation,
        output: &[(String, ColumnId)],
        keys: &[ColumnId],
        place: &Range<usize>,
    ) -> Result<Relation> {
        let mut group: Vec<ColumnId> = Vec::new();
        for id in output.iter().map(|(_, id)| id).chain(keys) {
            if !group.contains(id) {
                group.push(*id);
            }
        }
        for id in &group {
            let info = self.info(*id);
            if !types::is_groupable(self.schema, &info.ty) {
                let what =
                    format!("DISTINCT of `{}`, which is {}, is not supported", info.name, info.ty);
                return Err(Fault::new(what).hint("cast it to text").at(place.clone()));
            }
        }
        let input = Box::new(relation);
        Ok(Relation::Aggregate { input, group, aggregates: Vec::new(), scalar: false })
    }

    /// The first rows of each partition. What the query leaves open is decided by the rows' key.
    pub(super) fn first(
        &self,
        relation: Relation,
        partition: Vec<ColumnId>,
        mut order: Vec<Sort>,
        tail: &Tail,
    ) -> Relation {
        let facts = key::facts(self, &relation);
        let all = relation.columns().into_iter().collect();
        for id in facts.key.unwrap_or(all) {
            if order.iter().all(|sort| sort.column != id) && !partition.contains(&id) {
                order.push(Sort::ascending(id));
            }
        }
        Relation::TopN {
            input: Box::new(relation),
            partition,
            order,
            limit: tail.limit,
            offset: tail.offset,
        }
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

/// The name that PostgreSQL gives a column without an alias (FigureColname in parse_target.c).
fn shown_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) => shown_name(inner),
        Expr::Identifier(name) => Some(fold_case(name)),
        Expr::CompoundIdentifier(path) => path.last().map(fold_case),
        Expr::CompoundFieldAccess { root, .. } => shown_name(root),
        Expr::Collate { expr, .. } => shown_name(expr),
        Expr::Function(function) => {
            let ast::ObjectNamePart::Identifier(name) = function.name.0.last()? else {
                return None;
            };
            Some(fold_case(name))
        }
        Expr::Cast { expr, data_type, .. } => shown_name(expr).or_else(|| type_name(data_type)),
        Expr::TypedString(typed) => type_name(&typed.data_type),
        Expr::Interval(_) => Some("interval".into()),
        Expr::Case { else_result, .. } => {
            let of_else = else_result.as_deref().filter(|e| {
                matches!(
                    bare(e),
                    Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Function(_)
                )
            });
            of_else.and_then(shown_name).or_else(|| Some("case".into()))
        }
        Expr::Exists { .. } => Some("exists".into()),
        Expr::Array(_) => Some("array".into()),
        Expr::Tuple(_) => Some("row".into()),
        Expr::Extract { .. } => Some("extract".into()),
        Expr::Position { .. } => Some("position".into()),
        Expr::Substring { .. } => Some("substring".into()),
        Expr::Overlay { .. } => Some("overlay".into()),
        Expr::Ceil { .. } => Some("ceil".into()),
        Expr::Floor { .. } => Some("floor".into()),
        Expr::AtTimeZone { .. } => Some("timezone".into()),
        Expr::Trim { trim_where, .. } => Some(
            match trim_where {
                Some(ast::TrimWhereField::Leading) => "ltrim",
                Some(ast::TrimWhereField::Trailing) => "rtrim",
                _ => "btrim",
            }
            .into(),
        ),
        Expr::Subquery(query) => match &*query.body {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(expr) => shown_name(expr),
                SelectItem::ExprWithAlias { alias, .. } => Some(fold_case(alias)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// pg_type's name of a type as it is written.
fn type_name(ty: &ast::DataType) -> Option<String> {
    use ast::DataType as T;
    let name = match ty {
        T::SmallInt(_) | T::Int2(_) => "int2",
        T::Integer(_) | T::Int(_) | T::Int4(_) => "int4",
        T::BigInt(_) | T::Int8(_) => "int8",
        T::Numeric(_) | T::Decimal(_) | T::Dec(_) => "numeric",
        T::Real | T::Float4 => "float4",
        T::DoublePrecision | T::Float8 | T::Float(_) => "float8",
        T::Boolean | T::Bool => "bool",
        T::Text => "text",
        T::Varchar(_) | T::CharacterVarying(_) | T::CharVarying(_) => "varchar",
        T::Char(_) | T::Character(_) => "bpchar",
        T::Date => "date",
        T::Timestamp(_, ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz) => "timestamptz",
        T::Timestamp(..) => "timestamp",
        T::TimestampNtz(_) => "timestamp",
        T::Time(_, ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz) => "timetz",
        T::Time(..) => "time",
        T::Interval { .. } => "interval",
        T::Uuid => "uuid",
        T::JSON => "json",
        T::JSONB => "jsonb",
        T::Bytea => "bytea",
        T::Custom(name, _) => return parts(name).pop(),
        _ => return None,
    };
    Some(name.to_owned())
}
