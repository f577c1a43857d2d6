//! Values as floating point numbers: what a sorted set is sorted by.

use super::float::decode as decode_float;
use super::interval::{self, Interval};
use super::time::{self, DAY, EPOCH_DAYS, SECOND};
use super::{Type, int, numeric};

/// A number as it is; dates, times and intervals in seconds, as `extract(epoch from …)` counts them.
/// `None` for NULL, for NaN and for the types without a number.
pub fn score(ty: &Type, datum: &[u8]) -> Option<f64> {
    if super::is_null(datum) {
        return None;
    }
    let score = match ty {
        Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid => int::decode(datum)? as f64,
        Type::Float4 => f64::from(decode_float::<f32>(datum)?),
        Type::Float8 => decode_float::<f64>(datum)?,
        Type::Numeric => {
            let mut text = Vec::new();
            numeric::write_text(datum, &mut text)?;
            // Reads `NaN` and `Infinity` too.
            std::str::from_utf8(&text).ok()?.parse().ok()?
        }
        Type::Date => match finite_or_infinity(int::decode(datum)?) {
            Ok(days) => days.checked_add(EPOCH_DAYS)?.checked_mul(DAY / SECOND)? as f64,
            Err(infinity) => infinity,
        },
        Type::Timestamp | Type::TimestampTz => match finite_or_infinity(int::decode(datum)?) {
            // Wider than the microseconds of 294276 AD are when counted from 1970.
            Ok(micros) => seconds(i128::from(micros) + i128::from(EPOCH_DAYS) * i128::from(DAY)),
            Err(infinity) => infinity,
        },
        Type::Time => seconds(int::decode(datum)?.into()),
        Type::TimeTz => seconds(time::decode_time_tz(datum)?.0.into()),
        Type::Interval => match interval::decode(datum)? {
            Interval::NegativeInfinity => f64::NEG_INFINITY,
            Interval::Infinity => f64::INFINITY,
            Interval::Finite(fields) => {
                let (years, months) =
                    (i128::from(fields.months / 12), i128::from(fields.months % 12));
                let day = i128::from(DAY);
                // A year counts 365.25 days here.
                let days = months * 30 + i128::from(fields.days);
                seconds(years * (day * 1_461 / 4) + days * day + i128::from(fields.micros))
            }
        },
        Type::Bool
        | Type::Text
        | Type::Bpchar
        | Type::Bytea
        | Type::Uuid
        | Type::Json
        | Type::Jsonb
        | Type::Hstore
        | Type::Array(..)
        | Type::Composite(_) => return None,
    };
    (!score.is_nan()).then_some(score)
}

fn finite_or_infinity(value: i64) -> Result<i64, f64> {
    match value {
        time::INFINITY => Err(f64::INFINITY),
        time::NEGATIVE_INFINITY => Err(f64::NEG_INFINITY),
        value => Ok(value),
    }
}

/// The nearest number, also where the microseconds are more than a float counts exactly.
fn seconds(micros: i128) -> f64 {
    const EXACT_MAX: u128 = 1 << f64::MANTISSA_DIGITS;
    if micros.unsigned_abs() <= EXACT_MAX {
        micros as f64 / SECOND as f64
    } else {
        format!("{micros}e-6").parse().expect("an integer and an exponent are a number")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score_of(ty: Type, text: &str) -> Option<f64> {
        let mut datum = Vec::new();
        super::super::encode(&ty, text.as_bytes(), &mut datum).unwrap();
        score(&ty, &datum)
    }

    #[test]
    fn numbers_and_seconds() {
        assert_eq!(score_of(Type::Int8, "-5"), Some(-5.0));
        assert_eq!(score_of(Type::Float4, "0.5"), Some(0.5));
        assert_eq!(score_of(Type::Float8, "NaN"), None);
        assert_eq!(score_of(Type::Numeric, "1.10"), Some(1.1));
        assert_eq!(score_of(Type::Numeric, "NaN"), None);
        assert_eq!(score_of(Type::Numeric, "-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(score_of(Type::Date, "1970-01-02"), Some(86_400.0));
        assert_eq!(score_of(Type::Date, "infinity"), Some(f64::INFINITY));
        assert_eq!(score_of(Type::TimestampTz, "1970-01-01 00:00:01.5+00"), Some(1.5));
        assert_eq!(score_of(Type::Timestamp, "-infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(score_of(Type::Time, "01:00:00"), Some(3_600.0));
        assert_eq!(score_of(Type::TimeTz, "12:00:00+02"), Some(36_000.0));
        assert_eq!(score_of(Type::Interval, "1 year 2 mons 3 days 00:00:01.5"), Some(37_000_801.5));
        assert_eq!(score_of(Type::Bool, "t"), None);
        assert_eq!(score_of(Type::Text, "1"), None);
        assert_eq!(score(&Type::Int4, &[super::super::NULL]), None);
    }
}
