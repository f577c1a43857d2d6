//! Datums of computed values.

use super::{Decimal, Type, ValueError, datum, float};

pub fn encode_float8(value: f64, out: &mut Vec<u8>) {
    float::put(value, out);
}

pub fn encode_float4(value: f32, out: &mut Vec<u8>) {
    float::put(value, out);
}

/// An error where the value has more digits than numeric can have.
pub fn encode_decimal(value: &Decimal, out: &mut Vec<u8>) -> Result<(), ValueError> {
    datum::encode(&Type::Numeric, value.to_string().as_bytes(), out)
}

/// The value of a real or a double precision.
pub fn float_of(ty: &Type, datum: &[u8]) -> Result<f64, ValueError> {
    let value = match ty {
        Type::Float4 => float::decode::<f32>(datum).map(f64::from),
        _ => float::decode::<f64>(datum),
    };
    value.ok_or_else(|| ValueError::new(ty, datum))
}

/// The value of a smallint, integer, bigint or oid.
pub fn int_of(ty: &Type, datum: &[u8]) -> Result<i64, ValueError> {
    super::int::decode(datum).ok_or_else(|| ValueError::new(ty, datum))
}

/// Appends a numeric's datum as the server sends it in binary.
pub fn write_numeric(datum: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    super::numeric::write_binary(datum, out).ok_or_else(|| ValueError::new(&Type::Numeric, datum))
}
