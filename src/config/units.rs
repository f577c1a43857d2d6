//! Sizes and durations with their units, as whole numbers: nothing is rounded.
//!
//! ```text
//! size     = number [" "] ("B" | "KiB" | "MiB" | "GiB" | "TiB"), or a plain number of bytes
//! duration = { number ("ms" | "s" | "m" | "h" | "d") }, or a plain number of seconds
//! ```

use std::time::Duration;

/// Text that is no size or no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    #[error("is not a number with a unit")]
    Form,
    #[error("has a fraction")]
    Fraction,
    #[error("has no unit that is known here")]
    Unit,
    #[error("is too large")]
    Range,
}

/// Bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, rest) = leading_number(text.trim())?;
    let shift = match rest.trim_start() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(UnitError::Unit),
    };
    number.checked_mul(1 << shift).ok_or(UnitError::Range)
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    loop {
        let (number, after) = leading_number(rest)?;
        let unit_len = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
        let part = match &after[..unit_len] {
            "ms" => Some(Duration::from_millis(number)),
            // Only a number that is all there is may leave out its unit.
            "" if rest.len() == text.trim().len() && after.is_empty() => seconds(1),
            "s" => seconds(1),
            "m" => seconds(60),
            "h" => seconds(3_600),
            "d" => seconds(86_400),
            _ => return Err(UnitError::Unit),
        };
        total = part.and_then(|part| total.checked_add(part)).ok_or(UnitError::Range)?;
        rest = after[unit_len..].trim_start();
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

fn leading_number(text: &str) -> Result<(u64, &str), UnitError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    match (number.is_empty(), rest.as_bytes()) {
        (true, _) => Err(UnitError::Form),
        (false, [b'.' | b',', b'0'..=b'9', ..]) => Err(UnitError::Fraction),
        _ => Ok((number.parse().map_err(|_| UnitError::Range)?, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, size) in [
            ("0", Ok(0)),
            ("1048576", Ok(1 << 20)),
            ("512B", Ok(512)),
            ("1 KiB", Ok(1 << 10)),
            ("256MiB", Ok(256 << 20)),
            ("20GiB", Ok(20 << 30)),
            ("1TiB", Ok(1 << 40)),
            ("1.5GiB", Err(UnitError::Fraction)),
            ("1GB", Err(UnitError::Unit)),
            ("1gib", Err(UnitError::Unit)),
            ("GiB", Err(UnitError::Form)),
            ("-1", Err(UnitError::Form)),
            ("", Err(UnitError::Form)),
            ("99999999999TiB", Err(UnitError::Range)),
            ("99999999999999999999", Err(UnitError::Range)),
        ] {
            assert_eq!(parse_size(text), size, "{text:?}");
        }
    }

    #[test]
    fn durations() {
        let ms = |n| Ok(Duration::from_millis(n));
        for (text, duration) in [
            ("30s", ms(30_000)),
            ("2m", ms(120_000)),
            ("500ms", ms(500)),
            ("1h30m", ms(5_400_000)),
            ("1h 30m", ms(5_400_000)),
            ("1d", ms(86_400_000)),
            ("45", ms(45_000)),
            ("1h30", Err(UnitError::Unit)),
            ("1.5s", Err(UnitError::Fraction)),
            ("s", Err(UnitError::Form)),
            ("", Err(UnitError::Form)),
            ("5 weeks", Err(UnitError::Unit)),
            ("-1s", Err(UnitError::Form)),
            ("300000000000000d", Err(UnitError::Range)),
        ] {
            assert_eq!(parse_duration(text), duration, "{text:?}");
        }
    }
}
