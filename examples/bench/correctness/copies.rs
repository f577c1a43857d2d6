//! What each store holds, as the documents that the query gives on the source: by the order's number.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::contender::debezium;
use crate::shop::TABLES;

pub(super) type Documents = BTreeMap<i64, Value>;

/// The read model: an order with its customer and its items. The note is long.
pub(super) const QUERY: &str = "
    SELECT o.order_id, o.customer_id, o.status, o.note, c.full_name AS customer,
           jsonb_agg(jsonb_build_object('item_id', i.item_id, 'quantity', i.quantity, 'product', p.name)
             ORDER BY i.item_id) FILTER (WHERE i.item_id IS NOT NULL) AS items
    FROM orders o
    JOIN customers c ON c.customer_id = o.customer_id
    LEFT JOIN order_items i ON i.order_id = o.order_id
    LEFT JOIN products p ON p.product_id = i.product_id
    GROUP BY o.order_id, c.customer_id";

/// Of `relation`: a table, or the query in parentheses.
pub(super) async fn relation(client: &Client, relation: &str) -> Result<Documents> {
    let sql = format!("SELECT d.order_id, to_jsonb(d)::text FROM {relation} d");
    let rows = client.query(&sql, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, serde_json::from_str(row.try_get(1)?)?))).collect()
}

/// The query, asked of tables.
pub(super) async fn tables(client: &Client) -> Result<Documents> {
    relation(client, &format!("({QUERY})")).await
}

/// Readside's JSON strings.
pub(super) async fn strings(client: &mut redis::aio::MultiplexedConnection) -> Result<Documents> {
    let mut all = redis::cmd("KEYS");
    let keys: Vec<String> = all.arg("order:*").query_async(client).await?;
    let mut found = Documents::new();
    for some in keys.chunks(1_000) {
        let mut get = redis::cmd("MGET");
        let texts: Vec<Option<String>> = get.arg(some).query_async(client).await?;
        for text in texts.into_iter().flatten() {
            let document: Value = serde_json::from_str(&text)?;
            found.insert(number(&document)?, document);
        }
    }
    Ok(found)
}

/// Readside's documents.
pub(super) fn documents(found: Vec<(String, Value)>) -> Result<Documents> {
    found.into_iter().map(|(_, document)| Ok((number(&document)?, document))).collect()
}

/// PGSync's, in the shape of the query's.
pub(super) fn pgsync(found: Vec<(String, Value)>) -> Result<Documents> {
    let mut documents = Documents::new();
    for (id, mut document) in found {
        let mut items: Vec<Value> = match document["items"].take() {
            Value::Array(items) => items,
            Value::Null => Vec::new(),
            other => bail!("items of document {id}: {other}"),
        };
        items.sort_by_key(|item| item["item_id"].as_i64());
        for item in &mut items {
            item["product"] = item["product"]["name"].take();
        }
        let customer = document["customer"]["full_name"].take();
        let document = json!({
            "order_id": document["order_id"], "customer_id": document["customer_id"],
            "status": document["status"], "note": document["note"], "customer": customer,
            "items": if items.is_empty() { Value::Null } else { Value::Array(items) },
        });
        documents.insert(number(&document)?, document);
    }
    Ok(documents)
}

fn number(document: &Value) -> Result<i64> {
    document["order_id"].as_i64().with_context(|| format!("no order: {document}"))
}

/// The tables as a consumer of Debezium's streams builds them: it applies the events of each stream in
/// their order, knows TRUNCATE, and keeps what it has where a large value is told not to have changed.
pub(super) struct Consumer {
    rows: [BTreeMap<i64, Value>; TABLES.len()],
    read_up_to: [String; TABLES.len()],
    tables: Client,
}

const UNCHANGED: &str = "__debezium_unavailable_value";
const KEYS: [&str; TABLES.len()] = ["customer_id", "product_id", "order_id", "item_id"];

impl Consumer {
    /// `tables` has those of the shop, without foreign keys.
    pub(super) fn new(tables: Client) -> Consumer {
        let read_up_to = TABLES.map(|_| "-".to_owned());
        Consumer { rows: Default::default(), read_up_to, tables }
    }

    pub(super) async fn documents(
        &mut self,
        client: &mut redis::aio::MultiplexedConnection,
    ) -> Result<Documents> {
        for (at, table) in TABLES.iter().enumerate() {
            let mut range = redis::cmd("XRANGE");
            range.arg(debezium::stream(table)).arg(&self.read_up_to[at]).arg("+");
            let new: Vec<(String, [String; 2])> = range.query_async(client).await?;
            for (id, [_key, event]) in new {
                self.apply(at, &serde_json::from_str(&event)?)?;
                self.read_up_to[at] = format!("({id}");
            }
            let rows = Value::Array(self.rows[at].values().cloned().collect());
            self.tables.batch_execute(&format!("TRUNCATE {table}")).await?;
            let fill = format!(
                "INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1::text::jsonb)"
            );
            self.tables.execute(&fill, &[&rows.to_string()]).await?;
        }
        tables(&self.tables).await
    }

    fn apply(&mut self, at: usize, event: &Value) -> Result<()> {
        let rows = &mut self.rows[at];
        let key = |row: &Value| row[KEYS[at]].as_i64().with_context(|| format!("no key: {event}"));
        match event["op"].as_str() {
            Some("r" | "c" | "u") => {
                let mut row = event["after"].clone();
                let key = key(&row)?;
                let before = rows.get(&key);
                for (name, value) in row.as_object_mut().context("a row")? {
                    if value == UNCHANGED {
                        *value = before.map_or(Value::Null, |before| before[name].clone());
                    }
                }
                rows.insert(key, row);
            }
            Some("d") => {
                rows.remove(&key(&event["before"])?);
            }
            Some("t") => rows.clear(),
            // What tells of the stream itself.
            _ => {}
        }
        Ok(())
    }
}
