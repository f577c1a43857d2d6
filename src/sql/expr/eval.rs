//! Evaluation over one row's datums.
//!
//! Errors are Postgres' own, in its words. What it guards, this guards: CASE and COALESCE evaluate no
//! more than they need, AND and OR end at the first value that decides.

use std::cmp::Ordering;
use std::ops::{Add, Div, Mul, Range, Sub};

use crate::value::{self, Decimal, DecimalError, Scalar, Type, ValueError};

use super::node::{Arithmetic, Comparison, Node};
use super::types::Kind;

/// A row's datums, found by `value::split`.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub bytes: &'a [u8],
    pub ranges: &'a [Range<usize>],
}

impl<'a> Row<'a> {
    /// The datum of a column.
    pub fn datum(self, position: usize) -> &'a [u8] {
        let range = self.ranges.get(position).cloned();
        range.and_then(|range| self.bytes.get(range)).unwrap_or_default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    #[error(transparent)]
    Numeric(#[from] DecimalError),
    #[error("{0} out of range")]
    OutOfRange(String),
    #[error("value out of range: overflow")]
    Overflow,
    #[error("value out of range: underflow")]
    Underflow,
    /// Not the row's fault: bytes that are no value.
    #[error(transparent)]
    Value(#[from] ValueError),
}

type Value<'v> = Option<Scalar<'v>>;
type Result<'v> = std::result::Result<Value<'v>, EvalError>;

impl Node {
    pub(super) fn eval<'v>(&'v self, row: Row<'v>) -> Result<'v> {
        Ok(match self {
            Node::Null => None,
            Node::Bool(value) => Some(Scalar::Bool(*value)),
            Node::Int(value) => Some(Scalar::Int(*value)),
            Node::Float(value) => Some(Scalar::Float(*value)),
            Node::Decimal(value) => Some(Scalar::Decimal(value.clone())),
            Node::Text(datum) => Some(Scalar::Datum { whole: datum, order: datum }),
            Node::Column { position, ty } => value::scalar(ty, row.datum(*position))?,
            Node::Cast { of, from, to } => match of.eval(row)? {
                Some(value) => Some(cast(value, *from, *to)?),
                None => None,
            },
            Node::Fit { of, precision, scale } => match of.eval(row)? {
                Some(Scalar::Decimal(value)) => {
                    Some(Scalar::Decimal(value.fit(*precision, *scale)?))
                }
                other => other,
            },
            Node::Negate { of, ty } => match of.eval(row)? {
                Some(value) => Some(negate(value, *ty)?),
                None => None,
            },
            Node::Abs { of, ty } => match of.eval(row)? {
                Some(Scalar::Int(value @ ..0)) => Some(negate(Scalar::Int(value), *ty)?),
                Some(Scalar::Float(value)) => Some(Scalar::Float(value.abs())),
                Some(Scalar::Decimal(value)) => Some(Scalar::Decimal(value.abs())),
                other => other,
            },
            Node::Arithmetic { operator, ty, left, right } => {
                // Both first: an error on one side counts also where the other is NULL.
                match (left.eval(row)?, right.eval(row)?) {
                    (Some(left), Some(right)) => Some(arithmetic(*operator, *ty, &left, &right)?),
                    _ => None,
                }
            }
            Node::Compare { operator, left, right } => match (left.eval(row)?, right.eval(row)?) {
                (Some(left), Some(right)) => {
                    Some(Scalar::Bool(operator.holds(compare(&left, &right))))
                }
                _ => None,
            },
            Node::And(parts) => decide(parts, row, false)?,
            Node::Or(parts) => decide(parts, row, true)?,
            Node::Not(of) => match of.eval(row)? {
                Some(Scalar::Bool(value)) => Some(Scalar::Bool(!value)),
                other => other,
            },
            Node::IsNull(of) => Some(Scalar::Bool(of.eval(row)?.is_none())),
            Node::Is { of, value } => {
                Some(Scalar::Bool(of.eval(row)? == Some(Scalar::Bool(*value))))
            }
            Node::Coalesce(of) => {
                for node in of {
                    let value = node.eval(row)?;
                    if value.is_some() {
                        return Ok(value);
                    }
                }
                None
            }
            Node::NullIf { left, right } => match (left.eval(row)?, right.eval(row)?) {
                (Some(left), Some(right)) if compare(&left, &right) == Ordering::Equal => None,
                (left, _) => left,
            },
            Node::Greatest(of) => extreme(of, row, Ordering::Greater)?,
            Node::Least(of) => extreme(of, row, Ordering::Less)?,
            Node::Case { branches, otherwise } => {
                for (condition, result) in branches {
                    if condition.eval(row)? == Some(Scalar::Bool(true)) {
                        return result.eval(row);
                    }
                }
                otherwise.eval(row)?
            }
            Node::Epoch { of, ty } => match of.eval(row)? {
                Some(value) => Some(Scalar::Decimal(epoch(&ty.stored(), &value)?)),
                None => None,
            },
        })
    }
}

/// A time in seconds, as `extract(epoch from …)` counts them.
pub(super) fn epoch(ty: &Type, value: &Scalar<'_>) -> std::result::Result<Decimal, EvalError> {
    let epoch = match value {
        Scalar::Datum { whole, .. } => value::epoch(ty, whole),
        _ => None,
    };
    epoch.ok_or_else(|| EvalError::OutOfRange(ty.to_string()))
}

/// The first part that has this value decides, else NULL where one is NULL.
fn decide<'v>(parts: &'v [Node], row: Row<'v>, decisive: bool) -> Result<'v> {
    let mut unknown = false;
    for part in parts {
        match part.eval(row)? {
            Some(Scalar::Bool(value)) if value == decisive => return Ok(Some(Scalar::Bool(value))),
            None => unknown = true,
            Some(_) => {}
        }
    }
    Ok((!unknown).then_some(Scalar::Bool(!decisive)))
}

/// NULLs do not count.
fn extreme<'v>(of: &'v [Node], row: Row<'v>, wanted: Ordering) -> Result<'v> {
    let mut found: Value<'v> = None;
    for node in of {
        let Some(value) = node.eval(row)? else { continue };
        if found.as_ref().is_none_or(|found| compare(&value, found) == wanted) {
            found = Some(value);
        }
    }
    Ok(found)
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Equal => ordering.is_eq(),
            Comparison::NotEqual => ordering.is_ne(),
            Comparison::Less => ordering.is_lt(),
            Comparison::LessOrEqual => ordering.is_le(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// Of two values of one kind, which `bind` sees to.
fn compare(left: &Scalar<'_>, right: &Scalar<'_>) -> Ordering {
    match (left, right) {
        (Scalar::Bool(a), Scalar::Bool(b)) => a.cmp(b),
        (Scalar::Int(a), Scalar::Int(b)) => a.cmp(b),
        (Scalar::Decimal(a), Scalar::Decimal(b)) => a.cmp(b),
        (Scalar::Datum { order: a, .. }, Scalar::Datum { order: b, .. }) => a.cmp(b),
        // NaN is equal to itself and above all else.
        (Scalar::Float(a), Scalar::Float(b)) => {
            a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        }
        _ => unreachable!("{left:?} and {right:?} are of two kinds"),
    }
}

fn int<'v>(value: Option<i64>, ty: Kind) -> std::result::Result<Scalar<'v>, EvalError> {
    let fits = |value: &i64| match ty {
        Kind::Int2 => i16::try_from(*value).is_ok(),
        Kind::Int4 => i32::try_from(*value).is_ok(),
        _ => true,
    };
    value.filter(fits).map(Scalar::Int).ok_or_else(|| EvalError::OutOfRange(ty.to_string()))
}

fn negate(value: Scalar<'_>, ty: Kind) -> std::result::Result<Scalar<'_>, EvalError> {
    match value {
        Scalar::Int(value) => int(value.checked_neg(), ty),
        Scalar::Float(value) => Ok(Scalar::Float(-value)),
        Scalar::Decimal(value) => Ok(Scalar::Decimal(value.negated())),
        other => unreachable!("{other:?} is not negated"),
    }
}

fn arithmetic<'v>(
    operator: Arithmetic,
    ty: Kind,
    left: &Scalar<'_>,
    right: &Scalar<'_>,
) -> std::result::Result<Scalar<'v>, EvalError> {
    match (left, right) {
        (Scalar::Int(a), Scalar::Int(b)) => {
            let (a, b) = (*a, *b);
            int(
                match operator {
                    Arithmetic::Add => a.checked_add(b),
                    Arithmetic::Subtract => a.checked_sub(b),
                    Arithmetic::Multiply => a.checked_mul(b),
                    Arithmetic::Divide | Arithmetic::Remainder if b == 0 => {
                        return Err(DecimalError::DivisionByZero.into());
                    }
                    Arithmetic::Divide => a.checked_div(b),
                    Arithmetic::Remainder => Some(a.wrapping_rem(b)),
                },
                ty,
            )
        }
        (Scalar::Decimal(a), Scalar::Decimal(b)) => Ok(Scalar::Decimal(match operator {
            Arithmetic::Add => a.add(b),
            Arithmetic::Subtract => a.sub(b),
            Arithmetic::Multiply => a.mul(b),
            Arithmetic::Divide => a.div(b),
            Arithmetic::Remainder => a.rem(b),
        }?)),
        (Scalar::Float(a), Scalar::Float(b)) => float(operator, ty, *a, *b).map(Scalar::Float),
        _ => unreachable!("{left:?} and {right:?} are of two kinds"),
    }
}

/// As float.h has it.
fn float(operator: Arithmetic, ty: Kind, a: f64, b: f64) -> std::result::Result<f64, EvalError> {
    if operator == Arithmetic::Divide && b == 0.0 && !a.is_nan() {
        return Err(DecimalError::DivisionByZero.into());
    }
    let result = match ty {
        Kind::Float4 => f64::from(operate(operator, a as f32, b as f32)),
        _ => operate(operator, a, b),
    };
    let can_underflow = match operator {
        Arithmetic::Multiply => a != 0.0 && b != 0.0,
        Arithmetic::Divide => a != 0.0 && !b.is_infinite(),
        _ => false,
    };
    if result.is_infinite()
        && !a.is_infinite()
        && (!b.is_infinite() || operator == Arithmetic::Divide)
    {
        return Err(EvalError::Overflow);
    }
    if result == 0.0 && can_underflow {
        return Err(EvalError::Underflow);
    }
    Ok(result)
}

fn operate<F>(operator: Arithmetic, a: F, b: F) -> F
where
    F: Add<Output = F> + Sub<Output = F> + Mul<Output = F> + Div<Output = F>,
{
    match operator {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Remainder => unreachable!("no float has this operator"),
    }
}

fn cast<'v>(value: Scalar<'v>, from: Kind, to: Kind) -> std::result::Result<Scalar<'v>, EvalError> {
    Ok(match value {
        Scalar::Int(value) => match to {
            Kind::Numeric => Scalar::Decimal(Decimal::of_int(value)),
            Kind::Float4 => Scalar::Float(f64::from(value as f32)),
            Kind::Float8 => Scalar::Float(value as f64),
            Kind::Bool => Scalar::Bool(value != 0),
            _ => return int(Some(value), to),
        },
        Scalar::Bool(value) => Scalar::Int(value.into()),
        Scalar::Decimal(value) => match to {
            Kind::Float4 => Scalar::Float(in_range(f64::from(value.to_f32()), &value, to)?),
            Kind::Float8 => Scalar::Float(in_range(value.to_f64(), &value, to)?),
            Kind::Numeric => Scalar::Decimal(value),
            _ => return int(value.to_i64(), to),
        },
        Scalar::Float(value) => match to {
            Kind::Numeric if from == Kind::Float4 => Scalar::Decimal(Decimal::of_f32(value as f32)),
            Kind::Numeric => Scalar::Decimal(Decimal::of_f64(value)),
            Kind::Float4 => {
                let narrow = f64::from(value as f32);
                if narrow.is_infinite() && !value.is_infinite() {
                    return Err(EvalError::Overflow);
                }
                if narrow == 0.0 && value != 0.0 {
                    return Err(EvalError::Underflow);
                }
                Scalar::Float(narrow)
            }
            Kind::Float8 => Scalar::Float(value),
            _ => return int(integer(value.round_ties_even()), to),
        },
        other => other,
    })
}

/// A whole number below 2^63; NaN is none.
fn integer(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (-LIMIT..LIMIT).contains(&value).then_some(value as i64)
}

/// What a decimal became as a float: nothing is lost but digits.
fn in_range(float: f64, of: &Decimal, to: Kind) -> std::result::Result<f64, EvalError> {
    let lost = of.is_finite() && (float.is_infinite() || (float == 0.0 && !of.is_zero()));
    if lost { Err(EvalError::OutOfRange(to.to_string())) } else { Ok(float) }
}
