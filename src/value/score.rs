//! Values as floating point numbers: what a sorted set is sorted by.

use super::decimal::Decimal;
use super::float::decode as decode_float;
use super::interval::{self, Interval};
use super::time::{self, DAY, EPOCH_DAYS, SECOND};
use super::{Type, int};

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
        Type::Numeric => Decimal::of_datum(datum)?.to_f64(),
        _ => match epoch_of(ty, datum)? {
            Epoch::Infinite { negative: true } => f64::NEG_INFINITY,
            Epoch::Infinite { negative: false } => f64::INFINITY,
            Epoch::Micros(micros) => seconds(micros),
        },
    };
    (!score.is_nan()).then_some(score)
}

/// `extract(epoch from …)` of a date, time or interval, digit for digit; `None` for other types, NULL
/// and what cannot be read.
pub fn epoch(ty: &Type, datum: &[u8]) -> Option<Decimal> {
    Some(match (ty, epoch_of(ty, datum)?) {
        (_, Epoch::Infinite { negative }) => Decimal::infinite(negative),
        (Type::Date, Epoch::Micros(micros)) => {
            Decimal::of_int(i64::try_from(micros / i128::from(SECOND)).ok()?)
        }
        // Beyond 64 bits Postgres divides as numerics are divided, to four digits.
        (Type::Timestamp | Type::TimestampTz, Epoch::Micros(micros @ LAST_EXACT_MICROS..)) => {
            Decimal::of_micros((micros + 50) / 100 * 100)
        }
        (_, Epoch::Micros(micros)) => Decimal::of_micros(micros),
    })
}

const LAST_EXACT_MICROS: i128 = i64::MAX as i128;

enum Epoch {
    Infinite {
        negative: bool,
    },
    /// Of a moment, since 1970; of a time, since midnight in UTC. Wider than what 294276 AD is when
    /// counted from there.
    Micros(i128),
}

fn epoch_of(ty: &Type, datum: &[u8]) -> Option<Epoch> {
    let moment = |value: i64, unit: i64| match value {
        time::INFINITY => Epoch::Infinite { negative: false },
        time::NEGATIVE_INFINITY => Epoch::Infinite { negative: true },
        value => Epoch::Micros(
            i128::from(value) * i128::from(unit) + i128::from(EPOCH_DAYS) * i128::from(DAY),
        ),
    };
    Some(match ty {
        Type::Date => moment(int::decode(datum)?, DAY),
        Type::Timestamp | Type::TimestampTz => moment(int::decode(datum)?, 1),
        Type::Time => Epoch::Micros(int::decode(datum)?.into()),
        Type::TimeTz => Epoch::Micros(time::decode_time_tz(datum)?.0.into()),
        Type::Interval => match interval::decode(datum)? {
            Interval::NegativeInfinity => Epoch::Infinite { negative: true },
            Interval::Infinity => Epoch::Infinite { negative: false },
            Interval::Finite(fields) => {
                let (years, months) =
                    (i128::from(fields.months / 12), i128::from(fields.months % 12));
                let day = i128::from(DAY);
                // A year counts 365.25 days here.
                let days = months * 30 + i128::from(fields.days);
                Epoch::Micros(years * (day * 1_461 / 4) + days * day + i128::from(fields.micros))
            }
        },
        Type::Bool
        | Type::Int2
        | Type::Int4
        | Type::Int8
        | Type::Oid
        | Type::Float4
        | Type::Float8
        | Type::Numeric
        | Type::Text
        | Type::Bpchar
        | Type::Bytea
        | Type::Uuid
        | Type::PgLsn
        | Type::Json
        | Type::Jsonb
        | Type::Hstore
        | Type::Array(..)
        | Type::Composite(_) => return None,
    })
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
