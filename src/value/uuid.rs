//! uuid: its 16 bytes, with a 0xFD in front of those that begin with 0xFD or more (which would look
//! like an error or NULL).

use super::ERROR;
use super::bytea::{hex_byte, hex_digits};

const LARGE: u8 = 0xFD;
const BYTES: usize = 16;
const TEXT_BYTES: usize = 36;

/// A hyphen precedes these bytes.
fn after_hyphen(byte: usize) -> bool {
    matches!(byte, 4 | 6 | 8 | 10)
}

pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if text.len() != TEXT_BYTES {
        return None;
    }
    let mut rest = text;
    for position in 0..BYTES {
        if after_hyphen(position) {
            rest = rest.strip_prefix(b"-")?;
        }
        let [high, low, after @ ..] = rest else { return None };
        let byte = hex_byte(*high, *low)?;
        if position == 0 && byte >= LARGE {
            out.push(LARGE);
        }
        out.push(byte);
        rest = after;
    }
    rest.is_empty().then_some(())
}

/// Appends the datum of these bytes.
pub(super) fn put(value: &[u8; BYTES], out: &mut Vec<u8>) {
    if value.first() >= Some(&LARGE) {
        out.push(LARGE);
    }
    out.extend_from_slice(value);
}

/// The bytes of a datum.
pub(super) fn decode(datum: &[u8]) -> Option<[u8; BYTES]> {
    match datum {
        [LARGE, value @ ..] if value.len() == BYTES => value.try_into().ok(),
        value => value.try_into().ok(),
    }
}

pub(super) fn len(bytes: &[u8]) -> Option<usize> {
    let len = match *bytes.first()? {
        ERROR.. => return None,
        LARGE => BYTES + 1,
        _ => BYTES,
    };
    (len <= bytes.len()).then_some(len)
}

pub(super) fn write_text(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if len(datum)? != datum.len() {
        return None;
    }
    let bytes = datum.strip_prefix(&[LARGE]).unwrap_or(datum);
    for (position, &byte) in bytes.iter().enumerate() {
        if after_hyphen(position) {
            out.push(b'-');
        }
        out.extend_from_slice(&hex_digits(byte));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_and_order_is_the_bytes() {
        let texts = [
            "00000000-0000-0000-0000-000000000000",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "fcffffff-ffff-ffff-ffff-ffffffffffff",
            "fdffffff-ffff-ffff-ffff-ffffffffffff",
            "fe000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ];
        let mut before = Vec::new();
        for text in texts {
            let (mut datum, mut printed) = (Vec::new(), Vec::new());
            encode(text.as_bytes(), &mut datum).unwrap();
            write_text(&datum, &mut printed).unwrap();
            assert_eq!(printed, text.as_bytes());
            assert_eq!(len(&datum), Some(datum.len()));
            assert!(datum > before && datum[0] < ERROR);
            before = datum;
        }
    }

    #[test]
    fn refuses_other_forms() {
        for text in [
            "",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1-",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111",
        ] {
            assert_eq!(encode(text.as_bytes(), &mut Vec::new()), None, "{text}");
        }
    }
}
