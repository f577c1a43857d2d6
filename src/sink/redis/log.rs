//! Events: entries that are added to streams and lists, and never change.

use super::encode::Refusal;
use super::pattern::{Pattern, Rendered};
use super::row::{Args, Row};
use super::target::BindFault;
use crate::config::{self, RedisStructure};
use crate::engine::{EVENT_COLUMNS, Entry};
use crate::sink::SinkProjection;
use crate::sink::event::EventWriter;
use crate::value::Column;

#[derive(Clone, Debug)]
pub(super) struct LogPlan {
    writer: EventWriter,
    targets: Vec<LogTarget>,
}

#[derive(Clone, Debug)]
struct LogTarget {
    kind: LogKind,
    /// Over the event's columns.
    key: Pattern,
    ttl_seconds: Option<String>,
}

#[derive(Clone, Debug)]
enum LogKind {
    /// Longest, or "" without a bound.
    Stream {
        maxlen: String,
    },
    List,
}

impl LogPlan {
    pub(super) fn bind(projection: &SinkProjection) -> Result<Self, BindFault> {
        // Templates name the data's columns alone; one of the event's own names is not meant.
        let hidden = |(at, column): (usize, &Column)| match at < EVENT_COLUMNS.len() {
            true => Column { name: String::new(), ..column.clone() },
            false => column.clone(),
        };
        let columns: Vec<Column> = projection.columns.iter().enumerate().map(hidden).collect();
        let mut targets = Vec::new();
        for target in &projection.targets {
            // Configuration gives a Redis sink no other targets.
            let config::Target::Redis(target) = target else { continue };
            let (kind, key) = match &target.structure {
                RedisStructure::Stream { key, maxlen } => {
                    let maxlen = maxlen.map(|maxlen| maxlen.to_string()).unwrap_or_default();
                    (LogKind::Stream { maxlen }, key)
                }
                RedisStructure::List { key } => (LogKind::List, key),
                _ => continue,
            };
            let key = Pattern::bind(key, &columns).map_err(|name| BindFault {
                what: format!(
                    "event.{}: the template names {name:?}, which is no column of its data",
                    projection.name
                ),
                hint: "name a column of the data, or write {{ and }} for braces".into(),
                place: target.place.clone(),
            })?;
            let ttl_seconds = target.ttl.map(|seconds| seconds.to_string());
            targets.push(LogTarget { kind, key, ttl_seconds });
        }
        Ok(Self { writer: EventWriter::new(&projection.columns), targets })
    }

    pub(super) fn expires(&self) -> bool {
        self.targets.iter().any(|target| target.ttl_seconds.is_some())
    }

    /// What a step sends, with `0` for every column of a key.
    pub(super) fn sample_commands(&self) -> Vec<Vec<String>> {
        let mut commands = Vec::new();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        for target in &self.targets {
            let key = target.key.sample();
            commands.push(words(&["TYPE", &key]));
            commands.push(match &target.kind {
                LogKind::Stream { .. } => words(&["XADD", &key, "*", "f", "v"]),
                LogKind::List => words(&["RPUSH", &key, "v"]),
            });
            if let Some(seconds) = &target.ttl_seconds {
                commands.push(words(&["EXPIRE", &key, seconds]));
            }
        }
        commands
    }

    /// Adds an entry's writes to `rows`. A NULL in a template: no entry.
    pub(super) fn write(
        &self,
        entry: &Entry,
        row: &Row<'_>,
        key: &mut Vec<u8>,
        rows: &mut Args,
    ) -> Result<(), Refusal> {
        let event = self.writer.split(entry.value().unwrap_or_default())?;
        for target in &self.targets {
            key.clear();
            if target.key.render(row, key)? == Rendered::Null {
                continue;
            }
            match &target.kind {
                LogKind::Stream { maxlen } => {
                    rows.push("A");
                    rows.push(&key);
                    rows.push(maxlen);
                    self.writer.write_id(&event, &mut rows.bytes)?;
                    rows.end();
                    self.writer.write_type(&event, &mut rows.bytes)?;
                    rows.end();
                    self.writer.write_committed_at(&event, &mut rows.bytes)?;
                    rows.end();
                    self.writer.write_data(&event, &mut rows.bytes)?;
                    rows.end();
                }
                LogKind::List => {
                    rows.push("L");
                    rows.push(&key);
                    let row = entry.value().unwrap_or_default();
                    self.writer.write_document(row, &mut rows.bytes)?;
                    rows.end();
                }
            }
            if let Some(seconds) = &target.ttl_seconds {
                rows.push("X");
                rows.push(&key);
                rows.push(seconds);
            }
        }
        Ok(())
    }
}
