//! What changed between two readings of the catalog that the WAL does not tell, or tells too late.

use std::fmt;

use super::{Catalog, Identity, Leaf, Table, TableName};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogChange {
    /// Dropped or renamed.
    TableGone {
        table: TableName,
    },
    /// Was not there before.
    TableAppeared {
        table: TableName,
        oid: u32,
    },
    /// Another table has the name now.
    TableReplaced {
        table: TableName,
        old_oid: u32,
        new_oid: u32,
    },
    /// Its rows are in the table, and no stream brings them.
    LeafAttached {
        table: TableName,
        leaf: u32,
    },
    /// Detached or dropped: its rows are no more in the table, and no stream removes them.
    LeafGone {
        table: TableName,
        leaf: u32,
    },
    /// The rows are in another file: TRUNCATE (which the stream tells), VACUUM FULL, CLUSTER, a rewrite.
    LeafRewritten {
        table: TableName,
        leaf: u32,
        /// A column was altered meanwhile: `ALTER COLUMN … TYPE … USING` leaves no other trace.
        values_may_differ: bool,
    },
    ColumnAdded {
        table: TableName,
        column: String,
        existing: ExistingRows,
    },
    ColumnDropped {
        table: TableName,
        column: String,
    },
    ColumnRenamed {
        table: TableName,
        from: String,
        to: String,
    },
    /// It has another type.
    ColumnRetyped {
        table: TableName,
        column: String,
        from: String,
        to: String,
    },
    /// Its type is the same one and has other attributes: values print differently.
    ColumnTypeAltered {
        table: TableName,
        column: String,
        sql_type: String,
    },
    /// Another expression, or none any more, or one now.
    ColumnGenerated {
        table: TableName,
        column: String,
    },
    /// `ALTER TYPE … RENAME VALUE`: the columns' values changed with it.
    EnumLabelRenamed {
        enum_type: TableName,
        from: String,
        to: String,
        columns: Vec<(TableName, String)>,
    },
    /// Others inherit from it now, or do no more: what is read of it by name has their rows, too.
    ChildrenChanged {
        table: TableName,
    },
    /// The replica identity: rows are named by other columns from now on.
    IdentityChanged {
        table: TableName,
        identity: Identity,
    },
    /// It is gone, or another one has its name.
    PublicationGone,
    /// Changes of this leaf do not reach us any more.
    LeafUnpublished {
        table: TableName,
        leaf: u32,
    },
    /// Row filters, column lists, operations or publish_via_partition_root hide something now.
    PublicationNarrowed,
    /// What it publishes of its tables was altered meanwhile: some changes may not have been sent.
    PublicationAltered,
}

/// What rows from before have in a column that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExistingRows {
    Null,
    /// The same text in all.
    Constant(String),
    /// The table was rewritten meanwhile: only reading it tells.
    Unknown,
}

