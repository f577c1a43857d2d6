//! `readside.watermark`: where each projection stands, written in the transaction of its rows.
//!
//! `target` holds the tables' oids, `files` those of their rows: after a DROP, a re-creation, a restore or a
//! TRUNCATE they are others, and the watermark says nothing about them any more.

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, PgLsn, ToSql, Type as SqlType};
use tokio_postgres::{Row, Statement};

use super::connection::{Connection, Pipeline};
use super::error::Error;
use super::fill;
use crate::lsn::Lsn;
use crate::sink::{Origin, Owner, SinkProjection, Step, Watermark};

pub(super) const CREATE_SCHEMA: &str = "CREATE SCHEMA readside";

pub(super) const CREATE_TABLE: &str = "
    CREATE TABLE readside.watermark (
        projection text PRIMARY KEY,
        lsn pg_lsn NOT NULL,
        committed_at timestamptz NOT NULL,
        settled boolean NOT NULL,
        generation bigint NOT NULL,
        owner text NOT NULL,
        fingerprint text NOT NULL,
        history text NOT NULL,
        target oid[] NOT NULL,
        files oid[] NOT NULL,
        term bigint NOT NULL DEFAULT 0
    );
    COMMENT ON TABLE readside.watermark IS
        'Every change before lsn is in the tables of the projection; written by Readside alone'";

/// Tables of an earlier version lack it.
pub(super) const ADD_TERM: &str =
    "ALTER TABLE readside.watermark ADD COLUMN IF NOT EXISTS term bigint NOT NULL DEFAULT 0";

/// A NULL for `target`, `owner`, `lsn` or `term` breaks the statement, and with it the transaction, where
/// * a table is no longer the one that the watermark is about, or its rows are in another file,
/// * another pipeline has written the row,
/// * a later leader of our group has written the row,
/// * the row is further already (P3): a session that was believed dead comes too late.
const WRITE: &str = "
    INSERT INTO readside.watermark AS w
        (projection, lsn, committed_at, settled, generation, owner, fingerprint, history, target, files,
         term)
    SELECT p.name, $1, $2, true, p.generation, $3, p.fingerprint, $10,
        (SELECT CASE WHEN bool_and(coalesce(
                    to_regclass(t.path) = t.oid AND pg_relation_filenode(t.oid) = t.file, false))
                THEN array_agg(t.oid) END
         FROM unnest($7::text[], $8::text[], $9::oid[], $11::oid[]) AS t(projection, path, oid, file)
         WHERE t.projection = p.name),
        (SELECT array_agg(t.file)
         FROM unnest($7::text[], $8::text[], $9::oid[], $11::oid[]) AS t(projection, path, oid, file)
         WHERE t.projection = p.name),
        $12
    FROM unnest($4::text[], $5::bigint[], $6::text[]) AS p(name, generation, fingerprint)
    ON CONFLICT (projection) DO UPDATE SET
        lsn = CASE WHEN w.lsn <= excluded.lsn THEN excluded.lsn END,
        committed_at = excluded.committed_at,
        settled = excluded.settled,
        generation = excluded.generation,
        owner = CASE WHEN w.owner = excluded.owner THEN excluded.owner END,
        fingerprint = excluded.fingerprint,
        history = excluded.history,
        target = excluded.target,
        files = excluded.files,
        term = CASE WHEN w.term <= excluded.term THEN excluded.term END";

/// A table as a watermark names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relation {
    pub(super) oid: u32,
    /// Of its rows.
    pub(super) file: u32,
}

/// A row of the table.
pub(super) struct Stored {
    pub(super) projection: String,
    pub(super) owner: String,
    pub(super) target: Vec<u32>,
    /// In the order of `target`.
    pub(super) files: Vec<u32>,
    pub(super) watermark: Watermark,
}

impl Stored {
    /// Whether it is about this table, and whether about its rows.
    pub(super) fn names(&self, table: Relation) -> Option<bool> {
        let at = self.target.iter().position(|oid| *oid == table.oid)?;
        Some(self.files.get(at) == Some(&table.file))
    }
}

/// Those that concern any of these projections or tables.
pub(super) async fn read(
    connection: &Connection,
    projections: &[&str],
    tables: &[u32],
) -> Result<Vec<Stored>, Error> {
    let sql = "SELECT projection, lsn, committed_at, settled, generation, owner, fingerprint, \
               history, target, files, coalesce((to_jsonb(w) ->> 'term')::bigint, 0) AS term \
               FROM readside.watermark AS w WHERE projection = ANY ($1) OR target && $2::oid[]";
    let rows = connection.session().query(sql, &[&projections, &tables]).await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &Row) -> Result<Stored, Error> {
    let lsn = Lsn(row.try_get::<_, PgLsn>("lsn")?.into());
    Ok(Stored {
        projection: row.try_get("projection")?,
        owner: row.try_get("owner")?,
        target: row.try_get("target")?,
        files: row.try_get("files")?,
        watermark: Watermark {
            lsn,
            reaching: lsn,
            committed_at: row.try_get::<_, Microseconds>("committed_at")?.0,
            settled: row.try_get("settled")?,
            generation: row.try_get::<_, i64>("generation")?.cast_unsigned(),
            fingerprint: row.try_get("fingerprint")?,
            history: row.try_get("history")?,
            term: row.try_get::<_, i64>("term")?.cast_unsigned(),
        },
    })
}

