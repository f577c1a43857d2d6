//! `to_date` and `to_timestamp`: times read by a pattern, as `formatting.c` does (DCH_from_char).
//!
//! Patterns have a year, and the fields that most have: others are refused, for what PostgreSQL makes of them
//! depends on one another.

use crate::value::{DAY, SECOND, days_in_month, days_of};

use super::super::super::eval::{EvalError, Result};
use super::super::time::{date, timestamp};
use super::super::{Table, Typed};
use super::time::{MONTHS, keyword};

pub(super) fn register(table: &mut Table) {
    table.add("to_date(text,text)", |_, a| {
        date(Some(Fields::read(a[0].str(), a[1].str())?.days()?))
    });
    table.add("to_timestamp(text,text)", |_, a| {
        let fields = Fields::read(a[0].str(), a[1].str())?;
        let micros = fields.micros()?;
        timestamp(fields.days()?.checked_mul(DAY).and_then(|start| start.checked_add(micros)))
    });
}

/// A part of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Field {
        of: Field,
        /// Digits that it has.
        width: usize,
        /// FM, which takes all digits that there are.
        fill: bool,
        /// TH, for which two letters are passed over.
        ordinal: bool,
    },
    /// Characters are whatever they are.
    Fixed,
    Space,
    Separator,
    Letter {
        is_digit: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    MonthName {
        full: bool,
    },
    Day,
    Hour {
        of_twelve: bool,
    },
    Minute,
    Second,
    Millisecond,
    /// Of so many digits.
    Fraction,
    Half {
        dotted: bool,
    },
}

impl Field {
    fn is_digits(self) -> bool {
        !matches!(self, Field::MonthName { .. } | Field::Half { .. })
    }
}

/// What has been read; 0 is what nothing said.
#[derive(Default)]
struct Fields {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    milliseconds: i64,
    micros: i64,
    afternoon: i64,
    of_twelve: bool,
}

fn refuse(what: &str) -> EvalError {
    EvalError::new(format!("to_date() and to_timestamp() with {what} are not supported"))
}

fn parts(pattern: &str) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let letter = |letter: char| Part::Letter { is_digit: letter.is_ascii_digit() };
        if first == '"' {
            let mut letters = rest[1..].chars();
            while let Some(next) = letters.next() {
                match next {
                    '"' => break,
                    '\\' => parts.extend(letters.next().map(letter)),
                    next => parts.push(letter(next)),
                }
            }
            rest = letters.as_str();
            continue;
        }
        let (mut fill, mut after) = (false, rest);
        while let Some(cut) = after.strip_prefix("FM").or_else(|| after.strip_prefix("fm")) {
            (fill, after) = (true, cut);
        }
        if after.starts_with("TM") || after.starts_with("tm") {
            return Err(refuse("TM"));
        }
        let Some((keyword, _, mut cut)) = keyword(after) else {
            let Some(first) = after.chars().next() else { break };
            rest = &after[first.len_utf8()..];
            parts.push(match first {
                '\\' if rest.starts_with('"') => {
                    rest = &rest[1..];
                    letter('"')
                }
                first if is_separator(first) => Part::Separator,
                first if is_space(first) => Part::Space,
                first => letter(first),
            });
            continue;
        };
        let behind = cut.strip_prefix("TH").or_else(|| cut.strip_prefix("th"));
        cut = behind.unwrap_or(cut);
        if cut.starts_with("SP") || cut.starts_with("sp") {
            return Err(refuse("SP"));
        }
        rest = cut;
        let (of, width) = match keyword {
            "YYYY" => (Field::Year, 4),
            "YYY" => (Field::Year, 3),
            "YY" => (Field::Year, 2),
            "MM" => (Field::Month, 2),
            "MONTH" | "Month" => (Field::MonthName { full: true }, 0),
            "MON" | "Mon" => (Field::MonthName { full: false }, 0),
            "DD" => (Field::Day, 2),
            "HH24" => (Field::Hour { of_twelve: false }, 2),
            "HH12" | "HH" => (Field::Hour { of_twelve: true }, 2),
            "MI" => (Field::Minute, 2),
            "SS" => (Field::Second, 2),
            "MS" => (Field::Millisecond, 3),
            "US" | "FF6" => (Field::Fraction, 6),
            "FF1" => (Field::Fraction, 1),
            "FF2" => (Field::Fraction, 2),
            "FF3" => (Field::Fraction, 3),
            "FF4" => (Field::Fraction, 4),
            "FF5" => (Field::Fraction, 5),
            "AM" | "PM" => (Field::Half { dotted: false }, 0),
            "A.M." | "P.M." => (Field::Half { dotted: true }, 0),
            "FX" => {
                parts.push(Part::Fixed);
                continue;
            }
            other => return Err(refuse(other)),
        };
        parts.push(Part::Field { of, width, fill, ordinal: behind.is_some() });
    }
    let is_year = |part: &Part| matches!(part, Part::Field { of: Field::Year, .. });
    if !parts.iter().any(is_year) {
        return Err(refuse("a pattern without a year"));
    }
    Ok(parts)
}

