//! Projections bound to the source's catalog: their columns and keys, the plans of queries, what each
//! sink is told of them, and every fault of the configuration that only the catalog shows.

use std::sync::Arc;

use super::uses::Uses;
use super::{events, schema};
use crate::config::resolve::{self, Relation};
use crate::config::{Config, Definition, Diagnostic, Place, ProjectionConfig, Target, suggest};
use crate::engine::EVENT_COLUMNS;
use crate::sink::{Role, SinkProjection};
use crate::source::catalog::{Catalog, Kind, Table, TableName};
use crate::sql::event::Event;
use crate::sql::expr;
use crate::sql::query::{self, Planned};
use crate::value::{Column, Type};

/// A projection whose rows, columns and key are known.
pub(crate) struct Bound<'a> {
    pub(crate) projection: &'a ProjectionConfig,
    pub(crate) rows: Rows,
    pub(crate) columns: Arc<[Column]>,
    /// Positions in `columns`.
    pub(crate) key: Vec<usize>,
}

/// Where a projection's rows come from.
pub(crate) enum Rows {
    Table(TableName),
    /// The plan's tables are those of `source::check::scope` that the catalog holds, in their order.
    Query {
        sql: String,
        planned: Box<Planned>,
    },
    /// Its tables are numbered likewise.
    Event(Box<Event>),
}

/// A projection's fault.
pub(crate) struct Unbound<'a> {
    pub(crate) projection: &'a str,
    pub(crate) fault: Diagnostic,
}

/// What has become of the configuration's projections.
pub(crate) struct Binding<'a> {
    pub(crate) bound: Vec<Bound<'a>>,
    pub(crate) unbound: Vec<Unbound<'a>>,
    pub(crate) uses: Uses,
}

/// All projections that can be bound, and the faults of the others. A table that the catalog does not
/// have is told by the source's own check.
pub(crate) fn bind<'a>(config: &'a Config, catalog: &Catalog) -> Binding<'a> {
    let (mut bound, mut unbound) = (Vec::new(), Vec::new());
    let mut schema = schema::of(config, catalog);
    for projection in &config.projections {
        let found = match &projection.definition {
            Definition::Table { schema: of, name, place } => {
                let name = TableName::new(of, name);
                let Some(table) = catalog.table(&name) else { continue };
                match table.columns.iter().any(|column| column.generated.is_some()) {
                    false => bind_table(projection, name, table),
                    true => bind_computed(projection, place, table, &schema),
                }
            }
            Definition::Query { sql, place } => {
                // What the source's check has told of the tables themselves is enough.
                let known = |table: &query::TableRef| {
                    let table = catalog.table(&TableName::new(&table.schema, &table.name));
                    table.is_some_and(|t| matches!(t.kind, Kind::Table | Kind::Partitioned))
                };
                if query::tables(sql).is_ok_and(|tables| !tables.iter().all(known)) {
                    continue;
                }
                bind_query(projection, sql, place, &schema)
            }
            Definition::Event(event) => {
                let Some(found) = events::bind(projection, event, &schema, catalog) else {
                    continue;
                };
                found
            }
        };
        match found {
            Ok(projection) => bound.push(projection),
            Err(found) => unbound.extend(
                found.into_iter().map(|fault| Unbound { projection: &projection.name, fault }),
            ),
        }
    }
    let uses = uses(&bound, catalog, &schema);
    narrow(&mut schema, catalog, &uses);
    for of in &mut bound {
        let Rows::Query { sql, planned } = &mut of.rows else { continue };
        let again = query::plan(sql, &schema).expect("the same query over the same tables");
        **planned = again.keyed(of.key.clone());
    }
    Binding { bound, unbound, uses }
}

