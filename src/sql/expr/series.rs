//! Functions that make rows of one value: of an array its elements, of a JSON object its members.

use std::borrow::Cow;

use super::eval::EvalError;
use super::function::part_as_text;
use crate::value::{self, Array, Json, Scalar, Type};

/// One of them, and what it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub of: SeriesOf,
    /// The argument's type.
    pub argument: Type,
    /// The rows are numbered, in a last column.
    pub ordinality: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesOf {
    /// An array's elements, those of inner arrays one after the other.
    Unnest,
    /// A JSON array's elements, as JSON or as text.
    Elements,
    ElementsText,
    /// Elements that have to be objects.
    Records,
    /// A JSON object's keys and values.
    Members,
    MembersText,
    Keys,
}

/// The rows that were made: their columns' datums; reused.
#[derive(Default)]
pub struct SeriesRows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl SeriesRows {
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let row = &self.bytes[start..end];
            start = end;
            row
        })
    }

    fn end(&mut self, ordinality: bool) {
        if ordinality {
            value::encode_int(self.ends.len() as i64 + 1, &mut self.bytes);
        }
        self.ends.push(self.bytes.len());
    }
}

impl Series {
    /// What the function of this name does, with an argument of this type.
    pub fn named(name: &str, argument: &Type, ordinality: bool) -> Option<Self> {
        let of = match (name, argument) {
            ("unnest", Type::Array(..)) => SeriesOf::Unnest,
            ("jsonb_array_elements", Type::Jsonb) | ("json_array_elements", Type::Json) => {
                SeriesOf::Elements
            }
            ("jsonb_array_elements_text", Type::Jsonb)
            | ("json_array_elements_text", Type::Json) => SeriesOf::ElementsText,
            ("jsonb_to_recordset", Type::Jsonb) | ("json_to_recordset", Type::Json) => {
                SeriesOf::Records
            }
            ("jsonb_each", Type::Jsonb) | ("json_each", Type::Json) => SeriesOf::Members,
            ("jsonb_each_text", Type::Jsonb) | ("json_each_text", Type::Json) => {
                SeriesOf::MembersText
            }
            ("jsonb_object_keys", Type::Jsonb) | ("json_object_keys", Type::Json) => SeriesOf::Keys,
            _ => return None,
        };
        Some(Self { of, argument: argument.clone(), ordinality })
    }

    /// The rows that the function makes of a datum of its argument; of NULL none.
    pub fn write(&self, datum: &[u8], rows: &mut SeriesRows) -> Result<(), EvalError> {
        rows.bytes.clear();
        rows.ends.clear();
        let value = Scalar::decode(&self.argument, datum)?;
        let text = match &value {
            Scalar::Null => return Ok(()),
            Scalar::Text(text) => text,
            _ => return Err(EvalError::text("neither an array nor JSON")),
        };
        match self.of {
            SeriesOf::Unnest => self.unnest(text, rows),
            SeriesOf::Elements | SeriesOf::ElementsText | SeriesOf::Records => {
                self.elements(text, rows)
            }
            SeriesOf::Members | SeriesOf::MembersText | SeriesOf::Keys => self.members(text, rows),
        }
    }

    fn unnest(&self, text: &str, rows: &mut SeriesRows) -> Result<(), EvalError> {
        let Type::Array(element, _) = &self.argument else {
            return Err(EvalError::text("unnest takes an array"));
        };
        for scalar in Array::parse(&self.argument, text)?.elements {
            scalar.encode(element, &mut rows.bytes)?;
            rows.end(self.ordinality);
        }
        Ok(())
    }

    fn elements(&self, text: &str, rows: &mut SeriesRows) -> Result<(), EvalError> {
        let mut parts = Vec::new();
        if Json::each_element(text, |part| parts.push(part)).is_none() {
            return Err(EvalError::text(match text.trim_start().starts_with('{') {
                true => "cannot extract elements from an object",
                false => "cannot extract elements from a scalar",
            }));
        }
        if self.of == SeriesOf::Records
            && !parts.iter().all(|part| part.trim_start().starts_with('{'))
        {
            return Err(EvalError::text("the argument must be an array of objects"));
        }
        for part in parts {
            self.part(part, rows)?;
            rows.end(self.ordinality);
        }
        Ok(())
    }

