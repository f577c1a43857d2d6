//! numeric at any scale. A value is 0.P1P2P3… * 100^e, its digits taken in pairs from the decimal
//! point outwards, without zero pairs at either end.
//!
//! | tag          | value                                                       |
//! |--------------|-------------------------------------------------------------|
//! | 0x03         | -Infinity                                                   |
//! | 0x05 to 0x7F | negative: the complement of the positive tag, plus 1        |
//! | 0x80         | zero                                                        |
//! | 0x81         | positive, e below -32: e + 0x8000 follows in two bytes      |
//! | 0x82 to 0xFA | positive, e from -32 to 88                                  |
//! | 0xFB         | positive, e above 88: e - 89 follows in two bytes           |
//! | 0xFC         | Infinity                                                    |
//! | 0xFD         | NaN                                                         |
//!
//! A pair is the byte 2 * P + 1, but the last one is 2 * P: so a number sorts before those that have
//! more digits. A negative number's exponent and pairs are complemented. The suffix is the number of
//! digits after the point, of which 1.0 and 1.00 differ: one byte below 128, else two bytes of which
//! the first has its high bit set. The special values have no suffix.

use std::iter;

const NEGATIVE_INFINITY: u8 = 0x03;
const ZERO: u8 = 0x80;
const INFINITY: u8 = 0xFC;
const NAN: u8 = 0xFD;

const TINY: u8 = 0x81;
const HUGE: u8 = 0xFB;
const INLINE_MIN: i32 = -32;
const INLINE_MAX: i32 = 88;
/// The tag of exponent 0.
const INLINE_ZERO: i32 = 0x82 - INLINE_MIN;

/// Postgres' own limits.
pub(super) const SCALE_MAX: usize = 16_383;
pub(super) const INTEGER_DIGITS_MAX: usize = 131_072;

pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match text {
        b"NaN" => out.push(NAN),
        b"Infinity" => out.push(INFINITY),
        b"-Infinity" => out.push(NEGATIVE_INFINITY),
        [b'-', digits @ ..] => encode_finite(digits, true, out)?,
        digits => encode_finite(digits, false, out)?,
    }
    Some(())
}

fn encode_finite(digits: &[u8], negative: bool, out: &mut Vec<u8>) -> Option<()> {
    let (integer, fraction) = match memchr::memchr(b'.', digits) {
        Some(point) => (digits.get(..point)?, digits.get(point + 1..).filter(|f| !f.is_empty())?),
        None => (digits, &[][..]),
    };
    put_digits(integer, fraction, negative, out)
}

/// Appends the datum of a number by its digits before and after the point: `0` or none in front of
/// them.
pub(super) fn put_digits(
    integer: &[u8],
    fraction: &[u8],
    negative: bool,
    out: &mut Vec<u8>,
) -> Option<()> {
    let integer = match integer {
        b"0" => &[][..],
        [b'1'..=b'9', ..] => integer,
        _ => return None,
    };
    if integer.len() > INTEGER_DIGITS_MAX || fraction.len() > SCALE_MAX {
        return None;
    }
    // Leading zero pairs of a number below 1 are in the exponent.
    let zeros = match integer {
        [] => fraction.iter().take_while(|&&digit| digit == b'0').count(),
        _ => 0,
    };
    if integer.is_empty() && zeros == fraction.len() {
        if negative {
            return None;
        }
        out.push(ZERO);
        return put_scale(fraction.len(), out);
    }
    let exponent = match integer {
        [] => -i32::try_from(zeros / 2).ok()?,
        _ => i32::try_from(integer.len().div_ceil(2)).ok()?,
    };
    put_exponent(exponent, negative, out)?;

    let first_pair = out.len();
    let mut significant = first_pair;
    let mut put_pair = |tens: u8, ones: u8| -> Option<()> {
        if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
            return None;
        }
        let pair = (tens - b'0') * 10 + (ones - b'0');
        out.push(2 * pair + 1);
        if pair != 0 {
            significant = out.len();
        }
        Some(())
    };
    let (odd, integer) = integer.split_at_checked(integer.len() % 2)?;
    for &ones in odd {
        put_pair(b'0', ones)?;
    }
    for &[tens, ones] in integer.as_chunks().0 {
        put_pair(tens, ones)?;
    }
    let (pairs, odd) = fraction.get(zeros / 2 * 2..)?.as_chunks();
    for &[tens, ones] in pairs {
        put_pair(tens, ones)?;
    }
    for &tens in odd {
        put_pair(tens, b'0')?;
    }
    out.truncate(significant);
    *out.last_mut()? -= 1;
    if negative {
        out.get_mut(first_pair..)?.iter_mut().for_each(|pair| *pair = !*pair);
    }
    put_scale(fraction.len(), out)
}

