//! Arrays: made, taken apart, searched.

use std::cmp::Ordering;

use crate::value::{Array, Scalar, Type};

use super::super::eval::{EvalError, Result};
use super::{Table, Typed, Types, compare, text, text_of};

/// As Postgres has it.
const DIMENSIONS_MAX: usize = 6;

pub(super) fn register(table: &mut Table) {
    table.add("array_length(anyarray,int4)", |t, a| {
        Ok(match dimension(t, a)? {
            Some((_, length)) => Scalar::Int(length),
            None => Scalar::Null,
        })
    });
    table.add("array_lower(anyarray,int4)", |t, a| {
        Ok(dimension(t, a)?.map_or(Scalar::Null, |(lower, _)| Scalar::Int(lower)))
    });
    table.add("array_upper(anyarray,int4)", |t, a| {
        Ok(dimension(t, a)?.map_or(Scalar::Null, |(lower, length)| Scalar::Int(lower + length - 1)))
    });
    table.add("array_ndims(anyarray)", |t, a| {
        let array = parse(&t.arguments[0], a[0].str())?;
        Ok(match array.dimensions.len() {
            0 => Scalar::Null,
            count => Scalar::Int(count as i64),
        })
    });
    table.add("cardinality(anyarray)", |t, a| {
        Ok(Scalar::Int(parse(&t.arguments[0], a[0].str())?.elements.len() as i64))
    });
    table.all(
        &["array_append(anycompatiblearray,anycompatible)", "||(anycompatiblearray,anycompatible)"],
        |t, a| {
            let mut array = optional(&t.arguments[0], &a[0])?;
            one_dimension(&mut array)?;
            array.elements.push(std::mem::replace(&mut a[1], Scalar::Null).into_owned());
            array.dimensions[0].1 += 1;
            write(&t.result, &array)
        },
    );
    table.all(
        &[
            "array_prepend(anycompatible,anycompatiblearray)",
            "||(anycompatible,anycompatiblearray)",
        ],
        |t, a| {
            let mut array = optional(&t.arguments[1], &a[1])?;
            one_dimension(&mut array)?;
            array.elements.insert(0, std::mem::replace(&mut a[0], Scalar::Null).into_owned());
            array.dimensions[0].1 += 1;
            write(&t.result, &array)
        },
    );
    table.all(
        &[
            "array_cat(anycompatiblearray,anycompatiblearray)",
            "||(anycompatiblearray,anycompatiblearray)",
        ],
        |t, a| {
            if a[0].is_null() || a[1].is_null() {
                let kept = if a[0].is_null() { 1 } else { 0 };
                return Ok(std::mem::replace(&mut a[kept], Scalar::Null));
            }
            let left = parse(&t.arguments[0], a[0].str())?;
            let right = parse(&t.arguments[1], a[1].str())?;
            write(&t.result, &concatenated(left, right)?)
        },
    );
    table.all(
        &[
            "array_position(anycompatiblearray,anycompatible)",
            "array_position(anycompatiblearray,anycompatible,int4)",
        ],
        position,
    );
    table.add("array_positions(anycompatiblearray,anycompatible)", positions);
    table.add("trim_array(anyarray,int4)", trimmed);
    table.add("array_remove(anycompatiblearray,anycompatible)", |t, a| {
        if a[0].is_null() {
            return Ok(Scalar::Null);
        }
        let mut array = parse(&t.arguments[0], a[0].str())?;
        if array.dimensions.len() > 1 {
            return Err(EvalError::text(
                "removing elements from multidimensional arrays is not supported",
            ));
        }
        let ty = element(&t.arguments[0]);
        let mut kept = Vec::new();
        for value in array.elements {
            if !same(ty, &value, &a[1])? {
                kept.push(value);
            }
        }
        array.elements = kept;
        match array.dimensions.first_mut() {
            _ if array.elements.is_empty() => array.dimensions.clear(),
            Some(dimension) => dimension.1 = array.elements.len() as i64,
            None => {}
        }
        write(&t.result, &array)
    });
    table.all(
        &["array_to_string(anyarray,text)", "array_to_string(anyarray,text,text)"],
        |t, a| {
            if a[0].is_null() || a[1].is_null() {
                return Ok(Scalar::Null);
            }
            let array = parse(&t.arguments[0], a[0].str())?;
            let for_null = match a.get(2) {
                Some(Scalar::Text(of)) => Some(of.to_string()),
                _ => None,
            };
            let mut parts = Vec::new();
            for value in &array.elements {
                match value.is_null() {
                    false => parts.push(text_of(value, element(&t.arguments[0]))?),
                    true => parts.extend(for_null.clone()),
                }
            }
            Ok(text(parts.join(a[1].str())))
        },
    );
    table.all(&["string_to_array(text,text)", "string_to_array(text,text,text)"], |t, a| {
        let Scalar::Text(of) = &a[0] else { return Ok(Scalar::Null) };
        let null = match a.get(2) {
            Some(Scalar::Text(null)) => Some(null.to_string()),
            _ => None,
        };
        let value = |part: &str| match &null {
            Some(null) if null == part => Scalar::Null,
            _ => text(part.to_owned()),
        };
        let elements: Vec<Scalar<'static>> = match &a[1] {
            _ if of.is_empty() => Vec::new(),
            Scalar::Text(by) if by.is_empty() => vec![value(of)],
            Scalar::Text(by) => of.split(&**by).map(value).collect(),
            _ => of.chars().map(|letter| value(&letter.to_string())).collect(),
        };
        write(&t.result, &flat(elements))
    });
    table.add("array_replace(anycompatiblearray,anycompatible,anycompatible)", |t, a| {
        if a[0].is_null() {
            return Ok(Scalar::Null);
        }
        let mut array = parse(&t.arguments[0], a[0].str())?;
        let ty = element(&t.arguments[0]);
        for value in &mut array.elements {
            if same(ty, value, &a[1])? {
                *value = a[2].clone().into_owned();
            }
        }
        write(&t.result, &array)
    });
    table.add("array_dims(anyarray)", |t, a| {
        let array = parse(&t.arguments[0], a[0].str())?;
        if array.dimensions.is_empty() {
            return Ok(Scalar::Null);
        }
        let dimensions = array
            .dimensions
            .iter()
            .map(|(lower, length)| format!("[{lower}:{}]", lower + length - 1));
        Ok(text(dimensions.collect::<String>()))
    });
    table.add("@>(anyarray,anyarray)", |t, a| Ok(Scalar::Bool(contains(t, &a[0], &a[1])?)));
    table.add("<@(anyarray,anyarray)", |t, a| Ok(Scalar::Bool(contains(t, &a[1], &a[0])?)));
    table.add("&&(anyarray,anyarray)", |t, a| {
        let (left, right) =
            (parse(&t.arguments[0], a[0].str())?, parse(&t.arguments[1], a[1].str())?);
        let ty = element(&t.arguments[0]);
        for value in left.elements.iter().filter(|value| !value.is_null()) {
            for other in right.elements.iter().filter(|value| !value.is_null()) {
                if same(ty, value, other)? {
                    return Ok(Scalar::Bool(true));
                }
            }
        }
        Ok(Scalar::Bool(false))
    });
}

