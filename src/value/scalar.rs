//! Values taken out of their datums, for expressions.

use super::decimal::Decimal;
use super::{Type, ValueError, datum, float, int, interval, numeric};

/// What expressions compute with.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    Bool(bool),
    /// smallint, integer, bigint.
    Int(i64),
    /// real too.
    Float(f64),
    Decimal(Decimal),
    /// Of any other type: the whole datum, and the part of it that is equal and ordered as Postgres has
    /// the values.
    Datum {
        whole: &'a [u8],
        order: &'a [u8],
    },
}

/// The value of a datum; `None` for NULL.
pub fn scalar<'a>(ty: &Type, datum: &'a [u8]) -> Result<Option<Scalar<'a>>, ValueError> {
    if super::is_null(datum) {
        return Ok(None);
    }
    let scalar = match ty {
        Type::Bool => datum::bool_of(datum).map(Scalar::Bool),
        Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid => int::decode(datum).map(Scalar::Int),
        Type::Float4 => float::decode::<f32>(datum).map(|value| Scalar::Float(value.into())),
        Type::Float8 => float::decode::<f64>(datum).map(Scalar::Float),
        Type::Numeric => Decimal::of_datum(datum).map(Scalar::Decimal),
        Type::Interval => {
            interval::length(datum).map(|order| Scalar::Datum { whole: datum, order })
        }
        _ => Some(Scalar::Datum { whole: datum, order: datum }),
    };
    scalar.map(Some).ok_or_else(|| ValueError::new(ty, datum))
}

impl Scalar<'_> {
    /// Appends the datum of a value of this type.
    pub fn encode(&self, ty: &Type, out: &mut Vec<u8>) -> Result<(), ValueError> {
        let start = out.len();
        let done = match (self, ty) {
            (Scalar::Bool(value), _) => {
                out.push(u8::from(*value));
                Some(())
            }
            (Scalar::Int(value), _) => {
                int::put(*value, out);
                Some(())
            }
            (Scalar::Float(value), Type::Float4) => {
                #[expect(clippy::cast_possible_truncation, reason = "it was a real before")]
                float::put(*value as f32, out);
                Some(())
            }
            (Scalar::Float(value), _) => {
                float::put(*value, out);
                Some(())
            }
            (Scalar::Decimal(value), _) => numeric::encode(value.to_string().as_bytes(), out),
            (Scalar::Datum { whole, .. }, _) => {
                out.extend_from_slice(whole);
                Some(())
            }
        };
        done.ok_or_else(|| {
            out.truncate(start);
            ValueError::new(ty, format!("{self:?}").as_bytes())
        })
    }
}
