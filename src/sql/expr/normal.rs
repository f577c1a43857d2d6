//! What sqlparser reads in another way than PostgreSQL, put right before names are looked for.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, Expr, FunctionArg, FunctionArguments, Ident,
    ObjectNamePart, Query, SelectItem, UnaryOperator, Value, VisitMut, VisitorMut,
};

use super::fold_case;

pub(in crate::sql) fn expr(expr: &mut Expr) {
    // The visitor never breaks off.
    let _ = VisitMut::visit(expr, &mut Normal);
}

pub(in crate::sql) fn item(item: &mut SelectItem) {
    let _ = VisitMut::visit(item, &mut Normal);
}

pub(in crate::sql) fn query(query: &mut Query) {
    let _ = VisitMut::visit(query, &mut Normal);
}

struct Normal;

impl VisitorMut for Normal {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::CompoundFieldAccess { .. } => column_first(expr),
            // Expressions are the same however they are spelled: GROUP BY lower(name) is of LOWER(name).
            Expr::Cast { kind: kind @ CastKind::Cast, .. } => *kind = CastKind::DoubleColon,
            Expr::Function(function) => {
                for part in &mut function.name.0 {
                    if let ObjectNamePart::Identifier(name) = part {
                        *name = Ident { value: fold_case(name), ..name.clone() };
                    }
                }
                if let FunctionArguments::List(list) = &mut function.args {
                    list.args.iter_mut().for_each(named);
                }
            }
            Expr::UnaryOp { .. } => sign_first(expr),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        prefix_last(expr);
        ControlFlow::Continue(())
    }
}

/// `-a ^ 2` is `(-a) ^ 2` (manual, "Operator Precedence").
fn sign_first(expr: &mut Expr) {
    let Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: of } = expr else {
        return;
    };
    if !matches!(**of, Expr::BinaryOp { op: BinaryOperator::PGExp, .. }) {
        return;
    }
    let power = std::mem::replace(&mut **of, Expr::value(Value::Null));
    let mut sign = std::mem::replace(expr, power);
    let mut base = expr;
    while let Expr::BinaryOp { left, op: BinaryOperator::PGExp, .. } = base {
        base = left;
    }
    std::mem::swap(base, &mut sign);
    // What was the first base is in the sign's place now.
    if let Expr::UnaryOp { expr: of, .. } = base {
        **of = sign;
    }
}

/// `@ a - 10` is `@ (a - 10)`: the other operators that stand before what they are of bind less than + and -.
fn prefix_last(expr: &mut Expr) {
    let Expr::BinaryOp { left, op: BinaryOperator::Plus | BinaryOperator::Minus, .. } = expr else {
        return;
    };
    if open_end(left).is_none() {
        return;
    }
    let taken = std::mem::replace(expr, Expr::value(Value::Null));
    let Expr::BinaryOp { mut left, op, right } = taken else { return };
    if let Some(end) = open_end(&mut left) {
        let first = std::mem::replace(end, Expr::value(Value::Null));
        *end = Expr::BinaryOp { left: Box::new(first), op, right };
    }
    *expr = *left;
}

/// What a prefix operator at the end of an expression is of: what follows belongs to it.
fn open_end(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::UnaryOp {
            op:
                UnaryOperator::PGAbs
                | UnaryOperator::BitwiseNot
                | UnaryOperator::PGSquareRoot
                | UnaryOperator::PGCubeRoot,
            expr,
        } => match open_end(expr).is_some() {
            true => open_end(expr),
            false => Some(expr),
        },
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => open_end(expr),
        Expr::BinaryOp { right, .. } => open_end(right),
        _ => None,
    }
}

/// `t.a[1]` is an element of the column `t.a`: a table's name comes first where there are no parentheses.
fn column_first(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return };
    let Expr::Identifier(first) = &**root else { return };
    let mut path = vec![first.clone()];
    for access in &*access_chain {
        match access {
            AccessExpr::Dot(Expr::Identifier(name)) => path.push(name.clone()),
            _ => break,
        }
    }
    if path.len() == 1 {
        return;
    }
    access_chain.drain(..path.len() - 1);
    let column = Expr::CompoundIdentifier(path);
    match access_chain.is_empty() {
        true => *expr = column,
        false => **root = column,
    }
}

/// `days => 3` names an argument and no column.
fn named(argument: &mut FunctionArg) {
    if let FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, operator } = argument {
        let (name, arg, operator) = (name.clone(), arg.clone(), operator.clone());
        *argument = FunctionArg::Named { name, arg, operator };
    }
}
