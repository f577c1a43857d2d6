//! `readside events tail`: what happens, a line each, for as long as somebody looks.

use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::daemon::{Refusal, Verb, encoded, follow};
use super::{Outcome, say};
use crate::config::HttpConfig;

/// Between two attempts to reach a daemon that has been there.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Prints each event as it happens: its id, type, time and data
    Tail(Tail),
}

#[derive(Debug, clap::Args)]
pub(super) struct Tail {
    /// Only this one of the configuration's events
    event: Option<String>,
    /// Begins behind the event of this id, or at a position of the log, as far as they are still kept
    #[arg(long, value_name = "ID")]
    since: Option<String>,
    /// Prints a JSON object on each line
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Occurrence<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    committed_at: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Gap {
    after: String,
    error: String,
}

#[derive(Deserialize)]
struct End {
    error: String,
}

/// What has come so far.
#[derive(Default)]
struct Seen {
    /// Of the event of the stream that is being read.
    name: String,
    /// Its id.
    next: Option<String>,
    /// Of the last one that was shown.
    id: Option<String>,
    /// The daemon has answered.
    began: bool,
    /// It was told that the daemon, or the event, is away.
    told: bool,
}

pub(super) fn run(command: &Command, http: &HttpConfig) -> anyhow::Result<Outcome> {
    let Command::Tail(tail) = command;
    let mut seen = Seen { id: tail.since.clone(), ..Seen::default() };
    loop {
        let mut asked = "/v1/events".to_owned();
        let event = tail.event.as_ref().map(|event| format!("event={}", encoded(event)));
        let since = seen.id.as_ref().map(|id| format!("since={}", encoded(id)));
        let query: Vec<String> = event.into_iter().chain(since).collect();
        if !query.is_empty() {
            asked.push_str(&format!("?{}", query.join("&")));
        }
        let mut closed = false;
        let followed = follow(http, Verb::Get, &asked, |line| {
            let goes_on = seen.line(line, tail.json)?;
            closed = goes_on.is_break();
            Ok(goes_on)
        });
        match followed {
            // As `readside events tail | head` ends.
            Ok(()) if closed => return Ok(Outcome::Done),
            Ok(()) => {}
            Err(error) if is_final(&error, seen.began) => return Err(error),
            Err(error) if !seen.told => say(&format!("{error:#}; waiting for it")),
            Err(_) => {}
        }
        seen.told = true;
        #[expect(clippy::disallowed_methods, reason = "the daemon is asked now and then")]
        std::thread::sleep(AWAY_PAUSE);
    }
}

/// A refusal is for good unless it is a 503; without an answer, a daemon that has been there comes back.
fn is_final(error: &anyhow::Error, began: bool) -> bool {
    error.downcast_ref::<Refusal>().map_or(!began, |refusal| refusal.status != 503)
}

impl Seen {
    /// One line of server-sent events.
    fn line(&mut self, line: &str, json: bool) -> anyhow::Result<ControlFlow<()>> {
        self.began = true;
        if let Some(name) = line.strip_prefix("event: ") {
            name.clone_into(&mut self.name);
        } else if let Some(id) = line.strip_prefix("id: ") {
            self.next = Some(id.to_owned());
        } else if line.is_empty() {
            self.id = self.next.take().or_else(|| self.id.take());
        } else if let Some(data) = line.strip_prefix("data: ") {
            let unknown = "the daemon's answer is not the one of this version";
            self.told &= !matches!(self.name.as_str(), "occurrence" | "gap" | "position");
            match self.name.as_str() {
                "occurrence" if json => return write_line(data),
                "occurrence" => {
                    let it: Occurrence<'_> = serde_json::from_str(data).context(unknown)?;
                    let Occurrence { id, kind, committed_at, data } = it;
                    let kind = kind.replace(char::is_control, " ");
                    return write_line(&format!("{id}  {kind}  {committed_at}  {data}"));
                }
                "gap" => {
                    let Gap { after, error } = serde_json::from_str(data).context(unknown)?;
                    say(&format!("after {after}: {error}"));
                }
                "position" => {}
                _ => {
                    let End { error } = serde_json::from_str(data).context(unknown)?;
                    if !std::mem::replace(&mut self.told, true) {
                        say(&format!("the daemon has ended this: {error}; going on"));
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// `Break`: nobody reads any more.
fn write_line(line: &str) -> anyhow::Result<ControlFlow<()>> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error.into()),
    }
}
