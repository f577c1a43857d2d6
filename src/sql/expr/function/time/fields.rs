//! date_trunc, extract and date_part.

use crate::value::{
    DAY, Decimal, INFINITY, Interval, IntervalFields, SECOND, Scalar, Type, days_of, epoch,
};

use super::super::super::eval::{EvalError, Result};
use super::super::{Table, Typed, Types};
use super::{Civil, ends, finite, interval, midnight, no_unit, timestamp, unit};

const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// The Julian day of 2000-01-01.
const JULIAN: i64 = 2_451_545;

pub(super) fn register(table: &mut Table) {
    table.all(&["date_trunc(text,timestamp)", "date_trunc(text,timestamptz)"], |t, a| {
        cut(a[0].str(), a[1].int(), &t.arguments[1])
    });
    table.add("date_trunc(text,interval)", |_, a| cut_interval(a[0].str(), a[1].interval()));
    for ty in ["date", "timestamp", "timestamptz", "time", "timetz", "interval"] {
        table.add(&format!("extract(text,{ty})"), |t, a| {
            Ok(match part(t, a)? {
                Part::Null => Scalar::Null,
                Part::Infinite { negative } => Scalar::Decimal(Decimal::infinite(negative)),
                Part::Whole(value) => Scalar::Decimal(Decimal::of_int(value)),
                Part::Scaled(value, scale) => Scalar::Decimal(Decimal::of_scaled(value, scale)),
                Part::Exact(value, _) => Scalar::Decimal(value),
            })
        });
        table.add(&format!("date_part(text,{ty})"), |t, a| {
            Ok(match date_part(t, a)? {
                Part::Null => Scalar::Null,
                Part::Infinite { negative: true } => Scalar::Float(f64::NEG_INFINITY),
                Part::Infinite { negative: false } => Scalar::Float(f64::INFINITY),
                Part::Whole(value) => Scalar::Float(value as f64),
                Part::Exact(_, float) => Scalar::Float(float),
                // Seconds and what is left of one apart, as C adds them up.
                Part::Scaled(micros, 6) => {
                    let (seconds, rest) =
                        (micros / i128::from(SECOND), micros % i128::from(SECOND));
                    Scalar::Float(seconds as f64 + rest as f64 / 1_000_000.0)
                }
                Part::Scaled(micros, _) => {
                    let (seconds, rest) =
                        (micros / i128::from(SECOND), micros % i128::from(SECOND));
                    Scalar::Float(seconds as f64 * 1_000.0 + rest as f64 / 1_000.0)
                }
            })
        });
    }
}

// --- date_trunc -------------------------------------------------------------------------------------

pub(super) fn cut<'v>(name: &str, micros: i64, ty: &Type) -> Result<Scalar<'v>> {
    let shown = ty.to_string();
    let shown = if *ty == Type::Timestamp { "timestamp without time zone" } else { &shown };
    let Some(unit) = unit(name) else { return Err(no_unit(name, shown, false)) };
    // Rounding to fewer digits may have brought it beyond the last moment that there is.
    let down = |by: i64| timestamp(Some(micros.div_euclid(by) * by));
    if ends(micros) {
        return Ok(Scalar::Int(micros));
    }
    let civil = Civil::of(micros)?;
    let (mut year, mut month) = (civil.year, 1);
    match unit {
        "microseconds" => return down(1),
        "milliseconds" => return down(1_000),
        "second" => return down(SECOND),
        "minute" => return down(MINUTE),
        "hour" => return down(HOUR),
        "day" => return down(DAY),
        // 2000-01-03 was a Monday.
        "week" => {
            let days = micros.div_euclid(DAY);
            return timestamp((days - (days - 2).rem_euclid(7)).checked_mul(DAY));
        }
        "month" => month = civil.month,
        "quarter" => month = (civil.month - 1) / 3 * 3 + 1,
        "year" => {}
        "decade" if year > 0 => year = year / 10 * 10,
        "decade" => year = -((8 - (year - 1)) / 10) * 10,
        "century" if year > 0 => year = (year + 99) / 100 * 100 - 99,
        "century" => year = -((99 - (year - 1)) / 100) * 100 + 1,
        "millennium" if year > 0 => year = (year + 999) / 1_000 * 1_000 - 999,
        "millennium" => year = -((999 - (year - 1)) / 1_000) * 1_000 + 1,
        _ => return Err(no_unit(name, shown, true)),
    }
    timestamp(days_of(year, month, 1).checked_mul(DAY))
}

