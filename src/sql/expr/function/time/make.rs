//! Times made of their parts.

use crate::value::{
    DAY, INFINITY, IntervalFields, NEGATIVE_INFINITY, SECOND, Scalar, days_in_month, days_of,
};

use super::super::super::eval::{EvalError, Result};
use super::super::convert::integer;
use super::super::{Table, Typed};
use super::{date, ends, finite, interval, timestamp};

/// Seconds from 1970 to 2000.
const EPOCH_SECONDS: f64 = 946_684_800.0;

pub(super) fn register(table: &mut Table) {
    table.add("make_date(int4,int4,int4)", |_, a| {
        date(Some(day(a[0].int(), a[1].int(), a[2].int())?))
    });
    table.add("make_time(int4,int4,float8)", |_, a| {
        Ok(Scalar::Int(time(a[0].int(), a[1].int(), a[2].float())?))
    });
    table.add("make_timestamp(int4,int4,int4,int4,int4,float8)", |_, a| {
        let days = day(a[0].int(), a[1].int(), a[2].int())?;
        let micros = time(a[3].int(), a[4].int(), a[5].float())?;
        timestamp(days.checked_mul(DAY).and_then(|start| start.checked_add(micros)))
    });
    table.add("make_interval(int4,int4,int4,int4,int4,int4,float8)", |_, a| {
        let number = |at: usize| a.get(at).map_or(0, Typed::int);
        let seconds = a.get(6).map_or(0.0, Typed::float);
        let micros = integer((seconds * 1_000_000.0).round_ties_even()).and_then(|micros| {
            let above = number(4).checked_mul(3_600 * SECOND)?;
            above.checked_add(number(5) * 60 * SECOND)?.checked_add(micros)
        });
        let fields = || {
            Some(IntervalFields {
                months: i32::try_from(number(0) * 12 + number(1)).ok()?,
                days: i32::try_from(number(2) * 7 + number(3)).ok()?,
                micros: micros?,
            })
        };
        // Old servers wrap around.
        fields().map_or(Err(EvalError::text("make_interval: interval out of range")), |fields| {
            interval(Some(fields))
        })
    });
    table.add("to_timestamp(float8)", |_, a| {
        let seconds = a[0].float();
        if seconds.is_infinite() {
            return Ok(Scalar::Int(if seconds > 0.0 { INFINITY } else { NEGATIVE_INFINITY }));
        }
        if seconds.is_nan() {
            return Err(EvalError::text("timestamp cannot be NaN"));
        }
        let micros = ((seconds - EPOCH_SECONDS) * 1_000_000.0).round_ties_even();
        timestamp(integer(micros))
            .map_err(|_| EvalError::new(format!("timestamp out of range: \"{seconds}\"")))
    });
    for ty in ["timestamp", "timestamptz"] {
        table.add(&format!("date_bin(interval,{ty},{ty})"), |_, a| {
            let (of, origin) = (a[1].int(), a[2].int());
            if ends(of) {
                return Ok(Scalar::Int(of));
            }
            if ends(origin) {
                return Err(EvalError::text("origin out of range"));
            }
            let stride = finite(a[0].interval())?;
            if stride.months != 0 {
                return Err(EvalError::text(
                    "timestamps cannot be binned into intervals containing months or years",
                ));
            }
            let stride = i64::from(stride.days)
                .checked_mul(DAY)
                .and_then(|days| days.checked_add(stride.micros))
                .ok_or(EvalError::text("interval out of range"))?;
            if stride <= 0 {
                return Err(EvalError::text("stride must be greater than zero"));
            }
            let binned = || {
                let since = of.checked_sub(origin)?;
                origin.checked_add(since.div_euclid(stride).checked_mul(stride)?)
            };
            timestamp(binned()).map_err(|_| EvalError::text("date_bin: timestamp out of range"))
        });
    }
}

fn day(year: i64, month: i64, day: i64) -> Result<i64> {
    let out_of_range = || EvalError::text("date field value out of range");
    // There is no year 0; the ones before it count backwards.
    let year = match year {
        0 => return Err(out_of_range()),
        1.. => year,
        _ => year + 1,
    };
    let last = u8::try_from(month).ok().and_then(|month| days_in_month(year, month));
    match last {
        Some(last) if (1..=last).contains(&day) && (-4_713..5_874_898).contains(&year) => {
            let days = days_of(year, month, day);
            date(Some(days)).map(|_| days)
        }
        _ => Err(out_of_range()),
    }
}

fn time(hours: i64, minutes: i64, seconds: f64) -> Result<i64> {
    let out_of_range = || EvalError::text("time field value out of range");
    if seconds.is_nan() || !(0..=24).contains(&hours) || !(0..=59).contains(&minutes) {
        return Err(out_of_range());
    }
    let micros = integer((seconds * 1_000_000.0).round_ties_even()).ok_or_else(out_of_range)?;
    if !(0..=60 * SECOND).contains(&micros) {
        return Err(out_of_range());
    }
    let whole = (hours * 60 + minutes) * 60 * SECOND + micros;
    if whole > DAY { Err(out_of_range()) } else { Ok(whole) }
}