/// For the log: what has happened, in words.
impl fmt::Display for CatalogChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CatalogChange as C;
        match self {
            C::TableGone { table } => write!(f, "table {table} is gone"),
            C::TableAppeared { table, .. } => write!(f, "table {table} was made"),
            C::TableReplaced { table, .. } => write!(f, "{table} is another table now"),
            C::LeafAttached { table, leaf } => {
                write!(f, "table {table} has a new partition, of oid {leaf}")
            }
            C::LeafGone { table, leaf } => {
                write!(f, "table {table} has lost the partition of oid {leaf}")
            }
            C::LeafRewritten { table, values_may_differ, .. } => {
                let with = if *values_may_differ { " with a column altered" } else { "" };
                write!(f, "the rows of table {table} were written anew{with}")
            }
            C::ColumnAdded { table, column, .. } => {
                write!(f, "table {table} has a new column {column}")
            }
            C::ColumnDropped { table, column } => {
                write!(f, "table {table} has lost its column {column}")
            }
            C::ColumnRenamed { table, from, to } => {
                write!(f, "column {from} of table {table} is called {to} now")
            }
            C::ColumnTypeAltered { table, column, sql_type } => {
                write!(f, "the type {sql_type} of column {column} of table {table} was altered")
            }
            C::ColumnRetyped { table, column, from, to } => {
                write!(f, "column {column} of table {table} was {from} and is {to}")
            }
            C::ColumnGenerated { table, column } => {
                write!(f, "column {column} of table {table} is generated in another way now")
            }
            C::EnumLabelRenamed { enum_type, from, to, .. } => {
                write!(f, "label {from} of type {enum_type} is called {to} now")
            }
            C::ChildrenChanged { table } => {
                write!(f, "other tables inherit from table {table} than before")
            }
            C::IdentityChanged { table, .. } => {
                write!(f, "table {table} has another replica identity")
            }
            C::PublicationGone => f.write_str("the publication is gone, or was made again"),
            C::LeafUnpublished { table, leaf } => {
                write!(f, "table {table} (oid {leaf}) was taken out of the publication")
            }
            C::PublicationAltered => f.write_str("the publication was altered"),
            C::PublicationNarrowed => f.write_str("the publication hides changes now"),
        }
    }
}

/// In the order of the tables; what concerns types and the publication comes last.
pub fn diff(old: &Catalog, new: &Catalog) -> Vec<CatalogChange> {
    let mut changes = Vec::new();
    for before in &old.tables {
        let table = before.name.clone();
        match new.table(&before.name) {
            None => changes.push(CatalogChange::TableGone { table }),
            Some(now) if now.oid != before.oid => changes.push(CatalogChange::TableReplaced {
                table,
                old_oid: before.oid,
                new_oid: now.oid,
            }),
            Some(now) => diff_table(before, now, &mut changes),
        }
    }
    for now in new.tables.iter().filter(|now| old.table(&now.name).is_none()) {
        changes.push(CatalogChange::TableAppeared { table: now.name.clone(), oid: now.oid });
    }
    diff_enums(old, new, &mut changes);
    diff_publication(old, new, &mut changes);
    changes
}

fn diff_table(old: &Table, new: &Table, changes: &mut Vec<CatalogChange>) {
    let table = || new.name.clone();
    for leaf in old.leaves.iter().filter(|leaf| new.leaf(leaf.oid).is_none()) {
        changes.push(CatalogChange::LeafGone { table: table(), leaf: leaf.oid });
    }
    let mut rewritten = false;
    for leaf in &new.leaves {
        match old.leaf(leaf.oid) {
            None => changes.push(CatalogChange::LeafAttached { table: table(), leaf: leaf.oid }),
            Some(before) if before.filenode != leaf.filenode => {
                rewritten = true;
                changes.push(CatalogChange::LeafRewritten {
                    table: table(),
                    leaf: leaf.oid,
                    values_may_differ: columns_touched(before, leaf),
                });
            }
            Some(_) => {}
        }
    }
    diff_columns(old, new, rewritten, changes);
    if old.children != new.children {
        changes.push(CatalogChange::ChildrenChanged { table: table() });
    }
    if old.identity() != new.identity() {
        changes.push(CatalogChange::IdentityChanged { table: table(), identity: new.identity() });
    }
}

/// Whether a column that was there before has been altered.
fn columns_touched(old: &Leaf, new: &Leaf) -> bool {
    new.columns.iter().any(|now| {
        let before = old.columns.iter().find(|before| before.number == now.number);
        before.is_some_and(|before| before.touched != now.touched)
    })
}

