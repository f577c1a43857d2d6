//! What the stores ought to hold, computed from the source's answers, and what they hold.

use std::collections::BTreeMap;

use redis::AsyncCommands as _;
use serde_json::Value;
use tokio_postgres::types::Type;
use toml::Table;

use crate::harness::redis::READ_ALL;
use crate::world::World;

/// A projection of the example, read by nothing of Readside's.
pub(super) struct Model {
    pub(super) name: String,
    query: String,
    /// By sink.
    targets: Vec<(String, Table)>,
}

impl Model {
    pub(super) fn sinks(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(|(sink, _)| sink.as_str())
    }
}

pub(super) fn models(example: &str) -> Vec<Model> {
    let example: Table = example.parse().unwrap();
    let projections = example["projection"].as_table().unwrap();
    let model = |(name, projection): (&String, &toml::Value)| {
        let mut targets = Vec::new();
        for (sink, target) in projection["to"].as_table().unwrap() {
            let one = std::slice::from_ref(target);
            for target in target.as_array().map_or(one, Vec::as_slice) {
                targets.push((sink.clone(), target.as_table().unwrap().clone()));
            }
        }
        Model { name: name.clone(), query: projection["query"].as_str().unwrap().into(), targets }
    };
    projections.iter().map(model).collect()
}

pub(super) async fn compare(world: &World, models: &[Model]) {
    world.execute("SET TimeZone = 'UTC'").await;
    world.reporting.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    let mut cache = Cache::new();
    for model in models {
        let answer = Answer::ask(world, &model.query).await;
        for (_, target) in &model.targets {
            let text = |key: &str| target.get(key).map(|value| value.as_str().unwrap());
            if let Some(table) = text("table") {
                let query = format!("SELECT * FROM {table}");
                let sql = format!("SELECT to_jsonb(q)::text FROM ({query}) q ORDER BY 1");
                let rows = world.reporting.query(&sql, &[]).await.unwrap();
                let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
                assert_same(&format!("table {table}"), &found, &answer.documents());
            } else if let Some(index) = text("index") {
                let found = world.search.documents(&world.name(index)).await;
                let expected = answer.indexed();
                assert_same(&format!("index {index}"), &found, &expected);
            } else {
                answer.cached(world, model, target, &mut cache).await;
            }
        }
    }
    assert_same("the cache", &lines(&held(world).await), &lines(&cache));
}

fn assert_same<T: PartialEq + std::fmt::Debug>(what: &str, found: &[T], expected: &[T]) {
    if found == expected {
        return;
    }
    let only = |a: &[T], b: &[T]| -> String {
        let some = a.iter().filter(|row| !b.contains(row)).take(5);
        some.map(|row| format!("\n  {row:?}")).collect()
    };
    let (missing, extra) = (only(expected, found), only(found, expected));
    panic!("{what}: expected {missing}\nfound {extra}");
}

/// What a query answers on the source.
struct Answer<'a> {
    query: &'a str,
    columns: Vec<String>,
    /// Each row as a document and as texts.
    rows: Vec<(String, Vec<Option<String>>)>,
}

