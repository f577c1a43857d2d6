//! real and double precision: the bits, flipped so that they compare as bytes; zeros of both signs
//! and all NaNs are one value. What begins with 0xFD or more has a 0xFD in front of it, to keep it
//! apart from errors and NULL. The suffix is 0x00 where `print` gives Postgres' text, else 0x01, that text and
//! 0x00: for -0, and for the few digits that are chosen otherwise there.

use super::{ERROR, number, text};

const LARGE: u8 = 0xFD;
const PRINTED: u8 = 0;
const AS_TEXT: u8 = 1;

const SIGN: u64 = 1 << 63;

/// What differs between the two types. Bits are aligned to the left of a u64.
pub(super) trait Float: zmij::Float + std::str::FromStr + Copy {
    const BYTES: usize;
    /// Numbers from this power of ten on are printed with an exponent: the digits that the type
    /// holds for sure.
    const EXPONENT_FROM: i32;
    /// Explicit bits of the significand.
    const SIGNIFICAND_BITS: u32;
    /// What the exponent is biased by, for a significand that is an integer.
    const BIAS: i32;
    fn bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
    fn to_f64(self) -> f64;
}

impl Float for f64 {
    const BYTES: usize = 8;
    const EXPONENT_FROM: i32 = 15;
    const SIGNIFICAND_BITS: u32 = 52;
    const BIAS: i32 = 1_075;
    fn bits(self) -> u64 {
        self.to_bits()
    }
    fn from_bits(bits: u64) -> Self {
        f64::from_bits(bits)
    }
    fn to_f64(self) -> f64 {
        self
    }
}

impl Float for f32 {
    const BYTES: usize = 4;
    const EXPONENT_FROM: i32 = 6;
    const SIGNIFICAND_BITS: u32 = 23;
    const BIAS: i32 = 150;
    fn bits(self) -> u64 {
        u64::from(self.to_bits()) << 32
    }
    fn from_bits(bits: u64) -> Self {
        f32::from_bits((bits >> 32) as u32)
    }
    fn to_f64(self) -> f64 {
        self.into()
    }
}

pub(super) fn encode<F: Float>(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let bits = put_bits(parse::<F>(text)?, out);
    // Printed where the text would be, to see whether it must be.
    let suffix = out.len();
    out.push(PRINTED);
    print(F::from_bits(bits), out);
    if out.get(suffix + 1..) == Some(text) {
        out.truncate(suffix + 1);
    } else {
        out.truncate(suffix);
        out.push(AS_TEXT);
        text::encode(text, out)?;
    }
    Some(())
}

/// The part that compares; gives the bits without the sign of zero and the variety of NaN.
fn put_bits<F: Float>(value: F, out: &mut Vec<u8>) -> u64 {
    let bits = match value.to_f64() {
        0.0 => 0,
        finite if !finite.is_nan() => value.bits(),
        // One NaN, above Infinity.
        _ => !SIGN,
    };
    let flipped = if bits & SIGN == 0 { bits | SIGN } else { !bits };
    let bytes = flipped.to_be_bytes();
    if bytes.first() >= Some(&LARGE) {
        out.push(LARGE);
    }
    out.extend(bytes.into_iter().take(F::BYTES));
    bits
}

/// Appends the datum of a value as `print` lays it out.
pub(super) fn put<F: Float>(value: F, out: &mut Vec<u8>) {
    put_bits(value, out);
    if value.to_f64() == 0.0 && value.to_f64().is_sign_negative() {
        out.extend_from_slice(&[AS_TEXT, b'-', b'0', 0]);
    } else {
        out.push(PRINTED);
    }
}

