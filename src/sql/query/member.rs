//! x IN (SELECT …) and x NOT IN (SELECT …) where they are values, true, false or unknown; and ARRAY (SELECT …).

use std::ops::Range;

use sqlparser::ast::{self, BinaryOperator, Expr, Query, SetExpr, UnaryOperator};
use sqlparser::tokenizer::Span;

use super::Fault;
use super::column::{ColumnId, Scalar, bare, binary, coalesce, name_of, nested};
use super::group::equality;
use super::planner::Result;
use super::relation::{Aggregate, Condition, Relation};
use super::resolve::{Attached, Clause};
use super::subquery::Sub;
use super::types;
use crate::sql::expr::fold_case;
use crate::sql::plan::{Function, JoinKind};

/// `= ANY (SELECT …)` and `<> ALL (SELECT …)` are IN and NOT IN.
pub(super) fn as_in(expr: &Expr) -> Option<Expr> {
    let (left, right, negated) = match bare(expr) {
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => (left, right, false),
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => (left, right, true),
        _ => return None,
    };
    let Expr::Subquery(subquery) = bare(right) else { return None };
    Some(Expr::InSubquery { expr: left.clone(), subquery: subquery.clone(), negated })
}

/// How often the subquery has rows, and rows of NULL.
struct Counts {
    rows: ColumnId,
    nulls: ColumnId,
}

impl Clause<'_> {
    /// The value of `expr [NOT] IN (query)`.
    pub(super) fn in_value(
        &self,
        expr: &Expr,
        query: &Query,
        negated: bool,
        place: Range<usize>,
    ) -> Result<Expr> {
        let left = self.left_side(expr)?;
        let sub = self.member_query(query, left.len(), &place)?;
        if sub.may_be_none {
            return Err(Fault::new(
                "IN over an aggregate over the surrounding query's rows, with HAVING, is not supported",
            )
            .hint("write the aggregate as a scalar subquery without HAVING, and its condition with CASE")
            .at(place));
        }
        if sub.lifted {
            // There is one value.
            let op = if negated { BinaryOperator::NotEq } else { BinaryOperator::Eq };
            let right = Expr::Subquery(Box::new(query.clone()));
            return self.resolved(&nested(binary(expr.clone(), op, right)));
        }
        let nowhere_null = self.nowhere_null(&left, &sub);
        if !nowhere_null && left.len() > 1 {
            return Err(Fault::new(
                "IN of several columns as a value is not supported where one of them may be NULL",
            )
            .hint("write EXISTS (SELECT … WHERE …)")
            .at(place));
        }
        let value = left.first().map(|left| left.ast.clone());
        let conditions = self.membership(left, &sub, &place)?;
        let Sub { relation, .. } = sub;
        let found = self.mark(relation, conditions, "IN as a value", &place)?;
        let known = match value {
            Some(value) if !nowhere_null => {
                let counts = self.counts(query, &place)?;
                unknown_by(counts, value, found)
            }
            _ => found,
        };
        Ok(match negated {
            true => nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(known) }),
            false => known,
        })
    }

    pub(super) fn left_side(&self, expr: &Expr) -> Result<Vec<Scalar>> {
        match bare(expr) {
            Expr::Tuple(parts) => parts.iter().map(|part| self.scalar(part)).collect(),
            expr => self.scalar(expr).map(|scalar| vec![scalar]),
        }
    }

    pub(super) fn member_query(
        &self,
        query: &Query,
        compared: usize,
        place: &Range<usize>,
    ) -> Result<Sub> {
        let sub = self.planner.query(query, Some(self), self.commons)?;
        sub.no_outer_columns(place)?;
        if sub.output.len() != compared {
            let what = format!(
                "the subquery has {} columns, and {compared} are compared",
                sub.output.len()
            );
            return Err(Fault::new(what).at(place.clone()));
        }
        Ok(sub)
    }

    pub(super) fn nowhere_null(&self, left: &[Scalar], sub: &Sub) -> bool {
        left.iter().all(|scalar| scalar.ty.not_null)
            && sub.output.iter().all(|(_, id)| self.planner.info(*id).ty.not_null)
    }

    /// The conditions on which a row of the subquery is the one that is looked for.
    pub(super) fn membership(
        &self,
        left: Vec<Scalar>,
        sub: &Sub,
        place: &Range<usize>,
    ) -> Result<Vec<Condition>> {
        let mut conditions = sub.correlated.clone();
        for (left, (_, id)) in left.into_iter().zip(&sub.output) {
            let right = self.planner.column_scalar(*id, place);
            conditions.push(equality(self.planner, left, right)?);
        }
        Ok(conditions)
    }

    /// Beside each row: what the subquery holds for it.
    fn counts(&self, query: &Query, place: &Range<usize>) -> Result<Counts> {
        let planner = self.planner;
        let sub = self.member_query(query, 1, place)?;
        let Some((_, output)) = sub.output.first() else { return Err(Fault::new("no column")) };
        let mut relation = sub.relation;
        let (keys, conditions) =
            planner.outer_keys(&mut relation, sub.correlated, "IN as a value", place)?;
        let none = Expr::IsNull(Box::new(name_of(*output, Span::empty())));
        let is_null = planner.new_column("null", types::boolean());
        let relation = relation.map(vec![(is_null, planner.scalar(none, place.clone())?)]);
        let count = |filter| Aggregate {
            column: planner.new_column("count", types::bigint(true)),
            function: Function::Count,
            arguments: Vec::new(),
            distinct: false,
            order: Vec::new(),
            filter,
        };
        let (rows, nulls) = (count(None), count(Some(is_null)));
        let counts = Counts { rows: rows.column, nulls: nulls.column };
        let scalar = keys.is_empty();
        let kind = if conditions.is_empty() { JoinKind::Inner } else { JoinKind::Left };
        let input = Box::new(relation);
        let relation =
            Relation::Aggregate { input, group: keys, aggregates: vec![rows, nulls], scalar };
        if kind == JoinKind::Left {
            planner.make_nullable(relation.columns());
        }
        let (after, place) = (Vec::new(), place.clone());
        self.attach(Attached { relation, kind, conditions, after, place });
        Ok(counts)
    }

    /// ARRAY (SELECT x … ORDER BY …): the array of all x.
    pub(super) fn array_subquery(&self, query: &Query, place: Range<usize>) -> Result<Expr> {
        let refuse = || {
            Fault::new("this ARRAY (SELECT …) is not supported")
                .hint("write (SELECT array_agg(x ORDER BY …) FROM …)")
                .at(place.clone())
        };
        let SetExpr::Select(select) = &*query.body else { return Err(refuse()) };
        let ast::GroupByExpr::Expressions(by, _) = &select.group_by else { return Err(refuse()) };
        let is_plain = by.is_empty()
            && select.distinct.is_none()
            && select.having.is_none()
            && query.limit_clause.is_none()
            && query.fetch.is_none();
        let ([item], true) = (select.projection.as_slice(), is_plain) else {
            return Err(refuse());
        };
        let (ast::SelectItem::UnnamedExpr(value)
        | ast::SelectItem::ExprWithAlias { expr: value, .. }) = item
        else {
            return Err(refuse());
        };
        let order = match query.order_by.as_ref().map(|by| &by.kind) {
            None => Vec::new(),
            Some(ast::OrderByKind::Expressions(by)) => {
                let mut by = by.clone();
                for sort in &mut by {
                    if means_the_item(&sort.expr, item) {
                        sort.expr = value.clone();
                    }
                }
                by
            }
            Some(ast::OrderByKind::All(_)) => return Err(refuse()),
        };
        let mut aggregate = select.clone();
        aggregate.projection = vec![ast::SelectItem::UnnamedExpr(array_agg(value.clone(), order))];
        let query =
            Query { body: Box::new(SetExpr::Select(aggregate)), order_by: None, ..query.clone() };
        let array = self.scalar_subquery(&query, place)?;
        let empty = Expr::value(ast::Value::SingleQuotedString("{}".into()));
        Ok(coalesce(vec![array, empty]))
    }
}

