//! `readside rebuild PROJECTION`: orders a new generation, and waits until readers see it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;

use super::daemon::{Verb, ask, encoded};
use super::{Outcome, print, say};
use crate::config::HttpConfig;

const POLL_PAUSE: Duration = Duration::from_millis(300);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The projection's name
    projection: String,
    /// Only in this sink
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// Orders it and does not wait for its end
    #[arg(long)]
    no_wait: bool,
}

#[derive(Deserialize)]
struct Ordered {
    sinks: Vec<OrderedSink>,
    reloads: bool,
}

#[derive(Deserialize)]
struct OrderedSink {
    sink: String,
    generation: u64,
}

#[derive(Deserialize)]
struct Status {
    projections: Vec<Projection>,
    sinks: Vec<Sink>,
}

#[derive(Deserialize)]
struct Projection {
    name: String,
    state: String,
    reason: Option<String>,
    rows: u64,
    sinks: Vec<Lane>,
}

#[derive(Deserialize)]
struct Lane {
    sink: String,
    state: String,
    generation: u64,
    filled_rows: Option<u64>,
}

#[derive(Deserialize)]
struct Sink {
    name: String,
    up: bool,
    error: Option<String>,
}

pub(super) fn run(arguments: &Arguments, http: &HttpConfig) -> anyhow::Result<Outcome> {
    let projection = &arguments.projection;
    let mut order = format!("/v1/rebuild/{}", encoded(projection));
    if let Some(sink) = &arguments.sink {
        order.push_str(&format!("?sink={}", encoded(sink)));
    }
    let ordered: Ordered = ask(http, Verb::Post, &order)?;
    if ordered.reloads {
        say(&format!("{projection} was not followed; its tables are read anew"));
    }
    if arguments.no_wait {
        print(&format!("{projection}: the rebuild has begun"))?;
        return Ok(Outcome::Done);
    }
    wait(http, projection, &ordered.sinks)
}

/// Until each sink shows the new generation. What happens meanwhile is told once.
fn wait(http: &HttpConfig, projection: &str, ordered: &[OrderedSink]) -> anyhow::Result<Outcome> {
    let mut told: BTreeMap<&str, String> = BTreeMap::new();
    loop {
        let status: Status = ask(http, Verb::Get, "/v1/status")?;
        let Some(of) = status.projections.iter().find(|of| of.name == projection) else {
            bail!("{projection} is no longer configured");
        };
        if of.state == "quarantined" {
            let why = of.reason.as_deref().unwrap_or("no reason was given");
            bail!("{projection} stays as it is: {why}");
        }
        let mut open = 0;
        for OrderedSink { sink, generation } in ordered {
            let stands = standing(&status, of, sink, *generation)?;
            open += usize::from(stands != DONE);
            if told.get(sink.as_str()) != Some(&stands) {
                say(&format!("{sink}: {stands}"));
                told.insert(sink, stands);
            }
        }
        if open == 0 {
            print(&format!("{projection}: rebuilt, {} rows", of.rows))?;
            return Ok(Outcome::Done);
        }
        #[expect(clippy::disallowed_methods, reason = "progress is asked for now and then")]
        std::thread::sleep(POLL_PAUSE);
    }
}

const DONE: &str = "done";

fn standing(
    status: &Status,
    of: &Projection,
    sink: &str,
    generation: u64,
) -> anyhow::Result<String> {
    if let Some(down) = status.sinks.iter().find(|known| known.name == sink && !known.up) {
        let why = down.error.as_deref().unwrap_or("it has not answered yet");
        return Ok(format!("the sink is down: {why}"));
    }
    let Some(lane) = of.sinks.iter().find(|lane| lane.sink == sink) else {
        return Ok("the projection is being loaded".to_owned());
    };
    Ok(match lane.state.as_str() {
        "live" if lane.generation >= generation => DONE.to_owned(),
        "halted" => bail!(
            "{sink} has refused a row, and on_error halts the projection: see `readside dead-letters list`"
        ),
        "filling" => match lane.filled_rows {
            Some(rows) => format!("filled with {rows} of {} rows", of.rows),
            None => "is being filled".to_owned(),
        },
        "live" => "the rebuild is about to begin".to_owned(),
        other => format!("the projection is {other}"),
    })
}
