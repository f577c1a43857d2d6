//! Numbers: arithmetic with Postgres' limits, its scales of numeric, its rules of floats.

use std::ops::{Add, Div, Mul, Sub};

use crate::value::{Decimal, Scalar, Type};

use super::super::eval::{EvalError, Result};
use super::{Table, Typed, Types};

const INTEGERS: [&str; 3] = ["int2", "int4", "int8"];
const FLOATS: [&str; 2] = ["float4", "float8"];

pub(super) fn register(table: &mut Table) {
    integers(table);
    decimals(table);
    floats(table);
}

fn integers(table: &mut Table) {
    for left in INTEGERS {
        for right in INTEGERS {
            let key = |operator: &str| format!("{operator}({left},{right})");
            table.add(&key("+"), |t, a| int(t, a[0].int().checked_add(a[1].int())));
            table.add(&key("-"), |t, a| int(t, a[0].int().checked_sub(a[1].int())));
            table.add(&key("*"), |t, a| int(t, a[0].int().checked_mul(a[1].int())));
            table.add(&key("/"), |t, a| match a[1].int() {
                0 => Err(EvalError::DIVISION_BY_ZERO),
                by => int(t, a[0].int().checked_div(by)),
            });
        }
    }
    for ty in INTEGERS {
        let two = |name: &str| format!("{name}({ty},{ty})");
        let one = |name: &str| format!("{name}({ty})");
        table.add(&two("%"), remainder);
        table.add(&two("mod"), remainder);
        table.add(&two("&"), |_, a| Ok(Scalar::Int(a[0].int() & a[1].int())));
        table.add(&two("|"), |_, a| Ok(Scalar::Int(a[0].int() | a[1].int())));
        table.add(&two("#"), |_, a| Ok(Scalar::Int(a[0].int() ^ a[1].int())));
        table.add(&format!("<<({ty},int4)"), |t, a| Ok(shifted(t, a[0].int(), a[1].int(), true)));
        table.add(&format!(">>({ty},int4)"), |t, a| Ok(shifted(t, a[0].int(), a[1].int(), false)));
        table.add(&one("~"), |_, a| Ok(Scalar::Int(!a[0].int())));
        table.add(&one("-"), |t, a| int(t, a[0].int().checked_neg()));
        table.add(&one("+"), |_, a| Ok(Scalar::Int(a[0].int())));
        table.add(&one("abs"), |t, a| int(t, a[0].int().checked_abs()));
        table.add(&one("@"), |t, a| int(t, a[0].int().checked_abs()));
    }
    for ty in ["int4", "int8"] {
        table.add(&format!("gcd({ty},{ty})"), |t, a| int(t, gcd(a[0].int(), a[1].int())));
        table.add(&format!("lcm({ty},{ty})"), |t, a| int(t, lcm(a[0].int(), a[1].int())));
        table.add(&format!("to_hex({ty})"), |t, a| {
            Ok(super::text(match t.arguments[0] {
                #[expect(clippy::cast_possible_truncation, reason = "it is an integer")]
                Type::Int4 => format!("{:x}", a[0].int() as i32),
                _ => format!("{:x}", a[0].int()),
            }))
        });
    }
}

/// An integer of the result's type, if it is one.
pub(super) fn int<'v>(types: &Types, value: Option<i64>) -> Result<Scalar<'v>> {
    let fits = |value: &i64| match types.result {
        Type::Int2 => i16::try_from(*value).is_ok(),
        Type::Int4 => i32::try_from(*value).is_ok(),
        Type::Oid => u32::try_from(*value).is_ok(),
        _ => true,
    };
    value
        .filter(fits)
        .map(Scalar::Int)
        .ok_or_else(|| EvalError::new(format!("{} out of range", types.result)))
}

/// As C does it on the machines there are: by the lowest bits of the number of places.
#[expect(clippy::cast_possible_truncation, reason = "the result is of the type's width")]
fn shifted<'v>(types: &Types, of: i64, places: i64, left: bool) -> Scalar<'v> {
    let places = places as u32;
    Scalar::Int(match (&types.result, left) {
        (Type::Int8, true) => of.wrapping_shl(places),
        (Type::Int8, false) => of.wrapping_shr(places),
        (Type::Int2, true) => ((of as i32).wrapping_shl(places) as i16).into(),
        (Type::Int2, false) => ((of as i32).wrapping_shr(places) as i16).into(),
        (_, true) => (of as i32).wrapping_shl(places).into(),
        (_, false) => (of as i32).wrapping_shr(places).into(),
    })
}

fn remainder<'v>(types: &Types, of: &mut [Scalar<'v>]) -> Result<Scalar<'v>> {
    match of[1].int() {
        0 => Err(EvalError::DIVISION_BY_ZERO),
        by => int(types, Some(of[0].int().wrapping_rem(by))),
    }
}

/// `None` for 2^63.
fn gcd(a: i64, b: i64) -> Option<i64> {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).ok()
}

fn lcm(a: i64, b: i64) -> Option<i64> {
    if a == 0 || b == 0 {
        return Some(0);
    }
    let gcd = i128::from(a.unsigned_abs().min(b.unsigned_abs())).max(1);
    let divisor = gcd_wide(i128::from(a).abs(), i128::from(b).abs()).min(gcd);
    i64::try_from(i128::from(a).abs() / divisor * i128::from(b).abs()).ok()
}

