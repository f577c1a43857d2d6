//! Arrays as Postgres prints them: `{1,NULL,"a \"b\""}`, nested braces for more dimensions, and
//! `[0:1]=` in front where a lower bound is not 1. They are kept as that text; here it becomes JSON,
//! which knows no bounds.

use super::datum::{encode, write_json_of_text};
use super::{Scalar, Type, ValueError};

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

// --- Taken apart, and put together ------------------------------------------------------------------

/// An array's elements in order, and its dimensions' lower bounds and lengths.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<'a> {
    pub dimensions: Vec<(i64, i64)>,
    pub elements: Vec<Scalar<'a>>,
}

impl Array<'static> {
    /// From the text that Postgres prints, of this array type.
    pub fn parse(ty: &Type, text: &str) -> Result<Self, ValueError> {
        let Type::Array(element, delimiter) = ty else {
            return Err(ValueError::new(ty, text.as_bytes()));
        };
        let mut datum = Vec::new();
        let mut scalar = |text: &str| {
            datum.clear();
            encode(element, text.as_bytes(), &mut datum).map_err(|error| error.to_string())?;
            let value = Scalar::decode(element, &datum).map_err(|error| error.to_string())?;
            Ok(value.into_owned())
        };
        Self::read(text, *delimiter, &mut scalar).map_err(|_| ValueError::new(ty, text.as_bytes()))
    }

    /// From a text as array_in reads it, blanks around elements included. The error is the element's
    /// own, or none where the array itself cannot be read.
    pub fn read(
        text: &str,
        delimiter: u8,
        element: &mut dyn FnMut(&str) -> Result<Scalar<'static>, String>,
    ) -> Result<Self, Option<String>> {
        let mut reader = Reader { rest: text.trim_ascii().as_bytes(), delimiter, element };
        let lowers = reader.bounds().ok_or(None)?;
        let mut array = Array { dimensions: Vec::new(), elements: Vec::new() };
        let mut lengths = Vec::new();
        reader.level(0, &mut lengths, &mut array.elements)?;
        if !reader.rest.trim_ascii().is_empty() {
            return Err(None);
        }
        if array.elements.is_empty() {
            return if lowers.is_empty() && lengths.iter().all(|length| *length == Some(0)) {
                Ok(array)
            } else {
                Err(None)
            };
        }
        for (at, length) in lengths.iter().enumerate() {
            let length = length.ok_or(None)?;
            let lower = match lowers.get(at) {
                Some((lower, upper)) if upper - lower + 1 == length => *lower,
                Some(_) => return Err(None),
                None => 1,
            };
            array.dimensions.push((lower, length));
        }
        if !lowers.is_empty() && lowers.len() != lengths.len() {
            return Err(None);
        }
        Ok(array)
    }
}

struct Reader<'r> {
    rest: &'r [u8],
    delimiter: u8,
    element: &'r mut dyn FnMut(&str) -> Result<Scalar<'static>, String>,
}

impl Reader<'_> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// `[1:2][0:3]=`, each lower and upper bound.
    fn bounds(&mut self) -> Option<Vec<(i64, i64)>> {
        let mut bounds = Vec::new();
        while let [b'[', after @ ..] = self.rest {
            let end = memchr::memchr(b']', after)?;
            let inner = std::str::from_utf8(after.get(..end)?).ok()?;
            let (lower, upper) = inner.split_once(':').unwrap_or(("1", inner));
            bounds.push((lower.parse().ok()?, upper.parse().ok()?));
            self.rest = after.get(end + 1..)?;
            self.skip_blanks();
        }
        if !bounds.is_empty() {
            self.rest = self.rest.strip_prefix(b"=")?;
            self.skip_blanks();
        }
        Some(bounds)
    }

    /// A brace and what is in it. All at one level are of one length.
    fn level(
        &mut self,
        depth: usize,
        lengths: &mut Vec<Option<i64>>,
        elements: &mut Vec<Scalar<'static>>,
    ) -> Result<(), Option<String>> {
        if depth == DIMENSIONS_MAX {
            return Err(None);
        }
        self.rest = self.rest.strip_prefix(b"{").ok_or(None)?;
        if lengths.len() <= depth {
            lengths.push(None);
        }
        let (mut count, mut nested) = (0, None);
        self.skip_blanks();
        if let [b'}', after @ ..] = self.rest {
            self.rest = after;
        } else {
            loop {
                self.skip_blanks();
                let is_nested = self.rest.first() == Some(&b'{');
                // Elements and arrays do not stand side by side, here or in a neighbour.
                if *nested.get_or_insert(is_nested) != is_nested
                    || (!is_nested && lengths.len() > depth + 1)
                {
                    return Err(None);
                }
                if is_nested {
                    self.level(depth + 1, lengths, elements)?;
                } else {
                    elements.push(self.value()?);
                }
                count += 1;
                self.skip_blanks();
                let (&byte, after) = self.rest.split_first().ok_or(None)?;
                self.rest = after;
                match byte {
                    b'}' => break,
                    byte if byte == self.delimiter => {}
                    _ => return Err(None),
                }
            }
        }
        match lengths.get_mut(depth) {
            Some(length @ None) => *length = Some(count),
            Some(Some(length)) if *length == count => {}
            _ => return Err(None),
        }
        Ok(())
    }

    fn value(&mut self) -> Result<Scalar<'static>, Option<String>> {
        let mut text = Vec::new();
        let (mut quoted, mut kept) = (false, 0);
        loop {
            match self.rest {
                [b'"', after @ ..] => {
                    quoted = true;
                    self.rest = take_quoted(after, &mut text).ok_or(None)?;
                    kept = text.len();
                }
                [b'\\', byte, after @ ..] => {
                    text.push(*byte);
                    kept = text.len();
                    quoted = true;
                    self.rest = after;
                }
                [b'{' | b'\\', ..] | [] => return Err(None),
                [b'}', ..] => break,
                [byte, ..] if *byte == self.delimiter => break,
                [byte, after @ ..] => {
                    text.push(*byte);
                    if !byte.is_ascii_whitespace() {
                        kept = text.len();
                    }
                    self.rest = after;
                }
            }
        }
        text.truncate(kept);
        if !quoted && text.is_empty() {
            return Err(None);
        }
        if !quoted && text.eq_ignore_ascii_case(b"null") {
            return Ok(Scalar::Null);
        }
        let text = String::from_utf8(text).map_err(|_| None)?;
        (self.element)(&text).map_err(Some)
    }
}

