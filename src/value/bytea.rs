//! bytea in Postgres' hex form. Inside: the bytes, each 0x00 followed by 0xFF, and 0x00 0x00 at the
//! end, so that a string sorts before its continuations. A 0xFD in front of strings that begin with
//! 0xFD or more keeps them apart from errors and NULL.

use super::ERROR;

const LARGE: u8 = 0xFD;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Both digits of a byte.
pub(super) fn hex_digits(byte: u8) -> [u8; 2] {
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    [digit(byte >> 4), digit(byte & 0x0F)]
}

/// The byte of two digits in lower case.
pub(super) fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    Some(nibble(high)? << 4 | nibble(low)?)
}

pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (pairs, []) = text.strip_prefix(b"\\x")?.as_chunks::<2>() else { return None };
    out.reserve(pairs.len() + 3);
    for (position, &[high, low]) in pairs.iter().enumerate() {
        let byte = hex_byte(high, low)?;
        if position == 0 && byte >= LARGE {
            out.push(LARGE);
        }
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 0]);
    Some(())
}

/// Appends the datum of these bytes.
pub(super) fn put(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.first() >= Some(&LARGE) {
        out.push(LARGE);
    }
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

/// The bytes of a datum.
pub(super) fn decode(datum: &[u8]) -> Option<Vec<u8>> {
    if len(datum)? != datum.len() {
        return None;
    }
    let bytes = datum.strip_suffix(&[0, 0])?;
    let mut rest = bytes.strip_prefix(&[LARGE]).unwrap_or(bytes);
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        decoded.push(byte);
        // A zero has its escape behind it.
        rest = if byte == 0 { after.get(1..)? } else { after };
    }
    Some(decoded)
}

pub(super) fn len(bytes: &[u8]) -> Option<usize> {
    if bytes.first() >= Some(&ERROR) {
        return None;
    }
    let mut len = 0;
    loop {
        let rest = bytes.get(len..)?;
        let zero = memchr::memchr(0, rest)?;
        len += zero + 2;
        match rest.get(zero + 1)? {
            0 => return Some(len),
            0xFF => {}
            _ => return None,
        }
    }
}

pub(super) fn write_text(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if len(datum)? != datum.len() {
        return None;
    }
    let bytes = datum.strip_suffix(&[0, 0])?;
    let mut bytes = bytes.strip_prefix(&[LARGE]).unwrap_or(bytes);
    out.extend_from_slice(b"\\x");
    out.reserve(2 * bytes.len());
    while let Some((&byte, rest)) = bytes.split_first() {
        out.extend_from_slice(&hex_digits(byte));
        bytes = if byte == 0 { rest.strip_prefix(&[0xFF])? } else { rest };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> Vec<u8> {
        let mut text = b"\\x".to_vec();
        text.extend(bytes.iter().flat_map(|&byte| hex_digits(byte)));
        text
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(
            prop_oneof![Just(0), Just(1), Just(0xFD), Just(0xFE), Just(0xFF), any::<u8>()],
            0..6,
        )
    }

    proptest! {
        #[test]
        fn bytes_come_back_and_keep_their_order(a in bytes(), b in bytes()) {
            let (mut x, mut y, mut text) = (Vec::new(), Vec::new(), Vec::new());
            encode(&hex(&a), &mut x).unwrap();
            encode(&hex(&b), &mut y).unwrap();
            prop_assert!(x[0] < ERROR);
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            write_text(&x, &mut text).unwrap();
            prop_assert_eq!(text, hex(&a));
            let whole = x.len();
            x.extend(y);
            prop_assert_eq!(len(&x), Some(whole));
        }
    }

    #[test]
    fn refuses_the_escape_form_and_odd_digits() {
        for text in ["", "abc", "\\x1", "\\xAB", "\\xgg"] {
            assert_eq!(encode(text.as_bytes(), &mut Vec::new()), None, "{text}");
        }
    }
}
