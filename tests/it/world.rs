//! What most tests of the whole daemon need: a source, one sink of each kind, each behind a network of
//! its own that can fail, and the question whether the sinks hold what the source does.

use std::collections::BTreeMap;

use redis::AsyncCommands;
use serde_json::Value;
use tokio_postgres::Client;

use crate::harness::{
    Daemon, Postgres, PostgresOptions, Proxy, Redis, RedisOptions, Search, unique, wait,
};

/// The sinks' names in every configuration made here.
pub(crate) const SINKS: [&str; 3] = ["reporting", "cache", "search"];

pub(crate) struct World {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    pub(crate) search: Search,
    /// Of the source.
    pub(crate) client: Client,
    /// Of the Postgres sink.
    pub(crate) reporting: Client,
    pub(crate) source_net: Proxy,
    pub(crate) reporting_net: Proxy,
    pub(crate) cache_net: Proxy,
    pub(crate) search_net: Proxy,
    pub(crate) source: String,
    pub(crate) sink: String,
    prefix: String,
}

impl World {
    pub(crate) async fn new(sql: &str) -> World {
        World::with(&PostgresOptions::default(), sql).await
    }

    /// The source and the Postgres sink are databases of one server.
    pub(crate) async fn with(options: &PostgresOptions<'_>, sql: &str) -> World {
        let redis_options = RedisOptions { appendonly: true, ..RedisOptions::default() };
        let (postgres, redis, search) =
            tokio::join!(Postgres::start(options), Redis::start(&redis_options), Search::shared());
        let (source, sink) = (postgres.new_database().await, postgres.new_database().await);
        let client = postgres.client(&source).await;
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{error:?}"));
        let search_port = search.url().rsplit_once(':').unwrap().1.parse().unwrap();
        World {
            reporting: postgres.client(&sink).await,
            source_net: Proxy::start(postgres.port()).await,
            reporting_net: Proxy::start(postgres.port()).await,
            cache_net: Proxy::start(redis.port()).await,
            search_net: Proxy::start(search_port).await,
            postgres,
            redis,
            search,
            client,
            source,
            sink,
            prefix: unique("w"),
        }
    }

    /// After the server was stopped.
    pub(crate) async fn reconnect(&mut self) {
        self.client = self.postgres.client(&self.source).await;
        self.reporting = self.postgres.client(&self.sink).await;
    }

    /// One more reader of the Postgres sink.
    pub(crate) async fn reporting_client(&self) -> Client {
        self.postgres.client(&self.sink).await
    }

    /// The source's name leads to another server from now on, which has a database of the same name.
    pub(crate) async fn move_source(&mut self, to: &Postgres) {
        self.client = to.client(&self.source).await;
        self.source_net.lead_to(to.port());
        self.source_net.heal();
    }

    /// The Postgres sink's name leads to another server from now on, as after a restore.
    pub(crate) async fn move_reporting(&mut self, to: &Postgres) {
        self.reporting = to.client(&self.sink).await;
        self.reporting_net.lead_to(to.port());
    }

    /// Source, sinks, and the projections.
    pub(crate) fn config(&self, projections: &str) -> String {
        self.config_with("", projections)
    }

    /// With more lines for `[source]`.
    pub(crate) fn config_with(&self, source: &str, projections: &str) -> String {
        format!(
            "[source]\nurl = \"postgres://postgres@127.0.0.1:{}/{}\"\n{source}\n\
             [sink.reporting.postgres]\nurl = \"postgres://postgres@127.0.0.1:{}/{}\"\n\
             [sink.cache.redis]\nurl = \"redis://127.0.0.1:{}/0\"\n\
             [sink.search.elasticsearch]\nurl = \"http://127.0.0.1:{}\"\n\
             {projections}\n",
            self.source_net.port(),
            self.source,
            self.reporting_net.port(),
            self.sink,
            self.cache_net.port(),
            self.search_net.port(),
        )
    }

    /// A projection of a table to all three sinks; `key` in the order of its columns.
    pub(crate) fn projection(&self, name: &str, table: &str, key: &[&str]) -> String {
        let template: Vec<String> = key.iter().map(|column| format!("{{{column}}}")).collect();
        format!(
            "[projection.{full}]\ntable = '{table}'\nkey = {key:?}\n\
             to.reporting = {{ table = \"{name}\" }}\n\
             to.cache = {{ json = \"{name}:{}\" }}\n\
             to.search = {{ index = \"{full}\" }}\n",
            template.join("|"),
            full = self.name(name)
        )
    }

    /// The same of a query.
    pub(crate) fn query(&self, name: &str, query: &str, key: &[&str]) -> String {
        let table = self.projection(name, "", key);
        table.replacen("table = ''", &format!("query = '''\n{query}'''"), 1)
    }

    /// A projection's full name, and that of its index: others use the same search server, which knows
    /// projections' watermarks by their names.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }

