//! What sqlparser reads in another way than PostgreSQL, put right before names are looked for.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, Expr, FunctionArg, FunctionArguments, Query, SelectItem, VisitMut, VisitorMut,
};

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
            Expr::Function(function) => {
                if let FunctionArguments::List(list) = &mut function.args {
                    list.args.iter_mut().for_each(named);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
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
