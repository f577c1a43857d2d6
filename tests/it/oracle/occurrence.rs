//! Occurrences: the oracle's events, what the source says of each commit's, and how what a store was
//! told is judged by that.
//!
//! A trigger keeps each change's rows until `oracle.seal()`, which asks Postgres the event's own `when`
//! and `data` of them. It holds the number's row, so look-ups see what this commit leaves.

use std::collections::BTreeMap;

use readside::lsn::Lsn;
use serde_json::{Map, Value};
use tokio_postgres::Client;

use super::history::Commits;

pub(super) struct Event {
    pub(super) name: &'static str,
    /// `None`: messages.
    table: Option<&'static str>,
    looks_up: Option<LooksUp>,
    when: &'static str,
    data: &'static str,
    pub(super) redis: Option<Entries>,
    pub(super) in_search: bool,
}

struct LooksUp {
    table: &'static str,
    /// Of the data.
    column: &'static str,
}

#[derive(Clone, Copy)]
pub(super) enum Entries {
    Stream(&'static str),
    List(&'static str),
}

/// What the keys of events in Redis begin with.
pub(super) const KEYS: &str = "events:";
/// The event of the numbers that `oracle.seal()` gives.
pub(super) const SEALED: &str = "sealed";

pub(super) const EVENTS: &[Event] = &[
    // Of a large transaction a part: enough for a backlog.
    Event {
        name: "account_changed",
        table: Some("accounts"),
        looks_up: None,
        when: "(old IS NULL OR new IS NULL OR old.id <> new.id
                OR old.balance IS DISTINCT FROM new.balance
                OR old.note IS DISTINCT FROM new.note)
               AND (coalesce(new.id, old.id) < 100060
                OR coalesce(new.id, old.id) BETWEEN 200001 AND 200030)",
        data: "old.id AS was_id, new.id, new.owner, old.balance AS was, new.balance,
               length(old.note) AS note_was, length(new.note) AS note, new.touched",
        redis: Some(Entries::Stream("events:accounts")),
        in_search: true,
    },
    // The stream names its rows by code; the other table's row is that of the commit.
    Event {
        name: "alias_changed",
        table: Some("aliased"),
        looks_up: Some(LooksUp { table: "accounts", column: "balance" }),
        when: "old IS NULL OR new IS NULL OR old.id <> new.id OR old.code <> new.code
               OR old.rank IS DISTINCT FROM new.rank",
        data: "old.id AS was_id, old.code AS was_code, new.id, new.code, new.rank,
               length(new.payload) AS size,
               (SELECT a.balance FROM accounts a WHERE a.id = new.id) AS balance",
        redis: Some(Entries::List("events:aliased")),
        in_search: true,
    },
    // Redis cannot say what it has on disk: what goes there is kept for an hour. This is not.
    Event {
        name: SEALED,
        table: None,
        looks_up: None,
        when: "true",
        data: "content AS n",
        redis: None,
        in_search: false,
    },
];

impl Event {
    /// The tables whose loads it waits for; they have histories.
    pub(super) fn tables(&self) -> impl Iterator<Item = &'static str> {
        self.table.into_iter().chain(self.looks_up.as_ref().map(|other| other.table))
    }

    /// While the other table is being loaded, what is looked up waits for the load's end.
    pub(super) fn looks_up(&self) -> Option<&'static str> {
        self.looks_up.as_ref().map(|other| other.column)
    }

    /// Its part of the configuration; `index`: where there is a search server.
    pub(super) fn config(&self, index: Option<&str>) -> String {
        let of = match self.table {
            Some(table) => format!("table = {table:?}\nwhen = {:?}", self.when),
            None => "message = \"oracle\"".into(),
        };
        let Event { name, data, .. } = self;
        let mut toml = format!(
            "[event.{name}]\n{of}\ndata = {data:?}\nto.reporting = {{ table = \"{name}\" }}\n"
        );
        toml += &match self.redis {
            Some(Entries::Stream(key)) => format!("to.cache = {{ stream = {key:?} }}\n"),
            Some(Entries::List(key)) => format!("to.cache = {{ list = {key:?} }}\n"),
            None => String::new(),
        };
        if let Some(index) = index.filter(|_| self.in_search) {
            toml += &format!("to.search = {{ index = {index:?} }}\n");
        }
        toml
    }
}

