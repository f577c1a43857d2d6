//! `jsonb_to_recordset (o.lines) AS l (sku text, qty int)`: the fields of JSON objects as columns.

use std::ops::Range;

use sqlparser::ast::{self, BinaryOperator, Expr, TableAlias};
use sqlparser::tokenizer::Span;

use super::Fault;
use super::column::{ColumnId, Scalar, binary, case_when, cast, name_of, nested};
use super::planner::{Planner, Result};
use crate::sql::expr::{Ty, fold_case};
use crate::value::Type;

type Named = Vec<(String, ColumnId)>;

impl Planner<'_> {
    /// The columns that the alias describes, each computed of the object.
    pub(super) fn fields(
        &self,
        record: ColumnId,
        alias: Option<&TableAlias>,
        place: &Range<usize>,
    ) -> Result<(Named, Vec<(ColumnId, Scalar)>)> {
        let described = alias.map(|alias| alias.columns.as_slice()).unwrap_or_default();
        if described.is_empty() {
            return Err(Fault::new("the columns of the records are not described")
                .hint("write AS t (column type, …) behind the call")
                .at(place.clone()));
        }
        let (mut columns, mut computed) = (Vec::new(), Vec::new());
        for column in described {
            let name = fold_case(&column.name);
            let Some(data_type) = &column.data_type else {
                return Err(Fault::new(format!("column `{name}` of the records has no type"))
                    .hint("write its type behind its name")
                    .at(place.clone()));
            };
            let key = Expr::value(ast::Value::SingleQuotedString(name.clone()));
            let part =
                |operator| nested(binary(name_of(record, Span::empty()), operator, key.clone()));
            let text = cast(part(BinaryOperator::LongArrow), data_type.clone());
            let mut scalar = self.scalar(text, place.clone())?;
            if matches!(scalar.ty.stored, Type::Json | Type::Jsonb) {
                // JSON's null is NULL here: its text is.
                let there = Expr::IsNotNull(Box::new(part(BinaryOperator::LongArrow)));
                let value = cast(part(BinaryOperator::Arrow), data_type.clone());
                let value = case_when(there, value);
                scalar = self.scalar(value, place.clone())?;
            } else if !is_read_from_text(&scalar.ty) {
                return Err(Fault::new(format!(
                    "{} as a column of records is not supported",
                    scalar.ty
                ))
                .hint("describe it as text or jsonb, and cast it where it is used")
                .at(place.clone()));
            }
            let id = self.new_column(name.as_str(), Ty { not_null: false, ..scalar.ty.clone() });
            columns.push((name, id));
            computed.push((id, scalar));
        }
        Ok((columns, computed))
    }
}

/// A field is read as its text is, and not cast: texts that are too long are errors.
fn is_read_from_text(ty: &Ty) -> bool {
    match ty.stored {
        Type::Array(..) | Type::Composite(_) | Type::Bpchar | Type::Hstore => false,
        Type::Text => matches!(ty.oid, 25 | 1043) && ty.typmod == -1,
        _ => true,
    }
}