fn put_exponent(exponent: i32, negative: bool, out: &mut Vec<u8>) -> Option<()> {
    let (tag, wide) = match exponent {
        ..INLINE_MIN => (TINY, Some(u16::try_from(exponent + 0x8000).ok()?)),
        INLINE_MIN..=INLINE_MAX => (u8::try_from(exponent + INLINE_ZERO).ok()?, None),
        _ => (HUGE, Some(u16::try_from(exponent - INLINE_MAX - 1).ok()?)),
    };
    out.push(if negative { tag.wrapping_neg() } else { tag });
    if let Some(wide) = wide {
        let wide = if negative { !wide } else { wide };
        out.extend_from_slice(&wide.to_be_bytes());
    }
    Some(())
}

fn put_scale(scale: usize, out: &mut Vec<u8>) -> Option<()> {
    match u8::try_from(scale) {
        Ok(scale @ ..0x80) => out.push(scale),
        _ => out.extend_from_slice(&(u16::try_from(scale).ok()? | 0x8000).to_be_bytes()),
    }
    Some(())
}

/// A datum taken apart.
pub(super) enum Parts<'a> {
    NegativeInfinity,
    Infinity,
    NaN,
    Finite(Finite<'a>),
}

pub(super) struct Finite<'a> {
    pub(super) negative: bool,
    pub(super) exponent: i32,
    /// As they lie in the datum; none for zero.
    pub(super) pairs: &'a [u8],
    pub(super) scale: usize,
}

/// Reads the datum at the start of `bytes`; also how long it is.
fn take(bytes: &[u8]) -> Option<(Parts<'_>, usize)> {
    let (&tag, rest) = bytes.split_first()?;
    let negative = tag < ZERO;
    let mut rest = rest;
    let exponent = match if negative { tag.wrapping_neg() } else { tag } {
        ZERO => 0,
        NAN if !negative => return Some((Parts::NaN, 1)),
        // 0x03, the complement of the tag of NaN.
        NAN => return Some((Parts::NegativeInfinity, 1)),
        INFINITY if !negative => return Some((Parts::Infinity, 1)),
        tag @ (TINY | HUGE) => {
            let (wide, after) = rest.split_first_chunk()?;
            rest = after;
            let wide = u16::from_be_bytes(*wide);
            let wide = i32::from(if negative { !wide } else { wide });
            if tag == TINY { wide - 0x8000 } else { wide + INLINE_MAX + 1 }
        }
        tag @ 0x82..=0xFA => i32::from(tag) - INLINE_ZERO,
        _ => return None,
    };
    let pairs = match tag {
        ZERO => &[][..],
        _ => {
            // The last pair's byte is even, or odd when complemented.
            let last = rest.iter().position(|byte| (byte & 1 == 0) != negative)?;
            let (pairs, after) = rest.split_at_checked(last + 1)?;
            if pairs.iter().any(|&byte| pair_of(byte, negative) > 99) {
                return None;
            }
            rest = after;
            pairs
        }
    };
    let (scale, rest) = match rest {
        [scale @ ..0x80, after @ ..] => (usize::from(*scale), after),
        [high, low, after @ ..] => (usize::from(u16::from_be_bytes([*high, *low]) & 0x7FFF), after),
        _ => return None,
    };
    let parts = Parts::Finite(Finite { negative, exponent, pairs, scale });
    Some((parts, bytes.len() - rest.len()))
}

/// The number below 100 that the byte of a pair is.
pub(super) fn pair_of(byte: u8, negative: bool) -> u8 {
    (if negative { !byte } else { byte }) >> 1
}

pub(super) fn decode(datum: &[u8]) -> Option<Parts<'_>> {
    take(datum).filter(|(_, len)| *len == datum.len()).map(|(parts, _)| parts)
}

pub(super) fn len(bytes: &[u8]) -> Option<usize> {
    take(bytes).map(|(_, len)| len)
}

