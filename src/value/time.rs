//! date, time, timetz, timestamp and timestamptz as integers of `int`: days or microseconds since
//! 2000-01-01 in the proleptic Gregorian calendar, with the ends of the range as the infinities.
//! timetz is ordered as Postgres does, by its moment in UTC, then by its zone.

use super::int;

/// In microseconds.
pub const SECOND: i64 = 1_000_000;
/// In microseconds.
pub const DAY: i64 = 86_400 * SECOND;

/// Beyond every date (5874897 AD) and every timestamp (294276 AD).
pub const INFINITY: i64 = i64::MAX;
pub const NEGATIVE_INFINITY: i64 = i64::MIN;

/// Days from 1970-01-01 to 2000-01-01.
pub(super) const EPOCH_DAYS: i64 = 10_957;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    None,
    Utc,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As DateStyle ISO prints it.
    Sql,
    /// As it is in JSON.
    Iso8601,
}

// --- What is read ---------------------------------------------------------------------------------

pub(super) fn encode_date(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let days = match infinity(text) {
        Some(infinity) => infinity,
        None => {
            let (date, rest) = Date::take(text)?;
            date.days(rest)?
        }
    };
    int::put(days, out);
    Some(())
}

pub(super) fn encode_timestamp(text: &[u8], zone: Zone, out: &mut Vec<u8>) -> Option<()> {
    let micros = match infinity(text) {
        Some(infinity) => infinity,
        None => {
            let (date, rest) = Date::take(text)?;
            let (time, rest) = take_time(rest.strip_prefix(b" ")?)?;
            let rest = match zone {
                Zone::Utc => rest.strip_prefix(b"+00")?,
                Zone::None => rest,
            };
            let micros = date.days(rest)?.checked_mul(DAY)?.checked_add(time)?;
            if time >= DAY || micros == INFINITY || micros == NEGATIVE_INFINITY {
                return None;
            }
            micros
        }
    };
    int::put(micros, out);
    Some(())
}

pub(super) fn encode_time(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (micros, []) = take_time(text)? else { return None };
    int::put(micros, out);
    Some(())
}

pub(super) fn encode_time_tz(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (micros, zone) = take_time(text)?;
    let (sign, zone) = zone.split_first()?;
    let mut parts = zone.split(|&byte| byte == b':').map(two_digits);
    let hours = parts.next()??;
    let (minutes, seconds) = (parts.next(), parts.next());
    // A part is printed when it or a smaller one is not zero.
    if parts.next().is_some()
        || seconds == Some(Some(0))
        || (minutes == Some(Some(0)) && seconds.is_none())
    {
        return None;
    }
    let (minutes, seconds) = (minutes.unwrap_or(Some(0))?, seconds.unwrap_or(Some(0))?);
    let offset = (hours * 60 + minutes) * 60 + seconds;
    // Postgres counts zones westwards.
    let west = match sign {
        b'+' => -offset,
        b'-' if offset != 0 => offset,
        _ => return None,
    };
    if minutes > 59 || seconds > 59 {
        return None;
    }
    int::put(micros + west * SECOND, out);
    int::put(west, out);
    Some(())
}

fn infinity(text: &[u8]) -> Option<i64> {
    match text {
        b"infinity" => Some(INFINITY),
        b"-infinity" => Some(NEGATIVE_INFINITY),
        _ => None,
    }
}

struct Date {
    year: i64,
    month: u8,
    day: i64,
}

impl Date {
    /// `YYYY-MM-DD` with as many digits for the year as it needs, and what follows.
    fn take(text: &[u8]) -> Option<(Self, &[u8])> {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (year, rest) = text.split_at_checked(digits)?;
        if !(4..=7).contains(&digits) || (digits > 4 && year.first() == Some(&b'0')) {
            return None;
        }
        let year = year.iter().fold(0, |year, digit| year * 10 + i64::from(digit - b'0'));
        let [b'-', m1, m2, b'-', d1, d2, rest @ ..] = rest else { return None };
        let month = u8::try_from(two_digits(&[*m1, *m2])?).ok()?;
        let day = two_digits(&[*d1, *d2])?;
        (year > 0).then_some((Date { year, month, day }, rest))
    }

