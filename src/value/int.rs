//! Integers of up to 64 bits, also those that count days or microseconds: one tag byte, which for
//! small values is all, then the value's significant bytes, most significant first.
//!
//! | tag          | value                                             |
//! |--------------|---------------------------------------------------|
//! | 0x00 to 0x07 | negative, in the low 8 to 1 bytes that follow     |
//! | 0x08 to 0xF5 | -8 to 229                                         |
//! | 0xF6 to 0xFD | positive, in the 1 to 8 bytes that follow         |

const SMALL_MIN: i64 = -8;
const SMALL_MAX: i64 = 229;
/// The tag of the value 0.
const ZERO_TAG: i64 = 0x10;
/// One below the tag of a positive value in one byte.
const POSITIVE_TAG: u8 = 0xF5;
/// One above the tag of a negative value in one byte.
const NEGATIVE_TAG: u8 = 0x08;

pub(super) fn encode(text: &[u8], min: i64, max: i64, out: &mut Vec<u8>) -> Option<()> {
    let value = parse(text)?;
    if value < min || value > max {
        return None;
    }
    put(value, out);
    Some(())
}

/// Decimal digits as Postgres prints them: no plus, no leading zeros, no minus before zero.
fn parse(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = match digits {
        [b'0'] if !negative => 0,
        [b'1'..=b'9', ..] if digits.len() <= 19 => {
            let mut magnitude = 0u64;
            for &digit in digits {
                // 19 digits are below 2^64.
                magnitude = magnitude * 10 + u64::from(digit_value(digit)?);
            }
            magnitude
        }
        _ => return None,
    };
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

fn digit_value(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

/// Appends the datum of an integer of any width.
pub fn put(value: i64, out: &mut Vec<u8>) {
    if (SMALL_MIN..=SMALL_MAX).contains(&value) {
        let [.., tag] = (value + ZERO_TAG).to_be_bytes();
        out.push(tag);
        return;
    }
    // The magnitude's bytes; of a negative value, those that are not all ones.
    let magnitude = if value < 0 { !value } else { value }.cast_unsigned();
    let unused = (magnitude | 1).leading_zeros() / 8;
    let [.., used] = (8 - unused).to_be_bytes();
    let tag = if value < 0 { NEGATIVE_TAG - used } else { POSITIVE_TAG + used };
    let [a, b, c, d, e, f, g, h] = (value << (8 * unused)).to_be_bytes();
    // A copy of fixed length and a cut are cheaper than a copy of variable length.
    out.extend_from_slice(&[tag, a, b, c, d, e, f, g, h]);
    out.truncate(out.len() - unused as usize);
}

pub(super) fn len(bytes: &[u8]) -> Option<usize> {
    let len = match *bytes.first()? {
        tag @ ..NEGATIVE_TAG => 1 + usize::from(NEGATIVE_TAG - tag),
        tag @ 0xF6..=0xFD => 1 + usize::from(tag - POSITIVE_TAG),
        super::ERROR.. => return None,
        _ => 1,
    };
    (len <= bytes.len()).then_some(len)
}

/// The value at the start of `bytes`, and what follows it.
pub(super) fn take(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (negative, used) = match tag {
        ..NEGATIVE_TAG => (true, NEGATIVE_TAG - tag),
        0xF6..=0xFD => (false, tag - POSITIVE_TAG),
        super::ERROR.. => return None,
        _ => return Some((i64::from(tag) - ZERO_TAG, rest)),
    };
    let (payload, rest) = rest.split_at_checked(used.into())?;
    let fill = if negative { u64::MAX } else { 0 };
    let value =
        payload.iter().fold(fill, |value, &byte| value << 8 | u64::from(byte)).cast_signed();
    // Eight bytes could hold a value of the other sign.
    ((value < 0) == negative).then_some((value, rest))
}

/// The value of a datum that is nothing but an integer.
pub(super) fn decode(datum: &[u8]) -> Option<i64> {
    match take(datum)? {
        (value, []) => Some(value),
        _ => None,
    }
}

pub(super) fn write_text(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(itoa::Buffer::new().format(decode(datum)?).as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn datum(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put(value, &mut out);
        out
    }

    #[test]
    fn small_values_take_one_byte() {
        for value in [-8, -1, 0, 1, 100, 229] {
            assert_eq!(datum(value).len(), 1, "{value}");
        }
        assert_eq!(datum(230).len(), 2);
        assert_eq!(datum(-9).len(), 2);
        assert_eq!(datum(65_535).len(), 3);
        assert_eq!(datum(i64::MIN).len(), 9);
    }

    #[test]
    fn refuses_what_postgres_does_not_print() {
        for text in
            ["", "-", "+1", "01", "-0", "1 ", "1e2", "9223372036854775808", "99999999999999999999"]
        {
            assert_eq!(
                encode(text.as_bytes(), i64::MIN, i64::MAX, &mut Vec::new()),
                None,
                "{text}"
            );
        }
        assert_eq!(encode(b"32768", i16::MIN.into(), i16::MAX.into(), &mut Vec::new()), None);
    }

    fn any_size() -> impl Strategy<Value = i64> {
        (any::<i64>(), 0u32..64).prop_map(|(value, shift)| value >> shift)
    }

    proptest! {
        #[test]
        fn values_come_back_and_keep_their_order(a in any_size(), b in any_size()) {
            let (x, y) = (datum(a), datum(b));
            prop_assert_eq!(decode(&x), Some(a));
            prop_assert_eq!(len(&x), Some(x.len()));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }

        #[test]
        fn text_comes_back(a in any_size()) {
            let (mut bytes, mut text) = (Vec::new(), Vec::new());
            encode(a.to_string().as_bytes(), i64::MIN, i64::MAX, &mut bytes).unwrap();
            write_text(&bytes, &mut text).unwrap();
            prop_assert_eq!(text, a.to_string().into_bytes());
        }
    }
}