/// A datum without its scale.
pub(super) fn order_part(datum: &[u8]) -> Option<&[u8]> {
    let scale_len = match decode(datum)? {
        Parts::Finite(finite) if finite.scale < 0x80 => 1,
        Parts::Finite(_) => 2,
        _ => 0,
    };
    datum.get(..datum.len() - scale_len)
}

pub(super) fn is_finite(datum: &[u8]) -> bool {
    !matches!(datum, [NEGATIVE_INFINITY | INFINITY | NAN])
}

pub(super) fn write_text(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match decode(datum)? {
        Parts::NaN => out.extend_from_slice(b"NaN"),
        Parts::Infinity => out.extend_from_slice(b"Infinity"),
        Parts::NegativeInfinity => out.extend_from_slice(b"-Infinity"),
        Parts::Finite(finite) => finite.write_text(out),
    }
    Some(())
}

/// Appends what `numeric_send` sends: the number of digits to base 10 000, the first one's exponent, the sign, the
/// digits after the decimal point, and the digits, each in two bytes.
pub(super) fn write_binary(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let special = |sign: u16| [0, 0, sign, 0];
    let head = match decode(datum)? {
        Parts::NaN => special(0xC000),
        Parts::Infinity => special(0xD000),
        Parts::NegativeInfinity => special(0xF000),
        Parts::Finite(finite) => return finite.write_binary(out),
    };
    out.extend(head.iter().flat_map(|part| part.to_be_bytes()));
    Some(())
}

