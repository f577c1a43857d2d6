//! The tables that projections name.

use std::collections::{BTreeMap, BTreeSet};

use super::Wanted;
use crate::config::{Diagnostic, suggest};
use crate::source::catalog::{
    Catalog, Identity, IndexFault, Kind, Leaf, Table, TableName, UniqueIndex, Unusable,
};
use crate::source::quote;

/// More grants than these are given for the schema as a whole.
const GRANTS_MAX: usize = 10;

/// Each with its table.
pub(super) fn faults(
    catalog: &Catalog,
    wanted: &[Wanted],
    names: &[TableName],
) -> Vec<(TableName, Diagnostic)> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    let mut followed = BTreeMap::new();
    for Wanted { table: name, place } in wanted {
        let found = catalog.table(name);
        // What is wrong with a table is told where it is first named, a wrong name wherever it stands.
        if found.is_some() && !seen.insert(name) {
            continue;
        }
        let mut push = |what: String, hint: String| {
            faults.push((name.clone(), Diagnostic::new(what).at(place).hint(hint)));
        };
        match found {
            None => push(format!("table {name} does not exist"), similar(name, names)),
            Some(table) => match refused(table) {
                Some((what, hint)) => push(what, hint),
                None => {
                    privileges(catalog, table, &mut push);
                    row_security(catalog, table, &mut push);
                    identity(table, &mut push);
                    generated(table, &mut push);
                    overlap(table, &mut followed, &mut push);
                }
            },
        }
    }
    faults
}

/// A change of a leaf is one table's change.
fn overlap<'c>(
    table: &'c Table,
    followed: &mut BTreeMap<u32, &'c TableName>,
    push: &mut impl FnMut(String, String),
) {
    let name = &table.name;
    let shared = table.leaves.iter().find_map(|leaf| followed.get(&leaf.oid));
    if let Some(other) = shared {
        push(
            format!("{name} and {other} have rows in common: one is a partition of the other"),
            format!("project one of them; {other} is projected already"),
        );
        return;
    }
    followed.extend(table.leaves.iter().map(|leaf| (leaf.oid, name)));
}

fn similar(name: &TableName, names: &[TableName]) -> String {
    let elsewhere = names.iter().find(|other| other.name == name.name);
    let beside = || {
        let beside = names.iter().filter(|other| other.schema == name.schema);
        let near = suggest::nearest(&name.name, beside.clone().map(|other| other.name.as_str()))?;
        beside.into_iter().find(|other| other.name == near)
    };
    match elsewhere.or_else(beside) {
        Some(near) => format!("did you mean {near}?"),
        None => "create it, or correct the name; it is written as in SQL".into(),
    }
}

/// What can never be used.
fn refused(table: &Table) -> Option<(String, String)> {
    let name = &table.name;
    if let Some(refused) = refused_kind(name, table.kind) {
        return Some(refused);
    }
    if let Some(what) = table.shared_rows() {
        let hint =
            "name those tables each by a projection of its own, or make it a partitioned table";
        return Some((what, hint.into()));
    }
    table
        .leaves
        .iter()
        .find_map(|leaf| refused_kind(&leaf.name, leaf.kind))
        .map(|(what, hint)| (format!("{name} has a partition that cannot be used: {what}"), hint))
}

fn refused_kind(name: &TableName, kind: Kind) -> Option<(String, String)> {
    let (is, hint) = match kind {
        Kind::Table | Kind::Partitioned => return None,
        Kind::Unlogged => (
            "an unlogged table: its changes are not in the WAL",
            format!("run on the source:\nALTER TABLE {name} SET LOGGED;"),
        ),
        Kind::Temporary => ("a temporary table", "name a permanent one".into()),
        Kind::System => ("a table of the system: it is never replicated", "name another".into()),
        Kind::View => (
            "a view: it has no rows and no changes of its own",
            "name the tables that it reads".into(),
        ),
        Kind::MaterializedView => (
            "a materialized view: its changes are not replicated",
            "name the tables that it reads".into(),
        ),
        Kind::Foreign => (
            "a foreign table: its changes are in another server's WAL",
            "connect to that server instead".into(),
        ),
        Kind::Other => ("not a table", "name a table".into()),
    };
    Some((format!("{name} is {is}"), hint))
}

/// The stream does not bring them, so they cannot tell which row it means.
fn generated(table: &Table, push: &mut impl FnMut(String, String)) {
    let Identity::Columns(columns) = table.identity() else { return };
    let stored = |name: &&String| !table.are_stored(std::slice::from_ref(*name));
    let names = quote::list(columns.iter().filter(stored), |name| quote::readable(name));
    if !names.is_empty() {
        push(
            format!(
                "the replica identity of {} has generated columns, which are not replicated: {names}",
                table.name
            ),
            format!(
                "make a unique index on ordinary columns its replica identity, or, where the whole old \
                 row is to name each row, run on the source:\n\
                 ALTER TABLE {} REPLICA IDENTITY FULL;",
                table.name
            ),
        );
    }
}

