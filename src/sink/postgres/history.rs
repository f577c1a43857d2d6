//! The history of a target: one row for each version, from one commit to the next. What is now has no end.

use super::connection::Connection;
use super::encode::literal_of_time;
use super::error::Error;
use super::target::{Stored, Table, TableColumn, quote, quote_literal, unnest};
use crate::config::resolve::HISTORY_COLUMNS;
use crate::lsn::Lsn;
use crate::sink::{Role, Watermark};
use crate::value::Type;

pub(super) struct History {
    /// The projection's columns and the history's own; its key are the projection's and the LSN.
    pub(super) table: Table,
    /// Ends what is open: keys, when, and the LSN of what comes after.
    pub(super) close: String,
    /// Columns, from when, to when, LSN.
    pub(super) insert: String,
    /// The same of versions that may be there.
    pub(super) insert_again: String,
}

/// What the versions between two moments are missing from, since a projection was filled anew.
pub(super) const CREATE_GAP: &str = "
    CREATE TABLE IF NOT EXISTS readside.gap (
        projection text NOT NULL,
        after_lsn pg_lsn NOT NULL,
        after timestamptz NOT NULL,
        until_lsn pg_lsn NOT NULL,
        until timestamptz NOT NULL,
        PRIMARY KEY (projection, until_lsn)
    );
    COMMENT ON TABLE readside.gap IS
        'Histories have one version in place of those that were committed between after and until'";

impl History {
    pub(super) fn new(
        position: usize,
        name: (&str, &str),
        columns: &[TableColumn],
        key: &[usize],
        role: Role,
    ) -> Self {
        let own = |name: &str, ty: Type, oid: u32, declared: &str| TableColumn {
            name: name.to_owned(),
            ty,
            stored: Stored {
                oid,
                typmod: -1,
                declared: declared.to_owned(),
                base: declared.to_owned(),
            },
            null_in_key: false,
        };
        let [from, to, lsn] = HISTORY_COLUMNS;
        let mut all = columns.to_vec();
        all.push(own(from, Type::TimestampTz, 1184, TIME));
        all.push(own(to, Type::TimestampTz, 1184, TIME));
        all.push(own(lsn, Type::PgLsn, 3220, "pg_lsn"));
        let mut of_version = key.to_vec();
        of_version.push(columns.len() + 2);
        let mut table = Table::of(position, name, all, of_version, role);
        // Each version is written twice: the second time in its own page, where no index has to know of it.
        table.fillfactor = Some(90);
        // Versions come in the order of time.
        table.indexes.push("USING brin (valid_from)".to_owned());
        let path = &table.live.path;
        let insert = insert(path, columns);
        let insert_again = insert_again(&insert, columns, key);
        Self { close: close(path, columns, key), insert, insert_again, table }
    }

    /// Brings the open versions to the rows of the table, as of a fill's end.
    pub(super) async fn settle(
        &self,
        connection: &Connection,
        of: &Table,
        lsn: Lsn,
        committed_at: i64,
    ) -> Result<(), Error> {
        let (h, t) = (&self.table.live.path, &of.live.path);
        let at = literal_of_time(committed_at);
        let rest = (0..of.columns.len()).filter(|position| !of.key.contains(position));
        let mut same = vec![of.same_key("t", "h")];
        same.extend(rest.map(|position| {
            let (column, name) = (&of.columns[position], quote(&of.columns[position].name));
            match column.exact() {
                true => format!("t.{name} IS NOT DISTINCT FROM h.{name}"),
                false => format!("t.{name}::text IS NOT DISTINCT FROM h.{name}::text"),
            }
        }));
        let close = format!(
            "UPDATE {h} AS h SET valid_to = {at} WHERE h.valid_to IS NULL \
             AND NOT EXISTS (SELECT FROM {t} AS t WHERE {})",
            same.join(" AND ")
        );
        let names: Vec<String> = of.columns.iter().map(|column| quote(&column.name)).collect();
        let names = names.join(", ");
        let shown: Vec<String> =
            of.columns.iter().map(|column| format!("t.{}", quote(&column.name))).collect();
        let insert = format!(
            "INSERT INTO {h} ({names}, valid_from, lsn) SELECT {}, {at}, {} FROM {t} AS t \
             WHERE NOT EXISTS (SELECT FROM {h} AS h WHERE h.valid_to IS NULL AND {})",
            shown.join(", "),
            quote_literal(&lsn.to_string()),
            of.same_key("t", "h"),
        );
        connection.batch(&format!("{close}; {insert}")).await
    }
}

