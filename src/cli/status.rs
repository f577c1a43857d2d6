//! `readside status`: the daemon's `/v1/status`, as tables for people or as it is.

mod table;

use std::fmt::Write;

use anyhow::Context;
use serde::Deserialize;

use self::table::{Table, bytes, duration, number};
use super::{Outcome, daemon, print};
use crate::config::HttpConfig;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Prints the JSON that the daemon gives
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Status {
    version: String,
    started_at: String,
    source: Source,
    ha: Option<Group>,
    load: Option<Load>,
    projections: Vec<Projection>,
    sinks: Vec<Sink>,
    state: State,
    tables: Vec<SourceTable>,
    reload: Option<Reload>,
}

#[derive(Deserialize)]
struct Reload {
    at: String,
    result: String,
    faults: Vec<String>,
}

#[derive(Deserialize)]
struct Source {
    connected: bool,
    error: Option<String>,
    slot: String,
    publication: String,
    applied_lsn: String,
    durable_lsn: String,
    committed_at: Option<String>,
    lag_bytes: u64,
    retained_bytes: u64,
    wal_budget_bytes: u64,
    wal_alarm: Option<String>,
    wal_held_by: Option<String>,
}

#[derive(Deserialize)]
struct Group {
    group: String,
    role: String,
    term: u64,
}

#[derive(Deserialize)]
struct Load {
    tables: Vec<TableLoad>,
    waiting_for: Option<String>,
}

#[derive(Deserialize)]
struct TableLoad {
    table: String,
    rows: u64,
    expected: u64,
    chunks_done: u64,
    chunks: u64,
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
    error: Option<String>,
    lsn: String,
    filled_rows: Option<u64>,
    lag_bytes: u64,
    lag_seconds: f64,
    dead_letters: u64,
}

#[derive(Deserialize)]
struct Sink {
    name: String,
    kind: String,
    up: bool,
    error: Option<String>,
    retries: u64,
    since: String,
}

#[derive(Deserialize)]
struct State {
    dir: String,
    memory_bytes: u64,
    disk_bytes: u64,
}

#[derive(Deserialize)]
struct SourceTable {
    name: String,
    state: String,
    reason: Option<String>,
    rows: u64,
}

pub(super) fn run(arguments: &Arguments, http: &HttpConfig) -> anyhow::Result<Outcome> {
    let answer = daemon::get(http, "/v1/status")?;
    let unknown = "the daemon's status is not the one of this version";
    if arguments.json {
        let status: serde_json::Value = serde_json::from_slice(&answer).context(unknown)?;
        print(&serde_json::to_string_pretty(&status)?)?;
    } else {
        let status: Status = serde_json::from_slice(&answer).context(unknown)?;
        print(status.text().trim_end())?;
    }
    Ok(Outcome::Done)
}

impl Status {
    fn text(&self) -> String {
        let mut text = self.head();
        let tables = [
            self.load.as_ref().map(Load::table),
            Some(self.projections()),
            Some(self.sinks()),
            Some(self.source_tables()),
        ];
        for table in tables.iter().flatten().filter(|table| !table.is_empty()) {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{table}");
        }
        text
    }

