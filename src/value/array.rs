//! Arrays as Postgres prints them: `{1,NULL,"a \"b\""}`, nested braces for more dimensions, and
//! `[0:1]=` in front where a lower bound is not 1. They are kept as that text; here it becomes JSON,
//! which knows no bounds.

use super::Type;
use super::datum::write_json_of_text;

/// Postgres' own limit.
const DIMENSIONS_MAX: usize = 6;

pub(super) fn write_json(
    element: &Type,
    delimiter: u8,
    text: &[u8],
    out: &mut Vec<u8>,
) -> Option<()> {
    let mut rest = without_bounds(text)?;
    let (mut unquoted, mut scratch) = (Vec::new(), Vec::new());
    let mut depth = 0usize;
    loop {
        // Where a value begins: an element, or an array one level down.
        match rest {
            [b'{', after @ ..] if depth < DIMENSIONS_MAX => {
                depth += 1;
                out.push(b'[');
                rest = after;
                if rest.first() != Some(&b'}') {
                    continue;
                }
            }
            [b'"', after @ ..] => {
                unquoted.clear();
                rest = take_quoted(after, &mut unquoted)?;
                write_json_of_text(element, &unquoted, &mut scratch, out)?;
            }
            _ => {
                let len = rest.iter().position(|&byte| byte == delimiter || byte == b'}')?;
                let (text, after) = rest.split_at_checked(len)?;
                match text {
                    b"" => return None,
                    b"NULL" => out.extend_from_slice(b"null"),
                    text => write_json_of_text(element, text, &mut scratch, out)?,
                }
                rest = after;
            }
        }
        // Where it ends, others may end too.
        loop {
            if depth == 0 {
                return rest.is_empty().then_some(());
            }
            let (&byte, after) = rest.split_first()?;
            rest = after;
            if byte == delimiter {
                out.extend_from_slice(b", ");
                break;
            }
            if byte != b'}' {
                return None;
            }
            depth -= 1;
            out.push(b']');
        }
    }
}

/// int2vector and oidvector: `1 2 3`.
pub(super) fn write_vector_json(element: &Type, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut scratch = Vec::new();
    out.push(b'[');
    if !text.is_empty() {
        for (position, text) in text.split(|&byte| byte == b' ').enumerate() {
            if position > 0 {
                out.extend_from_slice(b", ");
            }
            write_json_of_text(element, text, &mut scratch, out)?;
        }
    }
    out.push(b']');
    Some(())
}

/// The array in braces.
fn without_bounds(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'{', ..] => Some(text),
        [b'[', ..] => {
            text.get(memchr::memchr(b'=', text)? + 1..).filter(|text| text.first() == Some(&b'{'))
        }
        _ => None,
    }
}

/// Takes what follows an opening quote, up to the closing one; a backslash stands before each quote
/// and backslash within.
pub(super) fn take_quoted<'a>(mut text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let special = memchr::memchr2(b'"', b'\\', text)?;
        out.extend_from_slice(text.get(..special)?);
        match text.get(special..)? {
            [b'"', after @ ..] => return Some(after),
            [_, escaped, after @ ..] => {
                out.push(*escaped);
                text = after;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(element: Type, delimiter: u8, text: &str) -> Option<String> {
        let mut out = Vec::new();
        write_json(&element, delimiter, text.as_bytes(), &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn elements_dimensions_and_bounds() {
        for (text, expected) in [
            ("{}", "[]"),
            ("{1,2,NULL}", "[1, 2, null]"),
            ("{{1,2},{3,4}}", "[[1, 2], [3, 4]]"),
            ("[0:1]={1,2}", "[1, 2]"),
            ("[-1:-1][2:3]={{1,2}}", "[[1, 2]]"),
        ] {
            assert_eq!(json(Type::Int4, b',', text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(
            json(Type::Text, b',', r#"{"a \"b\"\\",null,"NULL",""}"#).as_deref(),
            Some(r#"["a \"b\"\\", "null", "NULL", ""]"#)
        );
        assert_eq!(
            json(Type::Text, b';', "{(1,2),(3,4);(5,6),(7,8)}").as_deref(),
            Some(r#"["(1,2),(3,4)", "(5,6),(7,8)"]"#)
        );
    }

    #[test]
    fn refuses_what_is_no_array() {
        for text in [
            "",
            "1",
            "{",
            "}",
            "{1",
            "{1,",
            "{,}",
            "{1,}",
            "{1}}",
            "{{1}",
            "[0:1]",
            "[=",
            "{\"1}",
            "{\"1\\",
            "{\"1\"2}",
            "{a}",
            "{{{{{{{1}}}}}}}",
        ] {
            assert_eq!(json(Type::Int4, b',', text), None, "{text}");
        }
    }
}
