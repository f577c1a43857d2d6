//! The Elasticsearch sink alone, driven as delivery drives it, against a real search server.

use std::sync::Arc;
use std::time::Duration;

use readside::config::{ElasticsearchTarget, Place, Secret, SinkConfig, SinkKind, Target};
use readside::engine::Entry;
use readside::lsn::Lsn;
use readside::sink::elasticsearch::ElasticsearchSink;
use readside::sink::{
    Outcome, Role, Sink, SinkError, SinkProjection, Step, StepProjection, Watermark,
};
use readside::value::{Column, Type, encode, encode_null};
use serde_json::{Value, json};

use crate::harness::{Search, unique};

mod check;
mod documents;
mod generations;
mod lead;
mod outage;

const OWNER: &str = "7301/readside";

/// A projection of the test's own with rows to send.
#[derive(Clone)]
struct Model {
    projection: SinkProjection,
    index: String,
}

impl Model {
    fn new(columns: &[(&str, Type)], key: &[usize]) -> Self {
        let columns: Arc<[Column]> = columns
            .iter()
            .map(|(name, ty)| Column {
                name: (*name).into(),
                ty: ty.clone(),
                sql_type: ty.to_string(),
                type_oid: 0,
                typmod: -1,
                not_null: false,
            })
            .collect();
        let index = unique("docs");
        let target = ElasticsearchTarget {
            index: index.clone(),
            id: None,
            mappings: None,
            settings: Some(json!({ "number_of_replicas": 0 })),
            place: Place::default(),
        };
        let projection = SinkProjection {
            shapes: Vec::new(),
            name: unique("model"),
            role: Role::Rows,
            columns,
            key: key.to_vec(),
            targets: vec![Target::Elasticsearch(target)],
            fingerprint: "f1".into(),
        };
        Self { projection, index }
    }

    /// A number and a text.
    fn simple() -> Self {
        Self::new(&[("id", Type::Int8), ("name", Type::Text)], &[0])
    }

    fn target(mut self, change: impl FnOnce(&mut ElasticsearchTarget)) -> Self {
        if let Target::Elasticsearch(target) = &mut self.projection.targets[0] {
            change(target);
        }
        self
    }

    fn datums(&self, at: impl Iterator<Item = usize>, values: &[Option<&str>]) -> Vec<u8> {
        let mut out = Vec::new();
        for (column, value) in at.zip(values) {
            match value {
                Some(text) => {
                    encode(&self.projection.columns[column].ty, text.as_bytes(), &mut out).unwrap();
                }
                None => encode_null(&mut out),
            }
        }
        out
    }

    fn row(&self, lsn: u64, values: &[Option<&str>]) -> Entry {
        let key: Vec<_> = self.projection.key.iter().map(|&at| values[at]).collect();
        let key = self.datums(self.projection.key.iter().copied(), &key);
        Entry::row(Lsn(lsn), &key, &self.datums(0..values.len(), values))
    }

    fn simple_row(&self, lsn: u64, id: &str, name: &str) -> Entry {
        self.row(lsn, &[Some(id), Some(name)])
    }

    fn gone(&self, lsn: u64, key: &[&str]) -> Entry {
        let key: Vec<_> = key.iter().map(|text| Some(*text)).collect();
        Entry::tombstone(Lsn(lsn), &self.datums(self.projection.key.iter().copied(), &key))
    }

    fn sink(&self, search: &Search) -> ElasticsearchSink {
        self.sink_of(search, OWNER)
    }

    fn sink_of(&self, search: &Search, owner: &str) -> ElasticsearchSink {
        let projections = vec![self.projection.clone()];
        ElasticsearchSink::new(&config(search.url()), owner.into(), projections).unwrap()
    }

    /// A sink whose first generation holds `rows`, as of `position`.
    async fn filled(&self, search: &Search, position: u64, rows: &[Entry]) -> ElasticsearchSink {
        let mut sink = self.sink(search);
        sink.open().await.unwrap();
        fill(&mut sink, 1, position, rows).await;
        sink
    }

    async fn document(&self, search: &Search, id: &str) -> Option<Value> {
        search.document(&self.index, id).await.map(|mut answer| answer["_source"].take())
    }

    async fn watermark(&self, search: &Search) -> Value {
        search.document("readside-watermark", &self.projection.name).await.unwrap()["_source"]
            .take()
    }

    /// The indices behind the alias.
    async fn behind(&self, search: &Search) -> Vec<String> {
        let (_, answer) = search.get(&format!("_alias/{}", self.index)).await;
        let names = answer.as_object().filter(|map| !map.contains_key("error"));
        names.map(|map| map.keys().cloned().collect()).unwrap_or_default()
    }

    /// All indices of this model, seen or not.
    async fn indices(&self, search: &Search) -> Vec<String> {
        let (_, answer) = search.get(&format!("{}-*", self.index)).await;
        answer.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
    }
}

fn config(url: &str) -> SinkConfig {
    SinkConfig {
        name: "search".into(),
        kind: SinkKind::Elasticsearch,
        url: Secret::new(url),
        ca_file: None,
        username: None,
        password: None,
        api_key: None,
        step_rows: 10_000,
        max_lag: Duration::from_secs(30),
        required: true,
        place: Place::default(),
    }
}

fn step(position: u64, entries: Vec<Entry>) -> Step {
    Step {
        projections: vec![StepProjection {
            times: Vec::new(),
            projection: 0,
            entries,
            generation: 1,
            finish_fill: false,
        }],
        position: Lsn(position),
        reaching: Lsn(position),
        committed_at: 0,
        settled: true,
    }
}

fn finishing(generation: u64, position: u64, entries: Vec<Entry>) -> Step {
    let mut step = step(position, entries);
    step.projections[0].generation = generation;
    step.projections[0].finish_fill = true;
    step
}

async fn fill(
    sink: &mut ElasticsearchSink,
    generation: u64,
    position: u64,
    rows: &[Entry],
) -> Outcome {
    sink.begin_fill(0, generation).await.unwrap();
    let outcome = sink.fill(0, rows).await.unwrap();
    sink.end_fill(0).await.unwrap();
    sink.apply(&finishing(generation, position, Vec::new())).await.unwrap();
    outcome
}

async fn opened(sink: &mut ElasticsearchSink) -> Option<Watermark> {
    sink.open().await.unwrap().remove(0)
}

fn retryable(error: &SinkError) -> &str {
    match error {
        SinkError::Retryable { what, .. } => what,
        SinkError::Fatal { .. } | SinkError::Blocked { .. } | SinkError::Outranked { .. } => {
            panic!("not the sink's trouble: {error}")
        }
    }
}

fn fatal<T>(result: Result<T, SinkError>) -> String {
    match result {
        Err(error @ (SinkError::Fatal { .. } | SinkError::Blocked { .. })) => error.to_string(),
        Err(error) => panic!("not fatal: {error}"),
        Ok(_) => panic!("not refused"),
    }
}