/// A unit of days or more of them.
pub(super) fn is_of_days(name: &str) -> bool {
    !matches!(
        unit(name),
        None | Some("microseconds" | "milliseconds" | "second" | "minute" | "hour")
    )
}

fn cut_interval<'v>(name: &str, of: Interval) -> Result<Scalar<'v>> {
    let Some(unit) = unit(name) else { return Err(no_unit(name, "interval", false)) };
    let of = finite(of)?;
    let down = |by: i64| of.micros / by * by;
    let months = |by: i32| IntervalFields { months: of.months / by * by, days: 0, micros: 0 };
    interval(Some(match unit {
        "microseconds" => of,
        "milliseconds" => IntervalFields { micros: down(1_000), ..of },
        "second" => IntervalFields { micros: down(SECOND), ..of },
        "minute" => IntervalFields { micros: down(MINUTE), ..of },
        "hour" => IntervalFields { micros: down(HOUR), ..of },
        "day" => IntervalFields { micros: 0, ..of },
        "month" => months(1),
        "quarter" => months(3),
        "year" => months(12),
        "decade" => months(120),
        "century" => months(1_200),
        "millennium" => months(12_000),
        _ => return Err(no_unit(name, "interval", true)),
    }))
}

// --- extract ----------------------------------------------------------------------------------------

enum Part {
    Null,
    Infinite {
        negative: bool,
    },
    Whole(i64),
    /// Microseconds with so many digits behind the point: 6 of seconds, 3 of milliseconds.
    Scaled(i128, usize),
    Exact(Decimal, f64),
}

