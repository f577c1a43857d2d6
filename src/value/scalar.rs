//! Values taken out of their datums, for expressions, and put back.

use std::borrow::Cow;

use super::decimal::Decimal;
use super::interval::Interval;
use super::{
    Type, ValueError, bytea, datum, escape, float, int, interval, pg_lsn, text, time, uuid,
};

/// What expressions compute with. Dates, times and timestamps are integers: days or microseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    Null,
    Bool(bool),
    /// smallint, integer, bigint, oid; date in days, time, timestamp and timestamptz in microseconds.
    Int(i64),
    /// real too.
    Float(f64),
    Decimal(Decimal),
    /// text and all that is kept as its text; character(n) with its blanks; a pg_lsn's text.
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Microseconds in UTC, not wrapped at midnight, and the zone in seconds westwards.
    TimeTz {
        utc: i64,
        west: i64,
    },
    Interval(Interval),
    Uuid([u8; 16]),
}

impl<'a> Scalar<'a> {
    /// The value of a datum.
    pub fn decode(ty: &Type, datum: &'a [u8]) -> Result<Self, ValueError> {
        if super::is_null(datum) {
            return Ok(Scalar::Null);
        }
        Self::of_datum(ty, datum).ok_or_else(|| ValueError::new(ty, datum))
    }

    fn of_datum(ty: &Type, datum: &'a [u8]) -> Option<Self> {
        Some(match ty {
            Type::Bool => Scalar::Bool(datum::bool_of(datum)?),
            Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid => Scalar::Int(int::decode(datum)?),
            Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz => {
                Scalar::Int(int::decode(datum)?)
            }
            Type::Float4 => Scalar::Float(float::decode::<f32>(datum)?.into()),
            Type::Float8 => Scalar::Float(float::decode::<f64>(datum)?),
            Type::Numeric => Scalar::Decimal(Decimal::of_datum(datum)?),
            Type::Bpchar => {
                let mut padded = Vec::new();
                text::write_padded(datum, &mut padded)?;
                Scalar::Text(Cow::Owned(String::from_utf8(padded).ok()?))
            }
            Type::Bytea => Scalar::Bytes(Cow::Owned(bytea::decode(datum)?)),
            Type::TimeTz => {
                let (utc, west) = time::decode_time_tz(datum)?;
                Scalar::TimeTz { utc, west }
            }
            Type::Interval => Scalar::Interval(interval::decode(datum)?),
            Type::Uuid => Scalar::Uuid(uuid::decode(datum)?),
            Type::PgLsn => {
                let mut text = Vec::new();
                pg_lsn::write_text(datum, &mut text)?;
                Scalar::Text(Cow::Owned(String::from_utf8(text).ok()?))
            }
            Type::Text
            | Type::Json
            | Type::Jsonb
            | Type::Hstore
            | Type::Array(..)
            | Type::Composite(_) => {
                let text = simdutf8::basic::from_utf8(text::decode(datum)?).ok()?;
                Scalar::Text(Cow::Borrowed(text))
            }
        })
    }

    /// Appends the datum of a value of this type.
    pub fn encode(&self, ty: &Type, out: &mut Vec<u8>) -> Result<(), ValueError> {
        let start = out.len();
        self.put(ty, out).ok_or_else(|| {
            out.truncate(start);
            ValueError::new(ty, format!("{self:?}").as_bytes())
        })
    }

    fn put(&self, ty: &Type, out: &mut Vec<u8>) -> Option<()> {
        match (self, ty) {
            (Scalar::Null, _) => datum::encode_null(out),
            (Scalar::Bool(value), _) => out.push(u8::from(*value)),
            (Scalar::Int(value), _) => int::put(*value, out),
            #[expect(clippy::cast_possible_truncation, reason = "it was a real before")]
            (Scalar::Float(value), Type::Float4) => float::put(*value as f32, out),
            (Scalar::Float(value), _) => float::put(*value, out),
            (Scalar::Decimal(value), _) => value.put(out)?,
            (Scalar::Text(value), Type::PgLsn) => pg_lsn::encode(value.as_bytes(), out)?,
            (Scalar::Text(value), Type::Bpchar) => text::encode_padded(value.as_bytes(), out)?,
            (Scalar::Text(value), _) => text::encode(value.as_bytes(), out)?,
            (Scalar::Bytes(value), _) => bytea::put(value, out),
            (Scalar::TimeTz { utc, west }, _) => {
                int::put(*utc, out);
                int::put(*west, out);
            }
            (Scalar::Interval(value), _) => value.put(out),
            (Scalar::Uuid(value), _) => uuid::put(value, out),
        }
        Some(())
    }

    /// Appends what Postgres prints for a value of this type. Not for NULL.
    pub fn write_text(&self, ty: &Type, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match self {
            Scalar::Text(text) => out.extend_from_slice(text.as_bytes()),
            Scalar::Decimal(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Scalar::Int(value) if matches!(ty, Type::Int2 | Type::Int4 | Type::Int8) => {
                out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes());
            }
            _ => {
                let mut datum = Vec::new();
                self.encode(ty, &mut datum)?;
                datum::write_text(ty, &datum, out)?;
            }
        }
        Ok(())
    }

    /// Appends what `to_jsonb(value)::text` prints for a value of this type.
    pub fn write_json(&self, ty: &Type, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match (self, ty) {
            (Scalar::Null, _) => out.extend_from_slice(b"null"),
            (Scalar::Text(text), Type::Text) => escape::write_string(text.as_bytes(), out),
            (Scalar::Text(text), Type::Jsonb) => out.extend_from_slice(text.as_bytes()),
            (Scalar::Int(value), Type::Int2 | Type::Int4 | Type::Int8) => {
                out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes());
            }
            _ => {
                let mut datum = Vec::new();
                self.encode(ty, &mut datum)?;
                datum::write_json(ty, &datum, out)?;
            }
        }
        Ok(())
    }

    /// The same value, without what it borrows.
    pub fn into_owned(self) -> Scalar<'static> {
        match self {
            Scalar::Null => Scalar::Null,
            Scalar::Bool(value) => Scalar::Bool(value),
            Scalar::Int(value) => Scalar::Int(value),
            Scalar::Float(value) => Scalar::Float(value),
            Scalar::Decimal(value) => Scalar::Decimal(value),
            Scalar::Text(value) => Scalar::Text(Cow::Owned(value.into_owned())),
            Scalar::Bytes(value) => Scalar::Bytes(Cow::Owned(value.into_owned())),
            Scalar::TimeTz { utc, west } => Scalar::TimeTz { utc, west },
            Scalar::Interval(value) => Scalar::Interval(value),
            Scalar::Uuid(value) => Scalar::Uuid(value),
        }
    }

    /// The same value, borrowed from this one.
    pub fn borrowed(&'a self) -> Scalar<'a> {
        match self {
            Scalar::Text(value) => Scalar::Text(Cow::Borrowed(value)),
            Scalar::Bytes(value) => Scalar::Bytes(Cow::Borrowed(value)),
            other => other.clone(),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Scalar::Null)
    }
}