    /// Days since 2000-01-01, given what ends the text: nothing or ` BC`.
    fn days(&self, era: &[u8]) -> Option<i64> {
        let year = match era {
            b"" => self.year,
            b" BC" => 1 - self.year,
            _ => return None,
        };
        (1..=days_in_month(year, self.month)?)
            .contains(&self.day)
            .then(|| days_of(year, self.month.into(), self.day))
    }
}

/// `None` for what is no month.
pub fn days_in_month(year: i64, month: u8) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

/// Days since 2000-01-01. Counted in eras of 400 years that begin in March, so that the leap day ends
/// a year; year 0 is 1 BC.
pub fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_OF_ERA + day_of_era - MARCH_OF_YEAR_0 - EPOCH_DAYS
}

const DAYS_OF_ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const MARCH_OF_YEAR_0: i64 = 719_468;

/// Year, month and day of the days since 2000-01-01.
pub fn date_of(days: i64) -> Option<(i64, i64, i64)> {
    let days = days.checked_add(EPOCH_DAYS + MARCH_OF_YEAR_0)?;
    let era = days.div_euclid(DAYS_OF_ERA);
    let day_of_era = days.rem_euclid(DAYS_OF_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Some((year, month, day))
}

fn two_digits(text: &[u8]) -> Option<i64> {
    match text {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => None,
    }
}

/// `HH:MM:SS[.ffffff]`, up to 24:00:00, as microseconds; and what follows.
fn take_time(text: &[u8]) -> Option<(i64, &[u8])> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = text else { return None };
    let hours = two_digits(&[*h1, *h2])?;
    let (minutes_seconds, rest) = take_minutes_seconds(&[*m1, *m2], &[*s1, *s2], rest)?;
    let micros = hours * 3_600 * SECOND + minutes_seconds;
    (micros <= DAY).then_some((micros, rest))
}

/// Minutes, seconds and the fraction that `rest` may begin with, as microseconds.
pub(super) fn take_minutes_seconds<'a>(
    minutes: &[u8],
    seconds: &[u8],
    rest: &'a [u8],
) -> Option<(i64, &'a [u8])> {
    let (minutes, seconds) = (two_digits(minutes)?, two_digits(seconds)?);
    if minutes > 59 || seconds > 59 {
        return None;
    }
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => take_fraction(rest)?,
        _ => (0, rest),
    };
    Some(((minutes * 60 + seconds) * SECOND + fraction, rest))
}

/// Up to six digits, the last one not a zero.
fn take_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(len)?;
    if len > 6 || matches!(digits.last(), None | Some(b'0')) {
        return None;
    }
    let padded = digits.iter().map(|digit| i64::from(digit - b'0')).chain(std::iter::repeat(0));
    Some((padded.take(6).fold(0, |micros, digit| micros * 10 + digit), rest))
}

// --- What is written ------------------------------------------------------------------------------

pub(super) fn write_date(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match int::decode(datum)? {
        INFINITY => out.extend_from_slice(b"infinity"),
        NEGATIVE_INFINITY => out.extend_from_slice(b"-infinity"),
        days => {
            let (year, month, day) = date_of(days)?;
            put_date(year, month, day, out);
            put_era(year, out);
        }
    }
    Some(())
}

pub(super) fn write_timestamp(
    datum: &[u8],
    zone: Zone,
    style: Style,
    out: &mut Vec<u8>,
) -> Option<()> {
    let micros = match int::decode(datum)? {
        INFINITY => {
            out.extend_from_slice(b"infinity");
            return Some(());
        }
        NEGATIVE_INFINITY => {
            out.extend_from_slice(b"-infinity");
            return Some(());
        }
        micros => micros,
    };
    let (year, month, day) = date_of(micros.div_euclid(DAY))?;
    put_date(year, month, day, out);
    out.push(if style == Style::Sql { b' ' } else { b'T' });
    put_time(micros.rem_euclid(DAY), out);
    if zone == Zone::Utc {
        out.extend_from_slice(if style == Style::Sql { b"+00" } else { b"+00:00" });
    }
    put_era(year, out);
    Some(())
}