impl Array<'_> {
    /// Appends the text that Postgres prints, of this array type.
    pub fn write(&self, ty: &Type, out: &mut Vec<u8>) -> Result<(), ValueError> {
        let Type::Array(element, delimiter) = ty else {
            return Err(ValueError::new(ty, b"an array"));
        };
        if self.elements.is_empty() {
            out.extend_from_slice(b"{}");
            return Ok(());
        }
        if self.dimensions.iter().any(|(lower, _)| *lower != 1) {
            for (lower, length) in &self.dimensions {
                let bounds = format!("[{lower}:{}]", lower + length - 1);
                out.extend_from_slice(bounds.as_bytes());
            }
            out.push(b'=');
        }
        let mut elements = self.elements.iter();
        self.write_level(element, *delimiter, 0, &mut elements, out)
    }

    fn write_level(
        &self,
        element: &Type,
        delimiter: u8,
        depth: usize,
        elements: &mut std::slice::Iter<'_, Scalar<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        out.push(b'{');
        let length = self.dimensions.get(depth).map_or(0, |(_, length)| *length);
        for at in 0..length {
            if at > 0 {
                out.push(delimiter);
            }
            if depth + 1 < self.dimensions.len() {
                self.write_level(element, delimiter, depth + 1, elements, out)?;
            } else if let Some(value) = elements.next() {
                put_element(value, element, delimiter, out)?;
            }
        }
        out.push(b'}');
        Ok(())
    }
}

/// In quotes where it could be taken for something else.
fn put_element(
    value: &Scalar<'_>,
    ty: &Type,
    delimiter: u8,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    if value.is_null() {
        out.extend_from_slice(b"NULL");
        return Ok(());
    }
    let start = out.len();
    value.write_text(ty, out)?;
    let text = out.get(start..).unwrap_or_default();
    let special = |byte: &u8| {
        matches!(byte, b'"' | b'\\' | b'{' | b'}' | b' ' | b'\t'..=b'\r') || *byte == delimiter
    };
    if text.is_empty() || text.eq_ignore_ascii_case(b"null") || text.iter().any(special) {
        let text = out.split_off(start);
        out.push(b'"');
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
    Ok(())
}

/// The elements of an array in its text form, whose elements are of this type.
pub fn array_elements(element: &Type, text: &str) -> Result<Vec<Scalar<'static>>, ValueError> {
    let ty = Type::Array(Box::new(element.clone()), b',');
    Ok(Array::parse(&ty, text)?.elements)
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
    fn taken_apart_and_put_together() {
        for (ty, text) in [
            (Type::Int4, "{}"),
            (Type::Int4, "{1,NULL,3}"),
            (Type::Int4, "[0:1]={1,2}"),
            (Type::Int4, "[-1:0][2:3]={{1,2},{3,4}}"),
            (Type::Text, r#"{a,"b c","NULL",NULL,"","x\"y\\"}"#),
        ] {
            let ty = Type::Array(Box::new(ty), b',');
            let mut out = Vec::new();
            Array::parse(&ty, text).unwrap().write(&ty, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        for text in ["", "{", "{1", "{1}x", "{1,{2}}", "{{1},{2,3}}", "[1:3]={1}", "{a}", "{,}"] {
            let ty = Type::Array(Box::new(Type::Int4), b',');
            assert!(Array::parse(&ty, text).is_err(), "{text}");
        }
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
