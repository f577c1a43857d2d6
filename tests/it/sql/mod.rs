//! Queries: what PostgreSQL takes and the planner plans, and that both see the same names and types.

pub(crate) mod generate;

use std::fmt::Write as _;

use fastrand::Rng;

use crate::harness::daemon::readside;
use crate::harness::postgres::{Postgres, PostgresOptions};
use crate::harness::scratch::Scratch;

/// A source with a schema, and a place to write to.
struct Shop {
    postgres: Postgres,
    scratch: Scratch,
}

impl Shop {
    async fn start(schema: &str) -> Shop {
        let postgres = Postgres::start(&PostgresOptions::default()).await;
        postgres.create_database("shop").await;
        postgres.create_database("reads").await;
        postgres.client("shop").await.batch_execute(schema).await.unwrap();
        Shop { postgres, scratch: Scratch::new("sql") }
    }

    /// Runs a command over projections of these queries; its exit code and what it says.
    fn run(&self, arguments: &[&str], queries: &[generate::Generated]) -> (Option<i32>, String) {
        let mut config = format!(
            "[source]\nurl = \"{}\"\n[state]\ndir = \"state\"\n[sink.reads.postgres]\nurl = \"{}\"\n",
            self.postgres.url("shop"),
            self.postgres.url("reads"),
        );
        for (at, query) in queries.iter().enumerate() {
            writeln!(config, "[projection.q{at}]\nquery = '''\n{}'''", query.sql).unwrap();
            if let Some(key) = &query.key {
                writeln!(config, "key = {key:?}").unwrap();
            }
            writeln!(config, "to.reads = {{ table = \"q{at}\" }}").unwrap();
        }
        let file = self.scratch.path().join("readside.toml");
        std::fs::write(&file, config).unwrap();
        let output = readside(arguments, Some(&file));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        (output.status.code(), text.replace(&file.display().to_string(), "readside.toml"))
    }
}

fn queries(all: &[&str]) -> Vec<generate::Generated> {
    all.iter().map(|sql| generate::Generated { sql: (*sql).to_owned(), key: None }).collect()
}

/// As many as READSIDE_QUERIES says, or a few.
fn count() -> u64 {
    std::env::var("READSIDE_QUERIES").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

/// PostgreSQL prepares each of them, and names and types of the results are those that were planned.
#[tokio::test]
async fn random_queries_are_taken_by_both() {
    let shop = Shop::start(generate::SCHEMA).await;
    let mut found = String::new();
    let generated: Vec<_> =
        (0..count()).map(|seed| generate::query(&mut Rng::with_seed(seed))).collect();
    for (chunk, queries) in generated.chunks(50).enumerate() {
        let (code, text) = shop.run(&["check"], queries);
        if code != Some(0) {
            writeln!(found, "seeds from {}:\n{text}", chunk * 50).unwrap();
        }
    }
    assert!(found.is_empty(), "{found}");
}
