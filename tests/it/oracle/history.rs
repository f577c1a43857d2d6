//! What the source held at each commit, from the triggers' log.

use std::collections::BTreeMap;
use std::fmt;

use readside::lsn::Lsn;
use tokio_postgres::Client;

use super::picture::{Fields, Picture, Row, Sink, lines};
use super::reader::Observation;
use super::schema::{TABLES, Table};
use super::versions::{Digest, States};

/// The pictures at the last commit that was read, and how they came about.
pub(super) struct History {
    sinks: Vec<Sink>,
    /// By table and sink.
    now: BTreeMap<(&'static str, Sink), Picture>,
    at: i64,
    /// The log's entries up to here are read.
    read_to: i64,
    pub(super) commits: Commits,
    /// Of what has a history in Postgres.
    states: BTreeMap<&'static str, States>,
}

/// All commits in order, by a position before each record.
#[derive(Default)]
pub(super) struct Commits(Vec<(i64, Lsn)>);

impl Commits {
    #[cfg(test)]
    pub(super) fn of(commits: impl IntoIterator<Item = (i64, Lsn)>) -> Commits {
        Commits(commits.into_iter().collect())
    }

    /// The newest one whose record may be before this position; of a record's own position its commit.
    pub(super) fn before(&self, lsn: Lsn) -> i64 {
        let after = self.0.partition_point(|(_, before)| *before < lsn);
        after.checked_sub(1).map_or(0, |at| self.0[at].0)
    }

    pub(super) fn last(&self) -> i64 {
        self.0.last().map_or(0, |(n, _)| *n)
    }
}

/// Of an md5, as Postgres prints it.
pub(super) fn digest_of(md5: &str) -> Digest {
    Digest::from_str_radix(&md5[..16], 16).expect("an md5 is hexadecimal")
}

/// A commit: the position is before its record.
struct Commit {
    n: i64,
    before: Lsn,
    changes: Vec<Logged>,
}

struct Logged {
    table: &'static Table,
    weight: i64,
    row: Row,
    digest: Digest,
}

/// How many readings were held against how many commits.
#[derive(Default)]
pub(super) struct Checked {
    commits: usize,
    readings: usize,
    /// Of these only one commit could be meant.
    pub(super) exact: usize,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checked { commits, readings, exact } = self;
        write!(
            f,
            "{readings} readings ({exact} of one commit each) over {commits} commits are right"
        )
    }
}

impl History {
    pub(super) fn new(sinks: Vec<Sink>) -> History {
        History {
            sinks,
            now: BTreeMap::new(),
            at: 0,
            read_to: 0,
            commits: Commits::default(),
            states: TABLES.iter().map(|table| (table.name, States::default())).collect(),
        }
    }

    /// What a history is to show as of each commit.
    pub(super) fn states(&self, table: &Table) -> &States {
        &self.states[table.name]
    }

    pub(super) fn picture(&self, table: &Table, sink: Sink) -> Picture {
        self.now.get(&(table.name, sink)).cloned().unwrap_or_default()
    }

    /// Goes through the commits since the last call; each reading must show the state at one of those
    /// commits that its position allows. `answered`: a position at or after the end of each commit.
    pub(super) async fn check(
        &mut self,
        source: &Client,
        answered: &[(i64, Lsn)],
        mut readings: Vec<Observation>,
    ) -> Result<Checked, String> {
        let commits = self.read(source).await;
        let mut checked = Checked { commits: commits.len(), readings: readings.len(), exact: 0 };
        let before: Vec<(i64, Lsn)> = commits.iter().map(|c| (c.n, c.before)).collect();
        let mut open: Vec<Open> = Vec::new();
        for reading in readings.drain(..) {
            let first =
                answered.iter().filter(|(_, end)| *end <= reading.lsn).map(|(n, _)| *n).max();
            let last = before.iter().find(|(_, before)| *before >= reading.lsn).map(|(n, _)| n - 1);
            let first = first.unwrap_or(self.at).max(self.at);
            let last = last.unwrap_or(i64::MAX);
            let (first, last) = match reading.number {
                // It says itself after which commit it is.
                Some(number) if !(first..=last).contains(&number) => {
                    return Err(format!(
                        "{reading}: it holds commit {number}, but at this position it is one of \
                         {first}..={last}"
                    ));
                }
                Some(number) => (number, number),
                None => (first, last),
            };
            checked.exact += usize::from(first == last);
            open.push(Open { reading, first, last, nearest: None });
        }
        self.compare(&mut open);
        for commit in commits {
            self.apply(commit);
            self.compare(&mut open);
        }
        let Some(wrong) = open.first() else { return Ok(checked) };
        let difference = wrong.nearest.as_deref().unwrap_or("  no such commit");
        Err(format!(
            "{} ({} readings are wrong): it shows no state of the source in commits {}..={}; against the last of them:\n{difference}",
            wrong.reading,
            open.len(),
            wrong.first,
            wrong.last
        ))
    }

