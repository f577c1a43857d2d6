//! json and jsonb. jsonb is kept as the text that Postgres prints of it, json as it was written; both
//! are read where they lie.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::value::{Array, Decimal, Json, Scalar, Type, normalise_json, write_json_string};

use super::super::eval::{EvalError, Result};
use super::{Table, Typed, Types, string, text, text_of};

pub(super) fn register(table: &mut Table) {
    access(table);
    built(table);
    changed(table);
    tests(table);
}

/// What Postgres has kept as JSON can be read.
fn parse(of: &str) -> Result<Json<'_>> {
    Json::parse(of).ok_or(EvalError::text("invalid input syntax for type json"))
}

fn written<'v>(json: &Json<'_>) -> Result<Scalar<'v>> {
    let mut out = Vec::new();
    json.write(&mut out);
    Ok(text(string(out)?))
}

// --- Access -----------------------------------------------------------------------------------------

fn access(table: &mut Table) {
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

fn kind(of: &str) -> &'static str {
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
    Ok(match part.as_bytes().first() {
        Some(b'"') => match Json::unescape(part) {
            Some(of) => text(of.into_owned()),
            None => return Err(EvalError::text("unsupported Unicode escape sequence")),
        },
        Some(b'n') => Scalar::Null,
        _ => text(part.to_owned()),
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
fn index(step: &str) -> Option<i64> {
    let step = step.trim_start();
    step.parse::<i32>().ok().map(i64::from)
}

// --- Making -----------------------------------------------------------------------------------------

fn built(table: &mut Table) {
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
pub(in super::super) fn row_to_json<'v>(
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

// --- Changing ---------------------------------------------------------------------------------------

fn changed(table: &mut Table) {
    table.add("||(jsonb,jsonb)", |_, a| {
        let (left, right) = (parse(a[0].str())?, parse(a[1].str())?);
        written(&match (left, right) {
            (Json::Object(mut members), Json::Object(more)) => {
                for (key, value) in more {
                    put(&mut members, key, value);
                }
                Json::Object(members)
            }
            (left, right) => Json::Array(listed(left).into_iter().chain(listed(right)).collect()),
        })
    });
    table.add("-(jsonb,text)", |_, a| {
        let key = a[1].take_str();
        without(a[0].str(), &[Cow::Borrowed(&*key)])
    });
    table.add("-(jsonb,_text)", |t, a| {
        let keys = Array::parse(&t.arguments[1], a[1].str())?;
        let keys: Vec<Cow<'_, str>> = keys
            .elements
            .iter()
            .filter(|key| !key.is_null())
            .map(|key| Cow::Owned(key.str().to_owned()))
            .collect();
        without(a[0].str(), &keys)
    });
    table.add("-(jsonb,int4)", |_, a| match parse(a[0].str())? {
        Json::Array(mut elements) => {
            if let Some(at) = place(elements.len(), a[1].int()) {
                elements.remove(at);
            }
            written(&Json::Array(elements))
        }
        Json::Object(_) => Err(EvalError::text("cannot delete from object using integer index")),
        Json::Scalar(_) => Err(EvalError::text("cannot delete from scalar")),
    });
    table.add("#-(jsonb,_text)", |t, a| {
        let path = Array::parse(&t.arguments[1], a[1].str())?;
        let mut json = parse(a[0].str())?;
        if matches!(json, Json::Scalar(_)) {
            return Err(EvalError::text("cannot delete path in scalar"));
        }
        if !is_empty(&json) {
            remove(&mut json, &steps(&path)?, 0)?;
        }
        written(&json)
    });
    table.all(&["jsonb_set(jsonb,_text,jsonb,bool)"], |t, a| {
        let path = Array::parse(&t.arguments[1], a[1].str())?;
        let create = a.get(3).is_none_or(Typed::bool);
        let mut json = parse(a[0].str())?;
        if matches!(json, Json::Scalar(_)) {
            return Err(EvalError::text("cannot set path in scalar"));
        }
        let value = parse(a[2].str())?;
        if create || !is_empty(&json) {
            set(&mut json, &steps(&path)?, 0, value, create)?;
        }
        written(&json)
    });
    table.add("jsonb_strip_nulls(jsonb)", |_, a| written(&stripped(parse(a[0].str())?)));
    table.add("json_strip_nulls(json)", |_, a| {
        let mut out = Vec::new();
        compact(&stripped(parse(a[0].str())?), &mut out);
        Ok(text(string(out)?))
    });
    table.add("jsonb_pretty(jsonb)", |_, a| {
        let mut out = String::new();
        pretty(&parse(a[0].str())?, 0, &mut out);
        Ok(text(out))
    });
}

type Members<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

fn put<'a>(members: &mut Members<'a>, key: Cow<'a, str>, value: Json<'a>) {
    let place = members.binary_search_by(|(known, _)| {
        (known.len(), known.as_ref()).cmp(&(key.len(), key.as_ref()))
    });
    match place {
        Ok(at) => members[at].1 = value,
        Err(at) => members.insert(at, (key, value)),
    }
}

fn listed(json: Json<'_>) -> Vec<Json<'_>> {
    match json {
        Json::Array(elements) => elements,
        other => vec![other],
    }
}

fn without<'v>(of: &str, keys: &[Cow<'_, str>]) -> Result<Scalar<'v>> {
    match parse(of)? {
        Json::Object(mut members) => {
            members.retain(|(key, _)| !keys.contains(key));
            written(&Json::Object(members))
        }
        Json::Array(mut elements) => {
            elements.retain(|element| match element {
                Json::Scalar(of) if of.starts_with('"') => {
                    Json::unescape(of).is_none_or(|of| !keys.contains(&of))
                }
                _ => true,
            });
            written(&Json::Array(elements))
        }
        Json::Scalar(_) => Err(EvalError::text("cannot delete from scalar")),
    }
}

/// A place in an array, counted from its end where negative.
fn place(length: usize, at: i64) -> Option<usize> {
    let at = if at < 0 { at + length as i64 } else { at };
    usize::try_from(at).ok().filter(|at| *at < length)
}

fn is_empty(json: &Json<'_>) -> bool {
    match json {
        Json::Array(elements) => elements.is_empty(),
        Json::Object(members) => members.is_empty(),
        Json::Scalar(_) => false,
    }
}

/// `None` for a NULL, which is an error when it is reached.
type Steps = Vec<Option<String>>;

fn steps(path: &Array<'_>) -> Result<Steps> {
    if path.dimensions.len() > 1 {
        return Err(EvalError::text("wrong number of array subscripts"));
    }
    let step = |step: &Scalar<'_>| match step {
        Scalar::Text(step) => Some(step.to_string()),
        _ => None,
    };
    Ok(path.elements.iter().map(step).collect())
}

