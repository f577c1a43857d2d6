//! Rows that are in the sink already and of which some are refused: the statement over all of them is
//! halved by tid until the refused ones stand alone, and these are read back as entries.

use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::connection::Connection;
use super::error::{Class, Error, class, sink_error, words};
use super::target::{Table, quote};
use crate::engine::Entry;
use crate::lsn::Lsn;
use crate::sink::{Poison, SinkError, SinkProjection};
use crate::value::{self, ValueError};

/// One row that cannot be taken: a condition on `f` that fits it alone, and why.
pub(super) struct Refused {
    pub(super) condition: String,
    error: String,
}

/// Executes `statement(condition)`, the condition being one on `f`, an alias of the table at `path`, until
/// every row of it that is not refused has been met once. Within a transaction.
pub(super) async fn by_halves(
    connection: &Connection,
    path: &str,
    statement: impl Fn(&str) -> String,
) -> Result<Vec<Refused>, Error> {
    if attempt(connection, &statement("true")).await?.is_none() {
        return Ok(Vec::new());
    }
    let mut refused = Vec::new();
    let mut pending = vec![(0, end(connection, path).await?)];
    while let Some((start, end)) = pending.pop() {
        let condition = format!("f.ctid >= {} AND f.ctid < {}", tid(start), tid(end));
        let Some(error) = attempt(connection, &statement(&condition)).await? else { continue };
        if end - start <= 1 {
            refused.push(Refused { condition, error });
        } else {
            let middle = start.midpoint(end);
            pending.extend([(middle, end), (start, middle)]);
        }
    }
    Ok(refused)
}

/// The words with which the server refuses it, the transaction being as before.
async fn attempt(connection: &Connection, statement: &str) -> Result<Option<String>, Error> {
    let sql = format!("SAVEPOINT attempt; {statement}; RELEASE SAVEPOINT attempt");
    match connection.batch(&sql).await {
        Ok(()) => Ok(None),
        Err(error) if class(&error) == Class::Row => {
            connection.batch("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt").await?;
            Ok(Some(words(&error)))
        }
        Err(error) => Err(error),
    }
}

/// Tids as numbers: the block's, and in the lowest 16 bits the row's in it.
fn tid(number: u64) -> String {
    format!("'({},{})'::tid", number >> 16, number & 0xffff)
}

/// Behind the last block.
async fn end(connection: &Connection, path: &str) -> Result<u64, Error> {
    let sql = "SELECT pg_relation_size(to_regclass($1)) / current_setting('block_size')::bigint";
    let row = connection.session().query_one(sql, &[&path]).await?;
    Ok(row.try_get::<_, i64>(0)?.cast_unsigned() << 16)
}

/// The refused rows as delivery knows them; their LSN is that of the newest row that came with them.
pub(super) async fn poison(
    connection: &Connection,
    table: &Table,
    projection: &SinkProjection,
    path: &str,
    refused: Vec<Refused>,
    lsn: Lsn,
) -> Result<Vec<Poison>, SinkError> {
    let columns: Vec<String> = table.columns.iter().map(|column| quote(&column.name)).collect();
    let columns = columns.join(", ");
    let mut poison = Vec::with_capacity(refused.len());
    for Refused { condition, error } in refused {
        let sql = format!("SELECT {columns} FROM {path} AS f WHERE {condition}");
        // The simple protocol answers with the values' text.
        let answer = connection.session().simple_query(&sql).await;
        for message in answer.map_err(|e| sink_error("read back a refused row", e))? {
            if let SimpleQueryMessage::Row(row) = message {
                let entry = entry(projection, &row, lsn).map_err(|e| SinkError::Fatal {
                    what: format!("a refused row of {path} cannot be read back: {e}"),
                    hint: format!("look at it: {sql};"),
                })?;
                poison.push(Poison { projection: table.projection, entry, error: error.clone() });
            }
        }
    }
    Ok(poison)
}

fn entry(projection: &SinkProjection, row: &SimpleQueryRow, lsn: Lsn) -> Result<Entry, ValueError> {
    let encode = |position: usize, out: &mut Vec<u8>| match row.get(position) {
        None => {
            value::encode_null(out);
            Ok(())
        }
        Some(text) => value::encode(&projection.columns[position].ty, text.as_bytes(), out),
    };
    let (mut key, mut bytes) = (Vec::new(), Vec::new());
    for &position in &projection.key {
        encode(position, &mut key)?;
    }
    for position in 0..projection.columns.len() {
        encode(position, &mut bytes)?;
    }
    Ok(Entry::row(lsn, &key, &bytes))
}