/// What keeps the changes until their transaction is sealed.
pub(super) fn tracking() -> String {
    let mut sql = "CREATE TABLE oracle.occurred (
        at bigserial PRIMARY KEY, xid xid8, event text, has_old boolean, data text);"
        .to_owned();
    for event in EVENTS {
        let Event { name, table: Some(table), .. } = event else { continue };
        sql += &format!(
            "CREATE TABLE oracle.{name} (
               at bigserial PRIMARY KEY, xid xid8 DEFAULT pg_current_xact_id(),
               old {table}, new {table});
             CREATE INDEX ON oracle.{name} (xid);
             CREATE FUNCTION oracle.{name}() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
               INSERT INTO oracle.{name} (old, new) VALUES (OLD, NEW);
               RETURN NULL;
             END $$;
             CREATE TRIGGER {name} AFTER INSERT OR UPDATE OR DELETE ON {table}
             FOR EACH ROW EXECUTE FUNCTION oracle.{name}();"
        );
    }
    sql
}

/// The part of `oracle.seal()`: `number` is the commit's.
pub(super) fn sealing() -> String {
    let mut sql = String::new();
    for Event { name, table, when, data, .. } in EVENTS {
        sql += &match table {
            Some(_) => format!(
                "WITH c AS (
                   DELETE FROM oracle.{name} WHERE xid = pg_current_xact_id() RETURNING *)
                 INSERT INTO oracle.occurred (xid, event, has_old, data)
                 SELECT c.xid, '{name}', NOT c.old IS NULL, to_jsonb(d)::text
                 FROM c CROSS JOIN LATERAL (SELECT (c.old).*) AS old
                        CROSS JOIN LATERAL (SELECT (c.new).*) AS new
                        CROSS JOIN LATERAL (SELECT {data}) AS d
                 WHERE {when} ORDER BY c.at;\n"
            ),
            None => format!(
                "PERFORM pg_logical_emit_message(true, 'oracle', number::text);
                 INSERT INTO oracle.occurred (xid, event, has_old, data)
                 SELECT pg_current_xact_id(), '{name}', false, to_jsonb(d)::text
                 FROM (SELECT number::text AS content) m CROSS JOIN LATERAL (SELECT {data}) AS d;\n"
            ),
        };
    }
    sql
}

/// What the source says has occurred, in order.
pub(super) struct True {
    n: i64,
    /// There was a row before, which a load may not know.
    has_old: bool,
    data: String,
}

/// What a store was told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Its id.
    pub(super) at: (Lsn, i64),
    pub(super) is_gap: bool,
    pub(super) committed_at: String,
    pub(super) data: String,
}

/// All that has occurred, by event.
#[derive(Default)]
pub(super) struct Occurred {
    all: BTreeMap<String, Vec<True>>,
    read_to: i64,
}

impl Occurred {
    /// Reads on.
    pub(super) async fn read(&mut self, source: &Client) {
        let sql = "SELECT c.n, o.event, o.has_old, o.data
                   FROM oracle.commits c JOIN oracle.occurred o USING (xid)
                   WHERE c.n > $1 ORDER BY c.n, o.at";
        for row in source.query(sql, &[&self.read_to]).await.unwrap() {
            let occurred = True { n: row.get(0), has_old: row.get(2), data: row.get(3) };
            self.read_to = occurred.n;
            self.all.entry(row.get(1)).or_default().push(occurred);
        }
    }

    /// Of the commits after this one.
    pub(super) fn after(&self, event: &str, n: i64) -> &[True] {
        let all = self.all.get(event).map_or(&[][..], Vec::as_slice);
        &all[all.partition_point(|occurred| occurred.n <= n)..]
    }
}

/// From where on a log is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// It begins somewhere in here.
    Somewhere,
    /// Up to a commit its table is being loaded: what needs no row of before is told, of the rest some.
    Load(i64),
    Whole,
}

/// Whether a store was told all that occurred, once, in order. Before a gap there may be missing what
/// occurred last. `told` is in the order of the ids. `loaded_by`: the commit by which the load was over
/// that began at a position; until then the column that `looks_up` names may be of a later commit.
pub(super) fn judge(
    truth: &[True],
    told: &[Told],
    commits: &Commits,
    mut from: From,
    loaded_by: impl Fn(Lsn) -> i64,
    looks_up: Option<&str>,
) -> Result<(), String> {
    let mut left = truth.iter().peekable();
    for (at, said) in told.iter().enumerate() {
        let n = commits.before(said.at.0);
        if said.is_gap {
            // A commit that the gap stands in is before it or after it.
            let after = told.get(at + 1).is_some_and(|next| commits.before(next.at.0) == n);
            while left.next_if(|t| t.n < n || (t.n == n && !after)).is_some() {}
            from = From::Load(loaded_by(said.at.0));
            continue;
        }
        let is_later = matches!(from, From::Load(until) if n <= until) || from == From::Somewhere;
        let later = looks_up.filter(|_| is_later);
        let is_it = |t: &True| t.n == n && same(&t.data, &said.data, later);
        while left.next_if(|t| t.n <= n && !is_it(t) && may_be_missing(from, t)).is_some() {}
        if left.next_if(|t| is_it(t)).is_none() {
            return Err(difference(truth, told, at, n, left.peek()));
        }
        if from == From::Somewhere {
            from = From::Load(loaded_by(Lsn::ZERO));
        }
    }
    match left.find(|t| !may_be_missing(from, t)) {
        Some(t) => Err(format!("the last ones are missing, from commit {} on: {}", t.n, t.data)),
        None => Ok(()),
    }
}

