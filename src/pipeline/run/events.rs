//! Events from configuration, catalog and store: bound, and made ready for the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bind::{Bound, Rows, Unbound};
use super::facts;
use super::start::{Kept, StartError};
use crate::config::resolve::{self, Relation};
use crate::config::{
    Config, Diagnostic, EventDefinition, EventSource, Place, ProjectionConfig, Target, suggest,
    template::Part as TemplatePart,
};
use crate::engine::{
    Batch, EVENT_COLUMNS, EVENT_KEY, Entry, EventMaker, EventNumber, KindPart, RowsOf,
    event_columns, gap_entry,
};
use crate::lsn::Lsn;
use crate::pipeline::{EventInit, Layout, gone_fact, pending_fact, rows_lsn, told_fact};
use crate::source::catalog::{Catalog, Kind, TableName};
use crate::sql::event::{self, Event, Of, Part, Texts};
use crate::sql::query;
use crate::state::{self, Store};

/// The event with its expressions compiled; `None` where the source's own check has told what is wrong
/// with a table.
pub(super) fn bind<'a>(
    projection: &'a ProjectionConfig,
    definition: &EventDefinition,
    schema: &query::Schema,
    catalog: &Catalog,
) -> Option<Result<Bound<'a>, Vec<Diagnostic>>> {
    let known = |schema: &str, name: &str| {
        let table = catalog.table(&TableName::new(schema, name));
        table.is_some_and(|t| matches!(t.kind, Kind::Table | Kind::Partitioned))
    };
    if !tables(definition).iter().all(|(table, _)| known(&table.schema, &table.name)) {
        return None;
    }
    let of = match &definition.of {
        EventSource::Table { schema: of_schema, name, .. } => {
            let same = |table: &query::Table| table.schema == *of_schema && table.name == *name;
            Of::Table(schema.tables.iter().position(same)?)
        }
        EventSource::Message { .. } => Of::Message,
    };
    Some(bind_to(projection, definition, of, schema, catalog))
}

/// The tables that an event names, each with its place.
pub(super) fn tables(definition: &EventDefinition) -> Vec<(TableName, Place)> {
    crate::source::check::tables_of_event(definition)
}

fn bind_to<'a>(
    projection: &'a ProjectionConfig,
    definition: &EventDefinition,
    of: Of,
    schema: &query::Schema,
    catalog: &Catalog,
) -> Result<Bound<'a>, Vec<Diagnostic>> {
    let identity = |table: &query::Table| {
        let key = catalog.table(&TableName::new(&table.schema, &table.name))?.row_key()?;
        let place = |key: &String| table.columns.iter().position(|column| column.name == *key);
        key.iter().map(place).collect::<Option<Vec<usize>>>()
    };
    let identities = schema.tables.iter().map(|table| identity(table).unwrap_or_default());
    let identities: Vec<Vec<usize>> = identities.collect();
    let when = definition.when.as_ref().map(|when| when.text.as_str());
    let texts = Texts { when, data: &definition.data.text };
    let known = match of {
        Of::Table(table) => schema.tables[table].columns.as_slice(),
        Of::Message => &[],
    };
    let told = |(part, fault): (Part, query::Fault)| {
        let suggested = fault.unknown_column.as_ref().map(|unknown| {
            suggest::hint(unknown, "column", known.iter().map(|column| column.name.as_str()))
        });
        let hint = fault.hint.clone().or(suggested);
        of_text(projection, definition, part, query::Fault { hint, ..fault })
    };
    let event = event::compile(of, texts, schema, &identities)
        .map_err(|faults| faults.into_iter().map(told).collect::<Vec<_>>())?;
    let relation = Relation { columns: &event.columns, key: Some(&[]) };
    resolve::resolve(projection, relation)?;
    if let Some(fault) = taken_name(projection, definition, &event) {
        return Err(vec![fault]);
    }
    let columns = Arc::from(event_columns(&event.columns));
    Ok(Bound { projection, rows: Rows::Event(Box::new(event)), columns, key: EVENT_KEY.to_vec() })
}

/// In a table the data stand beside the event's own columns.
fn taken_name(
    projection: &ProjectionConfig,
    definition: &EventDefinition,
    event: &Event,
) -> Option<Diagnostic> {
    let has_table = projection.targets.iter().any(|(_, of)| matches!(of, Target::Postgres(_)));
    let taken = |name: &str| EVENT_COLUMNS.contains(&name);
    let column = event.columns.iter().find(|column| has_table && taken(&column.name))?;
    let what = format!(
        "`data` of {} has a column `{}`, which an event's table has of its own",
        projection.title(),
        column.name
    );
    Some(Diagnostic::new(what).at(&definition.data.place).hint("give it another name by AS"))
}

