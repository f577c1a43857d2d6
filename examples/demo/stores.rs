//! The source and the three stores, as their readers see them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::harness::{Postgres, Redis, Search};

/// A table of the shop; it bears the same name in Postgres and in the search server.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) key: &'static str,
    /// What a row's key in Redis begins with; the row's own key follows.
    pub(crate) hash: &'static str,
}

pub(crate) const TABLES: [Table; 4] = [
    Table { name: "customers", key: "customer_id", hash: "customer:" },
    Table { name: "products", key: "product_id", hash: "product:" },
    Table { name: "orders", key: "order_id", hash: "order:" },
    Table { name: "order_items", key: "item_id", hash: "order_item:" },
];

/// As config/examples/shop-tables.toml names them.
pub(crate) const SINKS: [&str; 3] = ["reporting", "cache", "search"];

pub(crate) struct Stores {
    source: Client,
    reporting: Client,
    cache: redis::aio::MultiplexedConnection,
    search: Search,
}

/// How many rows there are of each table: in the source, then in each sink.
pub(crate) struct Look {
    pub(crate) source: [u64; 4],
    pub(crate) sinks: [[u64; 4]; 3],
}

/// A table's rows by the text of their keys.
pub(crate) type Rows<T> = BTreeMap<String, T>;

/// A hash's fields, or a row's columns that are not NULL, as text.
pub(crate) type Fields = BTreeMap<String, String>;

impl Stores {
    pub(crate) async fn connect(postgres: &Postgres, redis: &Redis, search: Search) -> Stores {
        let source = postgres.client("shop").await;
        let reporting = postgres.client("shop_read").await;
        Stores { source, reporting, cache: redis.client().await, search }
    }

    pub(crate) async fn look(&mut self) -> Result<Look> {
        let mut look = Look { source: counts(&self.source).await?, sinks: [[0; 4]; 3] };
        look.sinks[0] = counts(&self.reporting).await?;
        for key in self.cache_keys().await? {
            let table = TABLES.iter().position(|table| is_row(&key, table));
            if let Some(count) = table.and_then(|at| look.sinks[1].get_mut(at)) {
                *count += 1;
            }
        }
        for (count, table) in look.sinks[2].iter_mut().zip(&TABLES) {
            *count = self.search.count(table.name).await.unwrap_or(0);
        }
        Ok(look)
    }

    /// Past every commit so far.
    pub(crate) async fn position(&self) -> Result<String> {
        let row = self.source.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await?;
        Ok(row.try_get(0)?)
    }

    pub(crate) async fn source_documents(&self, table: &Table) -> Result<Rows<Value>> {
        documents(&self.source, table).await
    }

    pub(crate) async fn reporting_documents(&self, table: &Table) -> Result<Rows<Value>> {
        documents(&self.reporting, table).await
    }

    pub(crate) async fn search_documents(&self, table: &Table) -> Rows<Value> {
        self.search.documents(table.name).await.into_iter().collect()
    }

    /// The rows as Postgres prints them.
    pub(crate) async fn source_fields(&self, table: &Table) -> Result<Rows<Fields>> {
        let select = format!("SET TimeZone = 'UTC'; SELECT * FROM {}", table.name);
        let mut rows = Rows::new();
        for message in self.source.simple_query(&select).await? {
            let SimpleQueryMessage::Row(row) = message else { continue };
            let fields: Fields = (0..row.len())
                .filter_map(|at| Some((row.columns()[at].name().into(), row.get(at)?.into())))
                .collect();
            let key = fields.get(table.key).context("a key is never NULL")?;
            rows.insert(key.clone(), fields);
        }
        Ok(rows)
    }

    pub(crate) async fn cache_fields(&mut self, table: &Table) -> Result<Rows<Fields>> {
        let mut keys = self.cache_keys().await?;
        keys.retain(|key| is_row(key, table));
        let mut rows = Rows::new();
        for keys in keys.chunks(1_000) {
            let mut pipeline = redis::pipe();
            for key in keys {
                pipeline.hgetall(key);
            }
            let hashes: Vec<Fields> = pipeline.query_async(&mut self.cache).await?;
            let keys = keys.iter().map(|key| key[table.hash.len()..].to_owned());
            rows.extend(keys.zip(hashes));
        }
        Ok(rows)
    }

    async fn cache_keys(&mut self) -> Result<Vec<String>> {
        // A scan may tell a key twice.
        let mut keys = std::collections::BTreeSet::new();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("COUNT").arg(5_000);
            let (next, page): (u64, Vec<String>) = scan.query_async(&mut self.cache).await?;
            keys.extend(page);
            if next == 0 {
                return Ok(keys.into_iter().collect());
            }
            cursor = next;
        }
    }
}

/// `order:7`, but not `order:7:items`, which another target may have made.
fn is_row(key: &str, table: &Table) -> bool {
    key.strip_prefix(table.hash).is_some_and(|rest| !rest.contains(':'))
}

async fn counts(client: &Client) -> Result<[u64; 4]> {
    let mut counts = [0; 4];
    for (count, table) in counts.iter_mut().zip(&TABLES) {
        let row = client.query_one(&format!("SELECT count(*) FROM {}", table.name), &[]).await?;
        *count = u64::try_from(row.try_get::<_, i64>(0)?)?;
    }
    Ok(counts)
}

async fn documents(client: &Client, table: &Table) -> Result<Rows<Value>> {
    client.batch_execute("SET TimeZone = 'UTC'").await?;
    let select = format!("SELECT {}::text, to_jsonb(t)::text FROM {} t", table.key, table.name);
    let mut rows = Rows::new();
    for row in client.query(&select, &[]).await? {
        rows.insert(row.try_get(0)?, serde_json::from_str(row.try_get(1)?)?);
    }
    Ok(rows)
}