pub(super) fn write_time(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let micros = int::decode(datum).filter(|micros| (0..=DAY).contains(micros))?;
    put_time(micros, out);
    Some(())
}

pub(super) fn write_time_tz(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (utc, west) = decode_time_tz(datum)?;
    put_time(utc - west * SECOND, out);
    let offset = west.abs();
    let (hours, minutes, seconds) = (offset / 3_600, offset / 60 % 60, offset % 60);
    out.push(if west <= 0 { b'+' } else { b'-' });
    put_two(hours, out);
    if minutes != 0 || seconds != 0 {
        out.push(b':');
        put_two(minutes, out);
    }
    if seconds != 0 {
        out.push(b':');
        put_two(seconds, out);
    }
    Some(())
}

pub(super) fn time_tz_len(bytes: &[u8]) -> Option<usize> {
    let utc = int::len(bytes)?;
    Some(utc + int::len(bytes.get(utc..)?)?)
}

/// Microseconds in UTC (not wrapped at midnight), and the zone in seconds westwards.
pub(super) fn decode_time_tz(datum: &[u8]) -> Option<(i64, i64)> {
    let (utc, rest) = int::take(datum)?;
    let west = int::decode(rest).filter(|west| west.abs() < 100 * 3_600)?;
    let local = utc.checked_sub(west * SECOND)?;
    (0..=DAY).contains(&local).then_some((utc, west))
}

fn put_date(year: i64, month: i64, day: i64, out: &mut Vec<u8>) {
    let year = if year > 0 { year } else { 1 - year };
    if year < 10_000 {
        put_two(year / 100, out);
        put_two(year % 100, out);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes());
    }
    out.push(b'-');
    put_two(month, out);
    out.push(b'-');
    put_two(day, out);
}

