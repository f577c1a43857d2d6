//! Projections bound to the source's catalog: their columns and keys, what each sink is told of them,
//! and every fault of the configuration that only the catalog shows.

use std::sync::Arc;

use crate::config::resolve::{self, Relation};
use crate::config::{Config, Definition, Diagnostic, ProjectionConfig, Target, suggest};
use crate::sink::SinkProjection;
use crate::source::catalog::{Catalog, Table, TableName};
use crate::sql::expr;
use crate::value::Column;

/// A projection whose table, columns and key are known.
pub(crate) struct Bound<'a> {
    pub(crate) projection: &'a ProjectionConfig,
    pub(crate) table: TableName,
    pub(crate) columns: Arc<[Column]>,
    /// Positions in `columns`.
    pub(crate) key: Vec<usize>,
}

/// A projection's fault.
pub(crate) struct Unbound<'a> {
    pub(crate) projection: &'a str,
    pub(crate) fault: Diagnostic,
}

/// All projections that can be bound, and the faults of the others. A table that the catalog does not
/// have is told by the source's own check.
pub(crate) fn bind<'a>(
    config: &'a Config,
    catalog: &Catalog,
) -> (Vec<Bound<'a>>, Vec<Unbound<'a>>) {
    let (mut bound, mut faults) = (Vec::new(), Vec::new());
    for projection in &config.projections {
        let Definition::Table { schema, name, .. } = &projection.definition else { continue };
        let name = TableName::new(schema, name);
        let Some(table) = catalog.table(&name) else { continue };
        match bind_one(projection, name, table) {
            Ok(projection) => bound.push(projection),
            Err(found) => faults.extend(
                found.into_iter().map(|fault| Unbound { projection: &projection.name, fault }),
            ),
        }
    }
    (bound, faults)
}

fn bind_one<'a>(
    projection: &'a ProjectionConfig,
    name: TableName,
    table: &Table,
) -> Result<Bound<'a>, Vec<Diagnostic>> {
    let columns: Arc<[Column]> = table.columns.iter().map(|c| c.column.clone()).collect();
    let position = |key: &String| columns.iter().position(|column| column.name == *key);
    let primary: Option<Vec<usize>> =
        table.primary_key.as_ref().map(|key| key.iter().filter_map(position).collect());
    let relation = Relation { columns: &columns, key: primary.as_deref() };
    let resolved = resolve::resolve(projection, relation)?;
    let scope = expr::Scope {
        columns: &columns,
        byte_equality: &|at| table.columns.get(at).is_some_and(|column| column.deterministic),
    };
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
        true => Ok(Bound { projection, table: name, columns, key: resolved.key }),
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
                fingerprint: fingerprint(&bound.columns, &bound.key, &targets),
                columns: Arc::clone(&bound.columns),
                key: bound.key.clone(),
                targets,
            })
        };
        bound.iter().filter_map(told).collect()
    };
    config.sinks.iter().map(|sink| of_sink(&sink.name)).collect()
}

/// Names the shape of the rows and targets; it is compared, never read.
fn fingerprint(columns: &[Column], key: &[usize], targets: &[Target]) -> String {
    let columns: Vec<String> =
        columns.iter().map(|column| format!("{} {}", column.name, column.sql_type)).collect();
    let shapes: Vec<String> = targets.iter().map(Target::shape).collect();
    let text = format!("1;{};{key:?};{}", columns.join(","), shapes.join(";"));
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}
