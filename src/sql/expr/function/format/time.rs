//! Timestamps by a pattern, as `formatting.c` has it.

use std::fmt::Write as _;

use crate::value::{DAY, SECOND, Scalar, Type, days_of};

use super::super::super::eval::{EvalError, Result};
use super::super::time::{Civil, ends, iso};
use super::super::{Table, Typed, text};

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const ROMAN: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// Longer ones first where one begins with another. In lower case they are known too.
const KEYWORDS: &[&str] = &[
    "A.D.", "A.M.", "AD", "AM", "B.C.", "BC", "CC", "DAY", "Day", "DDD", "DD", "DY", "Dy", "D",
    "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "FX", "HH24", "HH12", "HH", "IDDD", "ID", "IW",
    "IYYY", "IYY", "IY", "I", "J", "MI", "MM", "MONTH", "Month", "MON", "Mon", "MS", "OF", "P.M.",
    "PM", "Q", "RM", "SSSSS", "SSSS", "SS", "TZH", "TZM", "TZ", "US", "WW", "W", "Y,YYY", "YYYY",
    "YYY", "YY", "Y",
];

/// The day of 2000-01-01.
const JULIAN: i64 = 2_451_545;

pub(super) fn register(table: &mut Table) {
    table.all(&["to_char(timestamp,text)", "to_char(timestamptz,text)"], |t, a| {
        let (micros, pattern) = (a[0].int(), a[1].str());
        if ends(micros) || pattern.is_empty() {
            return Ok(Scalar::Null);
        }
        let moment = Moment::of(micros, t.arguments[0] == Type::TimestampTz)?;
        Ok(text(moment.format(pattern)?))
    });
}

struct Moment {
    civil: Civil,
    days: i64,
    zoned: bool,
}

/// How a number is written.
#[derive(Clone, Copy, Default)]
struct Style {
    /// Without blanks and zeros that fill up.
    fill: bool,
}

impl Moment {
    fn of(micros: i64, zoned: bool) -> Result<Self> {
        Ok(Self { civil: Civil::of(micros)?, days: micros.div_euclid(DAY), zoned })
    }

