//! JSON texts, read where they lie: a member, an element, or the whole as a tree.

use std::borrow::Cow;

use super::{escape, json};

/// A JSON document. Scalars are as they are written.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    Scalar(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    /// Keys without their escapes, in the order of the text.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Deeper documents are not taken apart: the tree is walked by recursion.
const DEPTH_MAX: usize = 1_000;

impl<'a> Json<'a> {
    /// `None` for what is no JSON text, or is nested too deep.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut reader = Reader { text, at: 0 };
        let json = reader.value(0)?;
        reader.skip_blanks();
        (reader.at == text.len()).then_some(json)
    }

    pub fn is_valid(text: &str) -> bool {
        Json::parse(text).is_some_and(|json| json.is_well_written())
    }

    /// Each scalar is one of JSON's; control characters and escapes included.
    fn is_well_written(&self) -> bool {
        match self {
            Json::Array(elements) => elements.iter().all(Json::is_well_written),
            Json::Object(members) => members.iter().all(|(_, value)| value.is_well_written()),
            Json::Scalar(of) => match of.as_bytes() {
                [b'"', ..] => serde_json::from_str::<&serde_json::value::RawValue>(of).is_ok(),
                b"true" | b"false" | b"null" => true,
                _ => serde_json::from_str::<&serde_json::value::RawValue>(of).is_ok(),
            },
        }
    }

    /// Without the blanks around it.
    pub fn trim(text: &str) -> &str {
        text.trim_matches([' ', '\t', '\n', '\r'])
    }

    /// The text of an object's member; of equal keys the last.
    pub fn member<'t>(text: &'t str, key: &str) -> Option<&'t str> {
        let mut found = None;
        let mut reader = Reader { text, at: 0 };
        reader.members(|name, value| {
            let is_it = match name.contains('\\') {
                false => name.get(1..name.len() - 1) == Some(key),
                true => Json::unescape(name).is_some_and(|name| name == key),
            };
            if is_it {
                found = Some(value);
            }
        })?;
        found
    }

    /// The text of an array's element, counted from the end where negative.
    pub fn element(text: &str, at: i64) -> Option<&str> {
        let mut elements = Vec::new();
        let mut reader = Reader { text, at: 0 };
        reader.elements(|value| elements.push(value))?;
        let at = if at < 0 { at + i64::try_from(elements.len()).ok()? } else { at };
        elements.get(usize::try_from(at).ok()?).copied()
    }

    /// The text of each element of an array; `None` for what is none.
    pub fn each_element<'t>(text: &'t str, each: impl FnMut(&'t str)) -> Option<()> {
        Reader { text, at: 0 }.elements(each)
    }

    /// Each member of an object: its key in its quotes, and the text of its value; `None` for what is none.
    pub fn each_member<'t>(text: &'t str, each: impl FnMut(&'t str, &'t str)) -> Option<()> {
        Reader { text, at: 0 }.members(each)
    }

    /// What a string in its quotes says; `None` where Postgres has no such text.
    pub fn unescape(string: &str) -> Option<Cow<'_, str>> {
        let inner = string.strip_prefix('"')?.strip_suffix('"')?;
        if !inner.contains('\\') {
            return Some(Cow::Borrowed(inner));
        }
        let mut out = Vec::new();
        json::unescape(inner.as_bytes(), &mut out)?;
        String::from_utf8(out).ok().map(Cow::Owned)
    }

    /// Appends it as jsonb prints it; its members are in jsonb's order already.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Json::Scalar(of) => out.extend_from_slice(of.as_bytes()),
            Json::Array(elements) => {
                out.push(b'[');
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        out.extend_from_slice(b", ");
                    }
                    element.write(out);
                }
                out.push(b']');
            }
            Json::Object(members) => {
                out.push(b'{');
                for (at, (key, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.extend_from_slice(b", ");
                    }
                    escape::write_string(key.as_bytes(), out);
                    out.extend_from_slice(b": ");
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        let blanks = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += self.rest().iter().take_while(blanks).count();
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.skip_blanks();
        (self.rest().first() == Some(&byte)).then(|| self.at += 1)
    }

    fn value(&mut self, depth: usize) -> Option<Json<'a>> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.skip_blanks();
        Some(match self.rest().first()? {
            b'{' => {
                self.at += 1;
                let mut members = Vec::new();
                if self.take(b'}').is_none() {
                    loop {
                        self.skip_blanks();
                        let key = self.string()?;
                        let key = Json::unescape(key).unwrap_or(Cow::Borrowed(key));
                        self.take(b':')?;
                        members.push((key, self.value(depth + 1)?));
                        if self.take(b',').is_none() {
                            self.take(b'}')?;
                            break;
                        }
                    }
                }
                Json::Object(members)
            }
            b'[' => {
                self.at += 1;
                let mut elements = Vec::new();
                if self.take(b']').is_none() {
                    loop {
                        elements.push(self.value(depth + 1)?);
                        if self.take(b',').is_none() {
                            self.take(b']')?;
                            break;
                        }
                    }
                }
                Json::Array(elements)
            }
            _ => Json::Scalar(Cow::Borrowed(self.scalar()?)),
        })
    }

    /// With its quotes.
    fn string(&mut self) -> Option<&'a str> {
        let start = self.at;
        if self.rest().first() != Some(&b'"') {
            return None;
        }
        let mut end = start + 1;
        loop {
            end += memchr::memchr2(b'"', b'\\', self.text.as_bytes().get(end..)?)?;
            if self.text.as_bytes().get(end) == Some(&b'"') {
                break;
            }
            end += 2;
        }
        self.at = end + 1;
        self.text.get(start..end + 1)
    }

    fn scalar(&mut self) -> Option<&'a str> {
        if self.rest().first() == Some(&b'"') {
            return self.string();
        }
        let start = self.at;
        let part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let length = self.rest().iter().take_while(part).count();
        self.at += length;
        (length > 0).then(|| self.text.get(start..self.at)).flatten()
    }

    /// Passes over a value of any depth; gives its text.
    fn skip(&mut self) -> Option<&'a str> {
        self.skip_blanks();
        let start = self.at;
        let mut depth = 0usize;
        loop {
            self.skip_blanks();
            match self.rest().first()? {
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    self.scalar()?;
                }
            }
            if depth == 0 {
                return self.text.get(start..self.at);
            }
        }
    }

    /// Each member's key in its quotes, and its value. `None` for what is no object.
    fn members(&mut self, mut each: impl FnMut(&'a str, &'a str)) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            self.skip_blanks();
            let key = self.string()?;
            self.take(b':')?;
            let value = self.skip()?;
            each(key, value);
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    /// Each element. `None` for what is no array.
    fn elements(&mut self, mut each: impl FnMut(&'a str)) -> Option<()> {
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            let value = self.skip()?;
            each(value);
            if self.take(b',').is_none() {
                return self.take(b']');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Option<String> {
        let mut out = Vec::new();
        Json::parse(text)?.write(&mut out);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_document_is_written_as_it_was() {
        for text in [
            "1",
            r#""a\"b""#,
            "[]",
            "{}",
            r#"[1, [2.50, null], {"a": {"b": []}}]"#,
            r#"{"": 1, "a b": "}"}"#,
        ] {
            assert_eq!(written(text).as_deref(), Some(text));
        }
        for text in ["", "[", "{", "[1", "[1,]", r#"{"a"}"#, r#"{"a":}"#, "1 2", "]", r#"""#] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn parts_are_found_where_they_lie() {
        let text = r#" {"a" : [1, {"b":"]"} , 3] , "c\u0064": null, "a": {"x": [ ]}}"#;
        assert_eq!(Json::member(text, "a"), Some(r#"{"x": [ ]}"#));
        assert_eq!(Json::member(text, "cd"), Some("null"));
        assert_eq!(Json::member(text, "b"), None);
        assert_eq!(Json::element(r#"[1, {"b":"]"} , 3]"#, 1), Some(r#"{"b":"]"}"#));
        assert_eq!(Json::element("[1, 2, 3]", -1), Some("3"));
        assert_eq!(Json::element("[1]", 1), None);
        assert_eq!(Json::element("{}", 0), None);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(written(&nested(DEPTH_MAX)), Some(nested(DEPTH_MAX)));
        assert_eq!(written(&nested(DEPTH_MAX + 2)), None);
        assert!(Json::element(&nested(100_000), 0).is_some());
    }
}
