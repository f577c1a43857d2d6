//! What the types of columns allow: to be grouped and joined by, to be ordered by; and the types that
//! aggregates give.

use sqlparser::ast::{DataType, ExactNumberInfo, TimezoneInfo};

use super::Schema;
use crate::sql::expr::{Collation, Ty, UserKind};
use crate::sql::plan::Function;
use crate::value::Type;

/// Types that are kept as their text, and whose equality is that of the text: "char", name, text,
/// varchar, cidr, inet, macaddr, macaddr8, bit, varbit, pg_lsn, xid8.
const EQUAL_AS_TEXT: [u32; 12] = [18, 19, 25, 1043, 650, 869, 829, 774, 1560, 1562, 3220, 5069];
/// Of these the ones that texts are.
const TEXTS: [u32; 4] = [18, 19, 25, 1043];

/// Equal values have equal leading bytes.
pub(super) fn is_groupable(schema: &Schema, ty: &Ty) -> bool {
    if matches!(ty.collation, Collation::Other { deterministic: false } | Collation::Conflict) {
        return false;
    }
    match &ty.stored {
        Type::Text => EQUAL_AS_TEXT.contains(&ty.oid) || is_enum(schema, ty.oid),
        Type::Json | Type::Jsonb | Type::Hstore | Type::Composite(_) => false,
        Type::Array(element, _) => {
            // Their text is compared: it has to be the same for equal values.
            let of_texts = ARRAYS.iter().any(|(of, array)| *array == ty.oid && TEXTS.contains(of));
            of_texts
                || matches!(
                    **element,
                    Type::Bool
                        | Type::Int2
                        | Type::Int4
                        | Type::Int8
                        | Type::Oid
                        | Type::Uuid
                        | Type::Date
                        | Type::Timestamp
                        | Type::TimestampTz
                        | Type::Bytea
                )
        }
        _ => true,
    }
}

/// Equal values are the same in all respects, so that whatever is computed of them is equal as well.
pub(super) fn is_exact(ty: &Ty) -> bool {
    match &ty.stored {
        Type::Bool
        | Type::Int2
        | Type::Int4
        | Type::Int8
        | Type::Oid
        | Type::Uuid
        | Type::Bytea
        | Type::Date
        | Type::Time
        | Type::TimeTz
        | Type::Timestamp
        | Type::TimestampTz => true,
        Type::Text => {
            !matches!(ty.collation, Collation::Other { deterministic: false } | Collation::Conflict)
        }
        _ => false,
    }
}

/// The bytes have the order that PostgreSQL gives the values.
pub(super) fn is_sortable(schema: &Schema, ty: &Ty) -> bool {
    match &ty.stored {
        Type::Text => TEXTS.contains(&ty.oid) && is_bytewise(schema, ty),
        Type::Bpchar => is_bytewise(schema, ty),
        Type::Json | Type::Jsonb | Type::Hstore | Type::Composite(_) | Type::Array(..) => false,
        _ => true,
    }
}

fn is_bytewise(schema: &Schema, ty: &Ty) -> bool {
    // The catalog's own columns of type name are ordered by bytes always.
    match ty.collation {
        Collation::C | Collation::Utf8 => true,
        Collation::Default => schema.database.ordered_by_bytes,
        Collation::Other { .. } | Collation::Conflict => false,
    }
}

fn is_enum(schema: &Schema, oid: u32) -> bool {
    schema.types.get(&oid).is_some_and(|ty| matches!(ty.kind, UserKind::Enum { .. }))
}

/// Why a type is no type to be ordered by, and what to do.
pub(super) fn not_sortable(schema: &Schema, ty: &Ty) -> (String, &'static str) {
    match &ty.stored {
        Type::Text if is_enum(schema, ty.oid) => (
            format!("the order of {ty}, an enum, is not supported"),
            "order by its text: column::text COLLATE \"C\"",
        ),
        Type::Text | Type::Bpchar => (
            "texts are ordered by their bytes here, not under this collation".into(),
            "write COLLATE \"C\" behind the expression",
        ),
        _ => (format!("the order of {ty} is not supported"), "order by another expression"),
    }
}

/// As it is written in a cast.
pub(super) fn data_type(ty: &Type) -> Option<DataType> {
    Some(match ty {
        Type::Bool => DataType::Boolean,
        Type::Int2 => DataType::SmallInt(None),
        Type::Int4 => DataType::Integer(None),
        Type::Int8 => DataType::BigInt(None),
        Type::Float4 => DataType::Real,
        Type::Float8 => DataType::DoublePrecision,
        Type::Numeric => DataType::Numeric(ExactNumberInfo::None),
        Type::Text => DataType::Text,
        Type::Date => DataType::Date,
        Type::Timestamp => DataType::Timestamp(None, TimezoneInfo::None),
        Type::TimestampTz => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
        Type::Time => DataType::Time(None, TimezoneInfo::None),
        Type::TimeTz => DataType::Time(None, TimezoneInfo::WithTimeZone),
        Type::Interval => DataType::Interval { fields: None, precision: None },
        Type::Uuid => DataType::Uuid,
        Type::Json => DataType::JSON,
        Type::Jsonb => DataType::JSONB,
        Type::Bytea => DataType::Bytea,
        _ => return None,
    })
}

