//! One row by its identity: for a change whose row no chunk has shown, and whose unchanged TOASTed
//! values the stream left out.

use std::time::Duration;

use super::window::{ParseWindowError, Window};
use super::{LoadTable, quote};
use crate::engine::{Cell, Entry, RowBuffer, RowError};
use crate::lsn::Lsn;
use crate::pg::{self, Session};
use crate::source::transient::is_transient;

const DELAY_FIRST: Duration = Duration::from_millis(2);
const DELAY_MAX: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Pg(#[from] pg::Error),
    #[error("the server's snapshot cannot be read")]
    Window(#[from] ParseWindowError),
    #[error("the row cannot be read")]
    Row(#[from] RowError),
    #[error("the key has {found} values where {expected} are needed")]
    Key { found: usize, expected: usize },
    #[error("the server's answer makes no sense")]
    Answer,
}

impl FetchError {
    /// Whether trying again later can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, FetchError::Pg(error) if is_transient(error))
    }
}

/// What a transaction saw that had seen nothing beyond `bound`.
#[derive(Debug)]
pub struct Fetched {
    /// `None`: the row is no more there; the stream will bring its deletion.
    pub entry: Option<Entry>,
    pub bound: Lsn,
}

/// Reads the row whose identity columns have these texts. The change that it answers was made by
/// transaction `must_have_ended`, which may not be visible yet: then it is asked again.
pub async fn fetch_row(
    session: &Session,
    table: &LoadTable,
    key: &[&str],
    lsn: Lsn,
    must_have_ended: u32,
) -> Result<Fetched, FetchError> {
    let sql = statement(table, key)?;
    let mut delay = DELAY_FIRST;
    loop {
        let rows = match session.rows(&sql).await {
            Ok(rows) => rows,
            Err(error) => {
                // The failed transaction is still open; if the connection is not, this is in vain.
                let _ = session.rows("ROLLBACK").await;
                return Err(error.into());
            }
        };
        let mut rows = rows.into_iter();
        let head = rows.next().unwrap_or_default();
        let [Some(snapshot), Some(bound)] = &head[..] else { return Err(FetchError::Answer) };
        if Window::parse(snapshot)?.has_ended_short(must_have_ended) {
            let bound = bound.parse().map_err(|_| FetchError::Answer)?;
            let entry = rows.next().map(|row| entry(table, &row, lsn)).transpose()?;
            return Ok(Fetched { entry, bound });
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(DELAY_MAX);
    }
}

/// One text and so one round trip; the snapshot is the one that the row is read with.
fn statement(table: &LoadTable, key: &[&str]) -> Result<String, FetchError> {
    let identity = &table.layout.identity;
    if key.len() != identity.len() {
        return Err(FetchError::Key { found: key.len(), expected: identity.len() });
    }
    let condition: Vec<String> = identity
        .iter()
        .zip(key)
        .map(|(at, text)| {
            let column = &table.layout.columns[*at];
            // An untyped literal takes the column's type.
            format!("{} = {}", quote::identifier(&column.name), quote::literal(text))
        })
        .collect();
    let condition = if condition.is_empty() { "true".into() } else { condition.join(" AND ") };
    let comma = if table.layout.columns.is_empty() { "" } else { ", " };
    Ok(format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
         SELECT pg_current_snapshot(), pg_current_wal_insert_lsn();
         SELECT tableoid{comma}{} FROM {} WHERE {condition} LIMIT 1;
         COMMIT",
        table.select_list(),
        table.name.quoted(),
    ))
}

fn entry(table: &LoadTable, row: &[Option<String>], lsn: Lsn) -> Result<Entry, FetchError> {
    let Some((Some(oid), cells)) = row.split_first() else { return Err(FetchError::Answer) };
    let leaf = table.leaves.iter().find(|leaf| leaf.oid.to_string() == *oid);
    let number = leaf.ok_or(FetchError::Answer)?.number;
    let cells = cells.iter().map(|cell| match cell {
        Some(text) => Cell::Text(text.as_bytes()),
        None => Cell::Null,
    });
    let mut buffer = RowBuffer::default();
    table.layout.encode(cells, None, &mut buffer)?;
    Ok(Entry::row_in(number, lsn, &buffer.key, &buffer.row))
}
