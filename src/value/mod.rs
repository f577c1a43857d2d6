//! Values: Postgres' text of a column in, compact order-preserving bytes inside, Postgres' text or
//! JSON out.
//!
//! A *datum* is the encoding of one column's value. NULL is the single byte 0xFF and no other datum
//! begins with that byte, so NULLs sort last as in Postgres. Every datum ends by itself, given its
//! type. A *row* is its columns' datums one after the other, a *key* the key columns' datums. Datums
//! of one type compare by `memcmp` in Postgres' order for that type (text in byte order, which is
//! COLLATE "C"); values that Postgres calls equal but prints differently (numeric 1.0 and 1.00)
//! share the leading bytes and differ in a suffix.
//!
//! Sans-I/O: bytes in, bytes out. Bytes that cannot be read are a `ValueError`, never a panic.

use std::sync::Arc;

/// The datum of NULL.
pub const NULL: u8 = 0xFF;

/// What makes values of a column differ in encoding, text or JSON. Domains are their base type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Bool,
    Int2,
    Int4,
    Int8,
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
    Json,
    Jsonb,
    /// Elements of this type, separated by this byte in the text form.
    Array(Box<Type>, u8),
    /// A row type: its attributes' names and types.
    Composite(Arc<[(String, Type)]>),
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
