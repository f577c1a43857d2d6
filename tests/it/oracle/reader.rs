//! Readers of the sinks: each reads data and watermark in one go, as an application may.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use readside::lsn::Lsn;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::occurrence::{KEYS, SEALED};
use super::picture::{
    Fields, Picture, Sink, document_line, hash_line, member_line, row_line, score_line,
    string_line, table_of_key,
};
use super::schema::{SEQUENCE, Search, TABLES, Table};
use super::workload::Shared;
use crate::harness::redis::{READ_ALL, READ_STEPS};
use crate::harness::{self, Postgres, wait};

/// A projection as a reader met it, under a settled watermark.
pub(super) struct Observation {
    pub(super) sink: Sink,
    pub(super) table: &'static Table,
    pub(super) lsn: Lsn,
    /// The commit that the projection of the numbers shows, where it stands at the same position.
    pub(super) number: Option<i64>,
    pub(super) picture: Picture,
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sink, table, lsn) = (self.sink.name(), self.table.name, self.lsn);
        write!(f, "{table} in {sink} at {lsn} ({} lines)", self.picture.len())
    }
}

/// One reading of a whole sink.
#[derive(Default)]
pub(super) struct Reading {
    /// By projection: position, and whether it is settled.
    pub(super) watermarks: BTreeMap<String, (Lsn, bool)>,
    pub(super) pictures: BTreeMap<&'static str, Picture>,
    /// What the projection of the numbers holds.
    number: Option<i64>,
    logged: Logged,
}

/// The newest entries of what only grows.
#[derive(Clone, Copy, Default)]
struct Logged {
    /// Of the numbers' event.
    told: Option<i64>,
    /// Behind it there is a gap.
    is_gap: Option<bool>,
    /// The number that has no end in their history, and how many have one.
    version: Option<i64>,
    ended: i64,
}

impl Reading {
    fn observations(self, sink: Sink) -> Vec<Observation> {
        let sequence = self.watermarks.get(SEQUENCE).copied();
        let observation = |(name, (lsn, settled)): (&String, &(Lsn, bool))| {
            let table = TABLES.iter().find(|table| table.name == name)?;
            settled.then(|| Observation {
                sink,
                table,
                lsn: *lsn,
                number: self.number.filter(|_| sequence == Some((*lsn, true))),
                picture: self.pictures.get(table.name).cloned().unwrap_or_default(),
            })
        };
        self.watermarks.iter().filter_map(observation).collect()
    }
}

/// Settled watermarks and numbers never go back (P3).
#[derive(Default)]
struct Forward {
    positions: BTreeMap<String, Lsn>,
    number: Option<i64>,
    told: Option<i64>,
    ended: i64,
}

impl Forward {
    fn check(&mut self, sink: Sink, reading: &Reading) -> Result<(), String> {
        // A fill anew begins at zero, unsettled.
        for (name, (lsn, _)) in reading.watermarks.iter().filter(|(_, (_, settled))| *settled) {
            let last = self.positions.entry(name.clone()).or_default();
            if lsn < last {
                return Err(format!("{name} in {} went back from {last} to {lsn}", sink.name()));
            }
            *last = *lsn;
        }
        let (seen, last) = (reading.number, self.number);
        if last > seen {
            return Err(format!("a reader of {} saw commit {last:?}, then {seen:?}", sink.name()));
        }
        self.number = seen;
        let Logged { told, is_gap, version, ended } = reading.logged;
        if self.told > told || self.ended > ended {
            return Err(format!(
                "a reader was told of commit {:?} and of {} versions, then of {told:?} and {ended}",
                self.told, self.ended
            ));
        }
        (self.told, self.ended) = (told, ended);
        let of = |name: &str| reading.watermarks.get(name).filter(|(_, settled)| *settled);
        let numbers = of(SEQUENCE);
        if sink == Sink::Reporting && numbers.is_some() && version != seen {
            return Err(format!("a reader saw commit {seen:?}, its history is at {version:?}"));
        }
        // A log that has only begun tells nothing of before.
        if is_gap == Some(false) && numbers == of(SEALED) && told != seen {
            return Err(format!(
                "a reader saw commit {seen:?} at {numbers:?} and was told of {told:?}"
            ));
        }
        Ok(())
    }
}

