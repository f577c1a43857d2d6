//! `readside check` for this sink: every fault at once, and nothing is created. The one thing tried is an
//! index's text, on a temporary table in a transaction that is rolled back: not even the temporary
//! schema stays.

use super::connection::Connection;
use super::error::{Error, chain, words};
use super::prepare::{self, Found, Holder, VERSION_MIN};
use super::target::{Table, quote, show};
use super::watermark;
use crate::config::{Diagnostic, Place, PostgresTarget, SinkConfig};
use crate::pg;
use crate::sink::{Role, SinkProjection};

/// `owner` is what the watermarks will name; `None` while the source cannot be asked.
pub async fn check(
    config: &SinkConfig,
    owner: Option<&str>,
    projections: &[SinkProjection],
) -> Vec<Diagnostic> {
    let mut faults = Faults { sink: config, found: Vec::new() };
    match Connection::try_open(config).await {
        Ok(connection) => {
            if let Err(error) = look(&connection, owner, projections, &mut faults).await {
                faults.add(format!("cannot be examined: {}", words(&error)), None);
            }
        }
        Err(error) => faults.add(chain(&error), Some(connect_hint(&error).into())),
    }
    faults.found
}

/// What two urls of one database have in common, where that can be asked.
pub async fn store(config: &SinkConfig) -> Option<String> {
    let connection = Connection::try_open(config).await.ok()?;
    let sql = format!("SELECT {}", pg::DATABASE_IDENTITY);
    connection.session().query_one(&sql, &[]).await.ok()?.try_get(0).ok()
}

struct Faults<'a> {
    sink: &'a SinkConfig,
    found: Vec<Diagnostic>,
}

impl Faults<'_> {
    /// About the sink.
    fn add(&mut self, what: String, hint: Option<String>) {
        let what = format!("sink {}: {what}", self.sink.name);
        self.found.push(Diagnostic { what, place: Some(self.sink.place.clone()), hint });
    }

    /// About one target.
    fn add_at(&mut self, place: &Place, what: String, hint: String) {
        let what = format!("sink {}: {what}", self.sink.name);
        self.found.push(Diagnostic { what, place: Some(place.clone()), hint: Some(hint) });
    }
}

fn connect_hint(error: &pg::Error) -> &'static str {
    match error.kind() {
        pg::Kind::Configuration => "correct the url; its parameters are libpq's",
        pg::Kind::Unreachable => "start the server, or correct host and port in the url",
        pg::Kind::Tls => {
            "let the server speak TLS (ssl = on), and name the authority that signed its certificate: \
             sslrootcert=FILE in the url"
        }
        pg::Kind::Authentication => {
            "correct user and password, or let them in by a line in the server's pg_hba.conf"
        }
        pg::Kind::Unsuitable => "correct the hosts or target_session_attrs in the url",
        pg::Kind::Server if error.code() == Some("3D000") => {
            "create the database, or correct its name in the url"
        }
        pg::Kind::Server | pg::Kind::Closed | pg::Kind::Protocol => "look at the server's log",
    }
}

async fn look(
    connection: &Connection,
    owner: Option<&str>,
    projections: &[SinkProjection],
    faults: &mut Faults<'_>,
) -> Result<(), Error> {
    let version = connection.session().version();
    if version < VERSION_MIN {
        let what = format!("the server is PostgreSQL {}", version / 10_000);
        faults.add(what, Some("use PostgreSQL 14 or newer as a sink".into()));
        return Ok(());
    }
    let writable = writable(connection, faults).await?;
    let role = own_schema(connection, faults).await?;
    let tables = prepare::tables(connection, projections).await?;
    let targets = projections.iter().flat_map(prepare::postgres_targets);
    let mut schemas_at_fault = Vec::new();
    for (table, target) in std::iter::zip(&tables, targets) {
        let name = &projections[table.projection].name;
        let found = prepare::find(connection, &table.schema, &table.name).await?;
        if !schemas_at_fault.contains(&&table.schema)
            && !schema(connection, table, &role, &target.place, faults).await?
        {
            schemas_at_fault.push(&table.schema);
        }
        if let Some(found) = &found {
            privileges(connection, table, found, &role, &target.place, faults).await?;
        }
        let is_log = projections[table.projection].role == Role::Events;
        let found = (found.as_ref(), is_log);
        holder(connection, owner, name, table, found, &target.place, faults).await?;
        if let Some(history) = &table.history {
            let (table, place) = (&history.table, &target.place.entry("history"));
            let found = prepare::find(connection, &table.schema, &table.name).await?;
            if let Some(found) = &found {
                privileges(connection, table, found, &role, place, faults).await?;
            }
            holder(connection, owner, name, table, (found.as_ref(), true), place, faults).await?;
        }
        if writable && !target.indexes.is_empty() {
            indexes(connection, table, target, faults).await?;
        }
    }
    Ok(())
}