/// For people: what was told of a commit, and what occurred in it.
fn difference(truth: &[True], told: &[Told], at: usize, n: i64, next: Option<&&True>) -> String {
    let mut text = format!("of commit {n} it was told:\n");
    let of_commit = told.iter().filter(|said| said.at.0 == told[at].at.0);
    for said in of_commit {
        let here = if said.at == told[at].at { " <- here" } else { "" };
        text += &format!("  {}/{} {}{here}\n", said.at.0, said.at.1, said.data);
    }
    text += "and there occurred:\n";
    for t in truth.iter().filter(|t| t.n == n) {
        text += &format!("  {}\n", t.data);
    }
    match next {
        Some(next) => text + &format!("The next one is of commit {}: {}", next.n, next.data),
        None => text + "Nothing is left.",
    }
}

fn same(one: &str, other: &str, but_for: Option<&str>) -> bool {
    let Some(column) = but_for else { return one == other };
    let rest = |data: &str| {
        let mut data: Map<String, Value> = serde_json::from_str(data).unwrap();
        data.remove(column);
        data
    };
    rest(one) == rest(other)
}

fn may_be_missing(from: From, t: &True) -> bool {
    match from {
        From::Somewhere => true,
        From::Load(until) => t.has_old && t.n <= until,
        From::Whole => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commit `n` lies between `n * 10` and `n * 10 + 10`; an occurrence is its number, negative where
    /// there was a row before.
    fn verdict(truth: &[i64], told: &[(u64, &str)], from: From) -> Result<(), String> {
        let commits = Commits::of((1..=9i64).map(|n| (n, Lsn(n.cast_unsigned() * 10))));
        let occurred = |&n: &i64| True { n: n.abs(), has_old: n < 0, data: n.to_string() };
        let truth: Vec<True> = truth.iter().map(occurred).collect();
        let said = |&(lsn, data): &(u64, &str)| Told {
            at: (Lsn(lsn), 1),
            is_gap: data == "gap",
            committed_at: String::new(),
            data: data.into(),
        };
        judge(&truth, &told.iter().map(said).collect::<Vec<_>>(), &commits, from, |_| 4, None)
    }

    #[test]
    fn what_is_missing_twice_or_out_of_order_is_found() {
        let all = [(15, "1"), (25, "-2"), (35, "3")];
        verdict(&[1, -2, 3], &all, From::Whole).unwrap();
        verdict(&[1, -2, 3], &all[..2], From::Whole).unwrap_err();
        verdict(&[1, -2, 3], &all[1..], From::Whole).unwrap_err();
        verdict(&[1, -2, 3], &all[1..], From::Somewhere).unwrap();
        verdict(&[1, -2, 3], &[all[0], all[2]], From::Whole).unwrap_err();
        verdict(&[1, -2, 3], &[all[0], all[2]], From::Load(2)).unwrap();
        verdict(&[1, -2, 3], &[all[0], all[2]], From::Load(1)).unwrap_err();
        verdict(&[1, -2, 3], &[all[0], all[1], all[1], all[2]], From::Whole).unwrap_err();
        verdict(&[1, -2], &[(15, "1"), (15, "-2")], From::Whole).unwrap_err();
        verdict(&[1, 2], &[(15, "1"), (25, "3")], From::Whole).unwrap_err();
    }

    #[test]
    fn before_a_gap_the_last_ones_may_be_missing() {
        let truth = [1, -2, 3, -4, 5, -6];
        verdict(&truth, &[(15, "1"), (32, "gap"), (35, "3"), (55, "5"), (65, "-6")], From::Whole)
            .unwrap();
        verdict(&truth, &[(15, "1"), (36, "gap"), (55, "5"), (65, "-6")], From::Whole).unwrap();
        verdict(&truth, &[(15, "1"), (36, "gap"), (55, "5")], From::Whole).unwrap_err();
        verdict(&truth, &[(25, "-2"), (36, "gap"), (55, "5"), (65, "-6")], From::Whole)
            .unwrap_err();
        verdict(&truth, &[(15, "1"), (28, "gap"), (55, "5"), (65, "-6")], From::Whole).unwrap_err();
        verdict(&truth, &[(15, "1"), (28, "gap"), (35, "3"), (45, "-4")], From::Whole).unwrap_err();
    }
}