/// Reads until told to stop, whatever the sink goes through; what it met, or what is wrong.
pub(super) async fn read(
    store: &Store<'_>,
    shared: &Shared,
    pause: Duration,
) -> Result<Vec<Observation>, String> {
    let mut met = Vec::new();
    let mut forward = Forward::default();
    let mut restored = shared.restored.get();
    while !shared.stop.get() {
        // A sink that is being restarted refuses.
        let reading = store.read().await;
        if restored != shared.restored.get() {
            (restored, forward) = (shared.restored.get(), Forward::default());
            continue;
        }
        if let Ok(reading) = reading {
            forward.check(store.sink(), &reading)?;
            met.extend(reading.observations(store.sink()));
        }
        wait::delay(pause).await;
    }
    Ok(met)
}

/// The number in the search server, by GET, until told to stop: it never goes back, and once it is
/// there it stays.
pub(super) async fn follow_number(
    search: Option<&Search>,
    shared: &Shared,
    pause: Duration,
) -> Result<(), String> {
    let Some(search) = search else { return Ok(()) };
    let http = harness::http();
    let url = format!("{}/{}/_doc/1", search.url, search.index(SEQUENCE));
    let mut last: Option<i64> = None;
    let mut restored = shared.restored.get();
    while !shared.stop.get() {
        // A server that is being restarted refuses, or has not found its shards yet.
        let answer = http.get(&url).send().await;
        if restored != shared.restored.get() {
            (restored, last) = (shared.restored.get(), None);
            continue;
        }
        if let Ok(answer) = answer
            && matches!(answer.status(), StatusCode::OK | StatusCode::NOT_FOUND)
            && let Ok(text) = answer.text().await
        {
            let found: Option<Numbered> = serde_json::from_str(&text).ok();
            let seen = found.and_then(|found| found.source).map(|source| source.n);
            if last > seen {
                return Err(format!("a reader of search saw commit {last:?}, then {text}"));
            }
            last = seen;
        }
        wait::delay(pause).await;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Numbered {
    #[serde(rename = "_source")]
    source: Option<Number>,
}

#[derive(Deserialize)]
struct Number {
    n: i64,
}

pub(super) enum Store<'a> {
    Reporting {
        postgres: &'a str,
        tables: &'static [Table],
    },
    /// Of each node.
    Cache {
        urls: &'a [String],
    },
    Search(&'a Search),
}

pub(super) type Refused = Box<dyn std::error::Error>;

impl Store<'_> {
    pub(super) fn sink(&self) -> Sink {
        match self {
            Store::Reporting { .. } => Sink::Reporting,
            Store::Cache { .. } => Sink::Cache,
            Store::Search(_) => Sink::Search,
        }
    }

    pub(super) async fn read(&self) -> Result<Reading, Refused> {
        match self {
            Store::Reporting { postgres, tables } => read_postgres(postgres, tables).await,
            Store::Cache { urls } => read_redis(urls).await,
            Store::Search(search) => read_search(search).await,
        }
    }
}

/// A database for the Postgres sink.
pub(super) async fn prepare_postgres(postgres: &Postgres, database: &str) {
    let client = postgres.client(database).await;
    let sql = format!("CREATE EXTENSION hstore; ALTER DATABASE {database} SET TimeZone = 'UTC'");
    client.batch_execute(&sql).await.unwrap();
}

/// Each by an index, whatever there is.
const READ_LOGGED: &str = "
    SELECT (SELECT n::bigint FROM sealed WHERE n IS NOT NULL
              ORDER BY lsn DESC, ordinal DESC LIMIT 1),
           (SELECT n IS NULL FROM sealed ORDER BY lsn DESC, ordinal DESC LIMIT 1),
           (SELECT n FROM sequence_history WHERE id = 1 AND valid_to IS NULL),
           (SELECT count(*) FROM sequence_history WHERE id = 1 AND valid_to IS NOT NULL)";

/// In one snapshot.
async fn read_postgres(url: &str, tables: &'static [Table]) -> Result<Reading, Refused> {
    let (mut client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let work = async {
        let builder = client.build_transaction();
        let snapshot = builder
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let mut reading = Reading::default();
        let exists = "SELECT to_regclass('readside.watermark') IS NOT NULL";
        if !snapshot.query_one(exists, &[]).await?.get::<_, bool>(0) {
            return Ok(reading);
        }
        let sql = "SELECT projection, lsn::text, settled FROM readside.watermark";
        for row in snapshot.query(sql, &[]).await? {
            let lsn: Lsn = row.get::<_, &str>(1).parse()?;
            reading.watermarks.insert(row.get(0), (lsn, row.get(2)));
        }
        for table in tables.iter().filter(|table| reading.watermarks.contains_key(table.name)) {
            let sql = format!("SELECT hstore_to_json(hstore(t))::text FROM {} t", table.name);
            let mut picture = Picture::default();
            for row in snapshot.query(&sql, &[]).await? {
                let fields: Fields = serde_json::from_str(row.get(0))?;
                if table.name == SEQUENCE {
                    reading.number = fields["n"].as_ref().map(|n| n.parse()).transpose()?;
                }
                picture.add(&row_line(&fields), 1);
            }
            reading.pictures.insert(table.name, picture);
        }
        let is_there = |name| reading.watermarks.contains_key(name);
        // Not those of a database without them.
        if is_there(SEALED) && is_there(SEQUENCE) {
            let row = snapshot.query_one(READ_LOGGED, &[]).await?;
            reading.logged = Logged {
                told: row.get(0),
                is_gap: row.get(1),
                version: row.get(2),
                ended: row.get(3),
            };
        }
        Ok::<_, Refused>(reading)
    };
    tokio::select! {
        reading = work => reading,
        ended = connection => Err(ended.err().map_or("the connection ended".into(), Into::into)),
    }
}

/// In one go where there is one node; else what stood under the same watermark before and after.
async fn read_redis(urls: &[String]) -> Result<Reading, Refused> {
    harness::install_crypto();
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(wait::BOUND));
    let mut nodes = Vec::new();
    for url in urls {
        let client = redis::Client::open(url.as_str())?;
        nodes.push(client.get_multiplexed_async_connection_with_config(&patient).await?);
    }
    let marks = async |nodes: &mut Vec<redis::aio::MultiplexedConnection>| {
        let mut steps = BTreeMap::new();
        for node in nodes.iter_mut().filter(|_| urls.len() > 1) {
            let read: Vec<(String, String)> =
                redis::cmd("EVAL").arg(READ_STEPS).arg(0).query_async(node).await?;
            steps.extend(read);
        }
        Ok::<_, Refused>(steps)
    };
    let before = marks(&mut nodes).await?;
    let mut all: Vec<(String, String, Vec<String>)> = Vec::new();
    for node in &mut nodes {
        let read: Vec<_> = redis::cmd("EVAL").arg(READ_ALL).arg(0).query_async(node).await?;
        all.extend(read);
    }
    let after = marks(&mut nodes).await?;
    let is_same = |fields: &BTreeMap<&str, &str>, key: &String| {
        let step = fields.get("step").map(|step| (*step).to_owned());
        urls.len() == 1 || (before.get(key) == step.as_ref() && after.get(key) == step.as_ref())
    };
    let mut reading = Reading::default();
    for (key, kind, held) in all {
        let pairs = || held.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str()));
        if let Some(name) = key.strip_prefix("readside:watermark:") {
            let fields: BTreeMap<_, _> = pairs().collect();
            let lsn: Lsn = fields["lsn"].parse()?;
            let settled = fields["settled"] == "true" && is_same(&fields, &key);
            reading.watermarks.insert(name.into(), (lsn, settled));
            continue;
        }
        if key.starts_with("readside:") || key.starts_with(KEYS) {
            continue;
        }
        let table = table_of_key(TABLES, &key);
        let table = table.unwrap_or_else(|| panic!("a stray key in Redis: {key}"));
        let picture = reading.pictures.entry(table.name).or_default();
        match kind.as_str() {
            "hash" => picture.add(&hash_line(&key, pairs()), 1),
            "string" => picture.add(&string_line(&key, &held[0]), 1),
            "set" => held.iter().for_each(|member| picture.add(&member_line(&key, member), 1)),
            "zset" => {
                for (member, score) in pairs() {
                    picture.add(&score_line(&key, member, score.parse()?), 1);
                }
            }
            _ => panic!("{key} in Redis is a {kind}"),
        }
        if table.name == SEQUENCE {
            reading.number =
                pairs().find(|(field, _)| *field == "n").map(|(_, n)| n.parse()).transpose()?;
        }
    }
    Ok(reading)
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "_scroll_id")]
    scroll: Option<String>,
    hits: Hits,
}