    pub(crate) async fn execute(&self, sql: &str) {
        let done = self.client.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The source's position, as an application takes it after its commit.
    pub(crate) async fn lsn(&self) -> String {
        one(&self.client, "SELECT pg_current_wal_insert_lsn()::text").await
    }

    /// Waits until all three sinks have all of the source, and compares them.
    pub(crate) async fn same(&self, daemon: &mut Daemon, name: &str, table: &str, key: &[&str]) {
        let lsn = self.lsn().await;
        for sink in SINKS {
            daemon.wait_for(&self.name(name), sink, &lsn).await;
        }
        self.compare(name, table, key).await;
    }

    /// As [`World::same`], for what is found by looking at the catalog: some time later.
    pub(crate) async fn soon_same(&self, name: &str, table: &str, key: &[&str]) {
        wait::until(&format!("{name} to be as {table}"), async || {
            let expected = self.rows(&self.client, table, key).await;
            for (sink, found) in self.found(name, key).await {
                if found.as_ref() != Some(&expected) {
                    return Err(difference(sink, found.as_ref(), &expected));
                }
            }
            Ok(())
        })
        .await;
    }

    pub(crate) async fn compare(&self, name: &str, table: &str, key: &[&str]) {
        let expected = self.rows(&self.client, table, key).await;
        for (sink, found) in self.found(name, key).await {
            assert!(
                found.as_ref() == Some(&expected),
                "{}",
                difference(sink, found.as_ref(), &expected)
            );
        }
    }

    async fn found(&self, name: &str, key: &[&str]) -> [(&'static str, Option<Rows>); 3] {
        let table: Option<String> = self
            .reporting
            .query_one("SELECT to_regclass($1)::text", &[&name])
            .await
            .unwrap()
            .get(0);
        let reporting = match table {
            Some(table) => Some(self.rows(&self.reporting, &table, key).await),
            None => None,
        };
        [
            ("reporting", reporting),
            ("cache", Some(self.cached(name).await)),
            ("search", self.indexed(name).await.map(|rows| unescaped(rows, key.len()))),
        ]
    }

    /// The rows of a table by their key, as documents.
    pub(crate) async fn rows(&self, client: &Client, table: &str, key: &[&str]) -> Rows {
        let key: Vec<String> = key.iter().map(|column| format!("t.\"{column}\"::text")).collect();
        let sql = format!(
            "SELECT concat_ws('|', {}), to_jsonb(t)::text FROM {table} AS t",
            key.join(", ")
        );
        let rows = client.query(&sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        rows.iter().map(|row| (row.get(0), serde_json::from_str(row.get(1)).unwrap())).collect()
    }

    /// The keys below `name:`, without it.
    pub(crate) async fn cached(&self, name: &str) -> Rows {
        let mut redis = self.redis.client().await;
        let keys: Vec<String> = redis.keys(format!("{name}:*")).await.unwrap();
        let mut rows = Rows::new();
        for key in keys {
            let text: Option<String> = redis.get(&key).await.unwrap();
            let Some(text) = text else { continue };
            let id = key.split_once(':').unwrap().1.to_owned();
            rows.insert(id, serde_json::from_str(&text).unwrap());
        }
        rows
    }

    pub(crate) async fn indexed(&self, name: &str) -> Option<Rows> {
        let index = self.name(name);
        let (status, _) = self.search.get(&index).await;
        if !status.is_success() {
            return None;
        }
        Some(self.search.documents(&index).await.into_iter().collect())
    }
}

/// Ids as keys are compared here.
fn unescaped(rows: Rows, columns: usize) -> Rows {
    let plain =
        |id: String| if columns > 1 { id.replace("\\|", "|").replace("\\\\", "\\") } else { id };
    rows.into_iter().map(|(id, row)| (plain(id), row)).collect()
}

/// Documents by their key.
pub(crate) type Rows = BTreeMap<String, Value>;

fn difference(sink: &str, found: Option<&Rows>, expected: &Rows) -> String {
    let Some(found) = found else { return format!("{sink} has no such target") };
    let missing: Vec<_> = expected.iter().filter(|(key, _)| !found.contains_key(*key)).collect();
    let extra: Vec<_> = found.iter().filter(|(key, _)| !expected.contains_key(*key)).collect();
    let differing: Vec<_> = expected
        .iter()
        .filter_map(|(key, row)| found.get(key).filter(|found| *found != row).map(|f| (row, f)))
        .collect();
    let text = format!(
        "{sink}: {} missing {missing:?}, {} extra {extra:?}, {} other (expected, found) {differing:?}",
        missing.len(),
        extra.len(),
        differing.len()
    );
    text.chars().take(2000).collect()
}

/// One value of text.
pub(crate) async fn one(client: &Client, sql: &str) -> String {
    let row = client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    row.get(0)
}

/// Whether something about the daemon's metrics comes true.
pub(crate) async fn until_metric(
    daemon: &Daemon,
    name: &str,
    labels: &[(&str, &str)],
    holds: impl Fn(f64) -> bool,
) {
    wait::until(&format!("{name} {labels:?}"), async || {
        match daemon.metrics().await.get(name, labels) {
            Some(value) if holds(value) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Until the log of the present start says something.
pub(crate) async fn until_logged(daemon: &Daemon, text: &str) {
    wait::until(&format!("the log to say {text:?}"), async || {
        let log = daemon.log_of_this_start();
        if log.contains(text) { Ok(()) } else { Err(log) }
    })
    .await;
}
