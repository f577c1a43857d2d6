//! The process's environment: values for `${NAME}`, and overrides of single keys.
//!
//! ```text
//! override = "READSIDE__" segment { "__" segment }
//! ```
//!
//! Environment names are upper case, so segments match keys and the names of sinks and projections
//! without regard to case, `-` being written `_`. The names must be in the file: an override changes
//! a value, it never makes a sink or a projection, so that a slip in a name cannot go unseen.

use std::collections::BTreeMap;
use std::fmt;

use super::diagnostic::Diagnostic;
use super::faults::Faults;
use super::node::{Node, Text, Value};
use super::place::Place;
use super::suggest;

const PREFIX: &str = "READSIDE__";
const SECTIONS: &[&str] = &["source", "state", "http", "ha", "sink", "projection", "event"];

/// Names and values of variables; `None` is a value that is not UTF-8.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, Option<String>>);

/// Why a variable has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Unset,
    NotUtf8,
}

impl Environment {
    /// This process's own. Variables whose names are not UTF-8 cannot be meant.
    pub fn of_process() -> Self {
        let name = |name: std::ffi::OsString| name.into_string().ok();
        let variables = std::env::vars_os();
        Self(variables.filter_map(|(n, v)| Some((name(n)?, v.into_string().ok()))).collect())
    }

    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), Some(value.to_owned()));
        Self(variables.into_iter().map(owned).collect())
    }

    pub(super) fn get(&self, name: &str) -> Result<&str, Missing> {
        let value = self.0.get(name).ok_or(Missing::Unset)?;
        value.as_deref().ok_or(Missing::NotUtf8)
    }

    /// The overrides as a tree of their own, each value a text with its variable as its place.
    pub(super) fn overrides(&self, file: &Node, faults: &mut Faults) -> Node {
        let mut tree = Node::table(Place::default(), Vec::new());
        for (variable, value) in &self.0 {
            let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
            let place = Place::in_variable(variable);
            let Some(value) = value else {
                faults.push(Diagnostic::new("the variable's value is not UTF-8").at(&place));
                continue;
            };
            let leaf = Node::leaf(place.clone(), Value::Text(Text::given(value.clone())));
            let added = find_path(rest, file).and_then(|path| match tree.insert(&path, leaf) {
                true => Ok(()),
                false => Err(Diagnostic::new("another variable overrides the same value")
                    .hint("remove one of the two")),
            });
            faults.extend(added.err().map(|fault| fault.at(&place)));
        }
        tree
    }
}

/// Names alone: the values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The path in the file that a variable's name (without its prefix) stands for.
fn find_path(name: &str, file: &Node) -> Result<Vec<String>, Diagnostic> {
    let (section, mut rest) = split_segment(name);
    if !SECTIONS.contains(&section.as_str()) {
        return Err(Diagnostic::new(format!("no section `{section}` to override a value in"))
            .hint(suggest::hint(&section, "section", SECTIONS.iter().copied())));
    }
    let mut path = vec![section.clone()];
    if matches!(section.as_str(), "sink" | "projection" | "event") {
        let named = file.get(&section).map(Node::keys).unwrap_or_default();
        let (name, after) = match_name(rest, &section, &named)?;
        path.push(name);
        rest = after;
    }
    while !rest.is_empty() {
        if let Some(Value::List(_)) = file.at(&path).map(|node| &node.value) {
            return Err(Diagnostic::new(format!("`{}` is a list", path.join(".")))
                .hint("override the whole list by a TOML value, such as [\"a\", \"b\"]"));
        }
        let (key, after) = split_segment(rest);
        rest = after;
        let names_sink = key == "to" && path.len() == 2 && !rest.is_empty();
        path.push(key);
        if names_sink {
            let sinks = file.get("sink").map(Node::keys).unwrap_or_default();
            let (sink, after) = match_name(rest, "sink", &sinks)?;
            path.push(sink);
            rest = after;
        }
        if let Some(free @ ("mappings" | "settings")) = path.last().map(String::as_str)
            && !rest.is_empty()
        {
            return Err(Diagnostic::new(format!("a part of `{free}` cannot be overridden"))
                .hint("override the whole by a TOML value, such as { number_of_shards = 3 }"));
        }
    }
    Ok(path)
}

/// The first segment, in lower case as keys are, and what follows.
fn split_segment(name: &str) -> (String, &str) {
    let (segment, rest) = name.split_once("__").unwrap_or((name, ""));
    (segment.to_ascii_lowercase(), rest)
}

/// The longest of `names` that `rest` begins with, and what follows; names may hold `__` themselves.
fn match_name<'r>(
    rest: &'r str,
    kind: &str,
    names: &[&str],
) -> Result<(String, &'r str), Diagnostic> {
    let after = |name: &str| {
        let after = rest.get(name.len()..)?;
        let written = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
        let same = name.bytes().zip(rest.bytes()).all(|(a, b)| written(a) == written(b));
        let after = if after.is_empty() { Some(after) } else { after.strip_prefix("__") };
        after.filter(|_| same)
    };
    let mut found: Vec<_> = names.iter().filter_map(|name| Some((*name, after(name)?))).collect();
    found.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    match found.as_slice() {
        [] => {
            let (wrong, _) = split_segment(rest);
            Err(Diagnostic::new(format!("the file has no {kind} `{wrong}` to override a value in"))
                .hint(suggest::hint(&wrong, kind, names.iter().copied())))
        }
        [(a, _), (b, _), ..] if a.len() == b.len() => {
            Err(Diagnostic::new(format!("the variable may mean {kind} `{a}` or `{b}`"))
                .hint("rename one of them: environment names do not tell upper from lower case"))
        }
        [(name, after), ..] => Ok(((*name).to_owned(), after)),
    }
}