/// A fault of one of an event's texts at its place in the file.
pub(super) fn of_text(
    projection: &ProjectionConfig,
    definition: &EventDefinition,
    part: Part,
    fault: query::Fault,
) -> Diagnostic {
    let (key, place) = match (part, &definition.when) {
        (Part::When, Some(when)) => ("when", &when.place),
        _ => ("data", &definition.data.place),
    };
    let what = format!("`{key}` of {}: {}", projection.title(), fault.what);
    Diagnostic { hint: fault.hint, ..Diagnostic::new(what).at(&place.within(fault.span)) }
}

/// How PostgreSQL is asked about an event: a query of its expressions, and where they begin in it, in
/// characters.
pub(super) struct Question {
    pub(super) sql: String,
    data: usize,
    when: usize,
}

impl Question {
    pub(super) fn new(definition: &EventDefinition) -> Self {
        let mut sql = "SELECT ".to_owned();
        let data = sql.chars().count();
        sql.push_str(&definition.data.text);
        sql.push_str("\nFROM ");
        match &definition.of {
            EventSource::Table { schema, name, .. } => {
                let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
                let table = format!("{}.{}", quoted(schema), quoted(name));
                sql.push_str(&format!("{table} AS old, {table} AS new"));
            }
            EventSource::Message { .. } => {
                sql.push_str("(SELECT ''::text AS prefix, ''::text AS content) AS message");
            }
        }
        sql.push_str("\nWHERE (");
        let when = sql.chars().count();
        sql.push_str(definition.when.as_ref().map_or("true", |when| &when.text));
        sql.push_str("\n)");
        Self { sql, data, when }
    }

    /// In which text a place of the query lies, and where there, both in characters from 1.
    pub(super) fn place(&self, position: Option<u32>) -> (Part, Option<u32>) {
        let Some(at) = position.and_then(|position| usize::try_from(position).ok()) else {
            return (Part::Data, None);
        };
        let (part, first) =
            if at > self.when { (Part::When, self.when) } else { (Part::Data, self.data) };
        (part, u32::try_from(at.saturating_sub(first)).ok())
    }
}

/// How often an event's data may change before what was made with the first is forgotten.
const LAYOUTS_MAX: usize = 64;

/// Where an event's log lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct EventFact {
    rows_of: RowsOf,
    /// Of the data, by which the states of older versions tell whether it has changed.
    shape: String,
    /// The same, so that what was made with it can be read when it has changed.
    layout: Option<Layout>,
    /// What it was before, in order.
    #[serde(default)]
    older: Vec<Layout>,
    /// It was not followed for a while.
    missed: bool,
    /// Where it was added to a state that was there.
    #[serde(default)]
    added: u64,
}

/// What decides where a log goes on.
pub(super) struct Since<'a> {
    /// Tables, as people name them, of which a load begins: nobody knows what has happened to them.
    pub(super) loaded: &'a [String],
    /// The state says nothing: it is new, or was lost, or does not belong to the slot.
    pub(super) is_state_new: bool,
    /// The stream goes on from a later position than the state's.
    pub(super) passes_over: bool,
    /// The slot was there before.
    pub(super) is_slot_known: bool,
    /// The consistent point of the load that reads them is not known yet.
    pub(super) load_to_come: bool,
    /// Positions of before mean nothing: a log begins anew.
    pub(super) other_history: bool,
    pub(super) position: Lsn,
    pub(super) committed_at: i64,
}