async fn writable(connection: &Connection, faults: &mut Faults<'_>) -> Result<bool, Error> {
    let sql = "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'";
    let row = connection.session().query_one(sql, &[]).await?;
    if row.try_get(0)? {
        let hint = "point the url at the primary: target_session_attrs=read-write finds it";
        faults.add("the server is a standby: it takes no writes".into(), Some(hint.into()));
        return Ok(false);
    }
    if row.try_get(1)? {
        let hint = "set default_transaction_read_only = off for the role or the database";
        faults.add("its transactions are read-only by default".into(), Some(hint.into()));
        return Ok(false);
    }
    Ok(true)
}

/// The schema `readside` and its table; answers our role's name, quoted.
async fn own_schema(connection: &Connection, faults: &mut Faults<'_>) -> Result<String, Error> {
    let sql = "
        SELECT quote_ident(current_user), quote_ident(current_database()),
            CASE WHEN to_regnamespace('readside') IS NULL
                THEN has_database_privilege(current_database(), 'CREATE') END,
            CASE WHEN w.oid IS NULL AND to_regnamespace('readside') IS NOT NULL
                THEN has_schema_privilege('readside', 'USAGE')
                    AND has_schema_privilege('readside', 'CREATE') END,
            CASE WHEN w.oid IS NOT NULL
                THEN has_schema_privilege('readside', 'USAGE')
                    AND has_table_privilege(w.oid, 'SELECT') AND has_table_privilege(w.oid, 'INSERT')
                    AND has_table_privilege(w.oid, 'UPDATE') AND has_table_privilege(w.oid, 'DELETE')
                END
        FROM (SELECT (
            SELECT c.oid FROM pg_class AS c
            WHERE c.relname = 'watermark' AND c.relnamespace = to_regnamespace('readside')) AS oid
        ) AS w";
    let row = connection.session().query_one(sql, &[]).await?;
    let (role, database): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let lacks = |column| Ok::<_, Error>(row.try_get::<_, Option<bool>>(column)? == Some(false));
    if lacks(2)? {
        faults.add(
            format!("the role {role} may not create the schema readside"),
            Some(format!("type:\nGRANT CREATE ON DATABASE {database} TO {role};")),
        );
    }
    if lacks(3)? {
        faults.add(
            format!("the role {role} may not create tables in the schema readside"),
            Some(format!("type:\nGRANT USAGE, CREATE ON SCHEMA readside TO {role};")),
        );
    }
    if lacks(4)? {
        faults.add(
            format!("the role {role} may not write readside.watermark"),
            Some(format!(
                "type:\nGRANT USAGE ON SCHEMA readside TO {role};\n\
                 GRANT SELECT, INSERT, UPDATE, DELETE ON readside.watermark TO {role};"
            )),
        );
    }
    Ok(role)
}

/// Whether tables can be made in the target's schema, which is made when it is missing.
async fn schema(
    connection: &Connection,
    table: &Table,
    role: &str,
    place: &Place,
    faults: &mut Faults<'_>,
) -> Result<bool, Error> {
    let sql = "
        SELECT quote_ident(current_database()), n.oid IS NOT NULL,
            CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE') END
        FROM (SELECT $1::text) AS wanted(name)
        LEFT JOIN pg_namespace AS n ON n.nspname = wanted.name";
    let row = connection.session().query_one(sql, &[&table.schema]).await?;
    if row.try_get(2)? {
        return Ok(true);
    }
    let (database, exists): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
    let schema = quote(&table.schema);
    let (what, grant) = if exists {
        (
            "create tables in the schema",
            format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};"),
        )
    } else {
        ("create the schema", format!("GRANT CREATE ON DATABASE {database} TO {role};"))
    };
    let what = format!("the role {role} may not {what} {}", show(&table.schema));
    faults.add_at(place, what, format!("type:\n{grant}"));
    Ok(false)
}

