//! One value of any type: which encoding it has. The rooms' own functions answer `None` for bytes
//! that they cannot read; here that becomes an error which names type and bytes.

use super::{
    NULL, Type, ValueError, array, bytea, composite, escape, failure, float, hstore, int, interval,
    json, numeric, pg_lsn, text, time, uuid,
};

/// Appends the datum of a value that is not NULL, given as Postgres prints it.
pub fn encode(ty: &Type, text: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let start = out.len();
    let done = match ty {
        Type::Bool => encode_bool(text, out),
        Type::Int2 => int::encode(text, i16::MIN.into(), i16::MAX.into(), out),
        Type::Int4 => int::encode(text, i32::MIN.into(), i32::MAX.into(), out),
        Type::Int8 => int::encode(text, i64::MIN, i64::MAX, out),
        Type::Oid => int::encode(text, 0, u32::MAX.into(), out),
        Type::Float4 => float::encode::<f32>(text, out),
        Type::Float8 => float::encode::<f64>(text, out),
        Type::Numeric => numeric::encode(text, out),
        Type::Bpchar => text::encode_padded(text, out),
        Type::Bytea => bytea::encode(text, out),
        Type::Date => time::encode_date(text, out),
        Type::Time => time::encode_time(text, out),
        Type::TimeTz => time::encode_time_tz(text, out),
        Type::Timestamp => time::encode_timestamp(text, time::Zone::None, out),
        Type::TimestampTz => time::encode_timestamp(text, time::Zone::Utc, out),
        Type::Interval => interval::encode(text, out),
        Type::Uuid => uuid::encode(text, out),
        Type::PgLsn => pg_lsn::encode(text, out),
        Type::Text
        | Type::Json
        | Type::Jsonb
        | Type::Hstore
        | Type::Array(..)
        | Type::Composite(_) => text::encode(text, out),
    };
    done.ok_or_else(|| {
        out.truncate(start);
        ValueError::new(ty, text)
    })
}

/// Appends the datum of NULL, which is the same for every type.
pub fn encode_null(out: &mut Vec<u8>) {
    out.push(NULL);
}

/// Whether the datum (or the first of several) is NULL.
pub fn is_null(datum: &[u8]) -> bool {
    datum.first() == Some(&NULL)
}

/// The length of the datum at the start of `bytes`, NULL and errors included.
pub fn datum_len(ty: &Type, bytes: &[u8]) -> Result<usize, ValueError> {
    if is_null(bytes) {
        return Ok(1);
    }
    if failure::is_error(bytes) {
        return failure::len(bytes).ok_or_else(|| ValueError::new(ty, bytes));
    }
    let len = match ty {
        Type::Bool => bytes.first().map(|_| 1),
        Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid => int::len(bytes),
        Type::Float4 => float::len::<f32>(bytes),
        Type::Float8 => float::len::<f64>(bytes),
        Type::Numeric => numeric::len(bytes),
        Type::Bpchar => text::padded_len(bytes),
        Type::Bytea => bytea::len(bytes),
        Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz => int::len(bytes),
        Type::TimeTz => time::time_tz_len(bytes),
        Type::Interval => interval::len(bytes),
        Type::Uuid => uuid::len(bytes),
        Type::PgLsn => pg_lsn::len(bytes),
        Type::Text
        | Type::Json
        | Type::Jsonb
        | Type::Hstore
        | Type::Array(..)
        | Type::Composite(_) => text::len(bytes),
    };
    len.ok_or_else(|| ValueError::new(ty, bytes))
}

/// Appends the text that was encoded: what Postgres prints, byte for byte. Not for NULL.
pub fn write_text(ty: &Type, datum: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    let start = out.len();
    text_of(ty, datum, out).ok_or_else(|| {
        out.truncate(start);
        ValueError::new(ty, datum)
    })
}

