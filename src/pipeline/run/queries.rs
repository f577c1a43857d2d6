//! What PostgreSQL itself says of the projections' queries: its own faults with their places, and the
//! exact names and types of the results. The planner's answer has to agree, or the query is refused.

use std::sync::Arc;

use super::bind::{self, Bound, Rows, Unbound};
use super::events::{self, Question};
use crate::config::{Config, Definition, Diagnostic, EventDefinition, Place, ProjectionConfig};
use crate::engine::event_columns;
use crate::pg::{self, Params, Session};
use crate::source::APPLICATION_NAME;
use crate::source::catalog::Catalog;
use crate::sql::event::Part;
use crate::sql::query::Fault;
use crate::value::{self, Column, PgType};

/// Unqualified tables are those of `public`, as everywhere in the configuration.
const BEGIN: &str = "BEGIN TRANSACTION READ ONLY; SET LOCAL search_path = public, pg_catalog";

/// Asks about all queries that could be planned; takes over the types that PostgreSQL names.
pub(super) async fn checked(
    params: &Params,
    catalog: &Catalog,
    bound: &mut Vec<Bound<'_>>,
) -> Result<Vec<Diagnostic>, pg::Error> {
    if bound.iter().all(|bound| matches!(bound.rows, Rows::Table(_))) {
        return Ok(Vec::new());
    }
    let session = pg::connect(params, APPLICATION_NAME).await?;
    let refused = ask(&session, catalog, bound).await?;
    session.close().await;
    Ok(refused.into_iter().map(|unbound| unbound.fault).collect())
}

/// It could not answer.
pub(super) fn unanswered(config: &Config, error: &pg::Error) -> Diagnostic {
    Diagnostic::new(format!("the source cannot be asked about queries: {error}"))
        .at(&config.source.place.entry("url"))
        .hint("look into the server's log")
}

/// The same over a session that is there. What PostgreSQL refuses is taken out of `bound`.
pub(super) async fn ask<'a>(
    session: &Session,
    catalog: &Catalog,
    bound: &mut Vec<Bound<'a>>,
) -> Result<Vec<Unbound<'a>>, pg::Error> {
    let mut faults = Vec::new();
    let mut kept = Vec::new();
    for mut of in bound.drain(..) {
        let (sql, place) = match &of.projection.definition {
            Definition::Query { sql, place } => (sql, place),
            Definition::Event(event) => {
                match ask_event(session, catalog, event, &mut of).await? {
                    None => kept.push(of),
                    Some((part, fault)) => {
                        faults.push(events::unbound(of.projection, event, part, fault));
                    }
                }
                continue;
            }
            Definition::Table { .. } => {
                kept.push(of);
                continue;
            }
        };
        match columns(session, sql).await? {
            Ok(columns) => match agree(catalog, &of.columns, &columns) {
                None => {
                    let named = of.columns.iter().zip(columns).map(|(ours, theirs)| Column {
                        not_null: ours.not_null,
                        ty: ours.ty.clone(),
                        ..theirs
                    });
                    of.columns = named.collect();
                    kept.push(of);
                }
                Some(what) => {
                    let hint = "name it by AS, or cast it to the type that is meant";
                    let fault = Fault::new(what).hint(hint).at(0..sql.len());
                    faults.push(unbound(of.projection, place, fault));
                }
            },
            Err((fault, position)) => {
                let fault = fault.at(self::place(sql, position));
                faults.push(unbound(of.projection, place, fault));
            }
        }
    }
    *bound = kept;
    Ok(faults)
}

fn unbound<'a>(projection: &'a ProjectionConfig, place: &Place, fault: Fault) -> Unbound<'a> {
    Unbound { projection: &projection.name, fault: bind::of_query(projection, place, fault) }
}

