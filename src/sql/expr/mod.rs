//! Scalar expressions over one row, as Postgres computes them.
//!
//! ```text
//! text --parse--> sqlparser's tree --bind--> nodes with types --eval--> a value for each row
//! ```
//!
//! * `parse`: the text in PostgreSQL's dialect, and where in it something stands.
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
mod node;
mod parse;
mod types;

pub use eval::{EvalError, Row};
pub use types::Ty;

use std::ops::Range;

use crate::value::{Column, Scalar};

use node::Node;

/// What names mean.
pub struct Scope<'a> {
    pub columns: &'a [Column],
    /// Whether equality of this column's texts is equality of their bytes: its collation is
    /// deterministic.
    pub byte_equality: &'a dyn Fn(usize) -> bool,
}

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

/// An expression, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    node: Node,
    ty: Ty,
}

impl Expr {
    /// An expression whose value is a number or a time, as a score is.
    pub fn compile_number(sql: &str, scope: &Scope<'_>) -> Result<Self, Fault> {
        let parsed = parse::parse(sql)?;
        let bound = bind::bind(&parsed, scope)?;
        match bound.ty {
            Some(ty) if ty.is_number() || ty.is_time() => Ok(Self { node: bound.node, ty }),
            ty => Err(Fault {
                what: match ty {
                    Some(ty) => format!("the expression is {ty}, and no number"),
                    None => "the expression is always NULL".into(),
                },
                hint: Some("write a number or a time; times count in seconds".into()),
                span: 0..sql.len(),
                unknown_column: None,
            }),
        }
    }

    pub fn ty(&self) -> Ty {
        self.ty
    }

    /// The value for a row; `None` is NULL.
    pub fn eval<'v>(&'v self, row: Row<'v>) -> Result<Option<Scalar<'v>>, EvalError> {
        self.node.eval(row)
    }

    /// The value as a number, times in seconds; `None` is NULL.
    pub fn eval_number(&self, row: Row<'_>) -> Result<Option<f64>, EvalError> {
        Ok(match self.node.eval(row)? {
            None => None,
            Some(Scalar::Int(value)) => Some(value as f64),
            Some(Scalar::Float(value)) => Some(value),
            Some(Scalar::Decimal(value)) => Some(value.to_f64()),
            Some(value) => Some(eval::epoch(self.ty, &value)?.to_f64()),
        })
    }
}
