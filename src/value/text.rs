//! Text, and everything that is kept as its text: the bytes and a 0x00, which text cannot hold.
//! UTF-8 has no bytes 0xFE and 0xFF, so no text looks like an error or NULL.

use super::{ERROR, int};

pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if text.first() >= Some(&ERROR) || memchr::memchr(0, text).is_some() {
        return None;
    }
    out.extend_from_slice(text);
    out.push(0);
    Some(())
}

pub(super) fn len(bytes: &[u8]) -> Option<usize> {
    if bytes.first() >= Some(&ERROR) {
        return None;
    }
    memchr::memchr(0, bytes).map(|end| end + 1)
}

/// The text of a whole datum.
pub(super) fn decode(datum: &[u8]) -> Option<&[u8]> {
    let (&terminator, text) = datum.split_last()?;
    (terminator == 0 && text.first() < Some(&ERROR)).then_some(text)
}

/// character(n): trailing blanks do not count in comparisons, so their number is a suffix.
pub(super) fn encode_padded(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let kept = text.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1);
    let (kept, blanks) = text.split_at_checked(kept)?;
    encode(kept, out)?;
    int::put(i64::try_from(blanks.len()).ok()?, out);
    Some(())
}

pub(super) fn padded_len(bytes: &[u8]) -> Option<usize> {
    let kept = len(bytes)?;
    Some(kept + int::len(bytes.get(kept..)?)?)
}

pub(super) fn write_padded(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    /// character(n) is declared with at most this length.
    const BLANKS_MAX: usize = 10 * 1024 * 1024;
    let (kept, blanks) = datum.split_at_checked(len(datum)?)?;
    let blanks = usize::try_from(int::decode(blanks)?).ok().filter(|&n| n <= BLANKS_MAX)?;
    out.extend_from_slice(decode(kept)?);
    out.resize(out.len() + blanks, b' ');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode_padded(text.as_bytes(), &mut out).unwrap();
        out
    }

    #[test]
    fn padding_does_not_decide_the_order() {
        assert!(padded("a   ") < padded("a\n  "));
        assert_eq!(padded("ab  ")[..3], padded("ab")[..3]);
        let mut text = Vec::new();
        write_padded(&padded("é   "), &mut text).unwrap();
        assert_eq!(text, "é   ".as_bytes());
        assert_eq!(padded_len(&padded("x ")), Some(3));
    }

    #[test]
    fn no_text_holds_a_zero_or_looks_like_null() {
        assert_eq!(encode(b"a\0b", &mut Vec::new()), None);
        assert_eq!(encode(b"\xFFa", &mut Vec::new()), None);
        assert_eq!(decode(b"a"), None);
        assert_eq!(decode(b"\0"), Some(&b""[..]));
    }
}