impl Fields {
    fn read(text: &str, pattern: &str) -> Result<Self> {
        let parts = parts(pattern)?;
        let mut fields = Fields::default();
        let mut rest = text;
        let (mut fixed, mut skipped) = (false, 0i64);
        let spaces = |rest: &mut &str| {
            let cut = rest.trim_start_matches(is_space);
            let count = rest.len() - cut.len();
            *rest = cut;
            i64::try_from(count).unwrap_or(i64::MAX)
        };
        for (at, part) in parts.iter().enumerate() {
            if rest.is_empty() {
                break;
            }
            let is_action = matches!(part, Part::Field { .. } | Part::Fixed);
            if !fixed && (is_action || at == 0) {
                skipped += spaces(&mut rest);
            }
            match *part {
                Part::Fixed => fixed = true,
                Part::Space | Part::Separator if fixed => pass(&mut rest),
                Part::Space | Part::Separator => {
                    skipped -= 1;
                    let next = rest.chars().next();
                    if next.is_some_and(|next| is_space(next) || is_separator(next)) {
                        pass(&mut rest);
                        skipped += 1;
                    }
                }
                Part::Letter { .. } if !fixed && skipped > 0 => skipped -= 1,
                Part::Letter { .. } => pass(&mut rest),
                Part::Field { of, width, fill, ordinal } => {
                    let greedy = fill || ordinal || ends_a_number(parts.get(at + 1));
                    fields.field(of, width, greedy, &mut rest)?;
                    if ordinal {
                        pass(&mut rest);
                        pass(&mut rest);
                    }
                }
            }
            if is_action && !fixed {
                skipped = spaces(&mut rest);
            }
        }
        Ok(fields)
    }

    fn field(&mut self, of: Field, width: usize, greedy: bool, rest: &mut &str) -> Result<()> {
        if !of.is_digits() {
            return self.name(of, rest);
        }
        let (value, digits) = number(rest, width, greedy)?;
        let fraction = |places: usize| {
            let missing = places.saturating_sub(digits);
            value * 10_i64.pow(u32::try_from(missing).unwrap_or(0))
        };
        match of {
            Field::Year => {
                let value = if width < 4 && digits < 4 { near_2020(value) } else { value };
                set(&mut self.year, value)
            }
            Field::Month => set(&mut self.month, value),
            Field::Day => set(&mut self.day, value),
            Field::Hour { of_twelve } => {
                self.of_twelve |= of_twelve;
                set(&mut self.hour, value)
            }
            Field::Minute => set(&mut self.minute, value),
            Field::Second => set(&mut self.second, value),
            Field::Millisecond => {
                set(&mut self.milliseconds, value)?;
                self.milliseconds = fraction(3);
                Ok(())
            }
            Field::Fraction => {
                set(&mut self.micros, value)?;
                self.micros = fraction(6);
                Ok(())
            }
            Field::MonthName { .. } | Field::Half { .. } => Ok(()),
        }
    }

    fn name(&mut self, of: Field, rest: &mut &str) -> Result<()> {
        let (names, destination): (Vec<&str>, _) = match of {
            Field::Half { dotted } => {
                self.of_twelve = true;
                let names = if dotted { vec!["a.m.", "p.m."] } else { vec!["am", "pm"] };
                (names, &mut self.afternoon)
            }
            Field::MonthName { full: true } => (MONTHS.to_vec(), &mut self.month),
            _ => (MONTHS.iter().map(|month| &month[..3]).collect(), &mut self.month),
        };
        let begins = |name: &&str| {
            rest.get(..name.len()).is_some_and(|text| text.eq_ignore_ascii_case(name))
        };
        let Some(at) = names.iter().position(begins) else {
            return Err(EvalError::text("invalid value for a field of the pattern"));
        };
        *rest = &rest[names[at].len()..];
        let first = i64::from(matches!(of, Field::MonthName { .. }));
        set(destination, i64::try_from(at).unwrap_or(0) + first)
    }

