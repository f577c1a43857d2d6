//! What is there: versions, types, tables and whose they are. Read-only, but for [`own_schema`].

use std::collections::BTreeSet;

use super::connection::Connection;
use super::error::{Error, retryable, sink_error};
use super::target::{Nulls, Stored, Table, TableColumn, quote_literal, show};
use super::watermark;
use crate::config::{PostgresTarget, Target};
use crate::sink::{SinkError, SinkProjection};
use crate::value::{Column, Type};

/// Tid ranges, `max(tid)` and multiranges are of this version.
pub(super) const VERSION_MIN: u32 = 140_000;
/// NULLS NOT DISTINCT is of this one.
const VERSION_NULLS_IN_KEYS: u32 = 150_000;

pub(super) async fn server(connection: &Connection) -> Result<(), SinkError> {
    let version = connection.session().version();
    if version < VERSION_MIN {
        return Err(SinkError::Fatal {
            what: format!("the server is PostgreSQL {}", version / 10_000),
            hint: "use PostgreSQL 14 or newer as a sink".into(),
        });
    }
    let standby = connection.session().query_one("SELECT pg_is_in_recovery()", &[]).await;
    match standby.and_then(|row| row.try_get(0)) {
        Ok(false) => Ok(()),
        Ok(true) => Err(retryable("the server is a standby: it takes no writes")),
        Err(error) => Err(sink_error("look at the server", error)),
    }
}

/// Creates the schema and the watermarks' table where they are missing. Existence is asked first: IF NOT
/// EXISTS wants the privilege to create even then.
pub(super) async fn own_schema(connection: &Connection) -> Result<(), Error> {
    let sql =
        "SELECT to_regnamespace('readside') IS NULL, to_regclass('readside.watermark') IS NULL";
    let row = connection.session().query_one(sql, &[]).await?;
    if row.try_get(0)? {
        connection.batch(watermark::CREATE_SCHEMA).await?;
    }
    if row.try_get(1)? {
        return connection.batch(watermark::CREATE_TABLE).await;
    }
    let sql = "SELECT EXISTS (SELECT FROM pg_attribute \
               WHERE attrelid = 'readside.watermark'::regclass AND attname = 'term')";
    if !connection.session().query_one(sql, &[]).await?.try_get::<_, bool>(0)? {
        connection.batch(watermark::ADD_TERM).await?;
    }
    Ok(())
}

/// The tables of all projections, with their columns' types in this database.
pub(super) async fn tables(
    connection: &Connection,
    projections: &[SinkProjection],
) -> Result<Vec<Table>, Error> {
    let columns: Vec<&Column> = projections.iter().flat_map(|p| p.columns.iter()).collect();
    let mut stored = stored_types(connection, &columns).await?.into_iter();
    let mut tables = Vec::new();
    let nulls = match connection.session().version() >= VERSION_NULLS_IN_KEYS {
        true => Nulls::InKeys,
        false => Nulls::Refused,
    };
    for (position, projection) in projections.iter().enumerate() {
        let stored: Vec<Stored> = stored.by_ref().take(projection.columns.len()).collect();
        for target in postgres_targets(projection) {
            tables.push(Table::new(position, projection, target, stored.clone(), nulls));
        }
    }
    Ok(tables)
}

pub(super) fn postgres_targets(
    projection: &SinkProjection,
) -> impl Iterator<Item = &PostgresTarget> {
    projection.targets.iter().filter_map(|target| match target {
        Target::Postgres(target) => Some(target),
        Target::Redis(_) | Target::Elasticsearch(_) => None,
    })
}

/// Types with fixed oids, the same in every database, come first among the oids.
const FIXED_OID_END: u32 = 10_000;

