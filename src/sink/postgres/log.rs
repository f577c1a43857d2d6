//! The table of an event, or of a history. It is made where it is missing, and only ever grows: no fill takes its place.

use super::connection::Connection;
use super::error::sink_error;
use super::swap;
use super::target::{Table, quote};
use crate::sink::{SinkError, SinkProjection};

pub(super) async fn ensure(
    connection: &Connection,
    table: &Table,
    projection: &SinkProjection,
    owner: &str,
) -> Result<(), SinkError> {
    let failed = |error| sink_error("create a table that grows", error);
    match swap::target(connection, table, projection, owner).await? {
        Some(found) if found.serves(table) => Ok(()),
        Some(found) if found.would_serve_with_more(table) => {
            let path = &table.live.path;
            for column in found.missing(table) {
                let (name, declared) = (quote(&column.name), &column.stored.declared);
                let sql = format!("ALTER TABLE {path} ADD COLUMN {name} {declared}");
                connection.batch(&sql).await.map_err(failed)?;
            }
            Ok(())
        }
        Some(found) => {
            let (what, hint) = found.refusal(table).unwrap_or_else(|| {
                let what = format!("{} is not a table for this event", table.shown);
                (what, "choose another name for the target".into())
            });
            Err(SinkError::Fatal { what, hint })
        }
        None => {
            let sql = "SELECT FROM pg_namespace WHERE nspname = $1";
            let schema = connection.session().query_opt(sql, &[&table.schema]).await;
            let mut statements = vec!["BEGIN".to_owned()];
            if schema.map_err(failed)?.is_none() {
                statements.push(format!("CREATE SCHEMA {}", quote(&table.schema)));
            }
            let path = &table.live.path;
            statements.push(table.create("TABLE", path));
            statements.push(table.create_key(path));
            connection.batch(&statements.join("; ")).await.map_err(failed)?;
            for sql in table.create_indexes(path) {
                // As one statement, whatever the text holds.
                connection.session().execute(&sql, &[]).await.map_err(failed)?;
            }
            connection.batch("COMMIT").await.map_err(failed)
        }
    }
}
