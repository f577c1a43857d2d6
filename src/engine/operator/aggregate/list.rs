//! Aggregates that write out a group's rows, as Postgres prints them.

use std::collections::BTreeMap;

use super::running::Failure;
use crate::sql::plan::Function;
use crate::value::{self, Type, ValueError, write_json_string};

/// What an answer takes as a rule.
const TEXT_USUAL: usize = 256;

/// The answer so far, and how it goes on.
pub(super) struct List<'a> {
    function: Function,
    types: &'a [&'a Type],
    text: Vec<u8>,
    /// Rows that it holds.
    rows: usize,
    /// What arrays in an array have in common.
    dimensions: Vec<usize>,
    /// jsonb_object_agg: the last value of each key, in jsonb's order of keys.
    object: BTreeMap<(usize, Vec<u8>), Vec<u8>>,
}

impl<'a> List<'a> {
    pub(super) fn new(function: Function, types: &'a [&'a Type]) -> Self {
        Self {
            function,
            types,
            // Mostly enough, so that it grows once and not byte by byte.
            text: Vec::with_capacity(TEXT_USUAL),
            rows: 0,
            dimensions: Vec::new(),
            object: BTreeMap::new(),
        }
    }

    /// One more row, given the arguments' datums.
    pub(super) fn push(&mut self, datums: &[&[u8]]) -> Result<(), Failure> {
        let first = datums[0];
        let (ty, out) = (self.types[0], &mut self.text);
        match self.function {
            Function::ArrayAgg => {
                out.push(if self.rows == 0 { b'{' } else { delimiter_of(ty) });
                match ty {
                    Type::Array(_, delimiter) if *delimiter != b' ' => {
                        push_array(first, *delimiter, self.rows, &mut self.dimensions, out)?;
                    }
                    _ => push_element(ty, first, out).map_err(told)?,
                }
            }
            Function::StringAgg if value::is_null(first) => return Ok(()),
            Function::StringAgg => {
                let between = if self.rows == 0 { None } else { datums.get(1) };
                let parts = between.filter(|datum| !value::is_null(datum)).into_iter();
                for part in parts.chain([&first]) {
                    let start = out.len();
                    value::write_text(ty, part, out).map_err(told)?;
                    // bytea: one \x for all.
                    if *ty == Type::Bytea && start > 0 {
                        out.drain(start..start + 2);
                    }
                }
            }
            Function::JsonAgg | Function::JsonAggRows => {
                out.extend_from_slice(match self.rows {
                    0 => b"[",
                    _ if self.function == Function::JsonAggRows && !value::is_null(first) => {
                        b", \n "
                    }
                    _ => b", ",
                });
                write_json_text(ty, first, out)?;
            }
            Function::JsonbAgg => {
                out.extend_from_slice(if self.rows == 0 { b"[" } else { b", " });
                value::write_json(ty, first, out).map_err(told)?;
            }
            Function::JsonObjectAgg => {
                out.extend_from_slice(if self.rows == 0 { b"{ " } else { b", " });
                write_json_string(&field_name(ty, first)?, out);
                out.extend_from_slice(b" : ");
                write_json_text(self.types[1], datums[1], out)?;
            }
            _ => {
                let name = field_name(ty, first)?;
                let mut json = Vec::new();
                value::write_json(self.types[1], datums[1], &mut json).map_err(told)?;
                self.object.insert((name.len(), name), json);
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Appends the answer's datum, which is NULL for no rows.
    pub(super) fn write(mut self, result: &Type, out: &mut Vec<u8>) -> Result<(), Failure> {
        if self.rows == 0 {
            value::encode_null(out);
            return Ok(());
        }
        match self.function {
            Function::ArrayAgg => self.text.push(b'}'),
            Function::JsonAgg | Function::JsonAggRows | Function::JsonbAgg => self.text.push(b']'),
            Function::JsonObjectAgg => self.text.extend_from_slice(b" }"),
            Function::JsonbObjectAgg => {
                for (at, ((_, name), json)) in self.object.iter().enumerate() {
                    self.text.extend_from_slice(if at == 0 { b"{" } else { b", " });
                    write_json_string(name, &mut self.text);
                    self.text.extend_from_slice(b": ");
                    self.text.extend_from_slice(json);
                }
                self.text.push(b'}');
            }
            _ => {}
        }
        value::encode(result, &self.text, out).map_err(told)
    }
}

fn told(error: ValueError) -> Failure {
    error.to_string()
}

/// What stands between the elements of an array of this type.
fn delimiter_of(element: &Type) -> u8 {
    match element {
        Type::Array(_, delimiter) if *delimiter != b' ' => *delimiter,
        _ => b',',
    }
}

fn push_element(ty: &Type, datum: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    if value::is_null(datum) {
        out.extend_from_slice(b"NULL");
        return Ok(());
    }
    let start = out.len();
    value::write_text(ty, datum, out)?;
    let text = &out[start..];
    let is_special =
        |byte: &u8| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t'..=b'\r');
    if text.is_empty() || text.eq_ignore_ascii_case(b"NULL") || text.iter().any(is_special) {
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

/// An array as an element: it has the others' dimensions.
fn push_array(
    datum: &[u8],
    delimiter: u8,
    rows: usize,
    dimensions: &mut Vec<usize>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let text = match datum {
        [value::NULL, ..] => return Err("cannot accumulate null arrays".into()),
        [text @ .., 0] => text,
        _ => return Err("the array cannot be read".into()),
    };
    // Lower bounds in front do not count in an array of arrays.
    let text = match memchr::memchr(b'=', text) {
        Some(at) if text.first() == Some(&b'[') => &text[at + 1..],
        _ => text,
    };
    if text == b"{}" {
        return Err("cannot accumulate empty arrays".into());
    }
    let found = dimensions_of(text, delimiter);
    if rows == 0 {
        *dimensions = found;
    } else if *dimensions != found {
        return Err("cannot accumulate arrays of different dimensionality".into());
    }
    out.extend_from_slice(text);
    Ok(())
}

/// How many elements the first array of each level has.
fn dimensions_of(text: &[u8], delimiter: u8) -> Vec<usize> {
    let (mut counts, mut depth, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    let mut closed = 0;
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' => {
                depth += 1;
                if depth > counts.len() {
                    counts.push(1);
                    closed += 1;
                }
            }
            b'}' => {
                closed = closed.min(depth - 1);
                depth -= 1;
            }
            _ if byte == delimiter && depth <= closed && depth > 0 => counts[depth - 1] += 1,
            _ => {}
        }
    }
    counts
}

/// An object's key: the text of what must be a scalar.
fn field_name(ty: &Type, datum: &[u8]) -> Result<Vec<u8>, Failure> {
    if value::is_null(datum) {
        return Err("field name must not be null".into());
    }
    let mut name = Vec::new();
    match ty {
        Type::Bool => name.extend_from_slice(if datum == [1] { b"true" } else { b"false" }),
        Type::Date | Type::Timestamp | Type::TimestampTz => {
            value::write_json(ty, datum, &mut name).map_err(told)?;
            name.retain(|&byte| byte != b'"');
        }
        Type::Json | Type::Jsonb | Type::Array(..) | Type::Composite(_) => {
            return Err("key value must be scalar, not array, composite, or json".into());
        }
        _ => value::write_text(ty, datum, &mut name).map_err(told)?,
    }
    Ok(name)
}

/// Appends what `to_json(value)` prints.
fn write_json_text(ty: &Type, datum: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
    match ty {
        _ if value::is_null(datum) => out.extend_from_slice(b"null"),
        Type::Json | Type::Jsonb => value::write_text(ty, datum, out).map_err(told)?,
        Type::Float4 | Type::Float8 => {
            let start = out.len();
            value::write_text(ty, datum, out).map_err(told)?;
            if out[start..].iter().any(u8::is_ascii_uppercase) {
                out.insert(start, b'"');
                out.push(b'"');
            }
        }
        Type::Array(..) | Type::Composite(_) => {
            return Err(format!("a json document of {ty} is not supported; use jsonb"));
        }
        _ => value::write_json(ty, datum, out).map_err(told)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::encode;

    fn datum(ty: &Type, text: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        match text {
            Some(text) => encode(ty, text.as_bytes(), &mut out).expect("a value"),
            None => value::encode_null(&mut out),
        }
        out
    }

    fn list(
        function: Function,
        types: &[&Type],
        result: &Type,
        rows: &[&[Option<&str>]],
    ) -> Result<String, Failure> {
        let mut list = List::new(function, types);
        for row in rows {
            let datums: Vec<_> =
                types.iter().zip(*row).map(|(ty, text)| datum(ty, *text)).collect();
            list.push(&datums.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        }
        let mut out = Vec::new();
        list.write(result, &mut out)?;
        if value::is_null(&out) {
            return Ok("NULL".into());
        }
        let mut text = Vec::new();
        value::write_text(result, &out, &mut text).expect("what was written");
        Ok(String::from_utf8(text).expect("text"))
    }

    fn array(of: &Type) -> Type {
        Type::Array(Box::new(of.clone()), b',')
    }

    #[test]
    fn arrays_quote_what_needs_it() {
        let rows: &[&[Option<&str>]] = &[
            &[Some("a")],
            &[None],
            &[Some("")],
            &[Some("null")],
            &[Some("a b")],
            &[Some("q\"\\")],
            &[Some("{,}")],
        ];
        let text = list(Function::ArrayAgg, &[&Type::Text], &array(&Type::Text), rows);
        assert_eq!(text.as_deref(), Ok(r#"{a,NULL,"","null","a b","q\"\\","{,}"}"#));
        let none = list(Function::ArrayAgg, &[&Type::Int4], &array(&Type::Int4), &[]);
        assert_eq!(none.as_deref(), Ok("NULL"));
    }

    #[test]
    fn arrays_of_arrays_have_one_shape() {
        let ints = array(&Type::Int4);
        let of = |rows: &[&str]| {
            let rows: Vec<Vec<Option<&str>>> = rows.iter().map(|row| vec![Some(*row)]).collect();
            let rows: Vec<&[Option<&str>]> = rows.iter().map(Vec::as_slice).collect();
            list(Function::ArrayAgg, &[&ints], &ints, &rows)
        };
        assert_eq!(of(&["{1,2}", "[0:1]={3,NULL}"]).as_deref(), Ok("{{1,2},{3,NULL}}"));
        assert!(of(&["{1,2}", "{3}"]).is_err());
        assert!(of(&["{}"]).is_err());
        assert_eq!(dimensions_of(b"{{1,2,3},{4,5,6}}", b','), [2, 3]);
        assert_eq!(dimensions_of(br#"{"a,b","}\"{"}"#, b','), [2]);
    }

    #[test]
    fn strings_and_bytes() {
        let comma = Some(", ");
        let rows: &[&[Option<&str>]] =
            &[&[None, comma], &[Some("a"), comma], &[Some("b"), None], &[Some("c"), comma]];
        let text = list(Function::StringAgg, &[&Type::Text, &Type::Text], &Type::Text, rows);
        assert_eq!(text.as_deref(), Ok("ab, c"));
        let rows: &[&[Option<&str>]] =
            &[&[Some("\\x01"), Some("\\xff")], &[Some("\\x02"), Some("\\xff")]];
        let bytes = list(Function::StringAgg, &[&Type::Bytea, &Type::Bytea], &Type::Bytea, rows);
        assert_eq!(bytes.as_deref(), Ok("\\x01ff02"));
    }

    #[test]
    fn json_as_it_is_printed() {
        let rows: &[&[Option<&str>]] = &[&[Some("1e+20")], &[None], &[Some("NaN")]];
        let text = list(Function::JsonAgg, &[&Type::Float8], &Type::Json, rows);
        assert_eq!(text.as_deref(), Ok(r#"[1e+20, null, "NaN"]"#));
        let wholes: &[&[Option<&str>]] = &[&[Some("{}")], &[None], &[Some("{}")]];
        let text = list(Function::JsonAggRows, &[&Type::Json], &Type::Json, wholes);
        assert_eq!(text.as_deref(), Ok("[{}, null, \n {}]"));
        let text = list(Function::JsonbAgg, &[&Type::Float8], &Type::Jsonb, rows);
        assert_eq!(text.as_deref(), Ok(r#"[100000000000000000000, null, "NaN"]"#));
        let rows: &[&[Option<&str>]] =
            &[&[Some("bb"), Some("1")], &[Some("a"), None], &[Some("bb"), Some("2")]];
        let types = [&Type::Text, &Type::Int4];
        let text = list(Function::JsonObjectAgg, &types, &Type::Json, rows);
        assert_eq!(text.as_deref(), Ok(r#"{ "bb" : 1, "a" : null, "bb" : 2 }"#));
        let text = list(Function::JsonbObjectAgg, &types, &Type::Jsonb, rows);
        assert_eq!(text.as_deref(), Ok(r#"{"a": null, "bb": 2}"#));
        assert!(list(Function::JsonObjectAgg, &types, &Type::Json, &[&[None, None]]).is_err());
    }
}