/// How each column is stored here:
/// * a built-in type as itself, with its modifier;
/// * an extension's type as itself where this database has it too;
/// * any other (enum, domain, composite, range, a type from elsewhere) as what its values are: domains
///   as their base type, enums and composites as text, arrays of them as text[].
async fn stored_types(connection: &Connection, columns: &[&Column]) -> Result<Vec<Stored>, Error> {
    // Of an extension, or an array of such a type.
    let sql = "
        SELECT c.sql_type, t.oid
        FROM unnest($1::text[]) AS c(sql_type)
        JOIN pg_type AS t ON t.oid = to_regtype(c.sql_type)
        LEFT JOIN pg_type AS e ON e.oid = t.typelem AND e.typarray = t.oid
        WHERE coalesce(e.typtype, t.typtype) = 'b' AND EXISTS (
            SELECT FROM pg_depend AS d
            WHERE d.classid = 'pg_type'::regclass AND d.objid = coalesce(e.oid, t.oid)
            AND d.deptype = 'e')";
    let foreign: BTreeSet<&str> = columns
        .iter()
        .filter(|column| column.type_oid >= FIXED_OID_END)
        .map(|column| column.sql_type.as_str())
        .collect();
    let foreign: Vec<&str> = foreign.into_iter().collect();
    let mut known = Vec::new();
    for row in connection.session().query(sql, &[&foreign]).await? {
        known.push((row.try_get::<_, String>(0)?, row.try_get::<_, u32>(1)?));
    }
    let choose = |column: &Column| {
        if column.type_oid < FIXED_OID_END && !names_a_catalog_entry(column.type_oid) {
            return (column.type_oid, column.typmod);
        }
        match known.iter().find(|(sql_type, _)| *sql_type == column.sql_type) {
            Some((_, oid)) => (*oid, column.typmod),
            None => (nearest(&column.ty), -1),
        }
    };
    let (oids, typmods): (Vec<u32>, Vec<i32>) = columns.iter().map(|column| choose(column)).unzip();
    let sql = "
        SELECT w.typmod, coalesce(t.oid, 'text'::regtype),
            CASE WHEN t.oid IS NULL THEN 'text' ELSE format_type(t.oid, w.typmod) END,
            CASE WHEN t.oid IS NULL THEN 'text' ELSE format_type(t.oid, -1) END
        FROM unnest($1::oid[], $2::int[]) WITH ORDINALITY AS w(oid, typmod, position)
        LEFT JOIN pg_type AS t ON t.oid = w.oid
        ORDER BY w.position";
    let rows = connection.session().query(sql, &[&oids, &typmods]).await?;
    let stored = |row: &tokio_postgres::Row| {
        Ok(Stored {
            typmod: row.try_get(0)?,
            oid: row.try_get(1)?,
            declared: row.try_get(2)?,
            base: row.try_get(3)?,
        })
    };
    rows.iter().map(stored).collect()
}

/// regclass and its like: their values mean something in their own database alone.
fn names_a_catalog_entry(oid: u32) -> bool {
    matches!(oid, 24 | 2202..=2206 | 3734 | 3769 | 4089 | 4096 | 4191)
        || matches!(oid, 1008 | 2207..=2211 | 3735 | 3770 | 4090 | 4097 | 4192)
}

/// The built-in type whose values these are.
fn nearest(ty: &Type) -> u32 {
    match ty {
        Type::Bool => 16,
        Type::Int2 => 21,
        Type::Int4 => 23,
        Type::Int8 => 20,
        Type::Oid => 26,
        Type::Float4 => 700,
        Type::Float8 => 701,
        Type::Numeric => 1700,
        Type::Bpchar => 1042,
        Type::Bytea => 17,
        Type::Date => 1082,
        Type::Time => 1083,
        Type::TimeTz => 1266,
        Type::Timestamp => 1114,
        Type::TimestampTz => 1184,
        Type::Interval => 1186,
        Type::Uuid => 2950,
        Type::PgLsn => 3220,
        Type::Json => 114,
        Type::Jsonb => 3802,
        Type::Array(element, b',') => array_of(nearest(element)),
        // Those whose values are known by their text alone.
        _ => TEXT,
    }
}

const TEXT: u32 = 25;