fn uses(bound: &[Bound<'_>], catalog: &Catalog, schema: &query::Schema) -> Uses {
    let mut uses = Uses::default();
    for of in bound {
        let name = &of.projection.name;
        // All columns of a table that is projected as it is, the computed ones as well.
        if let Definition::Table { schema, name: table, .. } = &of.projection.definition {
            let table = TableName::new(schema, table);
            let columns = catalog.table(&table).into_iter().flat_map(|table| &table.columns);
            uses.add(name, table, columns.map(|c| c.column.name.clone()).collect());
        } else if let Definition::Event(event) = &of.projection.definition {
            // Their expressions run over whole rows, before and after.
            for (table, _) in events::tables(event) {
                let columns = catalog.table(&table).into_iter().flat_map(Table::stored);
                let columns = columns.map(|c| c.column.name.clone()).collect();
                uses.add(name, table, columns);
            }
        } else if let Rows::Query { planned, .. } = &of.rows {
            for (used, table) in planned.used.iter().zip(&schema.tables) {
                let Some(used) = used else { continue };
                let columns = used.iter().map(|at| table.columns[*at].name.clone());
                uses.add(name, TableName::new(&table.schema, &table.name), columns.collect());
            }
        }
    }
    uses
}

/// The tables' rows have no other columns than those in use.
fn narrow(schema: &mut query::Schema, catalog: &Catalog, uses: &Uses) {
    for of in &mut schema.tables {
        let table = catalog.table(&TableName::new(&of.schema, &of.name));
        let kept = of
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| table.is_some_and(|table| uses.keep(table, &column.name)));
        of.kept = Some(kept.map(|(at, _)| at).collect());
    }
}

fn bind_table<'a>(
    projection: &'a ProjectionConfig,
    name: TableName,
    table: &Table,
) -> Result<Bound<'a>, Vec<Diagnostic>> {
    let columns: Arc<[Column]> = table.columns.iter().map(|c| c.column.clone()).collect();
    let key = table_key(projection, table, &columns)?;
    Ok(Bound { projection, rows: Rows::Table(name), columns, key })
}

/// A table with generated columns is the query of all its columns.
fn bind_computed<'a>(
    projection: &'a ProjectionConfig,
    place: &Place,
    table: &Table,
    schema: &query::Schema,
) -> Result<Bound<'a>, Vec<Diagnostic>> {
    let sql = format!("SELECT * FROM {}", table.name.quoted());
    let planned = query::plan(&sql, schema).map_err(|fault| {
        let what = format!("projection `{}`: {}", projection.name, fault.what);
        let hint = "write query = with the columns that are wanted";
        vec![Diagnostic::new(what).at(place).hint(hint)]
    })?;
    let columns: Arc<[Column]> = table.columns.iter().map(|c| c.column.clone()).collect();
    let key = table_key(projection, table, &columns)?;
    let planned = Box::new(planned.keyed(key.clone()));
    Ok(Bound { projection, rows: Rows::Query { sql, planned }, columns, key })
}

fn table_key(
    projection: &ProjectionConfig,
    table: &Table,
    columns: &[Column],
) -> Result<Vec<usize>, Vec<Diagnostic>> {
    let position = |key: &String| columns.iter().position(|column| column.name == *key);
    let primary: Option<Vec<usize>> =
        table.primary_key.as_ref().map(|key| key.iter().filter_map(position).collect());
    let deterministic = |at: usize| table.columns.get(at).is_some_and(|c| c.deterministic);
    resolved(projection, columns, primary.as_deref(), &deterministic)
}

fn bind_query<'a>(
    projection: &'a ProjectionConfig,
    sql: &str,
    place: &Place,
    schema: &query::Schema,
) -> Result<Bound<'a>, Vec<Diagnostic>> {
    let planned =
        query::plan(sql, schema).map_err(|fault| vec![of_query(projection, place, fault)])?;
    let columns: Arc<[Column]> = planned.columns.clone().into();
    if projection.key.is_none() && !planned.missing.is_empty() {
        let what = format!(
            "the query of projection `{}` does not show its key: it lacks {}",
            projection.name,
            planned.missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        );
        let hint = "add that to the SELECT list, or name by key = [\"COLUMN\", …] what tells its rows apart";
        return Err(vec![Diagnostic::new(what).at(place).hint(hint)]);
    }
    let deterministic = |at: usize| planned.deterministic.get(at).copied().unwrap_or(false);
    let key = resolved(projection, &columns, planned.key.as_deref(), &deterministic)?;
    let planned = Box::new(planned.keyed(key.clone()));
    Ok(Bound { projection, rows: Rows::Query { sql: sql.to_owned(), planned }, columns, key })
}

