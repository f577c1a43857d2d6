//! What an expression's type is to the query around it: Postgres' own, and how its values are encoded.

use std::fmt;

use crate::value::{Column, Type};

/// A type as Postgres has it. Domains are their base type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ty {
    /// pg_type's oid.
    pub oid: u32,
    /// -1 where there is none.
    pub typmod: i32,
    /// How its values are encoded.
    pub stored: Type,
    /// As `format_type` prints it, without the typmod.
    pub name: String,
    pub collation: Collation,
    /// Known never to be NULL.
    pub not_null: bool,
}

/// What is known of the collation of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collation {
    /// Not a text, or a text of no collation of its own: the database's counts.
    Default,
    /// C, POSIX, ucs_basic: ordered by bytes, and ASCII's letters are all there are.
    C,
    /// C.UTF-8: ordered by bytes.
    Utf8,
    /// Another one; equality is that of the bytes where it is deterministic.
    Other { deterministic: bool },
    /// Two that were not chosen between: neither equality nor order is defined.
    Conflict,
}

impl Ty {
    /// Of a column, with the oid of its base type.
    pub fn of_column(column: &Column, collation: Collation) -> Self {
        Self {
            oid: oid_of(&column.ty).unwrap_or(column.type_oid),
            typmod: column.typmod,
            stored: column.ty.clone(),
            name: match column.type_oid {
                1043 => "character varying".into(),
                _ => column.ty.to_string(),
            },
            collation,
            not_null: column.not_null,
        }
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The oid of the one type that is encoded like this; `None` where several are.
pub(super) fn oid_of(stored: &Type) -> Option<u32> {
    Some(match stored {
        Type::Bool => 16,
        Type::Bytea => 17,
        Type::Int8 => 20,
        Type::Int2 => 21,
        Type::Int4 => 23,
        Type::Oid => 26,
        Type::Json => 114,
        Type::Float4 => 700,
        Type::Float8 => 701,
        Type::Bpchar => 1042,
        Type::Date => 1082,
        Type::Time => 1083,
        Type::Timestamp => 1114,
        Type::TimestampTz => 1184,
        Type::Interval => 1186,
        Type::TimeTz => 1266,
        Type::Numeric => 1700,
        Type::Uuid => 2950,
        Type::PgLsn => 3220,
        Type::Jsonb => 3802,
        Type::Text | Type::Hstore | Type::Array(..) | Type::Composite(_) => return None,
    })
}
