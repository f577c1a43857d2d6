//! The layers of configuration, merged by the `config` crate: defaults, the file, the environment.
//!
//! Its values know no places, so each leaf goes through the merge as a number that stands for a node
//! of ours. A list is a leaf: a later layer replaces it as a whole.

use std::collections::BTreeMap;

use config::{Map, ValueKind};

use super::diagnostic::Diagnostic;
use super::document;
use super::environment::Environment;
use super::faults::Faults;
use super::node::{Node, Value};
use super::place::{Place, SourceFile};

/// Everything is merged under one key: `config` would read a dot in a top-level key as a path.
const ROOT: &str = "readside";

/// Defaults that depend on nothing but the kind of section.
const DEFAULTS: &str = include_str!("defaults.toml");

/// Reads and merges all layers.
pub(super) fn read(
    file: &std::sync::Arc<SourceFile>,
    environment: &Environment,
    faults: &mut Faults,
) -> Node {
    let written = document::read(file, environment, faults);
    let overrides = environment.overrides(&written, faults);
    let defaults = defaults_for(&written);
    merge([defaults, written, overrides], faults)
}

/// The defaults for the sections that the file has: those of sinks, projections and events once for each.
fn defaults_for(written: &Node) -> Node {
    let file = std::sync::Arc::new(SourceFile::new("defaults", DEFAULTS));
    let mut faults = Faults::default();
    let mut templates = document::read(&file, &Environment::default(), &mut faults);
    forget_places(&mut templates);
    let mut defaults = Node::table(Place::default(), Vec::new());
    for (section, template) in templates.entries() {
        let named = written.get(section).map(Node::entries).unwrap_or_default();
        match section.as_str() {
            "sink" => {
                for (name, sink) in named {
                    for (kind, node) in
                        template.entries().iter().filter(|(k, _)| sink.get(k).is_some())
                    {
                        let path = [section.clone(), name.clone(), kind.clone()];
                        defaults.insert(&path, node.clone());
                    }
                }
            }
            "projection" | "event" => {
                for (name, _) in named {
                    defaults.insert(&[section.clone(), name.clone()], template.clone());
                }
            }
            _ => {
                defaults.insert(std::slice::from_ref(section), template.clone());
            }
        }
    }
    defaults
}

fn forget_places(node: &mut Node) {
    node.key_place = Place::default();
    node.place = Place::default();
    if let Value::Table(entries) = &mut node.value {
        entries.iter_mut().for_each(|(_, entry)| forget_places(entry));
    }
}

fn merge(layers: [Node; 3], faults: &mut Faults) -> Node {
    let mut arena = Arena::default();
    let mut builder = config::Config::builder();
    for layer in &layers {
        builder = builder.add_source(Layer(arena.take(layer, &mut Vec::new())));
    }
    let merged = match builder.build() {
        Ok(merged) => merged.cache,
        Err(error) => {
            faults.push(Diagnostic::new(format!("the configuration cannot be merged: {error}")));
            return Node::table(Place::default(), Vec::new());
        }
    };
    let root = match merged.kind {
        ValueKind::Table(mut table) => table.remove(ROOT),
        _ => None,
    };
    let mut root = arena.give(root.map_or(ValueKind::Nil, |root| root.kind), &mut Vec::new());
    root.tell_broken(faults);
    root.link_places();
    root
}

/// The leaves of all layers, and where each path was first written.
#[derive(Default)]
struct Arena {
    leaves: Vec<Node>,
    /// Key and value. The file's come before a variable's, so they are the ones to point at.
    places: BTreeMap<Vec<String>, (Place, Place)>,
}

impl Arena {
    fn take(&mut self, node: &Node, path: &mut Vec<String>) -> config::Value {
        let places = self.places.entry(path.clone()).or_default();
        if places.1.is_nowhere() {
            *places = (node.key_place.clone(), node.place.clone());
        }
        let Value::Table(entries) = &node.value else {
            self.leaves.push(node.clone());
            return config::Value::new(None, ValueKind::U64(self.leaves.len() as u64 - 1));
        };
        let mut table = Map::new();
        for (key, entry) in entries {
            path.push(key.clone());
            table.insert(key.clone(), self.take(entry, path));
            path.pop();
        }
        config::Value::new(None, ValueKind::Table(table))
    }

    fn give(&self, kind: ValueKind, path: &mut Vec<String>) -> Node {
        let (key_place, place) = self.places.get(path).cloned().unwrap_or_default();
        match kind {
            ValueKind::U64(index) => {
                let leaf = usize::try_from(index).ok().and_then(|index| self.leaves.get(index));
                leaf.cloned().unwrap_or_else(empty)
            }
            ValueKind::Table(table) => {
                let mut entries = Vec::new();
                for (key, value) in table {
                    path.push(key.clone());
                    let written = self
                        .places
                        .get(path)
                        .and_then(|(key, _)| key.file.as_ref().map(|_| key.span.start));
                    let entry = self.give(value.kind, path);
                    path.pop();
                    entries.push((written.unwrap_or(usize::MAX), key, entry));
                }
                // The map has lost the file's order.
                entries.sort_by(|(a, x, _), (b, y, _)| (a, x).cmp(&(b, y)));
                let entries = entries.into_iter().map(|(_, key, entry)| (key, entry)).collect();
                Node { key_place, place, value: Value::Table(entries) }
            }
            _ => empty(),
        }
    }
}

fn empty() -> Node {
    Node::table(Place::default(), Vec::new())
}

/// One layer as `config` wants it.
#[derive(Clone, Debug)]
struct Layer(config::Value);

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, config::Value>, config::ConfigError> {
        Ok(Map::from_iter([(ROOT.to_owned(), self.0.clone())]))
    }
}