#[derive(Deserialize)]
struct Counted {
    count: usize,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
pub(super) struct Hit {
    #[serde(rename = "_id")]
    pub(super) id: String,
    /// As it was sent, every digit of it.
    #[serde(rename = "_source")]
    pub(super) source: Box<RawValue>,
}

/// Not in one go: a search server has no such thing. For a sink at rest.
async fn read_search(search: &Search) -> Result<Reading, Refused> {
    let http = harness::http();
    let mut reading = Reading::default();
    for table in TABLES {
        let index = format!("{}/{}", search.url, search.index(table.name));
        http.post(format!("{index}/_refresh")).send().await?.error_for_status()?;
        let all = http.get(format!("{index}/_search?size=10000")).send().await?;
        let found: Found = serde_json::from_str(&all.error_for_status()?.text().await?)?;
        let picture = reading.pictures.entry(table.name).or_default();
        for hit in found.hits.hits {
            picture.add(&document_line(&hit.id, hit.source.get()), 1);
        }
    }
    Ok(reading)
}

/// Documents of an index, and how many there are in all.
pub(super) struct Documents {
    pub(super) documents: Vec<Hit>,
    pub(super) count: usize,
}

/// All of them, or those that were committed from a time on, by the server's milliseconds.
pub(super) async fn search_all(
    search: &Search,
    index: &str,
    from: Option<&str>,
) -> Result<Documents, Refused> {
    let http = harness::http();
    let post = async |path: &str, body: Value| {
        let answer = http.post(format!("{}/{path}", search.url)).json(&body).send().await?;
        Ok::<_, Refused>(answer.error_for_status()?.text().await?)
    };
    post(&format!("{index}/_refresh"), json!({})).await?;
    let count: Counted = serde_json::from_str(&post(&format!("{index}/_count"), json!({})).await?)?;
    let query = match from {
        Some(from) => json!({ "range": { "committed_at": { "gte": from } } }),
        None => json!({ "match_all": {} }),
    };
    let first = json!({ "size": 5_000, "sort": ["_doc"], "query": query });
    let mut page = post(&format!("{index}/_search?scroll=1m"), first).await?;
    let mut documents = Vec::new();
    loop {
        let found: Found = serde_json::from_str(&page)?;
        if found.hits.hits.is_empty() {
            return Ok(Documents { documents, count: count.count });
        }
        documents.extend(found.hits.hits);
        let next = json!({ "scroll": "1m", "scroll_id": found.scroll });
        page = post("_search/scroll", next).await?;
    }
}
