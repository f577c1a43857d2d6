//! Typed reading of one table: a value of another type, an unknown key and a missing one are faults
//! with a place, and reading goes on.

use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::document;
use super::faults::Faults;
use super::node::{Node, Origin, Text, Value};
use super::place::Place;
use super::suggest;
use super::units::{self, UnitError};

/// A table whose keys are known beforehand.
pub(super) struct Section<'a> {
    pub(super) node: &'a Node,
    /// As messages call it: `[source]`.
    pub(super) name: String,
}

impl<'a> Section<'a> {
    /// Tells of keys that are not in `known`. `None` where the node is no table.
    pub(super) fn open(
        node: &'a Node,
        name: String,
        known: &[&str],
        faults: &mut Faults,
    ) -> Option<Self> {
        let entries = table(node, &name, faults)?;
        for (key, value) in entries.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            let place = place_of_key(value);
            let hint = suggest::hint(key, "key", known.iter().copied());
            faults.push(unknown_key(key, &name).at(&place).hint(hint));
        }
        Some(Self { node, name })
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.node.get(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The value under a key, or a fault that it is missing.
    pub(super) fn require(&self, key: &str, hint: &str, faults: &mut Faults) -> Option<&'a Node> {
        let value = self.get(key);
        if value.is_none() {
            let what = format!("{} has no `{key}`", self.name);
            faults.push_absent(Diagnostic::new(what).at(&self.place()).hint(hint));
        }
        value
    }

    /// Where a fault of the table as a whole is shown.
    pub(super) fn place(&self) -> Place {
        place_of_key(self.node)
    }

    pub(super) fn text(&self, key: &str, faults: &mut Faults) -> Option<&'a str> {
        text(self.get(key)?, key, faults)
    }

    pub(super) fn boolean(&self, key: &str, faults: &mut Faults) -> Option<bool> {
        let node = self.get(key)?;
        match &node.value {
            Value::Boolean(value) => Some(*value),
            Value::Text(Text { value, origin: Origin::Variable }) if value == "true" => Some(true),
            Value::Text(Text { value, origin: Origin::Variable }) if value == "false" => {
                Some(false)
            }
            _ => wrong_type(node, key, "true or false", faults),
        }
    }

    /// A whole number within bounds.
    pub(super) fn count(
        &self,
        key: &str,
        bounds: std::ops::RangeInclusive<u64>,
        faults: &mut Faults,
    ) -> Option<u64> {
        let node = self.get(key)?;
        let number = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(Text { value, origin: Origin::Variable }) => match value.trim().parse() {
                Ok(number) => Some(number),
                Err(_) => return wrong_type(node, key, "a whole number", faults),
            },
            _ => return wrong_type(node, key, "a whole number", faults),
        };
        number.filter(|number| bounds.contains(number)).or_else(|| {
            let (least, most) = (bounds.start(), bounds.end());
            let range = match *most {
                u64::MAX => format!("of at least {least}"),
                _ => format!("from {least} to {most}"),
            };
            let what = format!("`{key}` takes a whole number {range}");
            faults.push(Diagnostic::new(what).at(&node.place));
            None
        })
    }

    /// A size in bytes, more than nothing.
    pub(super) fn size(&self, key: &str, faults: &mut Faults) -> Option<u64> {
        let node = self.get(key)?;
        let size = match &node.value {
            Value::Integer(number) => u64::try_from(*number).map_err(|_| UnitError::Form),
            Value::Text(text) => units::parse_size(&text.value),
            _ => return wrong_type(node, key, "a size such as \"256MiB\"", faults),
        };
        let hint = "write a whole number with B, KiB, MiB, GiB or TiB, such as \"256MiB\"";
        let size = unit(size, node, key, "size", hint, faults)?;
        if size == 0 {
            faults.push(Diagnostic::new(format!("`{key}` is zero")).at(&node.place).hint(hint));
            return None;
        }
        Some(size)
    }

    pub(super) fn duration(&self, key: &str, faults: &mut Faults) -> Option<Duration> {
        let node = self.get(key)?;
        let duration = match &node.value {
            Value::Integer(number) => {
                u64::try_from(*number).map(Duration::from_secs).map_err(|_| UnitError::Form)
            }
            Value::Text(text) => units::parse_duration(&text.value),
            _ => return wrong_type(node, key, "a duration such as \"30s\"", faults),
        };
        let hint = "write whole numbers with ms, s, m, h or d, such as \"30s\" or \"1h30m\"";
        unit(duration, node, key, "duration", hint, faults)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&'static str, T)],
        faults: &mut Faults,
    ) -> Option<T> {
        let node = self.get(key)?;
        let word = text(node, key, faults)?;
        let found = choices.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            let got = node.quoted().map(|got| format!(", not {got}")).unwrap_or_default();
            let what = format!("`{key}` takes {}{got}", names.join(" or "));
            let near = suggest::nearest(word, choices.iter().map(|(name, _)| *name));
            let fault = Diagnostic::new(what).at(&node.place);
            faults.push(match near {
                Some(near) => fault.hint(format!("did you mean \"{near}\"?")),
                None => fault,
            });
        }
        found
    }

    /// A list of strings, not empty, none of them empty or twice in it.
    pub(super) fn names(&self, key: &str, faults: &mut Faults) -> Option<Vec<String>> {
        let node = self.get(key)?;
        let expected = "a list of strings such as [\"a\", \"b\"]";
        let read = structured(node, |value| matches!(value, Value::List(_)));
        let Value::List(items) = &read.as_ref().unwrap_or(node).value else {
            return wrong_type(node, key, expected, faults);
        };
        let mut names: Vec<String> = Vec::new();
        let mut fault = |what: String, place: &Place| faults.push(Diagnostic::new(what).at(place));
        if items.is_empty() {
            fault(format!("`{key}` is an empty list"), &node.place);
        }
        for item in items {
            match &item.value {
                Value::Text(text) if text.value.trim().is_empty() => {
                    fault(format!("an empty string in `{key}`"), &item.place);
                }
                Value::Text(text) if names.contains(&text.value) => {
                    fault(format!("`{}` is twice in `{key}`", text.value), &item.place);
                }
                Value::Text(text) => names.push(text.value.clone()),
                Value::Broken(_) => {}
                _ => {
                    let got = item.type_name();
                    fault(format!("`{key}` takes {expected}, this item is {got}"), &item.place);
                }
            }
        }
        (!items.is_empty() && names.len() == items.len()).then_some(names)
    }

    /// A table whose keys are the user's own, as JSON.
    pub(super) fn json(&self, key: &str, faults: &mut Faults) -> Option<serde_json::Value> {
        let node = self.get(key)?;
        let read = structured(node, |value| matches!(value, Value::Table(_)));
        let node = read.as_ref().unwrap_or(node);
        table(node, &format!("`{key}`"), faults)?;
        to_json(node, key, faults)
    }
}

