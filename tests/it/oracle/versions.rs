//! Histories: what they are to show as of each commit, and whether they do.

use std::collections::{BTreeMap, BTreeSet};

use readside::lsn::Lsn;
use tokio_postgres::Client;

use super::history::{Commits, digest_of};
use super::schema::{SEQUENCE, Table};

/// A sum over rows, by which states are compared.
pub(super) type Digest = u64;

/// A projection's states.
#[derive(Default)]
pub(super) struct States {
    /// Each from a commit on.
    digests: Vec<(i64, Digest)>,
    /// What a commit wrote: an UPDATE may leave a row as it was.
    written: BTreeSet<(i64, Digest)>,
}

impl States {
    pub(super) fn add(&mut self, n: i64, row: Digest, weight: i64) {
        if weight > 0 {
            self.written.insert((n, row));
        }
        let change = row.wrapping_mul(weight.cast_unsigned());
        match self.digests.last_mut() {
            Some((last, digest)) if *last == n => *digest = digest.wrapping_add(change),
            last => {
                let before = last.map_or(0, |(_, digest)| *digest);
                self.digests.push((n, before.wrapping_add(change)));
            }
        }
    }

    fn at(&self, n: i64) -> Digest {
        let after = self.digests.partition_point(|(from, _)| *from <= n);
        after.checked_sub(1).map_or(0, |at| self.digests[at].1)
    }
}

/// A row of a history; times in microseconds.
#[derive(Clone)]
pub(super) struct Version {
    key: String,
    row: Digest,
    lsn: Lsn,
    from: i64,
    to: Option<i64>,
}

/// In place of the versions between two positions there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gap {
    pub(super) after: Lsn,
    until: Lsn,
}

impl Gap {
    /// A position may lie within a commit: that one counts as missing, too.
    fn has(self, n: i64, commits: &Commits) -> bool {
        (commits.before(self.after)..=commits.before(self.until)).contains(&n)
    }
}

/// A history as it was read.
pub(super) struct Kept {
    pub(super) versions: Vec<Version>,
    pub(super) gaps: Vec<Gap>,
}

impl Kept {
    /// The first fill is where the versions begin.
    pub(super) fn filled_at(&self) -> Vec<Lsn> {
        let first = self.versions.first().map(|version| version.lsn);
        first.into_iter().chain(self.gaps.iter().map(|gap| gap.until)).collect()
    }
}

/// All of a projection's versions, in the order of their positions.
pub(super) async fn read(reporting: &Client, table: &Table) -> Kept {
    let name = table.name;
    let key: Vec<String> = table.key.iter().map(|column| format!("'{column}'")).collect();
    let micros = |column: &str| format!("(extract(epoch FROM {column}) * 1000000)::bigint");
    let sql = format!(
        "SELECT slice(hstore(h), ARRAY[{}])::text,
                md5(hstore_to_json(hstore(h) - ARRAY['valid_from', 'valid_to', 'lsn'])::text),
                lsn::text, {}, {} FROM {name}_history h ORDER BY h.lsn",
        key.join(", "),
        micros("valid_from"),
        micros("valid_to")
    );
    let rows = reporting.query(&sql, &[]).await.unwrap();
    let version = |row: &tokio_postgres::Row| Version {
        key: row.get(0),
        row: digest_of(row.get(1)),
        lsn: row.get::<_, &str>(2).parse().unwrap(),
        from: row.get(3),
        to: row.get(4),
    };
    let sql = "SELECT after_lsn::text, until_lsn::text FROM readside.gap WHERE projection = $1";
    let gaps = reporting.query(sql, &[&name]).await.unwrap();
    let gap = |row: &tokio_postgres::Row| Gap {
        after: row.get::<_, &str>(0).parse().unwrap(),
        until: row.get::<_, &str>(1).parse().unwrap(),
    };
    Kept { versions: rows.iter().map(version).collect(), gaps: gaps.iter().map(gap).collect() }
}

/// The times of the commits, from the history of the numbers, which each commit changes.
pub(super) fn times(
    numbers: &Kept,
    commits: &Commits,
    last: i64,
) -> Result<BTreeMap<i64, i64>, String> {
    let Kept { versions, gaps } = numbers;
    let Some(first) = versions.first() else { return Err("there are no versions".into()) };
    let mut times: BTreeMap<i64, i64> = BTreeMap::new();
    for version in versions {
        times.insert(commits.before(version.lsn), version.from);
    }
    let first = commits.before(first.lsn);
    for n in first..=last {
        if !times.contains_key(&n) && !gaps.iter().any(|gap| gap.has(n, commits)) {
            return Err(format!("commit {n} has no version of {SEQUENCE}, and no gap tells so"));
        }
    }
    let in_gap = |n: i64| gaps.iter().any(|gap| gap.has(n, commits));
    // Of a fill the time is one of before.
    times.retain(|&n, _| n > first && !in_gap(n));
    let backwards = times.iter().zip(times.iter().skip(1)).find(|((_, a), (_, b))| a >= b);
    match backwards {
        Some(((n, a), (next, b))) => {
            Err(format!("commit {n} is of {a} and commit {next} of {b}, which is not later"))
        }
        None => Ok(times),
    }
}

