//! Casts, by type of what is cast and of what it becomes.

use crate::value::{DAY, Decimal, INFINITY, Interval, NEGATIVE_INFINITY, Scalar, Type};

use super::super::eval::{EvalError, Result};
use super::number::int;
use super::{Table, Typed, Types, json, text, time};

pub(super) fn register(table: &mut Table) {
    numbers(table);
    texts(table);
    times(table);
    for to in ["int2", "int4", "int8", "float4", "float8", "numeric", "bool"] {
        table.add(&format!("jsonb::{to}"), json::to_number);
    }
}

fn numbers(table: &mut Table) {
    let names = ["int2", "int4", "int8", "oid", "float4", "float8", "numeric"];
    for from in names {
        for to in names.into_iter().filter(|to| *to != from) {
            table.add(&format!("{from}::{to}"), |t, a| number(t, &a[0]));
            // The same by the function of that name.
            if from != "oid" && to != "oid" {
                table.add(&format!("{to}({from})"), |t, a| number(t, &a[0]));
            }
        }
    }
    table.add("int4::bool", |_, a| Ok(Scalar::Bool(a[0].int() != 0)));
    table.all(&["bool::int4", "int4(bool)"], |_, a| Ok(Scalar::Int(a[0].bool().into())));
}

fn number<'v>(types: &Types, value: &Scalar<'_>) -> Result<Scalar<'v>> {
    let to = &types.result;
    Ok(match value {
        Scalar::Int(value) => match to {
            // The same 32 bits.
            Type::Oid if types.arguments[0] != Type::Int8 => Scalar::Int(value & 0xFFFF_FFFF),
            #[expect(clippy::cast_possible_truncation, reason = "that is the cast")]
            Type::Int4 if types.arguments[0] == Type::Oid => Scalar::Int((*value as i32).into()),
            Type::Numeric => Scalar::Decimal(Decimal::of_int(*value)),
            Type::Float4 => Scalar::Float(f64::from(*value as f32)),
            Type::Float8 => Scalar::Float(*value as f64),
            _ => return int(types, Some(*value)),
        },
        Scalar::Decimal(value) => match to {
            Type::Float4 => Scalar::Float(in_range(f64::from(value.to_f32()), value, to)?),
            Type::Float8 => Scalar::Float(in_range(value.to_f64(), value, to)?),
            Type::Numeric => Scalar::Decimal(value.clone()),
            _ if !value.is_finite() => {
                let what = if value.is_nan() { "NaN" } else { "infinity" };
                return Err(EvalError::new(format!("cannot convert {what} to {to}")));
            }
            _ => return int(types, value.to_i64()),
        },
        Scalar::Float(value) => match to {
            #[expect(clippy::cast_possible_truncation, reason = "it is a real")]
            Type::Numeric if types.arguments[0] == Type::Float4 => {
                Scalar::Decimal(Decimal::of_f32(*value as f32))
            }
            Type::Numeric => Scalar::Decimal(Decimal::of_f64(*value)),
            Type::Float4 => {
                #[expect(clippy::cast_possible_truncation, reason = "that is the cast")]
                let narrow = f64::from(*value as f32);
                if narrow.is_infinite() && !value.is_infinite() {
                    return Err(EvalError::OVERFLOW);
                }
                if narrow == 0.0 && *value != 0.0 {
                    return Err(EvalError::UNDERFLOW);
                }
                Scalar::Float(narrow)
            }
            Type::Float8 => Scalar::Float(*value),
            _ => return int(types, integer(value.round_ties_even())),
        },
        other => unreachable!("{other:?} is no number"),
    })
}

/// A numeric as a number of the result's type.
pub(super) fn of_decimal<'v>(value: Decimal, types: &Types) -> Result<Scalar<'v>> {
    number(types, &Scalar::Decimal(value))
}

/// A whole number below 2^63; NaN is none.
#[expect(clippy::cast_possible_truncation, reason = "the range is looked at")]
pub(super) fn integer(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (-LIMIT..LIMIT).contains(&value).then_some(value as i64)
}

/// What a decimal became as a float: nothing is lost but digits.
fn in_range(float: f64, of: &Decimal, to: &Type) -> Result<f64> {
    let lost = of.is_finite() && (float.is_infinite() || (float == 0.0 && !of.is_zero()));
    if lost {
        return Err(EvalError::new(format!("\"{of}\" is out of range for type {to}")));
    }
    Ok(float)
}

