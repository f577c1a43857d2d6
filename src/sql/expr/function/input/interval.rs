//! Intervals: numbers with units, and a time.

use crate::value::{DAY, Interval, IntervalFields, SECOND};

use super::super::super::eval::{EvalError, Result};
use super::super::convert::integer;
use super::trim;

const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

pub(super) fn read(of: &str) -> Result<Interval> {
    let invalid = || EvalError::new(format!("invalid input syntax for type interval: \"{of}\""));
    let out_of_range = || EvalError::new(format!("interval field value out of range: \"{of}\""));
    let text = trim(of).to_ascii_lowercase();
    let (text, ago) = match text.strip_suffix(" ago") {
        Some(text) => (text, true),
        None => (text.as_str(), false),
    };
    let text = text.strip_prefix('@').unwrap_or(text);
    let parts = split(text);
    if parts.is_empty() {
        return Err(invalid());
    }
    let mut sum = Sum::default();
    let mut parts = parts.into_iter().peekable();
    while let Some(part) = parts.next() {
        if part.contains(':') {
            let micros = time(part).ok_or_else(invalid)?.ok_or_else(out_of_range)?;
            sum.micros = sum.micros.checked_add(micros).ok_or_else(out_of_range)?;
            continue;
        }
        let number = Number::of(part).ok_or_else(invalid)?;
        let unit = match parts.peek() {
            Some(unit) if unit.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                let unit = *unit;
                parts.next();
                unit
            }
            // A number alone counts days before a time, and seconds at the end.
            Some(next) if next.contains(':') => "day",
            None => "second",
            Some(_) => return Err(invalid()),
        };
        sum.add(&number, unit).ok_or_else(invalid)?.ok_or_else(out_of_range)?;
    }
    let sign = if ago { -1 } else { 1 };
    let fields = || {
        Some(IntervalFields {
            months: i32::try_from(sum.months * sign).ok()?,
            days: i32::try_from(sum.days * sign).ok()?,
            micros: sum.micros.checked_mul(sign)?,
        })
    };
    fields().map(Interval::Finite).ok_or_else(out_of_range)
}

/// Numbers and words apart: `1day` is two.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for word in text.split([' ', '\t', '\n']).filter(|word| !word.is_empty()) {
        let letters = word.find(|c: char| c.is_ascii_alphabetic());
        match letters {
            Some(at) if at > 0 => parts.extend([&word[..at], &word[at..]]),
            _ => parts.push(word),
        }
    }
    parts
}

/// Digits before and behind the point.
struct Number {
    whole: i64,
    /// With the sign.
    fraction: f64,
}

impl Number {
    fn of(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(fraction) || whole.len() + fraction.len() == 0 {
            return None;
        }
        let sign = if negative { -1 } else { 1 };
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction: f64 =
            if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
        Some(Self { whole: whole * sign, fraction: fraction * sign as f64 })
    }
}

#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    micros: i64,
}

impl Sum {
    /// `None` for no unit, `Some(None)` out of range.
    fn add(&mut self, number: &Number, unit: &str) -> Option<Option<()>> {
        let Number { whole, fraction } = *number;
        Some(match super::super::time_unit(unit)? {
            "microseconds" => self.micros(whole, 1, fraction),
            "milliseconds" => self.micros(whole, 1_000, fraction),
            "second" => self.micros(whole, SECOND, fraction),
            "minute" => self.micros(whole, MINUTE, fraction),
            "hour" => self.micros(whole, HOUR, fraction),
            "day" => self.days(whole, fraction, 1),
            "week" => self.days(whole, fraction, 7),
            "month" => self.months(whole, 1).and_then(|()| self.part_of_days(fraction, 30)),
            "year" => self.years(whole, fraction, 1),
            "decade" => self.years(whole, fraction, 10),
            "century" => self.years(whole, fraction, 100),
            "millennium" => self.years(whole, fraction, 1_000),
            _ => return None,
        })
    }

    fn micros(&mut self, whole: i64, unit: i64, fraction: f64) -> Option<()> {
        let part = integer((fraction * unit as f64).round_ties_even())?;
        self.micros = self.micros.checked_add(whole.checked_mul(unit)?)?.checked_add(part)?;
        Some(())
    }

    fn days(&mut self, whole: i64, fraction: f64, unit: i64) -> Option<()> {
        self.days = self.days.checked_add(whole.checked_mul(unit)?)?;
        self.part_of_days(fraction, unit)
    }

    /// Whole days of it, and the rest as time.
    fn part_of_days(&mut self, fraction: f64, unit: i64) -> Option<()> {
        let days = fraction * unit as f64;
        let whole = integer(days.trunc())?;
        self.days = self.days.checked_add(whole)?;
        self.micros(0, DAY, days - whole as f64)
    }

    fn months(&mut self, whole: i64, unit: i64) -> Option<()> {
        self.months = self.months.checked_add(whole.checked_mul(unit)?)?;
        Some(())
    }

    fn years(&mut self, whole: i64, fraction: f64, unit: i64) -> Option<()> {
        self.months(whole, unit * 12)?;
        let months = (fraction * (unit * 12) as f64).round_ties_even();
        self.months(integer(months)?, 1)
    }
}

/// `[-]H:MM[:SS[.f]]`.
fn time(text: &str) -> Option<Option<i64>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = digits.split(':');
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (hours, minutes) = (parts.next()?, parts.next()?);
    let seconds = parts.next().unwrap_or("0");
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    if parts.next().is_some() || !plain(hours) || !plain(minutes) || !plain(seconds) {
        return None;
    }
    if !fraction.is_empty() && !plain(fraction) {
        return None;
    }
    let (hours, minutes, seconds): (i64, i64, i64) =
        (hours.parse().ok()?, minutes.parse().ok()?, seconds.parse().ok()?);
    if minutes > 59 || seconds > 60 {
        return Some(None);
    }
    let part: f64 = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
    let micros = || {
        let part = integer((part * 1_000_000.0).round_ties_even())?;
        hours.checked_mul(HOUR)?.checked_add(minutes * MINUTE + seconds * SECOND + part)
    };
    Some(micros().map(|micros| if negative { -micros } else { micros }))
}