fn text_of(ty: &Type, datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match ty {
        Type::Bool => out.push(if bool_of(datum)? { b't' } else { b'f' }),
        Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid => int::write_text(datum, out)?,
        Type::Float4 => float::write_text::<f32>(datum, out)?,
        Type::Float8 => float::write_text::<f64>(datum, out)?,
        Type::Numeric => numeric::write_text(datum, out)?,
        Type::Bpchar => text::write_padded(datum, out)?,
        Type::Bytea => bytea::write_text(datum, out)?,
        Type::Date => time::write_date(datum, out)?,
        Type::Time => time::write_time(datum, out)?,
        Type::TimeTz => time::write_time_tz(datum, out)?,
        Type::Timestamp => {
            time::write_timestamp(datum, time::Zone::None, time::Style::Sql, out)?;
        }
        Type::TimestampTz => {
            time::write_timestamp(datum, time::Zone::Utc, time::Style::Sql, out)?;
        }
        Type::Interval => interval::write_text(datum, out)?,
        Type::Uuid => uuid::write_text(datum, out)?,
        Type::PgLsn => pg_lsn::write_text(datum, out)?,
        Type::Text
        | Type::Json
        | Type::Jsonb
        | Type::Hstore
        | Type::Array(..)
        | Type::Composite(_) => out.extend_from_slice(text::decode(datum)?),
    }
    Some(())
}

/// Appends what `to_jsonb(value)::text` prints on the source; `null` for NULL. A json value that
/// has no jsonb form (`"\u0000"`, half a surrogate pair) is an error, as it is there.
pub fn write_json(ty: &Type, datum: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    if is_null(datum) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    let start = out.len();
    json_of(ty, datum, out).ok_or_else(|| {
        out.truncate(start);
        ValueError::new(ty, datum)
    })
}

fn json_of(ty: &Type, datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match ty {
        Type::Bool => {
            out.extend_from_slice(if bool_of(datum)? { b"true" } else { b"false" });
        }
        Type::Int2 | Type::Int4 | Type::Int8 => int::write_text(datum, out)?,
        Type::Float4 => float::write_json::<f32>(datum, out)?,
        Type::Float8 => float::write_json::<f64>(datum, out)?,
        Type::Numeric if numeric::is_finite(datum) => numeric::write_text(datum, out)?,
        Type::Text => escape::write_string(text::decode(datum)?, out),
        Type::Bpchar => {
            let start = out.len();
            text::write_padded(datum, out)?;
            escape::quote_tail(start, out);
        }
        // The text has a backslash in front; nothing else in it needs an escape.
        Type::Bytea => {
            out.extend_from_slice(b"\"\\");
            bytea::write_text(datum, out)?;
            out.push(b'"');
        }
        Type::Timestamp => {
            out.push(b'"');
            time::write_timestamp(datum, time::Zone::None, time::Style::Iso8601, out)?;
            out.push(b'"');
        }
        Type::TimestampTz => {
            out.push(b'"');
            time::write_timestamp(datum, time::Zone::Utc, time::Style::Iso8601, out)?;
            out.push(b'"');
        }
        // Their texts have no character that JSON escapes.
        Type::Oid
        | Type::Numeric
        | Type::Date
        | Type::Time
        | Type::TimeTz
        | Type::Interval
        | Type::Uuid
        | Type::PgLsn => {
            out.push(b'"');
            text_of(ty, datum, out)?;
            out.push(b'"');
        }
        Type::Json => json::normalise(text::decode(datum)?, out)?,
        Type::Jsonb => out.extend_from_slice(text::decode(datum)?),
        Type::Hstore => hstore::write_json(text::decode(datum)?, out)?,
        Type::Array(element, b' ') => {
            array::write_vector_json(element, text::decode(datum)?, out)?;
        }
        Type::Array(element, delimiter) => {
            array::write_json(element, *delimiter, text::decode(datum)?, out)?;
        }
        Type::Composite(attributes) => {
            composite::write_json(attributes, text::decode(datum)?, out)?;
        }
    }
    Some(())
}