    /// The source, how far we are with it, and the state.
    fn head(&self) -> String {
        let Source { slot, publication, applied_lsn, durable_lsn, .. } = &self.source;
        let mut head = Table::new(&["", ""]);
        let mut line = |name: &str, text: String| head.row([name.to_owned(), text]);
        line(
            "source",
            match (&self.source.error, self.source.connected) {
                (_, true) => "streaming".to_owned(),
                (Some(error), false) => format!("not connected: {error}"),
                (None, false) => "not connected yet".to_owned(),
            },
        );
        line("slot", format!("{slot}, publication {publication}"));
        let behind = bytes(self.source.lag_bytes);
        line("position", format!("{applied_lsn} applied, {durable_lsn} durable, {behind} behind"));
        if let Some(at) = &self.source.committed_at {
            line("committed", at.clone());
        }
        if let Some(Group { group, role, term }) = &self.ha {
            line("group", format!("{group}, {role} in term {term}"));
        }
        let (retained, budget) = (self.source.retained_bytes, self.source.wal_budget_bytes);
        line("WAL kept", format!("{} of a budget of {}", bytes(retained), bytes(budget)));
        for (name, words) in [("", &self.source.wal_alarm), ("held by", &self.source.wal_held_by)] {
            if let Some(words) = words {
                line(name, words.clone());
            }
        }
        let State { dir, memory_bytes, disk_bytes } = &self.state;
        let (memory, disk) = (bytes(*memory_bytes), bytes(*disk_bytes));
        line("state", format!("{dir}, {memory} in memory, {disk} on disk"));
        line("readside", format!("{}, started at {}", self.version, self.started_at));
        if let Some(Reload { at, result, faults }) = &self.reload {
            line("reload", format!("{result} at {at}"));
            // Where it is, and the rest of it, `check` tells.
            let words = faults.iter().filter_map(|fault| fault.lines().next());
            words.for_each(|words| line("", words.to_owned()));
        }
        head.to_string()
    }

    fn projections(&self) -> Table {
        let heads =
            ["PROJECTION", "STATE", "ROWS#", "SINK", "SINK STATE", "BEHIND#", "", "DEAD LETTERS#"];
        let mut table = Table::new(&heads);
        for Projection { name, state, reason, rows, sinks } in &self.projections {
            let own = [name.clone(), state.clone(), number(*rows)];
            let own = |at: usize| if at == 0 { own.clone() } else { Default::default() };
            if sinks.is_empty() {
                table.row(own(0));
            }
            for (at, lane) in sinks.iter().enumerate() {
                table.row(own(at).into_iter().chain(lane.cells(*rows)));
                if let Some(error) = &lane.error {
                    table.note(format!("{}: {error}", lane.sink));
                }
            }
            if let Some(reason) = reason {
                table.note(reason.clone());
            }
        }
        table
    }

    fn sinks(&self) -> Table {
        let mut table = Table::new(&["SINK", "KIND", "STATE", "SINCE", "RETRIES#"]);
        for Sink { name, kind, up, error, retries, since } in &self.sinks {
            let state = if *up { "up" } else { "down" };
            table.row(
                [name, kind, state, since].map(str::to_owned).into_iter().chain([number(*retries)]),
            );
            if let Some(error) = error {
                table.note(error.clone());
            }
        }
        table
    }

    fn source_tables(&self) -> Table {
        let mut table = Table::new(&["TABLE", "STATE", "ROWS#"]);
        for SourceTable { name, state, reason, rows } in &self.tables {
            table.row([name.clone(), state.clone(), number(*rows)]);
            if let Some(reason) = reason {
                table.note(reason.clone());
            }
        }
        table
    }
}

impl Lane {
    /// Sink, state, how far behind, and dead letters.
    fn cells(&self, rows: u64) -> [String; 5] {
        let state = match self.filled_rows {
            Some(filled) => format!("{} {}", self.state, percent(filled, rows)),
            None => self.state.clone(),
        };
        let (behind, since) = match self.lsn.as_str() {
            "0/0" => ("-".to_owned(), String::new()),
            _ if self.lag_bytes == 0 => ("0 B".to_owned(), String::new()),
            _ => (bytes(self.lag_bytes), duration(self.lag_seconds)),
        };
        [self.sink.clone(), state, behind, since, number(self.dead_letters)]
    }
}

impl Load {
    fn table(&self) -> Table {
        let mut table = Table::new(&["LOADING", "DONE#", "ROWS#", "OF ABOUT#", "CHUNKS#"]);
        for TableLoad { table: name, rows, expected, chunks_done, chunks } in &self.tables {
            table.row([
                name.clone(),
                percent(*chunks_done, *chunks),
                number(*rows),
                number(*expected),
                format!("{chunks_done} of {chunks}"),
            ]);
        }
        if let Some(blocker) = &self.waiting_for {
            table.note(format!("waits for {blocker}"));
        }
        table
    }
}

