//! Dates, times and timestamps, in the forms of ISO 8601 and the ones near to it.

use crate::value::{
    DAY, INFINITY, NEGATIVE_INFINITY, SECOND, Scalar, Type, days_in_month, days_of,
};

use super::super::super::eval::{EvalError, Result};
use super::super::time::{date, timestamp, zone_offset};
use super::trim;

/// 1970-01-01 in days.
const EPOCH_DAYS: i64 = -10_957;

/// A date, a time and a zone, as far as they are there.
#[derive(Default)]
struct Parts {
    days: Option<i64>,
    micros: Option<i64>,
    /// Seconds east of UTC.
    east: Option<i64>,
}

pub(super) fn read<'v>(ty: &Type, of: &str) -> Result<Scalar<'v>> {
    let trimmed = trim(of).to_ascii_lowercase();
    let end = match trimmed.as_str() {
        "infinity" | "+infinity" => Some(INFINITY),
        "-infinity" => Some(NEGATIVE_INFINITY),
        "epoch" if *ty == Type::Date => return Ok(Scalar::Int(EPOCH_DAYS)),
        "epoch" if matches!(ty, Type::Timestamp | Type::TimestampTz) => {
            return Ok(Scalar::Int(EPOCH_DAYS * DAY));
        }
        "now" | "today" | "tomorrow" | "yesterday" => {
            return Err(EvalError::new(format!("\"{trimmed}\" reads the clock")));
        }
        _ => None,
    };
    if let Some(end) = end
        && matches!(ty, Type::Date | Type::Timestamp | Type::TimestampTz)
    {
        return Ok(Scalar::Int(end));
    }
    let invalid = || {
        EvalError::new(format!(
            "invalid input syntax for type {ty}: \"{of}\"; write it as in ISO 8601"
        ))
    };
    let parts = parse(&trimmed, of)?.ok_or_else(invalid)?;
    let range = |_| {
        EvalError::new(format!(
            "{} out of range: \"{of}\"",
            if *ty == Type::Date { "date" } else { "timestamp" }
        ))
    };
    match (ty, parts) {
        (Type::Date, Parts { days: Some(days), .. }) => date(Some(days)).map_err(range),
        (Type::Timestamp | Type::TimestampTz, Parts { days: Some(days), micros, east }) => {
            let east = if *ty == Type::TimestampTz { east.unwrap_or(0) } else { 0 };
            let micros = days
                .checked_mul(DAY)
                .and_then(|start| start.checked_add(micros.unwrap_or(0)))
                .and_then(|local| local.checked_sub(east * SECOND));
            timestamp(micros).map_err(range)
        }
        (Type::Time, Parts { micros: Some(micros), .. }) => Ok(Scalar::Int(micros)),
        (Type::TimeTz, Parts { micros: Some(micros), east, .. }) => {
            let east = east.unwrap_or(0);
            Ok(Scalar::TimeTz { utc: micros - east * SECOND, west: -east })
        }
        _ => Err(invalid()),
    }
}

/// `None` for a form that is not known.
fn parse(text: &str, whole: &str) -> Result<Option<Parts>> {
    let mut parts = Parts::default();
    let mut rest = text;
    let out_of_range =
        || EvalError::new(format!("date/time field value out of range: \"{whole}\""));
    let mut ymd = None;
    if let Some((date, after)) = take_date(rest) {
        ymd = Some(date);
        rest = after.strip_prefix('t').or_else(|| after.strip_prefix(' ')).unwrap_or(after);
        rest = rest.trim_start_matches(' ');
    }
    if let Some((time, after)) = take_time(rest) {
        let Some(micros) = time else { return Err(out_of_range()) };
        parts.micros = Some(micros);
        rest = after;
        if let Some((zone, after)) = take_zone(rest) {
            let Some(east) = zone else {
                return Err(EvalError::new(format!(
                    "time zone displacement out of range: \"{whole}\""
                )));
            };
            parts.east = Some(east);
            rest = after;
        }
    }
    let rest = rest.trim_start_matches(' ');
    let before_christ = match rest {
        "" | "ad" => false,
        "bc" => true,
        _ => return Ok(None),
    };
    if let Some((year, month, day)) = ymd {
        // There is no year 0.
        if year == 0 {
            return Err(out_of_range());
        }
        let year = if before_christ { 1 - year } else { year };
        let last = u8::try_from(month).ok().and_then(|month| days_in_month(year, month));
        match last {
            Some(last) if (1..=last).contains(&day) => {
                parts.days = Some(days_of(year, month, day));
            }
            _ => return Err(out_of_range()),
        }
    } else if before_christ {
        return Ok(None);
    }
    Ok((parts.days.is_some() || parts.micros.is_some()).then_some(parts))
}

