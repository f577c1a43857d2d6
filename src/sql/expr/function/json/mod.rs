//! json and jsonb. jsonb is kept as the text that Postgres prints of it, json as it was written; both
//! are read where they lie.

mod access;
mod build;
mod change;
mod compare;

use crate::value::{Json, Scalar, Type, normalise_json};

use super::super::eval::{EvalError, Result};
use super::{Table, Typed, Types, string, text};

pub(super) use access::kind;
pub(in super::super) use access::part_as_text;
pub(in super::super) use build::row_to_json;
pub(super) use compare::compare;

pub(super) fn register(table: &mut Table) {
    access::register(table);
    build::register(table);
    change::register(table);
    compare::register(table);
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
        ("null", _) if types.null_casts => Ok(Scalar::Null),
        ("boolean", Type::Bool) => Ok(Scalar::Bool(json == "true")),
        ("number", Type::Bool) => Err(refused()),
        ("number", _) => {
            let value = compare::number(json).ok_or_else(refused)?;
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
