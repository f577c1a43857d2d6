//! JSON strings as jsonb prints them: two-letter escapes where JSON has them, `\u00xx` for the other
//! control characters, everything else as it is.

/// Appends `text` in quotes.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    while let Some(special) = find_special(rest) {
        let Some((plain, [byte, after @ ..])) = rest.split_at_checked(special) else { break };
        out.extend_from_slice(plain);
        write_escape(*byte, out);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Puts what `out` has from `start` on into quotes.
pub(super) fn quote_tail(start: usize, out: &mut Vec<u8>) {
    let text = out.split_off(start.min(out.len()));
    write_string(&text, out);
}

fn is_special(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// Where the first byte is that needs an escape.
fn find_special(text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = ONES << 7;
    let (words, _) = text.as_chunks::<8>();
    // Eight bytes at a time: subtracting borrows from a byte's high bit when the byte is smaller. A
    // borrow may mark a later byte of the word too, never none.
    let clean = words
        .iter()
        .take_while(|word| {
            let word = u64::from_le_bytes(**word);
            let control = word.wrapping_sub(ONES * u64::from(b' '));
            let quote = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
            let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
            (control | quote | backslash) & !word & HIGH_BITS == 0
        })
        .count()
        * 8;
    let rest = text.get(clean..)?;
    rest.iter().position(|&byte| is_special(byte)).map(|position| clean + position)
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0C => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&super::bytea::hex_digits(byte));
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn string(text: &str) -> String {
        let mut out = Vec::new();
        write_string(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_what_jsonb_escapes() {
        assert_eq!(
            string("a\u{1}\u{1f}\u{8}\u{c}\n\r\t\"\\/\u{7f}é"),
            "\"a\\u0001\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\u{7f}é\""
        );
    }

    proptest! {
        #[test]
        fn finds_the_first_special_byte(text in prop::collection::vec(
            prop_oneof![9 => any::<u8>(), 1 => Just(b'"')], 0..40)) {
            prop_assert_eq!(find_special(&text), text.iter().position(|&byte| is_special(byte)));
        }

        #[test]
        fn a_json_parser_reads_the_same_text(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&string(&text)).unwrap(), text);
        }
    }
}