fn gcd_wide(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn decimals(table: &mut Table) {
    table.add("+(numeric,numeric)", |_, a| decimal(a[0].decimal().add(a[1].decimal())));
    table.add("-(numeric,numeric)", |_, a| decimal(a[0].decimal().sub(a[1].decimal())));
    table.add("*(numeric,numeric)", |_, a| decimal(a[0].decimal().mul(a[1].decimal())));
    table.add("/(numeric,numeric)", |_, a| decimal(a[0].decimal().div(a[1].decimal())));
    table.all(&["%(numeric,numeric)", "mod(numeric,numeric)"], |_, a| {
        decimal(a[0].decimal().rem(a[1].decimal()))
    });
    table.add("div(numeric,numeric)", |_, a| decimal(a[0].decimal().div_whole(a[1].decimal())));
    table.add("-(numeric)", |_, a| Ok(Scalar::Decimal(a[0].decimal().clone().negated())));
    table.add("+(numeric)", |_, a| Ok(Scalar::Decimal(a[0].decimal().clone())));
    table.all(&["abs(numeric)", "@(numeric)"], |_, a| {
        Ok(Scalar::Decimal(a[0].decimal().clone().abs()))
    });
    table.add("sign(numeric)", |_, a| Ok(Scalar::Decimal(a[0].decimal().sign())));
    table.all(&["ceil(numeric)", "ceiling(numeric)"], |_, a| decimal(a[0].decimal().ceil()));
    table.add("floor(numeric)", |_, a| decimal(a[0].decimal().floor()));
    table.add("round(numeric)", |_, a| decimal(a[0].decimal().round(0)));
    table.add("round(numeric,int4)", |_, a| decimal(a[0].decimal().round(a[1].int())));
    table.add("trunc(numeric)", |_, a| decimal(a[0].decimal().truncated(0)));
    table.add("trunc(numeric,int4)", |_, a| decimal(a[0].decimal().truncated(a[1].int())));
    table.add("sqrt(numeric)", |_, a| decimal(a[0].decimal().sqrt()));
    table.add("numeric(numeric,int4)", |_, a| {
        let typmod = a[1].int() - 4;
        // Precision in the upper half, scale in the lower one, of eleven bits and signed.
        let (precision, scale) = (typmod >> 16 & 0xFFFF, ((typmod & 0x7FF) ^ 1024) - 1024);
        decimal(a[0].decimal().clone().fit(precision, scale))
    });
    table
        .add("scale(numeric)", |_, a| Ok(a[0].decimal().scale().map_or(Scalar::Null, Scalar::Int)));
    table.add("min_scale(numeric)", |_, a| {
        Ok(a[0].decimal().trimmed().scale().map_or(Scalar::Null, Scalar::Int))
    });
    table.add("trim_scale(numeric)", |_, a| Ok(Scalar::Decimal(a[0].decimal().trimmed())));
}

fn decimal<'v>(
    result: std::result::Result<Decimal, crate::value::DecimalError>,
) -> Result<Scalar<'v>> {
    Ok(Scalar::Decimal(result?))
}

// --- Floats, as float.h has them -------------------------------------------------------------------

fn floats(table: &mut Table) {
    for left in FLOATS {
        for right in FLOATS {
            let key = |operator: &str| format!("{operator}({left},{right})");
            table.add(&key("+"), |t, a| float(t, Arithmetic::Add, a));
            table.add(&key("-"), |t, a| float(t, Arithmetic::Subtract, a));
            table.add(&key("*"), |t, a| float(t, Arithmetic::Multiply, a));
            table.add(&key("/"), |t, a| float(t, Arithmetic::Divide, a));
        }
    }
    for ty in FLOATS {
        let one = |name: &str| format!("{name}({ty})");
        table.add(&one("-"), |_, a| Ok(Scalar::Float(-a[0].float())));
        table.add(&one("+"), |_, a| Ok(Scalar::Float(a[0].float())));
        table.add(&one("abs"), |_, a| Ok(Scalar::Float(a[0].float().abs())));
        table.add(&one("@"), |_, a| Ok(Scalar::Float(a[0].float().abs())));
    }
    table.all(&["ceil(float8)", "ceiling(float8)"], |_, a| Ok(Scalar::Float(a[0].float().ceil())));
    table.add("floor(float8)", |_, a| Ok(Scalar::Float(a[0].float().floor())));
    table.add("round(float8)", |_, a| Ok(Scalar::Float(a[0].float().round_ties_even())));
    table.add("trunc(float8)", |_, a| Ok(Scalar::Float(a[0].float().trunc())));
    table.add("sign(float8)", |_, a| {
        let value = a[0].float();
        Ok(Scalar::Float(match value {
            0.0.. if value > 0.0 => 1.0,
            _ if value < 0.0 => -1.0,
            _ => 0.0,
        }))
    });
    table.all(&["sqrt(float8)", "|/(float8)"], |_, a| match a[0].float() {
        value if value < 0.0 => {
            Err(EvalError::text("cannot take square root of a negative number"))
        }
        value => Ok(Scalar::Float(value.sqrt())),
    });
    table.add("pi()", |_, _| Ok(Scalar::Float(std::f64::consts::PI)));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

fn float<'v>(types: &Types, operator: Arithmetic, of: &[Scalar<'_>]) -> Result<Scalar<'v>> {
    let (a, b) = (of[0].float(), of[1].float());
    if operator == Arithmetic::Divide && b == 0.0 && !a.is_nan() {
        return Err(EvalError::DIVISION_BY_ZERO);
    }
    let result = match types.result {
        #[expect(clippy::cast_possible_truncation, reason = "both are of this width")]
        Type::Float4 => f64::from(operate(operator, a as f32, b as f32)),
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
        return Err(EvalError::OVERFLOW);
    }
    if result == 0.0 && can_underflow {
        return Err(EvalError::UNDERFLOW);
    }
    Ok(Scalar::Float(result))
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
    }
}
