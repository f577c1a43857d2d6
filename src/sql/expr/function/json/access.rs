//! A member, an element, what lies at a path.

use crate::value::{Array, Json, Scalar, Type};

use super::super::super::eval::{EvalError, Result};
use super::super::{Table, Typed, Types, text};
use super::parse;

pub(super) fn register(table: &mut Table) {
    for ty in ["json", "jsonb"] {
        table.add(&format!("->({ty},text)"), |t, a| {
            let key = a[1].take_str();
            found(t, Json::member(a[0].str(), &key), false)
        });
        table.add(&format!("->>({ty},text)"), |t, a| {
            let key = a[1].take_str();
            found(t, Json::member(a[0].str(), &key), true)
        });
        table.add(&format!("->({ty},int4)"), |t, a| found(t, element(t, a), false));
        table.add(&format!("->>({ty},int4)"), |t, a| found(t, element(t, a), true));
        table.add(&format!("#>({ty},_text)"), |t, a| at_path(t, a, false));
        table.add(&format!("#>>({ty},_text)"), |t, a| at_path(t, a, true));
        table.add(&format!("{ty}_extract_path({ty},_text)"), |t, a| at_path(t, a, false));
        table.add(&format!("{ty}_extract_path_text({ty},_text)"), |t, a| at_path(t, a, true));
        table.add(&format!("{ty}_typeof({ty})"), |_, a| Ok(text(kind(a[0].str()))));
        table.add(&format!("{ty}_array_length({ty})"), |_, a| match parse(a[0].str())? {
            Json::Array(elements) => Ok(Scalar::Int(elements.len() as i64)),
            Json::Object(_) => Err(EvalError::text("cannot get array length of a non-array")),
            Json::Scalar(_) => Err(EvalError::text("cannot get array length of a scalar")),
        });
    }
}

/// A jsonb scalar is an array of one at the top.
fn element<'a>(types: &Types, of: &'a [Scalar<'_>]) -> Option<&'a str> {
    let (json, at) = (of[0].str(), of[1].int());
    let is_scalar = !matches!(kind(json), "array" | "object");
    if types.arguments[0] == Type::Jsonb && is_scalar {
        return (at == 0 || at == -1).then_some(json);
    }
    Json::element(json, at)
}

pub(in super::super) fn kind(of: &str) -> &'static str {
    match of.trim_start().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// A part of a document, as JSON or as text.
fn found<'v>(_: &Types, part: Option<&str>, as_text: bool) -> Result<Scalar<'v>> {
    let Some(part) = part else { return Ok(Scalar::Null) };
    if !as_text {
        return Ok(text(part.to_owned()));
    }
    part_as_text(part).map(Scalar::into_owned)
}

/// A string without its quotes; null is NULL.
pub(in crate::sql::expr) fn part_as_text(part: &str) -> Result<Scalar<'_>> {
    Ok(match part.as_bytes().first() {
        Some(b'"') => match Json::unescape(part) {
            Some(of) => Scalar::Text(of),
            None => return Err(EvalError::text("unsupported Unicode escape sequence")),
        },
        Some(b'n') => Scalar::Null,
        _ => Scalar::Text(part.into()),
    })
}

fn at_path<'v>(types: &Types, of: &[Scalar<'_>], as_text: bool) -> Result<Scalar<'v>> {
    let path = Array::parse(&types.arguments[1], of[1].str())?;
    walk(types, of[0].str(), &path.elements, as_text)
}

fn walk<'v>(types: &Types, of: &str, path: &[Scalar<'_>], as_text: bool) -> Result<Scalar<'v>> {
    let mut part = Json::trim(of);
    for step in path {
        let Scalar::Text(step) = step else { return Ok(Scalar::Null) };
        let next = match kind(part) {
            "object" => Json::member(part, step),
            "array" => match index(step) {
                Some(at) => Json::element(part, at),
                None => None,
            },
            _ => None,
        };
        match next {
            Some(next) => part = next,
            None => return Ok(Scalar::Null),
        }
    }
    found(types, Some(part), as_text)
}

/// As strtoint reads it.
pub(super) fn index(step: &str) -> Option<i64> {
    let step = step.trim_start();
    step.parse::<i32>().ok().map(i64::from)
}
