//! Configuration as a tree of values that know where they were written, whichever layer they are from.

use std::collections::BTreeMap;

use super::diagnostic::Diagnostic;
use super::faults::Faults;
use super::place::Place;

/// A value. It has no `Debug`, since it may be a secret.
#[derive(Clone)]
pub(super) struct Node {
    /// Where its key stands; that of an item is the item's own.
    pub(super) key_place: Place,
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone)]
pub(super) enum Value {
    Text(Text),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Node>),
    /// In the file's order.
    Table(Vec<(String, Node)>),
    /// What is wrong with it, to be told when no later layer replaces the value.
    Broken(Vec<Diagnostic>),
}

#[derive(Clone)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) origin: Origin,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Stands in the file as it is, so that a message may quote it.
    Literal,
    /// Holds something from the environment through `${NAME}`.
    Substituted,
    /// Is a variable's value, to be read as whatever type the key takes.
    Variable,
}

impl Text {
    /// From a variable that overrides a key.
    pub(super) fn given(value: String) -> Self {
        Self { value, origin: Origin::Variable }
    }
}

impl Node {
    pub(super) fn leaf(place: Place, value: Value) -> Self {
        Self { key_place: place.clone(), place, value }
    }

    pub(super) fn table(place: Place, entries: Vec<(String, Node)>) -> Self {
        Self::leaf(place, Value::Table(entries))
    }

    pub(super) fn entries(&self) -> &[(String, Node)] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn keys(&self) -> Vec<&str> {
        self.entries().iter().map(|(key, _)| key.as_str()).collect()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    pub(super) fn at(&self, path: &[String]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Puts a node at a path, making tables on the way. False where something is there already.
    pub(super) fn insert(&mut self, path: &[String], node: Node) -> bool {
        let (Value::Table(entries), [key, rest @ ..]) = (&mut self.value, path) else {
            return false;
        };
        let at = entries.iter().position(|(name, _)| name == key);
        match (at, rest) {
            (Some(_), []) => false,
            (Some(at), _) => entries[at].1.insert(rest, node),
            (None, []) => {
                entries.push((key.clone(), node));
                true
            }
            (None, _) => {
                let mut table = Node::table(node.place.clone(), Vec::new());
                let inserted = table.insert(rest, node);
                entries.push((key.clone(), table));
                inserted
            }
        }
    }

    /// What a message may call the value: its text where the file shows it anyway.
    pub(super) fn quoted(&self) -> Option<String> {
        match &self.value {
            Value::Text(Text { value, origin: Origin::Literal }) => Some(format!("`{value}`")),
            Value::Integer(number) => Some(format!("`{number}`")),
            _ => None,
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Broken(_) => "nothing",
        }
    }

    /// Tells the faults of the values that have come through the layers.
    pub(super) fn tell_broken(&mut self, faults: &mut Faults) {
        match &mut self.value {
            Value::Broken(broken) => faults.extend(broken.drain(..)),
            Value::List(items) => items.iter_mut().for_each(|item| item.tell_broken(faults)),
            Value::Table(entries) => {
                entries.iter_mut().for_each(|(_, entry)| entry.tell_broken(faults));
            }
            _ => {}
        }
    }

    /// Lets the places of tables and lists know those of what is in them.
    pub(super) fn link_places(&mut self) {
        match &mut self.value {
            Value::Table(entries) => {
                let mut places = BTreeMap::new();
                for (key, node) in entries {
                    node.link_places();
                    places.insert(key.clone(), node.place.clone());
                }
                self.place = self.place.clone().with_entries(places);
            }
            Value::List(items) => {
                items.iter_mut().for_each(Node::link_places);
                let places = items.iter().map(|node| node.place.clone()).collect();
                self.place = self.place.clone().with_items(places);
            }
            _ => {}
        }
    }
}
