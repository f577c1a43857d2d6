//! Calls of aggregates.

use std::ops::Range;

use sqlparser::ast::{
    self, DuplicateTreatment, Expr, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, ObjectName, ObjectNamePart, OrderByExpr,
};

use super::Fault;
use super::column::{ColumnId, coalesce};
use super::group::{Group, sort};
use super::planner::Result;
use super::relation::{Aggregate, Sort};
use super::types;
use crate::sql::expr::fold_case;
use crate::sql::plan::Function;
use crate::value::Type;

/// Aggregates of PostgreSQL that are refused by name.
const REFUSED: [&str; 27] = [
    "any_value",
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
];

fn known(name: &str) -> Option<Function> {
    Some(match name {
        "count" => Function::Count,
        "sum" => Function::Sum,
        "avg" => Function::Avg,
        "variance" | "var_samp" => Function::VarSamp,
        "var_pop" => Function::VarPop,
        "stddev" | "stddev_samp" => Function::StddevSamp,
        "stddev_pop" => Function::StddevPop,
        "min" => Function::Min,
        "max" => Function::Max,
        "bool_and" | "every" => Function::BoolAnd,
        "bool_or" => Function::BoolOr,
        "bit_and" => Function::BitAnd,
        "bit_or" => Function::BitOr,
        "bit_xor" => Function::BitXor,
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

pub(super) fn is_called(function: &ObjectName, name: &str) -> bool {
    name_of(function).is_some_and(|called| called == name)
}

pub(super) fn is_aggregate(function: &ObjectName) -> bool {
    let name = name_of(function);
    name.is_some_and(|name| known(&name).is_some() || REFUSED.contains(&name.as_str()))
}

/// Whether the order of the rows shows in the answer.
pub(super) fn is_ordered(function: Function) -> bool {
    matches!(
        function,
        Function::ArrayAgg
            | Function::StringAgg
            | Function::JsonAgg
            | Function::JsonAggRows
            | Function::JsonbAgg
            | Function::JsonObjectAgg
            | Function::JsonbObjectAgg
    )
}

impl Group<'_> {
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
        let (arguments, has_row) = self.arguments(&name, list, &place)?;
        // PostgreSQL breaks its lines between rows.
        let function = match function {
            Function::JsonAgg if has_row => Function::JsonAggRows,
            function => function,
        };
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
            let of = of.join(", ");
            if function.is_spread() && tys.iter().any(types::is_float) {
                let hint = "cast the argument to numeric: of floats the last digits depend on the rows' order";
                return refuse(format!("the aggregate {name}({of}) is not supported"), hint);
            }
            return refuse(format!("there is no aggregate {name}({of})"), "");
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
    ) -> Result<(Vec<ColumnId>, bool)> {
        let (mut ids, mut has_row) = (Vec::new(), false);
        for argument in &list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                    let (id, is_row) = self.argument(name, expr)?;
                    ids.push(id);
                    has_row |= is_row;
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
        Ok((ids, has_row))
    }

    /// The column of an argument, and whether it is a whole row.
    fn argument(&self, name: &str, expr: &Expr) -> Result<(ColumnId, bool)> {
        let place = self.input.planner.text.place(expr);
        // A whole row is the JSON object of its columns.
        let function = match name {
            "json_agg" | "json_object_agg" => Some(call("row_to_json")),
            "jsonb_agg" | "jsonb_object_agg" | "count" => Some(call("to_jsonb")),
            _ => None,
        };
        let row = match function {
            Some(function) => self.input.row_call(&function, expr)?,
            None => None,
        };
        let is_row = row.is_some();
        let resolved = match row {
            Some(row) => row,
            None => self.input.resolved(expr)?,
        };
        let planner = self.input.planner;
        let mut scalar = planner.scalar(resolved, place.clone())?;
        let has_parts = matches!(scalar.ty.stored, Type::Array(..) | Type::Composite(_));
        if has_parts && matches!(name, "json_agg" | "json_object_agg") {
            let json = Expr::Function(with_argument(call("to_json"), scalar.ast));
            scalar = planner.scalar(json, place)?;
        }
        Ok((self.computed(scalar, name), is_row || has_parts))
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
}

fn call(function: &str) -> ast::Function {
    let Expr::Function(call) = coalesce(Vec::new()) else { unreachable!("it is a call") };
    let name = ObjectName(vec![ObjectNamePart::Identifier(ast::Ident::new(function))]);
    ast::Function { name, ..call }
}

fn with_argument(call: ast::Function, argument: Expr) -> ast::Function {
    let Expr::Function(of) = coalesce(vec![argument]) else { unreachable!("it is a call") };
    ast::Function { args: of.args, ..call }
}
