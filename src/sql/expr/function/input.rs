//! What a text means as a value of a type: the functions that read literals and casts from text.

mod interval;
mod moment;

use crate::value::{Array, Decimal, Scalar, Type};

use super::super::eval::{EvalError, Result};
use super::{bytes, json, text};

/// The value; in the forms that Postgres reads, as far as they are known here.
pub(in super::super) fn input<'v>(ty: &Type, of: &str) -> Result<Scalar<'v>> {
    let invalid =
        || EvalError::new(format!("invalid input syntax for type {}: \"{of}\"", named(ty)));
    Ok(match ty {
        Type::Text | Type::Bpchar | Type::Hstore | Type::PgLsn => text(of.to_owned()),
        Type::Composite(_) => {
            return Err(EvalError::text("rows are not read from text here"));
        }
        Type::Bool => Scalar::Bool(boolean(trim(of)).ok_or_else(invalid)?),
        Type::Int2 => integer(of, i16::MIN.into(), i16::MAX.into(), ty)?,
        Type::Int4 => integer(of, i32::MIN.into(), i32::MAX.into(), ty)?,
        Type::Int8 => integer(of, i64::MIN, i64::MAX, ty)?,
        Type::Oid => integer(of, i32::MIN.into(), u32::MAX.into(), ty)?,
        Type::Float4 | Type::Float8 => float(trim(of), ty).ok_or_else(invalid)??,
        Type::Numeric => Scalar::Decimal(numeric(trim(of)).ok_or_else(invalid)??),
        Type::Bytea => Scalar::Bytes(
            match of.strip_prefix("\\x") {
                Some(digits) => bytes::of_hex(digits)?,
                None => bytes::of_escaped(of)?,
            }
            .into(),
        ),
        Type::Uuid => Scalar::Uuid(uuid(of).ok_or_else(invalid)?),
        Type::Json => text(json::read(of, false)?),
        Type::Jsonb => text(json::read(of, true)?),
        Type::Date | Type::Time | Type::TimeTz | Type::Timestamp | Type::TimestampTz => {
            moment::read(ty, of)?
        }
        Type::Interval => Scalar::Interval(interval::read(of)?),
        Type::Array(element, delimiter) => {
            let array = Array::read(of, *delimiter, &mut |part| {
                input(element, part).map(Scalar::into_owned).map_err(|error| error.to_string())
            });
            match array {
                Ok(array) => super::array::write(ty, &array)?,
                Err(Some(inner)) => return Err(EvalError::new(inner)),
                Err(None) => {
                    return Err(EvalError::new(format!("malformed array literal: \"{of}\"")));
                }
            }
        }
    })
}

fn named(ty: &Type) -> String {
    ty.to_string()
}

/// Without the blanks that C knows.
pub(super) fn trim(of: &str) -> &str {
    of.trim_matches(|letter| matches!(letter, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}'))
}

fn boolean(of: &str) -> Option<bool> {
    let of = of.to_ascii_lowercase();
    let begins = |word: &str, least: usize| of.len() >= least && word.starts_with(&of);
    Some(match of.as_str() {
        "" => return None,
        "1" => true,
        "0" => false,
        _ if begins("true", 1) || begins("yes", 1) || of == "on" => true,
        _ if begins("false", 1) || begins("no", 1) || begins("off", 2) => false,
        _ => return None,
    })
}

fn integer<'v>(of: &str, min: i64, max: i64, ty: &Type) -> Result<Scalar<'v>> {
    let trimmed = trim(of);
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EvalError::new(format!("invalid input syntax for type {ty}: \"{of}\"")));
    }
    match trimmed.parse::<i64>() {
        // A negative oid counts from the end.
        Ok(value @ ..0) if *ty == Type::Oid && value >= min => Ok(Scalar::Int(value + (1 << 32))),
        Ok(value) if (min..=max).contains(&value) => Ok(Scalar::Int(value)),
        _ => Err(EvalError::new(format!("value \"{of}\" is out of range for type {ty}"))),
    }
}

fn float<'v>(of: &str, ty: &Type) -> Option<Result<Scalar<'v>>> {
    let (negative, rest) = match of.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, of.strip_prefix('+').unwrap_or(of)),
    };
    let sign = if negative { -1.0 } else { 1.0 };
    match rest.to_ascii_lowercase().as_str() {
        "nan" => return Some(Ok(Scalar::Float(f64::NAN))),
        "infinity" | "inf" => return Some(Ok(Scalar::Float(sign * f64::INFINITY))),
        _ => {}
    }
    if !is_number(rest) {
        return None;
    }
    let mantissa = rest.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    let value: f64 = match ty {
        Type::Float4 => f64::from(rest.parse::<f32>().ok()?),
        _ => rest.parse().ok()?,
    };
    if value.is_infinite() || (value == 0.0 && !is_zero) {
        return Some(Err(EvalError::new(format!("\"{of}\" is out of range for type {ty}"))));
    }
    Some(Ok(Scalar::Float(sign * value)))
}

/// Digits, a point, an exponent.
fn is_number(of: &str) -> bool {
    let (mantissa, exponent) = match of.find(['e', 'E']) {
        Some(at) => (&of[..at], Some(&of[at + 1..])),
        None => (of, None),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    digits(whole) && digits(fraction) && whole.len() + fraction.len() > 0 && exponent_fits
}

fn numeric(of: &str) -> Option<Result<Decimal>> {
    let (negative, rest) = match of.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, of.strip_prefix('+').unwrap_or(of)),
    };
    let signed = |value: Decimal| if negative { value.negated() } else { value };
    match rest.to_ascii_lowercase().as_str() {
        // NaN has no sign.
        "nan" if rest.len() == of.len() => return Some(Ok(Decimal::NAN)),
        "infinity" | "inf" => return Some(Ok(Decimal::infinite(negative))),
        _ => {}
    }
    if !is_number(rest) {
        return None;
    }
    match Decimal::parse(rest) {
        Some(value) => Some(Ok(signed(value))),
        None => Some(Err(EvalError::text("value overflows numeric format"))),
    }
}

/// Braces around it and a hyphen behind each four digits may be there.
fn uuid(of: &str) -> Option<[u8; 16]> {
    let of = match of.strip_prefix('{') {
        Some(inner) => inner.strip_suffix('}')?,
        None => of,
    };
    let mut rest = of.as_bytes();
    let mut value = [0; 16];
    for (at, byte) in value.iter_mut().enumerate() {
        if at > 0 && at % 2 == 0 {
            rest = rest.strip_prefix(b"-").unwrap_or(rest);
        }
        let [high, low, after @ ..] = rest else { return None };
        let digit = |letter: u8| char::from(letter).to_digit(16);
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
        rest = after;
    }
    rest.is_empty().then_some(value)
}