/// What a table that is there already must allow us.
async fn privileges(
    connection: &Connection,
    table: &Table,
    found: &Found,
    role: &str,
    place: &Place,
    faults: &mut Faults<'_>,
) -> Result<(), Error> {
    if !found.is_table() {
        return Ok(());
    }
    let sql = "
        SELECT bool_and(has_table_privilege($1::oid, privilege))
        FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS privilege";
    if !connection.session().query_one(sql, &[&found.oid]).await?.try_get::<_, bool>(0)? {
        let what = format!("the role {role} may not read and write the table {}", table.shown);
        let path = &table.live.path;
        let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {path} TO {role};");
        faults.add_at(place, what, format!("type:\n{grant}"));
    }
    Ok(())
}

async fn holder(
    connection: &Connection,
    owner: Option<&str>,
    projection: &str,
    table: &Table,
    (found, only_grows): (Option<&Found>, bool),
    place: &Place,
    faults: &mut Faults<'_>,
) -> Result<(), Error> {
    let sql = "
        SELECT coalesce(has_schema_privilege(c.relnamespace, 'USAGE')
            AND has_table_privilege(c.oid, 'SELECT'), false)
        FROM pg_class AS c WHERE c.relname = 'watermark'
        AND c.relnamespace = to_regnamespace('readside')";
    let readable = connection.session().query_opt(sql, &[]).await?;
    let readable = readable.map(|row| row.try_get(0)).transpose()?.unwrap_or(false);
    let oid = found.map(|found| found.oid);
    let stored = if readable {
        let oids: Vec<u32> = oid.into_iter().collect();
        watermark::read(connection, &[projection], &oids).await?
    } else {
        Vec::new()
    };
    // Without a source to ask for the owner, whoever holds it may be us.
    let assumed = stored.first().map(|stored| stored.owner.as_str());
    let owner = owner.or(assumed).unwrap_or_default();
    let fault = match (prepare::holder(&stored, owner, projection, oid), found) {
        (Holder::Other { projection, owner }, _) => {
            Some(prepare::conflict(table, &projection, &owner))
        }
        (Holder::Nobody, Some(found)) => found.refusal(table),
        (Holder::Us, Some(found)) if !found.is_table() => found.refusal(table),
        // No fill takes its place.
        (Holder::Us, Some(found)) if only_grows && !found.can_grow_to(table) => {
            found.refusal(table)
        }
        (Holder::Us | Holder::Nobody, _) => None,
    };
    if let Some((what, hint)) = fault {
        faults.add_at(place, what, hint);
    }
    Ok(())
}

/// Tries the indexes on an empty table of the same columns.
async fn indexes(
    connection: &Connection,
    table: &Table,
    target: &PostgresTarget,
    faults: &mut Faults<'_>,
) -> Result<(), Error> {
    let path = format!("pg_temp.{}", quote(&table.fill.name));
    let create = format!("BEGIN; {}", table.create("TEMP TABLE", &path));
    // Whoever may make no temporary tables learns of a wrong index from `run`.
    if connection.batch(&create).await.is_ok() {
        let indexes = std::iter::zip(&target.indexes, table.create_indexes(&path));
        for (at, (text, sql)) in indexes.enumerate() {
            connection.batch("SAVEPOINT attempt").await?;
            if let Err(error) = connection.session().execute(&sql, &[]).await {
                let what =
                    format!("the index {text:?} of {} is refused: {}", table.shown, words(&error));
                let hint = format!(
                    "write what follows CREATE INDEX ON {} in SQL, e.g. (customer_id, created_at DESC)",
                    table.shown
                );
                faults.add_at(&target.place.entry("indexes").item(at), what, hint);
            }
            connection.batch("ROLLBACK TO SAVEPOINT attempt").await?;
        }
    }
    connection.batch("ROLLBACK").await
}