impl Answer<'_> {
    async fn ask<'a>(world: &World, query: &'a str) -> Answer<'a> {
        let statement = world.client.prepare(query).await.unwrap();
        let columns: Vec<_> = statement.columns().iter().map(|c| c.name().to_owned()).collect();
        let texts: Vec<_> = columns.iter().map(|column| format!("q.\"{column}\"::text")).collect();
        let texts = texts.join(", ");
        let sql = format!("SELECT to_jsonb(q)::text, ARRAY[{texts}] FROM ({query}) q ORDER BY 1");
        let rows = world.client.query(&sql, &[]).await.unwrap();
        let rows = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        Answer { query, columns, rows }
    }

    fn documents(&self) -> Vec<String> {
        self.rows.iter().map(|(document, _)| document.clone()).collect()
    }

    /// In the examples that are searched, a row's first column tells it from all others.
    fn indexed(&self) -> Vec<(String, Value)> {
        let document = |(document, texts): &(String, Vec<Option<String>>)| {
            (texts[0].clone().unwrap(), serde_json::from_str(document).unwrap())
        };
        let mut documents: Vec<_> = self.rows.iter().map(document).collect();
        documents.sort_by(|(a, _): &(String, Value), (b, _)| a.cmp(b));
        documents
    }

    async fn cached(&self, world: &World, model: &Model, target: &Table, cache: &mut Cache) {
        let scores = match target.get("score") {
            Some(score) => self.scores(world, score.as_str().unwrap()).await,
            None => BTreeMap::new(),
        };
        let mut redis = world.redis.client().await;
        for (document, texts) in &self.rows {
            let filled = |kind: &str| {
                let template = target.get(kind)?.as_str().unwrap();
                self.fill(template, texts)
            };
            if let Some(key) = filled("json") {
                if target.contains_key("ttl") {
                    let left: i64 = redis.ttl(&key).await.unwrap();
                    assert!(left > 0, "{key} has no ttl");
                }
                let value: Value = serde_json::from_str(document).unwrap();
                cache.entry(key).or_default().insert(String::new(), value.to_string());
            } else if let Some(key) = filled("hash") {
                let fields = self.columns.iter().zip(texts);
                let fields = fields.filter_map(|(name, text)| Some((name.clone(), text.clone()?)));
                cache.entry(key).or_default().extend(fields);
            } else if let (Some(key), Some(member)) = (filled("sorted_set"), filled("member")) {
                if let Some(score) = scores[document] {
                    cache.entry(key).or_default().insert(member, score.to_string());
                }
            } else {
                panic!("{}: what is {target}?", model.name);
            }
        }
    }

    /// By document; a time in seconds.
    async fn scores(&self, world: &World, score: &str) -> BTreeMap<String, Option<f64>> {
        let query = self.query;
        let typed = format!("SELECT {score} FROM ({query}) q");
        let typed = world.client.prepare(&typed).await.unwrap().columns()[0].type_().clone();
        let number = match typed {
            Type::TIMESTAMPTZ => format!("extract(epoch FROM {score})::float8"),
            _ => format!("({score})::float8"),
        };
        let sql = format!("SELECT to_jsonb(q)::text, {number} FROM ({query}) q");
        let rows = world.client.query(&sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// `None` where a column in it is NULL.
    fn fill(&self, template: &str, texts: &[Option<String>]) -> Option<String> {
        let mut filled = template.to_owned();
        for (column, text) in self.columns.iter().zip(texts) {
            let name = format!("{{{column}}}");
            if filled.contains(&name) {
                filled = filled.replace(&name, text.as_deref()?);
            }
        }
        Some(filled)
    }
}

/// By key: a hash's fields, a sorted set's members with their scores, or one string of JSON.
type Cache = BTreeMap<String, BTreeMap<String, String>>;

fn lines(cache: &Cache) -> Vec<String> {
    let of = |(key, held): (&String, &BTreeMap<String, String>)| -> Vec<String> {
        held.iter().map(|(name, value)| format!("{key} {name} {value}")).collect()
    };
    cache.iter().flat_map(of).collect()
}

/// All there is, but what Readside keeps for itself.
async fn held(world: &World) -> Cache {
    let mut redis = world.redis.client().await;
    let all: Vec<(String, String, Vec<String>)> =
        redis::cmd("EVAL").arg(READ_ALL).arg(0).query_async(&mut redis).await.unwrap();
    let mut cache = Cache::new();
    for (key, kind, held) in all.into_iter().filter(|(key, ..)| !key.starts_with("readside:")) {
        let entry = cache.entry(key).or_default();
        match kind.as_str() {
            "string" => {
                let value: Value = serde_json::from_str(&held[0]).unwrap();
                entry.insert(String::new(), value.to_string());
            }
            "zset" => entry.extend(held.chunks_exact(2).map(|pair| {
                let score: f64 = pair[1].parse().unwrap();
                (pair[0].clone(), score.to_string())
            })),
            _ => entry.extend(held.chunks_exact(2).map(|p| (p[0].clone(), p[1].clone()))),
        }
    }
    cache
}
