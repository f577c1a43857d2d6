//! A finished fill becomes what readers see, within the transaction of a step: as the target itself where
//! there is none, as a difference where the target has the same columns, in the target's place else.

use std::time::Duration;

use super::connection::{Connection, PLAN_ROWS, PLAN_WHOLE_TABLES};
use super::error::{Error, retryable, sink_error, words};
use super::prepare::{Found, Holder, conflict, find, holder};
use super::target::{Table, quote};
use super::watermark::{self, Relation};
use super::{indexes, sift};
use crate::lsn::Lsn;
use crate::sink::{Poison, SinkError, SinkProjection};

/// An exclusive lock that waits makes every reader behind it wait too.
const LOCK_TIMEOUT: &str = "2s";
const LOCK_ATTEMPTS_MAX: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// Longest name in a database, in bytes.
const NAME_BYTES_MAX: usize = 63;

pub(super) struct Finished {
    /// The target.
    pub(super) relation: Relation,
    /// The table's that had its name before.
    pub(super) replaced: Option<u32>,
    pub(super) poison: Vec<Poison>,
}

pub(super) async fn finish(
    connection: &Connection,
    table: &Table,
    projection: &SinkProjection,
    owner: &str,
    lsn: Lsn,
) -> Result<Finished, SinkError> {
    let failed = |error| sink_error("put a fill in its place", error);
    let fill = find(connection, &table.schema, &table.fill.name).await.map_err(failed)?;
    let Some(fill) = fill else { return Err(super::fill::lost(&projection.name)) };
    let Some(found) = target(connection, table, projection, owner).await? else {
        rename(connection, table, fill.oid).await.map_err(failed)?;
        let relation = Relation { oid: fill.oid, file: fill.file };
        return Ok(Finished { relation, replaced: None, poison: Vec::new() });
    };
    if found.is_same(table) {
        let poison = apply_difference(connection, table, projection, lsn).await?;
        let relation = Relation { oid: found.oid, file: found.file };
        return Ok(Finished { relation, replaced: None, poison });
    }
    lock(connection, table).await?;
    inherit(connection, table, found.oid, fill.oid).await.map_err(failed)?;
    drop_old(connection, table).await?;
    rename(connection, table, fill.oid).await.map_err(failed)?;
    let relation = Relation { oid: fill.oid, file: fill.file };
    Ok(Finished { relation, replaced: Some(found.oid), poison: Vec::new() })
}

/// Whether a fill can take the target's place: what stands there is ours, and where the columns are others
/// nothing depends on it.
pub(super) async fn can_be_replaced(
    connection: &Connection,
    table: &Table,
    projection: &SinkProjection,
    owner: &str,
) -> Result<(), SinkError> {
    let Some(found) = target(connection, table, projection, owner).await? else { return Ok(()) };
    if found.is_same(table) {
        return Ok(());
    }
    let rows = connection.session().query(DEPENDENTS, &[&found.oid]).await;
    let rows = rows.map_err(|error| sink_error("look for what depends on a target", error))?;
    let dependents: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
    if dependents.is_empty() {
        return Ok(());
    }
    Err(depended_on(table, &format!("{} depends on it", dependents.join(", "))))
}

/// Views and foreign keys of others. What else there may be shows when the old table is to be dropped.
const DEPENDENTS: &str = "
    SELECT DISTINCT pg_describe_object('pg_class'::regclass, r.ev_class, 0)
    FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = $1 AND r.ev_class <> $1
    UNION ALL
    SELECT pg_describe_object('pg_constraint'::regclass, c.oid, 0)
    FROM pg_constraint AS c WHERE c.contype = 'f' AND c.confrelid = $1 AND c.conrelid <> $1";

fn depended_on(table: &Table, why: &str) -> SinkError {
    SinkError::Fatal {
        what: format!("{} cannot be replaced by a table with other columns: {why}", table.shown),
        hint: "drop what depends on it and create it again afterwards".into(),
    }
}

/// What stands under the target's name; it is ours, or could have been made by us.
pub(super) async fn target(
    connection: &Connection,
    table: &Table,
    projection: &SinkProjection,
    owner: &str,
) -> Result<Option<Found>, SinkError> {
    let failed = |error| sink_error("look at the target", error);
    let found = find(connection, &table.schema, &table.name).await.map_err(failed)?;
    let oid = found.as_ref().map(|found| found.oid);
    let oids: Vec<u32> = oid.into_iter().collect();
    let stored = watermark::read(connection, &[&projection.name], &oids).await.map_err(failed)?;
    let refusal = match (holder(&stored, owner, &projection.name, oid), &found) {
        (Holder::Other { projection, owner }, _) => Some(conflict(table, &projection, &owner)),
        (Holder::Nobody, Some(found)) => found.refusal(table),
        (Holder::Us, Some(found)) if !found.is_table() => found.refusal(table),
        (Holder::Us | Holder::Nobody, _) => None,
    };
    match refusal {
        Some((what, hint)) => Err(SinkError::Fatal { what, hint }),
        None => Ok(found),
    }
}