fn encode_bool(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.push(match text {
        b"f" => 0,
        b"t" => 1,
        _ => return None,
    });
    Some(())
}

pub(super) fn bool_of(datum: &[u8]) -> Option<bool> {
    match datum {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

/// Appends the JSON of an element or attribute, which comes as text. `scratch` is for its datum.
pub(super) fn write_json_of_text(
    ty: &Type,
    text: &[u8],
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Option<()> {
    scratch.clear();
    encode(ty, text, scratch).ok()?;
    json_of(ty, scratch, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{ERROR, score};
    use proptest::prelude::*;

    fn every_type() -> Vec<Type> {
        let scalars = [
            Type::Bool,
            Type::Int2,
            Type::Int4,
            Type::Int8,
            Type::Oid,
            Type::Float4,
            Type::Float8,
            Type::Numeric,
            Type::Text,
            Type::Bpchar,
            Type::Bytea,
            Type::Date,
            Type::Time,
            Type::TimeTz,
            Type::Timestamp,
            Type::TimestampTz,
            Type::Interval,
            Type::Uuid,
            Type::PgLsn,
            Type::Json,
            Type::Jsonb,
            Type::Hstore,
        ];
        let arrays = scalars.iter().map(|ty| Type::Array(Box::new(ty.clone()), b','));
        let row = scalars.iter().map(|ty| (ty.to_string(), ty.clone())).take(3).collect();
        let mut types: Vec<_> = scalars.iter().cloned().chain(arrays).collect();
        types.push(Type::Array(Box::new(Type::Int2), b' '));
        types.push(Type::Composite(row));
        types
    }

    /// Bytes of the alphabets that the parsers know, and others.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            r#"[-+0-9:. a-z{}(),"\\\[\]=]{0,30}"#.prop_map(String::into_bytes),
            r#"\\x([0-9a-f]{2}){0,9}"#.prop_map(String::into_bytes),
            r#"-?[0-9]{1,12}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\+00( BC)?"#
                .prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// What is accepted comes back; what is not leaves the buffer as it was. Nothing panics.
        #[test]
        fn any_bytes_as_text(text in bytes()) {
            for ty in every_type() {
                let mut datum = vec![1, 2, 3];
                if encode(&ty, &text, &mut datum).is_err() {
                    prop_assert_eq!(&datum, &[1, 2, 3]);
                    continue;
                }
                let datum = &datum[3..];
                prop_assert!(datum[0] < ERROR);
                prop_assert_eq!(datum_len(&ty, datum), Ok(datum.len()));
                let mut printed = Vec::new();
                prop_assert_eq!(write_text(&ty, datum, &mut printed), Ok(()));
                prop_assert_eq!(&printed, &text, "{}", ty);
                let mut json = vec![1, 2, 3];
                if write_json(&ty, datum, &mut json).is_err() {
                    prop_assert_eq!(json, &[1, 2, 3]);
                }
                score(&ty, datum);
            }
        }

        #[test]
        fn any_bytes_as_datums(bytes in prop::collection::vec(
            prop_oneof![3 => any::<u8>(), 1 => prop_oneof![Just(0), Just(1), Just(0xFE), Just(0xFF)]],
            0..40,
        )) {
            for ty in every_type() {
                let mut out = Vec::new();
                if let Ok(len) = datum_len(&ty, &bytes) {
                    prop_assert!(len >= 1 && len <= bytes.len());
                    let datum = &bytes[..len];
                    let _ = write_json(&ty, datum, &mut out);
                    if !is_null(datum) {
                        let _ = write_text(&ty, datum, &mut out);
                    }
                    score(&ty, datum);
                }
                let _ = write_text(&ty, &bytes, &mut out);
                let _ = write_json(&ty, &bytes, &mut out);
                score(&ty, &bytes);
            }
        }
    }
}