/// Removes what a projection's finished fill takes the place of.
pub(super) async fn delete(
    connection: &Connection,
    owner: &str,
    projection: &str,
    tables: &[u32],
) -> Result<(), Error> {
    let sql = "DELETE FROM readside.watermark \
               WHERE owner = $1 AND (projection = $2 OR target && $3::oid[])";
    connection.session().execute(sql, &[&owner, &projection, &tables]).await.map(|_| ())
}

/// The watermark of a log is of another history, whose positions may be further than this one's: it stands before
/// all that will come. (Of rows a fill takes the watermark's place.)
pub(super) async fn begin_anew(
    connection: &Connection,
    owner: &str,
    projection: &str,
    history: &str,
) -> Result<(), Error> {
    let sql = "UPDATE readside.watermark SET lsn = '0/0', settled = false, fingerprint = '', history = $3 \
               WHERE owner = $1 AND projection = $2";
    let told = connection.session().execute(sql, &[&owner, &projection, &history]).await;
    told.map(|_| ())
}

/// What the system before has left to this one: its watermarks name another owner from here on, which
/// fences it, and the tables of its unfinished fills go.
pub(super) async fn take_over(
    connection: &Connection,
    owner: &Owner,
    projections: &[SinkProjection],
) -> Result<(), Error> {
    let names: Vec<&str> = projections.iter().map(|p| p.name.as_str()).collect();
    let sql = "SELECT DISTINCT owner FROM readside.watermark WHERE projection = ANY ($1)";
    for row in connection.session().query(sql, &[&names]).await? {
        let found: String = row.try_get(0)?;
        if found == owner.name() || !owner.is(&found) {
            continue;
        }
        tracing::warn!(from = found, to = %owner, "the watermarks are taken over");
        let sql = "UPDATE readside.watermark SET owner = $1 WHERE owner = $2";
        connection.session().execute(sql, &[&owner.name(), &found]).await?;
        fill::drop_leftovers(connection, &found, &[]).await?;
    }
    Ok(())
}

/// All watermarks of a step, for one statement.
pub(super) struct Watermarks {
    statement: Statement,
    lsn: PgLsn,
    committed_at: Microseconds,
    owner: String,
    history: String,
    projections: Vec<String>,
    generations: Vec<i64>,
    fingerprints: Vec<String>,
    tables: Tables,
    term: i64,
}

/// The tables that the watermarks are about.
#[derive(Default)]
struct Tables {
    projections: Vec<String>,
    paths: Vec<String>,
    oids: Vec<u32>,
    files: Vec<u32>,
}

impl Watermarks {
    pub(super) async fn new(
        connection: &mut Connection,
        step: &Step,
        origin: &Origin,
        term: u64,
    ) -> Result<Self, Error> {
        Ok(Self {
            statement: connection.statement(WRITE).await?,
            lsn: step.position.0.into(),
            committed_at: Microseconds(step.committed_at),
            owner: origin.owner.name().into(),
            history: origin.history.tag(),
            projections: Vec::new(),
            generations: Vec::new(),
            fingerprints: Vec::new(),
            tables: Tables::default(),
            term: term.cast_signed(),
        })
    }

    pub(super) fn add<'t>(
        &mut self,
        projection: &str,
        generation: u64,
        fingerprint: &str,
        tables: impl Iterator<Item = (&'t str, Relation)>,
    ) {
        for (path, Relation { oid, file }) in tables {
            self.tables.projections.push(projection.into());
            self.tables.paths.push(path.into());
            self.tables.oids.push(oid);
            self.tables.files.push(file);
        }
        self.projections.push(projection.into());
        self.generations.push(generation.cast_signed());
        self.fingerprints.push(fingerprint.into());
    }

    pub(super) fn write<'a>(&'a self, pipeline: Pipeline<'a>) -> Pipeline<'a> {
        pipeline.execute(
            &self.statement,
            vec![
                &self.lsn,
                &self.committed_at,
                &self.owner,
                &self.projections,
                &self.generations,
                &self.fingerprints,
                &self.tables.projections,
                &self.tables.paths,
                &self.tables.oids,
                &self.history,
                &self.tables.files,
                &self.term,
            ],
        )
    }
}

/// timestamptz as the wire has it: since 2000-01-01 UTC.
#[derive(Debug, Clone, Copy)]
struct Microseconds(i64);

type BoxError = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Microseconds {
    fn to_sql(&self, _: &SqlType, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &SqlType) -> bool {
        *ty == SqlType::TIMESTAMPTZ
    }

    tokio_postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Microseconds {
    fn from_sql(_: &SqlType, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(i64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(ty: &SqlType) -> bool {
        *ty == SqlType::TIMESTAMPTZ
    }
}