async fn apply_difference(
    connection: &Connection,
    table: &Table,
    projection: &SinkProjection,
    lsn: Lsn,
) -> Result<Vec<Poison>, SinkError> {
    let failed = |error| sink_error("apply the difference to a target", error);
    let delete = format!("{PLAN_WHOLE_TABLES}; {}", table.delete_missing());
    connection.batch(&delete).await.map_err(failed)?;
    let upsert = |condition: &str| table.upsert_different(condition);
    let refused = sift::by_halves(connection, &table.fill.path, upsert).await.map_err(failed)?;
    for row in &refused {
        connection.batch(&table.delete_matching(&row.condition)).await.map_err(failed)?;
    }
    let path = &table.fill.path;
    let poison = sift::poison(connection, table, projection, path, refused, lsn).await?;
    indexes::reconcile(connection, table).await.map_err(failed)?;
    let end = format!("{PLAN_ROWS}; DROP TABLE {path}");
    connection.batch(&end).await.map_err(failed)?;
    Ok(poison)
}

/// The fill takes the target's name, its indexes those that they would have had from the start.
async fn rename(connection: &Connection, table: &Table, fill: u32) -> Result<(), Error> {
    let sql = "
        SELECT c.relname::text, i.indisprimary,
            (SELECT string_agg(a.attname, '_' ORDER BY a.attnum)
             FROM pg_attribute AS a WHERE a.attrelid = c.oid)
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indrelid = $1 ORDER BY c.oid";
    let indexes = connection.session().query(sql, &[&fill]).await?;
    let rename = format!("ALTER TABLE {} RENAME TO {}", table.fill.path, quote(&table.name));
    connection.batch(&rename).await?;
    for row in indexes {
        let (name, is_key): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
        let columns: String = row.try_get(2)?;
        let new = match is_key {
            true => free_name(connection, table, "", "pkey").await?,
            false => free_name(connection, table, &columns, "idx").await?,
        };
        let path = format!("{}.{}", quote(&table.schema), quote(&name));
        connection.batch(&format!("ALTER INDEX {path} RENAME TO {}", quote(&new))).await?;
    }
    // Nothing but the comment says any more that it is a fill.
    let sql = "SELECT starts_with(obj_description($1, 'pg_class'), $2)";
    let marked = connection.session().query_one(sql, &[&fill, &super::fill::MARK]).await?;
    if marked.try_get::<_, Option<bool>>(0)?.unwrap_or(false) {
        connection.batch(&format!("COMMENT ON TABLE {} IS NULL", table.live.path)).await?;
    }
    Ok(())
}

/// As Postgres names an index: table, columns and kind, and a number where that is taken.
async fn free_name(
    connection: &Connection,
    table: &Table,
    columns: &str,
    kind: &str,
) -> Result<String, Error> {
    let sql = "
        SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2";
    let mut number = 0;
    loop {
        let kind = if number == 0 { kind.to_owned() } else { format!("{kind}{number}") };
        let name = index_name(&table.name, columns, &kind);
        if connection.session().query_opt(sql, &[&table.schema, &name]).await?.is_none() {
            return Ok(name);
        }
        number += 1;
    }
}

/// What is too long is taken from the longer of table and columns (`makeObjectName` in Postgres).
fn index_name(table: &str, columns: &str, kind: &str) -> String {
    let separators = if columns.is_empty() { 1 } else { 2 };
    let room = NAME_BYTES_MAX.saturating_sub(kind.len() + separators);
    let (mut of_table, mut of_columns) = (table.len(), columns.len());
    while of_table + of_columns > room {
        if of_table > of_columns { of_table -= 1 } else { of_columns -= 1 }
    }
    let (table, columns) = (cut(table, of_table), cut(columns, of_columns));
    match columns.is_empty() {
        true => format!("{table}_{kind}"),
        false => format!("{table}_{columns}_{kind}"),
    }
}

/// As many whole characters as fit into so many bytes.
fn cut(text: &str, mut bytes: usize) -> &str {
    while !text.is_char_boundary(bytes) {
        bytes -= 1;
    }
    &text[..bytes]
}

