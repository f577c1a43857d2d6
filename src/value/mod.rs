//! Values: Postgres' text of a column in, compact order-preserving bytes inside, Postgres' text or
//! JSON out.
//!
//! A *datum* is the encoding of one column's value. NULL is the single byte 0xFF and no other datum
//! begins with that byte, so NULLs sort last as in Postgres. In the place of a value that could not be
//! computed stands an error: 0xFE, which begins no value, a text and 0x00. Every datum ends by itself, given its
//! type. A *row* is its columns' datums one after the other, a *key* the key columns' datums. Datums
//! of one type compare by `memcmp` in Postgres' order for that type (text in byte order, which is
//! COLLATE "C"); values that Postgres calls equal but prints differently (numeric 1.0 and 1.00)
//! share the leading bytes and differ in a suffix. Types that are kept as their text (enums, network
//! types, ranges, json, arrays, composites and all that have no variant here) compare as that text.
//!
//! What goes in is the text of a session with TimeZone UTC, DateStyle ISO, IntervalStyle postgres,
//! extra_float_digits 1 and bytea_output hex, and exactly that text comes out again; for the types
//! with an encoding of their own, text that such a session would not print is refused.
//!
//! Sans-I/O: bytes in, bytes out. Bytes that cannot be read are a `ValueError`, never a panic; what
//! a failed call had appended to its buffer is taken back.

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

mod array;
mod bytea;
mod catalog;
mod composite;
mod datum;
mod decimal;
mod document;
mod escape;
mod failure;
mod float;
mod hstore;
mod int;
mod interval;
mod json;
mod json_tree;
mod logarithm;
mod number;
mod numeric;
mod order;
mod pg_lsn;
mod put;
mod row;
mod scalar;
mod score;
mod text;
mod time;
mod uuid;

pub use array::{Array, array_elements};
pub use catalog::{PgType, resolve};
pub use datum::{datum_len, encode, encode_null, is_null, write_json, write_text};
pub use decimal::{Decimal, DecimalError};
pub use document::{DocumentWriter, write_document};
pub use failure::{encode_error, error_text, is_error};
pub use int::put as encode_int;
pub use interval::{
    Fields as IntervalFields, Interval, decode as interval, put as encode_interval,
};
pub use json::normalise as normalise_json;
pub use json_tree::Json;
pub use order::{order_key, order_part};
pub use pg_lsn::{put as encode_pg_lsn, split as split_pg_lsn};
pub use put::{encode_decimal, encode_float4, encode_float8, float_of, int_of, write_numeric};
pub use row::{Columns, columns, key_text, split};
pub use scalar::Scalar;
pub use score::{epoch, score};
pub use time::{DAY, INFINITY, NEGATIVE_INFINITY, SECOND, date_of, days_in_month, days_of};

pub use escape::write_string as write_json_string;

use std::fmt;
use std::sync::Arc;

/// The datum of NULL.
pub const NULL: u8 = 0xFF;
/// What the datum of an error begins with, and no value's.
pub const ERROR: u8 = 0xFE;

/// What makes values of a column differ in encoding, text or JSON. Domains are their base type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Bool,
    Int2,
    Int4,
    Int8,
    /// Ordered as a number; a JSON string.
    Oid,
    Float4,
    Float8,
    Numeric,
    /// text, varchar, name, enums, xml, and every type that is only known by its text: a JSON string.
    Text,
    /// Blank-padded to its declared length.
    Bpchar,
    Bytea,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    /// Ordered as a number; a JSON string.
    PgLsn,
    Json,
    Jsonb,
    /// The contrib module's: a flat JSON object of strings and nulls.
    Hstore,
    /// Elements of this type, separated by this byte in the text form. A blank stands for int2vector
    /// and oidvector, whose text has no braces.
    Array(Box<Type>, u8),
    /// A row type: its attributes' names and types.
    Composite(Arc<[(String, Type)]>),
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Bool => "boolean",
            Type::Int2 => "smallint",
            Type::Int4 => "integer",
            Type::Int8 => "bigint",
            Type::Oid => "oid",
            Type::Float4 => "real",
            Type::Float8 => "double precision",
            Type::Numeric => "numeric",
            Type::Text => "text",
            Type::Bpchar => "character",
            Type::Bytea => "bytea",
            Type::Date => "date",
            Type::Time => "time",
            Type::TimeTz => "time with time zone",
            Type::Timestamp => "timestamp",
            Type::TimestampTz => "timestamp with time zone",
            Type::Interval => "interval",
            Type::Uuid => "uuid",
            Type::PgLsn => "pg_lsn",
            Type::Json => "json",
            Type::Jsonb => "jsonb",
            Type::Hstore => "hstore",
            Type::Composite(_) => "record",
            Type::Array(element, _) => return write!(f, "{element}[]"),
        })
    }
}

/// A column of a table or of a projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub ty: Type,
    /// As `format_type` prints it on the source, e.g. `numeric(10,2)` or `shop.mood`.
    pub sql_type: String,
    pub type_oid: u32,
    pub typmod: i32,
    pub not_null: bool,
}

/// Bytes that are not a value of the type they are said to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a value of type {ty}")]
pub struct ValueError {
    pub ty: String,
    pub text: String,
}

impl ValueError {
    /// Shows the beginning of `bytes`: a value may be a gigabyte long.
    #[cold]
    fn new(ty: &Type, bytes: &[u8]) -> Self {
        const SHOWN_BYTES_MAX: usize = 80;
        let shown = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
        let mut text = String::from_utf8_lossy(shown).into_owned();
        if shown.len() < bytes.len() {
            text.push('…');
        }
        Self { ty: ty.to_string(), text }
    }
}
