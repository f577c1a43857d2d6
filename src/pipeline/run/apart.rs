//! What cannot be followed: tables that are gone or not what the stream needs, projections whose columns
//! are gone. Their read models stay as they are, with their last watermarks; all others go on.

use std::collections::BTreeMap;

use super::bind::{self, Binding, Bound, Unbound};
use super::facts;
use super::uses::{Seen, Uses};
use crate::config::{Config, Definition, Diagnostic};
use crate::pg::Params;
use crate::source::catalog::{Catalog, TableName};
use crate::source::check as source_check;
use crate::sql::query;

/// Names, each with the reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Apart {
    pub tables: BTreeMap<String, String>,
    pub projections: BTreeMap<String, String>,
}

/// A catalog without the tables that stand apart, and the projections that can be followed.
pub(super) struct Usable<'a> {
    pub catalog: Catalog,
    pub bound: Vec<Bound<'a>>,
    pub uses: Uses,
    pub apart: Apart,
}

/// Divides the configuration's tables and projections. Faults of the source as a whole are an error.
pub(super) fn divide<'a>(
    config: &'a Config,
    params: &Params,
    catalog: &Catalog,
    seen: &Seen,
) -> Result<Usable<'a>, Vec<Diagnostic>> {
    let mut apart = Apart::default();
    for (table, fault) in source_check::of_tables(catalog, config) {
        apart.tables.entry(facts::table_name(&table)).or_insert(fault.what);
    }
    let catalog =
        catalog.clone().narrowed(|name| !apart.tables.contains_key(&facts::table_name(name)));
    let faults = source_check::of_source(&catalog, config, params);
    if !faults.is_empty() {
        return Err(faults);
    }
    let Binding { mut bound, unbound, uses } = bind::bind(config, &catalog);
    bound.retain(|bound| {
        let name = &bound.projection.name;
        let lost = seen.lost(name, &catalog);
        lost.map(|why| apart.projections.insert(name.clone(), why)).is_none()
    });
    for projection in &config.projections {
        let name = &projection.name;
        let is_bound = bound.iter().any(|bound| bound.projection.name == *name);
        if is_bound || apart.projections.contains_key(name) {
            continue;
        }
        let own = unbound.iter().find(|unbound| unbound.projection == projection.name);
        let of_table = match &projection.definition {
            Definition::Table { schema, name, .. } => {
                apart.tables.get(&facts::table_name(&TableName::new(schema, name)))
            }
            Definition::Query { sql, .. } => {
                let tables = query::tables(sql).unwrap_or_default().into_iter();
                let mut names = tables.map(|table| TableName::new(table.schema, table.name));
                names.find_map(|name| apart.tables.get(&facts::table_name(&name)))
            }
            Definition::Event(event) => {
                let mut tables = source_check::tables_of_event(event).into_iter();
                tables.find_map(|(name, _)| apart.tables.get(&facts::table_name(&name)))
            }
        };
        let lost = seen.lost(name, &catalog);
        let own = own.map(|unbound| unbound.fault.what.clone());
        let why = lost.or(own).or_else(|| of_table.cloned());
        apart.projections.insert(projection.name.clone(), why.unwrap_or_default());
    }
    Ok(Usable { catalog, bound, uses, apart })
}

impl Apart {
    /// Queries that the source itself refuses stand apart, too.
    pub(super) fn and(mut self, refused: Vec<Unbound<'_>>) -> Self {
        for Unbound { projection, fault } in refused {
            self.projections.insert(projection.to_owned(), fault.what);
        }
        self
    }

    /// Something that stood apart need not do so any more.
    pub(super) fn is_healed_in(&self, now: &Apart) -> bool {
        self.tables.keys().any(|table| !now.tables.contains_key(table))
            || self.projections.keys().any(|name| !now.projections.contains_key(name))
    }
}