fn privileges(catalog: &Catalog, table: &Table, push: &mut impl FnMut(String, String)) {
    let role = quote::readable(&catalog.role.name);
    let hidden = |leaf: &&Leaf| !leaf.can_use_schema;
    let schemas: BTreeSet<&str> =
        table.leaves.iter().filter(hidden).map(|leaf| leaf.name.schema.as_str()).collect();
    let unreadable: Vec<&Leaf> = table.leaves.iter().filter(|leaf| !leaf.can_select).collect();
    if schemas.is_empty() && unreadable.is_empty() {
        return;
    }
    let mut statements = Vec::new();
    for schema in &schemas {
        statements.push(format!("GRANT USAGE ON SCHEMA {} TO {role};", quote::readable(schema)));
    }
    if unreadable.len() > GRANTS_MAX {
        let schemas: BTreeSet<&str> =
            unreadable.iter().map(|leaf| leaf.name.schema.as_str()).collect();
        statements.extend(schemas.iter().map(|schema| {
            format!("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {role};", quote::readable(schema))
        }));
    } else if !unreadable.is_empty() {
        let tables = quote::list(&unreadable, |leaf| leaf.name.to_string());
        statements.push(format!("GRANT SELECT ON {tables} TO {role};"));
    }
    push(
        format!("role {role} may not read {}", of_leaves(table, &unreadable)),
        format!("run on the source:\n{}", statements.join("\n")),
    );
}

/// The table, and which of its partitions are meant where it is not all of it.
fn of_leaves(table: &Table, leaves: &[&Leaf]) -> String {
    match leaves {
        [leaf] if leaf.oid != table.oid => format!("partition {} of {}", leaf.name, table.name),
        [first, _, ..] => {
            format!("{} partitions of {}, such as {}", leaves.len(), table.name, first.name)
        }
        _ => format!("table {}", table.name),
    }
}

fn row_security(catalog: &Catalog, table: &Table, push: &mut impl FnMut(String, String)) {
    let hidden: Vec<&Leaf> = table.leaves.iter().filter(|leaf| leaf.row_security).collect();
    if hidden.is_empty() {
        return;
    }
    let role = quote::readable(&catalog.role.name);
    push(
        format!("row security hides rows from role {role} in {}", of_leaves(table, &hidden)),
        format!("run on the source, as a superuser:\nALTER ROLE {role} BYPASSRLS;"),
    );
}

fn identity(table: &Table, push: &mut impl FnMut(String, String)) {
    if table.identity() == Identity::Unusable(Unusable::Differ) {
        push(
            format!("the partitions of {} have different replica identities", table.name),
            "give them all the one that their primary key is, by this for each of them:\n\
             ALTER TABLE PARTITION REPLICA IDENTITY DEFAULT;"
                .into(),
        );
        return;
    }
    let unusable: Vec<(&Leaf, &Unusable)> = table
        .leaves
        .iter()
        .filter_map(|leaf| match &leaf.identity {
            Identity::Unusable(why) => Some((leaf, why)),
            Identity::Columns(_) | Identity::Full => None,
        })
        .collect();
    let Some((leaf, why)) = unusable.first() else { return };
    let leaves: Vec<&Leaf> = unusable.iter().map(|(leaf, _)| *leaf).collect();
    push(
        format!(
            "{} has no usable replica identity: {}; once it is published, its UPDATEs and DELETEs \
             would fail",
            of_leaves(table, &leaves),
            reason(leaf, why)
        ),
        identity_hint(leaf, why),
    );
}

fn reason(leaf: &Leaf, why: &Unusable) -> String {
    match why {
        Unusable::Nothing => "it is set to NOTHING".into(),
        Unusable::NoPrimaryKey => match leaf.unique_indexes.iter().find(|i| i.fault().is_some()) {
            Some(index) if usable(leaf).is_none() => {
                format!("there is no primary key, and {}", index_reason(index))
            }
            _ => "there is no primary key".into(),
        },
        Unusable::Index { name, .. } => {
            match leaf.unique_indexes.iter().find(|index| index.name == *name) {
                Some(index) => index_reason(index),
                None => format!("index {} cannot be used", quote::readable(name)),
            }
        }
        Unusable::IndexDropped => "the index that it names has been dropped".into(),
        Unusable::Differ => "its partitions differ".into(),
    }
}

fn index_reason(index: &UniqueIndex) -> String {
    let name = quote::readable(&index.name);
    match index.fault() {
        None => format!("index {name} is not made its replica identity"),
        Some(IndexFault::Invalid) => format!("index {name} is invalid"),
        Some(IndexFault::Deferrable) => format!("index {name} is deferrable"),
        Some(IndexFault::Partial) => format!("index {name} is partial"),
        Some(IndexFault::OnExpressions) => format!("index {name} is on expressions"),
        Some(IndexFault::Nullable) => {
            let columns = quote::list(&index.nullable, |column| quote::readable(column));
            format!("index {name} has columns without NOT NULL: {columns}")
        }
    }
}

/// The unique index that could be the identity.
fn usable(leaf: &Leaf) -> Option<&UniqueIndex> {
    leaf.unique_indexes.iter().find(|index| index.fault().is_none())
}

fn identity_hint(leaf: &Leaf, why: &Unusable) -> String {
    let name = &leaf.name;
    let full = format!("ALTER TABLE {name} REPLICA IDENTITY FULL;");
    match usable(leaf) {
        Some(index) if index.primary && !matches!(why, Unusable::NoPrimaryKey) => {
            format!("run on the source:\nALTER TABLE {name} REPLICA IDENTITY DEFAULT;")
        }
        Some(index) => format!(
            "run on the source:\nALTER TABLE {name} REPLICA IDENTITY USING INDEX {};",
            quote::readable(&index.name)
        ),
        None if matches!(why, Unusable::Index { fault: IndexFault::Invalid, .. }) => format!(
            "run on the source REINDEX INDEX CONCURRENTLY for it, or, where the whole old row is to \
             name each row:\n{full}"
        ),
        None if leaf.unique_indexes.iter().any(|index| index.primary) => format!(
            "make the primary key NOT DEFERRABLE, or, where the whole old row is to name each row, run \
             on the source:\n{full}"
        ),
        None => format!(
            "add a primary key, or, where the whole old row is to name each row, run on the source:\n\
             {full}"
        ),
    }
}