fn take_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// `YYYY-MM-DD` with three digits or more in the year, `YYYYMMDD`.
fn take_date(text: &str) -> Option<((i64, i64, i64), &str)> {
    let (digits, rest) = take_digits(text);
    if digits.len() == 8 && !rest.starts_with(':') && !rest.starts_with('-') {
        let number = |range: std::ops::Range<usize>| digits[range].parse::<i64>().ok();
        return Some(((number(0..4)?, number(4..6)?, number(6..8)?), rest));
    }
    if !(3..=7).contains(&digits.len()) {
        return None;
    }
    let year = digits.parse().ok()?;
    let (month, rest) = take_digits(rest.strip_prefix('-')?);
    let (day, rest) = take_digits(rest.strip_prefix('-')?);
    let short = |digits: &str| (1..=2).contains(&digits.len());
    if !short(month) || !short(day) {
        return None;
    }
    Some(((year, month.parse().ok()?, day.parse().ok()?), rest))
}

/// `HH:MM`, `HH:MM:SS`, with a fraction; `Some(None)` where the numbers are out of range.
fn take_time(text: &str) -> Option<(Option<i64>, &str)> {
    let (hours, rest) = take_digits(text);
    let (minutes, mut rest) = take_digits(rest.strip_prefix(':')?);
    let short = |digits: &str| (1..=2).contains(&digits.len());
    if !short(hours) || !short(minutes) {
        return None;
    }
    let (mut seconds, mut fraction) = ("0", "");
    if let Some(after) = rest.strip_prefix(':') {
        (seconds, rest) = take_digits(after);
        if !short(seconds) {
            return None;
        }
        if let Some(after) = rest.strip_prefix('.') {
            (fraction, rest) = take_digits(after);
        }
    }
    let number = |digits: &str| digits.parse::<i64>().unwrap_or(i64::MAX / 1_000_000_000_000);
    let (hours, minutes, seconds) = (number(hours), number(minutes), number(seconds));
    let micros = match fraction {
        "" => 0,
        digits => {
            let part: f64 = format!("0.{digits}").parse().unwrap_or(0.0);
            super::super::convert::integer((part * 1_000_000.0).round_ties_even()).unwrap_or(0)
        }
    };
    let whole = ((hours * 60 + minutes) * 60 + seconds) * SECOND + micros;
    let fits = hours <= 24 && minutes <= 59 && seconds <= 60 && whole <= DAY;
    Some((fits.then_some(whole), rest))
}

/// `z`, `+HH`, `+HH:MM`, `+HHMM`, `utc`; `Some(None)` where the numbers are out of range.
fn take_zone(text: &str) -> Option<(Option<i64>, &str)> {
    let text = text.trim_start_matches(' ');
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => {
            let len = text.bytes().take_while(|b| b.is_ascii_alphabetic() || *b == b'/').count();
            let (name, rest) = text.split_at(len);
            return zone_offset(name).map(|offset| (Some(offset), rest));
        }
    };
    let (digits, mut rest) = take_digits(rest);
    let number = |digits: &str| digits.parse::<i64>().ok();
    let (hours, minutes, mut seconds) = match digits.len() {
        1 | 2 => {
            let hours = number(digits)?;
            match rest.strip_prefix(':') {
                Some(after) => {
                    let (minutes, after) = take_digits(after);
                    rest = after;
                    (hours, number(minutes)?, 0)
                }
                None => (hours, 0, 0),
            }
        }
        3 | 4 => {
            let (hours, minutes) = digits.split_at(digits.len() - 2);
            (number(hours)?, number(minutes)?, 0)
        }
        _ => return None,
    };
    if let Some(after) = rest.strip_prefix(':') {
        let (digits, after) = take_digits(after);
        seconds = number(digits)?;
        rest = after;
    }
    let fits = hours <= 15 && minutes <= 59 && seconds <= 59;
    Some((fits.then_some(sign * ((hours * 60 + minutes) * 60 + seconds)), rest))
}
