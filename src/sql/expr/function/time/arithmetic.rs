//! Sums and differences of times, intervals times numbers.

use crate::value::{DAY, Interval, IntervalFields, SECOND, Scalar, days_in_month, days_of};

use super::super::super::eval::{EvalError, Result};
use super::super::{Table, Typed};
use super::{Civil, date, ends, finite, interval, timestamp};

const DAYS_OF_MONTH: i64 = 30;
const SECONDS_OF_DAY: f64 = 86_400.0;

pub(super) fn register(table: &mut Table) {
    days(table);
    moments(table);
    times(table);
    intervals(table);
}

/// The moment at which a day begins.
pub(in super::super) fn midnight<'v>(days: i64) -> Result<Scalar<'v>> {
    if ends(days) {
        return Ok(Scalar::Int(days));
    }
    timestamp(days.checked_mul(DAY)).map_err(|_| EvalError::text("date out of range for timestamp"))
}

fn days(table: &mut Table) {
    table.add("+(date,int4)", |_, a| plus_days(a[0].int(), a[1].int()));
    table.add("+(int4,date)", |_, a| plus_days(a[1].int(), a[0].int()));
    table.add("-(date,int4)", |_, a| plus_days(a[0].int(), -a[1].int()));
    table.add("-(date,date)", |_, a| {
        if ends(a[0].int()) || ends(a[1].int()) {
            return Err(EvalError::text("cannot subtract infinite dates"));
        }
        Ok(Scalar::Int(a[0].int() - a[1].int()))
    });
    table.add("+(date,time)", |_, a| day_and_time(a[0].int(), a[1].int()));
    table.add("+(time,date)", |_, a| day_and_time(a[1].int(), a[0].int()));
    table.add("+(date,timetz)", |_, a| match a[1] {
        Scalar::TimeTz { utc, .. } => day_and_time(a[0].int(), utc),
        _ => Ok(Scalar::Null),
    });
    table.add("+(timetz,date)", |_, a| match a[0] {
        Scalar::TimeTz { utc, .. } => day_and_time(a[1].int(), utc),
        _ => Ok(Scalar::Null),
    });
    table.add("+(date,interval)", |_, a| plus(midnight(a[0].int())?.int(), a[1].interval()));
    table.add("+(interval,date)", |_, a| plus(midnight(a[1].int())?.int(), a[0].interval()));
    table.add("-(date,interval)", |_, a| minus(midnight(a[0].int())?.int(), a[1].interval()));
    for ty in ["date", "timestamp", "timestamptz", "interval"] {
        table.add(&format!("isfinite({ty})"), |_, a| {
            Ok(Scalar::Bool(match &a[0] {
                Scalar::Int(value) => !ends(*value),
                Scalar::Interval(value) => matches!(value, Interval::Finite(_)),
                _ => true,
            }))
        });
    }
}

fn plus_days<'v>(days: i64, more: i64) -> Result<Scalar<'v>> {
    if ends(days) { Ok(Scalar::Int(days)) } else { date(Some(days + more)) }
}

fn day_and_time<'v>(days: i64, micros: i64) -> Result<Scalar<'v>> {
    match midnight(days)?.int() {
        end if ends(end) => Ok(Scalar::Int(end)),
        start => timestamp(start.checked_add(micros)),
    }
}

fn moments(table: &mut Table) {
    for ty in ["timestamp", "timestamptz"] {
        table.add(&format!("+({ty},interval)"), |_, a| plus(a[0].int(), a[1].interval()));
        table.add(&format!("+(interval,{ty})"), |_, a| plus(a[1].int(), a[0].interval()));
        table.add(&format!("-({ty},interval)"), |_, a| minus(a[0].int(), a[1].interval()));
        table.add(&format!("-({ty},{ty})"), |_, a| {
            let (left, right) = (a[0].int(), a[1].int());
            if ends(left) || ends(right) {
                return Err(EvalError::text("cannot subtract infinite timestamps"));
            }
            let Some(micros) = left.checked_sub(right) else {
                return Err(EvalError::text("timestamps too far apart: interval out of range"));
            };
            interval(Some(micros).map(|micros| IntervalFields {
                months: 0,
                days: i32::try_from(micros / DAY).unwrap_or(i32::MAX),
                micros: micros % DAY,
            }))
        });
        table.add(&format!("age({ty},{ty})"), |_, a| age(a[0].int(), a[1].int()));
    }
}