    fn members(&self, text: &str, rows: &mut SeriesRows) -> Result<(), EvalError> {
        let mut members = Vec::new();
        if Json::each_member(text, |key, part| members.push((key, part))).is_none() {
            return Err(EvalError::text("cannot take the members of what is no object"));
        }
        for (key, part) in members {
            let key = Json::unescape(key)
                .ok_or(EvalError::text("unsupported Unicode escape sequence"))?;
            Scalar::Text(key).encode(&Type::Text, &mut rows.bytes)?;
            if self.of != SeriesOf::Keys {
                self.part(part, rows)?;
            }
            rows.end(self.ordinality);
        }
        Ok(())
    }

    /// A part of the document, as JSON or as text.
    fn part(&self, part: &str, rows: &mut SeriesRows) -> Result<(), EvalError> {
        let is_text = matches!(self.of, SeriesOf::ElementsText | SeriesOf::MembersText);
        let (value, ty) = match is_text {
            true => (part_as_text(part)?, &Type::Text),
            false => (Scalar::Text(Cow::Borrowed(part)), &self.argument),
        };
        Ok(value.encode(ty, &mut rows.bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, ty: &Type, text: &str, columns: &[Type]) -> Result<Vec<String>, EvalError> {
        let series = Series::named(name, ty, false).expect("a function of this type");
        let mut datum = Vec::new();
        value::encode(ty, text.as_bytes(), &mut datum)?;
        let mut rows = SeriesRows::default();
        series.write(&datum, &mut rows)?;
        let shown = |row: &[u8]| {
            let (mut rest, mut shown) = (row, Vec::new());
            for ty in columns {
                let (datum, behind) = rest.split_at(value::datum_len(ty, rest)?);
                rest = behind;
                match value::is_null(datum) {
                    true => shown.extend_from_slice(b"NULL"),
                    false => value::write_text(ty, datum, &mut shown)?,
                }
                shown.push(b';');
            }
            Ok(String::from_utf8_lossy(&shown).into_owned())
        };
        rows.iter().map(shown).collect()
    }

    #[test]
    fn rows_of_json_and_of_arrays() {
        let (json, text) = (Type::Jsonb, Type::Text);
        let lines = r#"[{"a": 1}, "x\"y", null, 2.50]"#;
        assert_eq!(
            made("jsonb_array_elements", &json, lines, std::slice::from_ref(&json)),
            Ok([r#"{"a": 1};"#, r#""x\"y";"#, "null;", "2.50;"].map(String::from).to_vec())
        );
        assert_eq!(
            made("jsonb_array_elements_text", &json, lines, std::slice::from_ref(&text)),
            Ok([r#"{"a": 1};"#, r#"x"y;"#, "NULL;", "2.50;"].map(String::from).to_vec())
        );
        assert_eq!(
            made("jsonb_each_text", &json, r#"{"b": "x", "a\n": null}"#, &[text.clone(), text]),
            Ok(["b;x;", "a\n;NULL;"].map(String::from).to_vec())
        );
        let ints = Type::Array(Box::new(Type::Int4), b',');
        assert_eq!(
            made("unnest", &ints, "[0:1][2:3]={{1,2},{NULL,4}}", &[Type::Int4]),
            Ok(["1;", "2;", "NULL;", "4;"].map(String::from).to_vec())
        );
        for (name, text) in [
            ("jsonb_array_elements", "{}"),
            ("jsonb_array_elements", "1"),
            ("jsonb_to_recordset", "[{}, 1]"),
            ("jsonb_each", "[]"),
            ("jsonb_object_keys", "\"a\""),
        ] {
            assert!(made(name, &json, text, &[]).is_err(), "{name}({text})");
        }
    }
}
