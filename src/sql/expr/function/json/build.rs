//! Documents made of values.

use std::borrow::Cow;

use crate::value::{Array, Json, Scalar, Type, write_json_string};

use super::super::super::eval::{EvalError, Result};
use super::super::{Table, Typed, Types, string, text, text_of};
use super::change::{Members, put};
use super::written;

pub(super) fn register(table: &mut Table) {
    table.add("to_jsonb(anyelement)", |t, a| {
        let mut out = Vec::new();
        a[0].write_json(&t.arguments[0], &mut out)?;
        Ok(text(string(out)?))
    });
    table.add("to_json(anyelement)", |t, a| {
        let mut out = Vec::new();
        plain(&a[0], &t.arguments[0], &mut out)?;
        Ok(text(string(out)?))
    });
    table.add("array_to_json(anyarray)", |t, a| {
        let mut out = Vec::new();
        plain(&a[0], &t.arguments[0], &mut out)?;
        Ok(text(string(out)?))
    });
    table.add("jsonb_object(_text)", |t, a| {
        let array = Array::parse(&t.arguments[0], a[0].str())?;
        let pairs = pairs_of(&array)?;
        let (keys, values): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        object_of(&keys, &values)
    });
    table.add("jsonb_object(_text,_text)", |t, a| {
        let keys = Array::parse(&t.arguments[0], a[0].str())?;
        let values = Array::parse(&t.arguments[1], a[1].str())?;
        if keys.dimensions.len() > 1 || values.dimensions.len() > 1 {
            return Err(EvalError::text("wrong number of array subscripts"));
        }
        if keys.elements.len() != values.elements.len() {
            return Err(EvalError::text("mismatched array dimensions"));
        }
        object_of(&keys.elements, &values.elements)
    });
    table.all(&["jsonb_build_array(any)", "jsonb_build_array()"], |t, a| {
        let mut out = vec![b'['];
        for (at, (value, ty)) in a.iter().zip(&t.arguments).enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            value.write_json(ty, &mut out)?;
        }
        out.push(b']');
        Ok(text(string(out)?))
    });
    table.all(&["json_build_array(any)", "json_build_array()"], |t, a| {
        let mut out = vec![b'['];
        for (at, (value, ty)) in a.iter().zip(&t.arguments).enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            plain(value, ty, &mut out)?;
        }
        out.push(b']');
        Ok(text(string(out)?))
    });
    table.all(&["jsonb_build_object(any)", "jsonb_build_object()"], |t, a| {
        let mut members: Vec<(Cow<'_, str>, usize)> = Vec::with_capacity(a.len() / 2);
        for at in (0..a.len()).step_by(2) {
            members.push((key(t, a, at)?, at + 1));
        }
        // In jsonb's order; of equal keys the last one counts.
        members.sort_by(|(a, x), (b, y)| (a.len(), a, y).cmp(&(b.len(), b, x)));
        members.dedup_by(|(later, _), (first, _)| later == first);
        let mut out = vec![b'{'];
        for (at, (key, value)) in members.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            write_json_string(key.as_bytes(), &mut out);
            out.extend_from_slice(b": ");
            a[*value].write_json(&t.arguments[*value], &mut out)?;
        }
        out.push(b'}');
        Ok(text(string(out)?))
    });
    table.all(&["json_build_object(any)", "json_build_object()"], |t, a| {
        let mut out = vec![b'{'];
        for at in (0..a.len()).step_by(2) {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            write_json_string(key(t, a, at)?.as_bytes(), &mut out);
            out.extend_from_slice(b" : ");
            plain(&a[at + 1], &t.arguments[at + 1], &mut out)?;
        }
        out.push(b'}');
        Ok(text(string(out)?))
    });
}

