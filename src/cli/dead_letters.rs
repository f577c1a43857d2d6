//! `readside dead-letters list|show|retry|drop`.

use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::daemon::{Refusal, Verb, ask, encoded};
use super::{Outcome, print, say};
use crate::config::HttpConfig;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Prints a line for each letter; it begins with the id that the other commands take
    List(List),
    /// Prints one letter: its row, its LSN, and the sink's own words
    Show(Show),
    /// Sends the row to the sink again; a projection that it has halted goes on
    Retry(Which),
    /// Forgets the letter; the row stays out of the sink until it changes
    Drop(Which),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    of: Of,
    /// Prints a JSON object on each line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// With which a line of `list` begins
    id: String,
    /// Prints the JSON that the daemon gives
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// Only those of this sink
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// Only those of this projection
    #[arg(long, value_name = "PROJECTION")]
    projection: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// With which lines of `list` begin
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Vec<String>,
    /// All that `list` shows
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    of: Of,
}

#[derive(Deserialize)]
struct Page {
    letters: Vec<Letter>,
    next: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Letter {
    id: String,
    sink: Option<String>,
    projection: String,
    key: String,
    lsn: String,
    error: String,
}

#[derive(Deserialize, Serialize)]
struct Shown {
    id: String,
    sink: Option<String>,
    projection: String,
    key: String,
    lsn: String,
    error: String,
    payload: Option<Box<RawValue>>,
    payload_lsn: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Retried {
    Accepted,
    Refused { error: String },
    Waiting { why: String },
}

pub(super) fn run(command: &Command, http: &HttpConfig) -> anyhow::Result<Outcome> {
    match command {
        Command::List(list) => each(http, &list.of, |letter| {
            print(&if list.json { serde_json::to_string(letter)? } else { line(letter) })
        })?,
        Command::Show(Show { id, json }) => {
            let shown: Shown = ask(http, Verb::Get, &format!("/v1/dead-letters/{}", encoded(id)))?;
            print(&if *json { serde_json::to_string(&shown)? } else { lines(&shown) })?;
        }
        Command::Retry(which) => {
            let (left, all) = each_of(http, which, |id| {
                let path = format!("/v1/dead-letters/{}/retry", encoded(id));
                Ok(match ask(http, Verb::Post, &path)? {
                    Retried::Accepted => Became::Settled("accepted".to_owned()),
                    Retried::Refused { error } => {
                        Became::Left(format!("refused again: {}", one_line(&error)))
                    }
                    Retried::Waiting { why } => Became::Left(format!("waits: {why}")),
                })
            })?;
            if left > 0 {
                bail!("{left} of {all} rows are still refused, or wait for their sink");
            }
        }
        Command::Drop(which) => {
            let (left, all) = each_of(http, which, |id| {
                let path = format!("/v1/dead-letters/{}", encoded(id));
                ask::<serde::de::IgnoredAny>(http, Verb::Delete, &path)?;
                Ok(Became::Settled("dropped".to_owned()))
            })?;
            if left > 0 {
                bail!("{left} of {all} letters could not be dropped");
            }
        }
    }
    Ok(Outcome::Done)
}

/// What has become of one letter, in words.
enum Became {
    Settled(String),
    Left(String),
}

/// Does it to the named ones, or to all there are, whatever becomes of the others; how many are left, and of how
/// many.
fn each_of(
    http: &HttpConfig,
    which: &Which,
    mut settle: impl FnMut(&str) -> anyhow::Result<Became>,
) -> anyhow::Result<(usize, usize)> {
    let ids = ids(http, which)?;
    let mut left = 0;
    for id in &ids {
        let became = match settle(id) {
            Ok(became) => became,
            Err(error) => match error.downcast_ref::<Refusal>() {
                // What is done to one letter may settle others: a halted projection goes on with all its rows.
                Some(Refusal { status: 404, .. }) if which.all => {
                    Became::Settled("gone: its row was accepted, or deleted, meanwhile".to_owned())
                }
                Some(refusal) if refusal.status != 401 => Became::Left(refusal.to_string()),
                _ => return Err(error),
            },
        };
        let words = match became {
            Became::Settled(words) => words,
            Became::Left(words) => {
                left += 1;
                words
            }
        };
        print(&format!("{id}  {words}"))?;
    }
    Ok((left, ids.len()))
}

/// The named ones, or all there are.
fn ids(http: &HttpConfig, which: &Which) -> anyhow::Result<Vec<String>> {
    if !which.all {
        return Ok(which.id.clone());
    }
    let mut ids = Vec::new();
    each(http, &which.of, |letter| {
        if letter.sink.is_some() {
            ids.push(letter.id.clone());
        }
        Ok(())
    })?;
    if ids.is_empty() {
        say("there are no dead letters that a sink has refused");
    }
    Ok(ids)
}

/// Page by page.
fn each(
    http: &HttpConfig,
    of: &Of,
    mut see: impl FnMut(&Letter) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut path = "/v1/dead-letters?limit=1000".to_owned();
    for (name, value) in [("sink", &of.sink), ("projection", &of.projection)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    let mut after = String::new();
    loop {
        let page: Page = ask(http, Verb::Get, &format!("{path}{after}"))?;
        page.letters.iter().try_for_each(&mut see)?;
        match page.next {
            Some(next) => after = format!("&after={}", encoded(&next)),
            None => return Ok(()),
        }
    }
}

/// One letter, one line: for eyes, and for `cut` and `awk`.
fn line(letter: &Letter) -> String {
    let Letter { id, sink, projection, key, lsn, error } = letter;
    let sink = sink.as_deref().unwrap_or("-");
    let (key, error) = (one_line(key), one_line(error));
    format!("{id}  {sink}  {projection}  {key}  {lsn}  {error}")
}

fn lines(shown: &Shown) -> String {
    let payload = match &shown.payload {
        Some(payload) => payload.get(),
        None => "none: the row is not there, or its projection is not followed at the moment",
    };
    let mut lines = vec![
        ("id", shown.id.as_str()),
        ("sink", shown.sink.as_deref().unwrap_or("none: the row cannot be computed")),
        ("projection", &shown.projection),
        ("key", &shown.key),
        ("lsn", shown.lsn.as_str()),
        ("error", &shown.error),
    ];
    if let Some(now) = shown.payload_lsn.as_deref().filter(|now| shown.lsn != *now) {
        lines.push(("row as of", now));
    }
    lines.push(("payload", payload));
    let lines = lines.iter().map(|(name, value)| format!("{name:<12}{value}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_one_line_that_begins_with_its_id() {
        let letter = Letter {
            id: "0123456789abcdef".into(),
            sink: None,
            projection: "orders".into(),
            key: "a\nb".into(),
            lsn: "0/1A2B".into(),
            error: "division\nby zero".into(),
        };
        assert_eq!(line(&letter), "0123456789abcdef  -  orders  a b  0/1A2B  division by zero");
    }

    #[test]
    fn a_letter_is_shown_with_its_row() {
        let payload = RawValue::from_string(r#"{"id": 1.50}"#.into()).expect("JSON");
        let shown = Shown {
            id: "0123456789abcdef".into(),
            sink: Some("search".into()),
            projection: "orders".into(),
            key: "7".into(),
            lsn: "0/1".into(),
            error: "too long".into(),
            payload: Some(payload),
            payload_lsn: Some("0/2".into()),
        };
        insta::assert_snapshot!(lines(&shown), @r#"
        id          0123456789abcdef
        sink        search
        projection  orders
        key         7
        lsn         0/1
        error       too long
        row as of   0/2
        payload     {"id": 1.50}
        "#);
    }
}
