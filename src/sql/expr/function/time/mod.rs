//! Dates, times and intervals.

mod arithmetic;
mod fields;
mod make;
mod zones;

use crate::value::{DAY, INFINITY, Interval, IntervalFields, NEGATIVE_INFINITY, Scalar, date_of};

use super::super::eval::{EvalError, Result};
use super::Table;

pub(super) use arithmetic::midnight;
pub(super) use fields::iso;
pub(super) use zones::offset_of as zone_offset;

pub(super) fn register(table: &mut Table) {
    arithmetic::register(table);
    fields::register(table);
    make::register(table);
    zones::register(table);
}

/// 4714-11-24 BC, and the first moment that is no timestamp any more.
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
/// The same of dates.
const DATE_MIN: i64 = -2_451_545;
const DATE_END: i64 = 2_147_483_494 - 2_451_545;

pub(super) fn ends(value: i64) -> bool {
    value == INFINITY || value == NEGATIVE_INFINITY
}

pub(super) fn timestamp<'v>(micros: Option<i64>) -> Result<Scalar<'v>> {
    micros
        .filter(|micros| (TIMESTAMP_MIN..TIMESTAMP_END).contains(micros))
        .map(Scalar::Int)
        .ok_or(EvalError::text("timestamp out of range"))
}

pub(super) fn date<'v>(days: Option<i64>) -> Result<Scalar<'v>> {
    days.filter(|days| (DATE_MIN..DATE_END).contains(days))
        .map(Scalar::Int)
        .ok_or(EvalError::text("date out of range"))
}

fn interval<'v>(fields: Option<IntervalFields>) -> Result<Scalar<'v>> {
    fields
        .map(|fields| Scalar::Interval(Interval::Finite(fields)))
        .ok_or(EvalError::text("interval out of range"))
}

fn finite(of: Interval) -> Result<IntervalFields> {
    match of {
        Interval::Finite(fields) => Ok(fields),
        _ => Err(EvalError::text("infinite intervals are not computed with here")),
    }
}

/// A moment's parts.
pub(super) struct Civil {
    /// 0 is 1 BC.
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    /// Of the day.
    pub(super) micros: i64,
}

impl Civil {
    pub(super) fn of(micros: i64) -> Result<Self> {
        let (year, month, day) =
            date_of(micros.div_euclid(DAY)).ok_or(EvalError::text("timestamp out of range"))?;
        Ok(Self { year, month, day, micros: micros.rem_euclid(DAY) })
    }
}

/// Units as Postgres abbreviates them (datetktbl, deltatktbl).
pub(super) fn unit(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    Some(match name.as_str() {
        "microseconds" | "microsecon" | "microsecond" | "us" | "usec" | "usecs" | "usecond"
        | "useconds" => "microseconds",
        "milliseconds" | "millisecon" | "millisecond" | "ms" | "msec" | "msecs" | "msecond"
        | "mseconds" => "milliseconds",
        "second" | "seconds" | "s" | "sec" | "secs" => "second",
        "minute" | "minutes" | "m" | "min" | "mins" => "minute",
        "hour" | "hours" | "h" | "hr" | "hrs" => "hour",
        "day" | "days" | "d" => "day",
        "week" | "weeks" | "w" => "week",
        "month" | "months" | "mon" | "mons" => "month",
        "quarter" | "qtr" => "quarter",
        "year" | "years" | "y" | "yr" | "yrs" => "year",
        "decade" | "decades" | "dec" | "decs" => "decade",
        "century" | "centuries" | "c" | "cent" => "century",
        "millennium" | "millennia" | "mil" | "mils" => "millennium",
        "julian" | "jd" | "j" => "julian",
        "isoyear" => "isoyear",
        "dow" => "dow",
        "isodow" => "isodow",
        "doy" => "doy",
        "epoch" => "epoch",
        "timezone" => "timezone",
        "timezone_hour" | "timezone_h" => "timezone_hour",
        "timezone_minute" | "timezone_m" => "timezone_minute",
        _ => return None,
    })
}

fn no_unit(name: &str, ty: &str, known: bool) -> EvalError {
    let name = name.to_ascii_lowercase();
    match known {
        true => EvalError::new(format!("unit \"{name}\" not supported for type {ty}")),
        false => EvalError::new(format!("unit \"{name}\" not recognized for type {ty}")),
    }
}