fn percent(part: u64, of: u64) -> String {
    match part.min(of).saturating_mul(100).checked_div(of) {
        Some(percent) => format!("{percent} %"),
        None => "0 %".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_what_stands_where() {
        let status = serde_json::json!({
            "version": "1.2.3", "started_at": "2026-11-30T08:00:00.000000Z",
            "source": {
                "connected": false, "error": "connection refused", "system_id": null,
                "slot": "readside", "publication": "pub", "received_lsn": "0/20", "applied_lsn": "0/16B3748",
                "durable_lsn": "0/16B3000", "committed_at": "2026-11-30T09:00:00.000000Z", "lag_bytes": 1536,
                "retained_bytes": 16777216, "wal_budget_bytes": 21474836480_u64,
                "wal_alarm": null, "wal_held_by": "transaction 7",
            },
            "load": { "waiting_for": "pid 4", "tables": [
                { "table": "public.items", "rows": 1234567, "expected": 4000000, "chunks_done": 3, "chunks": 10 },
            ] },
            "projections": [
                { "name": "orders", "state": "live", "reason": null, "rows": 1200, "sinks": [
                    { "sink": "cache", "state": "live", "error": null, "lsn": "0/16B3748", "settled": true,
                      "generation": 1, "filled_rows": null, "lag_bytes": 0, "lag_seconds": 0.0, "dead_letters": 0 },
                    { "sink": "search", "state": "filling", "error": "index is read-only", "lsn": "0/10",
                      "settled": true, "generation": 1, "filled_rows": 300, "lag_bytes": 52428800,
                      "lag_seconds": 3725.0, "dead_letters": 12 },
                ] },
                { "name": "größe", "state": "quarantined", "reason": "public.other: no such table", "rows": 0, "sinks": [] },
            ],
            "sinks": [
                { "name": "cache", "kind": "redis", "up": true, "error": null, "retries": 0,
                  "since": "2026-11-30T08:00:01.000000Z" },
                { "name": "search", "kind": "elasticsearch", "up": false, "error": "it does not answer",
                  "retries": 17, "since": "2026-11-30T08:30:00.000000Z" },
            ],
            "state": { "dir": "/var/lib/readside", "memory_bytes": 5000, "disk_bytes": 0 },
            "tables": [{ "name": "public.orders", "state": "live", "reason": null, "rows": 1200 }],
            "reload": { "at": "2026-11-30T09:01:00.000000Z", "result": "refused", "changes": [],
              "faults": ["error: unknown key `tabel`\n --> readside.toml:7:1"] },
        });
        let status: Status = serde_json::from_value(status).expect("of this version");
        insta::assert_snapshot!(status.text(), @r"
    source     not connected: connection refused
    slot       readside, publication pub
    position   0/16B3748 applied, 0/16B3000 durable, 1.5 KiB behind
    committed  2026-11-30T09:00:00.000000Z
    WAL kept   16.0 MiB of a budget of 20.0 GiB
    held by    transaction 7
    state      /var/lib/readside, 4.9 KiB in memory, 0 B on disk
    readside   1.2.3, started at 2026-11-30T08:00:00.000000Z
    reload     refused at 2026-11-30T09:01:00.000000Z
               error: unknown key `tabel`

    LOADING       DONE       ROWS   OF ABOUT   CHUNKS
    public.items  30 %  1,234,567  4,000,000  3 of 10
      waits for pid 4

    PROJECTION  STATE         ROWS  SINK    SINK STATE      BEHIND             DEAD LETTERS
    orders      live         1,200  cache   live               0 B                        0
                                    search  filling 25 %  50.0 MiB  1 h 2 min            12
      search: index is read-only
    größe       quarantined      0
      public.other: no such table

    SINK    KIND           STATE  SINCE                        RETRIES
    cache   redis          up     2026-11-30T08:00:01.000000Z        0
    search  elasticsearch  down   2026-11-30T08:30:00.000000Z       17
      it does not answer

    TABLE          STATE   ROWS
    public.orders  live   1,200
    ");
    }
}
