//! Errors in the place of values: 0xFE, the text and 0x00.

use super::ERROR;

/// Appends an error. Texts are cut to what a person reads, and have no 0x00.
pub fn encode_error(text: &str, out: &mut Vec<u8>) {
    const SHOWN_BYTES_MAX: usize = 200;
    out.push(ERROR);
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|&end| end <= SHOWN_BYTES_MAX).last().unwrap_or(0);
    out.extend(text.bytes().take(end).filter(|&byte| byte != 0));
    out.push(0);
}

/// Whether the datum (or the first of several) is an error.
pub fn is_error(datum: &[u8]) -> bool {
    datum.first() == Some(&ERROR)
}

pub(super) fn len(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(0, bytes).map(|end| end + 1)
}

/// The text of an error; `None` for a value.
pub fn error_text(datum: &[u8]) -> Option<&str> {
    let text = datum.strip_prefix(&[ERROR])?.strip_suffix(&[0])?;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Type, datum_len};

    #[test]
    fn an_error_ends_by_itself_whatever_its_column() {
        let mut datum = Vec::new();
        encode_error("division by zero", &mut datum);
        let len = datum.len();
        datum.extend_from_slice(b"more");
        for ty in [Type::Int8, Type::Text, Type::Numeric, Type::Uuid] {
            assert_eq!(datum_len(&ty, &datum), Ok(len));
        }
        assert_eq!(error_text(&datum[..len]), Some("division by zero"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut datum = Vec::new();
        encode_error(&"é".repeat(500), &mut datum);
        assert_eq!(error_text(&datum), Some("é".repeat(100).as_str()));
    }
}
