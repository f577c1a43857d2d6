//! Scalar expressions over one row, as Postgres computes them.
//!
//! ```text
//! text --parse--> sqlparser's tree --bind--> nodes with types --fold--> nodes --eval--> a datum for each row
//! ```
//!
//! * `parse`: the text in PostgreSQL's dialect, and where in it something stands.
//! * `normal`: what sqlparser reads in another way than PostgreSQL.
//! * `names`: what the query around tells of names; `ty`: what it is told of types.
//! * `catalog`: Postgres' types, casts, operators and functions; `function`: what computes them.
//! * `bind`: names to columns, operators and functions to the ones that Postgres would choose, every
//!   cast spelled out; what is not supported is refused by name and place.
//! * `node`: what `bind` makes. `fold`: constants are computed, as the planner does.
//! * `shape`: what JSON that an expression builds is made of.
//! * `eval`: rows in, datums out. Nothing is parsed or looked up by name for a row.
//!
//! Exact or refused: what is computed is what the source would compute, to the last digit, or an error
//! where the source has one.

mod bind;
mod catalog;
mod eval;
mod fold;
mod function;
mod names;
mod node;
pub(super) mod normal;
mod parse;
mod series;
mod shape;
#[cfg(test)]
mod tests;
mod ty;

pub use catalog::Kind;
pub use eval::{EvalError, Row};
pub use names::{Ctype, Database, Field, Names, Scope, UserKind, UserType};
pub use parse::Places;
pub(super) use parse::{parse, parse_list};
pub use series::{Series, SeriesOf, SeriesRows};
pub use shape::common_shape;
pub use ty::{Collation, Ty};

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use sqlparser::ast::{self, Ident};

use crate::value::{Scalar, Type, epoch};

use eval::Context;
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

/// Appends the datum of the value that a text means, in any of the forms that Postgres reads.
pub fn read_value(ty: &Type, text: &str, out: &mut Vec<u8>) -> Result<(), EvalError> {
    function::input(ty, text)?.encode(ty, out)?;
    Ok(())
}

/// A name as Postgres reads it: in lower case unless it is quoted.
pub fn fold_case(name: &Ident) -> String {
    match name.quote_style {
        None => name.value.to_ascii_lowercase(),
        Some(_) => name.value.clone(),
    }
}

/// An operator, function or cast that is computed, with types as pg_type names them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Computed {
    pub kind: Kind,
    pub name: &'static str,
    pub arguments: Vec<String>,
    pub result: String,
    pub variadic: bool,
}

/// All that is computed, in order.
pub fn computed() -> Vec<Computed> {
    let all = catalog::CATALOG.computed().into_iter().map(|(kind, of)| Computed {
        kind,
        name: of.name,
        arguments: of.arguments.iter().map(|ty| catalog::name_of(*ty)).collect(),
        result: catalog::name_of(of.result),
        variadic: of.variadic,
    });
    let mut all: Vec<Computed> = all.collect();
    all.sort();
    all
}

/// An expression, ready to run.
///
/// Two are equal when they compute the same from the same columns.
#[derive(Clone, Debug)]
pub struct Expr {
    node: Node,
    ty: Ty,
    /// What it computes, written out.
    identity: Arc<str>,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Expr {}

impl Hash for Expr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

impl Expr {
    /// An expression of a query, whose text `places` knows.
    pub fn compile(
        expr: &ast::Expr,
        places: &Places<'_>,
        names: &dyn Names,
    ) -> Result<Self, Fault> {
        let (node, ty) = bind::bind(expr, places, names)?;
        let node = fold::fold(node).map_err(|error| {
            Fault::new(error.to_string())
                .hint("a constant part of the expression always fails")
                .at(places.of(expr))
        })?;
        Ok(Self::new(node, ty))
    }

    /// A column as it is.
    pub fn column(field: Field) -> Self {
        let Field { position, ty } = field;
        let (stored, not_null) = (ty.stored.clone(), ty.not_null);
        Self::new(Node::Column { position, ty: stored, not_null }, ty)
    }

    fn new(node: Node, ty: Ty) -> Self {
        let ty = Ty { not_null: node.is_not_null(), ..ty };
        let identity = format!("{node:?} {} {}", ty.oid, ty.typmod).into();
        Self { node, ty, identity }
    }

    /// An expression whose value is a number or a time, as a score is.
    pub fn compile_number(sql: &str, scope: &Scope<'_>) -> Result<Self, Fault> {
        let parsed = parse::parse(sql)?;
        let expr = Self::compile(&parsed.expr, &parsed.places, scope)?;
        let is_number = matches!(
            expr.ty.stored,
            Type::Int2
                | Type::Int4
                | Type::Int8
                | Type::Numeric
                | Type::Float4
                | Type::Float8
                | Type::Date
                | Type::Time
                | Type::TimeTz
                | Type::Timestamp
                | Type::TimestampTz
                | Type::Interval
        );
        if is_number {
            return Ok(expr);
        }
        let what = match expr.node.is_null() {
            true => "the expression is always NULL".into(),
            false => format!("the expression is {}, and no number", expr.ty),
        };
        Err(Fault::new(what)
            .hint("write a number or a time; times count in seconds")
            .at(0..sql.len()))
    }

    /// An expression by its text.
    pub fn parse(sql: &str, names: &dyn Names) -> Result<Self, Fault> {
        let parsed = parse::parse(sql)?;
        Self::compile(&parsed.expr, &parsed.places, names)
    }

    pub fn ty(&self) -> &Ty {
        &self.ty
    }

    /// It is the constant NULL.
    pub fn is_null(&self) -> bool {
        self.node.is_null()
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
        self.value(row)?.encode(&self.ty.stored, out)?;
        Ok(())
    }

    fn value<'v>(&'v self, row: Row<'v>) -> Result<Scalar<'v>, EvalError> {
        self.node.eval(Context { row, operand: None })
    }

    /// The value of a condition; `None` is NULL.
    pub fn eval_bool(&self, row: Row<'_>) -> Result<Option<bool>, EvalError> {
        Ok(match self.value(row)? {
            Scalar::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// The value as a number, times in seconds; `None` is NULL.
    pub fn eval_number(&self, row: Row<'_>) -> Result<Option<f64>, EvalError> {
        let is_time = matches!(
            self.ty.stored,
            Type::Date
                | Type::Time
                | Type::TimeTz
                | Type::Timestamp
                | Type::TimestampTz
                | Type::Interval
        );
        Ok(match self.value(row)? {
            Scalar::Null => None,
            value if is_time => {
                let mut datum = Vec::new();
                value.encode(&self.ty.stored, &mut datum)?;
                epoch(&self.ty.stored, &datum).map(|seconds| seconds.to_f64())
            }
            Scalar::Int(value) => Some(value as f64),
            Scalar::Float(value) => Some(value),
            Scalar::Decimal(value) => Some(value.to_f64()),
            _ => None,
        })
    }
}
