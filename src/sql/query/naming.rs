//! The names that PostgreSQL gives columns of a result.

use sqlparser::ast::{self, Expr, SelectItem, SetExpr};

use super::column::bare;
use super::from::parts;
use crate::sql::expr::fold_case;

/// The name that PostgreSQL gives a column without an alias (FigureColname in parse_target.c).
pub(in crate::sql) fn shown_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) => shown_name(inner),
        Expr::Identifier(name) => Some(fold_case(name)),
        Expr::CompoundIdentifier(path) => path.last().map(fold_case),
        Expr::CompoundFieldAccess { root, .. } => shown_name(root),
        Expr::Collate { expr, .. } => shown_name(expr),
        Expr::Function(function) => {
            let ast::ObjectNamePart::Identifier(name) = function.name.0.last()? else {
                return None;
            };
            Some(fold_case(name))
        }
        Expr::Cast { expr, data_type, .. } => shown_name(expr).or_else(|| type_name(data_type)),
        Expr::TypedString(typed) => type_name(&typed.data_type),
        Expr::Interval(_) => Some("interval".into()),
        Expr::Case { else_result, .. } => {
            let of_else = else_result.as_deref().filter(|e| {
                matches!(
                    bare(e),
                    Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Function(_)
                )
            });
            of_else.and_then(shown_name).or_else(|| Some("case".into()))
        }
        Expr::Exists { .. } => Some("exists".into()),
        Expr::Array(_) => Some("array".into()),
        Expr::Tuple(_) => Some("row".into()),
        Expr::Extract { .. } => Some("extract".into()),
        Expr::Position { .. } => Some("position".into()),
        Expr::Substring { .. } => Some("substring".into()),
        Expr::Overlay { .. } => Some("overlay".into()),
        Expr::Ceil { .. } => Some("ceil".into()),
        Expr::Floor { .. } => Some("floor".into()),
        Expr::AtTimeZone { .. } => Some("timezone".into()),
        Expr::Trim { trim_where, .. } => Some(
            match trim_where {
                Some(ast::TrimWhereField::Leading) => "ltrim",
                Some(ast::TrimWhereField::Trailing) => "rtrim",
                _ => "btrim",
            }
            .into(),
        ),
        Expr::Subquery(query) => match &*query.body {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(expr) => shown_name(expr),
                SelectItem::ExprWithAlias { alias, .. } => Some(fold_case(alias)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// pg_type's name of a type as it is written.
fn type_name(ty: &ast::DataType) -> Option<String> {
    use ast::DataType as T;
    let name = match ty {
        T::SmallInt(_) | T::Int2(_) => "int2",
        T::Integer(_) | T::Int(_) | T::Int4(_) => "int4",
        T::BigInt(_) | T::Int8(_) => "int8",
        T::Numeric(_) | T::Decimal(_) | T::Dec(_) => "numeric",
        T::Real | T::Float4 => "float4",
        T::DoublePrecision | T::Float8 | T::Float(_) => "float8",
        T::Boolean | T::Bool => "bool",
        T::Text => "text",
        T::Varchar(_) | T::CharacterVarying(_) | T::CharVarying(_) => "varchar",
        T::Char(_) | T::Character(_) => "bpchar",
        T::Date => "date",
        T::Timestamp(_, ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz) => "timestamptz",
        T::Timestamp(..) => "timestamp",
        T::TimestampNtz(_) => "timestamp",
        T::Time(_, ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz) => "timetz",
        T::Time(..) => "time",
        T::Interval { .. } => "interval",
        T::Uuid => "uuid",
        T::JSON => "json",
        T::JSONB => "jsonb",
        T::Bytea => "bytea",
        T::Custom(name, _) => return parts(name).pop(),
        _ => return None,
    };
    Some(name.to_owned())
}
