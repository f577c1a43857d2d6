//! json as jsonb prints it: without the blanks of its author, `", "` and `": "` as separators, keys
//! ordered by length, then by bytes, the last of equal ones kept, escapes and numbers normalised.
//!
//! The document is read once, front to back, and written as it is read. An object whose members turn
//! out to be in another order is put in order where it lies when it ends. The nesting is kept on a
//! stack of our own, so that no depth can exhaust the thread's.

use std::ops::Range;

use super::{escape, number};

/// Appends the jsonb form of a JSON text; `None` where there is none, as for `"\u0000"`.
pub fn normalise(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut open = Open::default();
    let mut rest = text;
    loop {
        rest = take_value(rest, &mut open, out)?;
        // What follows a value that has ended may end others.
        loop {
            if !open.value_ended {
                break;
            }
            let Some(container) = open.containers.last() else {
                return skip_blanks(rest).is_empty().then_some(());
            };
            let (&byte, after) = skip_blanks(rest).split_first()?;
            rest = after;
            match (byte, container.kind) {
                (b',', Kind::Array) => {
                    out.extend_from_slice(b", ");
                    open.value_ended = false;
                }
                (b',', Kind::Object) => {
                    open.end_member(out);
                    out.extend_from_slice(b", ");
                    rest = open.take_key(rest, out)?;
                }
                (b']', Kind::Array) => {
                    open.containers.pop();
                    out.push(b']');
                }
                (b'}', Kind::Object) => {
                    open.end_member(out);
                    open.end_object(out)?;
                }
                _ => return None,
            }
        }
    }
}

/// Takes a scalar, an empty container, or the beginning of another one.
fn take_value<'a>(text: &'a [u8], open: &mut Open, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let text = skip_blanks(text);
    open.value_ended = true;
    let rest = match text {
        [b'{', rest @ ..] => {
            out.push(b'{');
            match skip_blanks(rest) {
                [b'}', rest @ ..] => {
                    out.push(b'}');
                    rest
                }
                rest => {
                    open.begin(Kind::Object, out.len());
                    open.take_key(rest, out)?
                }
            }
        }
        [b'[', rest @ ..] => {
            out.push(b'[');
            match skip_blanks(rest) {
                [b']', rest @ ..] => {
                    out.push(b']');
                    rest
                }
                rest => {
                    open.begin(Kind::Array, out.len());
                    rest
                }
            }
        }
        [b'"', rest @ ..] => {
            let (string, rest) = take_string(rest)?;
            match string {
                JsonString::Plain(text) => {
                    out.push(b'"');
                    out.extend_from_slice(text);
                    out.push(b'"');
                }
                JsonString::Escaped(text) => {
                    let start = out.len();
                    unescape(text, out)?;
                    escape::quote_tail(start, out);
                }
            }
            rest
        }
        [b't', b'r', b'u', b'e', rest @ ..] => {
            out.extend_from_slice(b"true");
            rest
        }
        [b'f', b'a', b'l', b's', b'e', rest @ ..] => {
            out.extend_from_slice(b"false");
            rest
        }
        [b'n', b'u', b'l', b'l', rest @ ..] => {
            out.extend_from_slice(b"null");
            rest
        }
        _ => {
            let len = text
                .iter()
                .take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
                .count();
            let (number, rest) = text.split_at_checked(len)?;
            number::normalise(number, out)?;
            rest
        }
    };
    Some(rest)
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks =
        text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    text.get(blanks..).unwrap_or_default()
}

// --- Containers -----------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Array,
    Object,
}

/// The containers that have begun and not ended, and the members of the objects among them.
#[derive(Default)]
struct Open {
    containers: Vec<Container>,
    members: Vec<Member>,
    /// The members' keys, unescaped, one after the other.
    keys: Vec<u8>,
    value_ended: bool,
}

struct Container {
    kind: Kind,
    /// Where its content begins in the output.
    content: usize,
    /// Where its members begin.
    members: usize,
}

struct Member {
    key: Range<usize>,
    /// Key and value in the output.
    written: Range<usize>,
}

impl Open {
    fn begin(&mut self, kind: Kind, content: usize) {
        self.containers.push(Container { kind, content, members: self.members.len() });
        self.value_ended = false;
    }

    /// Takes a key and its colon.
    fn take_key<'a>(&mut self, text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
        let (string, rest) = take_string(skip_blanks(text).strip_prefix(b"\"")?)?;
        let rest = skip_blanks(rest).strip_prefix(b":")?;
        let (key, written) = (self.keys.len(), out.len());
        match string {
            JsonString::Plain(text) => self.keys.extend_from_slice(text),
            JsonString::Escaped(text) => unescape(text, &mut self.keys)?,
        }
        escape::write_string(self.keys.get(key..)?, out);
        out.extend_from_slice(b": ");
        self.members.push(Member { key: key..self.keys.len(), written: written..written });
        self.value_ended = false;
        Some(rest)
    }

    fn end_member(&mut self, out: &[u8]) {
        if let Some(member) = self.members.last_mut() {
            member.written.end = out.len();
        }
    }

    /// Puts the members of the innermost object in order and leaves it.
    fn end_object(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let object = self.containers.pop()?;
        let members = self.members.get_mut(object.members..)?;
        let keys_start = members.first()?.key.start;
        let keys = &self.keys;
        let order = |member: &Member| (member.key.len(), keys.get(member.key.clone()));
        if !members.is_sorted_by(|a, b| order(a) < order(b)) {
            // Stable: equal keys stay in the order of the text, and the last one counts.
            members.sort_by(|a, b| order(a).cmp(&order(b)));
            let mut sorted = Vec::with_capacity(out.len() - object.content);
            let mut members = members.iter().peekable();
            while let Some(member) = members.next() {
                if members.peek().is_some_and(|next| order(next) == order(member)) {
                    continue;
                }
                if !sorted.is_empty() {
                    sorted.extend_from_slice(b", ");
                }
                sorted.extend_from_slice(out.get(member.written.clone())?);
            }
            out.truncate(object.content);
            out.extend_from_slice(&sorted);
        }
        out.push(b'}');
        self.members.truncate(object.members);
        self.keys.truncate(keys_start);
        Some(())
    }
}

