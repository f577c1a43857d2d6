//! `readside verify PROJECTION [--sink S] [--sample N] [--repair]`.

use std::ops::ControlFlow;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::daemon::{Verb, encoded, follow};
use super::{Outcome, print, say};
use crate::config::HttpConfig;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The projection's name
    projection: String,
    /// Only what this sink holds
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// Only about so many rows, chosen at random
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Writes again what differs, and just that
    #[arg(long)]
    repair: bool,
    /// Prints the JSON that the daemon gives, a line for each difference
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Begin {
        sink: String,
        lsn: String,
    },
    Progress {
        sink: String,
        rows: u64,
    },
    /// The source or the sink has not answered yet.
    Busy,
    Difference(Difference),
    End {
        sink: String,
        rows: u64,
        differences: u64,
        mended: u64,
        undecided: u64,
    },
    Error {
        sink: String,
        error: String,
    },
    Done,
}

#[derive(Deserialize)]
struct Difference {
    sink: String,
    kind: String,
    key: Option<String>,
    place: String,
    columns: Vec<Column>,
    mended: bool,
    note: Option<String>,
}

#[derive(Deserialize)]
struct Column {
    column: String,
    expected: Option<String>,
    found: Option<String>,
}

/// What has come so far.
#[derive(Default)]
struct Seen {
    differences: u64,
    failed: Vec<String>,
    done: bool,
}

pub(super) fn run(arguments: &Arguments, http: &HttpConfig) -> anyhow::Result<Outcome> {
    let projection = &arguments.projection;
    let mut asked = format!("/v1/verify/{}?repair={}", encoded(projection), arguments.repair);
    if let Some(sink) = &arguments.sink {
        asked.push_str(&format!("&sink={}", encoded(sink)));
    }
    if let Some(sample) = arguments.sample {
        asked.push_str(&format!("&sample={sample}"));
    }
    let mut seen = Seen::default();
    follow(http, Verb::Post, &asked, |line| {
        let event = serde_json::from_str(line).context("the daemon's answer is not JSON")?;
        if arguments.json && matches!(event, Event::Difference(_)) {
            print(line)?;
        }
        seen.take(projection, &event, arguments.json)?;
        Ok(ControlFlow::Continue(()))
    })?;
    if !seen.done {
        bail!("the daemon has broken off");
    }
    if !seen.failed.is_empty() {
        bail!("{}", seen.failed.join("; "));
    }
    match seen.differences {
        0 => Ok(Outcome::Done),
        1 => bail!("1 difference"),
        many => bail!("{many} differences"),
    }
}

impl Seen {
    fn take(&mut self, projection: &str, event: &Event, json: bool) -> anyhow::Result<()> {
        match event {
            Event::Begin { sink, lsn } => {
                say(&format!("{sink}: {projection} is compared with the source at {lsn}"));
            }
            Event::Progress { sink, rows } => say(&format!("{sink}: {rows} rows so far")),
            Event::Busy => {}
            Event::Difference(difference) => {
                self.differences += 1;
                if !json {
                    print(&difference.line())?;
                }
            }
            Event::End { sink, rows, differences, mended, undecided } => {
                let mut text = format!("{sink}: {rows} rows compared, {differences} differ");
                if *mended > 0 {
                    text.push_str(&format!(", {mended} of them put right"));
                }
                if *undecided > 0 {
                    text.push_str(&format!(", {undecided} changed too often to be compared"));
                }
                if json { say(&text) } else { print(&text)? }
            }
            Event::Error { sink, error } => self.failed.push(format!("{sink}: {error}")),
            Event::Done => self.done = true,
        }
        Ok(())
    }
}

impl Difference {
    /// Sink, what it is, key, place, and what differs inside.
    fn line(&self) -> String {
        let Difference { sink, kind, key, place, columns, mended, note } = self;
        let key = key.as_deref().unwrap_or("-").replace(char::is_control, " ");
        let mut line = format!("{sink}  {kind}  {key}  {place}");
        for Column { column, expected, found } in columns {
            let text = |text: &Option<String>| match text {
                Some(text) => format!("{text:?}"),
                None => "nothing".to_owned(),
            };
            line.push_str(&format!("  {column}: {} instead of {}", text(found), text(expected)));
        }
        if *mended {
            line.push_str("  put right");
        }
        if let Some(note) = note {
            line.push_str(&format!("  ({note})"));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_a_line() {
        let event = serde_json::from_str(
            r#"{"event": "difference", "sink": "cache", "kind": "different", "key": "7|a",
                "place": "hash order:7", "mended": true, "note": null,
                "columns": [{"column": "total", "expected": "12.50", "found": null}]}"#,
        );
        let Ok(Event::Difference(difference)) = event else { panic!("a difference") };
        insta::assert_snapshot!(
            difference.line(),
            @r#"cache  different  7|a  hash order:7  total: nothing instead of "12.50"  put right"#
        );
    }
}
