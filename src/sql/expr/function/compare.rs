//! Comparisons: `=`, `<>`, `<`, `<=`, `>`, `>=` of values of one kind.

use std::cmp::Ordering;

use crate::value::{DAY, INFINITY, NEGATIVE_INFINITY, Scalar, Type};

use super::super::eval::Result;
use super::{Run, Table, Typed, array, json};

/// Types whose values compare as their kind does; several are of one kind.
const FAMILIES: &[&[&str]] = &[
    &["bool"],
    &["int2", "int4", "int8"],
    &["oid"],
    &["float4", "float8"],
    &["numeric"],
    &["text", "name"],
    &["bytea"],
    &["date"],
    &["time"],
    &["timetz"],
    &["timestamp"],
    &["timestamptz"],
    &["interval"],
    &["uuid"],
];

const OPERATORS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

/// The six operators over one comparison.
macro_rules! six {
    ($compare:expr) => {{
        let runs: [Run; 6] = [
            |types, of| Ok(Scalar::Bool($compare(types, &of[0], &of[1])?.is_eq())),
            |types, of| Ok(Scalar::Bool($compare(types, &of[0], &of[1])?.is_ne())),
            |types, of| Ok(Scalar::Bool($compare(types, &of[0], &of[1])?.is_lt())),
            |types, of| Ok(Scalar::Bool($compare(types, &of[0], &of[1])?.is_le())),
            |types, of| Ok(Scalar::Bool($compare(types, &of[0], &of[1])?.is_gt())),
            |types, of| Ok(Scalar::Bool($compare(types, &of[0], &of[1])?.is_ge())),
        ];
        runs
    }};
}

pub(super) fn register(table: &mut Table) {
    let mut add = |left: &str, right: &str, runs: [Run; 6]| {
        for (operator, run) in OPERATORS.iter().zip(runs) {
            table.add(&format!("{operator}({left},{right})"), run);
        }
    };
    for family in FAMILIES {
        for left in *family {
            for right in *family {
                add(left, right, six!(|_, a, b| same(a, b)));
            }
        }
    }
    add("bpchar", "bpchar", six!(|_, a: &Scalar<'_>, b: &Scalar<'_>| padded(a, b)));
    add("date", "timestamp", six!(|_, a: &Scalar<'_>, b: &Scalar<'_>| moments(a, b, true)));
    add("date", "timestamptz", six!(|_, a: &Scalar<'_>, b: &Scalar<'_>| moments(a, b, true)));
    add(
        "timestamp",
        "date",
        six!(|_, a: &Scalar<'_>, b: &Scalar<'_>| reversed(moments(b, a, true))),
    );
    add(
        "timestamptz",
        "date",
        six!(|_, a: &Scalar<'_>, b: &Scalar<'_>| reversed(moments(b, a, true))),
    );
    // The session's zone is UTC.
    add("timestamp", "timestamptz", six!(|_, a: &Scalar<'_>, b: &Scalar<'_>| moments(a, b, false)));
    add("timestamptz", "timestamp", six!(|_, a: &Scalar<'_>, b: &Scalar<'_>| moments(a, b, false)));
    add(
        "jsonb",
        "jsonb",
        six!(|_, a: &Scalar<'_>, b: &Scalar<'_>| json::compare(a.str(), b.str())),
    );
    add("anyarray", "anyarray", six!(array::compare));
    // The order of labels is not known to values.
    for (operator, run) in OPERATORS.iter().zip(six!(|_, a, b| same(a, b))).take(2) {
        table.add(&format!("{operator}(anyenum,anyenum)"), run);
    }
}

/// Of two values of one kind.
pub(super) fn same(left: &Scalar<'_>, right: &Scalar<'_>) -> Result<Ordering> {
    Ok(match (left, right) {
        (Scalar::Bool(a), Scalar::Bool(b)) => a.cmp(b),
        (Scalar::Int(a), Scalar::Int(b)) => a.cmp(b),
        (Scalar::Decimal(a), Scalar::Decimal(b)) => a.cmp(b),
        // NaN is equal to itself and above all else.
        (Scalar::Float(a), Scalar::Float(b)) => {
            a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        }
        (Scalar::Text(a), Scalar::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Scalar::Bytes(a), Scalar::Bytes(b)) => a.cmp(b),
        (Scalar::TimeTz { utc: a, west: x }, Scalar::TimeTz { utc: b, west: y }) => {
            a.cmp(b).then(x.cmp(y))
        }
        (Scalar::Interval(a), Scalar::Interval(b)) => a.length().cmp(&b.length()),
        (Scalar::Uuid(a), Scalar::Uuid(b)) => a.cmp(b),
        _ => unreachable!("{left:?} and {right:?} are of two kinds"),
    })
}

/// Of two values of one type, NULLs excepted.
pub(super) fn of_type(ty: &Type, left: &Scalar<'_>, right: &Scalar<'_>) -> Result<Ordering> {
    match ty {
        Type::Bpchar => padded(left, right),
        Type::Jsonb => json::compare(left.str(), right.str()),
        _ => same(left, right),
    }
}

/// Blanks at the end do not count.
fn padded(left: &Scalar<'_>, right: &Scalar<'_>) -> Result<Ordering> {
    let kept = |value: &Scalar<'_>| value.str().trim_end_matches(' ').len();
    let (a, b) = (left.str(), right.str());
    Ok(a.as_bytes()[..kept(left)].cmp(&b.as_bytes()[..kept(right)]))
}

fn reversed(ordering: Result<Ordering>) -> Result<Ordering> {
    ordering.map(Ordering::reverse)
}

/// A day or a moment against a moment.
fn moments(left: &Scalar<'_>, right: &Scalar<'_>, left_is_day: bool) -> Result<Ordering> {
    let (left, right) = (left.int(), right.int());
    let left = match left {
        INFINITY | NEGATIVE_INFINITY => i128::from(left),
        left if left_is_day => i128::from(left) * i128::from(DAY),
        left => i128::from(left),
    };
    // A date may lie beyond all timestamps, and is still below infinity.
    let ends = |value: i64| value == INFINITY || value == NEGATIVE_INFINITY;
    if ends(right) && left != i128::from(right) {
        return Ok(if right == INFINITY { Ordering::Less } else { Ordering::Greater });
    }
    if left == i128::from(INFINITY) && right != INFINITY {
        return Ok(Ordering::Greater);
    }
    Ok(left.cmp(&i128::from(right)))
}