fn array_of(element: u32) -> u32 {
    match element {
        16 => 1000,
        21 => 1005,
        23 => 1007,
        20 => 1016,
        26 => 1028,
        700 => 1021,
        701 => 1022,
        1700 => 1231,
        1042 => 1014,
        17 => 1001,
        1082 => 1182,
        1083 => 1183,
        1266 => 1270,
        1114 => 1115,
        1184 => 1185,
        1186 => 1187,
        2950 => 2951,
        114 => 199,
        3802 => 3807,
        _ => 1009,
    }
}

/// A relation that stands where a target is to be.
pub(super) struct Found {
    pub(super) oid: u32,
    /// Of its rows: another one after TRUNCATE.
    pub(super) file: u32,
    kind: String,
    columns: Vec<(String, u32, i32)>,
    /// As SQL, by position in `columns`.
    types: Vec<String>,
    unique: Vec<Unique>,
}

/// An index that an upsert's ON CONFLICT can use.
struct Unique {
    columns: Vec<String>,
    nulls_not_distinct: bool,
}

pub(super) async fn find(
    connection: &Connection,
    schema: &str,
    name: &str,
) -> Result<Option<Found>, Error> {
    let sql = "
        SELECT c.oid, c.relkind::text,
            array_agg(a.attname::text ORDER BY a.attnum),
            array_agg(a.atttypid ORDER BY a.attnum),
            array_agg(a.atttypmod ORDER BY a.attnum),
            array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum),
            coalesce(pg_relation_filenode(c.oid), 0)
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE n.nspname = $1 AND c.relname = $2
        GROUP BY c.oid, c.relkind";
    let Some(row) = connection.session().query_opt(sql, &[&schema, &name]).await? else {
        return Ok(None);
    };
    let oid: u32 = row.try_get(0)?;
    let names: Vec<String> = row.try_get(2)?;
    let (oids, typmods): (Vec<u32>, Vec<i32>) = (row.try_get(3)?, row.try_get(4)?);
    let columns = std::iter::zip(names, std::iter::zip(oids, typmods))
        .map(|(name, (oid, typmod))| (name, oid, typmod))
        .collect();
    // An index over (true) has no columns: at most one row. Before PostgreSQL 15, pg_index does not say
    // how NULLs compare.
    let sql = "
        SELECT array(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
                JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                WHERE k.position <= i.indnkeyatts),
            coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false)
        FROM pg_index AS i
        WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate
        AND i.indpred IS NULL
        AND (i.indexprs IS NULL OR pg_get_expr(i.indexprs, i.indrelid) = 'true')";
    let unique = connection.session().query(sql, &[&oid]).await?;
    let unique = unique.iter().map(|row| {
        Ok::<_, Error>(Unique { columns: row.try_get(0)?, nulls_not_distinct: row.try_get(1)? })
    });
    Ok(Some(Found {
        oid,
        file: row.try_get(6)?,
        kind: row.try_get(1)?,
        columns,
        types: row.try_get(5)?,
        unique: unique.collect::<Result<_, _>>()?,
    }))
}

impl Found {
    /// Has at least the table's columns and key, so that steps can go on.
    pub(super) fn serves(&self, table: &Table) -> bool {
        self.is_table() && self.missing(table).is_empty() && self.has_key(table)
    }

    /// All that it lacks are columns, of names that it does not have.
    pub(super) fn would_serve_with_more(&self, table: &Table) -> bool {
        let is_new =
            |column: &&TableColumn| self.columns.iter().all(|(name, ..)| *name != column.name);
        self.is_table() && self.has_key(table) && self.missing(table).iter().all(is_new)
    }

    /// Columns may be added to it, and no more.
    pub(super) fn can_grow_to(&self, table: &Table) -> bool {
        self.serves(table) || self.would_serve_with_more(table)
    }

    /// Is what `table` would be if we had created it, so that a difference can be applied.
    pub(super) fn is_same(&self, table: &Table) -> bool {
        self.serves(table) && self.surplus(table).is_empty()
    }

    pub(super) fn is_table(&self) -> bool {
        self.kind == "r"
    }