/// Keys and values in turn, or side by side in rows of two.
fn pairs_of<'v>(array: &Array<'v>) -> Result<Vec<(Scalar<'v>, Scalar<'v>)>> {
    match array.dimensions.as_slice() {
        [] => {}
        [_] if array.elements.len() % 2 == 1 => {
            return Err(EvalError::text("array must have even number of elements"));
        }
        [_] | [_, (_, 2)] => {}
        [_, _] => return Err(EvalError::text("array must have two columns")),
        _ => return Err(EvalError::text("wrong number of array subscripts")),
    }
    Ok(array.elements.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}

/// Of texts.
fn object_of<'v>(keys: &[Scalar<'_>], values: &[Scalar<'_>]) -> Result<Scalar<'v>> {
    let mut members: Members<'_> = Vec::new();
    for (key, value) in keys.iter().zip(values) {
        let Scalar::Text(key) = key else {
            return Err(EvalError::text("null value not allowed for object key"));
        };
        let value = match value {
            Scalar::Text(value) => {
                let mut quoted = Vec::new();
                write_json_string(value.as_bytes(), &mut quoted);
                string(quoted)?
            }
            _ => "null".to_owned(),
        };
        put(&mut members, Cow::Borrowed(key), Json::Scalar(value.into()));
    }
    written(&Json::Object(members))
}

/// A table's row: names and values in turn.
pub(in super::super::super) fn row_to_json<'v>(
    types: &'v Types,
    of: &mut [Scalar<'v>],
) -> Result<Scalar<'v>> {
    let mut out = vec![b'{'];
    for at in (0..of.len()).step_by(2) {
        if at > 0 {
            out.push(b',');
        }
        write_json_string(of[at].str().as_bytes(), &mut out);
        out.push(b':');
        plain(&of[at + 1], &types.arguments[at + 1], &mut out)?;
    }
    out.push(b'}');
    Ok(text(string(out)?))
}

fn key<'a>(types: &Types, of: &'a [Scalar<'_>], at: usize) -> Result<Cow<'a, str>> {
    if !of.len().is_multiple_of(2) {
        return Err(EvalError::text("argument list must have even number of elements"));
    }
    if of[at].is_null() {
        let what = format!("argument {}: key must not be null", at + 1);
        return Err(EvalError::new(what));
    }
    match &types.arguments[at] {
        Type::Array(..) | Type::Composite(_) | Type::Json | Type::Jsonb => {
            Err(EvalError::text("key value must be scalar, not array, composite, or json"))
        }
        Type::Text => Ok(Cow::Borrowed(of[at].str())),
        Type::Bool => Ok(of[at].bool().to_string().into()),
        Type::Timestamp | Type::TimestampTz => {
            let mut out = Vec::new();
            of[at].write_json(&types.arguments[at], &mut out)?;
            Ok(string(out)?.trim_matches('"').to_owned().into())
        }
        ty => Ok(text_of(&of[at], ty)?.into()),
    }
}

/// As `to_json` has it: arrays without blanks, json as it was written, numbers as they are printed.
fn plain(value: &Scalar<'_>, ty: &Type, out: &mut Vec<u8>) -> Result<()> {
    match (value, ty) {
        (Scalar::Null, _) => out.extend_from_slice(b"null"),
        (Scalar::Text(of), Type::Json | Type::Jsonb) => out.extend_from_slice(of.as_bytes()),
        (Scalar::Text(of), Type::Array(element, _)) => {
            let array = Array::parse(ty, of)?;
            nested(&array, element, 0, &mut 0, out)?;
        }
        (Scalar::Float(value), Type::Float4 | Type::Float8) if value.is_finite() => {
            out.extend_from_slice(text_of(&Scalar::Float(*value), ty)?.as_bytes());
        }
        (Scalar::Text(_), Type::Composite(_) | Type::Hstore) => {
            return Err(EvalError::text("json of a row type is not supported; write jsonb"));
        }
        _ => value.write_json(ty, out)?,
    }
    Ok(())
}

fn nested(
    array: &Array<'_>,
    element: &Type,
    dimension: usize,
    next: &mut usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    out.push(b'[');
    let length = array.dimensions.get(dimension).map_or(0, |(_, length)| *length);
    for at in 0..length {
        if at > 0 {
            out.push(b',');
        }
        if dimension + 1 < array.dimensions.len() {
            nested(array, element, dimension + 1, next, out)?;
        } else if let Some(value) = array.elements.get(*next) {
            plain(value, element, out)?;
            *next += 1;
        }
    }
    out.push(b']');
    Ok(())
}
