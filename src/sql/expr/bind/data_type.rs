//! The type that a cast names, and its typmod.

use std::ops::Range;

use sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, ObjectName, TimezoneInfo,
};

use super::super::catalog::{
    BOOL, BPCHAR, BYTEA, CATALOG, DATE, FLOAT4, FLOAT8, INT2, INT4, INT8, INTERVAL, JSON, JSONB,
    NUMERIC, Oid, TEXT, TIME, TIMESTAMP, TIMESTAMPTZ, TIMETZ, UUID, VARCHAR,
};
use super::super::fold_case;
use super::{Binder, Result};

/// What Postgres allows of a numeric's precision, of a text's length, of a time's digits.
const PRECISION_MAX: u64 = 1_000;
const LENGTH_MAX: u64 = 10_485_760;
const DIGITS_MAX: u64 = 6;

impl Binder<'_> {
    pub(super) fn data_type(&self, ty: &DataType, at: &Range<usize>) -> Result<(Oid, i32)> {
        let plain = |oid| Ok((oid, -1));
        let refused = |why: &str| self.refuse(at.clone(), format!("type {ty}: {why}"), "");
        match ty {
            DataType::SmallInt(None) | DataType::Int2(None) => plain(INT2),
            DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => plain(INT4),
            DataType::BigInt(None) | DataType::Int8(None) => plain(INT8),
            DataType::Real | DataType::Float4 => plain(FLOAT4),
            DataType::DoublePrecision
            | DataType::Float8
            | DataType::Double(ExactNumberInfo::None)
            | DataType::Float(ExactNumberInfo::None) => plain(FLOAT8),
            DataType::Float(ExactNumberInfo::Precision(1..=24)) => plain(FLOAT4),
            DataType::Float(ExactNumberInfo::Precision(25..=53)) => plain(FLOAT8),
            DataType::Bool | DataType::Boolean => plain(BOOL),
            DataType::Text => plain(TEXT),
            DataType::Bytea => plain(BYTEA),
            DataType::Uuid => plain(UUID),
            DataType::JSON => plain(JSON),
            DataType::JSONB => plain(JSONB),
            DataType::Date => plain(DATE),
            DataType::Interval { fields: None, precision: None } => plain(INTERVAL),
            DataType::Time(digits, zone) | DataType::Timestamp(digits, zone) => {
                let with_zone = matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz);
                let oid = match (ty, with_zone) {
                    (DataType::Time(..), false) => TIME,
                    (DataType::Time(..), true) => TIMETZ,
                    (_, false) => TIMESTAMP,
                    (_, true) => TIMESTAMPTZ,
                };
                match digits {
                    None => plain(oid),
                    Some(digits) => {
                        Ok((oid, i32::try_from((*digits).min(DIGITS_MAX)).unwrap_or(6)))
                    }
                }
            }
            DataType::Varchar(length)
            | DataType::CharacterVarying(length)
            | DataType::CharVarying(length) => match length {
                None => plain(VARCHAR),
                Some(length) => match typmod_of_length(*length) {
                    Some(typmod) => Ok((VARCHAR, typmod)),
                    None => refused("its length is out of range"),
                },
            },
            DataType::Char(length) | DataType::Character(length) => {
                let length =
                    length.unwrap_or(CharacterLength::IntegerLength { length: 1, unit: None });
                match typmod_of_length(length) {
                    Some(typmod) => Ok((BPCHAR, typmod)),
                    None => refused("its length is out of range"),
                }
            }
            DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => {
                let (precision, scale) = match *info {
                    ExactNumberInfo::None => return plain(NUMERIC),
                    ExactNumberInfo::Precision(precision) => (precision, 0),
                    ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
                };
                let scale_fits = (-1_000..=1_000).contains(&scale);
                if !(1..=PRECISION_MAX).contains(&precision) || !scale_fits {
                    return refused("its precision is out of range");
                }
                let precision = i32::try_from(precision).unwrap_or(0);
                let scale = i32::try_from(scale).unwrap_or(0);
                Ok((NUMERIC, (precision << 16 | scale & 0x7FF) + 4))
            }
            DataType::Array(
                ArrayElemTypeDef::SquareBracket(element, _)
                | ArrayElemTypeDef::Qualified(element, _),
            ) => {
                // Further dimensions are the same type.
                let (element, typmod) = self.data_type(element, at)?;
                let element = self.known.element(element).unwrap_or(element);
                match self.known.array_of(element) {
                    Some(array) => Ok((array, typmod)),
                    None => refused("there are no such arrays"),
                }
            }
            DataType::Custom(name, modifiers) if modifiers.is_empty() => self.named_type(name, at),
            DataType::Custom(name, modifiers) => {
                let (ty, _) = self.named_type(name, at)?;
                match (ty, modifiers.as_slice()) {
                    (TIMESTAMP | TIMESTAMPTZ | TIME | TIMETZ, [digits]) => {
                        match digits.parse::<i32>() {
                            Ok(digits @ 0..) => Ok((ty, digits.min(6))),
                            _ => refused("its precision cannot be read"),
                        }
                    }
                    _ => refused("it is not known with these modifiers"),
                }
            }
            _ => refused("it is not known here"),
        }
    }

    fn named_type(&self, name: &ObjectName, at: &Range<usize>) -> Result<(Oid, i32)> {
        let path: Option<Vec<_>> = name.0.iter().map(|part| part.as_ident().cloned()).collect();
        let path = path.unwrap_or_default();
        if let Some(oid) = self.known.names.user_type_oid(&path) {
            return Ok((oid, -1));
        }
        let folded: Vec<String> = path.iter().map(fold_case).collect();
        let name = match folded.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [name] | ["pg_catalog", name] => (*name).to_owned(),
            _ => String::new(),
        };
        match CATALOG.named(&name).filter(|&oid| super::is_builtin(oid) && oid != super::UNKNOWN) {
            Some(oid) => Ok((oid, -1)),
            None => {
                let shown: Vec<String> = path.iter().map(ToString::to_string).collect();
                let what = format!("type {} does not exist", shown.join("."));
                self.refuse(at.clone(), what, "")
            }
        }
    }
}

fn typmod_of_length(length: CharacterLength) -> Option<i32> {
    match length {
        CharacterLength::IntegerLength { length: length @ 1..=LENGTH_MAX, .. } => {
            i32::try_from(length + 4).ok()
        }
        _ => None,
    }
}