/// What is wrong with an event for PostgreSQL; else its data take over what PostgreSQL says of them.
async fn ask_event(
    session: &Session,
    catalog: &Catalog,
    event: &EventDefinition,
    of: &mut Bound<'_>,
) -> Result<Option<(Part, Fault)>, pg::Error> {
    let question = Question::new(event);
    let columns = match columns(session, &question.sql).await? {
        Ok(columns) => columns,
        Err((fault, position)) => {
            let (part, position) = question.place(position);
            let text = match (part, &event.when) {
                (Part::When, Some(when)) => &when.text,
                _ => &event.data.text,
            };
            return Ok(Some((part, fault.at(place(text, position)))));
        }
    };
    let Rows::Event(bound) = &mut of.rows else { return Ok(None) };
    if let Some(what) = agree(catalog, &bound.columns, &columns) {
        let hint = "name it by AS, or cast it to the type that is meant";
        return Ok(Some((Part::Data, Fault::new(what).hint(hint).at(0..event.data.text.len()))));
    }
    for (ours, theirs) in bound.columns.iter_mut().zip(columns) {
        let (ty, not_null) = (ours.ty.clone(), ours.not_null);
        *ours = Column { ty, not_null, ..theirs };
    }
    of.columns = Arc::from(event_columns(&bound.columns));
    Ok(None)
}

/// What PostgreSQL refuses, and where in the text, in characters from 1.
type Refusal = (Fault, Option<u32>);

/// The result's columns, as PostgreSQL has them.
async fn columns(session: &Session, sql: &str) -> Result<Result<Vec<Column>, Refusal>, pg::Error> {
    session.batch_execute(BEGIN).await.map_err(|error| session.error(error))?;
    let prepared = session.prepare(sql).await.map_err(|error| session.error(error));
    session.batch_execute("ROLLBACK").await.map_err(|error| session.error(error))?;
    let statement = match prepared {
        Ok(statement) => statement,
        Err(error) => {
            let Some(server) = error.server_error() else { return Err(error) };
            let fault = Fault::new(format!("PostgreSQL refuses it: {}", server.message));
            let fault = fault.hint(server.hint.clone().unwrap_or_default());
            return Ok(Err((fault, server.position)));
        }
    };
    let oids = statement
        .columns()
        .iter()
        .map(|column| format!("format_type({}, {})", column.type_().oid(), column.type_modifier()));
    let oids: Vec<String> = oids.collect();
    let names = session.rows(&format!("SELECT {}", oids.join(", "))).await?;
    let names = names.into_iter().flatten().map(Option::unwrap_or_default);
    let column = |(column, sql_type): (&tokio_postgres::Column, String)| Column {
        name: column.name().to_owned(),
        ty: value::Type::Text,
        sql_type,
        type_oid: column.type_().oid(),
        typmod: column.type_modifier(),
        not_null: false,
    };
    Ok(Ok(statement.columns().iter().zip(names).map(column).collect()))
}

/// The word at a position in characters, from 1.
fn place(sql: &str, position: Option<u32>) -> std::ops::Range<usize> {
    let Some(position) = position.and_then(|position| usize::try_from(position).ok()) else {
        return 0..sql.len();
    };
    let start = sql.char_indices().nth(position.saturating_sub(1)).map_or(sql.len(), |(at, _)| at);
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let rest = &sql[start..];
    let len = rest.find(|c| !word(c)).unwrap_or(rest.len());
    let len = len.max(rest.chars().next().map_or(0, char::len_utf8));
    start..start + len
}

/// What PostgreSQL and the planner see differently.
fn agree(catalog: &Catalog, ours: &[Column], theirs: &[Column]) -> Option<String> {
    if ours.len() != theirs.len() {
        return Some(format!(
            "PostgreSQL gives {} columns where {} were planned",
            theirs.len(),
            ours.len()
        ));
    }
    ours.iter().zip(theirs).find_map(|(ours, theirs)| {
        if ours.name != theirs.name {
            return Some(format!(
                "PostgreSQL names a column `{}` that was planned as `{}`",
                theirs.name, ours.name
            ));
        }
        // One type has one encoding, so that of its values is as it was planned.
        (base(catalog, ours.type_oid) != base(catalog, theirs.type_oid)).then(|| {
            format!(
                "column `{}` is {} in PostgreSQL, and was planned as {}",
                ours.name, theirs.sql_type, ours.sql_type
            )
        })
    })
}

/// What a domain is of.
fn base(catalog: &Catalog, oid: u32) -> u32 {
    let domain = |ty: &PgType| ty.typtype == b'd';
    match catalog.types.get(&oid) {
        Some(named) if domain(&named.ty) => base(catalog, named.ty.base),
        _ => oid,
    }
}
