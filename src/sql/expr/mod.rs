//! Scalar expressions over one row, as Postgres computes them.
//!
//! ```text
//! text --parse--> sqlparser's tree --bind--> nodes with types --eval--> a value for each row
//! ```
//!
//! * `parse`: the text in PostgreSQL's dialect, and where in it something stands.
//! * `names`: what the query around tells of names; `ty`: what it is told of types.
//! * `types`: the types of expressions, and which one two of them meet in.
//! * `bind`: names to columns, operators to types, every cast spelled out; what is not supported is
//!   refused by name and place.
//! * `node`: what `bind` makes: it is evaluated as it is.
//! * `eval`: rows in, values out. Nothing is parsed, looked up by name or allocated for a row, numeric
//!   values of more than 38 digits excepted.
//!
//! Exact or refused: what is computed is what the source would compute, to the last digit, or an error
//! where the source has one.

mod bind;
mod eval;
mod names;
mod node;
mod parse;
mod ty;
mod types;

pub use eval::{EvalError, Row};
pub use names::{Ctype, Database, Field, Names, Scope, UserKind, UserType};
pub use parse::Places;
pub use ty::{Collation, Ty};

use std::ops::Range;

use sqlparser::ast::{self, Ident};

use crate::value::{self, Scalar};

use node::Node;

/// Why a text is no expression of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub what: String,
    pub hint: Option<String>,
    /// Bytes of the text.
    pub span: Range<usize>,
    /// The name of a column that is not there, for "did you mean".
    pub unknown_column: Option<String>,
}

impl Fault {
    /// Without a place, which the compiler adds.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, span: 0..0, unknown_column: None }
    }

    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        Self { hint: (!hint.is_empty()).then_some(hint), ..self }
    }

    #[must_use]
    pub fn at(self, span: Range<usize>) -> Self {
        Self { span, ..self }
    }
}

/// A name as Postgres reads it: in lower case unless it is quoted.
pub fn fold_case(name: &Ident) -> String {
    match name.quote_style {
        None => name.value.to_ascii_lowercase(),
        Some(_) => name.value.clone(),
    }
}

/// An expression, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    node: Node,
    ty: Ty,
}

impl Expr {
    /// An expression of a query, whose text `places` knows.
    pub fn compile(
        expr: &ast::Expr,
        places: &Places<'_>,
        names: &dyn Names,
    ) -> Result<Self, Fault> {
        let (node, ty) = bind::bind(expr, places, names)?;
        Ok(Self { node, ty })
    }

    /// A column as it is.
    pub fn column(field: Field) -> Self {
        let Field { position, ty } = field;
        Self { node: Node::Column { position, ty: ty.stored.clone() }, ty }
    }

    /// An expression whose value is a number or a time, as a score is.
    pub fn compile_number(sql: &str, scope: &Scope<'_>) -> Result<Self, Fault> {
        let parsed = parse::parse(sql)?;
        let expr = Self::compile(&parsed.expr, &parsed.places, scope)?;
        if types::Kind::of(&expr.ty.stored).is_some_and(|kind| kind.is_number() || kind.is_time()) {
            return Ok(expr);
        }
        let what = match expr.node {
            Node::Null => "the expression is always NULL".into(),
            _ => format!("the expression is {}, and no number", expr.ty),
        };
        Err(Fault::new(what)
            .hint("write a number or a time; times count in seconds")
            .at(0..sql.len()))
    }

    pub fn ty(&self) -> &Ty {
        &self.ty
    }

    /// The column's position, where the expression is nothing but one.
    pub fn as_column(&self) -> Option<usize> {
        match self.node {
            Node::Column { position, .. } => Some(position),
            _ => None,
        }
    }

    /// Appends the value's datum for a row, NULL included. After an error nothing is appended.
    pub fn eval(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), EvalError> {
        if let Node::Column { position, .. } = self.node {
            out.extend_from_slice(row.datum(position));
            return Ok(());
        }
        match self.node.eval(row)? {
            None => value::encode_null(out),
            Some(value) => value.encode(&self.ty.stored, out)?,
        }
        Ok(())
    }

    /// The value of a condition; `None` is NULL.
    pub fn eval_bool(&self, row: Row<'_>) -> Result<Option<bool>, EvalError> {
        Ok(match self.node.eval(row)? {
            Some(Scalar::Bool(value)) => Some(value),
            _ => None,
        })
    }

    /// The value as a number, times in seconds; `None` is NULL.
    pub fn eval_number(&self, row: Row<'_>) -> Result<Option<f64>, EvalError> {
        Ok(match self.node.eval(row)? {
            None => None,
            Some(Scalar::Int(value)) => Some(value as f64),
            Some(Scalar::Float(value)) => Some(value),
            Some(Scalar::Decimal(value)) => Some(value.to_f64()),
            Some(value) => Some(eval::epoch(&self.ty.stored, &value)?.to_f64()),
        })
    }
}
