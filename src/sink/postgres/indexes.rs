//! The configured indexes of a target. A comment says that an index is ours: one that leaves the
//! configuration goes, one that somebody else has made stays.

use super::connection::Connection;
use super::error::Error;
use super::target::{Table, quote};

const MARK: &str = "of the configuration of Readside";

/// On a table that has just been made: all but its key are ours.
pub(super) async fn mark(connection: &Connection, path: &str) -> Result<(), Error> {
    let sql = "
        SELECT indexrelid::regclass::text FROM pg_index
        WHERE indrelid = to_regclass($1) AND NOT indisunique";
    for row in connection.session().query(sql, &[&path]).await? {
        let index: String = row.try_get(0)?;
        connection.batch(&format!("COMMENT ON INDEX {index} IS '{MARK}'")).await?;
    }
    Ok(())
}

/// Gives the target the configured indexes, which the fill beside it has, and takes away those that were
/// configured before.
pub(super) async fn reconcile(connection: &Connection, table: &Table) -> Result<(), Error> {
    let (live, fill) = (&table.live.path, &table.fill.path);
    // A definition from USING on names neither the index nor its table.
    let sql = "
        WITH of AS (
            SELECT i.indrelid = to_regclass($1) AS live, i.indexrelid, n.nspname::text AS schema,
                c.relname::text AS name, i.indisvalid,
                coalesce(obj_description(i.indexrelid, 'pg_class'), '') AS comment,
                substring(pg_get_indexdef(i.indexrelid) FROM ' USING .*$') AS definition
            FROM pg_index AS i
            JOIN pg_class AS c ON c.oid = i.indexrelid
            JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE i.indrelid IN (to_regclass($1), to_regclass($2)) AND NOT i.indisunique)
        SELECT NULL, NULL, f.definition FROM of AS f
        WHERE NOT f.live AND NOT EXISTS (
            SELECT FROM of AS t WHERE t.live AND t.indisvalid AND t.definition = f.definition)
        UNION ALL
        SELECT t.schema, t.name, NULL FROM of AS t
        WHERE t.live AND t.comment = $3 AND NOT EXISTS (
            SELECT FROM of AS f WHERE NOT f.live AND t.definition = f.definition)";
    for row in connection.session().query(sql, &[live, fill, &MARK]).await? {
        let definition: Option<String> = row.try_get(2)?;
        if let Some(definition) = definition {
            // As one statement, whatever the text holds.
            let create = format!("CREATE INDEX ON {live}{definition}");
            connection.session().execute(&create, &[]).await?;
            continue;
        }
        let (schema, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        connection.batch(&format!("DROP INDEX {}.{}", quote(&schema), quote(&name))).await?;
    }
    // Those that were just made have no comment yet.
    let sql = "
        SELECT t.indexrelid::regclass::text FROM pg_index AS t
        WHERE t.indrelid = to_regclass($1) AND NOT t.indisunique
        AND obj_description(t.indexrelid, 'pg_class') IS NULL
        AND EXISTS (
            SELECT FROM pg_index AS f WHERE f.indrelid = to_regclass($2)
            AND substring(pg_get_indexdef(f.indexrelid) FROM ' USING .*$')
              = substring(pg_get_indexdef(t.indexrelid) FROM ' USING .*$'))";
    for row in connection.session().query(sql, &[live, fill]).await? {
        let index: String = row.try_get(0)?;
        connection.batch(&format!("COMMENT ON INDEX {index} IS '{MARK}'")).await?;
    }
    Ok(())
}
