//! `[projection.NAME]` and `[event.NAME]`.

use super::diagnostic::Diagnostic;
use super::faults::Faults;
use super::node::Node;
use super::node::Value;
use super::place::Place;
use super::section::{Section, place_of_key, structured, table};
use super::sinks::{Sinks, check_name};
use super::targets::{self, Owner, Used};
use super::{
    Definition, EventDefinition, EventSource, OnError, ProjectionConfig, Sql, Target, sql_name,
    suggest,
};

pub(super) fn read(root: &Node, sinks: &Sinks, faults: &mut Faults) -> Vec<ProjectionConfig> {
    let mut used = Used::default();
    let named = root.get("projection").and_then(|node| table(node, "[projection]", faults));
    let mut projections: Vec<ProjectionConfig> = named
        .unwrap_or_default()
        .iter()
        .filter_map(|(name, node)| projection(name, node, sinks, &mut used, faults))
        .collect();
    let events = root.get("event").and_then(|node| table(node, "[event]", faults));
    for (name, node) in events.unwrap_or_default() {
        if named.unwrap_or_default().iter().any(|(other, _)| other == name) {
            let what = format!("`{name}` is the name of a projection and of an event");
            let hint = "give the event another name: its watermarks go by it";
            faults.push(Diagnostic::new(what).at(&place_of_key(node)).hint(hint));
        }
        projections.extend(event(name, node, sinks, &mut used, faults));
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
    let on_error = on_error(&section, faults);
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
        on_error: on_error.unwrap_or(OnError::DeadLetter),
        targets,
        place: section.node.place.clone(),
    })
}

fn on_error(section: &Section<'_>, faults: &mut Faults) -> Option<OnError> {
    let choices = [("dead-letter", OnError::DeadLetter), ("halt", OnError::Halt)];
    section.choice("on_error", &choices, faults)
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

const EVENT_KEYS: &[&str] = &["table", "message", "when", "data", "type", "on_error", "to"];

fn event(
    name: &str,
    node: &Node,
    sinks: &Sinks,
    used: &mut Used,
    faults: &mut Faults,
) -> Option<ProjectionConfig> {
    check_name(name, "event", node, faults);
    let section = Section::open(node, format!("[event.{name}]"), EVENT_KEYS, faults)?;
    let of = event_source(name, &section, faults);
    if matches!(of, Some(EventSource::Table { .. })) {
        let hint = "add a condition over old and new, such as when = \"old IS NULL\", which is true of \
                    inserted rows";
        section.require("when", hint, faults);
    }
    let when = sql(&section, "when", faults);
    let data = match &of {
        // All that the row is.
        Some(EventSource::Table { .. }) if !section.has("data") => {
            Some(Sql { text: "new.*".to_owned(), place: section.node.place.clone() })
        }
        of => {
            let hint = match of {
                Some(_) => "add data = \"content\", or expressions over it",
                None => "add expressions over old and new, such as data = \"new.order_id\"",
            };
            section.require("data", hint, faults);
            sql(&section, "data", faults)
        }
    };
    let kind = targets::template(&section, "type", faults);
    let on_error = on_error(&section, faults);
    let targets = to(&section, Owner::Event(name), sinks, used, faults);
    if (section.has("when") && when.is_none()) || (section.has("type") && kind.is_none()) {
        return None;
    }
    let definition = EventDefinition { of: of?, when, data: data?, kind };
    Some(ProjectionConfig {
        name: name.to_owned(),
        definition: Definition::Event(Box::new(definition)),
        key: None,
        on_error: on_error.unwrap_or(OnError::DeadLetter),
        targets,
        place: section.node.place.clone(),
    })
}

fn event_source(name: &str, section: &Section<'_>, faults: &mut Faults) -> Option<EventSource> {
    match (section.get("table"), section.get("message")) {
        (Some(_), Some(message)) => {
            let what = format!("event `{name}` has both `table` and `message`");
            faults.push(Diagnostic::new(what).at(&message.key_place).hint("remove one of them"));
            None
        }
        (None, None) => {
            let what = format!("event `{name}` has neither `table` nor `message`");
            let hint = "add table = \"TABLE\", whose changes make it, or message = \"PREFIX\", of \
                        pg_logical_emit_message(true, 'PREFIX', …)";
            faults.push_absent(Diagnostic::new(what).at(&section.place()).hint(hint));
            None
        }
        (Some(_), None) => {
            let (schema, name, place) = table_name(section, faults)?;
            Some(EventSource::Table { schema, name, place })
        }
        (None, Some(message)) => {
            let prefix = section.text("message", faults)?.to_owned();
            if prefix == WAKE_PREFIX {
                let what = "`message` takes the prefix of Readside's own messages";
                let hint = "choose another prefix; those only push the log on";
                faults.push(Diagnostic::new(what).at(&message.place).hint(hint));
            }
            Some(EventSource::Message { prefix })
        }
    }
}

/// The prefix under which Readside itself writes empty messages.
const WAKE_PREFIX: &str = "readside";

fn sql(section: &Section<'_>, key: &str, faults: &mut Faults) -> Option<Sql> {
    let place = section.get(key)?.place.clone();
    let text = section.text(key, faults)?.to_owned();
    Some(Sql { text, place })
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