// --- Strings --------------------------------------------------------------------------------------

/// What is between the quotes.
enum JsonString<'a> {
    /// Means what it says.
    Plain(&'a [u8]),
    /// Has backslashes.
    Escaped(&'a [u8]),
}

/// Takes a string whose opening quote is taken, up to its closing one.
fn take_string(text: &[u8]) -> Option<(JsonString<'_>, &[u8])> {
    let mut escaped = false;
    let mut end = 0;
    loop {
        end += memchr::memchr2(b'"', b'\\', text.get(end..)?)?;
        if text.get(end) == Some(&b'"') {
            break;
        }
        escaped = true;
        end += 2;
    }
    let (string, rest) = text.split_at_checked(end)?;
    if string.iter().any(|&byte| byte < b' ') {
        return None;
    }
    let string = if escaped { JsonString::Escaped(string) } else { JsonString::Plain(string) };
    Some((string, rest.get(1..)?))
}

pub(super) fn unescape(mut text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    while let Some(backslash) = memchr::memchr(b'\\', text) {
        out.extend_from_slice(text.get(..backslash)?);
        let (&letter, rest) = text.get(backslash + 1..)?.split_first()?;
        text = rest;
        out.push(match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (character, rest) = take_character(rest)?;
                text = rest;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        });
    }
    out.extend_from_slice(text);
    Some(())
}

/// The four digits after `\u`, and a second escape where they are half of a surrogate pair.
fn take_character(text: &[u8]) -> Option<(char, &[u8])> {
    let (first, rest) = take_unit(text)?;
    let (code, rest) = match first {
        // jsonb cannot hold it.
        0 => return None,
        0xD800..=0xDBFF => {
            let (second, rest) = take_unit(rest.strip_prefix(b"\\u")?)?;
            if !(0xDC00..=0xDFFF).contains(&second) {
                return None;
            }
            (0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00), rest)
        }
        _ => (first, rest),
    };
    Some((char::from_u32(code)?, rest))
}

fn take_unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let unit = digits.iter().try_fold(0, |unit, &digit| {
        char::from(digit).to_digit(16).map(|value| unit << 4 | value)
    })?;
    Some((unit, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(text: &str) -> Option<String> {
        let mut out = Vec::new();
        normalise(text.as_bytes(), &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn as_jsonb_prints_it() {
        for (text, expected) in [
            (" 1 ", "1"),
            ("[ ]", "[]"),
            ("{ }", "{}"),
            ("[1,2 ,[3]]", "[1, 2, [3]]"),
            (r#"{"a":1,"a":2}"#, r#"{"a": 2}"#),
            (
                r#"{"a":1,"a":2,"":3,"bb":4,"b":{"z":1,"y":[{}]}}"#,
                r#"{"": 3, "a": 2, "b": {"y": [{}], "z": 1}, "bb": 4}"#,
            ),
            (r#"{"b\u00e9":1,"\ud83d\ude00":2,"\u0061":0}"#, r#"{"a": 0, "bé": 1, "😀": 2}"#),
            (
                r#"{"b":{"a":1,"a":{"d":1,"c":2}},"a":[{"x":1,"w":0}]}"#,
                r#"{"a": [{"w": 0, "x": 1}], "b": {"a": {"c": 2, "d": 1}}}"#,
            ),
            (r#""\u001f\u007f\/\"\\\t""#, "\"\\u001f\u{7f}/\\\"\\\\\\t\""),
            ("[1.50e1,-0,true,false,null]", "[15.0, 0, true, false, null]"),
        ] {
            assert_eq!(normal(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_jsonb_refuses() {
        for text in [
            "",
            " ",
            "[",
            "]",
            "{",
            "}",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1 2]",
            "1 2",
            "tru",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u0000\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"\n\"",
            "[1}",
            "{\"a\":1]",
            "nulll",
            "{\"\\u0000\":1}",
            "1e131072",
        ] {
            assert_eq!(normal(text), None, "{text}");
        }
    }

    #[test]
    fn depth_does_not_matter() {
        let depth = 200_000;
        let text = "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(normal(&text), Some(text));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::vec(("[a-c\\u{e9}\"]{0,2}", inner), 0..6)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn means_the_same_and_is_a_fixed_point(value in json()) {
            let once = normal(&value.to_string()).unwrap();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&once).unwrap(), value);
            prop_assert_eq!(normal(&once), Some(once));
        }
    }
}
