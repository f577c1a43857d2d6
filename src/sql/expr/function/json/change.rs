//! Documents changed: joined, cut, set.

use std::borrow::Cow;

use crate::value::{Array, Json, Scalar, write_json_string};

use super::super::super::eval::{EvalError, Result};
use super::super::{Table, Typed, string, text};
use super::access::index;
use super::{parse, written};

pub(super) fn register(table: &mut Table) {
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
    table.add("jsonb_insert(jsonb,_text,jsonb,bool)", |t, a| {
        let path = Array::parse(&t.arguments[1], a[1].str())?;
        let after = a.get(3).is_some_and(Typed::bool);
        let mut json = parse(a[0].str())?;
        if matches!(json, Json::Scalar(_)) {
            return Err(EvalError::text("cannot set path in scalar"));
        }
        insert(&mut json, &steps(&path)?, 0, parse(a[2].str())?, after)?;
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

pub(super) type Members<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

pub(super) fn put<'a>(members: &mut Members<'a>, key: Cow<'a, str>, value: Json<'a>) {
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

fn insert<'a>(
    json: &mut Json<'a>,
    path: &Steps,
    depth: usize,
    value: Json<'a>,
    after: bool,
) -> Result<()> {
    let Some((step, last)) = step_at(path, depth)? else { return Ok(()) };
    match json {
        Json::Object(members) => match members.iter_mut().find(|(key, _)| key == step) {
            Some(_) if last => return Err(EvalError::text("cannot replace existing key")),
            Some((_, of)) => insert(of, path, depth + 1, value, after)?,
            None if last => put(members, Cow::Owned(step.to_owned()), value),
            None => {}
        },
        Json::Array(elements) => {
            let at = integer_step(step, depth)?;
            match place(elements.len(), at) {
                Some(at) if last => elements.insert(at + usize::from(after), value),
                Some(at) => insert(&mut elements[at], path, depth + 1, value, after)?,
                None if last && at < 0 => elements.insert(0, value),
                None if last => elements.push(value),
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
