//! What people are shown of one projection: its definition, its plan, where it goes, its first rows.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::bind::Bound;
use super::engine_thread::{Command, Commands};
use super::explain;
use super::shared::TELL_PATIENCE;
use crate::config::{
    Config, Definition, EventDefinition, EventSource, ProjectionConfig, RedisStructure, Target,
};
use crate::http::{ColumnDetail, ProjectionDetail, TargetDetail};
use crate::source::catalog::{Catalog, TableName};

/// By the projections' names; without rows.
pub(super) type Details = BTreeMap<String, ProjectionDetail>;

/// Of all that are configured; plans are those of what is bound.
pub(super) fn details(config: &Config, catalog: Option<&Catalog>, bound: &[Bound<'_>]) -> Details {
    let detail = |projection: &ProjectionConfig| {
        let (table, query) = match &projection.definition {
            Definition::Table { schema, name, .. } => {
                (Some(TableName::new(schema, name).to_string()), None)
            }
            Definition::Query { sql, .. } => (None, Some(sql.clone())),
            Definition::Event(event) => of_event(event),
        };
        let bound = bound.iter().find(|bound| bound.projection.name == projection.name);
        let columns = bound.map_or_else(Vec::new, |bound| {
            let named = bound.columns.iter().enumerate().map(|(at, column)| ColumnDetail {
                name: column.name.clone(),
                sql_type: column.sql_type.clone(),
                key: bound.key.contains(&at),
            });
            named.collect()
        });
        let plan = catalog.zip(bound).map(|(catalog, of)| explain::in_words(config, catalog, of));
        let targets = projection
            .targets
            .iter()
            .map(|(sink, target)| TargetDetail { sink: sink.clone(), target: in_words(target) });
        let name = projection.name.clone();
        let targets = targets.collect();
        ProjectionDetail { name, table, query, plan, columns, targets, rows: None }
    };
    let projections = config.projections.iter();
    projections.map(|projection| (projection.name.clone(), detail(projection))).collect()
}

/// An event's table, or else what its messages are.
fn of_event(event: &EventDefinition) -> (Option<String>, Option<String>) {
    match &event.of {
        EventSource::Table { schema, name, .. } => {
            (Some(TableName::new(schema, name).to_string()), None)
        }
        EventSource::Message { prefix } => {
            (None, Some(format!("messages of the prefix {prefix}: {}", event.data.text)))
        }
    }
}

fn in_words(target: &Target) -> String {
    match target {
        Target::Postgres(target) => format!("table {}.{}", target.schema, target.table),
        Target::Redis(target) => match &target.structure {
            RedisStructure::Hash { key } => format!("hash {key}"),
            RedisStructure::Json { key } => format!("json {key}"),
            RedisStructure::Set { key, member } => format!("set {key}, member {member}"),
            RedisStructure::SortedSet { key, member, score } => {
                format!("sorted set {key}, member {member}, score {score}")
            }
            RedisStructure::Stream { key, .. } => format!("stream {key}"),
            RedisStructure::List { key } => format!("list {key}"),
        },
        Target::Elasticsearch(target) => format!("index {}", target.index),
    }
}

/// The rows as they are now; none when the engine is busy or not there.
pub(super) async fn with_rows(
    detail: ProjectionDetail,
    commands: Option<Commands>,
) -> ProjectionDetail {
    let Some(commands) = commands else { return detail };
    let (reply, told) = oneshot::channel();
    let ask = async {
        commands.send(Command::FirstRows { projection: detail.name.clone(), reply }).await.ok()?;
        told.await.ok()?
    };
    let found = timeout(TELL_PATIENCE, ask).await.ok().flatten();
    let rows = found.and_then(|rows| rows.into_iter().map(document).collect());
    ProjectionDetail { rows, ..detail }
}

fn document(bytes: Vec<u8>) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(bytes).ok()?).ok()
}
