//! `readside explain`: how a projection is maintained, from the configuration and the source's catalog.

use std::fmt::Write as _;

use super::super::inspect;
use super::bind::{self, Bound, Rows};
use super::{check, queries, schema, start};
use crate::config::{Config, Diagnostic, suggest};
use crate::engine::{Engine, OutputId};
use crate::source;
use crate::source::catalog::{Catalog, Identity, TableName};
use crate::sql::event::Of;
use crate::sql::plan::Plan;
use crate::sql::query;

/// The plan in words, or the faults for which there is none.
pub(crate) async fn explain(config: &Config, name: &str) -> Result<String, Vec<Diagnostic>> {
    if config.projections.iter().all(|projection| projection.name != name) {
        let known = config.projections.iter().map(|projection| projection.name.as_str());
        let hint = suggest::hint(name, "projection", known);
        return Err(vec![Diagnostic::new(format!("there is no projection `{name}`")).hint(hint)]);
    }
    let params = check::params(config).map_err(|fault| vec![fault])?;
    let source = source::check::check(config, &params).await;
    let Some(catalog) = source.catalog else { return Err(source.faults) };
    let (mut bound, unbound) = bind::bind(config, &catalog);
    let mut faults: Vec<Diagnostic> = unbound.into_iter().map(|unbound| unbound.fault).collect();
    faults.extend(queries::checked(config, &params, &catalog, &mut bound).await);
    match bound.iter().find(|bound| bound.projection.name == name) {
        Some(one) => Ok(in_words(config, &catalog, one) + &kept(config, &catalog, &bound, one)),
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
        Rows::Query(planned) => {
            text.push_str(&query::explain(planned));
            let used = planned.used.iter().zip(&schema.tables).filter(|(used, _)| !used.is_empty());
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

/// What is kept for it, and which other projections share it.
fn kept(config: &Config, catalog: &Catalog, all: &[Bound<'_>], one: &Bound<'_>) -> String {
    let mut engine = Engine::default();
    let names = source::check::scope(config).tables;
    let tables: Vec<_> = names.iter().filter_map(|name| catalog.table(name)).collect();
    let layouts: Option<Vec<_>> = tables.iter().map(|table| start::layout(table)).collect();
    // A table without an identity is a fault of its own.
    let Some(layouts) = layouts else { return String::new() };
    for layout in layouts {
        engine.add_table(layout);
    }
    let place = |name: &TableName| tables.iter().position(|table| table.name == *name);
    let outputs: Vec<Option<OutputId>> = all
        .iter()
        .map(|bound| match &bound.rows {
            Rows::Table(table) => {
                place(table).map(|at| engine.add_plan(&Plan::table(at, bound.key.clone())))
            }
            Rows::Query(planned) => Some(engine.add_plan(&planned.plan)),
            // It is made of changes as they pass.
            Rows::Event(_) => None,
        })
        .collect();
    let output = |of: &Bound<'_>| {
        let at = all.iter().position(|bound| bound.projection.name == of.projection.name)?;
        outputs[at]
    };
    let wanted = output(one);
    if wanted.is_none() {
        return String::new();
    }
    let mut text = "\nkept for it:\n".to_owned();
    for kept in engine.kept() {
        if !kept.outputs.iter().any(|output| Some(*output) == wanted) {
            continue;
        }
        let what = inspect::in_words(&kept.what, |table| tables[table].name.to_string());
        let others = all.iter().filter(|other| {
            let other = output(other);
            other != wanted && kept.outputs.iter().any(|output| Some(*output) == other)
        });
        let others: Vec<&str> = others.map(|other| other.projection.name.as_str()).collect();
        let shared = match others.is_empty() {
            true => String::new(),
            false => format!(", shared with {}", others.join(", ")),
        };
        let _ = writeln!(text, "  {what}{shared}");
    }
    text
}