fn diff_columns(old: &Table, new: &Table, rewritten: bool, changes: &mut Vec<CatalogChange>) {
    let table = || new.name.clone();
    for before in &old.columns {
        let Some(now) = new.columns.iter().find(|now| now.number == before.number) else {
            let column = before.column.name.clone();
            changes.push(CatalogChange::ColumnDropped { table: table(), column });
            continue;
        };
        if before.column.name != now.column.name {
            changes.push(CatalogChange::ColumnRenamed {
                table: table(),
                from: before.column.name.clone(),
                to: now.column.name.clone(),
            });
        }
        let declared = |c: &crate::value::Column| (c.type_oid, c.typmod);
        if declared(&before.column) != declared(&now.column) {
            changes.push(CatalogChange::ColumnRetyped {
                table: table(),
                column: now.column.name.clone(),
                from: before.column.sql_type.clone(),
                to: now.column.sql_type.clone(),
            });
        } else if before.column.ty != now.column.ty {
            changes.push(CatalogChange::ColumnTypeAltered {
                table: table(),
                column: now.column.name.clone(),
                sql_type: now.column.sql_type.clone(),
            });
        }
        if before.generated != now.generated {
            let column = now.column.name.clone();
            changes.push(CatalogChange::ColumnGenerated { table: table(), column });
        }
    }
    for now in &new.columns {
        if old.columns.iter().any(|before| before.number == now.number) {
            continue;
        }
        let column = now.column.name.clone();
        let existing = match new.added_default(&column) {
            Some(text) => ExistingRows::Constant(text.to_owned()),
            None if rewritten || defaults_differ(new, &column) => ExistingRows::Unknown,
            None => ExistingRows::Null,
        };
        changes.push(CatalogChange::ColumnAdded { table: table(), column, existing });
    }
}

/// Some leaves have a constant for rows from before, and others another one or none.
fn defaults_differ(table: &Table, column: &str) -> bool {
    let missing = |leaf: &Leaf| leaf.column(column).is_some_and(|column| column.missing.is_some());
    table.leaves.iter().any(missing)
}

fn diff_enums(old: &Catalog, new: &Catalog, changes: &mut Vec<CatalogChange>) {
    for (oid, before) in &old.enums {
        let Some(now) = new.enums.get(oid) else { continue };
        for (label, from) in &before.labels {
            let Some((_, to)) = now.labels.iter().find(|(oid, _)| oid == label) else { continue };
            if from == to {
                continue;
            }
            let columns = new.tables.iter().flat_map(|table| {
                let holds = table.columns.iter().filter(|column| column.enums.contains(oid));
                holds.map(|column| (table.name.clone(), column.column.name.clone()))
            });
            changes.push(CatalogChange::EnumLabelRenamed {
                enum_type: now.name.clone(),
                from: from.clone(),
                to: to.clone(),
                columns: columns.collect(),
            });
        }
    }
}

fn diff_publication(old: &Catalog, new: &Catalog, changes: &mut Vec<CatalogChange>) {
    let Some(before) = &old.publication else { return };
    let Some(now) = new.publication.as_ref().filter(|now| now.oid == before.oid) else {
        changes.push(CatalogChange::PublicationGone);
        return;
    };
    for table in &new.tables {
        for leaf in &table.leaves {
            let known = old.table(&table.name).and_then(|table| table.leaf(leaf.oid));
            // Taken out and put in again: what changed in between was not sent.
            let again = known.is_some_and(|known| !leaf.membership.continues(&known.membership));
            let was_member = before.members.contains(&leaf.oid);
            if was_member && (again || !now.members.contains(&leaf.oid)) {
                changes.push(CatalogChange::LeafUnpublished {
                    table: table.name.clone(),
                    leaf: leaf.oid,
                });
            }
        }
    }
    if !before.hides() && now.hides() {
        changes.push(CatalogChange::PublicationNarrowed);
    } else if before.touched != now.touched {
        changes.push(CatalogChange::PublicationAltered);
    }
}

impl super::Publication {
    /// Whether changes of its members are kept from us.
    pub fn hides(&self) -> bool {
        self.via_partition_root
            || !self.unpublished.is_empty()
            || !self.row_filters.is_empty()
            || !self.column_lists.is_empty()
    }
}
