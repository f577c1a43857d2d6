//! Columns by number, and expressions over them.

use std::collections::BTreeSet;
use std::ops::Range;

use sqlparser::ast::{
    self, BinaryOperator, CastKind, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, ObjectNamePart,
};
use sqlparser::tokenizer::Span;

use crate::sql::expr::Ty;
use crate::value::Type;

/// A column of the query: of a table, or computed somewhere in it.
pub(super) type ColumnId = usize;

/// What is known of a column.
#[derive(Clone, Debug)]
pub(super) struct ColumnInfo {
    pub(super) name: String,
    pub(super) ty: Ty,
    /// The alias of the table that it is of.
    pub(super) table: Option<String>,
}

impl ColumnInfo {
    /// As a person writes it.
    pub(super) fn written(&self) -> String {
        match &self.table {
            Some(table) => format!("{table}.{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// An expression whose names are numbers of columns.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) ast: ast::Expr,
    pub(super) columns: BTreeSet<ColumnId>,
    pub(super) ty: Ty,
    /// In the query's text.
    pub(super) place: Range<usize>,
    /// A cast to the type that both sides of an equality have in common.
    pub(super) widened: bool,
}

impl Scalar {
    /// The column, where the expression is nothing but one.
    pub(super) fn as_column(&self) -> Option<ColumnId> {
        match bare(&self.ast) {
            ast::Expr::Identifier(name) => id_of(name),
            _ => None,
        }
    }
}

/// The column that a side of an equality decides and is decided by: itself, or what it was before it was
/// brought to a wider type of the same numbers.
pub(super) fn decisive(side: &Scalar) -> Option<ColumnId> {
    let exact = matches!(side.ty.stored, Type::Int2 | Type::Int4 | Type::Int8 | Type::Numeric);
    match bare(&side.ast) {
        ast::Expr::Identifier(name) => id_of(name),
        // `condition::equal` casts to a type that both sides have in common: nothing is lost.
        ast::Expr::Cast { expr, .. } if exact && side.widened => match bare(expr) {
            ast::Expr::Identifier(name) => id_of(name),
            _ => None,
        },
        _ => None,
    }
}

/// Without the parentheses around it.
pub(in crate::sql) fn bare(expr: &ast::Expr) -> &ast::Expr {
    match expr {
        ast::Expr::Nested(inner) => bare(inner),
        expr => expr,
    }
}

/// The name by which expressions know a column; parameters, which look alike, are refused.
pub(super) fn name_of(id: ColumnId, span: Span) -> ast::Expr {
    ast::Expr::Identifier(Ident { value: format!("${id}"), quote_style: None, span })
}

pub(super) fn id_of(name: &Ident) -> Option<ColumnId> {
    name.value.strip_prefix('$')?.parse().ok()
}

/// The name by which expressions know a whole row.
pub(super) fn name_of_row(row: usize, span: Span) -> ast::Expr {
    ast::Expr::Identifier(Ident { value: format!("$row{row}"), quote_style: None, span })
}

pub(super) fn row_of(name: &Ident) -> Option<usize> {
    name.value.strip_prefix("$row")?.parse().ok()
}

pub(super) fn binary(left: ast::Expr, op: BinaryOperator, right: ast::Expr) -> ast::Expr {
    ast::Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

pub(super) fn nested(expr: ast::Expr) -> ast::Expr {
    ast::Expr::Nested(Box::new(expr))
}

/// All of them, by AND, in a tree that is no deeper than it has to be; `None` of none.
pub(super) fn all(mut conditions: Vec<ast::Expr>) -> Option<ast::Expr> {
    if conditions.len() < 2 {
        return conditions.pop();
    }
    let right = conditions.split_off(conditions.len() / 2);
    let (left, right) = (all(conditions)?, all(right)?);
    Some(binary(nested(left), BinaryOperator::And, nested(right)))
}

pub(super) fn coalesce(arguments: Vec<ast::Expr>) -> ast::Expr {
    let name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("coalesce"))]);
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    let list = FunctionArgumentList {
        duplicate_treatment: None,
        args: arguments.into_iter().map(argument).collect(),
        clauses: Vec::new(),
    };
    ast::Expr::Function(ast::Function {
        name,
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        within_group: Vec::new(),
        filter: None,
        null_treatment: None,
        over: None,
    })
}

/// CASE WHEN … THEN … END.
pub(super) fn case_when(condition: ast::Expr, result: ast::Expr) -> ast::Expr {
    let none = ast::helpers::attached_token::AttachedToken::empty;
    nested(ast::Expr::Case {
        case_token: none(),
        end_token: none(),
        operand: None,
        conditions: vec![ast::CaseWhen { condition, result }],
        else_result: None,
    })
}

pub(super) fn cast(expr: ast::Expr, data_type: ast::DataType) -> ast::Expr {
    ast::Expr::Cast { kind: CastKind::Cast, expr: Box::new(nested(expr)), data_type, format: None }
}