fn part(types: &Types, of: &[Scalar<'_>]) -> Result<Part> {
    let (name, ty) = (of[0].str(), &types.arguments[1]);
    let shown = match ty {
        Type::Timestamp => "timestamp without time zone".to_owned(),
        Type::Time => "time without time zone".to_owned(),
        ty => ty.to_string(),
    };
    let Some(unit) = unit(name) else { return Err(no_unit(name, &shown, false)) };
    let found = match ty {
        Type::Date => of_date(unit, of[1].int())?,
        Type::Timestamp | Type::TimestampTz => {
            of_moment(unit, of[1].int(), *ty == Type::TimestampTz)?
        }
        Type::Time => of_time(unit, of[1].int(), None),
        Type::TimeTz => match of[1] {
            Scalar::TimeTz { utc, west } => of_time(unit, utc - west * SECOND, Some(west)),
            _ => None,
        },
        _ => of_interval(unit, finite(of[1].interval())?),
    };
    match (unit, found) {
        ("epoch", Some(_)) => exact_epoch(ty, &of[1]),
        (_, Some(part)) => Ok(part),
        (_, None) => Err(no_unit(name, &shown, true)),
    }
}

/// As `part`, but that a date is a moment.
fn date_part(types: &Types, of: &mut [Scalar<'_>]) -> Result<Part> {
    if types.arguments[1] != Type::Date {
        return part(types, of);
    }
    let types = Types {
        arguments: vec![Type::Text, Type::Timestamp],
        result: types.result.clone(),
        ctype: types.ctype,
        null_casts: types.null_casts,
    };
    part(&types, &[of[0].clone(), midnight(of[1].int())?])
}

fn exact_epoch(ty: &Type, value: &Scalar<'_>) -> Result<Part> {
    let mut datum = Vec::new();
    value.encode(ty, &mut datum)?;
    let exact = epoch(ty, &datum).ok_or(EvalError::text("timestamp out of range"))?;
    let float = match value {
        Scalar::Interval(Interval::Finite(of)) => {
            let day = 86_400.0;
            of.micros as f64 / 1_000_000.0
                + 365.25 * day * f64::from(of.months / 12)
                + 30.0 * day * f64::from(of.months % 12)
                + day * f64::from(of.days)
        }
        _ => exact.to_f64(),
    };
    Ok(Part::Exact(exact, float))
}

fn of_time(unit: &str, micros: i64, west: Option<i64>) -> Option<Part> {
    Some(match (unit, west) {
        ("microseconds", _) => Part::Whole(micros % MINUTE),
        ("milliseconds", _) => Part::Scaled((micros % MINUTE).into(), 3),
        ("second", _) => Part::Scaled((micros % MINUTE).into(), 6),
        ("minute", _) => Part::Whole(micros / MINUTE % 60),
        ("hour", _) => Part::Whole(micros / HOUR),
        ("epoch", _) => Part::Null,
        ("timezone", Some(west)) => Part::Whole(-west),
        ("timezone_hour", Some(west)) => Part::Whole(-west / 3_600),
        ("timezone_minute", Some(west)) => Part::Whole(-west / 60 % 60),
        _ => return None,
    })
}

fn of_interval(unit: &str, of: IntervalFields) -> Option<Part> {
    let (months, years) = (i64::from(of.months % 12), i64::from(of.months / 12));
    Some(match unit {
        "day" => Part::Whole(of.days.into()),
        "month" => Part::Whole(months),
        "quarter" => Part::Whole(months / 3 + 1),
        "year" => Part::Whole(years),
        "decade" => Part::Whole(years / 10),
        "century" => Part::Whole(years / 100),
        "millennium" => Part::Whole(years / 1_000),
        unit => return of_time(unit, of.micros, None),
    })
}

/// Units of a day and longer.
fn of_date(unit: &str, days: i64) -> Result<Option<Part>> {
    if ends(days) {
        return Ok(of_end(unit, days).filter(|_| {
            !matches!(
                unit,
                "microseconds"
                    | "milliseconds"
                    | "second"
                    | "minute"
                    | "hour"
                    | "timezone"
                    | "timezone_hour"
                    | "timezone_minute"
            )
        }));
    }
    let (year, month, day) =
        crate::value::date_of(days).ok_or(EvalError::text("date out of range"))?;
    let (iso_year, iso_week) = iso(days, year);
    Ok(Some(Part::Whole(match unit {
        "day" => day,
        "week" => iso_week,
        "month" => month,
        "quarter" => (month - 1) / 3 + 1,
        "year" => shown(year),
        "isoyear" => shown(iso_year),
        // A decade, a century before Christ: those of the years as they are counted.
        "decade" if year >= 0 => year / 10,
        "decade" => -((8 - (year - 1)) / 10),
        "century" if year > 0 => (year + 99) / 100,
        "century" => -((99 - (year - 1)) / 100),
        "millennium" if year > 0 => (year + 999) / 1_000,
        "millennium" => -((999 - (year - 1)) / 1_000),
        "julian" => days + JULIAN,
        "dow" => (days + 6).rem_euclid(7),
        "isodow" => (days + 5).rem_euclid(7) + 1,
        "doy" => days - days_of(year, 1, 1) + 1,
        "epoch" => return Ok(Some(Part::Null)),
        _ => return Ok(None),
    })))
}

fn of_moment(unit: &str, micros: i64, zoned: bool) -> Result<Option<Part>> {
    if ends(micros) {
        return Ok(of_end(unit, micros));
    }
    let (days, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    if unit == "julian" {
        let day = Decimal::of_int(days + JULIAN);
        let exact = Decimal::of_int(time).div(&Decimal::of_int(DAY))?.add(&day)?;
        let float = (days + JULIAN) as f64
            + ((time / SECOND) as f64 + (time % SECOND) as f64 / 1_000_000.0) / 86_400.0;
        return Ok(Some(Part::Exact(exact, float)));
    }
    if let Some(part) = of_time(unit, time, zoned.then_some(0)) {
        return Ok(Some(part));
    }
    of_date(unit, days)
}

/// What grows for ever is infinite, what goes in circles is not known.
fn of_end(unit: &str, end: i64) -> Option<Part> {
    Some(match unit {
        "year" | "decade" | "century" | "millennium" | "julian" | "isoyear" => {
            Part::Infinite { negative: end != INFINITY }
        }
        _ => Part::Null,
    })
}

/// There is no year 0.
fn shown(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}

/// The year and the number of the week, whose Thursday decides.
pub(in super::super) fn iso(days: i64, year: i64) -> (i64, i64) {
    let thursday = days - (days + 5).rem_euclid(7) + 3;
    let iso_year = [year - 1, year, year + 1]
        .into_iter()
        .rev()
        .find(|year| days_of(*year, 1, 1) <= thursday)
        .unwrap_or(year);
    (iso_year, (thursday - days_of(iso_year, 1, 1)) / 7 + 1)
}