const TIME: &str = "timestamp with time zone";

/// Notes that versions between an older watermark and a fill's end are one.
pub(super) async fn note_gap(
    connection: &Connection,
    projection: &str,
    before: &Watermark,
    lsn: Lsn,
    committed_at: i64,
) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO readside.gap VALUES ({}, {}, {}, {}, {}) ON CONFLICT DO NOTHING",
        quote_literal(projection),
        quote_literal(&before.lsn.to_string()),
        literal_of_time(before.committed_at),
        quote_literal(&lsn.to_string()),
        literal_of_time(committed_at),
    );
    connection.batch(&sql).await
}

/// Of how many of a key's newest versions one is looked for that is open: it is the newest, unless those of a history
/// that the source has lost lie above it.
const LOOKED_AT_MAX: usize = 100;

/// The open version of a key is found by the primary key, however many there are, and then by its place.
fn close(path: &str, columns: &[TableColumn], key: &[usize]) -> String {
    let n = key.len();
    let same = std::iter::zip(key, 0..).map(|(&position, number)| {
        let column = &columns[position];
        let name = quote(&column.name);
        let same = format!("v.{name} = {}", column.element(number));
        match column.null_in_key {
            true => format!("({same} OR v.{name} IS NULL AND u.c{number} IS NULL)"),
            false => same,
        }
    });
    let same = same.collect::<Vec<_>>().join(" AND ");
    format!(
        "UPDATE {path} AS t SET valid_to = u.c{n} FROM {} \
         CROSS JOIN LATERAL (SELECT n.ctid FROM \
         (SELECT v.ctid, v.valid_from, v.valid_to, v.lsn FROM {path} AS v WHERE {} \
         ORDER BY v.lsn DESC LIMIT {LOOKED_AT_MAX}) AS n \
         WHERE n.valid_to IS NULL AND (n.valid_from, n.lsn) < (u.c{n}, u.c{}) LIMIT 1) AS open \
         WHERE t.ctid = open.ctid AND t.valid_to IS NULL",
        unnest(columns, key, &[TIME, "pg_lsn"]),
        if same.is_empty() { "true" } else { &same },
        n + 1,
    )
}

fn insert(path: &str, columns: &[TableColumn]) -> String {
    let all: Vec<usize> = (0..columns.len()).collect();
    let n = columns.len();
    let names: Vec<String> = columns.iter().map(|column| quote(&column.name)).collect();
    let elements: Vec<String> =
        std::iter::zip(columns, 0..).map(|(column, number)| column.element(number)).collect();
    format!(
        "INSERT INTO {path} AS t ({}, valid_from, valid_to, lsn) \
         SELECT {}, u.c{n}, u.c{}, u.c{} FROM {}",
        names.join(", "),
        elements.join(", "),
        n + 1,
        n + 2,
        unnest(columns, &all, &[TIME, TIME, "pg_lsn"]),
    )
}

/// A version that is sent again may have found its end meanwhile.
fn insert_again(insert: &str, columns: &[TableColumn], key: &[usize]) -> String {
    let mut of_version: Vec<String> =
        key.iter().map(|&position| quote(&columns[position].name)).collect();
    of_version.push("lsn".to_owned());
    format!(
        "{insert} \
         ON CONFLICT ({}) DO UPDATE SET valid_to = excluded.valid_to WHERE t.valid_to IS NULL",
        of_version.join(", "),
    )
}
