//! Row types as Postgres prints them: `(1,"a ""b""",)`; nothing between commas is NULL. They are kept
//! as that text; here it becomes a JSON object with its keys in jsonb's order.

use std::ops::Range;

use super::datum::write_json_of_text;
use super::{Type, document, escape};

pub(super) fn write_json(
    attributes: &[(String, Type)],
    text: &[u8],
    out: &mut Vec<u8>,
) -> Option<()> {
    let mut unquoted = Vec::with_capacity(text.len());
    let fields = split(text, attributes.len(), &mut unquoted)?;
    let order = document::json_order(attributes.iter().map(|(name, _)| name.as_str()).enumerate());
    let mut scratch = Vec::new();
    out.push(b'{');
    for (position, attribute) in order.into_iter().enumerate() {
        let ((name, ty), field) = (attributes.get(attribute)?, fields.get(attribute)?);
        if position > 0 {
            out.extend_from_slice(b", ");
        }
        escape::write_string(name.as_bytes(), out);
        out.extend_from_slice(b": ");
        match field {
            Some(field) => {
                write_json_of_text(ty, unquoted.get(field.clone())?, &mut scratch, out)?;
            }
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    Some(())
}

/// Where each attribute's text lies in `unquoted`; `None` for NULL.
fn split(
    text: &[u8],
    attributes: usize,
    unquoted: &mut Vec<u8>,
) -> Option<Vec<Option<Range<usize>>>> {
    let mut rest = text.strip_prefix(b"(")?.strip_suffix(b")")?;
    let mut fields = Vec::with_capacity(attributes);
    if attributes == 0 {
        return rest.is_empty().then_some(fields);
    }
    loop {
        if fields.len() == attributes {
            return None;
        }
        let start = unquoted.len();
        let is_null = matches!(rest.first(), None | Some(b','));
        rest = take_field(rest, unquoted)?;
        fields.push((!is_null).then_some(start..unquoted.len()));
        match rest {
            [] => return (fields.len() == attributes).then_some(fields),
            [_, after @ ..] => rest = after,
        }
    }
}

/// Takes a field up to its comma or the end. Within quotes, quotes and backslashes are doubled.
fn take_field<'a>(mut text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut quoted = false;
    loop {
        match text {
            [b',', ..] | [] if !quoted => return Some(text),
            [b'"', b'"', after @ ..] | [b'\\', b'\\', after @ ..] if quoted => {
                out.push(*text.first()?);
                text = after;
            }
            [b'"', after @ ..] => {
                quoted = !quoted;
                text = after;
            }
            [] | [b'\\', ..] => return None,
            [byte, after @ ..] => {
                out.push(*byte);
                text = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Option<String> {
        let attributes = [("long".into(), Type::Text), ("a".into(), Type::Int4)];
        let mut out = Vec::new();
        write_json(&attributes, text.as_bytes(), &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn fields_quotes_and_nulls() {
        for (text, expected) in [
            ("(x,1)", r#"{"a": 1, "long": "x"}"#),
            ("(,)", r#"{"a": null, "long": null}"#),
            (r#"("",1)"#, r#"{"a": 1, "long": ""}"#),
            (r#"("a ""b"" \\ (c),",1)"#, r#"{"a": 1, "long": "a \"b\" \\ (c),"}"#),
        ] {
            assert_eq!(json(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_row_of_the_type() {
        for text in [
            "", "(", ")", "()", "(x)", "(x,1,2)", "(x,1", "x,1)", "(\"x,1)", "(x,y)", "(\\x,1)",
            "(x,1,)",
        ] {
            assert_eq!(json(text), None, "{text}");
        }
    }
}