impl Finite<'_> {
    fn write_binary(&self, out: &mut Vec<u8>) -> Option<()> {
        // A digit is two pairs; an odd number of pairs before the point has a zero pair in front.
        let pad = usize::from(self.exponent % 2 != 0);
        let digits = (pad + self.pairs.len()).div_ceil(2);
        let weight = match digits {
            0 => 0,
            _ => i16::try_from(self.exponent.div_euclid(2) + i32::from(pad == 1) - 1).ok()?,
        };
        out.extend_from_slice(&u16::try_from(digits).ok()?.to_be_bytes());
        out.extend_from_slice(&weight.to_be_bytes());
        out.extend_from_slice(&(u16::from(self.negative) << 14).to_be_bytes());
        out.extend_from_slice(&u16::try_from(self.scale).ok()?.to_be_bytes());
        let pairs = self.pairs.iter().map(|&byte| pair_of(byte, self.negative).into());
        let mut pairs = iter::repeat_n(0, pad).chain(pairs);
        while let Some(high) = pairs.next() {
            let digit: u16 = 100 * high + pairs.next().unwrap_or(0);
            out.extend_from_slice(&digit.to_be_bytes());
        }
        Some(())
    }

    fn write_text(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
        let before_point = usize::try_from(self.exponent).unwrap_or(0);
        // Zero pairs between the point and the first pair.
        let after_point = usize::try_from(-self.exponent).unwrap_or(0);
        let mut pairs = iter::repeat_n(0, after_point)
            .chain(self.pairs.iter().map(|&byte| pair_of(byte, self.negative)))
            .chain(iter::repeat(0));
        if before_point == 0 {
            out.push(b'0');
        }
        for (position, pair) in pairs.by_ref().take(before_point).enumerate() {
            if position > 0 || pair > 9 {
                out.push(b'0' + pair / 10);
            }
            out.push(b'0' + pair % 10);
        }
        if self.scale > 0 {
            out.push(b'.');
            for pair in pairs.by_ref().take(self.scale / 2) {
                out.extend_from_slice(&[b'0' + pair / 10, b'0' + pair % 10]);
            }
            if self.scale % 2 == 1 {
                out.push(b'0' + pairs.next().unwrap_or(0) / 10);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

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
        let tiny = format!("0.{}1", "0".repeat(16_382));
        let huge = "9".repeat(131_072);
        let ascending = [
            "-Infinity",
            &format!("-{huge}"),
            "-1000.5",
            "-1000",
            "-100",
            "-99.99",
            "-1.01",
            "-1",
            "-0.5",
            "-0.001",
            &format!("-{tiny}"),
            "0",
            "0.000",
            &tiny,
            "0.0001",
            "0.01",
            "0.0999",
            "0.1",
            "0.5",
            "1",
            "1.0",
            "1.00",
            "1.001",
            "1.01",
            "2",
            "9.99",
            "10",
            "10.5",
            "99",
            "100",
            "101",
            "12345678901234567890.123456789",
            &huge,
            "Infinity",
            "NaN",
        ];
        let mut before = Vec::new();
        for expected in ascending {
            let datum = datum(expected);
            assert!(before < datum, "{expected}");
            assert_eq!(text(&datum), expected);
            assert_eq!(read_binary(&binary(&datum)), expected);
            assert_eq!(len(&datum), Some(datum.len()));
            before = datum;
        }
    }

    /// By the manual of the wire format, into text.
    fn read_binary(bytes: &[u8]) -> String {
        let parts: Vec<u16> =
            bytes.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair)).collect();
        let [digits, weight, sign, scale, ref digit @ ..] = parts[..] else { panic!("{parts:?}") };
        assert_eq!(digit.len(), usize::from(digits));
        match sign {
            0xC000 => return "NaN".into(),
            0xD000 => return "Infinity".into(),
            0xF000 => return "-Infinity".into(),
            _ => {}
        }
        let weight = weight.cast_signed();
        let at = |exponent: i16| {
            let at = usize::try_from(weight.wrapping_sub(exponent)).ok();
            let digit = at.and_then(|at| digit.get(at)).copied().unwrap_or(0);
            format!("{digit:04}")
        };
        let integer: String = (0..=weight.max(0)).rev().map(at).collect();
        let fraction: String = (1..=scale.div_ceil(4)).map(|n| at(-n.cast_signed())).collect();
        let integer = integer.trim_start_matches('0');
        let integer = if integer.is_empty() { "0" } else { integer };
        let point = if scale > 0 { "." } else { "" };
        let minus = if sign == 0x4000 { "-" } else { "" };
        format!("{minus}{integer}{point}{}", &fraction[..usize::from(scale)])
    }

    fn binary(datum: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_binary(datum, &mut out).unwrap();
        out
    }

    #[test]
    fn binary_is_what_the_server_sends() {
        // SELECT numeric_send('-12345.678')
        let expected = [0, 3, 0, 1, 0x40, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1A, 0x7C];
        assert_eq!(binary(&datum("-12345.678")), expected);
    }

    #[test]
    fn equal_values_differ_in_the_suffix_alone() {
        let (one, other) = (datum("1.0"), datum("1.00"));
        assert_eq!(one[..one.len() - 1], other[..other.len() - 1]);
        assert_eq!(datum("42").len(), 3);
        assert_eq!(datum("1299.95").len(), 5);
    }

    #[test]
    fn refuses_what_postgres_does_not_print() {
        for text in [
            "", "-", ".", "1.", ".5", "01", "00.1", "-0", "-0.00", "1e5", "nan", "1.2.3", "+1",
            "1,5", " 1", "--1", "0x1",
        ] {
            assert_eq!(encode(text.as_bytes(), &mut Vec::new()), None, "{text}");
        }
        assert_eq!(encode(&[b'9'; 131_073], &mut Vec::new()), None);
    }

    /// Sign, digits before the point, digits after it.
    fn decimal() -> impl Strategy<Value = String> {
        (any::<bool>(), "0|[1-9]|[1-9][09]{0,5}", "[0-9]{0,5}|0{0,70}[0-9]").prop_map(
            |(negative, integer, fraction)| {
                let zero = integer == "0" && fraction.bytes().all(|digit| digit == b'0');
                let sign = if negative && !zero { "-" } else { "" };
                let point = if fraction.is_empty() { "" } else { "." };
                format!("{sign}{integer}{point}{fraction}")
            },
        )
    }

    /// Compares as a schoolchild would: both written with as many digits, then digit by digit.
    fn naive(a: &str, b: &str) -> Ordering {
        let widen = |text: &str| {
            let digits = text.trim_start_matches('-');
            let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            format!("{integer:0>20}.{fraction:0<100}")
        };
        match (a.starts_with('-'), b.starts_with('-')) {
            (true, true) => widen(b).cmp(&widen(a)),
            (false, false) => widen(a).cmp(&widen(b)),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }

    proptest! {
        #[test]
        fn text_comes_back_and_order_is_the_values(a in decimal(), b in decimal()) {
            let (x, y) = (datum(&a), datum(&b));
            prop_assert_eq!(text(&x), a.clone());
            prop_assert_eq!(read_binary(&binary(&x)), a.clone());
            let expected = naive(&a, &b);
            if expected != Ordering::Equal {
                prop_assert_eq!(x.cmp(&y), expected);
            }
            let mut both = x.clone();
            both.extend(&y);
            prop_assert_eq!(len(&both), Some(x.len()));
        }
    }
}