/// The spellings of Postgres; Rust knows others.
fn parse<F: Float>(text: &[u8]) -> Option<F> {
    let spelling = match text {
        b"NaN" | b"Infinity" | b"-Infinity" => true,
        [b'-', b'0'..=b'9', rest @ ..] | [b'0'..=b'9', rest @ ..] => {
            rest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'+' | b'-'))
        }
        _ => false,
    };
    if !spelling {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The value, its suffix, and the datum's length, read from the start of `bytes`.
fn take<F: Float>(bytes: &[u8]) -> Option<(F, &[u8], usize)> {
    let large = match *bytes.first()? {
        ERROR.. => return None,
        LARGE => 1,
        _ => 0,
    };
    let (value, suffix) = bytes.get(large..)?.split_at_checked(F::BYTES)?;
    let flipped = value.iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
    let flipped = flipped << (64 - 8 * F::BYTES);
    let bits = if flipped & SIGN == 0 { !flipped } else { flipped & !SIGN };
    let suffix_len = match *suffix.first()? {
        PRINTED => 1,
        AS_TEXT => 1 + text::len(suffix.get(1..)?)?,
        _ => return None,
    };
    Some((F::from_bits(bits), suffix.get(..suffix_len)?, large + F::BYTES + suffix_len))
}

pub(super) fn len<F: Float>(bytes: &[u8]) -> Option<usize> {
    take::<F>(bytes).map(|(_, _, len)| len)
}

/// The value of a datum.
pub(super) fn decode<F: Float>(datum: &[u8]) -> Option<F> {
    let (value, suffix, _) = take::<F>(datum)?;
    let negative_zero = value.to_f64() == 0.0 && matches!(suffix, [AS_TEXT, b'-', ..]);
    Some(if negative_zero { F::from_bits(SIGN) } else { value })
}

/// A datum without its suffix.
pub(super) fn order_part<F: Float>(datum: &[u8]) -> Option<&[u8]> {
    let (_, suffix, len) = take::<F>(datum)?;
    datum.get(..len - suffix.len())
}

pub(super) fn write_text<F: Float>(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (value, suffix, len) = take::<F>(datum)?;
    if len != datum.len() {
        return None;
    }
    match suffix {
        [AS_TEXT, text @ ..] => out.extend_from_slice(text::decode(text)?),
        _ => print(value, out),
    }
    Some(())
}

pub(super) fn write_json<F: Float>(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    write_text::<F>(datum, out)?;
    let text = out.get(start..)?;
    // NaN and the infinities are strings, as Postgres finds them by their letter.
    if text.iter().any(|byte| matches!(byte, b'N' | b'n')) {
        super::escape::quote_tail(start, out);
    } else if text == b"-0" || text.contains(&b'e') {
        let text = out.split_off(start);
        number::normalise(&text, out)?;
    }
    Some(())
}

/// The shortest digits that give the value back, laid out as printf's `%g` does.
fn print<F: Float>(value: F, out: &mut Vec<u8>) {
    let wide = value.to_f64();
    if wide.is_nan() {
        out.extend_from_slice(b"NaN");
        return;
    }
    if wide.is_sign_negative() {
        out.push(b'-');
    }
    if wide.is_infinite() {
        out.extend_from_slice(b"Infinity");
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let mut shortest = Digits::of(buffer.format_finite(value).as_bytes());
    let mut more = shortest.digits().len();
    while shortest.lies_between(value) {
        // More digits give the value back from within its own interval.
        shortest = Digits::of(format!("{wide:.more$e}").as_bytes());
        more += 1;
    }
    let digits = shortest.digits();
    if digits.is_empty() {
        out.push(b'0');
    } else if (-4..F::EXPONENT_FROM).contains(&shortest.exponent) {
        put_plain(digits, shortest.exponent, out);
    } else {
        put_scientific(digits, shortest.exponent, out);
    }
}

/// Decimal digits without zeros at either end, and the power of ten of the first.
struct Digits {
    digits: [u8; 24],
    start: usize,
    end: usize,
    exponent: i32,
}

impl Digits {
    /// Reads `123.45`, `0.00123`, `1.2e-7`, a minus in front of any.
    fn of(text: &[u8]) -> Self {
        let mut this = Digits { digits: [0; 24], start: 0, end: 0, exponent: -1 };
        let mut len = 0;
        let mut point = None;
        let mut exponent = 0i32;
        let mut rest = text.strip_prefix(b"-").unwrap_or(text);
        while let Some((&byte, after)) = rest.split_first() {
            match byte {
                b'.' => point = Some(len),
                b'e' => {
                    let (negative, digits) = match after {
                        [b'-', digits @ ..] => (true, digits),
                        [b'+', digits @ ..] => (false, digits),
                        digits => (false, digits),
                    };
                    let size = digits.iter().fold(0, |n, digit| n * 10 + i32::from(digit - b'0'));
                    exponent = if negative { -size } else { size };
                    break;
                }
                _ => {
                    if let Some(slot) = this.digits.get_mut(len) {
                        *slot = byte;
                        len += 1;
                    }
                }
            }
            rest = after;
        }
        let digits = this.digits.get(..len).unwrap_or_default();
        this.start = digits.iter().position(|&digit| digit != b'0').unwrap_or(len);
        this.end =
            digits.iter().rposition(|&digit| digit != b'0').map_or(this.start, |last| last + 1);
        let before_point = i32::try_from(point.unwrap_or(len)).unwrap_or(0);
        this.exponent = exponent + before_point - 1 - i32::try_from(this.start).unwrap_or(0);
        this
    }

    /// Whether they are halfway to the next number, on either side, or further. Halfway still gives back
    /// a value whose significand is even, but Postgres does not take it.
    fn lies_between<F: Float>(&self, value: F) -> bool {
        // 5^23 is the last power that divides a significand.
        const POWER_MAX: i32 = 23;
        let digits = self.digits();
        let power = self.exponent + 1 - i32::try_from(digits.len()).unwrap_or(0);
        if !(0..=POWER_MAX).contains(&power) {
            return false;
        }
        let width = 64 - 8 * F::BYTES;
        let bits = value.bits() << 1 >> 1 >> width;
        let (fraction, exponent) =
            (bits & ((1 << F::SIGNIFICAND_BITS) - 1), bits >> F::SIGNIFICAND_BITS);
        if exponent == 0 || fraction % 2 == 1 {
            return false;
        }
        let significand = u128::from(fraction | 1 << F::SIGNIFICAND_BITS);
        let exponent = i32::try_from(exponent).unwrap_or(0) - F::BIAS;
        // Digits times 5^power, against the halves in units of 2^(exponent - 2 - power).
        let number = digits.iter().fold(0u128, |n, digit| n * 10 + u128::from(digit - b'0'));
        let number = number * 5u128.pow(u32::try_from(power).unwrap_or(0));
        let shift = exponent - 2 - power;
        let (number, scale) = match u32::try_from(shift) {
            Ok(up) => (number, up),
            Err(_) => (number << shift.unsigned_abs().min(63), 0),
        };
        let below = if fraction == 0 { 4 * significand - 1 } else { 4 * significand - 2 };
        number >= (4 * significand + 2) << scale.min(63) || number <= below << scale.min(63)
    }

    fn digits(&self) -> &[u8] {
        self.digits.get(self.start..self.end).unwrap_or_default()
    }
}

fn put_plain(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    match usize::try_from(exponent) {
        Ok(exponent) => {
            let (before, after) = digits.split_at_checked(exponent + 1).unwrap_or((digits, &[]));
            out.extend_from_slice(before);
            out.resize(out.len() + (exponent + 1 - before.len()), b'0');
            if !after.is_empty() {
                out.push(b'.');
                out.extend_from_slice(after);
            }
        }
        Err(_) => {
            out.extend_from_slice(b"0.");
            out.extend((exponent..-1).map(|_| b'0'));
            out.extend_from_slice(digits);
        }
    }
}

fn put_scientific(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    if let Some((&first, rest)) = digits.split_first() {
        out.push(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let size = exponent.unsigned_abs();
    if size < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(size).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn datum<F: Float>(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode::<F>(text.as_bytes(), &mut out).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(len::<F>(&out), Some(out.len()));
        assert!(out[0] < ERROR);
        out
    }

    fn text<F: Float>(datum: &[u8]) -> String {
        let mut out = Vec::new();
        write_text::<F>(datum, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// What is read to the even one of two neighbours is not printed so.
    #[test]
    fn digits_halfway_to_a_neighbour_are_not_taken() {
        for (value, expected) in [
            (1e23, "9.999999999999999e+22"),
            (9_007_199_254_740_992.0, "9.007199254740992e+15"),
            (1e22, "1e+22"),
            (5e-324, "5e-324"),
        ] {
            let mut datum = Vec::new();
            put::<f64>(value, &mut datum);
            assert_eq!(text::<f64>(&datum), expected);
        }
    }

    #[test]
    fn layouts() {
        for text_ in [
            "0",
            "1",
            "-1.5",
            "100000",
            "123456789012345",
            "1e+15",
            "1.5e+300",
            "0.0001",
            "1e-05",
            "5e-324",
            "1.7976931348623157e+308",
            "Infinity",
            "-Infinity",
            "NaN",
            "0.1",
            "1e+100",
            "-1e-10",
        ] {
            let datum = datum::<f64>(text_);
            assert_eq!(text::<f64>(&datum), text_);
            assert_eq!(datum.last(), Some(&PRINTED), "{text_} is what we print");
        }
        for text_ in ["999999", "1e+06", "1.5e+06", "0.1", "3.4028235e+38", "1e-45"] {
            let datum = datum::<f32>(text_);
            assert_eq!(text::<f32>(&datum), text_);
            assert_eq!(datum.last(), Some(&PRINTED), "{text_} is what we print");
        }
    }

    #[test]
    fn one_zero_and_texts_that_we_would_not_print() {
        let (plus, minus) = (datum::<f64>("0"), datum::<f64>("-0"));
        assert_eq!(plus[..8], minus[..8]);
        assert_eq!(text::<f64>(&minus), "-0");
        assert_eq!(text::<f64>(&datum::<f64>("9007199254740993.00")), "9007199254740993.00");
        for text in ["", "-", "inf", "nan", "1_0", "infinity", "e5", "0x1", "1e5e", ".5", "+1"] {
            assert_eq!(encode::<f64>(text.as_bytes(), &mut Vec::new()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn order_is_the_values(a in any::<f64>(), b in any::<f64>()) {
            let (x, y) = (datum::<f64>(&format!("{a:e}")), datum::<f64>(&format!("{b:e}")));
            if a != b {
                prop_assert_eq!(x.cmp(&y), a.total_cmp(&b));
            }
            prop_assert_eq!(decode::<f64>(&x), Some(a));
        }

        #[test]
        fn order_of_the_narrow_ones_too(a in any::<f32>(), b in any::<f32>()) {
            let (x, y) = (datum::<f32>(&format!("{a:e}")), datum::<f32>(&format!("{b:e}")));
            if a != b {
                prop_assert_eq!(x.cmp(&y), a.total_cmp(&b));
            }
        }
    }
}
