//! `readside explain PROJECTION`: how a projection is maintained.

use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use super::{Outcome, check, daemon, print};
use crate::config::Environment;
use crate::pipeline::kept_line;
use crate::pipeline::run::explain::{Explained, explain};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The projection's name
    projection: String,
}

pub(super) fn run(
    arguments: &Arguments,
    path: &Path,
    environment: &Environment,
) -> anyhow::Result<Outcome> {
    let config = match check::read(path, environment) {
        Ok(config) => config,
        Err(faults) => return check::report(path, &faults),
    };
    match check::ask(explain(&config, &arguments.projection))? {
        Ok(Explained { mut plan, estimate }) => {
            let measured = match daemon::get(&config.http, "/v1/status") {
                // What answers there may be something else.
                Ok(answer) => measured(&answer, &arguments.projection).unwrap_or_default(),
                // There is none, so nothing is measured.
                Err(_) => String::new(),
            };
            plan += if measured.is_empty() { &estimate } else { &measured };
            print(plan.trim_end())?;
            Ok(Outcome::Done)
        }
        Err(faults) => check::report(path, &faults),
    }
}

/// What the daemon keeps for the projection, as it says.
fn measured(status: &[u8], projection: &str) -> anyhow::Result<String> {
    let status: Value = serde_json::from_slice(status).context("the daemon's status is no JSON")?;
    let all = status["state"]["kept"].as_array().into_iter().flatten();
    let is_for_it = |kept: &&Value| {
        let mut projections = kept["projections"].as_array().into_iter().flatten();
        projections.any(|name| name.as_str() == Some(projection))
    };
    let mut text = String::new();
    for kept in all.filter(is_for_it) {
        let number = |name: &str| kept[name].as_u64().unwrap_or_default() as usize;
        let what = kept["what"].as_str().unwrap_or_default();
        let users = kept["projections"].as_array().into_iter().flatten();
        let users: Vec<&str> = users.filter_map(Value::as_str).collect();
        text += &kept_line(what, number("rows"), number("bytes"), &users, projection);
    }
    Ok(if text.is_empty() { text } else { format!("\nmeasured by the daemon:\n{text}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_keeps_for_a_projection_is_told() {
        let status = br#"{"state":{"kept":[
            {"what":"rows of public.orders","rows":7,"bytes":3145728,"projections":["a","b"]},
            {"what":"groups by id","rows":2,"bytes":0,"projections":["b"]}]}}"#;
        insta::assert_snapshot!(measured(status, "a").expect("JSON").trim(), @r"
        measured by the daemon:
          rows of public.orders: 7 rows, 3.0 MiB; also for b
        ");
        assert_eq!(measured(status, "c").expect("JSON"), "");
    }
}
