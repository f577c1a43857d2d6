//! Every message, and the whole way from text to model.

mod catalog;
mod environment;
mod files;
mod model;
mod outline;
mod projections;
mod reference;
mod secrets;
mod sections;
mod sinks;
mod syntax;
mod targets;

use super::*;

/// A valid configuration, in which each test breaks something.
const SHOP: &str = r#"
[source]
url = "postgres://readside@db/shop"
slot = "readside"

[state]
dir = "/tmp/state"

[http]
listen = "127.0.0.1:7433"

[sink.search.elasticsearch]
url = "http://search:9200"

[sink.cache.redis]
url = "redis://cache:6379/0"

[sink.reporting.postgres]
url = "postgres://readside@reporting/shop_read"

[projection.products]
table = "products"
to.search = { index = "products" }

[projection.orders]
table = "orders"
key = ["order_id"]
to.reporting = { table = "orders", indexes = ["(customer_id)"] }
to.cache = [
  { hash = "order:{order_id}" },
  { sorted_set = "customer:{customer_id}:orders", member = "{order_id}", score = "created_at" },
]
"#;

/// Postgres urls are read by another room; here all are right but one.
fn any_url(url: &Secret, _password: Option<&Secret>) -> Result<(), String> {
    match url.expose().contains("bad") {
        true => Err("invalid sslmode".to_owned()),
        false => Ok(()),
    }
}

fn read(path: &str, text: &str, environment: &Environment) -> Result<Config, Vec<Diagnostic>> {
    parse(path, text, environment, &any_url)
}

/// SHOP with a piece of it replaced.
fn edited(from: &str, to: &str) -> String {
    assert_eq!(SHOP.matches(from).count(), 1, "{from:?} stands once in the configuration");
    SHOP.replace(from, to)
}

/// The faults of SHOP with a piece of it replaced.
fn faults(from: &str, to: &str) -> String {
    faults_of(&edited(from, to), &[])
}

fn faults_of(text: &str, environment: &[(&str, &str)]) -> String {
    match read("readside.toml", text, &Environment::of(environment.iter().copied())) {
        Ok(_) => "no faults".to_owned(),
        Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"),
    }
}

fn config_of(text: &str, environment: &[(&str, &str)]) -> Config {
    match read("readside.toml", text, &Environment::of(environment.iter().copied())) {
        Ok(config) => config,
        Err(faults) => panic!("{}", faults.iter().map(ToString::to_string).collect::<String>()),
    }
}
