//! GROUP BY, HAVING and aggregates.

use std::cell::RefCell;
use std::ops::Range;

use sqlparser::ast::{
    self, DuplicateTreatment, Expr, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, ObjectName, ObjectNamePart, OrderByExpr,
};

use super::Fault;
use super::column::{ColumnId, Scalar, bare, coalesce, row_of};
use super::key;
use super::planner::Result;
use super::relation::{Aggregate, Condition, Factor, Relation, Sort};
use super::resolve::{Clause, has_aggregate, has_subquery};
use super::scope::Scope;
use super::types;
use crate::sql::expr::fold_case;
use crate::sql::plan::{Function, JoinKind};

/// Aggregates of PostgreSQL that are refused by name.
const REFUSED: [&str; 36] = [
    "any_value",
    "bit_and",
    "bit_or",
    "bit_xor",
    "corr",
    "covar_pop",
    "covar_samp",
    "cume_dist",
    "dense_rank",
    "grouping",
    "json_agg_strict",
    "jsonb_agg_strict",
    "json_arrayagg",
    "json_objectagg",
    "mode",
    "percent_rank",
    "percentile_cont",
    "percentile_disc",
    "range_agg",
    "range_intersect_agg",
    "rank",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var_pop",
    "var_samp",
    "variance",
];

fn known(name: &str) -> Option<Function> {
    Some(match name {
        "count" => Function::Count,
        "sum" => Function::Sum,
        "avg" => Function::Avg,
        "min" => Function::Min,
        "max" => Function::Max,
        "bool_and" | "every" => Function::BoolAnd,
        "bool_or" => Function::BoolOr,
        "array_agg" => Function::ArrayAgg,
        "string_agg" => Function::StringAgg,
        "json_agg" => Function::JsonAgg,
        "jsonb_agg" => Function::JsonbAgg,
        "json_object_agg" => Function::JsonObjectAgg,
        "jsonb_object_agg" => Function::JsonbObjectAgg,
        _ => return None,
    })
}

fn name_of(function: &ObjectName) -> Option<String> {
    let parts: Option<Vec<String>> = function
        .0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(name) => Some(fold_case(name)),
            ObjectNamePart::Function(_) => None,
        })
        .collect();
    match parts?.as_slice() {
        [name] => Some(name.clone()),
        [schema, name] if schema == "pg_catalog" => Some(name.clone()),
        _ => None,
    }
}

pub(super) fn is_aggregate(function: &ObjectName) -> bool {
    let name = name_of(function);
    name.is_some_and(|name| known(&name).is_some() || REFUSED.contains(&name.as_str()))
}

/// Whether the order of the rows shows in the answer.
fn is_ordered(function: Function) -> bool {
    matches!(
        function,
        Function::ArrayAgg
            | Function::StringAgg
            | Function::JsonAgg
            | Function::JsonbAgg
            | Function::JsonObjectAgg
            | Function::JsonbObjectAgg
    )
}

