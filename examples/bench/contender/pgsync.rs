//! PGSync into a search server, as its documentation sets it up: `bootstrap`, then the daemon, which is
//! told of changes by triggers and a Redis of its own, and reads its slot when it starts.

use std::fs;

use anyhow::Result;
use serde_json::json;

use super::program::{Launch, Program, homes};
use crate::harness::process::run;
use crate::harness::scratch::Scratch;
use crate::harness::{Postgres, Redis};

/// The same document as of `ORDER_SUMMARY`, nested as PGSync nests; `columns` of the order.
pub(crate) async fn start(
    source: &Postgres,
    (user, database): (&str, &str),
    (search, index): (&str, &str),
    redis: &Redis,
    columns: &[&str],
) -> Result<Program> {
    let homes = homes()?;
    let scratch = Scratch::new("pgsync");
    let one = json!({ "variant": "object", "type": "one_to_one" });
    let many = json!({ "variant": "object", "type": "one_to_many" });
    let product = json!({ "table": "products", "columns": ["name"], "label": "product",
        "relationship": one });
    let items = json!({ "table": "order_items", "columns": ["item_id", "quantity"],
        "label": "items", "relationship": many, "children": [product] });
    let customer = json!({ "table": "customers", "columns": ["email", "full_name"],
        "label": "customer", "relationship": one });
    let schema = json!([{ "database": database, "index": index,
        "nodes": { "table": "orders", "columns": columns, "children": [customer, items] } }]);
    fs::write(scratch.path().join("schema.json"), schema.to_string())?;
    let environment = vec![
        ("PYTHONPATH", homes.pgsync.display().to_string()),
        ("PG_URL", source.url_as(user, database).replace("postgres://", "postgresql://")),
        ("REDIS_URL", redis.url()),
        ("ELASTICSEARCH", "false".into()),
        ("OPENSEARCH", "true".into()),
        ("ELASTICSEARCH_URL", search.to_owned()),
        ("GENERAL_LOGGING_LEVEL", "WARNING".into()),
    ];
    let launch = |script: &str, more: &[&str]| {
        let script = homes.pgsync.join("bin").join(script).display().to_string();
        let mut arguments = vec![script, "--config".into(), "schema.json".into()];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        Launch { program: "python3".into(), arguments, environment: environment.clone() }
    };
    let bootstrap = launch("bootstrap", &[]).command(&scratch);
    tokio::task::spawn_blocking(move || run("PGSync's bootstrap", bootstrap)).await?;
    Ok(Program::start("PGSync", scratch, launch("pgsync", &["--daemon"])))
}
