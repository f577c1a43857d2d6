//! interval in Postgres' own style. Postgres compares intervals by their length with months of 30
//! days: the datum is that length as whole days and remaining microseconds, then months and days,
//! from which the fields come back; four integers of `int`. The infinities of newer servers are one
//! integer alone, the end of its range.

use super::int;
use super::time::{DAY, SECOND, put_minutes_seconds, put_two, take_minutes_seconds};

const DAYS_OF_MONTH: i64 = 30;
const MONTHS_OF_YEAR: i64 = 12;
const HOUR: i64 = 3_600 * SECOND;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fields {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interval {
    NegativeInfinity,
    Infinity,
    Finite(Fields),
}

pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match text {
        b"infinity" => int::put(i64::MAX, out),
        b"-infinity" => int::put(i64::MIN, out),
        _ => {
            let fields = Fields::parse(text)?;
            // There is one way to print it: other orders, zeros and signs are refused.
            let start = out.len();
            fields.write(out);
            let printed = out.get(start..) == Some(text);
            out.truncate(start);
            if !printed {
                return None;
            }
            Interval::Finite(fields).put(out);
        }
    }
    Some(())
}

/// Appends the datum of an interval.
pub fn put(interval: Interval, out: &mut Vec<u8>) {
    interval.put(out);
}

impl Interval {
    /// Appends the datum.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Interval::Infinity => int::put(i64::MAX, out),
            Interval::NegativeInfinity => int::put(i64::MIN, out),
            Interval::Finite(fields) => {
                let days = i64::from(fields.months) * DAYS_OF_MONTH
                    + i64::from(fields.days)
                    + fields.micros.div_euclid(DAY);
                int::put(days, out);
                int::put(fields.micros.rem_euclid(DAY), out);
                int::put(fields.months.into(), out);
                int::put(fields.days.into(), out);
            }
        }
    }

    /// What Postgres compares by: microseconds, with months of 30 days.
    pub fn length(&self) -> i128 {
        match self {
            Interval::Infinity => i128::MAX,
            Interval::NegativeInfinity => i128::MIN,
            Interval::Finite(fields) => {
                let days =
                    i128::from(fields.months) * i128::from(DAYS_OF_MONTH) + i128::from(fields.days);
                days * i128::from(DAY) + i128::from(fields.micros)
            }
        }
    }
}

/// The part of a datum by which Postgres compares: what 1 mon and 30 days have in common.
pub(super) fn order_part(datum: &[u8]) -> Option<&[u8]> {
    let (days, rest) = int::take(datum)?;
    let rest = if matches!(days, i64::MAX | i64::MIN) { rest } else { int::take(rest)?.1 };
    datum.get(..datum.len() - rest.len())
}

pub(super) fn len(bytes: &[u8]) -> Option<usize> {
    take(bytes).map(|(_, rest)| bytes.len() - rest.len())
}

/// The value of a datum.
pub fn decode(datum: &[u8]) -> Option<Interval> {
    match take(datum)? {
        (interval, []) => Some(interval),
        _ => None,
    }
}

fn take(bytes: &[u8]) -> Option<(Interval, &[u8])> {
    let (length_days, rest) = int::take(bytes)?;
    match length_days {
        i64::MAX => return Some((Interval::Infinity, rest)),
        i64::MIN => return Some((Interval::NegativeInfinity, rest)),
        _ => {}
    }
    let (remainder, rest) = int::take(rest)?;
    let (months, rest) = int::take(rest)?;
    let (days, rest) = int::take(rest)?;
    let (months, days) = (i32::try_from(months).ok()?, i32::try_from(days).ok()?);
    // The whole days alone can be out of range where the sum is not.
    let whole_days =
        length_days.checked_sub(i64::from(months) * DAYS_OF_MONTH)?.checked_sub(days.into())?;
    let micros = i128::from(whole_days) * i128::from(DAY) + i128::from(remainder);
    let micros = i64::try_from(micros).ok()?;
    Some((Interval::Finite(Fields { months, days, micros }), rest))
}

pub(super) fn write_text(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match decode(datum)? {
        Interval::Infinity => out.extend_from_slice(b"infinity"),
        Interval::NegativeInfinity => out.extend_from_slice(b"-infinity"),
        Interval::Finite(fields) => fields.write(out),
    }
    Some(())
}

impl Fields {
    /// `1 year 2 mons -3 days +04:05:06.789`: each field at most once, the time last.
    fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = Fields::default();
        let mut parts = text.split(|&byte| byte == b' ');
        let mut months = 0i64;
        while let Some(part) = parts.next() {
            if part.contains(&b':') {
                fields.micros = parse_time(part)?;
                break;
            }
            let number = parse_number(part)?;
            match parts.next()? {
                b"year" | b"years" => months += number.checked_mul(MONTHS_OF_YEAR)?,
                b"mon" | b"mons" => months += number,
                b"day" | b"days" => fields.days = i32::try_from(number).ok()?,
                _ => return None,
            }
        }
        fields.months = i32::try_from(months).ok()?;
        Some(fields)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let months = i64::from(self.months);
        let parts = [
            (months / MONTHS_OF_YEAR, "year"),
            (months % MONTHS_OF_YEAR, "mon"),
            (i64::from(self.days), "day"),
        ];
        let mut first = true;
        // A field after a negative one shows its sign.
        let mut after_negative = false;
        for (number, unit) in parts {
            if number == 0 {
                continue;
            }
            if !first {
                out.push(b' ');
            }
            if after_negative && number > 0 {
                out.push(b'+');
            }
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            out.push(b' ');
            out.extend_from_slice(unit.as_bytes());
            if number != 1 {
                out.push(b's');
            }
            first = false;
            after_negative = number < 0;
        }
        if self.micros != 0 || first {
            if !first {
                out.push(b' ');
            }
            if self.micros < 0 {
                out.push(b'-');
            } else if after_negative {
                out.push(b'+');
            }
            put_time(self.micros, out);
        }
    }
}

