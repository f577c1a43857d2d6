//! What projections will need to be kept, before there is anything: the plans in an engine without rows, and
//! as many rows as the source's statistics know of.

use std::fmt::Write as _;

use super::bind::{Bound, Rows};
use super::start;
use super::uses::Uses;
use crate::config::Config;
use crate::engine::{Engine, OutputId};
use crate::pipeline::inspect;
use crate::source::catalog::{Catalog, Table};
use crate::source::check;
use crate::sql::plan::Plan;

/// What is kept for one of them, in words; nothing for an event.
pub(super) fn estimate(
    config: &Config,
    catalog: &Catalog,
    bound: &[Bound<'_>],
    uses: &Uses,
    name: &str,
) -> String {
    let mut engine = Engine::default();
    let (mut names, mut rows, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for table in check::scope(config).tables.iter().filter_map(|name| catalog.table(name)) {
        let Some(layout) = start::layout(table, uses) else { return String::new() };
        engine.add_table(layout);
        names.push(table.name.clone());
        rows.push(known_rows(table).unwrap_or_default());
        unknown.push(known_rows(table).is_none());
    }
    let mut shown: Vec<(OutputId, &str)> = Vec::new();
    for of in bound {
        let plan = match &of.rows {
            Rows::Table(table) => {
                let Some(at) = names.iter().position(|name| name == table) else { continue };
                Plan::table(at, of.key.clone())
            }
            Rows::Query { planned, .. } => planned.plan.clone(),
            Rows::Event(_) => continue,
        };
        shown.push((engine.add_plan(&plan), &of.projection.name));
    }
    let Some(&(output, _)) = shown.iter().find(|(_, of)| *of == name) else {
        return String::new();
    };
    let mut text = "\nestimated from the source's statistics:\n".to_owned();
    for kept in engine.expected(&rows) {
        if !kept.outputs.contains(&output) {
            continue;
        }
        let what = inspect::in_words(&kept.what, |table| names[table].to_string());
        let users = shown.iter().filter(|(output, _)| kept.outputs.contains(output));
        let users: Vec<&str> = users.map(|(_, name)| *name).collect();
        text.push_str(&inspect::kept_line(&what, kept.rows, kept.bytes, &users, name));
    }
    let of_it = engine.output_tables(output);
    for (table, name) in names.iter().enumerate() {
        if unknown[table] && of_it.contains(&table) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  (no statistics of {name}: ANALYZE it)");
        }
    }
    text
}

/// As of its last ANALYZE or VACUUM.
fn known_rows(table: &Table) -> Option<u64> {
    table.leaves.iter().map(|leaf| leaf.rows_estimate).sum()
}
