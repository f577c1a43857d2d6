//! `readside explain`: how a projection is maintained, from the configuration and the source's catalog.

use std::fmt::Write as _;

use super::bind::{self, Binding, Bound, Rows};
use super::{check, estimate, queries, schema};
use crate::config::{Config, Diagnostic, suggest};
use crate::source;
use crate::source::catalog::{Catalog, Identity, TableName};
use crate::sql::event::Of;
use crate::sql::query;

/// How a projection is maintained.
pub(crate) struct Explained {
    pub(crate) plan: String,
    /// What will be kept for it.
    pub(crate) estimate: String,
}

/// The plan in words, or the faults for which there is none.
pub(crate) async fn explain(config: &Config, name: &str) -> Result<Explained, Vec<Diagnostic>> {
    if config.projections.iter().all(|projection| projection.name != name) {
        let known = config.projections.iter().map(|projection| projection.name.as_str());
        let hint = suggest::hint(name, "projection", known);
        return Err(vec![Diagnostic::new(format!("there is no projection `{name}`")).hint(hint)]);
    }
    let params = check::params(config).map_err(|fault| vec![fault])?;
    let source = source::check::check(config, &params).await;
    let Some(catalog) = source.catalog else { return Err(source.faults) };
    let Binding { mut bound, unbound, uses } = bind::bind(config, &catalog);
    let mut faults: Vec<Diagnostic> = unbound.into_iter().map(|unbound| unbound.fault).collect();
    let asked = queries::checked(&params, &catalog, &mut bound).await;
    faults.extend(asked.unwrap_or_else(|error| vec![queries::unanswered(config, &error)]));
    match bound.iter().find(|bound| bound.projection.name == name) {
        Some(one) => Ok(Explained {
            plan: in_words(config, &catalog, one),
            estimate: estimate::estimate(config, &catalog, &bound, &uses, name),
        }),
        // Of this projection or of its tables.
        None => Err(if faults.is_empty() { source.faults } else { faults }),
    }
}

pub(super) fn in_words(config: &Config, catalog: &Catalog, bound: &Bound<'_>) -> String {
    let kind = if bound.projection.event().is_some() { "event" } else { "projection" };
    let mut text = format!(
        "{kind} {}
",
        bound.projection.name
    );
    for (at, column) in bound.columns.iter().enumerate() {
        let key = if bound.key.contains(&at) { ", key" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {} {}{key}", column.name, column.sql_type);
    }
    text.push('\n');
    let schema = schema::of(config, catalog);
    let tables: Vec<TableName> = match &bound.rows {
        Rows::Table(table) => {
            let _ = writeln!(text, "rows of {table}, as they are");
            vec![table.clone()]
        }
        Rows::Query { planned, .. } => {
            text.push_str(&query::explain(planned));
            let used = planned.used.iter().zip(&schema.tables).filter(|(used, _)| used.is_some());
            used.map(|(_, table)| TableName::new(&table.schema, &table.name)).collect()
        }
        Rows::Event(event) => {
            text.push_str(match event.of {
                Of::Table(_) => {
                    "made of each change for which `when` is true, in the order of commits\n"
                }
                Of::Message => {
                    "made of each message for which `when` is true, in the order of commits\n"
                }
            });
            if event.looks_at_old {
                text.push_str("looks at `old`, which is kept from the table's load on\n");
            }
            let definition = bound.projection.event();
            let tables = definition.map(source::check::tables_of_event).unwrap_or_default();
            let mut names: Vec<TableName> = tables.into_iter().map(|(name, _)| name).collect();
            names.dedup();
            names
        }
    };
    text.push('\n');
    for name in tables {
        let identity = match catalog.table(&name).map(source::catalog::Table::identity) {
            Some(Identity::Columns(columns)) => format!("by {}", columns.join(", ")),
            Some(Identity::Full) => "by all columns (REPLICA IDENTITY FULL)".into(),
            Some(Identity::Unusable(_)) | None => "by nothing that Postgres accepts".into(),
        };
        let _ = writeln!(text, "changes of {name} name their rows {identity}");
    }
    text
}
