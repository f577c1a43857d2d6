//! Powers, exponentials, logarithms and angles.
//!
//! Of numeric they have Postgres' digits. Of double precision they are what the C library computes, here as on
//! the source: its last digit may be another one on another machine.

use crate::value::{Decimal, Scalar};

use super::super::eval::{EvalError, Result};
use super::{Table, Typed};

/// As float.c has it: the 180th part of pi, in double precision.
const RADIANS_PER_DEGREE: f64 = 0.017_453_292_519_943_295;

pub(super) fn register(table: &mut Table) {
    table.add("exp(numeric)", |_, a| Ok(Scalar::Decimal(a[0].decimal().exp()?)));
    table.add("ln(numeric)", |_, a| Ok(Scalar::Decimal(a[0].decimal().ln()?)));
    table.all(&["log(numeric)", "log10(numeric)"], |_, a| {
        Ok(Scalar::Decimal(Decimal::log(&Decimal::of_int(10), a[0].decimal())?))
    });
    table.add("log(numeric,numeric)", |_, a| {
        Ok(Scalar::Decimal(Decimal::log(a[0].decimal(), a[1].decimal())?))
    });
    table.all(&["power(float8,float8)", "pow(float8,float8)", "^(float8,float8)"], |_, a| {
        power(a[0].float(), a[1].float())
    });
    table.add("exp(float8)", |_, a| match a[0].float() {
        value if value == f64::NEG_INFINITY => Ok(Scalar::Float(0.0)),
        value => ranged(value.exp(), !value.is_finite(), false),
    });
    table.add("ln(float8)", |_, a| logarithm(a[0].float(), f64::ln));
    table.all(&["log(float8)", "log10(float8)"], |_, a| logarithm(a[0].float(), f64::log10));
    angles(table);
}

fn power<'v>(base: f64, exponent: f64) -> Result<Scalar<'v>> {
    if base == 1.0 || exponent == 0.0 {
        return Ok(Scalar::Float(1.0));
    }
    if base.is_nan() || exponent.is_nan() {
        return Ok(Scalar::Float(f64::NAN));
    }
    if base == 0.0 && exponent < 0.0 {
        return Err(EvalError::text("zero raised to a negative power is undefined"));
    }
    if base < 0.0 && exponent.floor() != exponent {
        return Err(EvalError::text(
            "a negative number raised to a non-integer power yields a complex result",
        ));
    }
    let infinite = base.is_infinite() || exponent.is_infinite();
    ranged(base.powf(exponent), infinite, infinite || base == 0.0)
}

fn logarithm<'v>(of: f64, function: fn(f64) -> f64) -> Result<Scalar<'v>> {
    if of == 0.0 {
        return Err(EvalError::text("cannot take logarithm of zero"));
    }
    if of < 0.0 {
        return Err(EvalError::text("cannot take logarithm of a negative number"));
    }
    ranged(function(of), of.is_infinite(), of == 1.0)
}

fn angles(table: &mut Table) {
    table.add("degrees(float8)", |_, a| {
        let value = a[0].float();
        ranged(value / RADIANS_PER_DEGREE, value.is_infinite(), value == 0.0)
    });
    table.add("radians(float8)", |_, a| {
        let value = a[0].float();
        ranged(value * RADIANS_PER_DEGREE, value.is_infinite(), value == 0.0)
    });
    table.add("sin(float8)", |_, a| of_angle(a[0].float(), f64::sin));
    table.add("cos(float8)", |_, a| of_angle(a[0].float(), f64::cos));
    table.add("tan(float8)", |_, a| of_angle(a[0].float(), f64::tan));
    table.add("asin(float8)", |_, a| to_angle(a[0].float(), f64::asin));
    table.add("acos(float8)", |_, a| to_angle(a[0].float(), f64::acos));
    table.add("atan(float8)", |_, a| Ok(Scalar::Float(a[0].float().atan())));
    table.add("atan2(float8,float8)", |_, a| Ok(Scalar::Float(a[0].float().atan2(a[1].float()))));
}

fn of_angle<'v>(angle: f64, function: fn(f64) -> f64) -> Result<Scalar<'v>> {
    match angle.is_infinite() {
        true => Err(EvalError::text("input is out of range")),
        false => Ok(Scalar::Float(function(angle))),
    }
}

fn to_angle<'v>(value: f64, function: fn(f64) -> f64) -> Result<Scalar<'v>> {
    match value.abs() > 1.0 {
        true => Err(EvalError::text("input is out of range")),
        false => Ok(Scalar::Float(function(value))),
    }
}

/// The result, unless it has left the range of its type.
fn ranged<'v>(result: f64, may_be_infinite: bool, may_be_zero: bool) -> Result<Scalar<'v>> {
    if result.is_infinite() && !may_be_infinite {
        return Err(EvalError::OVERFLOW);
    }
    if result == 0.0 && !may_be_zero {
        return Err(EvalError::UNDERFLOW);
    }
    Ok(Scalar::Float(result))
}
