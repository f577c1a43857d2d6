//! The files in `config/` say what is true.

use std::collections::BTreeSet;

use super::super::{mask, node};
use super::*;

const REFERENCE: &str = include_str!("../../../config/readside.toml");
const SHOP_TABLES: &str = include_str!("../../../config/examples/shop-tables.toml");

/// The reference with every key that is commented out in it.
fn everything() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    REFERENCE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_is_valid() {
    let config = config_of(REFERENCE, &[]);
    assert_eq!(config.sinks.len(), 3);
    assert_eq!(config.projections[0].targets.len(), 6);
}

#[test]
fn what_is_commented_out_in_the_reference_is_valid_too() {
    let environment = [("SEARCH_PASSWORD", "x"), ("SEARCH_API_KEY", "y")];
    let faults = read("f", &everything(), &Environment::of(environment)).expect_err("refusals");
    let refusals: BTreeSet<_> = faults.iter().map(|fault| fault.what.as_str()).collect();
    let missing = ["ca_file", "password_file", "token_file"].map(|key| {
        format!("the file of `{key}` cannot be read: No such file or directory (os error 2)")
    });
    let expected = missing
        .iter()
        .map(String::as_str)
        .chain(["[sink.search.elasticsearch] has both an `api_key` and a user or password"]);
    assert_eq!(refusals, expected.collect());
}

#[test]
fn the_reference_has_every_key() {
    let everything = everything();
    let secret = ["url", "password", "password_file", "api_key"];
    for key in mask::HARMLESS.iter().chain(&secret) {
        let written = |before: &str| everything.contains(&format!("{before}{key} = "));
        assert!(["\n", "{ ", ", "].into_iter().any(written), "{key} is missing");
    }
}

/// A default that the reference tells is the one that holds.
#[test]
fn the_references_defaults_are_the_defaults() {
    let document = |text: &str| {
        let file = Arc::new(SourceFile::new("f", text));
        super::super::document::read(&file, &Environment::default(), &mut Faults::default())
    };
    let defaults = document(include_str!("../defaults.toml"));
    let reference = document(&everything());
    let name = |section: &str, key: &str| match (section, key) {
        ("sink", "postgres") => vec!["sink".to_owned(), "reporting".to_owned(), key.to_owned()],
        ("sink", "redis") => vec!["sink".to_owned(), "cache".to_owned(), key.to_owned()],
        ("sink", _) => vec!["sink".to_owned(), "search".to_owned(), key.to_owned()],
        ("projection", _) => vec!["projection".to_owned(), "products".to_owned()],
        ("event", _) => vec!["event".to_owned(), "OrderConfirmed".to_owned()],
        _ => vec![section.to_owned()],
    };
    let quoted =
        |node: &node::Node| node.quoted().unwrap_or_else(|| format!("{:?}", as_bool(node)));
    for (section, entries) in defaults.entries() {
        for (key, value) in entries.entries() {
            let mut path = name(section, key);
            match section.as_str() {
                "sink" => {
                    for (key, value) in value.entries() {
                        path.push(key.clone());
                        let told = reference.at(&path).expect("the key is in the reference");
                        assert_eq!(quoted(told), quoted(value), "{path:?}");
                        path.pop();
                    }
                }
                _ => {
                    path.push(key.clone());
                    let told = reference.at(&path).expect("the key is in the reference");
                    assert_eq!(quoted(told), quoted(value), "{path:?}");
                }
            }
        }
    }
}

fn as_bool(node: &node::Node) -> Option<bool> {
    match node.value {
        node::Value::Boolean(value) => Some(value),
        _ => None,
    }
}

#[test]
fn the_outbox_is_valid() {
    let config = config_of(include_str!("../../../config/examples/outbox.toml"), &[]);
    let event = config.projections[0].event().expect("an event");
    assert!(event.when.is_some() && event.kind.is_some());
    assert_eq!(config.projections[0].targets.len(), 2);
    assert!(event.data.text.starts_with("new.event_id, "));
    let lines = include_str!("../../../config/examples/outbox.toml").lines();
    let without = lines.filter(|line| !line.starts_with("data = ")).collect::<Vec<_>>().join("\n");
    let config = config_of(&without, &[]);
    assert_eq!(config.projections[0].event().expect("an event").data.text, "new.*");
}

#[test]
fn the_example_is_valid() {
    let config = config_of(SHOP_TABLES, &[]);
    let targets: Vec<_> =
        config.projections.iter().map(|p| (p.name.as_str(), p.targets.len())).collect();
    assert_eq!(targets, [("customers", 3), ("products", 3), ("orders", 4), ("order_items", 3)]);
}
