//! `[projection.NAME]` and `[event.NAME]`.

use super::diagnostic::Diagnostic;
use super::faults::Faults;
use super::node::Node;
use super::node::Value;
use super::place::Place;
use super::section::{Section, place_of_key, structured, table};
use super::sinks::{Sinks, check_name};
use super::targets::{self, Owner, Used};
use super::{Definition, OnError, ProjectionConfig, Target, sql_name, suggest};

pub(super) fn read(root: &Node, sinks: &Sinks, faults: &mut Faults) -> Vec<ProjectionConfig> {
    let mut used = Used::default();
    let named = root.get("projection").and_then(|node| table(node, "[projection]", faults));
    let projections = named
        .unwrap_or_default()
        .iter()
        .filter_map(|(name, node)| projection(name, node, sinks, &mut used, faults))
        .collect();
    let events = root.get("event").and_then(|node| table(node, "[event]", faults));
    for (name, node) in events.unwrap_or_default() {
        event(name, node, sinks, &mut used, faults);
    }
    if named.unwrap_or_default().is_empty() && events.unwrap_or_default().is_empty() {
        let fault = Diagnostic::new("the configuration has no projection");
        faults.push_absent(fault.hint(
            "add one, such as:\n[projection.products]\ntable = \"products\"\nto.SINK = { … }",
        ));
    }
    projections
}

const PROJECTION_KEYS: &[&str] = &["table", "query", "key", "on_error", "to"];

fn projection(
    name: &str,
    node: &Node,
    sinks: &Sinks,
    used: &mut Used,
    faults: &mut Faults,
) -> Option<ProjectionConfig> {
    check_name(name, "projection", node, faults);
    let section = Section::open(node, format!("[projection.{name}]"), PROJECTION_KEYS, faults)?;
    let definition = definition(name, &section, faults);
    let has_key = section.has("key");
    let key = section.names("key", faults);
    let on_error = section.choice(
        "on_error",
        &[("dead-letter", OnError::DeadLetter), ("halt", OnError::Halt)],
        faults,
    );
    // Without `to` its rows are only read from the state.
    let targets = match section.has("to") {
        true => to(&section, Owner::Projection(name), sinks, used, faults),
        false => Vec::new(),
    };
    if has_key && key.is_none() {
        return None;
    }
    Some(ProjectionConfig {
        name: name.to_owned(),
        definition: definition?,
        key,
        on_error: on_error?,
        targets,
        place: section.node.place.clone(),
    })
}

fn definition(name: &str, section: &Section<'_>, faults: &mut Faults) -> Option<Definition> {
    match (section.get("table"), section.get("query")) {
        (Some(_), Some(query)) => {
            let what = format!("projection `{name}` has both `table` and `query`");
            faults.push(Diagnostic::new(what).at(&query.key_place).hint("remove one of them"));
            None
        }
        (None, None) => {
            let what = format!("projection `{name}` has neither `table` nor `query`");
            let hint = "add table = \"TABLE\", which projects a table as it is";
            faults.push_absent(Diagnostic::new(what).at(&section.place()).hint(hint));
            None
        }
        (Some(_), None) => {
            let (schema, name, place) = table_name(section, faults)?;
            Some(Definition::Table { schema, name, place })
        }
        (None, Some(query)) => {
            let sql = section.text("query", faults)?.to_owned();
            Some(Definition::Query { sql, place: query.place.clone() })
        }
    }
}

/// `table`, folded as SQL does.
pub(super) fn table_name(
    section: &Section<'_>,
    faults: &mut Faults,
) -> Option<(String, String, Place)> {
    let node = section.get("table")?;
    match sql_name::parse(section.text("table", faults)?) {
        Ok(table) => Some((table.schema, table.name, node.place.clone())),
        Err(error) => {
            let what = format!("`table` is no table's name: {}", error.what);
            let hint = "write it as in SQL: orders, shop.orders or \"Order\" (in the file: \
                        table = '\"Order\"')";
            faults.push(Diagnostic::new(what).at(&node.place.within(error.span)).hint(hint));
            None
        }
    }
}

const EVENT_KEYS: &[&str] = &["table", "when", "data", "type", "to"];

/// Everything about an event is checked, and the event itself refused.
fn event(name: &str, node: &Node, sinks: &Sinks, used: &mut Used, faults: &mut Faults) {
    check_name(name, "event", node, faults);
    let Some(section) = Section::open(node, format!("[event.{name}]"), EVENT_KEYS, faults) else {
        return;
    };
    section.require("table", "add table = \"TABLE\"", faults);
    table_name(&section, faults);
    for key in ["when", "data"] {
        section.text(key, faults);
    }
    targets::template(&section, "type", faults);
    to(&section, Owner::Event(name), sinks, used, faults);
    let what = format!("event `{name}`: this version does not maintain events");
    let hint = "remove the event, or leave it to a later version";
    faults.push(Diagnostic::new(what).at(&place_of_key(node)).hint(hint));
}

/// `to.SINK`: one target or several, for each sink.
fn to(
    section: &Section<'_>,
    owner: Owner<'_>,
    sinks: &Sinks,
    used: &mut Used,
    faults: &mut Faults,
) -> Vec<(String, Target)> {
    let hint = "add to.SINK = { … } for each sink that is to hold it";
    let Some(node) = section.require("to", hint, faults) else { return Vec::new() };
    let name = format!("`to` of {owner}");
    let entries = table(node, &name, faults).unwrap_or_default();
    let mut read = Vec::new();
    for (sink, node) in entries {
        let known = sinks.kinds.get(sink);
        if known.is_none() {
            let what = format!("there is no sink `{sink}`");
            let hint = suggest::hint(sink, "sink", sinks.kinds.keys().map(String::as_str));
            faults.push(Diagnostic::new(what).at(&place_of_key(node)).hint(hint));
        }
        let Some(Some(kind)) = known else { continue };
        let given = structured(node, |v| matches!(v, Value::List(_) | Value::Table(_)));
        let node = given.as_ref().unwrap_or(node);
        let targets = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        if targets.is_empty() {
            let what = format!("`to.{sink}` is an empty list");
            faults.push(Diagnostic::new(what).at(&node.place));
        }
        for target in targets {
            let target = targets::read(target, sink, *kind, owner, used, faults);
            read.extend(target.map(|target| (sink.clone(), target)));
        }
    }
    if entries.is_empty() && matches!(node.value, Value::Table(_)) {
        let what = format!("{owner} goes to no sink");
        faults.push_absent(Diagnostic::new(what).at(&section.place()).hint(hint));
    }
    read
}