/// Whether a history shows the source's state as of each commit since it began, but for its gaps, and
/// now; and nothing else.
pub(super) fn judge(
    kept: &Kept,
    states: &States,
    commits: &Commits,
    times: &BTreeMap<i64, i64>,
    last: i64,
) -> Result<usize, String> {
    let Kept { versions, gaps } = kept;
    in_line(versions, |version| {
        states.written.contains(&(commits.before(version.lsn), version.row))
    })?;
    let Some(first) = versions.iter().map(|version| commits.before(version.lsn)).min() else {
        return if states.at(last) == 0 { Ok(0) } else { Err("there are no versions".into()) };
    };
    let is_filled = |n: i64| n == first || gaps.iter().any(|gap| gap.has(n, commits));
    for version in versions {
        let n = commits.before(version.lsn);
        let is_of_its_commit = times.get(&n).is_none_or(|time| *time == version.from);
        if !is_filled(n) && !is_of_its_commit {
            return Err(format!("{} is not of the time of commit {n}", shown(version)));
        }
    }
    let open = versions.iter().filter(|version| version.to.is_none());
    let now = open.fold(0u64, |sum, version| sum.wrapping_add(version.row));
    if now != states.at(last) {
        return Err("the open versions are not what the source holds".into());
    }
    as_of_each(versions, states, times, |n| n <= first || is_filled(n))
}

/// Each key's versions follow one another, and each differs from the one before, unless it was written.
fn in_line(versions: &[Version], is_written: impl Fn(&Version) -> bool) -> Result<(), String> {
    let mut newest: BTreeMap<&str, &Version> = BTreeMap::new();
    for version in versions {
        if version.to.is_some_and(|to| to < version.from) {
            return Err(format!("{} ends before it begins", shown(version)));
        }
        let Some(before) = newest.insert(&version.key, version) else { continue };
        if before.to.is_none_or(|to| to > version.from) {
            return Err(format!("{} and {} overlap", shown(before), shown(version)));
        }
        if before.to == Some(version.from) && before.row == version.row && !is_written(version) {
            return Err(format!("{} and {} are the same", shown(before), shown(version)));
        }
    }
    Ok(())
}

/// How many commits were looked at.
fn as_of_each(
    versions: &[Version],
    states: &States,
    times: &BTreeMap<i64, i64>,
    is_open: impl Fn(i64) -> bool,
) -> Result<usize, String> {
    let mut moments: Vec<(i64, Digest)> = Vec::new();
    for version in versions {
        moments.push((version.from, version.row));
        moments.extend(version.to.map(|to| (to, version.row.wrapping_neg())));
    }
    moments.sort_unstable_by_key(|(time, _)| *time);
    let mut moments = moments.into_iter().peekable();
    let (mut sum, mut looked_at) = (0u64, 0);
    for (&n, &time) in times {
        while let Some((_, change)) = moments.next_if(|(at, _)| *at <= time) {
            sum = sum.wrapping_add(change);
        }
        if is_open(n) {
            continue;
        }
        if sum != states.at(n) {
            return Err(format!("as of commit {n} (time {time}) it is not what the source held"));
        }
        looked_at += 1;
    }
    Ok(looked_at)
}

fn shown(version: &Version) -> String {
    let Version { key, row, lsn, from, to } = version;
    let to = to.map_or("now".into(), |to| to.to_string());
    format!("version {lsn} of {key} ({row:016x}, {from} to {to})")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits 1 to 9 at ten times their numbers, one key; versions are row, from and to.
    fn verdict(states: &[(i64, u64)], versions: &[(u64, i64, i64)]) -> Result<usize, String> {
        let commits = Commits::of((1..=9i64).map(|n| (n, Lsn(n.cast_unsigned() * 10))));
        let times = (1..=9).map(|n| (n, n * 10)).collect();
        let version = |&(row, from, to): &(u64, i64, i64)| Version {
            key: "1".into(),
            row,
            lsn: Lsn(from.cast_unsigned() + 5),
            from,
            to: (to > 0).then_some(to),
        };
        let versions = versions.iter().map(version).collect();
        let kept = Kept { versions, gaps: Vec::new() };
        let states = States { digests: states.to_vec(), written: BTreeSet::new() };
        judge(&kept, &states, &commits, &times, 9)
    }

    #[test]
    fn each_version_is_missed_and_none_is_too_many() {
        let states = [(1, 4), (3, 5), (4, 0), (6, 4)];
        let whole = [(4, 10, 30), (5, 30, 40), (4, 60, 0)];
        assert_eq!(verdict(&states, &whole), Ok(8));
        verdict(&states, &[whole[0], whole[2]]).unwrap_err();
        verdict(&states, &whole[..2]).unwrap_err();
        verdict(&states, &[(4, 10, 30), (5, 30, 50), (4, 60, 0)]).unwrap_err();
        verdict(&states, &[(4, 10, 30), (5, 20, 40), (4, 60, 0)]).unwrap_err();
        verdict(&states, &[(4, 10, 20), (4, 20, 30), (5, 30, 40), (4, 60, 0)]).unwrap_err();
        verdict(&states, &[(4, 10, 30), (5, 30, 40), (4, 60, 70), (4, 70, 0)]).unwrap_err();
    }
}
