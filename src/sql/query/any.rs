//! x < ANY (SELECT …), x > ALL (SELECT …) and the like: what is compared with is the least or the greatest.

use std::ops::Range;

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{self, BinaryOperator, Expr, Query, SetExpr, TableFactor, UnaryOperator};

use super::column::{binary, nested};
use super::generated::without_places;
use super::planner::Result;
use super::resolve::Clause;

/// Of the subquery's column.
const VALUE: &str = "compared value";

impl Clause<'_> {
    /// `None` where the operator says nothing of an order. True, false or unknown, as PostgreSQL has it: a NULL
    /// among the rows leaves open what no other row decides.
    pub(super) fn any_or_all(
        &self,
        left: &Expr,
        op: &BinaryOperator,
        query: &Query,
        all: bool,
        place: Range<usize>,
    ) -> Result<Option<Expr>> {
        let extreme = |function: &str| -> Result<Expr> {
            let extreme = of_query(&format!("{function}(\"{VALUE}\")"), query)?;
            Ok(nested(binary(nested(left.clone()), op.clone(), extreme)))
        };
        let decided = match (op, all) {
            (BinaryOperator::Lt | BinaryOperator::LtEq, false)
            | (BinaryOperator::Gt | BinaryOperator::GtEq, true) => extreme("max")?,
            (BinaryOperator::Gt | BinaryOperator::GtEq, false)
            | (BinaryOperator::Lt | BinaryOperator::LtEq, true) => extreme("min")?,
            (BinaryOperator::NotEq, false) => {
                let (least, greatest) = (extreme("min")?, extreme("max")?);
                nested(binary(least, BinaryOperator::Or, greatest))
            }
            (BinaryOperator::Eq, true) => {
                let (least, greatest) = (extreme("min")?, extreme("max")?);
                nested(binary(least, BinaryOperator::And, greatest))
            }
            _ => return Ok(None),
        };
        let decided = match all {
            true => nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(decided) }),
            false => decided,
        };
        let zero = Expr::value(ast::Value::Number("0".into(), false));
        let rows = of_query("count(1)", query)?;
        let known = of_query(&format!("count(\"{VALUE}\")"), query)?;
        let some = nested(binary(rows.clone(), BinaryOperator::Gt, zero));
        let null = nested(Expr::IsNull(Box::new(nested(left.clone()))));
        let of_null = nested(binary(some, BinaryOperator::And, null));
        let nulls = nested(binary(rows, BinaryOperator::Gt, known));
        let open = nested(binary(of_null, BinaryOperator::Or, nulls));
        let truth = |truth: bool| Expr::value(ast::Value::Boolean(truth));
        let whole = nested(Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![
                ast::CaseWhen { condition: decided, result: truth(!all) },
                ast::CaseWhen { condition: open, result: Expr::value(ast::Value::Null) },
            ],
            else_result: Some(Box::new(truth(all))),
        });
        let resolved = self.resolved(&whole).map_err(|fault| {
            let nowhere = fault.span.is_empty() || fault.span == (0..self.planner.text.text.len());
            if nowhere { fault.at(place) } else { fault }
        });
        resolved.map(Some)
    }
}

/// (SELECT call FROM (query) AS …)
fn of_query(call: &str, query: &Query) -> Result<Expr> {
    let text = format!("(SELECT {call} FROM (SELECT 1) AS \"compared with\" (\"{VALUE}\"))");
    let mut whole = without_places(&text)?;
    if let Expr::Subquery(select) = &mut whole
        && let SetExpr::Select(select) = &mut *select.body
        && let Some(TableFactor::Derived { subquery, .. }) =
            select.from.first_mut().map(|from| &mut from.relation)
    {
        **subquery = query.clone();
    }
    Ok(whole)
}