/// The step at this depth, and whether it is the last; none behind the last.
fn step_at(path: &Steps, depth: usize) -> Result<Option<(&str, bool)>> {
    match path.get(depth) {
        None => Ok(None),
        Some(None) => {
            Err(EvalError::new(format!("path element at position {} is null", depth + 1)))
        }
        Some(Some(step)) => Ok(Some((step, depth + 1 == path.len()))),
    }
}

fn remove(json: &mut Json<'_>, path: &Steps, depth: usize) -> Result<()> {
    let Some((step, last)) = step_at(path, depth)? else { return Ok(()) };
    match json {
        Json::Object(members) if last => members.retain(|(key, _)| key != step),
        Json::Object(members) => {
            if let Some((_, value)) = members.iter_mut().find(|(key, _)| key == step) {
                remove(value, path, depth + 1)?;
            }
        }
        Json::Array(elements) => match place(elements.len(), integer_step(step, depth)?) {
            Some(at) if last => {
                elements.remove(at);
            }
            Some(at) => remove(&mut elements[at], path, depth + 1)?,
            None => {}
        },
        Json::Scalar(_) => {}
    }
    Ok(())
}

fn integer_step(step: &str, depth: usize) -> Result<i64> {
    index(step).ok_or_else(|| {
        let position = depth + 1;
        let what = format!("path element at position {position} is not an integer: \"{step}\"");
        EvalError::new(what)
    })
}

fn set<'a>(
    json: &mut Json<'a>,
    path: &Steps,
    depth: usize,
    value: Json<'a>,
    create: bool,
) -> Result<()> {
    let Some((step, last)) = step_at(path, depth)? else { return Ok(()) };
    match json {
        Json::Object(members) => match members.iter_mut().find(|(key, _)| key == step) {
            Some((_, of)) if last => *of = value,
            Some((_, of)) => set(of, path, depth + 1, value, create)?,
            None if last && create => put(members, Cow::Owned(step.to_owned()), value),
            None => {}
        },
        Json::Array(elements) => {
            let at = integer_step(step, depth)?;
            match place(elements.len(), at) {
                Some(at) if last => elements[at] = value,
                Some(at) => set(&mut elements[at], path, depth + 1, value, create)?,
                None if last && create && at < 0 => elements.insert(0, value),
                None if last && create => elements.push(value),
                None => {}
            }
        }
        Json::Scalar(_) => {}
    }
    Ok(())
}