fn put_era(year: i64, out: &mut Vec<u8>) {
    if year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

/// Of a day's microseconds.
fn put_time(micros: i64, out: &mut Vec<u8>) {
    put_two(micros / (3_600 * SECOND), out);
    out.push(b':');
    put_minutes_seconds(micros, out);
}

/// `MM:SS[.ffffff]`, whole hours left out.
pub(super) fn put_minutes_seconds(micros: i64, out: &mut Vec<u8>) {
    let seconds = micros / SECOND;
    put_two(seconds / 60 % 60, out);
    out.push(b':');
    put_two(seconds % 60, out);
    let fraction = micros % SECOND;
    if fraction != 0 {
        out.push(b'.');
        put_two(fraction / 10_000, out);
        put_two(fraction / 100 % 100, out);
        put_two(fraction % 100, out);
        while out.pop_if(|last| *last == b'0').is_some() {}
    }
}

/// Of a number below 100.
pub(super) fn put_two(number: i64, out: &mut Vec<u8>) {
    let digit = |value: i64| {
        let [.., low] = (value % 10).to_be_bytes();
        b'0'.wrapping_add(low)
    };
    out.extend_from_slice(&[digit(number / 10), digit(number)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn date(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode_date(text.as_bytes(), &mut out).unwrap_or_else(|| panic!("{text}"));
        out
    }

    fn stamp(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode_timestamp(text.as_bytes(), Zone::Utc, &mut out).unwrap_or_else(|| panic!("{text}"));
        out
    }

    fn stamp_text(datum: &[u8], style: Style) -> String {
        let mut out = Vec::new();
        write_timestamp(datum, Zone::Utc, style, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_in_order_and_back() {
        let mut before = Vec::new();
        for expected in [
            "-infinity",
            "4714-11-24 BC",
            "0044-03-15 BC",
            "0001-12-31 BC",
            "0001-01-01",
            "1582-10-15",
            "1969-12-31",
            "1999-12-31",
            "2000-01-01",
            "2000-02-29",
            "2024-12-31",
            "9999-12-31",
            "10000-01-01",
            "5874897-12-31",
            "infinity",
        ] {
            let datum = date(expected);
            let mut text = Vec::new();
            write_date(&datum, &mut text).unwrap();
            assert_eq!(text, expected.as_bytes());
            assert!(before < datum, "{expected}");
            before = datum;
        }
        assert_eq!(int::decode(&date("2000-01-01")), Some(0));
        assert_eq!(int::decode(&date("1970-01-01")), Some(-EPOCH_DAYS));
    }

    #[test]
    fn timestamps_in_order_and_back() {
        let mut before = Vec::new();
        for expected in [
            "-infinity",
            "4714-11-24 00:00:00+00 BC",
            "0001-12-31 23:59:59.999999+00 BC",
            "0001-01-01 00:00:00+00",
            "1999-12-31 23:59:59.999999+00",
            "2000-01-01 00:00:00+00",
            "2026-11-21 09:59:00.5+00",
            "2026-11-21 09:59:00.500001+00",
            "294276-12-31 23:59:59.999999+00",
            "infinity",
        ] {
            let datum = stamp(expected);
            assert_eq!(stamp_text(&datum, Style::Sql), expected);
            assert!(before < datum, "{expected}");
            assert_ne!(datum[0], 0xFF);
            before = datum;
        }
        assert_eq!(
            stamp_text(&stamp("0044-03-15 12:00:00.5+00 BC"), Style::Iso8601),
            "0044-03-15T12:00:00.5+00:00 BC"
        );
    }

    #[test]
    fn refuses_what_postgres_does_not_print() {
        for text in [
            "",
            "2024-02-30",
            "2023-02-29",
            "0000-01-01",
            "02024-01-01",
            "24-01-01",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "2024-1-1",
            "2024-01-01 ",
            "2024-01-01 AD",
            "Infinity",
            "01/02/2024",
        ] {
            assert_eq!(encode_date(text.as_bytes(), &mut Vec::new()), None, "{text}");
        }
        for text in [
            "2024-01-01",
            "2024-01-01 00:00:00",
            "2024-01-01 00:00:00+01",
            "2024-01-01 24:00:00+00",
            "2024-01-01 00:00:60+00",
            "2024-01-01T00:00:00+00",
            "2024-01-01 00:00:00.50+00",
            "2024-01-01 00:00:00.+00",
            "2024-01-01 00:00:00.1234567+00",
            "294278-01-01 00:00:00+00",
            "9999999-01-01 00:00:00+00",
        ] {
            assert_eq!(
                encode_timestamp(text.as_bytes(), Zone::Utc, &mut Vec::new()),
                None,
                "{text}"
            );
        }
        for text in [
            "12:00:00",
            "12:00:00+2",
            "12:00:00+02:00",
            "12:00:00+02:00:00",
            "12:00:00-00",
            "24:00:01+00",
            "12:00:00+02:60",
            "12:00:00+02:30:15:00",
        ] {
            assert_eq!(encode_time_tz(text.as_bytes(), &mut Vec::new()), None, "{text}");
        }
    }

    #[test]
    fn times_with_zones_are_ordered_by_their_moment() {
        let mut before = Vec::new();
        for expected in [
            "00:00:00+15:59:59",
            "12:00:00+02:30",
            "10:00:00+00",
            "08:30:00-01:30",
            "10:30:00.5+00",
            "24:00:00-15:59",
        ] {
            let (mut datum, mut text) = (Vec::new(), Vec::new());
            encode_time_tz(expected.as_bytes(), &mut datum).unwrap();
            write_time_tz(&datum, &mut text).unwrap();
            assert_eq!(text, expected.as_bytes());
            assert_eq!(time_tz_len(&datum), Some(datum.len()));
            assert!(before < datum, "{expected}");
            before = datum;
        }
    }

    proptest! {
        #[test]
        fn every_moment_comes_back(micros in -211_813_488_000_000_000i64..9_223_371_331_200_000_000) {
            let mut datum = Vec::new();
            int::put(micros, &mut datum);
            let text = stamp_text(&datum, Style::Sql);
            prop_assert_eq!(stamp(&text), datum);
        }
    }
}
