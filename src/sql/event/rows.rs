//! `old` and `new` as a whole: `old IS NULL`, `to_jsonb(new)`.

use std::ops::ControlFlow;

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    CaseWhen, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, VisitMut, VisitorMut,
};

use super::names::presence;
use crate::sql::expr::fold_case;
use crate::sql::query::bare;

/// Where a row is tested for NULL, its presence takes its place. A document of a row that is missing is
/// NULL, not a document of NULLs.
pub(super) fn resolve(expr: &mut Expr) {
    // The visitor never breaks off.
    let _ = VisitMut::visit(expr, &mut Resolver);
}

struct Resolver;

impl VisitorMut for Resolver {
    type Break = ();

    // Children come first, so that what is put in is not looked at again.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::IsNull(of) | Expr::IsNotNull(of) => {
                if let Some(version) = version(of) {
                    **of = there(&version);
                }
            }
            Expr::Function(function) if is_document(function) => {
                if let Some(version) = only_argument(function).and_then(version) {
                    let condition = Expr::IsNotNull(Box::new(there(&version)));
                    let result = expr.clone();
                    *expr = Expr::Case {
                        case_token: AttachedToken::empty(),
                        end_token: AttachedToken::empty(),
                        operand: None,
                        conditions: vec![CaseWhen { condition, result }],
                        else_result: None,
                    };
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn version(expr: &Expr) -> Option<Ident> {
    match bare(expr) {
        Expr::Identifier(name) if matches!(fold_case(name).as_str(), "old" | "new") => {
            Some(name.clone())
        }
        _ => None,
    }
}

fn there(version: &Ident) -> Expr {
    let value = presence(&fold_case(version));
    Expr::Identifier(Ident { value, quote_style: None, span: version.span })
}

fn is_document(function: &sqlparser::ast::Function) -> bool {
    let name = function.name.0.last().and_then(|part| part.as_ident()).map(fold_case);
    matches!(name.as_deref(), Some("to_jsonb" | "to_json" | "row_to_json"))
}

fn only_argument(function: &sqlparser::ast::Function) -> Option<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] => Some(argument),
        _ => None,
    }
}