    /// Drops the readings that show the present state.
    fn compare(&self, open: &mut Vec<Open>) {
        let at = self.at;
        open.retain_mut(|open| {
            if !(open.first..=open.last).contains(&at) {
                return true;
            }
            let table = open.reading.table;
            let empty = Picture::default();
            let expected = self.now.get(&(table.name, open.reading.sink)).unwrap_or(&empty);
            if open.reading.picture.same(expected) {
                return false;
            }
            open.nearest = Some(open.reading.picture.difference(expected));
            true
        });
    }

    fn apply(&mut self, commit: Commit) {
        self.commits.0.push((commit.n, commit.before));
        for Logged { table, weight, row, digest } in &commit.changes {
            if table.has_history {
                self.states.entry(table.name).or_default().add(commit.n, *digest, *weight);
            }
            for &sink in &self.sinks {
                let picture = self.now.entry((table.name, sink)).or_default();
                for line in lines(table, sink, row) {
                    picture.add(&line, *weight);
                }
            }
        }
        self.at = commit.n;
    }

    async fn read(&mut self, source: &Client) -> Vec<Commit> {
        let sql = "SELECT c.n, c.before::text, l.at, l.name, l.weight, l.fields::text, l.document, l.score,
                          md5(l.fields::text)
                   FROM oracle.commits c LEFT JOIN oracle.log l USING (xid)
                   WHERE c.n > $1 ORDER BY c.n, l.at";
        let mut commits: Vec<Commit> = Vec::new();
        for row in source.query(sql, &[&self.read_to]).await.unwrap() {
            let n: i64 = row.get(0);
            if commits.last().is_none_or(|last| last.n != n) {
                let before: &str = row.get(1);
                commits.push(Commit { n, before: before.parse().unwrap(), changes: Vec::new() });
            }
            let name: &str = row.get(3);
            let table = TABLES.iter().find(|table| table.name == name).expect("it is tracked");
            let weight: i32 = row.get(4);
            let digest = digest_of(row.get(8));
            let row = row_of(row.get(5), row.get(6), row.get(7));
            let logged = Logged { table, weight: weight.into(), row, digest };
            commits.last_mut().unwrap().changes.push(logged);
        }
        self.read_to = commits.last().map_or(self.read_to, |commit| commit.n);
        commits
    }
}

struct Open {
    reading: Observation,
    first: i64,
    last: i64,
    nearest: Option<String>,
}

fn row_of(fields: &str, document: String, score: Option<&str>) -> Row {
    let fields: Fields = serde_json::from_str(fields).unwrap();
    Row { fields, document, score: score.map(|score| score.parse().unwrap()) }
}

/// What the source itself answers, now.
pub(super) async fn present(source: &Client, table: &Table, sink: Sink) -> Picture {
    let score = table.score_of_t();
    let sql = format!(
        "SELECT hstore_to_json(hstore(t))::text, to_jsonb(t)::text, {score} FROM {} t",
        table.sql
    );
    let mut picture = Picture::default();
    for row in source.query(&sql, &[]).await.unwrap() {
        let row = row_of(row.get(0), row.get(1), row.get(2));
        lines(table, sink, &row).iter().for_each(|line| picture.add(line, 1));
    }
    picture
}