/// ORDER BY 1, or by the name that the one column of the result is given.
fn means_the_item(expr: &Expr, item: &ast::SelectItem) -> bool {
    match (bare(expr), item) {
        (Expr::Value(value), _) => {
            matches!(&value.value, ast::Value::Number(number, _) if number == "1")
        }
        (Expr::Identifier(name), ast::SelectItem::ExprWithAlias { alias, .. }) => {
            fold_case(name) == fold_case(alias)
        }
        _ => false,
    }
}

/// Where nothing is found, a NULL on either side leaves it open.
fn unknown_by(counts: Counts, value: Expr, found: Expr) -> Expr {
    let some = |id: ColumnId| {
        let zero = Expr::value(ast::Value::Number("0".into(), false));
        nested(binary(name_of(id, Span::empty()), BinaryOperator::Gt, zero))
    };
    let null = nested(Expr::IsNull(Box::new(nested(value))));
    let compared_with_null = nested(binary(null, BinaryOperator::And, some(counts.rows)));
    let open = binary(some(counts.nulls), BinaryOperator::Or, compared_with_null);
    let truth = |truth: bool| Expr::value(ast::Value::Boolean(truth));
    let none = ast::helpers::attached_token::AttachedToken::empty;
    nested(Expr::Case {
        case_token: none(),
        end_token: none(),
        operand: None,
        conditions: vec![
            ast::CaseWhen { condition: found, result: truth(true) },
            ast::CaseWhen { condition: open, result: Expr::value(ast::Value::Null) },
        ],
        else_result: Some(Box::new(truth(false))),
    })
}

fn array_agg(value: Expr, order: Vec<ast::OrderByExpr>) -> Expr {
    let Expr::Function(mut call) = coalesce(vec![value]) else { unreachable!("it is a call") };
    call.name =
        ast::ObjectName(vec![ast::ObjectNamePart::Identifier(ast::Ident::new("array_agg"))]);
    if let ast::FunctionArguments::List(list) = &mut call.args
        && !order.is_empty()
    {
        list.clauses = vec![ast::FunctionArgumentClause::OrderBy(order)];
    }
    Expr::Function(call)
}