    fn days(&self) -> Result<i64> {
        self.micros()?;
        let out_of_range = EvalError::text("date/time field value out of range");
        // Before the year 1 there is 1 BC, which is 0 here; and -1 says so as well.
        let year = if self.year < 0 { self.year + 1 } else { self.year };
        let (month, day) = (self.month, self.day);
        let (month, day) = (if month == 0 { 1 } else { month }, if day == 0 { 1 } else { day });
        let last = u8::try_from(month).ok().and_then(|month| days_in_month(year, month));
        match last {
            Some(last) if (1..=last).contains(&day) => {}
            _ => return Err(out_of_range),
        }
        match (-4_713..5_874_898).contains(&year) {
            true => Ok(days_of(year, month, day)),
            false => Err(EvalError::text("date out of range")),
        }
    }

    /// Of the day.
    fn micros(&self) -> Result<i64> {
        let mut hour = self.hour;
        if self.of_twelve {
            match hour {
                12 => hour = 12 * self.afternoon,
                1..12 => hour += 12 * self.afternoon,
                _ => return Err(EvalError::text("hour is invalid for the 12-hour clock")),
            }
        }
        let fraction = self.milliseconds * 1_000 + self.micros;
        let is_in_range = (0..24).contains(&hour)
            && (0..60).contains(&self.minute)
            && (0..60).contains(&self.second)
            && (0..SECOND).contains(&fraction);
        match is_in_range {
            true => Ok((hour * 3_600 + self.minute * 60 + self.second) * SECOND + fraction),
            false => Err(EvalError::text("date/time field value out of range")),
        }
    }
}

/// Two fields that say different things are an error.
fn set(field: &mut i64, value: i64) -> Result<()> {
    if *field != 0 && *field != value {
        return Err(EvalError::text("conflicting values for a field of the pattern"));
    }
    *field = value;
    Ok(())
}

/// An integer as strtol reads it, and how many characters it took.
fn number(rest: &mut &str, width: usize, greedy: bool) -> Result<(i64, usize)> {
    let invalid = || EvalError::text("invalid value for a field of the pattern");
    let whole = rest.trim_start_matches(is_space);
    let available = match greedy {
        true => whole,
        false => match whole.as_bytes().get(..width) {
            None => return Err(EvalError::text("source string too short for a field")),
            Some(bytes) => std::str::from_utf8(bytes).unwrap_or(whole),
        },
    };
    let unsigned = available.strip_prefix(['+', '-']).unwrap_or(available);
    let digits = unsigned.len() - unsigned.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let used = match digits {
        0 => 0,
        _ => available.len() - unsigned.len() + digits,
    };
    if used == 0 || !greedy && used < width {
        return Err(invalid());
    }
    let value: i32 = available[..used].parse().map_err(|_| invalid())?;
    let before = rest.len();
    *rest = &whole[used..];
    Ok((value.into(), before - rest.len()))
}

/// Whether a number before this part ends by itself.
fn ends_a_number(next: Option<&Part>) -> bool {
    match next {
        Some(Part::Field { of, .. }) => !of.is_digits(),
        Some(Part::Letter { is_digit }) => !is_digit,
        Some(Part::Fixed | Part::Space | Part::Separator) | None => true,
    }
}

/// Years of less than four digits are those nearest to 2020.
fn near_2020(year: i64) -> i64 {
    match year {
        ..70 => year + 2_000,
        70..100 => year + 1_900,
        100..520 => year + 2_000,
        520..1_000 => year + 1_000,
        _ => year,
    }
}

fn pass(rest: &mut &str) {
    let mut letters = rest.chars();
    letters.next();
    *rest = letters.as_str();
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

fn is_separator(letter: char) -> bool {
    letter.is_ascii_graphic() && !letter.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_read_or_refused() {
        let texts = ["", "2024-02-31", "ä", "2024ä-05", "99999999999-1", "2024-1 -2", "-5-1-1"];
        let patterns =
            ["", "YYYY-MM-DD", "YYYYMMDD", "FXYYYY\"ä\"MM", "YYTHMonDD", "\"", "FM", "\\\"YY"];
        for text in texts {
            for pattern in patterns {
                // It does not panic.
                let _ = Fields::read(text, pattern).and_then(|fields| fields.days());
            }
        }
    }
}