/// The events' logs; a gap is written into each that goes on where occurrences may be missing.
pub(super) fn inits(
    config: &Config,
    bound: &[Bound<'_>],
    table_names: &[String],
    since: &Since<'_>,
    kept: &mut Kept,
    store: &Store,
    batch: &mut Batch,
) -> Result<Vec<EventInit>, StartError> {
    let events = bound.iter().filter_map(|bound| match &bound.rows {
        Rows::Event(event) => Some((bound, event)),
        Rows::Table(_) | Rows::Query { .. } => None,
    });
    let events: Vec<_> = events.collect();
    let numbers = numbers(config);
    let mut inits = Vec::new();
    for (bound, event) in &events {
        let Some(definition) = bound.projection.event() else { continue };
        let name = bound.projection.name.clone();
        let shape =
            format!("{:?}", event.columns.iter().map(|c| (&c.name, &c.ty)).collect::<Vec<_>>());
        let fact: Option<EventFact> = facts::read(store, &facts::event(&name))?;
        let known = fact.is_some();
        let missed = fact.as_ref().is_some_and(|fact| fact.missed);
        let added = match &fact {
            Some(fact) if !since.other_history => Lsn(fact.added),
            Some(_) => Lsn::ZERO,
            None if since.is_state_new => Lsn::ZERO,
            None => since.position,
        };
        let layout = Layout::of(&event.columns);
        let (mut older, mut was) = (Vec::new(), None);
        let (same, other) = match fact {
            Some(fact) if fact.shape == shape && !since.other_history => {
                older = fact.older;
                (Some(fact.rows_of), None)
            }
            Some(EventFact { rows_of, layout: Some(before), older: before_that, .. })
                if !since.other_history =>
            {
                (older, was) = (before_that, Some(before));
                (Some(rows_of), None)
            }
            fact => (None, fact),
        };
        let mut dropped = match &other {
            Some(fact) => drop_log(bound, fact.rows_of, store, batch)?,
            None => false,
        };
        let rows_of = same.unwrap_or_else(|| kept.new_rows_of());
        let mut log = Stored::read(store, &name, rows_of)?;
        if let Some(before) = was {
            // What they are made of may be read in another way now.
            dropped |= !log.pending.is_empty();
            older.extend(log.last.as_ref().map(|last| before.ended(last.key())));
            older.drain(..older.len().saturating_sub(LAYOUTS_MAX));
        }
        let layout = Some(layout);
        let fact = EventFact {
            rows_of,
            shape,
            layout,
            older: older.clone(),
            missed: false,
            added: added.0,
        };
        facts::set(batch, facts::event(&name), &fact);
        let (table, prefix) = match (event.of, &definition.of) {
            (Of::Message, EventSource::Message { prefix }) => (None, Some(prefix.clone())),
            (Of::Table(table), _) => (Some(table), None),
            (Of::Message, EventSource::Table { .. }) => continue,
        };
        let is_unknown = match table {
            Some(table) => since.loaded.contains(&table_names[table]),
            None => since.is_state_new || since.passes_over,
        };
        let had_begun = known || (since.is_state_new && since.is_slot_known);
        let lacks_some = is_unknown && had_begun;
        // What the load's rows have seen makes none: with one that is to come the gap ends where it begins.
        let gap_at_load = lacks_some && table.is_some() && since.load_to_come;
        if dropped || missed || (lacks_some && !gap_at_load) {
            tracing::warn!(event = name, at = %since.position, "occurrences may be missing before here");
            let gap = gap_entry(event.columns.len(), rows_lsn(since.position), since.committed_at);
            log.add(gap, rows_of, batch);
        }
        if gap_at_load {
            log.forget_pending(rows_of, batch);
        }
        let maker = EventMaker::new(Event::clone(event), kind(bound, event), numbers[&*name]);
        let gone_to = if other.is_some() { None } else { store.fact(&gone_fact(&name))? };
        let Stored { last, first, pending } = log;
        inits.push(EventInit {
            name,
            maker,
            table,
            prefix,
            rows_of,
            last,
            stored_from: first,
            gone_to,
            pending,
            older,
            gap_at_load,
            added,
        });
    }
    Ok(inits)
}

/// Each event's number, which its name makes: whatever else is configured, and whoever makes the occurrences again
/// (another instance of the group, a state that was lost), they have the same ids.
fn numbers(config: &Config) -> BTreeMap<&str, EventNumber> {
    let events = config.projections.iter().filter(|projection| projection.event().is_some());
    numbers_of(events.map(|event| event.name.as_str()).collect())
}

fn numbers_of(names: BTreeSet<&str>) -> BTreeMap<&str, EventNumber> {
    let mut taken = BTreeSet::new();
    let number = |name| {
        let digest = ring::digest::digest(&ring::digest::SHA256, str::as_bytes(name));
        let bytes = digest.as_ref().first_chunk::<4>().expect("a digest is longer");
        let mut number = EventNumber::new(u32::from_be_bytes(*bytes));
        // Of two names that make the same number, which hardly ever happens, the later one has the next.
        while !taken.insert(number) {
            number = number.next();
        }
        (name, number)
    };
    names.into_iter().map(number).collect()
}

/// The log of an event goes that means nothing any more; whether it had what not every sink has.
fn drop_log(
    bound: &Bound<'_>,
    rows_of: RowsOf,
    store: &Store,
    batch: &mut Batch,
) -> Result<bool, state::Error> {
    let name = &bound.projection.name;
    batch.dropped.push(rows_of);
    batch.remove_fact(pending_fact(name));
    batch.remove_fact(gone_fact(name));
    let Some(last) = store.last_row(rows_of, None)? else { return Ok(false) };
    for (sink, _) in &bound.projection.targets {
        let told = store.fact(&told_fact(&format!("{sink}/{name}")))?;
        if Lsn(facts::number(told.as_deref())) <= last.lsn() {
            tracing::warn!(
                event = name,
                sink,
                "positions of before mean nothing: what the sink lacks is dropped"
            );
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the store has of a log.
struct Stored {
    last: Option<Entry>,
    first: Option<Lsn>,
    pending: Vec<Entry>,
}

impl Stored {
    fn read(store: &Store, event: &str, rows_of: RowsOf) -> Result<Self, state::Error> {
        let waits_from = store.fact(&pending_fact(event))?;
        let pending = match &waits_from {
            Some(key) => store.rows_from(rows_of, key)?,
            None => Vec::new(),
        };
        let last = store.last_row(rows_of, waits_from.as_deref())?;
        let first = store.rows(rows_of).next().transpose()?.map(|entry| entry.lsn());
        Ok(Self { last, first, pending })
    }

    fn add(&mut self, gap: Entry, rows_of: RowsOf, batch: &mut Batch) {
        self.first.get_or_insert(gap.lsn());
        batch.entries.push((rows_of, gap.clone()));
        self.forget_pending(rows_of, batch);
        self.last = Some(gap);
    }

    /// What waited is before a gap, and its transaction will not come again.
    fn forget_pending(&mut self, rows_of: RowsOf, batch: &mut Batch) {
        batch.forgotten.extend(self.pending.drain(..).map(|entry| (rows_of, entry)));
    }
}

/// The type's template over the data.
fn kind(bound: &Bound<'_>, event: &Event) -> Vec<KindPart> {
    let template = bound.projection.event().and_then(|definition| definition.kind.as_ref());
    let Some(template) = template else {
        return vec![KindPart::Text(bound.projection.name.clone())];
    };
    let part = |part: &TemplatePart| match part {
        TemplatePart::Literal(text) => Some(KindPart::Text(text.clone())),
        TemplatePart::Column(name) => {
            let at = event.columns.iter().position(|column| column.name == *name);
            at.map(KindPart::Column)
        }
    };
    template.parts.iter().filter_map(part).collect()
}

/// An event that PostgreSQL refuses.
pub(super) fn unbound<'a>(
    projection: &'a ProjectionConfig,
    definition: &EventDefinition,
    part: Part,
    fault: query::Fault,
) -> Unbound<'a> {
    Unbound { projection: &projection.name, fault: of_text(projection, definition, part, fault) }
}

/// What is remembered of events that are no longer configured goes.
pub(super) fn forget_unused(
    config: &Config,
    bound: &[Bound<'_>],
    store: &Store,
    batch: &mut Batch,
) -> Result<(), state::Error> {
    for (name, _) in store.facts(&facts::event(""))? {
        let fact: Option<EventFact> = facts::read(store, &facts::event(&name))?;
        if config.projections.iter().any(|of| of.event().is_some() && of.name == name) {
            // It stands apart, and what happens meanwhile is not told.
            if let Some(fact) = fact
                && bound.iter().all(|bound| bound.projection.name != name)
            {
                facts::set(batch, facts::event(&name), &EventFact { missed: true, ..fact });
            }
            continue;
        }
        batch.dropped.extend(fact.map(|fact| fact.rows_of));
        batch.remove_fact(facts::event(&name));
        batch.remove_fact(pending_fact(&name));
        batch.remove_fact(gone_fact(&name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_number_does_not_depend_on_the_others() {
        let many: Vec<String> = (0..20_000).map(|at| format!("event{at}")).collect();
        let alone = numbers_of(BTreeSet::from(["event7"]));
        let all = numbers_of(many.iter().map(String::as_str).collect());
        assert_eq!(all["event7"], alone["event7"]);
        let distinct: BTreeSet<&EventNumber> = all.values().collect();
        assert_eq!(distinct.len(), many.len(), "where two names make the same number, too");
    }
}