/// Hours, at least two digits, minutes, seconds; the sign apart.
fn put_time(micros: i64, out: &mut Vec<u8>) {
    let hours = (micros / HOUR).abs();
    if hours < 100 {
        put_two(hours, out);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(hours).as_bytes());
    }
    out.push(b':');
    put_minutes_seconds((micros % HOUR).abs(), out);
}

fn parse_time(text: &[u8]) -> Option<i64> {
    let (negative, text) = match text {
        [b'-', text @ ..] => (true, text),
        [b'+', text @ ..] => (false, text),
        text => (false, text),
    };
    let (hours, rest) = text.split_at_checked(memchr::memchr(b':', text)?)?;
    let hours = parse_digits(hours)?;
    let [b':', m1, m2, b':', s1, s2, rest @ ..] = rest else { return None };
    let (below_hour, []) = take_minutes_seconds(&[*m1, *m2], &[*s1, *s2], rest)? else {
        return None;
    };
    // The least value has no positive counterpart.
    if negative {
        hours.checked_mul(-HOUR)?.checked_sub(below_hour)
    } else {
        hours.checked_mul(HOUR)?.checked_add(below_hour)
    }
}

fn parse_number(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => Some(-parse_digits(digits)?),
        [b'+', digits @ ..] => parse_digits(digits),
        digits => parse_digits(digits),
    }
}

fn parse_digits(digits: &[u8]) -> Option<i64> {
    let valid = (1..=10).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    valid.then(|| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn datum(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text.as_bytes(), &mut out).unwrap_or_else(|| panic!("{text}"));
        out
    }

    fn text(datum: &[u8]) -> String {
        let mut out = Vec::new();
        write_text(datum, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn in_order_and_back() {
        let mut before = Vec::new();
        for expected in [
            "-infinity",
            "-178956970 years -8 mons -2147483648 days -2562047788:00:54.775808",
            "-1 years",
            "-01:00:00",
            "-1 days +23:59:59.999",
            "-00:00:00.000001",
            "00:00:00",
            "00:00:01.5",
            "23:59:59",
            "29 days 23:00:00",
            "1 mon 1 day -01:00:00",
            "-1 mons +61 days",
            "1 year 2 mons -3 days +04:05:06.789",
            "100 years 00:00:01",
            "178956970 years 7 mons 2147483647 days 2562047788:00:54.775807",
            "infinity",
        ] {
            let datum = datum(expected);
            assert_eq!(text(&datum), expected);
            assert_eq!(len(&datum), Some(datum.len()));
            assert!(before < datum, "{expected}");
            before = datum;
        }
    }

    #[test]
    fn equal_lengths_share_the_leading_bytes() {
        let (month, days) = (datum("1 mon"), datum("30 days"));
        assert_eq!(month[..2], days[..2]);
        assert_ne!(month, days);
    }

    #[test]
    fn refuses_what_postgres_does_not_print() {
        for text in [
            "",
            " ",
            "1",
            "1 year ",
            "1 years",
            "0 days",
            "1 day 2 days",
            "1 mon 1 year",
            "13 mons",
            "24:00",
            "1:00:00",
            "+01:00:00",
            "00:60:00",
            "1 day 00:00:00",
            "P1D",
            "@ 1 day",
            "00:00:00.10",
            "9999999999 days",
            "99999999999 days",
            "2562047789:00:00",
        ] {
            assert_eq!(encode(text.as_bytes(), &mut Vec::new()), None, "{text}");
        }
    }

    fn fields() -> impl Strategy<Value = Fields> {
        let small = -40i32..40;
        (
            prop_oneof![any::<i32>(), small.clone()],
            prop_oneof![any::<i32>(), small.clone()],
            prop_oneof![any::<i64>(), small.prop_map(|days| i64::from(days) * DAY)],
        )
            .prop_map(|(months, days, micros)| Fields { months, days, micros })
    }

    proptest! {
        #[test]
        fn text_comes_back_and_order_is_the_length(a in fields(), b in fields()) {
            let printed = |fields: &Fields| {
                let mut out = Vec::new();
                fields.write(&mut out);
                String::from_utf8(out).unwrap()
            };
            let length = |fields: &Fields| {
                let days = i128::from(fields.months) * 30 + i128::from(fields.days);
                days * i128::from(DAY) + i128::from(fields.micros)
            };
            let (x, y) = (datum(&printed(&a)), datum(&printed(&b)));
            prop_assert_eq!(decode(&x), Some(Interval::Finite(a)));
            prop_assert_eq!(text(&x), printed(&a));
            if length(&a) != length(&b) {
                prop_assert_eq!(x.cmp(&y), length(&a).cmp(&length(&b)));
            }
        }
    }
}
