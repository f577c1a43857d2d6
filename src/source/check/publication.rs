//! The publication: whether it has all and hides nothing, or can be made so.

use crate::config::{Diagnostic, Place};
use crate::source::catalog::{Catalog, Publication, Scope, TableName};
use crate::source::publication::{
    Lock, Need, need, readable_add_statement, readable_create_statement,
};
use crate::source::quote;

pub(super) fn faults(
    catalog: &Catalog,
    scope: &Scope,
    source: &Place,
    faults: &mut Vec<Diagnostic>,
) {
    let name = quote::readable(&scope.publication);
    let mut push = |what: String, hint: String| {
        faults.push(Diagnostic::new(what).at(&source.entry("publication")).hint(hint));
    };
    if let Some(publication) = &catalog.publication {
        hidden(publication, &name, &mut push);
        if publication.via_partition_root {
            // It has roots where we look for leaves.
            return;
        }
    }
    let role = quote::readable(&catalog.role.name);
    match need(catalog, scope) {
        Need::Nothing => {}
        Need::Locked { lock, missing } => {
            let hint = match lock {
                Lock::OtherPipeline(_) => "run on the source while that pipeline is stopped:",
                Lock::OtherOwner(_) => "run on the source, as its owner:",
            };
            push(
                format!("publication {name} lacks {}, and {lock}", tables(&missing)),
                format!("{hint}\n{};", readable_add_statement(&scope.publication, &missing)),
            );
        }
        Need::Add(missing) => {
            if let Some(others) = others(catalog, &missing) {
                push(
                    format!(
                        "publication {name} lacks {}, and role {role} does not own {others}",
                        tables(&missing)
                    ),
                    format!(
                        "run on the source, as a superuser:\n{};",
                        readable_add_statement(&scope.publication, &missing)
                    ),
                );
            }
        }
        Need::Create(leaves) => {
            let database = quote::readable(&catalog.server.database);
            let create = readable_create_statement(&scope.publication, &leaves);
            let others = others(catalog, &leaves);
            if !catalog.role.can_create {
                let grant = format!("GRANT CREATE ON DATABASE {database} TO {role};");
                let hint = match &others {
                    None => format!("run on the source:\n{grant}"),
                    Some(_) => format!("run on the source, as a superuser:\n{create};"),
                };
                push(
                    format!(
                        "publication {name} does not exist, and role {role} may not create it in \
                         database {database}"
                    ),
                    hint,
                );
            } else if let Some(others) = others {
                push(
                    format!(
                        "publication {name} does not exist, and role {role} does not own {others}"
                    ),
                    format!("run on the source, as a superuser:\n{create};"),
                );
            }
        }
    }
}

/// Those of the leaves that we may not publish, for only a table's owner may.
fn others(catalog: &Catalog, leaves: &[TableName]) -> Option<String> {
    let all = catalog.tables.iter().flat_map(|table| &table.leaves);
    let names = all.filter(|leaf| !leaf.owned && leaves.contains(&leaf.name));
    let names: Vec<TableName> = names.map(|leaf| leaf.name.clone()).collect();
    (!names.is_empty()).then(|| tables(&names))
}

fn tables(names: &[TableName]) -> String {
    const NAMES_MAX: usize = 5;
    let shown = quote::list(names.iter().take(NAMES_MAX), ToString::to_string);
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn hidden(publication: &Publication, name: &str, push: &mut impl FnMut(String, String)) {
    let to_change = |statements: &str| {
        format!(
            "name another publication by source.publication; or, if nobody needs it as it is, run on \
             the source:\n{statements}"
        )
    };
    let again = |tables: &[TableName]| {
        let plain = quote::list(tables, |table| format!("ONLY {table}"));
        to_change(&format!(
            "ALTER PUBLICATION {name} DROP TABLE {plain};\nALTER PUBLICATION {name} ADD TABLE {plain};"
        ))
    };
    if publication.via_partition_root {
        push(
            format!(
                "publication {name} has publish_via_partition_root: a TRUNCATE of a partition is not \
                 replicated"
            ),
            to_change(&format!(
                "ALTER PUBLICATION {name} SET (publish_via_partition_root = false);"
            )),
        );
    }
    if !publication.unpublished.is_empty() {
        push(
            format!("publication {name} does not publish {}", publication.unpublished.join(", ")),
            to_change(&format!(
                "ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate');"
            )),
        );
    }
    if !publication.row_filters.is_empty() {
        push(
            format!("publication {name} has a row filter on {}", tables(&publication.row_filters)),
            again(&publication.row_filters),
        );
    }
    if !publication.column_lists.is_empty() {
        push(
            format!(
                "publication {name} has a column list on {}",
                tables(&publication.column_lists)
            ),
            again(&publication.column_lists),
        );
    }
}