fn element(array: &Type) -> &Type {
    match array {
        Type::Array(element, _) => element,
        other => other,
    }
}

fn parse(ty: &Type, of: &str) -> Result<Array<'static>> {
    Ok(Array::parse(ty, of)?)
}

pub(in super::super) fn write<'v>(ty: &Type, array: &Array<'_>) -> Result<Scalar<'v>> {
    let mut out = Vec::new();
    array.write(ty, &mut out)?;
    Ok(text(super::string(out)?))
}

pub(super) fn flat(elements: Vec<Scalar<'static>>) -> Array<'static> {
    let dimensions = match elements.len() {
        0 => Vec::new(),
        count => vec![(1, count as i64)],
    };
    Array { dimensions, elements }
}

fn optional(ty: &Type, of: &Scalar<'_>) -> Result<Array<'static>> {
    match of {
        Scalar::Null => Ok(flat(Vec::new())),
        of => parse(ty, of.str()),
    }
}

fn one_dimension(array: &mut Array<'_>) -> Result<()> {
    match array.dimensions.len() {
        0 => array.dimensions.push((1, 0)),
        1 => {}
        _ => return Err(EvalError::text("argument must be empty or one-dimensional array")),
    }
    Ok(())
}

fn dimension(types: &Types, of: &[Scalar<'_>]) -> Result<Option<(i64, i64)>> {
    let array = parse(&types.arguments[0], of[0].str())?;
    let at = usize::try_from(of[1].int() - 1).ok();
    Ok(at.and_then(|at| array.dimensions.get(at).copied()))
}

fn same(ty: &Type, left: &Scalar<'_>, right: &Scalar<'_>) -> Result<bool> {
    match (left.is_null(), right.is_null()) {
        (true, true) => Ok(true),
        (false, false) => Ok(compare::of_type(ty, left, right)?.is_eq()),
        _ => Ok(false),
    }
}

fn position<'v>(types: &'v Types, of: &mut [Scalar<'v>]) -> Result<Scalar<'v>> {
    let Scalar::Text(array) = &of[0] else { return Ok(Scalar::Null) };
    let array = parse(&types.arguments[0], array)?;
    if array.dimensions.len() > 1 {
        return Err(EvalError::text(
            "searching for elements in multidimensional arrays is not supported",
        ));
    }
    let from = match of.get(2) {
        _ if array.elements.is_empty() => return Ok(Scalar::Null),
        _ if of[1].is_null() && !array.elements.iter().any(Scalar::is_null) => {
            return Ok(Scalar::Null);
        }
        Some(Scalar::Null) => return Err(EvalError::text("initial position must not be null")),
        Some(from) => from.int(),
        None => i64::MIN,
    };
    let lower = array.dimensions.first().map_or(1, |dimension| dimension.0);
    for (value, at) in array.elements.iter().zip(lower..) {
        if at >= from && same(element(&types.arguments[0]), value, &of[1])? {
            return Ok(Scalar::Int(at));
        }
    }
    Ok(Scalar::Null)
}

fn positions<'v>(types: &'v Types, of: &mut [Scalar<'v>]) -> Result<Scalar<'v>> {
    let Scalar::Text(array) = &of[0] else { return Ok(Scalar::Null) };
    let array = parse(&types.arguments[0], array)?;
    if array.dimensions.len() > 1 {
        return Err(EvalError::text(
            "searching for elements in multidimensional arrays is not supported",
        ));
    }
    let lower = array.dimensions.first().map_or(1, |dimension| dimension.0);
    let mut found = Vec::new();
    for (value, at) in array.elements.iter().zip(lower..) {
        if same(element(&types.arguments[0]), value, &of[1])? {
            found.push(Scalar::Int(at));
        }
    }
    let dimensions = match found.len() {
        0 => Vec::new(),
        count => vec![(1, count as i64)],
    };
    write(&types.result, &Array { dimensions, elements: found })
}

/// Without so many of its last elements; those of the outermost dimension.
fn trimmed<'v>(types: &'v Types, of: &mut [Scalar<'v>]) -> Result<Scalar<'v>> {
    let mut array = parse(&types.arguments[0], of[0].str())?;
    let length = array.dimensions.first().map_or(0, |dimension| dimension.1);
    let kept = length - of[1].int();
    if !(0..=length).contains(&kept) {
        return Err(EvalError::new(format!(
            "number of elements to trim must be between 0 and {length}"
        )));
    }
    let each: i64 = array.dimensions.iter().skip(1).map(|dimension| dimension.1).product();
    array.elements.truncate(usize::try_from(kept * each).unwrap_or(usize::MAX));
    array.dimensions.iter_mut().for_each(|dimension| dimension.0 = 1);
    match array.dimensions.first_mut() {
        Some(first) if kept > 0 => first.1 = kept,
        _ => array.dimensions.clear(),
    }
    write(&types.result, &array)
}

/// Whether each element of the second one is in the first.
fn contains(types: &Types, of: &Scalar<'_>, wanted: &Scalar<'_>) -> Result<bool> {
    let (of, wanted) =
        (parse(&types.arguments[0], of.str())?, parse(&types.arguments[1], wanted.str())?);
    let ty = element(&types.arguments[0]);
    for value in &wanted.elements {
        let mut found = false;
        for other in of.elements.iter().filter(|other| !other.is_null() && !value.is_null()) {
            found |= same(ty, value, other)?;
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

fn concatenated(left: Array<'static>, right: Array<'static>) -> Result<Array<'static>> {
    let differ = || EvalError::text("cannot concatenate incompatible arrays");
    if left.dimensions.is_empty() {
        return Ok(right);
    }
    if right.dimensions.is_empty() {
        return Ok(left);
    }
    let (a, b) = (&left.dimensions, &right.dimensions);
    let dimensions = if a.len() == b.len() {
        if a[1..] != b[1..] {
            return Err(differ());
        }
        let mut dimensions = a.clone();
        dimensions[0].1 += b[0].1;
        dimensions
    } else if a.len() == b.len() + 1 {
        if a[1..] != b[..] {
            return Err(differ());
        }
        let mut dimensions = a.clone();
        dimensions[0].1 += 1;
        dimensions
    } else if b.len() == a.len() + 1 {
        if b[1..] != a[..] {
            return Err(differ());
        }
        let mut dimensions = b.clone();
        dimensions[0].1 += 1;
        dimensions
    } else {
        return Err(differ());
    };
    let elements = left.elements.into_iter().chain(right.elements).collect();
    Ok(Array { dimensions, elements })
}

/// Dimensions and elements in order (array_cmp): elements first.
pub(super) fn compare(types: &Types, left: &Scalar<'_>, right: &Scalar<'_>) -> Result<Ordering> {
    let (left, right) =
        (parse(&types.arguments[0], left.str())?, parse(&types.arguments[1], right.str())?);
    let ty = element(&types.arguments[0]);
    for (a, b) in left.elements.iter().zip(&right.elements) {
        let ordering = match (a.is_null(), b.is_null()) {
            (true, true) => Ordering::Equal,
            // A NULL is above all else.
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => compare::of_type(ty, a, b)?,
        };
        if ordering.is_ne() {
            return Ok(ordering);
        }
    }
    let lengths = |array: &Array<'_>| {
        array.dimensions.iter().map(|dimension| dimension.1).collect::<Vec<_>>()
    };
    let lowers = |array: &Array<'_>| {
        array.dimensions.iter().map(|dimension| dimension.0).collect::<Vec<_>>()
    };
    Ok(left
        .elements
        .len()
        .cmp(&right.elements.len())
        .then(left.dimensions.len().cmp(&right.dimensions.len()))
        .then(lengths(&left).cmp(&lengths(&right)))
        .then(lowers(&left).cmp(&lowers(&right))))
}

/// `ARRAY[…]` of values, which are arrays themselves where it is nested.
pub(in super::super) fn build<'v>(
    types: &'v Types,
    values: &[Scalar<'v>],
    nested: bool,
) -> Result<Scalar<'v>> {
    if !nested {
        return write(
            &types.result,
            &flat(values.iter().cloned().map(Scalar::into_owned).collect()),
        );
    }
    let mut dimensions: Option<Vec<(i64, i64)>> = None;
    let mut elements = Vec::new();
    let mut count = 0;
    let mut empty = 0;
    for value in values {
        let inner = optional(&types.arguments[0], value)?;
        if inner.dimensions.is_empty() {
            empty += 1;
            continue;
        }
        if inner.dimensions.len() == DIMENSIONS_MAX {
            return Err(EvalError::text(
                "number of array dimensions exceeds the maximum allowed (6)",
            ));
        }
        if dimensions.get_or_insert_with(|| inner.dimensions.clone()) != &inner.dimensions {
            return Err(EvalError::text(
                "multidimensional arrays must have array expressions with matching dimensions",
            ));
        }
        elements.extend(inner.elements);
        count += 1;
    }
    let Some(inner) = dimensions else { return write(&types.result, &flat(Vec::new())) };
    if empty > 0 {
        return Err(EvalError::text(
            "multidimensional arrays must have array expressions with matching dimensions",
        ));
    }
    let dimensions = std::iter::once((1, count)).chain(inner).collect();
    write(&types.result, &Array { dimensions, elements })
}

/// One element, by as many indices as there are dimensions; NULL where there is none.
pub(in super::super) fn subscript<'v>(
    types: &'v Types,
    of: &mut [Scalar<'v>],
) -> Result<Scalar<'v>> {
    let array = parse(&types.arguments[0], of[0].str())?;
    let indices = &of[1..];
    if array.dimensions.len() != indices.len() {
        return Ok(Scalar::Null);
    }
    let mut at = 0;
    for ((lower, length), index) in array.dimensions.iter().zip(indices) {
        let offset = index.int() - lower;
        if offset < 0 || offset >= *length {
            return Ok(Scalar::Null);
        }
        at = at * length + offset;
    }
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    Ok(array.elements.get(at).cloned().unwrap_or(Scalar::Null))
}

/// The elements from one index to another, numbered from 1.
pub(in super::super) fn slice<'v>(types: &'v Types, of: &mut [Scalar<'v>]) -> Result<Scalar<'v>> {
    let mut array = parse(&types.arguments[0], of[0].str())?;
    let (lower, length) = match array.dimensions.as_slice() {
        [] => return write(&types.result, &array),
        [one] => *one,
        _ => {
            return Err(EvalError::text(
                "slices of arrays of several dimensions are not supported",
            ));
        }
    };
    let first = of[1].int().max(lower) - lower;
    let end = of[2].int().saturating_add(1).min(lower + length) - lower;
    let kept = match (usize::try_from(first), usize::try_from(end)) {
        (Ok(first), Ok(end)) if first < end => array.elements.drain(first..end).collect(),
        _ => Vec::new(),
    };
    write(&types.result, &flat(kept))
}
