//! JSON numbers as jsonb prints them: without exponent, every digit after the point kept (1.50e1 is
//! 15.0, 1e-7 is 0.0000001), no minus before zero.

use super::numeric::{INTEGER_DIGITS_MAX, SCALE_MAX};

/// Appends the normal form of a number; `None` where jsonb refuses it too.
pub(super) fn normalise(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let number = parse(text)?;
    let scale = i64::try_from(number.fraction.len()).ok()?.checked_sub(number.exponent)?;
    let scale = usize::try_from(scale.max(0)).ok().filter(|&scale| scale <= SCALE_MAX)?;
    let digits = || number.integer.iter().chain(number.fraction).copied();
    let leading_zeros = digits().take_while(|&digit| digit == b'0').count();
    let len = number.integer.len() + number.fraction.len();
    if leading_zeros == len {
        out.push(b'0');
        put_fraction(&[], scale, out);
        return Some(());
    }
    if number.negative {
        out.push(b'-');
    }
    if number.exponent == 0 {
        if number.integer.len() > INTEGER_DIGITS_MAX {
            return None;
        }
        out.extend_from_slice(number.integer);
        put_fraction(number.fraction, scale, out);
        return Some(());
    }
    // Where the point lies among the significant digits; beyond them on either side are zeros.
    let significant: Vec<u8> = digits().skip(leading_zeros).collect();
    let point = i64::try_from(number.integer.len()).ok()? - i64::try_from(leading_zeros).ok()?
        + number.exponent;
    if point > i64::try_from(INTEGER_DIGITS_MAX).ok()? {
        return None;
    }
    if let Ok(point @ 1..) = usize::try_from(point) {
        let (before, after) =
            significant.split_at_checked(point).unwrap_or((significant.as_slice(), &[]));
        out.extend_from_slice(before);
        out.resize(out.len() + (point - before.len()), b'0');
        put_fraction(after, scale, out);
    } else {
        out.extend_from_slice(b"0.");
        // At most the scale, which is bounded above.
        out.resize(out.len() + usize::try_from(-point).ok()?, b'0');
        out.extend_from_slice(&significant);
    }
    Some(())
}

fn put_fraction(digits: &[u8], scale: usize, out: &mut Vec<u8>) {
    if scale > 0 {
        out.push(b'.');
        let end = out.len() + scale;
        out.extend_from_slice(digits);
        out.resize(end, b'0');
    }
}

struct Number<'a> {
    negative: bool,
    integer: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

/// RFC 8259, section 6.
fn parse(text: &[u8]) -> Option<Number<'_>> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let (integer, text) = digits(text)?;
    if matches!(integer, [b'0', _, ..]) {
        return None;
    }
    let (fraction, text) = match text {
        [b'.', rest @ ..] => digits(rest)?,
        _ => (&[][..], text),
    };
    let exponent = match text {
        [] => 0,
        [b'e' | b'E', sign @ (b'+' | b'-'), rest @ ..] => exponent_of(rest, *sign == b'-')?,
        [b'e' | b'E', rest @ ..] => exponent_of(rest, false)?,
        _ => return None,
    };
    Some(Number { negative, integer, fraction, exponent })
}

/// The digits at the start, at least one, and what follows.
fn digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if len == 0 { None } else { text.split_at_checked(len) }
}

fn exponent_of(text: &[u8], negative: bool) -> Option<i64> {
    /// numeric_in's own bound (of 16 and newer; before, one less).
    const EXPONENT_MAX: i64 = (i32::MAX / 2) as i64;
    let (digits, []) = digits(text)? else { return None };
    let value = digits
        .iter()
        .fold(0i64, |value, &digit| (value * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX + 1));
    (value <= EXPONENT_MAX).then_some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> Option<String> {
        let mut out = Vec::new();
        normalise(text.as_bytes(), &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn exponents_are_written_out() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00", "0.00"),
            ("-0e-3", "0.000"),
            ("0e999999", "0"),
            ("1.50", "1.50"),
            ("1.50e1", "15.0"),
            ("1.5E+5", "150000"),
            ("1e-7", "0.0000001"),
            ("0.05e1", "0.5"),
            ("0.05e3", "50"),
            ("-12.5e-1", "-1.25"),
            ("1e20", "100000000000000000000"),
            ("12.5e0", "12.5"),
            ("10e-1", "1.0"),
            ("0.5e1", "5"),
        ] {
            assert_eq!(normal(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_jsonb_refuses() {
        for text in [
            "",
            "-",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "1x",
            "1e-16384",
            "0e-16384",
            "1e131072",
            "0e9999999999",
            "1e99999999999999999999",
            "NaN",
        ] {
            assert_eq!(normal(text), None, "{text}");
        }
        assert_eq!(normal("1e131071").map(|text| text.len()), Some(131_072));
        assert_eq!(normal("1e-16383").map(|text| text.len()), Some(16_385));
    }
}
