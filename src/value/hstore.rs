//! hstore as it prints itself, `"a"=>"1", "b"=>NULL`, which already has jsonb's order of keys; its
//! cast to json makes it an object of strings and nulls.

use super::array::take_quoted;
use super::escape;

pub(super) fn write_json(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut unquoted = Vec::new();
    let mut rest = text;
    out.push(b'{');
    while !rest.is_empty() {
        rest = take_string(rest, &mut unquoted)?;
        escape::write_string(&unquoted, out);
        out.extend_from_slice(b": ");
        rest = rest.strip_prefix(b"=>")?;
        rest = match rest.strip_prefix(b"NULL") {
            Some(after) => {
                out.extend_from_slice(b"null");
                after
            }
            None => {
                let after = take_string(rest, &mut unquoted)?;
                escape::write_string(&unquoted, out);
                after
            }
        };
        if !rest.is_empty() {
            rest = rest.strip_prefix(b", ").filter(|rest| !rest.is_empty())?;
            out.extend_from_slice(b", ");
        }
    }
    out.push(b'}');
    Some(())
}

fn take_string<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    out.clear();
    take_quoted(text.strip_prefix(b"\"")?, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Option<String> {
        let mut out = Vec::new();
        write_json(text.as_bytes(), &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn pairs_quotes_and_nulls() {
        for (text, expected) in [
            ("", "{}"),
            (r#""a"=>"1", "b"=>NULL"#, r#"{"a": "1", "b": null}"#),
            (r#""a\"\\"=>"NULL""#, r#"{"a\"\\": "NULL"}"#),
        ] {
            assert_eq!(json(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["a=>1", "\"a\"", "\"a\"=>", "\"a\"=>\"1\",", "\"a\"=>\"1\", ", "\"a\"=>NUL"] {
            assert_eq!(json(text), None, "{text}");
        }
    }
}