/// What the clauses behind GROUP BY may use, and what they have used so far.
pub(super) struct Group<'g> {
    /// Names and subqueries of the rows that are grouped.
    input: &'g Clause<'g>,
    keys: Vec<(ColumnId, Scalar)>,
    /// A subquery's, over rows that the surrounding query chooses: without rows its counts are 0.
    lifted: bool,
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
    pub(super) fn new(input: &'g Clause<'g>, keys: Vec<(ColumnId, Scalar)>, lifted: bool) -> Self {
        Self {
            input,
            keys,
            lifted,
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
                (*id, planner.new_column(info.name, info.ty))
            };
            let columns = all.iter().map(here).collect();
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

    /// The column of an aggregate.
    pub(super) fn aggregate(&self, call: &ast::Function, place: Range<usize>) -> Result<ColumnId> {
        let name = name_of(&call.name).unwrap_or_default();
        let refuse = |what: String, hint: &str| Err(Fault::new(what).hint(hint).at(place.clone()));
        let Some(function) = known(&name) else {
            return refuse(
                format!("the aggregate {name} is not supported"),
                "there are count, sum, avg, min, max, bool_and, bool_or, array_agg, string_agg, \
                 json_agg, jsonb_agg, json_object_agg and jsonb_object_agg",
            );
        };
        if !call.within_group.is_empty() || call.null_treatment.is_some() {
            return refuse(format!("{name} takes neither WITHIN GROUP nor IGNORE NULLS here"), "");
        }
        let FunctionArguments::List(list) = &call.args else {
            return refuse(format!("{name} needs arguments in parentheses"), "");
        };
        let arguments = self.arguments(&name, list, &place)?;
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let mut order = Vec::new();
        for clause in &list.clauses {
            match clause {
                FunctionArgumentClause::OrderBy(by) => order = self.order(by)?,
                _ => return refuse(format!("this clause of {name} is not PostgreSQL's"), ""),
            }
        }
        let filter = match &call.filter {
            Some(filter) => Some(self.filter(filter)?),
            None => None,
        };
        let infos: Vec<_> = arguments.iter().map(|id| self.input.planner.info(*id)).collect();
        let tys: Vec<_> = infos.iter().map(|info| info.ty.clone()).collect();
        let wanted = match function {
            Function::Count => 0..=1,
            Function::StringAgg | Function::JsonObjectAgg | Function::JsonbObjectAgg => 2..=2,
            _ => 1..=1,
        };
        let schema = self.input.planner.schema;
        let ty = types::aggregate(schema, function, &tys).filter(|_| wanted.contains(&tys.len()));
        let Some(ty) = ty else {
            let of: Vec<String> = tys.iter().map(ToString::to_string).collect();
            return refuse(format!("there is no aggregate {name}({})", of.join(", ")), "");
        };
        self.check(function, distinct, &arguments, &mut order, &place)?;
        Ok(self.shared(
            Aggregate { column: 0, function, arguments, distinct, order, filter },
            &name,
            ty,
        ))
    }

    /// Whether bytes will do for what the aggregate compares.
    fn check(
        &self,
        function: Function,
        distinct: bool,
        arguments: &[ColumnId],
        order: &mut Vec<Sort>,
        place: &Range<usize>,
    ) -> Result<()> {
        let planner = self.input.planner;
        let compares = matches!(function, Function::Min | Function::Max);
        for id in arguments {
            let ty = planner.info(*id).ty;
            if distinct && !types::is_groupable(planner.schema, &ty) {
                return Err(Fault::new(format!("DISTINCT of {ty} is not supported"))
                    .hint("cast it to text")
                    .at(place.clone()));
            }
            let sorted = distinct && is_ordered(function) && order.is_empty();
            if (compares || sorted) && !types::is_sortable(planner.schema, &ty) {
                let (what, hint) = types::not_sortable(planner.schema, &ty);
                return Err(Fault::new(what).hint(hint).at(place.clone()));
            }
        }
        // PostgreSQL sorts to find what is equal.
        if distinct && is_ordered(function) && order.is_empty() {
            order.extend(arguments.iter().map(|id| Sort::ascending(*id)));
        }
        Ok(())
    }

    fn arguments(
        &self,
        name: &str,
        list: &ast::FunctionArgumentList,
        place: &Range<usize>,
    ) -> Result<Vec<ColumnId>> {
        let mut ids = Vec::new();
        for argument in &list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                    ids.push(self.argument(name, expr)?);
                }
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard)
                    if name == "count" && list.args.len() == 1 => {}
                _ => {
                    return Err(Fault::new(format!("this argument of {name} is not supported"))
                        .hint("write an expression, or count(*)")
                        .at(place.clone()));
                }
            }
        }
        Ok(ids)
    }

    fn argument(&self, name: &str, expr: &Expr) -> Result<ColumnId> {
        let place = self.input.planner.text.place(expr);
        let mut resolved = self.input.resolved(expr)?;
        // A whole row is the JSON object of its columns.
        if let Expr::Identifier(row) = bare(&resolved)
            && row_of(row).is_some()
        {
            let function = match name {
                "json_agg" | "json_object_agg" => "row_to_json",
                "jsonb_agg" | "jsonb_object_agg" => "to_jsonb",
                _ => {
                    let what = format!("a whole row is no argument of {name} here");
                    return Err(Fault::new(what).hint("name a column").at(place));
                }
            };
            resolved = call(function, resolved);
        }
        let scalar = self.input.planner.scalar(resolved, place)?;
        Ok(self.computed(scalar, name))
    }

    fn filter(&self, expr: &Expr) -> Result<ColumnId> {
        let condition = self.input.condition(expr)?;
        Ok(self.computed(condition.scalar, "filter"))
    }

    fn order(&self, by: &[OrderByExpr]) -> Result<Vec<Sort>> {
        let mut order = Vec::new();
        for by in by {
            let scalar = self.input.scalar(&by.expr)?;
            let ty = scalar.ty.clone();
            order.push(sort(self.input, by, &ty, self.computed(scalar, "order"))?);
        }
        Ok(order)
    }

    /// The column of an expression over the rows that are grouped.
    fn computed(&self, scalar: Scalar, name: &str) -> ColumnId {
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
    fn shared(&self, aggregate: Aggregate, name: &str, ty: crate::sql::expr::Ty) -> ColumnId {
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
        let mut relation = self.input.attached_to(relation);
        let keys = self.keys.iter().filter(|(_, key)| key.as_column().is_none()).cloned();
        relation = relation.map(keys.chain(self.computed.take()).collect());
        let mut aggregates = self.aggregates.take();
        let facts = key::facts(planner, &relation);
        let all: Vec<ColumnId> = relation.columns().into_iter().collect();
        for aggregate in aggregates.iter_mut().filter(|a| is_ordered(a.function) && !a.distinct) {
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
        let table = Relation::Table { table: self.table, columns: columns.clone() };
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

fn call(function: &str, argument: Expr) -> Expr {
    let Expr::Function(call) = coalesce(vec![argument]) else { unreachable!("it is a call") };
    let name = ObjectName(vec![ObjectNamePart::Identifier(ast::Ident::new(function))]);
    Expr::Function(ast::Function { name, ..call })
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