fn unit<T>(
    value: Result<T, UnitError>,
    node: &Node,
    key: &str,
    kind: &str,
    hint: &str,
    faults: &mut Faults,
) -> Option<T> {
    match value {
        Ok(value) => Some(value),
        Err(error) => {
            let got = node.quoted().unwrap_or_else(|| "the value".to_owned());
            let what = format!("`{key}` takes a {kind}, but {got} {error}");
            faults.push(Diagnostic::new(what).at(&node.place).hint(hint));
            None
        }
    }
}

pub(super) fn unknown_key(key: &str, table: &str) -> Diagnostic {
    Diagnostic::new(format!("unknown key `{key}` in {table}"))
}

/// Where a key stands; of a table that only a variable makes, the first such variable.
pub(super) fn place_of_key(node: &Node) -> Place {
    match node.key_place.is_nowhere() {
        false => node.key_place.clone(),
        true => node.entries().first().map(|(_, entry)| place_of_key(entry)).unwrap_or_default(),
    }
}

pub(super) fn table<'a>(
    node: &'a Node,
    name: &str,
    faults: &mut Faults,
) -> Option<&'a [(String, Node)]> {
    match &node.value {
        Value::Table(entries) => Some(entries),
        Value::Broken(_) => None,
        _ => {
            let what = format!("{name} is a table, not {}", node.type_name());
            faults.push(Diagnostic::new(what).at(&node.place));
            None
        }
    }
}

pub(super) fn text<'a>(node: &'a Node, key: &str, faults: &mut Faults) -> Option<&'a str> {
    match &node.value {
        Value::Text(text) => Some(&text.value),
        _ => wrong_type(node, key, "a string", faults),
    }
}

pub(super) fn wrong_type<T>(
    node: &Node,
    key: &str,
    expected: &str,
    faults: &mut Faults,
) -> Option<T> {
    let got = match &node.value {
        Value::Broken(_) => return None,
        Value::Text(Text { origin: Origin::Variable, .. }) => "the variable's value",
        _ => node.type_name(),
    };
    faults.push(Diagnostic::new(format!("`{key}` takes {expected}, not {got}")).at(&node.place));
    None
}

/// A variable's value read as TOML, where it makes what is wanted.
pub(super) fn structured(node: &Node, wanted: impl Fn(&Value) -> bool) -> Option<Node> {
    let Value::Text(Text { value, origin: Origin::Variable }) = &node.value else { return None };
    document::read_value(value, &node.place).filter(|read| wanted(&read.value))
}

fn to_json(node: &Node, key: &str, faults: &mut Faults) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match &node.value {
        Value::Text(text) => Json::String(text.value.clone()),
        Value::Integer(number) => Json::from(*number),
        Value::Float(number) => match serde_json::Number::from_f64(*number) {
            Some(number) => Json::Number(number),
            None => {
                let what = format!("`{key}` is JSON, which has neither NaN nor infinities");
                faults.push(Diagnostic::new(what).at(&node.place));
                return None;
            }
        },
        Value::Boolean(value) => Json::Bool(*value),
        Value::List(items) => {
            Json::Array(items.iter().map(|item| to_json(item, key, faults)).collect::<Option<_>>()?)
        }
        Value::Table(entries) => {
            let entry =
                |(name, node): &(String, Node)| Some((name.clone(), to_json(node, key, faults)?));
            Json::Object(entries.iter().map(entry).collect::<Option<_>>()?)
        }
        Value::Broken(_) => return None,
    })
}
