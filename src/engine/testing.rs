//! What the engine's tests have in common.

use crate::value::{self, Column, Type};

pub(in crate::engine) fn column(name: &str, ty: Type) -> Column {
    let sql_type = ty.to_string();
    Column { name: name.into(), ty, sql_type, type_oid: 0, typmod: -1, not_null: false }
}

pub(in crate::engine) fn int_columns(count: usize) -> Vec<Column> {
    (0..count).map(|at| column(&format!("c{at}"), Type::Int4)).collect()
}

/// A row of integers.
pub(in crate::engine) fn ints(values: &[Option<i64>]) -> Vec<u8> {
    let mut row = Vec::new();
    for value in values {
        match value {
            Some(value) => value::encode_int(*value, &mut row),
            None => value::encode_null(&mut row),
        }
    }
    row
}