/// Months first, with the day cut to the month's end, then days, then the time.
fn plus<'v>(micros: i64, span: Interval) -> Result<Scalar<'v>> {
    if ends(micros) {
        return Ok(Scalar::Int(micros));
    }
    let span = finite(span)?;
    let mut micros = micros;
    let out_of_range = || EvalError::text("timestamp out of range");
    if span.months != 0 {
        let civil = Civil::of(micros)?;
        let months = civil.year * 12 + civil.month - 1 + i64::from(span.months);
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let last = days_in_month(year, u8::try_from(month).unwrap_or(1)).unwrap_or(31);
        let days = days_of(year, month, civil.day.min(last));
        micros = days
            .checked_mul(DAY)
            .and_then(|start| start.checked_add(civil.micros))
            .ok_or_else(out_of_range)?;
        timestamp(Some(micros))?;
    }
    if span.days != 0 {
        micros = i64::from(span.days)
            .checked_mul(DAY)
            .and_then(|days| micros.checked_add(days))
            .ok_or_else(out_of_range)?;
        timestamp(Some(micros))?;
    }
    timestamp(micros.checked_add(span.micros))
}

fn minus<'v>(micros: i64, span: Interval) -> Result<Scalar<'v>> {
    if ends(micros) {
        return Ok(Scalar::Int(micros));
    }
    let negated = negated(finite(span)?).ok_or(EvalError::text("interval out of range"))?;
    plus(micros, Interval::Finite(negated))
}

fn negated(of: IntervalFields) -> Option<IntervalFields> {
    Some(IntervalFields {
        months: of.months.checked_neg()?,
        days: of.days.checked_neg()?,
        micros: of.micros.checked_neg()?,
    })
}

/// Years, months and days between two moments, as a calendar counts them.
fn age<'v>(left: i64, right: i64) -> Result<Scalar<'v>> {
    if ends(left) || ends(right) {
        return Err(EvalError::text("the age of infinity is not computed here"));
    }
    let (later, earlier) = (left.max(right), left.min(right));
    let (a, b) = (Civil::of(later)?, Civil::of(earlier)?);
    let (mut months, mut days) = ((a.year - b.year) * 12 + a.month - b.month, a.day - b.day);
    let mut micros = a.micros - b.micros;
    if micros < 0 {
        micros += DAY;
        days -= 1;
    }
    while days < 0 {
        // The month of the earlier one is what is filled up.
        days += days_in_month(b.year, u8::try_from(b.month).unwrap_or(1)).unwrap_or(31);
        months -= 1;
    }
    let sign = if left < right { -1 } else { 1 };
    interval(Some(IntervalFields {
        months: i32::try_from(sign * months).unwrap_or(i32::MAX),
        days: i32::try_from(sign * days).unwrap_or(0),
        micros: sign * micros,
    }))
}

fn times(table: &mut Table) {
    table.add("-(time,time)", |_, a| {
        interval(Some(IntervalFields {
            micros: a[0].int() - a[1].int(),
            ..IntervalFields::default()
        }))
    });
    table.add("+(time,interval)", |_, a| around(a[0].int(), finite(a[1].interval())?.micros, 1));
    table.add("+(interval,time)", |_, a| around(a[1].int(), finite(a[0].interval())?.micros, 1));
    table.add("-(time,interval)", |_, a| around(a[0].int(), finite(a[1].interval())?.micros, -1));
    table.add("+(timetz,interval)", |_, a| around_tz(&a[0], finite(a[1].interval())?.micros, 1));
    table.add("+(interval,timetz)", |_, a| around_tz(&a[1], finite(a[0].interval())?.micros, 1));
    table.add("-(timetz,interval)", |_, a| around_tz(&a[0], finite(a[1].interval())?.micros, -1));
}

/// Within one day.
fn around<'v>(time: i64, micros: i64, sign: i64) -> Result<Scalar<'v>> {
    let moved = i128::from(time) + i128::from(micros) * i128::from(sign);
    Ok(Scalar::Int(i64::try_from(moved.rem_euclid(i128::from(DAY))).unwrap_or(0)))
}

fn around_tz<'v>(time: &Scalar<'_>, micros: i64, sign: i64) -> Result<Scalar<'v>> {
    let Scalar::TimeTz { utc, west } = time else { return Ok(Scalar::Null) };
    let local = around(utc - west * SECOND, micros, sign)?.int();
    Ok(Scalar::TimeTz { utc: local + west * SECOND, west: *west })
}

// --- Intervals --------------------------------------------------------------------------------------