pub(super) fn of(oid: u32, stored: Type, not_null: bool) -> Ty {
    let name = stored.to_string();
    Ty { oid, typmod: -1, stored, name, collation: Collation::Default, not_null }
}

pub(super) fn boolean() -> Ty {
    of(16, Type::Bool, false)
}

pub(super) fn bigint(not_null: bool) -> Ty {
    of(20, Type::Int8, not_null)
}

pub(super) fn is_float(ty: &Ty) -> bool {
    matches!(ty.stored, Type::Float4 | Type::Float8)
}

/// The type of an aggregate over arguments of these types; `None` where there is no such aggregate.
pub(super) fn aggregate(schema: &Schema, function: Function, arguments: &[Ty]) -> Option<Ty> {
    let first = arguments.first();
    let plain = |ty: &Ty| Ty { typmod: -1, not_null: false, ..ty.clone() };
    let ty = match (function, first.map(|ty| &ty.stored)) {
        (Function::Count, _) => bigint(true),
        (Function::Sum, Some(Type::Int2 | Type::Int4)) => bigint(false),
        (Function::Sum, Some(Type::Int8)) => of(1700, Type::Numeric, false),
        (Function::Sum, Some(Type::Numeric | Type::Float4 | Type::Float8 | Type::Interval)) => {
            plain(first?)
        }
        (Function::Avg, Some(Type::Int2 | Type::Int4 | Type::Int8 | Type::Numeric)) => {
            of(1700, Type::Numeric, false)
        }
        (spread, Some(Type::Int2 | Type::Int4 | Type::Int8 | Type::Numeric))
            if spread.is_spread() =>
        {
            of(1700, Type::Numeric, false)
        }
        (Function::Avg, Some(Type::Float4 | Type::Float8)) => of(701, Type::Float8, false),
        (Function::Avg, Some(Type::Interval)) => plain(first?),
        (Function::Min | Function::Max, Some(stored)) => match stored {
            Type::Bool | Type::Uuid | Type::Bytea => return None,
            // There is none of varchar: it is text's.
            Type::Text if is_varchar(first?) => {
                Ty { oid: 25, name: "text".into(), ..plain(first?) }
            }
            _ => plain(first?),
        },
        (Function::BoolAnd | Function::BoolOr, Some(Type::Bool)) => boolean(),
        (
            Function::BitAnd | Function::BitOr | Function::BitXor,
            Some(Type::Int2 | Type::Int4 | Type::Int8),
        ) => plain(first?),
        (Function::ArrayAgg, Some(stored)) => {
            of(array_of(schema, first?)?, Type::Array(Box::new(stored.clone()), b','), false)
        }
        (Function::StringAgg, Some(Type::Bytea)) => of(17, Type::Bytea, false),
        (Function::StringAgg, Some(Type::Text)) => {
            Ty { oid: 25, name: "text".into(), ..plain(first?) }
        }
        (Function::JsonAgg | Function::JsonAggRows | Function::JsonObjectAgg, Some(_)) => {
            of(114, Type::Json, false)
        }
        (Function::JsonbAgg | Function::JsonbObjectAgg, Some(_)) => of(3802, Type::Jsonb, false),
        (Function::Single, Some(_)) => Ty { not_null: false, ..first?.clone() },
        _ => return None,
    };
    Some(ty)
}

fn is_varchar(ty: &Ty) -> bool {
    ty.oid == 1043
}

/// pg_type's oids of types and of their arrays.
const ARRAYS: [(u32, u32); 30] = [
    (16, 1000),
    (17, 1001),
    (18, 1002),
    (19, 1003),
    (20, 1016),
    (21, 1005),
    (23, 1007),
    (25, 1009),
    (26, 1028),
    (114, 199),
    (650, 651),
    (700, 1021),
    (701, 1022),
    (774, 775),
    (829, 1040),
    (869, 1041),
    (1042, 1014),
    (1043, 1015),
    (1082, 1182),
    (1083, 1183),
    (1114, 1115),
    (1184, 1185),
    (1186, 1187),
    (1266, 1270),
    (1560, 1561),
    (1562, 1563),
    (1700, 1231),
    (2950, 2951),
    (3220, 3221),
    (3802, 3807),
];

/// pg_type's oid of the arrays of a type.
fn array_of(schema: &Schema, element: &Ty) -> Option<u32> {
    let built_in = ARRAYS.iter().find(|(of, _)| *of == element.oid).map(|(_, array)| *array);
    built_in.or_else(|| schema.types.get(&element.oid).map(|ty| ty.array).filter(|oid| *oid != 0))
}