/// A fault of a query at its place in the file.
pub(crate) fn of_query(
    projection: &ProjectionConfig,
    place: &Place,
    fault: query::Fault,
) -> Diagnostic {
    let what = format!("`query` of projection `{}`: {}", projection.name, fault.what);
    Diagnostic { hint: fault.hint, ..Diagnostic::new(what).at(&place.within(fault.span)) }
}

/// The key's positions, when key, targets and scores are what they should be.
fn resolved(
    projection: &ProjectionConfig,
    columns: &[Column],
    key: Option<&[usize]>,
    byte_equality: &dyn Fn(usize) -> bool,
) -> Result<Vec<usize>, Vec<Diagnostic>> {
    let resolved = resolve::resolve(projection, Relation { columns, key })?;
    let scope = expr::Scope { columns, byte_equality };
    let refused = resolved.score_expressions.iter().filter_map(|score| {
        let fault = expr::Expr::compile_number(&score.sql, &scope).err()?;
        let place = score.place.within(fault.span.clone());
        let what = format!("`score` of projection `{}`: {}", projection.name, fault.what);
        let suggested = fault.unknown_column.map(|unknown| {
            suggest::hint(&unknown, "column", columns.iter().map(|column| column.name.as_str()))
        });
        Some(Diagnostic { hint: fault.hint.or(suggested), ..Diagnostic::new(what).at(&place) })
    });
    let refused: Vec<Diagnostic> = refused.collect();
    match refused.is_empty() {
        true => Ok(resolved.key),
        false => Err(refused),
    }
}

/// What each sink of the configuration is told, in the configuration's order.
pub(crate) fn of_sinks(config: &Config, bound: &[Bound<'_>]) -> Vec<Vec<SinkProjection>> {
    let of_sink = |sink: &str| {
        let told = |bound: &Bound<'_>| {
            let targets = bound.projection.targets.iter().filter(|(name, _)| name == sink);
            let targets: Vec<Target> = targets.map(|(_, target)| target.clone()).collect();
            (!targets.is_empty()).then(|| SinkProjection {
                name: bound.projection.name.clone(),
                role: match bound.rows {
                    Rows::Event(_) => Role::Events,
                    Rows::Table(_) | Rows::Query { .. } => Role::Rows,
                },
                fingerprint: fingerprint(bound, &targets),
                columns: Arc::clone(&bound.columns),
                shapes: shapes(&bound.rows),
                key: bound.key.clone(),
                targets,
            })
        };
        bound.iter().filter_map(told).collect()
    };
    config.sinks.iter().map(|sink| of_sink(&sink.name)).collect()
}

/// What JSON that is built here is made of; of a table's own nothing is known.
fn shapes(rows: &Rows) -> Vec<Option<Type>> {
    match rows {
        Rows::Table(_) => Vec::new(),
        Rows::Query { planned, .. } => planned.shapes.clone(),
        Rows::Event(event) => {
            let data = event.data.iter().map(|expr| expr.json_shape(&[]));
            EVENT_COLUMNS.iter().map(|_| None).chain(data).collect()
        }
    }
}

/// Names the shape of the rows and targets; it is compared, never read.
fn fingerprint(bound: &Bound<'_>, targets: &[Target]) -> String {
    let columns: Vec<String> =
        bound.columns.iter().map(|column| format!("{} {}", column.name, column.sql_type)).collect();
    let shapes: Vec<String> = targets.iter().map(Target::shape).collect();
    let mut text = format!("1;{};{:?};{}", columns.join(","), bound.key, shapes.join(";"));
    if let Definition::Query { sql, .. } = &bound.projection.definition {
        text.push(';');
        text.push_str(sql);
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}