fn texts(table: &mut Table) {
    for name in ["bpchar::text", "bpchar::varchar", "text(bpchar)"] {
        table.add(name, |_, a| {
            let value = a[0].take_str();
            let kept = value.trim_end_matches(' ').len();
            Ok(super::part(value, 0..kept))
        });
    }
    table.all(&["bool::text", "bool::varchar", "bool::bpchar", "text(bool)"], |_, a| {
        Ok(text(if a[0].bool() { "true" } else { "false" }))
    });
    table.all(&["name::text", "name::varchar", "name::bpchar"], |_, a| {
        Ok(Scalar::Text(a[0].take_str()))
    });
    table.add("varchar(varchar,int4,bool)", |_, a| {
        let (limit, explicit) = (a[1].int() - 4, a[2].bool());
        let value = a[0].take_str();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let Some((end, _)) = value.char_indices().nth(limit) else {
            return Ok(Scalar::Text(value));
        };
        if !explicit && !value[end..].bytes().all(|byte| byte == b' ') {
            let what = format!("value too long for type character varying({limit})");
            return Err(EvalError::new(what));
        }
        Ok(super::part(value, 0..end))
    });
    table.add("bpchar(bpchar,int4,bool)", |_, a| {
        let (limit, explicit) = (a[1].int() - 4, a[2].bool());
        let value = a[0].take_str();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if let Some((end, _)) = value.char_indices().nth(limit) {
            if !explicit && !value[end..].bytes().all(|byte| byte == b' ') {
                let what = format!("value too long for type character({limit})");
                return Err(EvalError::new(what));
            }
            return Ok(super::part(value, 0..end));
        }
        let mut value = value.into_owned();
        let blanks = limit - value.chars().count();
        value.extend(std::iter::repeat_n(' ', blanks));
        Ok(text(value))
    });
}

fn times(table: &mut Table) {
    table.all(&["date::timestamp", "date::timestamptz", "timestamp(date)"], |_, a| {
        time::midnight(a[0].int())
    });
    table.all(
        &["timestamp::date", "timestamptz::date", "date(timestamp)", "date(timestamptz)"],
        |_, a| {
            Ok(Scalar::Int(match a[0].int() {
                end @ (INFINITY | NEGATIVE_INFINITY) => end,
                micros => micros.div_euclid(DAY),
            }))
        },
    );
    table.all(
        &["timestamp::time", "timestamptz::time", "time(timestamp)", "time(timestamptz)"],
        |_, a| {
            Ok(match a[0].int() {
                INFINITY | NEGATIVE_INFINITY => Scalar::Null,
                micros => Scalar::Int(micros.rem_euclid(DAY)),
            })
        },
    );
    table.all(&["timestamptz::timetz", "timetz(timestamptz)"], |_, a| {
        Ok(match a[0].int() {
            INFINITY | NEGATIVE_INFINITY => Scalar::Null,
            micros => Scalar::TimeTz { utc: micros.rem_euclid(DAY), west: 0 },
        })
    });
    table.all(&["timestamp::timestamptz", "timestamptz::timestamp"], |_, a| match a[0].int() {
        end @ (INFINITY | NEGATIVE_INFINITY) => Ok(Scalar::Int(end)),
        // What was rounded up may lie beyond the end.
        micros => time::timestamp(Some(micros)),
    });
    table.all(&["time::timetz", "timetz(time)"], |_, a| {
        Ok(Scalar::TimeTz { utc: a[0].int(), west: 0 })
    });
    table.all(&["timetz::time", "time(timetz)"], |_, a| match &a[0] {
        Scalar::TimeTz { utc, west } => Ok(Scalar::Int(utc - west * crate::value::SECOND)),
        other => unreachable!("{other:?} is no time with time zone"),
    });
    table.all(&["time::interval", "interval(time)"], |_, a| {
        Ok(Scalar::Interval(Interval::Finite(crate::value::IntervalFields {
            micros: a[0].int(),
            ..Default::default()
        })))
    });
    table.all(&["interval::time", "time(interval)"], |_, a| match a[0].interval() {
        Interval::Finite(fields) => Ok(Scalar::Int(fields.micros.rem_euclid(DAY))),
        _ => Err(EvalError::text("cannot convert infinite interval to time")),
    });
    table.add("timestamp(timestamp,int4)", |_, a| Ok(Scalar::Int(rounded(a)?)));
    table.add("timestamptz(timestamptz,int4)", |_, a| Ok(Scalar::Int(rounded(a)?)));
    table.add("time(time,int4)", |_, a| Ok(Scalar::Int(rounded(a)?)));
}

/// To so many digits after the point of the seconds, halves away from zero.
fn rounded(of: &[Scalar<'_>]) -> Result<i64> {
    let (micros, digits) = (of[0].int(), of[1].int());
    if micros == INFINITY || micros == NEGATIVE_INFINITY || digits >= 6 {
        return Ok(micros);
    }
    let digits = u32::try_from(digits).unwrap_or(0);
    let unit = 10i64.pow(6 - digits);
    let half = if micros < 0 { -unit / 2 } else { unit / 2 };
    micros
        .checked_add(half)
        .map(|micros| micros / unit * unit)
        .ok_or(EvalError::text("timestamp out of range"))
}
