//! Events: every occurrence, once, in the order of commits, in each kind of store.

mod basics;
mod faults;
mod history;
mod letters;
mod outbox;
mod tail;

use redis::AsyncCommands;
use serde_json::{Map, Value};

use crate::world::World;

/// The entries of a stream, their data read.
pub(crate) async fn stream(world: &World, key: &str) -> Vec<Value> {
    let mut redis = world.redis.client().await;
    let entries: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg(&[key, "-", "+"]).query_async(&mut redis).await.unwrap();
    let entry = |(_, fields): (String, Vec<String>)| {
        let mut entry = Map::new();
        for pair in fields.chunks(2) {
            let value = match pair[0].as_str() {
                "data" => serde_json::from_str(&pair[1]).unwrap(),
                _ => Value::from(pair[1].as_str()),
            };
            entry.insert(pair[0].clone(), value);
        }
        assert_eq!(entry.keys().collect::<Vec<_>>(), ["committed_at", "data", "id", "type"]);
        Value::Object(entry)
    };
    entries.into_iter().map(entry).collect()
}

async fn lists(world: &World, key: &str) -> Vec<Value> {
    let mut redis = world.redis.client().await;
    let items: Vec<String> = redis.lrange(key, 0, -1).await.unwrap();
    items.iter().map(|item| serde_json::from_str(item).unwrap()).collect()
}

pub(crate) fn ids(entries: &[Value]) -> Vec<String> {
    entries.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}
