//! Every fault of the source that would keep the pipeline from working, told at once, with the statement
//! to type. Creates nothing.

mod connection;
mod publication;
mod server;
mod table;

use super::APPLICATION_NAME;
use super::catalog::{self, Catalog, Scope, TableName};
use super::replication::ReplicationConnection;
use super::transient::is_transient;
use crate::config::{Config, Definition, Diagnostic, EventDefinition, EventSource, Place};
use crate::pg::{self, Params};
use crate::sql::event::{self, Part};
use crate::sql::query;

/// The oldest version whose catalog and TID range scans are as we need them.
const VERSION_MIN: u32 = 140_000;

#[derive(Debug)]
pub struct Checked {
    /// As far as it could be read.
    pub catalog: Option<Catalog>,
    pub faults: Vec<Diagnostic>,
    /// The source could not be asked, and trying again may help.
    pub away: bool,
}

/// A table that a projection names, and where.
struct Wanted {
    table: TableName,
    place: Place,
}

/// What the configuration wants of the source's catalog.
pub fn scope(config: &Config) -> Scope {
    let mut tables: Vec<TableName> = wanted(config).into_iter().map(|w| w.table).collect();
    tables.sort();
    tables.dedup();
    Scope {
        publication: config.source.publication.clone(),
        slot: config.source.slot.clone(),
        tables,
    }
}

/// Looks at everything; what cannot be looked at because of an earlier fault is left out.
pub async fn check(config: &Config, params: &Params) -> Checked {
    let url = config.source.place.entry("url");
    let application_name = application_name(params);
    let alone = |fault: Diagnostic, away| Checked { catalog: None, faults: vec![fault], away };
    let session = match pg::connect(params, application_name).await {
        Ok(session) => session,
        Err(error) => {
            return alone(connection::fault(&error, params, &url), is_transient(&error));
        }
    };
    if session.version() < VERSION_MIN {
        let what = format!("the source is PostgreSQL {}", session.version() / 10_000);
        let fault = Diagnostic::new(what).at(&url).hint("upgrade it to PostgreSQL 14 or later");
        return alone(fault, false);
    }
    let scope = scope(config);
    let catalog = match Catalog::read(&session, &scope).await {
        Ok(catalog) => catalog,
        Err(error) => return alone(connection::unreadable(&error, &url), is_transient(&error)),
    };
    let mut faults = server::faults(&catalog, config, application_name);
    if faults.is_empty()
        && let Err(error) = identify(params, application_name).await
    {
        if is_transient(&error) {
            return alone(connection::replication_fault(&error, &url), true);
        }
        faults.push(connection::replication_fault(&error, &url));
    }
    let wanted = wanted(config);
    let unknown = wanted.iter().any(|wanted| catalog.table(&wanted.table).is_none());
    let names = if unknown { catalog::table_names(&session).await } else { Ok(Vec::new()) };
    match names {
        Ok(names) => {
            let found = table::faults(&catalog, &wanted, &names);
            faults.extend(found.into_iter().map(|(_, fault)| fault));
        }
        Err(error) if is_transient(&error) => {
            return alone(connection::unreadable(&error, &url), true);
        }
        Err(error) => faults.push(connection::unreadable(&error, &url)),
    }
    publication::faults(&catalog, &scope, &config.source.place, &mut faults);
    session.close().await;
    Checked { catalog: Some(catalog), faults, away: false }
}

/// Faults of single tables that a catalog shows by itself: what reads the others can go on.
pub fn of_tables(catalog: &Catalog, config: &Config) -> Vec<(TableName, Diagnostic)> {
    table::faults(catalog, &wanted(config), &[])
}

/// Faults of the source as a whole that a catalog shows by itself; of its tables those are meant that
/// the catalog holds.
pub fn of_source(catalog: &Catalog, config: &Config, params: &Params) -> Vec<Diagnostic> {
    let mut faults = server::faults(catalog, config, application_name(params));
    publication::faults(catalog, &scope(config), &config.source.place, &mut faults);
    faults
}

/// How our connections to the source call themselves.
pub fn application_name(params: &Params) -> &str {
    params.application_name().unwrap_or(APPLICATION_NAME)
}

/// A walsender can be had.
async fn identify(params: &Params, application_name: &str) -> Result<(), pg::Error> {
    let mut connection = ReplicationConnection::connect(params, application_name).await?;
    connection.identify_system().await?;
    Ok(())
}

/// In the order of the file.
fn wanted(config: &Config) -> Vec<Wanted> {
    let wanted = config.projections.iter().flat_map(|projection| match &projection.definition {
        Definition::Table { schema, name, place } => {
            vec![Wanted { table: TableName::new(schema, name), place: place.clone() }]
        }
        // What cannot be read is told when the query is planned.
        Definition::Query { sql, place } => {
            let tables = query::tables(sql).unwrap_or_default().into_iter();
            let wanted = |table: query::TableRef| Wanted {
                table: TableName::new(table.schema, table.name),
                place: place.within(table.span),
            };
            tables.map(wanted).collect()
        }
        Definition::Event(event) => {
            let wanted = |(table, place)| Wanted { table, place };
            tables_of_event(event).into_iter().map(wanted).collect()
        }
    });
    wanted.collect()
}

/// The table of an event, and those that it looks into, each with its place.
pub fn tables_of_event(event: &EventDefinition) -> Vec<(TableName, Place)> {
    let mut found = Vec::new();
    if let EventSource::Table { schema, name, place } = &event.of {
        found.push((TableName::new(schema, name), place.clone()));
    }
    let texts = event.when.iter().map(|when| (Part::When, when));
    for (part, sql) in texts.chain([(Part::Data, &event.data)]) {
        let tables = event::tables(part, &sql.text).into_iter();
        found.extend(
            tables.map(|(schema, name, span)| {
                (TableName::new(&schema, &name), sql.place.within(span))
            }),
        );
    }
    found
}