    fn has_key(&self, table: &Table) -> bool {
        let key: BTreeSet<&str> = table.key_names().into_iter().collect();
        let nulls = table.has_nulls_in_key();
        let same = |index: &Unique| {
            (index.nulls_not_distinct || !nulls)
                && index.columns.iter().map(String::as_str).collect::<BTreeSet<_>>() == key
        };
        self.unique.iter().any(same)
    }

    pub(super) fn missing<'t>(&self, table: &'t Table) -> Vec<&'t TableColumn> {
        let here = |column: &&TableColumn| {
            !self.columns.iter().any(|(name, oid, typmod)| {
                *name == column.name && *oid == column.stored.oid && *typmod == column.stored.typmod
            })
        };
        table.columns.iter().filter(here).collect()
    }

    /// Columns of the same name and type are not surplus, columns of another type are.
    fn surplus(&self, table: &Table) -> Vec<String> {
        let wanted = |(name, oid, typmod): &(String, u32, i32)| {
            table.columns.iter().any(|column| {
                *name == column.name && *oid == column.stored.oid && *typmod == column.stored.typmod
            })
        };
        std::iter::zip(&self.columns, &self.types)
            .filter(|(column, _)| !wanted(column))
            .map(|((name, _, _), ty)| format!("{} {ty}", show(name)))
            .collect()
    }

    /// Why a table that is not ours cannot be taken over, and what to do.
    pub(super) fn refusal(&self, table: &Table) -> Option<(String, String)> {
        let shown = &table.shown;
        if !self.is_table() {
            let kind = match self.kind.as_str() {
                "v" => "a view",
                "m" => "a materialized view",
                "f" => "a foreign table",
                "p" => "a partitioned table",
                "S" => "a sequence",
                "i" | "I" => "an index",
                _ => "not a table",
            };
            let hint = "choose another name for the target".into();
            return Some((format!("{shown} exists and is {kind}"), hint));
        }
        let missing = self.missing(table);
        let surplus = self.surplus(table);
        if !missing.is_empty() || !surplus.is_empty() {
            let missing = missing
                .iter()
                .map(|column| format!("{} {}", show(&column.name), column.stored.declared));
            let missing: Vec<String> = missing.collect();
            let mut what = format!("{shown} exists with other columns:");
            for (word, columns) in [("lacks", missing), ("also has", surplus)] {
                if !columns.is_empty() {
                    what = format!("{what} it {word} {};", columns.join(", "));
                }
            }
            what.pop();
            let hint = "choose another name for the target, or drop or rename that table".into();
            return Some((what, hint));
        }
        if !self.has_key(table) {
            let key = table.key_names();
            let nulls = if table.has_nulls_in_key() { " NULLS NOT DISTINCT" } else { "" };
            let key = key.join(", ");
            let what = format!("{shown} exists without a unique index on ({key}){nulls}");
            return Some((what, format!("type:\n{};", table.create_key(&table.live.path))));
        }
        None
    }
}

/// Whose a table is.
pub(super) enum Holder {
    Nobody,
    Us,
    Other { projection: String, owner: String },
}

/// By the watermarks that name this projection or this table.
pub(super) fn holder(
    stored: &[watermark::Stored],
    owner: &str,
    projection: &str,
    table: Option<u32>,
) -> Holder {
    let names_table =
        |stored: &watermark::Stored| table.is_some_and(|oid| stored.target.contains(&oid));
    let concerned = stored.iter().filter(|s| s.projection == projection || names_table(s));
    let mut holder = Holder::Nobody;
    for stored in concerned {
        if stored.owner != owner {
            let (projection, owner) = (stored.projection.clone(), stored.owner.clone());
            return Holder::Other { projection, owner };
        }
        if names_table(stored) {
            holder = Holder::Us;
        }
    }
    holder
}

/// What an owner conflict says.
pub(super) fn conflict(table: &Table, projection: &str, owner: &str) -> (String, String) {
    let what = format!(
        "{} is written by another pipeline: the watermark of {projection} names the owner {owner}",
        table.shown
    );
    let hint = format!(
        "choose another table or database; or, if that pipeline is no more, type:\n\
         DELETE FROM readside.watermark WHERE projection = {};",
        quote_literal(projection)
    );
    (what, hint)
}
