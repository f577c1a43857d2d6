//! Which columns of the source's tables projections look at. Rows in the engine have these and the
//! replica identity's; whatever else a table has may come, change and go.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::catalog::{Catalog, Table, TableName};
use crate::value::Column;

#[derive(Clone, Debug, Default)]
pub(crate) struct Uses(Vec<Use>);

#[derive(Clone, Debug)]
struct Use {
    projection: String,
    table: TableName,
    columns: BTreeSet<String>,
}

/// By how many of the projections of a table one of its columns is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Users {
    None,
    Some,
    All,
}

impl Uses {
    /// A projection looks at these columns of a table.
    pub(crate) fn add(&mut self, projection: &str, table: TableName, columns: BTreeSet<String>) {
        self.0.push(Use { projection: projection.to_owned(), table, columns });
    }

    /// Whether the rows of a table have a column.
    pub(crate) fn keep(&self, table: &Table, column: &str) -> bool {
        let identity = || table.row_key().is_some_and(|key| key.iter().any(|name| name == column));
        self.of(&table.name).any(|of| of.columns.contains(column)) || identity()
    }

    pub(crate) fn users(&self, table: &TableName, column: &str) -> Users {
        let all = self.of(table).count();
        match self.of(table).filter(|of| of.columns.contains(column)).count() {
            0 => Users::None,
            users if users == all => Users::All,
            _ => Users::Some,
        }
    }

    fn of(&self, table: &TableName) -> impl Iterator<Item = &Use> {
        self.0.iter().filter(move |of| of.table == *table)
    }
}

/// What projections have looked at while this process followed them: a column that has become another
/// one is not taken for the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(BTreeMap<String, Vec<SeenColumn>>);

#[derive(Clone, Debug)]
struct SeenColumn {
    table: TableName,
    oid: u32,
    column: Column,
}

impl Seen {
    /// These projections are followed, over this catalog.
    pub(crate) fn follow<'p>(
        &mut self,
        projections: impl Iterator<Item = &'p str>,
        uses: &Uses,
        catalog: &Catalog,
    ) {
        for projection in projections {
            let mut columns = Vec::new();
            for of in uses.0.iter().filter(|of| of.projection == projection) {
                let Some(table) = catalog.table(&of.table) else { continue };
                let used = table.columns.iter().filter(|c| of.columns.contains(&c.column.name));
                columns.extend(used.map(|column| SeenColumn {
                    table: of.table.clone(),
                    oid: table.oid,
                    column: column.column.clone(),
                }));
            }
            self.0.insert(projection.to_owned(), columns);
        }
    }

    /// The projection is another one from now on, or none.
    pub(crate) fn forget(&mut self, projection: &str) {
        self.0.remove(projection);
    }

    /// What has become of a column that the projection looked at.
    pub(crate) fn lost(&self, projection: &str, catalog: &Catalog) -> Option<String> {
        self.0.get(projection)?.iter().find_map(|SeenColumn { table, oid, column }| {
            // Of another table of the same name nothing is known.
            let table = catalog.table(table).filter(|table| table.oid == *oid)?;
            let name = &column.name;
            let Some(now) = table.column(name).map(|found| &found.column) else {
                return Some(format!("column {name} is gone"));
            };
            let same = (now.type_oid, now.typmod) == (column.type_oid, column.typmod);
            let what = || format!("column {name} was {} and is {}", column.sql_type, now.sql_type);
            (!same).then(what)
        })
    }
}
