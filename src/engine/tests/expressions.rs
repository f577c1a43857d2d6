//! Expressions over integer columns for plans that are made by hand.

use crate::sql::expr::{EvalError, Row};
use crate::sql::plan::{Evaluate, Expr};
use crate::value::{self, Type};

#[derive(Clone, Copy, Debug)]
pub(super) enum Sample {
    Less(usize, usize),
    IsOdd(usize),
    Quotient(usize, usize),
    /// Fails where the column is zero.
    Reciprocal(usize),
    Sum(usize, usize),
}

impl Sample {
    pub(super) fn expr(self) -> Expr {
        Expr::Computed(std::sync::Arc::new(self))
    }

    fn value(
        self,
        of: impl Fn(usize) -> Result<Option<i64>, EvalError>,
    ) -> Result<Option<i64>, EvalError> {
        let both = |a, b| Ok::<_, EvalError>(of(a)?.zip(of(b)?));
        Ok(match self {
            Sample::Less(a, b) => both(a, b)?.map(|(a, b)| i64::from(a < b)),
            Sample::IsOdd(a) => of(a)?.map(|a| a & 1),
            Sample::Sum(a, b) => both(a, b)?.map(|(a, b)| a + b),
            Sample::Quotient(a, b) => match both(a, b)? {
                Some((_, 0)) => {
                    return Err(EvalError::Failed("value out of range: overflow".into()));
                }
                Some((a, b)) => Some(a / b),
                None => None,
            },
            Sample::Reciprocal(a) => match of(a)? {
                Some(0) => return Err(EvalError::Failed("value out of range: underflow".into())),
                Some(a) => Some(i64::from(a == 1)),
                None => None,
            },
        })
    }

    pub(super) fn ty(self) -> Type {
        match self {
            Sample::Less(..) | Sample::IsOdd(_) | Sample::Reciprocal(_) => Type::Bool,
            Sample::Quotient(..) | Sample::Sum(..) => Type::Int4,
        }
    }
}

impl Evaluate for Sample {
    fn eval(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), EvalError> {
        let value = self.value(|at| {
            let datum = row.datum(at);
            match value::is_null(datum) {
                true => Ok(None),
                false => Ok(Some(value::int_of(&Type::Int4, datum)?)),
            }
        })?;
        match (value, self.ty()) {
            (None, _) => value::encode_null(out),
            (Some(value), Type::Bool) => out.push(u8::from(value != 0)),
            (Some(value), _) => value::encode_int(value, out),
        }
        Ok(())
    }
}