fn intervals(table: &mut Table) {
    table.add("+(interval,interval)", |_, a| {
        let (x, y) = (finite(a[0].interval())?, finite(a[1].interval())?);
        interval(sum(x, y))
    });
    table.add("-(interval,interval)", |_, a| {
        let (x, y) = (finite(a[0].interval())?, finite(a[1].interval())?);
        let difference = || {
            Some(IntervalFields {
                months: x.months.checked_sub(y.months)?,
                days: x.days.checked_sub(y.days)?,
                micros: x.micros.checked_sub(y.micros)?,
            })
        };
        interval(difference())
    });
    table.add("-(interval)", |_, a| interval(negated(finite(a[0].interval())?)));
    table.add("*(interval,float8)", |_, a| scaled(finite(a[0].interval())?, a[1].float(), false));
    table.add("*(float8,interval)", |_, a| scaled(finite(a[1].interval())?, a[0].float(), false));
    table.add("/(interval,float8)", |_, a| {
        if a[1].float() == 0.0 {
            return Err(EvalError::DIVISION_BY_ZERO);
        }
        scaled(finite(a[0].interval())?, a[1].float(), true)
    });
    table.add("justify_hours(interval)", |_, a| {
        let mut of = finite(a[0].interval())?;
        let days = of.micros / DAY;
        of.micros -= days * DAY;
        let mut days = i64::from(of.days) + days;
        if days > 0 && of.micros < 0 {
            of.micros += DAY;
            days -= 1;
        } else if days < 0 && of.micros > 0 {
            of.micros -= DAY;
            days += 1;
        }
        interval(i32::try_from(days).ok().map(|days| IntervalFields { days, ..of }))
    });
    table.add("justify_days(interval)", |_, a| {
        let of = finite(a[0].interval())?;
        let mut days = i64::from(of.days);
        let mut months = i64::from(of.months) + days / DAYS_OF_MONTH;
        days %= DAYS_OF_MONTH;
        if months > 0 && days < 0 {
            days += DAYS_OF_MONTH;
            months -= 1;
        } else if months < 0 && days > 0 {
            days -= DAYS_OF_MONTH;
            months += 1;
        }
        interval(whole(months, days, of.micros))
    });
    table.add("justify_interval(interval)", |_, a| {
        let of = finite(a[0].interval())?;
        let (mut months, mut days, mut micros) =
            (i64::from(of.months), i64::from(of.days), of.micros);
        days += micros / DAY;
        micros %= DAY;
        months += days / DAYS_OF_MONTH;
        days %= DAYS_OF_MONTH;
        if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
            days += DAYS_OF_MONTH;
            months -= 1;
        } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
            days -= DAYS_OF_MONTH;
            months += 1;
        }
        if days > 0 && micros < 0 {
            micros += DAY;
            days -= 1;
        } else if days < 0 && micros > 0 {
            micros -= DAY;
            days += 1;
        }
        interval(whole(months, days, micros))
    });
}

fn whole(months: i64, days: i64, micros: i64) -> Option<IntervalFields> {
    Some(IntervalFields {
        months: i32::try_from(months).ok()?,
        days: i32::try_from(days).ok()?,
        micros,
    })
}

fn sum(x: IntervalFields, y: IntervalFields) -> Option<IntervalFields> {
    Some(IntervalFields {
        months: x.months.checked_add(y.months)?,
        days: x.days.checked_add(y.days)?,
        micros: x.micros.checked_add(y.micros)?,
    })
}

/// interval_mul and interval_div: what is left of a month goes to days, of a day to the time.
fn scaled<'v>(of: IntervalFields, factor: f64, divided: bool) -> Result<Scalar<'v>> {
    let out_of_range = || EvalError::text("interval out of range");
    let times = |number: f64| if divided { number / factor } else { number * factor };
    let round = |number: f64| (number * 1_000_000.0).round_ties_even() / 1_000_000.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range is looked at; C cuts so too")]
    let cut = |number: f64| {
        let fits = number >= f64::from(i32::MIN) && number <= f64::from(i32::MAX);
        if fits { Ok(number as i32) } else { Err(out_of_range()) }
    };
    let months_exact = times(f64::from(of.months));
    let months = cut(months_exact)?;
    let days_exact = times(f64::from(of.days));
    let mut days = i64::from(cut(days_exact)?);
    let month_days = round((months_exact - f64::from(months)) * DAYS_OF_MONTH as f64);
    let whole_month_days = cut(month_days)?;
    let mut seconds = round(
        (days_exact - days as f64 + month_days - f64::from(whole_month_days)) * SECONDS_OF_DAY,
    );
    if seconds.abs() >= SECONDS_OF_DAY {
        let more = cut(seconds / SECONDS_OF_DAY)?;
        days += i64::from(more);
        seconds -= f64::from(more) * SECONDS_OF_DAY;
    }
    days += i64::from(whole_month_days);
    let micros = (times(of.micros as f64) + seconds * SECOND as f64).round_ties_even();
    let micros = super::super::convert::integer(micros).ok_or_else(out_of_range)?;
    interval(whole(months.into(), days, micros))
}
