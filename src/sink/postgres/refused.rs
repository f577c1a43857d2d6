//! `readside.refused`: rows that a group's leader was refused, for the next one, and all that was refused
//! where a history is kept, which cannot be filled again without a gap. Written in the transaction whose
//! watermark moves past them.

use tokio_postgres::types::PgLsn;

use super::PostgresSink;
use super::connection::Connection;
use super::error::{Error, retryable, sink_error};
use crate::engine::Entry;
use crate::lsn::Lsn;
use crate::sink::{
    Outcome, Poison, Refusal, Role, SinkError, SinkProjection, Step, StepProjection,
};

const CREATE_TABLE: &str = "
    CREATE TABLE readside.refused (
        projection text NOT NULL,
        key bytea NOT NULL,
        lsn pg_lsn NOT NULL,
        error text NOT NULL,
        occurrence bytea,
        PRIMARY KEY (projection, key)
    );
    COMMENT ON TABLE readside.refused IS
        'Rows that this database has refused, as their dead letters say; written by Readside alone'";

/// Creates the table where it is missing. Existence is asked first: IF NOT EXISTS wants the privilege to
/// create even then.
pub(super) async fn ensure(connection: &Connection) -> Result<(), Error> {
    let sql = "SELECT to_regclass('readside.refused') IS NULL";
    match connection.session().query_one(sql, &[]).await?.try_get(0)? {
        true => connection.batch(CREATE_TABLE).await,
        false => Ok(()),
    }
}

pub(super) async fn read(
    connection: &Connection,
    projections: &[SinkProjection],
) -> Result<Vec<Refusal>, Error> {
    let names: Vec<&str> = projections.iter().map(|of| of.name.as_str()).collect();
    let sql = "SELECT projection, key, lsn, error, occurrence FROM readside.refused \
               WHERE projection = ANY ($1)";
    let mut refusals = Vec::new();
    for row in connection.session().query(sql, &[&names]).await? {
        let name: &str = row.try_get(0)?;
        let Some(projection) = names.iter().position(|of| *of == name) else { continue };
        let role = projections[projection].role;
        refusals.push(Refusal {
            projection,
            key: row.try_get(1)?,
            lsn: Lsn(row.try_get::<_, PgLsn>(2)?.into()),
            error: row.try_get(3)?,
            occurrence: row.try_get::<_, Option<Vec<u8>>>(4)?.filter(|_| role == Role::Events),
        });
    }
    Ok(refusals)
}

pub(super) async fn write<'a>(
    connection: &Connection,
    projections: &[SinkProjection],
    refusals: impl Iterator<Item = &'a Refusal>,
) -> Result<(), Error> {
    let sql = "INSERT INTO readside.refused (projection, key, lsn, error, occurrence) \
               VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (projection, key) DO UPDATE SET \
               lsn = excluded.lsn, error = excluded.error, occurrence = excluded.occurrence";
    for refusal in refusals {
        let Refusal { projection, key, lsn, error, occurrence } = refusal;
        // Its words may be of any kind; a text takes no zero byte.
        let error = error.replace('\0', "");
        let name = &projections[*projection].name;
        let lsn = PgLsn::from(lsn.0);
        connection.session().execute(sql, &[name, key, &lsn, &error, occurrence]).await?;
    }
    Ok(())
}

pub(super) async fn delete(
    connection: &Connection,
    projection: &str,
    keys: &[&[u8]],
) -> Result<(), Error> {
    let sql = "DELETE FROM readside.refused WHERE projection = $1 AND key = ANY ($2)";
    connection.session().execute(sql, &[&projection, &keys]).await.map(|_| ())
}

/// What the next leader of a group, or who goes on after a crash, has to know of refusals.
impl PostgresSink {
    pub(super) fn remembers(&self) -> bool {
        self.term > 0 || self.tables.iter().any(|table| table.history.is_some())
    }

    /// A row that was refused is in the step: its refusal goes with it.
    pub(super) fn settles_refusals(&self, step: &Step) -> bool {
        let settles = |part: &StepProjection| {
            self.remembered[part.projection].settled_by(&part.entries).next().is_some()
        };
        step.projections.iter().any(settles)
    }

    /// In the step's transaction.
    pub(super) async fn write_refusals(
        &self,
        connection: &Connection,
        step: &Step,
        poison: &[Poison],
    ) -> Result<(), Error> {
        for part in &step.projections {
            let remembered = &self.remembered[part.projection];
            let name = &self.projections[part.projection].name;
            let mut gone: Vec<&[u8]> = remembered.settled_by(&part.entries).collect();
            if self.finishes(part) {
                gone.extend(remembered.of_older());
            }
            if !gone.is_empty() {
                delete(connection, name, &gone).await?;
            }
            if self.finishes(part) {
                write(connection, &self.projections, remembered.of_fill()).await?;
            }
        }
        let refusals = self.refusals_of(poison);
        write(connection, &self.projections, refusals.iter()).await
    }

    fn refusals_of(&self, poison: &[Poison]) -> Vec<Refusal> {
        let role = |poison: &Poison| self.projections[poison.projection].role;
        poison.iter().map(|poison| Refusal::of(poison, role(poison))).collect()
    }

    pub(super) fn remember_step(&mut self, step: &Step, poison: &[Poison]) {
        if !self.remembers() {
            return;
        }
        for part in &step.projections {
            let remembered = &mut self.remembered[part.projection];
            if part.finish_fill {
                remembered.become_current();
            }
            remembered.removed(part.entries.iter().map(Entry::key));
            let refused = poison.iter().filter(|poison| poison.projection == part.projection);
            remembered.wrote(refused.map(|poison| poison.entry.key()));
        }
    }

    pub(super) fn remember_fill(
        &mut self,
        projection: usize,
        entries: &[Entry],
        outcome: &Outcome,
    ) {
        if self.remembers() {
            let refused = self.refusals_of(&outcome.poison);
            self.remembered[projection].filled(entries, refused.into_iter());
        }
    }

    pub(super) async fn read_refusals(&mut self) -> Result<Vec<Refusal>, SinkError> {
        if !self.remembers() {
            return Ok(Vec::new());
        }
        let Some(connection) = &self.steps else {
            return Err(retryable("the connection was lost"));
        };
        let refusals = read(connection, &self.projections).await;
        let refusals = refusals.map_err(|e| sink_error("read the refused rows", e))?;
        for (projection, remembered) in self.remembered.iter_mut().enumerate() {
            let own = refusals.iter().filter(|refusal| refusal.projection == projection);
            remembered.read(own.map(|refusal| refusal.key.clone()));
        }
        Ok(refusals)
    }

    pub(super) async fn forget_refusals(
        &mut self,
        projection: usize,
        keys: &[Vec<u8>],
    ) -> Result<(), SinkError> {
        let remembered = &mut self.remembered[projection];
        let keys = keys.iter().map(Vec::as_slice);
        let keys: Vec<&[u8]> = keys.filter(|key| remembered.is_written(key)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let Some(connection) = self.steps.take() else {
            return Err(retryable("the connection was lost"));
        };
        let name = &self.projections[projection].name;
        let forgotten = delete(&connection, name, &keys).await;
        forgotten.map_err(|e| sink_error("forget refused rows", e))?;
        self.steps = Some(connection);
        remembered.removed(keys.into_iter());
        Ok(())
    }
}
