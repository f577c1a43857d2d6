//! Values in the servers' binary format: nothing has to be printed here nor parsed there. The columns of the
//! types below travel so, as arrays, and rows of which all columns are such in COPY's binary format (manual, "COPY",
//! Binary Format); all others travel as text.
//!
//! ```text
//! data  = signature, flags u32 = 0, extension u32 = 0, row*, -1 i16
//! row   = columns i16, field*
//! field = bytes i32 (-1: NULL), the type's own bytes, most significant first
//! ```

use tokio_postgres::types::Type as SqlType;

use crate::value::{self, Scalar, Type, ValueError};

pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
pub(super) const TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// How a value of a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Uuid,
    /// Days; the infinities are the ends of the range.
    Date,
    /// The bytes of its text.
    Text,
}

impl Binary {
    /// Of values of `ty` in a column whose type has this oid in the sink.
    pub(super) fn of(ty: &Type, stored: u32) -> Option<Self> {
        Some(match (ty, SqlType::from_oid(stored)?) {
            (Type::Bool, SqlType::BOOL) => Binary::Bool,
            (Type::Int2, SqlType::INT2) => Binary::Int2,
            (Type::Int4, SqlType::INT4) => Binary::Int4,
            (Type::Int8, SqlType::INT8) => Binary::Int8,
            (Type::Float4, SqlType::FLOAT4) => Binary::Float4,
            (Type::Float8, SqlType::FLOAT8) => Binary::Float8,
            (Type::Numeric, SqlType::NUMERIC) => Binary::Numeric,
            (Type::Uuid, SqlType::UUID) => Binary::Uuid,
            (Type::Date, SqlType::DATE) => Binary::Date,
            // Microseconds, the infinities being the ends of the range there as here.
            (Type::Time, SqlType::TIME)
            | (Type::Timestamp, SqlType::TIMESTAMP)
            | (Type::TimestampTz, SqlType::TIMESTAMPTZ) => Binary::Int8,
            (Type::Text, SqlType::TEXT | SqlType::VARCHAR) => Binary::Text,
            (Type::Json, SqlType::JSON) => Binary::Text,
            _ => return None,
        })
    }

    /// Appends the field of a datum.
    pub(super) fn write(
        self,
        ty: &Type,
        datum: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        if value::is_null(datum) {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            return Ok(());
        }
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        self.write_value(ty, datum, out)?;
        // A value is shorter than a Postgres field, 1 GB.
        let len = i32::try_from(out.len() - at - 4).unwrap_or(i32::MAX);
        out[at..at + 4].copy_from_slice(&len.to_be_bytes());
        Ok(())
    }

    fn write_value(self, ty: &Type, datum: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        match self {
            Binary::Text => return value::write_text(ty, datum, out),
            Binary::Numeric => return value::write_numeric(datum, out),
            Binary::Int8 => out.extend_from_slice(&value::int_of(ty, datum)?.to_be_bytes()),
            Binary::Int4 | Binary::Int2 => {
                let all = value::int_of(ty, datum)?.to_be_bytes();
                let len = if self == Binary::Int4 { 4 } else { 2 };
                // The type's own range: what is cut off is its sign.
                out.extend_from_slice(&all[8 - len..]);
            }
            Binary::Date => {
                let days = value::int_of(ty, datum)?;
                let end = if days < 0 { i32::MIN } else { i32::MAX };
                out.extend_from_slice(&i32::try_from(days).unwrap_or(end).to_be_bytes());
            }
            Binary::Float8 => out.extend_from_slice(&value::float_of(ty, datum)?.to_be_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "it was one of four bytes")]
            Binary::Float4 => {
                out.extend_from_slice(&(value::float_of(ty, datum)? as f32).to_be_bytes());
            }
            Binary::Bool | Binary::Uuid => match Scalar::decode(ty, datum)? {
                Scalar::Bool(value) => out.push(value.into()),
                Scalar::Uuid(bytes) => out.extend_from_slice(&bytes),
                _ => unreachable!("the types of these"),
            },
        }
        Ok(())
    }
}