/// Locks the old table against its readers, for the moment until the commit.
async fn lock(connection: &Connection, table: &Table) -> Result<(), SinkError> {
    let path = &table.live.path;
    let attempt = format!(
        "SAVEPOINT swap; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; \
         LOCK TABLE {path} IN ACCESS EXCLUSIVE MODE; SET LOCAL lock_timeout = '10s'; \
         RELEASE SAVEPOINT swap"
    );
    let failed = |error| sink_error("lock the old table", error);
    for _ in 0..LOCK_ATTEMPTS_MAX {
        match connection.batch(&attempt).await {
            Ok(()) => return Ok(()),
            Err(error) if error.code().is_some_and(|code| code.code() == "55P03") => {
                let back = "ROLLBACK TO SAVEPOINT swap; RELEASE SAVEPOINT swap";
                connection.batch(back).await.map_err(failed)?;
                // Lets those through who have queued behind us.
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(retryable(format!(
        "{} could not be locked to put the new one in its place: a long transaction uses it",
        table.shown
    )))
}

/// A view, a foreign key or whatever else depends on the old table stays, and so must the table.
async fn drop_old(connection: &Connection, table: &Table) -> Result<(), SinkError> {
    let path = &table.live.path;
    match connection.batch(&format!("DROP TABLE {path}")).await {
        Ok(()) => Ok(()),
        Err(error) if error.code().is_some_and(|code| code.code() == "2BP01") => {
            Err(depended_on(table, &words(&error)))
        }
        Err(error) => Err(sink_error("drop the old table", error)),
    }
}

/// Statements that give a new table ($2, at the path $3) what people have given to the old one ($1), in
/// the order in which they must be executed; the owner last.
const INHERIT: &str = r"
    WITH old AS (SELECT * FROM pg_class WHERE oid = $1),
    new AS (SELECT * FROM pg_class WHERE oid = $2),
    shared AS (
        SELECT o.attname, o.attnum, o.attacl
        FROM pg_attribute AS o JOIN pg_attribute AS n ON n.attrelid = $2 AND n.attname = o.attname
        WHERE o.attrelid = $1 AND o.attnum > 0 AND NOT o.attisdropped),
    acl AS (
        SELECT NULL::name AS attname, a.* FROM old, aclexplode(relacl) AS a
        UNION ALL
        SELECT attname, a.* FROM shared, aclexplode(attacl) AS a)
    SELECT statement FROM (
        SELECT 1 AS position, 'REVOKE ALL ON ' || $3 || ' FROM ' || CASE WHEN grantee = 0 THEN 'PUBLIC'
            ELSE quote_ident(pg_get_userbyid(grantee)) END AS statement
        FROM new, aclexplode(relacl) WHERE grantee <> relowner
        UNION ALL
        SELECT 2, 'GRANT ' || privilege_type || coalesce(' (' || quote_ident(attname) || ')', '')
            || ' ON ' || $3 || ' TO ' || CASE WHEN grantee = 0 THEN 'PUBLIC'
            ELSE quote_ident(pg_get_userbyid(grantee)) END
            || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
        FROM acl, old WHERE grantee <> relowner
        UNION ALL
        SELECT 3, 'COMMENT ON TABLE ' || $3 || ' IS ' || quote_nullable(obj_description($1, 'pg_class'))
        UNION ALL
        SELECT 3, 'COMMENT ON COLUMN ' || $3 || '.' || quote_ident(attname) || ' IS '
            || quote_literal(col_description($1, attnum))
        FROM shared WHERE col_description($1, attnum) IS NOT NULL
        UNION ALL
        SELECT 4, 'CREATE POLICY ' || quote_ident(polname) || ' ON ' || $3
            || CASE WHEN polpermissive THEN '' ELSE ' AS RESTRICTIVE' END
            || ' FOR ' || CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT'
                WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END
            || ' TO ' || (SELECT string_agg(CASE WHEN r = 0 THEN 'PUBLIC'
                ELSE quote_ident(pg_get_userbyid(r)) END, ', ') FROM unnest(polroles) AS r)
            || coalesce(' USING (' || pg_get_expr(polqual, polrelid) || ')', '')
            || coalesce(' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')', '')
        FROM pg_policy WHERE polrelid = $1
        UNION ALL
        SELECT 5, 'ALTER TABLE ' || $3 || ' ENABLE ROW LEVEL SECURITY' FROM old WHERE relrowsecurity
        UNION ALL
        SELECT 5, 'ALTER TABLE ' || $3 || ' FORCE ROW LEVEL SECURITY' FROM old WHERE relforcerowsecurity
        UNION ALL
        SELECT 6, 'ALTER TABLE ' || $3 || ' OWNER TO ' || quote_ident(pg_get_userbyid(old.relowner))
        FROM old, new WHERE old.relowner <> new.relowner) AS s
    ORDER BY position";

async fn inherit(connection: &Connection, table: &Table, old: u32, new: u32) -> Result<(), Error> {
    let rows = connection.session().query(INHERIT, &[&old, &new, &table.fill.path]).await?;
    for row in rows {
        connection.batch(row.try_get(0)?).await?;
    }
    Ok(())
}
