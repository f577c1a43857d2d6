//! Conditions: what stands between ANDs, and which of it are equalities.

use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};

use super::Fault;
use super::column::{Scalar, bare, binary, cast, coalesce};
use super::planner::{Planner, Result};
pub(super) use super::relation::Condition;
use super::resolve::Clause;
use super::types;
use crate::value::Type;

/// The parts of a condition that all have to be true.
pub(in crate::sql) fn conjuncts(expr: &Expr) -> Vec<Expr> {
    let mut found = Vec::new();
    split(expr, &mut found);
    found
}

fn split(expr: &Expr, found: &mut Vec<Expr>) {
    match bare(expr) {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            split(left, found);
            split(right, found);
        }
        // (a, b) = (c, d)
        Expr::BinaryOp { left, op: op @ BinaryOperator::Eq, right } => {
            match (bare(left), bare(right)) {
                (Expr::Tuple(left), Expr::Tuple(right)) if left.len() == right.len() => {
                    let pairs = left.iter().zip(right);
                    found.extend(pairs.map(|(l, r)| binary(l.clone(), op.clone(), r.clone())));
                }
                _ => found.push(expr.clone()),
            }
        }
        // NOT EXISTS, NOT (x IN …)
        Expr::UnaryOp { op: UnaryOperator::Not, expr: inner } => match bare(inner) {
            Expr::Exists { subquery, negated } => {
                found.push(Expr::Exists { subquery: subquery.clone(), negated: !negated });
            }
            Expr::InSubquery { expr, subquery, negated } => found.push(Expr::InSubquery {
                expr: expr.clone(),
                subquery: subquery.clone(),
                negated: !negated,
            }),
            _ => found.push(expr.clone()),
        },
        bare => found.push(bare.clone()),
    }
}

impl Clause<'_> {
    pub(super) fn condition(&self, expr: &Expr) -> Result<Condition> {
        let scalar = self.scalar(expr)?;
        condition(self.planner, scalar)
    }
}

/// The condition, with its two sides where it is an equality of two things.
pub(super) fn condition(planner: &Planner<'_>, scalar: Scalar) -> Result<Condition> {
    if scalar.ty.stored != Type::Bool {
        return Err(Fault::new(format!("the condition is {}, not boolean", scalar.ty))
            .hint("write a comparison")
            .at(scalar.place));
    }
    let equality = match bare(&scalar.ast) {
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            sides(planner, left, right, &scalar)?
        }
        _ => None,
    };
    Ok(Condition { scalar, equality, written: true })
}

fn sides(
    planner: &Planner<'_>,
    left: &Expr,
    right: &Expr,
    whole: &Scalar,
) -> Result<Option<(Scalar, Scalar)>> {
    let left = planner.scalar(left.clone(), whole.place.clone())?;
    let right = planner.scalar(right.clone(), whole.place.clone())?;
    let apart = left.columns.is_disjoint(&right.columns);
    if left.columns.is_empty() || right.columns.is_empty() || !apart {
        return Ok(None);
    }
    equal(planner, left, right)
}

/// Both, brought to the one type in which they are compared; `None` where equal values of it may differ
/// in their bytes.
pub(super) fn equal(
    planner: &Planner<'_>,
    left: Scalar,
    right: Scalar,
) -> Result<Option<(Scalar, Scalar)>> {
    if !types::is_groupable(planner.schema, &left.ty)
        || !types::is_groupable(planner.schema, &right.ty)
    {
        return Ok(None);
    }
    let blanks = left.ty.stored == Type::Bpchar && left.ty.typmod != right.ty.typmod;
    if left.ty.stored == right.ty.stored && !blanks {
        return Ok(Some((left, right)));
    }
    let common = match blanks {
        true => Type::Text,
        false => {
            let both = coalesce(vec![left.ast.clone(), right.ast.clone()]);
            planner.scalar(both, left.place.clone())?.ty.stored
        }
    };
    let Some(data_type) = types::data_type(&common) else { return Ok(None) };
    let converted = |side: Scalar| match side.ty.stored == common {
        true => Ok(side),
        false => {
            let cast = planner.scalar(cast(side.ast, data_type.clone()), side.place)?;
            Ok(Scalar { widened: !blanks, ..cast })
        }
    };
    Ok(Some((converted(left)?, converted(right)?)))
}
