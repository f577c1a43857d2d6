//! What names mean in an event: `old.x` and `new.x`, or `prefix` and `content` of a message.

use sqlparser::ast::{Ident, SelectItem, SelectItemQualifiedWildcardKind};

use super::{Of, Result};
use crate::sql::expr::{Collation, Fault, Field, Ty, fold_case};
use crate::sql::query::{Schema, Table, object_name};
use crate::value::{Column, Type};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Old,
    /// The new version, a message, or whether there is a version at all.
    Other,
}

pub(super) struct Names<'a> {
    of: Of,
    pub(super) schema: &'a Schema,
    /// The columns of the row, look-ups left out.
    pub(super) row: Vec<Column>,
}

/// The column that is NULL when there is no such version, by a name that nobody can write.
pub(super) fn presence(version: &str) -> String {
    format!("${version}")
}

const TEXT: u32 = 25;

impl<'a> Names<'a> {
    pub(super) fn new(of: Of, schema: &'a Schema) -> Self {
        let plain = |name: &str, ty: Type, type_oid: u32| Column {
            name: name.to_owned(),
            sql_type: ty.to_string(),
            ty,
            type_oid,
            typmod: -1,
            not_null: false,
        };
        let row = match of {
            Of::Message => ["prefix", "content"].map(|name| plain(name, Type::Text, TEXT)).to_vec(),
            Of::Table(table) => {
                let columns = &schema.tables[table].columns;
                let version = |name: &str| {
                    let there = plain(&presence(name), Type::Bool, 16);
                    let columns = columns.iter().map(|c| Column { not_null: false, ..c.clone() });
                    std::iter::once(there).chain(columns).collect::<Vec<_>>()
                };
                [version("old"), version("new")].concat()
            }
        };
        Self { of, schema, row }
    }

    fn table(&self) -> Option<&Table> {
        match self.of {
            Of::Table(table) => self.schema.tables.get(table),
            Of::Message => None,
        }
    }

    /// Where the columns of a version begin, its presence left out.
    fn version(&self, name: &str) -> Option<(Side, usize)> {
        let columns = self.table()?.columns.len();
        match name {
            "old" => Some((Side::Old, 1)),
            "new" => Some((Side::Other, columns + 2)),
            _ => None,
        }
    }

    fn field(&self, position: usize, collation: Collation) -> Field {
        Field { position, ty: Ty::of_column(&self.row[position], collation) }
    }

    pub(super) fn column(&self, path: &[Ident]) -> Result<(Side, Field)> {
        let folded: Vec<String> = path.iter().map(fold_case).collect();
        let Some(table) = self.table() else {
            let [name] = folded.as_slice() else { return Err(unknown(&folded, None)) };
            let position = self.row.iter().position(|column| column.name == *name);
            let position = position.ok_or_else(|| unknown(&folded, None))?;
            return Ok((Side::Other, self.field(position, Collation::Default)));
        };
        match folded.as_slice() {
            [name] if name.starts_with('$') => {
                let position = self.row.iter().position(|column| column.name == *name);
                let position = position.ok_or_else(|| unknown(&folded, Some(table)))?;
                Ok((Side::Other, self.field(position, Collation::Default)))
            }
            [name] if self.version(name).is_some() => {
                let what = format!("`{name}` is a whole row, which has no value of its own here");
                let hint = format!(
                    "write {name}.COLUMN, {name} IS NULL, or to_jsonb({name}); to compare rows, \
                     compare their columns"
                );
                Err(Fault::new(what).hint(hint))
            }
            [version, name] => {
                let Some((side, first)) = self.version(version) else {
                    return Err(unknown(&folded, Some(table)));
                };
                let Some(at) = table.columns.iter().position(|column| column.name == *name) else {
                    let fault = Fault::new(format!("there is no column `{version}.{name}`"));
                    return Err(Fault { unknown_column: Some(name.clone()), ..fault });
                };
                Ok((side, self.field(first + at, table.collations[at])))
            }
            _ => Err(unknown(&folded, Some(table))),
        }
    }

    pub(super) fn whole_row(&self, version: &Ident) -> Option<(Side, Vec<(String, Field)>)> {
        let table = self.table()?;
        let (side, first) = self.version(&fold_case(version))?;
        let field = |(at, column): (usize, &Column)| {
            (column.name.clone(), self.field(first + at, table.collations[at]))
        };
        Some((side, table.columns.iter().enumerate().map(field).collect()))
    }

    /// `new.*`.
    pub(super) fn star(&self, item: &SelectItem) -> Result<Vec<(Side, String, Field)>> {
        let version = match item {
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                match object_name(name).as_slice() {
                    [name] => Some(Ident::new(name.clone())),
                    _ => None,
                }
            }
            _ => None,
        };
        let found = version.and_then(|version| self.whole_row(&version));
        let Some((side, fields)) = found else {
            return Err(Fault::new("this is no list of columns").hint("write new.* or old.*"));
        };
        Ok(fields.into_iter().map(|(name, field)| (side, name, field)).collect())
    }
}

fn unknown(path: &[String], table: Option<&Table>) -> Fault {
    let name = path.join(".");
    let known = |table: &&Table| table.columns.iter().any(|column| column.name == name);
    match table {
        Some(table) if known(&table) => Fault::new(format!("`{name}` of which version?"))
            .hint(format!("write new.{name} or old.{name}")),
        Some(_) => Fault::new(format!("there is no column `{name}`"))
            .hint("columns of the changed row are old.COLUMN and new.COLUMN"),
        None => Fault::new(format!("there is no column `{name}`"))
            .hint("a message has prefix and content, which are text"),
    }
}
