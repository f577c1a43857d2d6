//! Tests, and jsonb's own order.

use std::cmp::Ordering;

use crate::value::{Array, Decimal, Json, Scalar};

use super::super::super::eval::Result;
use super::super::{Table, Typed};
use super::parse;

pub(super) fn register(table: &mut Table) {
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
pub(in super::super) fn compare(left: &str, right: &str) -> Result<Ordering> {
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

pub(super) fn number(of: &str) -> Option<Decimal> {
    match of.strip_prefix('-') {
        Some(digits) => Decimal::parse(digits).map(Decimal::negated),
        None => Decimal::parse(of),
    }
}
