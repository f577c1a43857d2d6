//! `readside status`: the daemon's `/v1/status`, as tables for people or as it is.
//!
//! The tables follow the JSON's own shape, so that whatever the daemon tells is shown: values in
//! lines, objects under a heading, lists of objects in columns.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value};

use super::{Outcome, check, daemon, print};
use crate::config::{self, Environment};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Prints the JSON that the daemon gives
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    path: &Path,
    environment: &Environment,
) -> anyhow::Result<Outcome> {
    let http = match config::load_http(path, environment) {
        Ok(http) => http,
        Err(faults) => return check::report(path, &faults),
    };
    let answer = daemon::get(&http, "/v1/status")?;
    let status: Value =
        serde_json::from_slice(&answer).context("the daemon's status is no JSON")?;
    if arguments.json {
        print(&serde_json::to_string_pretty(&status)?)?;
    } else {
        print(tables(&status).trim_end())?;
    }
    Ok(Outcome::Done)
}

fn tables(status: &Value) -> String {
    let mut text = String::new();
    match status {
        Value::Object(fields) => object(&mut text, fields),
        other => text.push_str(&cell(other)),
    }
    text
}

fn object(text: &mut String, fields: &Map<String, Value>) {
    let nested = |value: &Value| match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => items.iter().any(Value::is_object),
        _ => false,
    };
    let lines: Vec<_> = fields
        .iter()
        .filter(|(_, value)| !nested(value))
        .map(|(name, value)| vec![label(name), cell(value)])
        .collect();
    columns(text, &lines);
    for (name, value) in fields.iter().filter(|(_, value)| nested(value)) {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", label(name).to_uppercase());
        match value {
            Value::Object(fields) if fields.values().all(Value::is_object) => {
                named_rows(text, fields);
            }
            Value::Object(fields) => {
                let plain = fields.iter().filter(|(_, value)| objects(value).is_none());
                let lines: Vec<_> =
                    plain.map(|(name, value)| vec![label(name), cell(value)]).collect();
                columns(text, &lines);
                for items in fields.values().filter_map(objects) {
                    rows(text, items);
                }
            }
            Value::Array(items) => rows(text, items),
            _ => {}
        }
    }
}

/// Objects under names, the name as the first column.
fn named_rows(text: &mut String, fields: &Map<String, Value>) {
    let with_name = |(name, value): (&String, &Value)| {
        let mut row = Map::from_iter([("name".to_owned(), Value::from(name.as_str()))]);
        row.extend(value.as_object().cloned().unwrap_or_default());
        Value::Object(row)
    };
    rows(text, &fields.iter().map(with_name).collect::<Vec<_>>());
}

/// A list of objects.
fn objects(value: &Value) -> Option<&Vec<Value>> {
    value.as_array().filter(|items| items.iter().any(Value::is_object))
}

/// An object that holds a list of others: a row for each of these, with what the object itself says.
fn spread(item: &Value) -> Vec<Value> {
    let fields = item.as_object();
    let list = fields.into_iter().flatten().find_map(|(name, value)| Some((name, objects(value)?)));
    let (Some(fields), Some((list, inner))) = (fields, list) else { return vec![item.clone()] };
    let row = |inner: &Value| {
        let mut row = fields.clone();
        row.remove(list);
        for (name, value) in inner.as_object().into_iter().flatten() {
            let known = row.contains_key(name);
            let of_list = || format!("{}_{name}", list.trim_end_matches('s'));
            row.insert(if known { of_list() } else { name.clone() }, value.clone());
        }
        Value::Object(row)
    };
    inner.iter().map(row).collect()
}

fn rows(text: &mut String, items: &[Value]) {
    let items: Vec<Value> = items.iter().flat_map(spread).collect();
    let mut names: Vec<&str> = Vec::new();
    for name in items.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    // What a row is called comes first, in whatever order the JSON has it.
    names.sort_by_key(|name| !matches!(*name, "name" | "sink" | "projection" | "table"));
    let mut lines = vec![names.iter().map(|name| label(name)).collect::<Vec<_>>()];
    for item in &items {
        lines.push(match item {
            Value::Object(fields) => {
                names.iter().map(|name| fields.get(*name).map(cell).unwrap_or_default()).collect()
            }
            other => vec![cell(other)],
        });
    }
    columns(text, &lines);
}

/// Lines of cells, each column as wide as its widest cell.
fn columns(text: &mut String, lines: &[Vec<String>]) {
    let width = |at: usize| {
        lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max()
    };
    let count = lines.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<_> = (0..count).map(|at| width(at).unwrap_or_default()).collect();
    for line in lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(row, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", row.trim_end());
    }
}

fn label(name: &str) -> String {
    name.replace('_', " ")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let cells: Vec<_> = items.iter().map(cell).collect();
            if cells.is_empty() { "-".to_owned() } else { cells.join(", ") }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_daemon_tells_is_shown() {
        let status = serde_json::json!({
            "ready": false,
            "reasons": ["sink cache is away"],
            "source": { "streaming": true, "applied_lsn": "0/16B3748", "slot": "readside" },
            "sinks": { "cache": { "up": false, "retries": 3 }, "search": { "up": true } },
            "projections": [
                { "settled": true, "projection": "orders", "lsn": null },
                { "projection": "größe", "settled": false, "lsn": "0/1" },
            ],
            "tables": [
                { "name": "orders", "state": "live", "sinks": [
                    { "sink": "cache", "state": "live" }, { "sink": "search", "state": "filling" },
                ] },
                { "name": "other", "state": "loading", "sinks": [] },
            ],
            "load": { "waiting_for": null, "tables": [{ "table": "public.other", "rows": 7 }] },
        });
        insta::assert_snapshot!(tables(&status), @r#"
    ready    no
    reasons  sink cache is away

    LOAD
    waiting for  -
    table         rows
    public.other  7

    PROJECTIONS
    projection  lsn  settled
    orders      -    yes
    größe       0/1  no

    SINKS
    name    retries  up
    cache   3        no
    search           yes

    SOURCE
    applied lsn  0/16B3748
    slot         readside
    streaming    yes

    TABLES
    name    sink    sink state  state    sinks
    orders  cache   live        live
    orders  search  filling     live
    other                       loading  -
    "#);
    }
}
