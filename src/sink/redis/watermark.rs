//! The watermark of a projection, and the other keys that the sink keeps for itself.
//!
//! * `readside:watermark:<projection>`: a hash for people and programs to read: `projection`, `lsn`,
//!   `committed_at`, `settled`, `generation`, `owner`, and `term` where a group has leaders; and for this sink: `reaching`, `fingerprint`
//!   (empty while the generation is being filled: there is nothing to go on from), `history`,
//!   `committed_us` and `step`, a token that each script replaces. A script only runs over the token that its sender
//!   last saw (the *fence*): a script that was sent before a connection broke and runs after its
//!   repetition changes nothing.
//! * `readside:reverse:<projection>:<fingerprint>`: where rows stand that cannot be found otherwise
//!   (`target.rs`).
//! * `readside:refused:{readside:watermark:<projection>}`: what was refused and would not be sent again, by the
//!   entry's key (`refused.rs`); in a cluster it lies where the watermark does.
//! * `readside:shapes:<projection>`: fingerprint -> templates, of every generation that may have
//!   left entries (`swap.rs`).

use std::collections::HashMap;

use crate::lsn::Lsn;
use crate::sink::Watermark;

pub(super) fn key(projection: &str) -> String {
    format!("readside:watermark:{projection}")
}

pub(super) fn reverse_key(projection: &str, fingerprint: &str) -> String {
    format!("readside:reverse:{projection}:{fingerprint}")
}

pub(super) fn refused_key(projection: &str) -> String {
    format!("readside:refused:{{{}}}", key(projection))
}

pub(super) fn shapes_key(projection: &str) -> String {
    format!("readside:shapes:{projection}")
}

/// `None`: absent, or not a watermark that this version wrote.
pub(super) fn read(fields: &HashMap<String, String>) -> Option<Watermark> {
    let flag = |name| match fields.get(name).map(String::as_str) {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    let lsn: Lsn = fields.get("lsn")?.parse().ok()?;
    let settled = flag("settled")?;
    let reaching = fields.get("reaching")?.parse().ok()?;
    Some(Watermark {
        lsn,
        reaching: if settled { lsn } else { reaching },
        committed_at: fields.get("committed_us")?.parse().ok()?,
        settled,
        generation: fields.get("generation")?.parse().ok()?,
        fingerprint: fields.get("fingerprint")?.clone(),
        history: fields.get("history")?.clone(),
        term: term(fields),
    })
}

/// Of the leader that wrote it.
pub(super) fn term(fields: &HashMap<String, String>) -> u64 {
    fields.get("term").and_then(|term| term.parse().ok()).unwrap_or(0)
}

/// All fields but `step`, which the script sets.
pub(super) fn fields(
    projection: &str,
    watermark: &Watermark,
    owner: &str,
) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("projection", projection.to_owned()),
        ("lsn", watermark.lsn.to_string()),
        ("committed_at", timestamptz_text(watermark.committed_at)),
        ("settled", watermark.settled.to_string()),
        ("generation", watermark.generation.to_string()),
        ("owner", owner.into()),
        ("reaching", watermark.reaching.to_string()),
        ("committed_us", watermark.committed_at.to_string()),
        ("fingerprint", watermark.fingerprint.clone()),
        ("history", watermark.history.clone()),
    ];
    if watermark.term > 0 {
        fields.push(("term", watermark.term.to_string()));
    }
    fields
}

/// As Postgres prints a timestamptz under TimeZone UTC and DateStyle ISO, from microseconds since
/// 2000-01-01.
fn timestamptz_text(micros: i64) -> String {
    const MICROS_PER_DAY: i64 = 86_400_000_000;
    let (days, micros) = (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY));
    // Days of the proleptic Gregorian calendar, counted in eras of 400 years from 0000-03-01.
    let days = days + 730_425;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let seconds = micros / 1_000_000;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    let fraction = format!("{:06}", micros % 1_000_000);
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text.push_str("+00");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_times_are_written_as_postgres_prints_them() {
        for (micros, text) in [
            (0, "2000-01-01 00:00:00+00"),
            (-1, "1999-12-31 23:59:59.999999+00"),
            (5_097_600_500_000, "2000-02-29 00:00:00.5+00"),
            // select extract(epoch from '2026-11-21 10:20:30.123456+00' - '2000-01-01+00'::timestamptz)
            (848_571_630_123_456, "2026-11-21 10:20:30.123456+00"),
        ] {
            assert_eq!(timestamptz_text(micros), text);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let watermark = Watermark {
            lsn: Lsn(0x16_B374_D848),
            reaching: Lsn(0x16_B374_D900),
            committed_at: 123_456_789,
            settled: false,
            generation: 3,
            fingerprint: "shape".into(),
            history: "1a.1".into(),
            term: 4,
        };
        let written: HashMap<String, String> = fields("orders", &watermark, "7/slot")
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect();
        assert_eq!(read(&written), Some(watermark));
        assert_eq!(read(&HashMap::new()), None);
    }
}
