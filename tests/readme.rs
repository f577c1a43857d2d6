//! Holds README.md to the program: its configurations are read, its commands are known, its files exist.

#![allow(clippy::unwrap_used, reason = "a test may: the panic is its failure")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use readside::config::{self, Environment, Secret};
use readside::pg::Params;

const README: &str = include_str!("../README.md");

/// What a configuration without a source of its own is added to.
const SINKS: &str = r#"
[source]
url = "postgres://readside@db/shop"
[sink.reporting.postgres]
url = "postgres://readside@reporting/shop_read"
[sink.cache.redis]
url = "redis://cache:6379/0"
[sink.search.elasticsearch]
url = "http://search:9200"
"#;

/// The contents of the code blocks in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_configuration_is_read() {
    let postgres_url = |url: &Secret, password: Option<&Secret>| {
        Params::parse(url.expose(), password).map(drop).map_err(|error| error.to_string())
    };
    let blocks = blocks("toml");
    assert!(blocks.len() >= 4, "the first read model, and one target of each kind");
    for block in blocks {
        let whole = block.contains("[source]");
        let text = if whole { block.to_owned() } else { format!("{SINKS}{block}") };
        let read = config::parse("README.md", &text, &Environment::of([]), &postgres_url);
        if let Err(faults) = read {
            let faults: Vec<_> =
                faults.iter().map(|fault| fault.render(config::Style::Plain)).collect();
            panic!("{text}\n{}", faults.join("\n"));
        }
    }
}

#[test]
fn every_command_is_known() {
    let lines = blocks("sh").into_iter().flat_map(str::lines);
    let mut commands = 0;
    for line in lines {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("readside") => {
                // With --help nothing is done, but an unknown command or flag is still refused.
                let binary = env!("CARGO_BIN_EXE_readside");
                let told = Command::new(binary).args(words).arg("--help").output().unwrap();
                assert!(told.status.success(), "{line}");
            }
            Some(script) if script.starts_with("./") => {
                let mode = root().join(script).metadata().expect(script).permissions().mode();
                assert_eq!(mode & 0o111, 0o111, "{script} can be run");
            }
            _ => continue,
        }
        commands += 1;
    }
    assert!(commands >= 5, "{commands} commands are shown");
}

#[test]
fn the_metrics_that_it_names_exist() {
    let registry = prometheus::Registry::new();
    let metrics = readside::metrics::Metrics::new(&registry);
    metrics.sink("s");
    metrics.lane("s", "p");
    let known: Vec<_> = registry.gather().iter().map(|family| family.name().to_owned()).collect();
    let words = README.split(|c: char| c != '_' && !c.is_ascii_lowercase());
    for word in words.filter(|word| word.starts_with("readside_") && word.len() > 9) {
        assert!(known.iter().any(|name| name == word), "{word} is no metric: {known:?}");
    }
}