fn stripped(json: Json<'_>) -> Json<'_> {
    match json {
        Json::Object(members) => Json::Object(
            members
                .into_iter()
                .filter(|(_, value)| !matches!(value, Json::Scalar(of) if of == "null"))
                .map(|(key, value)| (key, stripped(value)))
                .collect(),
        ),
        Json::Array(elements) => Json::Array(elements.into_iter().map(stripped).collect()),
        scalar => scalar,
    }
}

/// Without blanks.
fn compact(json: &Json<'_>, out: &mut Vec<u8>) {
    match json {
        Json::Scalar(of) if of.starts_with('"') => match Json::unescape(of) {
            Some(of) => write_json_string(of.as_bytes(), out),
            None => out.extend_from_slice(of.as_bytes()),
        },
        Json::Scalar(of) => out.extend_from_slice(of.as_bytes()),
        Json::Array(elements) => {
            out.push(b'[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                compact(element, out);
            }
            out.push(b']');
        }
        Json::Object(members) => {
            out.push(b'{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_json_string(key.as_bytes(), out);
                out.push(b':');
                compact(value, out);
            }
            out.push(b'}');
        }
    }
}

fn pretty(json: &Json<'_>, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    };
    match json {
        Json::Scalar(of) => out.push_str(of),
        Json::Array(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                line(out, depth + 1);
                pretty(element, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                line(out, depth + 1);
                let mut quoted = Vec::new();
                write_json_string(key.as_bytes(), &mut quoted);
                out.push_str(&String::from_utf8_lossy(&quoted));
                out.push_str(": ");
                pretty(value, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
    }
}

// --- Tests ------------------------------------------------------------------------------------------

fn tests(table: &mut Table) {
    table.all(&["?(jsonb,text)", "jsonb_exists(jsonb,text)"], |_, a| {
        Ok(Scalar::Bool(exists(&parse(a[0].str())?, a[1].str())))
    });
    table.add("?|(jsonb,_text)", |t, a| {
        let keys = Array::parse(&t.arguments[1], a[1].str())?;
        let json = parse(a[0].str())?;
        let mut keys = keys.elements.iter().filter(|key| !key.is_null());
        Ok(Scalar::Bool(keys.any(|key| exists(&json, key.str()))))
    });
    table.add("?&(jsonb,_text)", |t, a| {
        let keys = Array::parse(&t.arguments[1], a[1].str())?;
        let json = parse(a[0].str())?;
        let mut keys = keys.elements.iter().filter(|key| !key.is_null());
        Ok(Scalar::Bool(keys.all(|key| exists(&json, key.str()))))
    });
    table.all(&["@>(jsonb,jsonb)", "jsonb_contains(jsonb,jsonb)"], |_, a| {
        Ok(Scalar::Bool(contains(&parse(a[0].str())?, &parse(a[1].str())?, true)))
    });
    table.add("<@(jsonb,jsonb)", |_, a| {
        Ok(Scalar::Bool(contains(&parse(a[1].str())?, &parse(a[0].str())?, true)))
    });
}

fn exists(json: &Json<'_>, wanted: &str) -> bool {
    let is_it = |of: &str| of.starts_with('"') && Json::unescape(of).is_some_and(|of| of == wanted);
    match json {
        Json::Object(members) => members.iter().any(|(key, _)| key == wanted),
        Json::Array(elements) => {
            elements.iter().any(|element| matches!(element, Json::Scalar(of) if is_it(of)))
        }
        Json::Scalar(of) => is_it(of),
    }
}

/// An array contains also a scalar alone, at the top.
fn contains(of: &Json<'_>, wanted: &Json<'_>, top: bool) -> bool {
    match (of, wanted) {
        (Json::Object(members), Json::Object(wanted)) => wanted.iter().all(|(key, value)| {
            members.iter().any(|(known, of)| known == key && contains(of, value, false))
        }),
        (Json::Array(elements), Json::Array(wanted)) => wanted
            .iter()
            .all(|value| elements.iter().any(|element| contains(element, value, false))),
        (Json::Array(elements), Json::Scalar(_)) if top => {
            elements.iter().any(|element| contains(element, wanted, false))
        }
        (Json::Scalar(_), Json::Scalar(_)) => ordering(of, wanted).is_eq(),
        _ => false,
    }
}

/// jsonb's own order (compareJsonbContainers).
pub(super) fn compare(left: &str, right: &str) -> Result<Ordering> {
    if left == right {
        return Ok(Ordering::Equal);
    }
    let (left, right) = (parse(left)?, parse(right)?);
    // At the top a scalar is an array of one, below a real one.
    Ok(match (&left, &right) {
        (Json::Scalar(_), Json::Array(elements)) if elements.is_empty() => Ordering::Greater,
        (Json::Array(elements), Json::Scalar(_)) if elements.is_empty() => Ordering::Less,
        _ => ordering(&left, &right),
    })
}

fn ordering(left: &Json<'_>, right: &Json<'_>) -> Ordering {
    match (left, right) {
        (Json::Object(a), Json::Object(b)) => {
            let by_length = a.len().cmp(&b.len());
            let pairs = || {
                a.iter().zip(b).map(|((k, v), (l, w))| {
                    k.as_bytes().cmp(l.as_bytes()).then_with(|| ordering(v, w))
                })
            };
            by_length.then_with(|| pairs().find(|o| o.is_ne()).unwrap_or(Ordering::Equal))
        }
        (Json::Array(a), Json::Array(b)) => {
            let pairs = || a.iter().zip(b).map(|(x, y)| ordering(x, y));
            let by_length = a.len().cmp(&b.len());
            by_length.then_with(|| pairs().find(|o| o.is_ne()).unwrap_or(Ordering::Equal))
        }
        (Json::Scalar(a), Json::Scalar(b)) => scalars(a, b),
        _ => rank(left).cmp(&rank(right)),
    }
}

fn rank(json: &Json<'_>) -> u8 {
    match json {
        Json::Scalar(of) => match of.as_bytes().first() {
            Some(b'n') => 0,
            Some(b'"') => 1,
            Some(b't' | b'f') => 3,
            _ => 2,
        },
        Json::Array(_) => 4,
        Json::Object(_) => 5,
    }
}

fn scalars(left: &str, right: &str) -> Ordering {
    let ranks = (rank(&Json::Scalar(left.into())), rank(&Json::Scalar(right.into())));
    match ranks {
        (1, 1) => Json::unescape(left).cmp(&Json::unescape(right)),
        (2, 2) => number(left).cmp(&number(right)),
        (3, 3) => left.starts_with('t').cmp(&right.starts_with('t')),
        (a, b) => a.cmp(&b),
    }
}

fn number(of: &str) -> Option<Decimal> {
    match of.strip_prefix('-') {
        Some(digits) => Decimal::parse(digits).map(Decimal::negated),
        None => Decimal::parse(of),
    }
}

/// A jsonb number or boolean as one of SQL.
pub(super) fn to_number<'v>(types: &'v Types, of: &mut [Scalar<'v>]) -> Result<Scalar<'v>> {
    let json = of[0].str();
    let (kind, to) = (kind(json), &types.result);
    let refused = || {
        let kind = match kind {
            "number" => "numeric",
            kind => kind,
        };
        let kind = match kind {
            "array" | "object" => format!("jsonb {kind}"),
            kind => format!("jsonb {kind}"),
        };
        EvalError::new(format!("cannot cast {kind} to type {to}"))
    };
    match (kind, to) {
        ("boolean", Type::Bool) => Ok(Scalar::Bool(json == "true")),
        ("number", Type::Bool) => Err(refused()),
        ("number", _) => {
            let value = number(json).ok_or_else(refused)?;
            super::convert::of_decimal(value, types)
        }
        _ => Err(refused()),
    }
}

/// A json text that is valid, as it was written; or as jsonb prints it.
pub(super) fn read(of: &str, binary: bool) -> Result<String> {
    let mut out = Vec::new();
    let valid = normalise_json(of.as_bytes(), &mut out).is_some();
    match (valid, binary) {
        (true, true) => string(out),
        (true, false) => Ok(of.to_owned()),
        // What jsonb cannot hold, json can.
        (false, false) if Json::is_valid(of) => Ok(of.to_owned()),
        _ => Err(EvalError::text("invalid input syntax for type json")),
    }
}
