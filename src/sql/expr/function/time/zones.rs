//! Time zones.

use crate::value::{SECOND, Scalar};

use super::super::super::eval::{EvalError, Result};
use super::super::{Table, Typed};
use super::{ends, timestamp};

pub(super) fn register(table: &mut Table) {
    table.add("timezone(text,timestamptz)", |_, a| {
        let micros = a[1].int();
        if ends(micros) {
            return Ok(Scalar::Int(micros));
        }
        let offset = zone(a[0].str())?;
        timestamp(micros.checked_add(offset * SECOND))
    });
    table.add("timezone(text,timestamp)", |_, a| {
        let micros = a[1].int();
        if ends(micros) {
            return Ok(Scalar::Int(micros));
        }
        let offset = zone(a[0].str())?;
        timestamp(micros.checked_sub(offset * SECOND))
    });
}

fn zone(name: &str) -> Result<i64> {
    offset_of(name).ok_or_else(|| EvalError::new(format!("time zone \"{name}\" not recognized")))
}

/// Seconds east of UTC, of the zones that have one offset alone.
pub(in super::super) fn offset_of(name: &str) -> Option<i64> {
    match name.to_ascii_lowercase().as_str() {
        "utc" | "gmt" | "z" | "zulu" | "etc/utc" | "etc/gmt" | "greenwich" | "universal"
        | "uct" => Some(0),
        _ => None,
    }
}
