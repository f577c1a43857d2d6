//! The catalog as the planner of queries sees it.

use crate::config::Config;
use crate::source::catalog::{Catalog, NamedType, Server, Table, TableColumn};
use crate::source::check;
use crate::sql::expr::{Collation, Ctype, Database, UserKind, UserType};
use crate::sql::query::{self, Schema};

/// Its tables are those that the configuration names, in the order of `check::scope`.
pub(super) fn of(config: &Config, catalog: &Catalog) -> Schema {
    let names = check::scope(config).tables;
    let tables = names.iter().filter_map(|name| catalog.table(name));
    let types = catalog.types.iter();
    let names = catalog.types.iter();
    Schema {
        tables: tables.map(table).collect(),
        types: types.map(|(oid, named)| (*oid, user_type(catalog, named))).collect(),
        type_names: names
            .map(|(oid, named)| ((named.ty.schema.clone(), named.ty.name.clone()), *oid))
            .collect(),
        database: database(&catalog.server),
    }
}

fn table(table: &Table) -> query::Table {
    let position = |key: &String| table.stored().position(|column| column.column.name == *key);
    let generated = table.columns.iter().enumerate().filter_map(|(at, column)| {
        let generated = column.generated.as_ref()?;
        Some(query::Generated {
            at,
            column: column.column.clone(),
            collation: collation(column),
            expression: generated.everywhere.then(|| generated.expression.clone()),
        })
    });
    query::Table {
        schema: table.name.schema.clone(),
        name: table.name.name.clone(),
        columns: table.stored().map(|column| column.column.clone()).collect(),
        collations: table.stored().map(collation).collect(),
        primary_key: table
            .primary_key
            .as_ref()
            .and_then(|key| key.iter().map(position).collect::<Option<Vec<_>>>()),
        generated: generated.collect(),
        kept: None,
    }
}

fn collation(column: &TableColumn) -> Collation {
    match column.collation.as_deref() {
        None => Collation::Default,
        Some("C" | "POSIX" | "ucs_basic") => Collation::C,
        Some("C.UTF-8" | "C.utf8" | "pg_c_utf8") => Collation::Utf8,
        Some(_) => Collation::Other { deterministic: column.deterministic },
    }
}

fn user_type(catalog: &Catalog, named: &NamedType) -> UserType {
    let ty = &named.ty;
    let kind = match ty.typtype {
        b'e' => {
            let labels = catalog.enums.get(&ty.oid).map(|known| known.labels.as_slice());
            let labels = labels.unwrap_or_default().iter().map(|(_, label)| label.clone());
            UserKind::Enum { labels: labels.collect() }
        }
        b'd' => UserKind::Domain { base: ty.base, typmod: named.typmod },
        b'c' => UserKind::Composite { attributes: ty.attributes.clone() },
        b'b' if ty.category == b'A' => UserKind::Array { element: ty.elem },
        _ => UserKind::Other,
    };
    UserType { name: named.sql_type.clone(), kind, array: named.array }
}

fn database(server: &Server) -> Database {
    const BYTEWISE: [&str; 5] = ["C", "POSIX", "C.UTF-8", "C.utf8", "C.UTF8"];
    // Turkic languages have a letter case of their own.
    const OF_ITS_OWN: [&str; 2] = ["tr", "az"];
    let ctype = match server.locale_provider {
        _ if ["C", "POSIX"].contains(&server.ctype.as_str()) => Ctype::C,
        'c' if server.encoding == "UTF8"
            && !OF_ITS_OWN.iter().any(|language| server.ctype.starts_with(language)) =>
        {
            Ctype::Libc
        }
        _ => Ctype::Unknown,
    };
    let bytewise = match server.locale_provider {
        'b' => true,
        'c' => BYTEWISE.contains(&server.collate.as_str()),
        _ => false,
    };
    Database { ordered_by_bytes: bytewise, ctype, version: server.version }
}