    fn format(&self, pattern: &str) -> Result<String> {
        let mut out = String::new();
        let mut rest = pattern;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('"') {
                rest = quoted(after, &mut out);
                continue;
            }
            if let Some(after) = rest.strip_prefix("\\\"") {
                out.push('"');
                rest = after;
                continue;
            }
            let mut style = Style::default();
            let mut after = rest;
            loop {
                if let Some(cut) = after.strip_prefix("FM").or_else(|| after.strip_prefix("fm")) {
                    style.fill = true;
                    after = cut;
                } else if after.starts_with("TM") || after.starts_with("tm") {
                    return Err(EvalError::text("to_char() with TM is not supported"));
                } else {
                    break;
                }
            }
            if let Some((keyword, lower, cut)) = keyword(after) {
                let start = out.len();
                let is_number = self.put(keyword, lower, style, &mut out)?;
                rest = cut;
                for (suffix, upper) in [("TH", true), ("th", false)] {
                    if let Some(cut) = rest.strip_prefix(suffix) {
                        if is_number {
                            let ordinal = ordinal(&out[start..]);
                            out.push_str(&if upper {
                                ordinal.to_uppercase()
                            } else {
                                ordinal.into()
                            });
                        }
                        rest = cut;
                        break;
                    }
                }
                continue;
            }
            let Some(letter) = after.chars().next() else { break };
            out.push(letter);
            rest = &after[letter.len_utf8()..];
        }
        Ok(out)
    }

    /// Writes one keyword; whether it is a number.
    fn put(&self, keyword: &str, lower: bool, style: Style, out: &mut String) -> Result<bool> {
        let Civil { year, month, day, micros } = self.civil;
        let (hour, minute, second) =
            (micros / (3_600 * SECOND), micros / (60 * SECOND) % 60, micros / SECOND % 60);
        let fraction = micros % SECOND;
        let shown = if year <= 0 { 1 - year } else { year };
        let day_of_year = self.days - days_of(year, 1, 1) + 1;
        let weekday = (self.days + 6).rem_euclid(7);
        let (iso_year, iso_week) = iso(self.days, year);
        let iso_shown = if iso_year <= 0 { 1 - iso_year } else { iso_year };
        let number = |out: &mut String, value: i64, width: usize| {
            let width = if style.fill { 0 } else { width };
            let written = write!(out, "{value:0width$}");
            debug_assert!(written.is_ok(), "a String takes all");
        };
        let name = |out: &mut String, name: &str, width: usize| {
            let name = match keyword.as_bytes() {
                [b'A'..=b'Z', b'A'..=b'Z' | b'.', ..] if lower => name.to_lowercase(),
                [b'A'..=b'Z', b'A'..=b'Z' | b'.', ..] => name.to_uppercase(),
                _ => name.to_owned(),
            };
            let width = if style.fill { 0 } else { width };
            let written = write!(out, "{name:width$}");
            debug_assert!(written.is_ok(), "a String takes all");
        };
        let era = if year <= 0 { "BC" } else { "AD" };
        let half = if hour >= 12 { "PM" } else { "AM" };
        let dotted = |of: &str| format!("{}.{}.", &of[..1], &of[1..]);
        let month_at = usize::try_from(month - 1).unwrap_or(0);
        let weekday_at = usize::try_from(weekday).unwrap_or(0);
        match keyword {
            "A.D." | "B.C." => name(out, &dotted(era), 0),
            "AD" | "BC" => name(out, era, 0),
            "A.M." | "P.M." => name(out, &dotted(half), 0),
            "AM" | "PM" => name(out, half, 0),
            "DAY" | "Day" => name(out, DAYS[weekday_at], 9),
            "DY" | "Dy" => name(out, &DAYS[weekday_at][..3], 0),
            "MONTH" | "Month" => name(out, MONTHS[month_at], 9),
            "MON" | "Mon" => name(out, &MONTHS[month_at][..3], 0),
            "RM" => name(out, ROMAN[month_at], 4),
            "TZ" => {
                if self.zoned {
                    name(out, "UTC", 0);
                }
            }
            "TZH" | "OF" => out.push_str("+00"),
            "TZM" => out.push_str("00"),
            "FX" => {}
            _ => {
                match keyword {
                    "DDD" => number(out, day_of_year, 3),
                    "DD" => number(out, day, 2),
                    "D" => number(out, weekday + 1, 0),
                    "ID" => number(out, if weekday == 0 { 7 } else { weekday }, 0),
                    "IDDD" => number(out, self.day_of_iso_year(iso_year), 3),
                    "HH24" => number(out, hour, 2),
                    "HH12" | "HH" => number(out, (hour + 11) % 12 + 1, 2),
                    "MI" => number(out, minute, 2),
                    "SS" => number(out, second, 2),
                    "SSSSS" | "SSSS" => number(out, micros / SECOND, 0),
                    "MS" | "FF3" => out.push_str(&format!("{:03}", fraction / 1_000)),
                    "US" | "FF6" => out.push_str(&format!("{fraction:06}")),
                    "FF1" => out.push_str(&format!("{:01}", fraction / 100_000)),
                    "FF2" => out.push_str(&format!("{:02}", fraction / 10_000)),
                    "FF4" => out.push_str(&format!("{:04}", fraction / 100)),
                    "FF5" => out.push_str(&format!("{:05}", fraction / 10)),
                    "MM" => number(out, month, 2),
                    "IW" => number(out, iso_week, 2),
                    "WW" => number(out, (day_of_year - 1) / 7 + 1, 2),
                    "W" => number(out, (day - 1) / 7 + 1, 0),
                    "Q" => number(out, (month - 1) / 3 + 1, 0),
                    "J" => number(out, self.days + JULIAN, 0),
                    "CC" => {
                        let century = if year > 0 { (year - 1) / 100 + 1 } else { year / 100 - 1 };
                        number(out, century, if century < 0 { 3 } else { 2 });
                    }
                    "Y,YYY" => out.push_str(&format!("{},{:03}", shown / 1_000, shown % 1_000)),
                    "YYYY" => number(out, shown, 4),
                    "YYY" => number(out, shown % 1_000, 3),
                    "YY" => number(out, shown % 100, 2),
                    "Y" => number(out, shown % 10, 1),
                    "IYYY" => number(out, iso_shown, 4),
                    "IYY" => number(out, iso_shown % 1_000, 3),
                    "IY" => number(out, iso_shown % 100, 2),
                    "I" => number(out, iso_shown % 10, 1),
                    other => unreachable!("{other} is no keyword"),
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn day_of_iso_year(&self, iso_year: i64) -> i64 {
        // The week of January 4th is the first.
        let fourth = days_of(iso_year, 1, 4);
        self.days - (fourth - (fourth + 5).rem_euclid(7)) + 1
    }
}

/// Up to the closing quote, a backslash taking what follows as it is.
fn quoted<'p>(pattern: &'p str, out: &mut String) -> &'p str {
    let mut letters = pattern.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return &pattern[at + 1..],
            '\\' => out.extend(letters.next().map(|(_, letter)| letter)),
            letter => out.push(letter),
        }
    }
    ""
}

/// The keyword that the pattern begins with, in upper case, and whether it was not.
pub(super) fn keyword(pattern: &str) -> Option<(&'static str, bool, &str)> {
    KEYWORDS.iter().find_map(|&keyword| {
        if let Some(rest) = pattern.strip_prefix(keyword) {
            return Some((keyword, false, rest));
        }
        let mixed = keyword.as_bytes().get(1).is_some_and(u8::is_ascii_lowercase);
        let rest = pattern.strip_prefix(&*keyword.to_ascii_lowercase()).filter(|_| !mixed)?;
        Some((keyword, true, rest))
    })
}

/// What an English number ends with.
fn ordinal(number: &str) -> &'static str {
    let digits = number.as_bytes();
    if digits.len() > 1 && digits[digits.len() - 2] == b'1' {
        return "th";
    }
    match digits.last() {
        Some(b'1') => "st",
        Some(b'2') => "nd",
        Some(b'3') => "rd",
        _ => "th",
    }
}
