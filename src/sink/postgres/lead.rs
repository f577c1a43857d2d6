//! One leader of a group at a time, and what the others see.
//!
//! The term in the watermarks decides: each step compares it, and a leader that has been replaced breaks
//! its own transaction. But one that stands still, or is cut off, may have a transaction open, whose locks
//! the next leader would wait for. So a leader's sessions hold an advisory lock in common, by which they
//! are found and ended.

use super::connection::Connection;
use super::error::{sink_error, words};
use super::watermark;
use crate::sink::origin::admit;
use crate::sink::{Owner, SinkError, SinkProjection, Watermark};

/// Of the advisory lock; the owner's name is no user's choice of a number.
const KEY: &str = "hashtextextended('readside ' || $1, 0)";

/// Takes the watermarks over in `term`, or says that somebody has a greater one. `claimed` is what this
/// process has written before.
pub(super) async fn claim(
    connection: &Connection,
    owner: &Owner,
    projections: &[SinkProjection],
    term: u64,
    claimed: u64,
) -> Result<(), SinkError> {
    let failed = |error| sink_error("take over the watermarks", error);
    let names: Vec<&str> = projections.iter().map(|p| p.name.as_str()).collect();
    let greatest = async || {
        let sql = "SELECT coalesce(max(term), 0) FROM readside.watermark \
                   WHERE projection = ANY ($1) AND owner = $2";
        let row = connection.session().query_one(sql, &[&names, &owner.name()]).await;
        row.and_then(|row| row.try_get::<_, i64>(0)).map(i64::cast_unsigned).map_err(failed)
    };
    admit(term, claimed, greatest().await?)?;
    if term == 0 {
        return Ok(());
    }
    end_sessions(connection, owner.name()).await?;
    let sql = "UPDATE readside.watermark SET term = $3 \
               WHERE projection = ANY ($1) AND owner = $2 AND term < $3";
    let parameter = term.cast_signed();
    connection
        .session()
        .execute(sql, &[&names, &owner.name(), &parameter])
        .await
        .map_err(failed)?;
    // Two may have come at the same time.
    admit(term, term, greatest().await?)?;
    mark_session(connection, owner.name()).await
}

/// Ends what the leader before has open here, and what is left of our own.
async fn end_sessions(connection: &Connection, owner: &str) -> Result<(), SinkError> {
    let sql = format!(
        "SELECT pid, pg_terminate_backend(pid, 5000) FROM pg_locks \
         WHERE locktype = 'advisory' AND objsubid = 1 AND pid <> pg_backend_pid() \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND ((classid::bigint << 32) | objid::bigint) = {KEY}"
    );
    match connection.session().query(&sql, &[&owner]).await {
        Ok(_) => Ok(()),
        // It is another role's: the term holds it back all the same, and its locks end with it.
        Err(error) if error.code().is_some_and(|code| code.code() == "42501") => {
            tracing::warn!(error = words(&error), "a session of the leader before cannot be ended");
            Ok(())
        }
        Err(error) => Err(sink_error("end the sessions of the leader before", error)),
    }
}

/// Makes the session one of the leader's.
pub(super) async fn mark_session(connection: &Connection, owner: &str) -> Result<(), SinkError> {
    let sql = format!("SELECT pg_advisory_lock_shared({KEY})");
    let marked = connection.session().query_one(&sql, &[&owner]).await;
    marked.map(|_| ()).map_err(|error| sink_error("mark the session as the leader's", error))
}

/// The watermarks as they are. Where there are none yet, the leader has made none.
pub(super) async fn look(
    connection: &Connection,
    owner: &Owner,
    projections: &[SinkProjection],
) -> Result<Vec<Option<Watermark>>, SinkError> {
    let failed = |error| sink_error("read the watermarks", error);
    let names: Vec<&str> = projections.iter().map(|p| p.name.as_str()).collect();
    let stored = match watermark::read(connection, &names, &[]).await {
        Ok(stored) => stored,
        Err(error) if is_missing(&error) => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    let ours = |name: &str| {
        let stored = stored.iter().find(|s| s.projection == name && owner.is(&s.owner));
        stored.map(|stored| stored.watermark.clone())
    };
    Ok(names.into_iter().map(ours).collect())
}

/// The table or its schema.
fn is_missing(error: &super::error::Error) -> bool {
    let code = error.code().map(|code| code.code());
    matches!(code, Some("42P01" | "3F000"))
}
