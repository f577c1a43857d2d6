//! The registry: what is computed, for which of the signatures that the catalog knows.
//!
//! A key is a name with its arguments' types as the catalog writes them: `round(numeric,int4)`,
//! `+(int4,int4)`, and for casts `int4::numeric`. Result type, strictness and volatility are the
//! catalog's. A function is given values of its arguments' types, none of them NULL where it is
//! strict.

mod array;
mod bytes;
mod compare;
mod convert;
mod format;
mod input;
mod json;
mod number;
mod power;
mod regex;
mod text;
mod time;

use std::borrow::Cow;
use std::collections::HashMap;

use crate::value::{Scalar, Type};

use super::eval::{EvalError, Result};
use super::names::Ctype;

pub(super) use array::{build as build_array, slice, subscript, write as write_array};
pub(super) use input::input;
pub(super) use json::{part_as_text, row_to_json};
pub(super) use regex::{check as check_regex, from_similar};

/// What a function knows of the types it is called with.
#[derive(Clone, Debug)]
pub(super) struct Types {
    pub(super) arguments: Vec<Type>,
    pub(super) result: Type,
    /// What the case of letters follows.
    pub(super) ctype: Ctype,
    /// Whether jsonb's null is cast to SQL's, or an error.
    pub(super) null_casts: bool,
}

pub(super) type Run = for<'v> fn(&'v Types, &mut [Scalar<'v>]) -> Result<Scalar<'v>>;

/// A unit of time, by any of the names that Postgres knows.
fn time_unit(name: &str) -> Option<&'static str> {
    time::unit(name)
}

/// What is computed, by its key.
pub(super) fn runs() -> HashMap<String, Run> {
    let mut table = Table(HashMap::new());
    compare::register(&mut table);
    number::register(&mut table);
    power::register(&mut table);
    text::register(&mut table);
    bytes::register(&mut table);
    time::register(&mut table);
    json::register(&mut table);
    array::register(&mut table);
    convert::register(&mut table);
    format::register(&mut table);
    regex::register(&mut table);
    table.0
}

pub(super) struct Table(HashMap<String, Run>);

impl Table {
    fn add(&mut self, key: &str, run: Run) {
        let before = self.0.insert(key.to_owned(), run);
        debug_assert!(before.is_none(), "{key} is registered twice");
    }

    /// One function for several keys.
    fn all(&mut self, keys: &[&str], run: Run) {
        for key in keys {
            self.add(key, run);
        }
    }
}

/// Any value's text, as the function that prints its type has it.
pub(super) fn output<'v>(types: &'v Types, values: &mut [Scalar<'v>]) -> Result<Scalar<'v>> {
    match std::mem::replace(&mut values[0], Scalar::Null) {
        Scalar::Null => Ok(Scalar::Null),
        Scalar::Text(text) => Ok(Scalar::Text(text)),
        value => Ok(text(text_of(&value, &types.arguments[0])?)),
    }
}

/// The value that a text means, as the function that reads its type has it.
pub(super) fn read<'v>(types: &'v Types, values: &mut [Scalar<'v>]) -> Result<Scalar<'v>> {
    match &values[0] {
        Scalar::Text(text) => Ok(input(&types.result, text)?.into_owned()),
        _ => Ok(Scalar::Null),
    }
}

// --- Values in and out -----------------------------------------------------------------------------

fn text_of(value: &Scalar<'_>, ty: &Type) -> Result<String> {
    let mut out = Vec::new();
    value.write_text(ty, &mut out)?;
    string(out)
}

fn string(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| EvalError::text("invalid byte sequence for encoding \"UTF8\""))
}

fn text<'v>(text: impl Into<Cow<'v, str>>) -> Scalar<'v> {
    Scalar::Text(text.into())
}

/// What the binder has seen to: a value of another kind would be its fault.
trait Typed<'v> {
    fn int(&self) -> i64;
    fn float(&self) -> f64;
    fn bool(&self) -> bool;
    fn str(&self) -> &str;
    fn bytes(&self) -> &[u8];
    fn decimal(&self) -> &crate::value::Decimal;
    fn interval(&self) -> crate::value::Interval;
    fn take_str(&mut self) -> Cow<'v, str>;
}

impl<'v> Typed<'v> for Scalar<'v> {
    fn int(&self) -> i64 {
        match self {
            Scalar::Int(value) => *value,
            other => unreachable!("{other:?} is no integer"),
        }
    }

    fn float(&self) -> f64 {
        match self {
            Scalar::Float(value) => *value,
            other => unreachable!("{other:?} is no float"),
        }
    }

    fn bool(&self) -> bool {
        match self {
            Scalar::Bool(value) => *value,
            other => unreachable!("{other:?} is no boolean"),
        }
    }

    fn str(&self) -> &str {
        match self {
            Scalar::Text(value) => value,
            other => unreachable!("{other:?} is no text"),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Scalar::Bytes(value) => value,
            other => unreachable!("{other:?} is no bytea"),
        }
    }

    fn decimal(&self) -> &crate::value::Decimal {
        match self {
            Scalar::Decimal(value) => value,
            other => unreachable!("{other:?} is no numeric"),
        }
    }

    fn interval(&self) -> crate::value::Interval {
        match self {
            Scalar::Interval(value) => *value,
            other => unreachable!("{other:?} is no interval"),
        }
    }

    fn take_str(&mut self) -> Cow<'v, str> {
        match std::mem::replace(self, Scalar::Null) {
            Scalar::Text(value) => value,
            other => unreachable!("{other:?} is no text"),
        }
    }
}

/// The part of a text, borrowed where the text is.
fn part<'v>(text: Cow<'v, str>, range: std::ops::Range<usize>) -> Scalar<'v> {
    Scalar::Text(match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
        Cow::Owned(mut text) => {
            text.truncate(range.end);
            text.drain(..range.start);
            Cow::Owned(text)
        }
    })
}
