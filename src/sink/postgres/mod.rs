//! PostgreSQL as a sink: each step is one transaction over all tables and their watermarks.
//!
//! | file | what it does |
//! |---|---|
//! | `connection` | one session, its statements, requests that share a round trip |
//! | `target` | a table and every statement about it |
//! | `prepare` | what is there: types, tables, whose they are |
//! | `watermark` | `readside.watermark` |
//! | `encode`, `binary` | rows as arrays and as COPY takes them |
//! | `apply` | rows into tables; the refused ones found |
//! | `fill`, `swap`, `sift` | a new generation: filled, put in its place, its refused rows found |
//! | `indexes` | the configured indexes |
//! | `lead` | one leader of a group at a time, and what the others see |
//! | `refused` | `readside.refused`: what the next leader of a group has to know |
//! | `log` | the table of an event, or of a history |
//! | `history` | versions of rows |
//! | `check` | faults found without touching anything |
//!
//! Steps are written on one connection, fills on another. A connection whose call failed, or was given
//! up half way, is closed, and with it goes its transaction: `open` makes a new one.

mod apply;
mod audit;
mod binary;
mod check;
mod connection;
mod encode;
mod error;
mod fill;
mod history;
mod indexes;
mod lead;
mod log;
mod prepare;
mod refused;
mod sift;
mod swap;
mod target;
#[cfg(test)]
mod tests;
mod watermark;

pub use audit::PostgresAudit;
pub use check::{check, store};

use apply::{Frame, Part, Verb};
use connection::{Connection, Pipeline};
use error::{Error, retryable, sink_error};
use fill::Fill;
use prepare::{Found, Holder};
use target::Table;
use watermark::{Relation, Watermarks};

use super::refused::Remembered;
use super::{
    Origin, Outcome, Poison, Refusal, Role, Sink, SinkError, SinkProjection, Step, StepProjection,
    Watermark,
};
use crate::config::SinkConfig;
use crate::engine::Entry;
use crate::failpoint;
use crate::lsn::Lsn;

/// Ours in the sink's database.
const SCHEMA: &str = "readside";

pub struct PostgresSink {
    config: SinkConfig,
    origin: Origin,
    projections: Vec<SinkProjection>,
    /// Known once `open` has asked this database for the columns' types.
    tables: Vec<Table>,
    /// Each table when it has a watermark.
    relations: Vec<Option<Relation>>,
    /// Each table's history.
    histories: Vec<Option<Relation>>,
    /// What was there when the sink was opened, by projection.
    before: Vec<Option<Watermark>>,
    steps: Option<Connection>,
    filler: Option<Connection>,
    /// By projection.
    fills: Vec<Option<Fill>>,
    /// Projections whose fills the open transaction has put in their places.
    finished: Vec<usize>,
    /// Of each projection that had a watermark at `open`.
    generations: Vec<Option<u64>>,
    /// What this process has written into the watermarks; its session writes no other.
    term: u64,
    /// For looks alone.
    looker: Option<Connection>,
    /// By projection, where refusals are remembered.
    remembered: Vec<Remembered>,
    /// By projection: something there is in its way, and it is left alone.
    blocked: Vec<bool>,
}

/// What a call on a fill works with.
struct Filling<'a> {
    /// To be given back when all went well.
    connection: Connection,
    fill: &'a mut Fill,
    tables: Vec<&'a Table>,
    projection: &'a SinkProjection,
}

impl PostgresSink {
    /// `origin` names the source and its slot, in every watermark.
    pub fn new(config: &SinkConfig, origin: Origin, projections: Vec<SinkProjection>) -> Self {
        let fills = projections.iter().map(|_| None).collect();
        let generations = vec![None; projections.len()];
        let remembered = vec![Remembered::default(); projections.len()];
        let blocked = vec![false; projections.len()];
        Self {
            config: config.clone(),
            origin,
            projections,
            tables: Vec::new(),
            relations: Vec::new(),
            histories: Vec::new(),
            before: Vec::new(),
            steps: None,
            filler: None,
            fills,
            finished: Vec::new(),
            generations,
            term: 0,
            looker: None,
            remembered,
            blocked,
        }
    }

    /// Each table of the projection with its position.
    fn tables_of(&self, projection: usize) -> impl Iterator<Item = (usize, &Table)> {
        self.tables.iter().enumerate().filter(move |(_, table)| table.projection == projection)
    }

    /// The watermark of each projection whose tables are those that it names.
    async fn watermarks(
        &mut self,
        connection: &Connection,
    ) -> Result<Vec<Option<Watermark>>, SinkError> {
        let failed = |error| sink_error("read the watermarks", error);
        self.histories.clear();
        for table in &self.tables {
            let found = match &table.history {
                Some(history) => {
                    let Table { schema, name, .. } = &history.table;
                    let found = prepare::find(connection, schema, name).await.map_err(failed)?;
                    relation(&found)
                }
                None => None,
            };
            self.histories.push(found);
        }
        let mut found = Vec::with_capacity(self.tables.len());
        for table in &self.tables {
            found
                .push(prepare::find(connection, &table.schema, &table.name).await.map_err(failed)?);
        }
        let names: Vec<&str> = self.projections.iter().map(|p| p.name.as_str()).collect();
        let oids: Vec<u32> = found.iter().flatten().map(|found| found.oid).collect();
        let stored = watermark::read(connection, &names, &oids).await.map_err(failed)?;
        self.relations = vec![None; self.tables.len()];
        self.before.clear();
        let mut watermarks = Vec::with_capacity(self.projections.len());
        for (projection, SinkProjection { name, .. }) in self.projections.iter().enumerate() {
            let own = stored.iter().find(|stored| stored.projection == *name);
            if self.blocked[projection] {
                self.before.push(None);
                watermarks.push(None);
                continue;
            }
            let (mut usable, mut whole) = (true, true);
            for (position, table) in self.tables_of(projection) {
                let oid = found[position].as_ref().map(|found| found.oid);
                if let Holder::Other { projection, owner } =
                    prepare::holder(&stored, self.origin.owner.name(), name, oid)
                {
                    let (what, hint) = prepare::conflict(table, &projection, &owner);
                    let projection = table.projection;
                    return Err(SinkError::Blocked { projection, what, hint });
                }
                let named = relation(&found[position]).and_then(|table| own?.names(table));
                let serves = found[position].as_ref().is_some_and(|found| found.serves(table));
                let history = self.histories[position];
                let has_history = table.history.is_none()
                    || history
                        .is_some_and(|table| own.is_some_and(|own| own.names(table).is_some()));
                usable &= named.is_some() && serves && has_history;
                whole &= named == Some(true);
            }
            let judged = own.map(|own| self.origin.history.judge(own.watermark.clone()));
            let is_log = self.projections[projection].role == Role::Events;
            if let (true, Some(own), Some(judged)) = (is_log, own, &judged)
                && judged.history != own.watermark.history
                && judged.lsn < own.watermark.lsn
            {
                watermark::begin_anew(connection, self.origin.owner.name(), name, &judged.history)
                    .await
                    .map_err(|error| sink_error("begin a watermark anew", error))?;
            }
            // A gap tells where the history stood, also where that means nothing any more.
            self.before.push(own.map(|own| own.watermark.clone()));
            let mut own = judged.filter(|_| usable);
            // Truncated, or its rows were written anew: what is in it is not known, but readers may have
            // seen what it says.
            if let Some(own) = own.as_mut().filter(|_| !whole) {
                own.fingerprint.clear();
            }
            watermarks.push(own);
        }
        self.generations = std::iter::zip(&watermarks, &self.projections)
            .map(|(watermark, projection)| {
                let watermark: &Watermark = watermark.as_ref()?;
                let same = watermark.fingerprint == projection.fingerprint;
                same.then_some(watermark.generation)
            })
            .collect();
        for (position, table) in self.tables.iter().enumerate() {
            let is_log = self.projections[table.projection].role == Role::Events;
            if watermarks[table.projection].is_some() || is_log {
                self.relations[position] = relation(&found[position]);
            }
        }
        Ok(watermarks)
    }

    /// Forgets the fills whose tables are gone, and drops the tables of forgotten fills.
    async fn settle_fills(&mut self, connection: &Connection) -> Result<(), SinkError> {
        let begun = |table: &&Table| self.fills[table.projection].is_some();
        let kept: Vec<&Table> = self.tables.iter().filter(begun).collect();
        let present = fill::drop_leftovers(connection, self.origin.owner.name(), &kept).await;
        let present = present.map_err(|e| sink_error("drop the leftovers of a fill", e))?;
        let lost: Vec<usize> = std::iter::zip(kept, present)
            .filter(|(_, present)| !present)
            .map(|(table, _)| table.projection)
            .collect();
        for projection in lost {
            self.fills[projection] = None;
        }
        Ok(())
    }

    async fn filler(&mut self) -> Result<Connection, SinkError> {
        match self.filler.take() {
            Some(connection) => Ok(connection),
            None => {
                let connection = Connection::open(&self.config).await?;
                if self.term > 0 {
                    lead::mark_session(&connection, self.origin.owner.name()).await?;
                }
                Ok(connection)
            }
        }
    }

    async fn filling(&mut self, projection: usize) -> Result<Filling<'_>, SinkError> {
        let connection = self.filler().await?;
        let lost = || fill::lost(&self.projections[projection].name);
        let fill = self.fills[projection].as_mut().ok_or_else(lost)?;
        let of_it = |table: &&Table| table.projection == projection;
        let tables = self.tables.iter().filter(of_it).collect();
        Ok(Filling { connection, fill, tables, projection: &self.projections[projection] })
    }

    /// Whether this part of a step is to put a fill in its place: not, when that has been committed and
    /// only the answer was lost.
    fn finishes(&self, part: &StepProjection) -> bool {
        let done = self.fills[part.projection].is_none()
            && self.generations[part.projection] == Some(part.generation);
        part.finish_fill && !done
    }

    /// Puts the finished fill of a projection in its place. Rows that were refused come back.
    async fn finish(
        &mut self,
        connection: &Connection,
        projection: usize,
        step: &Step,
    ) -> Result<Vec<Poison>, SinkError> {
        let description = &self.projections[projection];
        let complete = self.fills[projection].as_ref().filter(|fill| fill.is_complete());
        let fill = complete.ok_or_else(|| fill::lost(&description.name))?;
        let mut poison = fill.refused.clone();
        let mut replaced = Vec::new();
        for (position, table) in self.tables.iter().enumerate() {
            if table.projection == projection {
                let owner = self.origin.owner.name();
                let finished = swap::finish(connection, table, description, owner, step.reaching)
                    .await
                    .map_err(|error| error.of_projection(projection))?;
                if let Some(history) = &table.history {
                    // The next transaction's commit record may lie at the position itself.
                    let lsn = Lsn(step.position.0.saturating_sub(1));
                    let at = step.committed_at;
                    let failed = |error| sink_error("bring a history to its table", error);
                    history.settle(connection, table, lsn, at).await.map_err(failed)?;
                    if let Some(before) = &self.before[projection] {
                        history::note_gap(connection, &description.name, before, lsn, at)
                            .await
                            .map_err(failed)?;
                    }
                }
                self.relations[position] = Some(finished.relation);
                replaced.extend([finished.relation.oid].into_iter().chain(finished.replaced));
                poison.extend(finished.poison);
            }
        }
        watermark::delete(connection, self.origin.owner.name(), &description.name, &replaced)
            .await
            .map_err(|e| sink_error("replace a watermark", e))?;
        self.finished.push(projection);
        Ok(poison)
    }

    async fn step_watermarks(
        &self,
        connection: &mut Connection,
        step: &Step,
    ) -> Result<Watermarks, Error> {
        let mut watermarks = Watermarks::new(connection, step, &self.origin, self.term).await?;
        for part in &step.projections {
            let SinkProjection { name, fingerprint, .. } = &self.projections[part.projection];
            let tables = self.tables_of(part.projection).filter_map(|(position, table)| {
                Some((table.live.path.as_str(), self.relations[position]?))
            });
            let histories = self.tables_of(part.projection).filter_map(|(position, table)| {
                let history = table.history.as_ref()?;
                Some((history.table.live.path.as_str(), self.histories[position]?))
            });
            watermarks.add(name, part.generation, fingerprint, tables.chain(histories));
        }
        Ok(watermarks)
    }

    /// What each table gets: a fill that this step puts in its place has what is newer put in first.
    fn step_parts<'a>(&'a self, step: &'a Step) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        for part in step.projections.iter().filter(|part| !part.entries.is_empty()) {
            let finishes = self.finishes(part);
            for (_, table) in self.tables_of(part.projection) {
                let relation = if finishes { &table.fill } else { &table.live };
                // A fill's end settles the history by itself.
                let times = if finishes { &[] } else { part.times.as_slice() };
                parts.push(Part { table, relation, entries: &part.entries, times });
            }
        }
        parts
    }

    async fn write_step(
        &mut self,
        connection: &mut Connection,
        step: &Step,
    ) -> Result<Outcome, SinkError> {
        let failed = |error| sink_error("write a step", error);
        let finishing: Vec<usize> = step
            .projections
            .iter()
            .filter(|part| self.finishes(part))
            .map(|part| part.projection)
            .collect();
        let continues = connection.in_transaction;
        let alone =
            step.settled && !continues && finishing.is_empty() && !self.settles_refusals(step);
        let watermarks = match alone {
            true => Some(self.step_watermarks(connection, step).await.map_err(failed)?),
            false => None,
        };
        let frame = match (alone, continues) {
            (true, _) if self.remembers() => {
                Frame::whole(watermarks.as_ref()).remembering(&self.projections)
            }
            (true, _) => Frame::whole(watermarks.as_ref()),
            (false, true) => Frame::within(),
            (false, false) => Frame::begin(),
        };
        let parts = self.step_parts(step);
        let mut poison =
            apply::write(connection, &parts, Verb::Upsert, frame).await.map_err(failed)?;
        if !alone {
            connection.in_transaction = true;
            failpoint::reached_in("delivered", &self.config.name);
            for projection in finishing {
                poison.extend(self.finish(connection, projection, step).await?);
                failpoint::reached_in("swap", &self.config.name);
            }
            if self.remembers() {
                self.write_refusals(connection, step, &poison).await.map_err(failed)?;
            }
            if step.settled {
                let watermarks = self.step_watermarks(connection, step).await.map_err(failed)?;
                let pipeline = watermarks.write(Pipeline::new(connection)).batch("COMMIT");
                pipeline.answers().await.map_err(failed)?;
                connection.in_transaction = false;
            }
        }
        if step.settled {
            for projection in self.finished.drain(..) {
                self.fills[projection] = None;
            }
        }
        self.remember_step(step, &poison);
        let mut outcome = Outcome::default();
        for part in &step.projections {
            let refused = |p: &&Poison| p.projection == part.projection;
            let (upserts, deletes) = fill::counts(&part.entries, poison.iter().filter(refused));
            outcome.upserts += upserts;
            outcome.deletes += deletes;
        }
        outcome.poison = poison;
        Ok(outcome)
    }
}

fn relation(found: &Option<Found>) -> Option<Relation> {
    found.as_ref().map(|found| Relation { oid: found.oid, file: found.file })
}

impl Sink for PostgresSink {
    async fn open(&mut self) -> Result<Vec<Option<Watermark>>, SinkError> {
        self.steps = None;
        self.filler = None;
        self.finished.clear();
        self.looker = None;
        let connection = Connection::open(&self.config).await?;
        prepare::server(&connection).await?;
        prepare::own_schema(&connection)
            .await
            .map_err(|e| sink_error("create the table readside.watermark", e))?;
        watermark::take_over(&connection, &self.origin.owner, &self.projections)
            .await
            .map_err(|e| sink_error("take over the watermarks of the system before", e))?;
        let term = self.origin.term.get();
        lead::claim(&connection, &self.origin.owner, &self.projections, term, self.term).await?;
        self.term = term;
        self.tables = prepare::tables(&connection, &self.projections)
            .await
            .map_err(|e| sink_error("look up the columns' types", e))?;
        for table in self.tables.iter().filter(|table| !self.blocked[table.projection]) {
            let projection = &self.projections[table.projection];
            let log = match (projection.role, &table.history) {
                (Role::Events, _) => table,
                (Role::Rows, Some(history)) => &history.table,
                (Role::Rows, None) => continue,
            };
            log::ensure(&connection, log, projection, self.origin.owner.name())
                .await
                .map_err(|error| error.of_projection(table.projection))?;
        }
        if self.tables.iter().any(|table| table.history.is_some()) {
            let made = connection.batch(history::CREATE_GAP).await;
            made.map_err(|e| sink_error("create the table readside.gap", e))?;
        }
        if self.remembers() {
            let made = refused::ensure(&connection).await;
            made.map_err(|e| sink_error("create the table readside.refused", e))?;
        }
        let watermarks = self.watermarks(&connection).await?;
        self.settle_fills(&connection).await?;
        self.steps = Some(connection);
        Ok(watermarks)
    }

    fn leave_alone(&mut self, blocked: &[bool]) {
        self.blocked = blocked.to_vec();
    }

    async fn refusals(&mut self) -> Result<Vec<Refusal>, SinkError> {
        self.read_refusals().await
    }

    async fn forget(&mut self, projection: usize, keys: &[Vec<u8>]) -> Result<(), SinkError> {
        self.forget_refusals(projection, keys).await
    }

    async fn look(&mut self) -> Result<Vec<Option<Watermark>>, SinkError> {
        (self.steps, self.filler) = (None, None);
        let connection = match self.looker.take() {
            Some(connection) => connection,
            None => Connection::open(&self.config).await?,
        };
        let seen = lead::look(&connection, &self.origin.owner, &self.projections).await?;
        self.looker = Some(connection);
        Ok(seen)
    }

    async fn begin_fill(&mut self, projection: usize, _: u64) -> Result<(), SinkError> {
        self.fills[projection] = None;
        self.remembered[projection].begin_fill();
        let connection = self.filler().await?;
        for (_, table) in self.tables_of(projection) {
            let (of, owner) = (&self.projections[projection], self.origin.owner.name());
            // Better said now than after hours of filling.
            let ready = swap::can_be_replaced(&connection, table, of, owner).await;
            ready.map_err(|error| error.of_projection(projection))?;
        }
        let tables: Vec<&Table> = self.tables_of(projection).map(|(_, table)| table).collect();
        let fill = fill::begin(&connection, &tables, self.origin.owner.name()).await?;
        self.fills[projection] = Some(fill);
        self.filler = Some(connection);
        Ok(())
    }

    async fn fill(&mut self, number: usize, rows: &[Entry]) -> Result<Outcome, SinkError> {
        let Filling { mut connection, fill, tables, projection } = self.filling(number).await?;
        let outcome = fill.rows(&mut connection, &tables, rows, &projection.name).await?;
        self.filler = Some(connection);
        self.remember_fill(number, rows, &outcome);
        Ok(outcome)
    }

    async fn end_fill(&mut self, projection: usize) -> Result<(), SinkError> {
        let Filling { connection, fill, tables, projection } = self.filling(projection).await?;
        fill.end(&connection, &tables, projection).await?;
        self.filler = Some(connection);
        Ok(())
    }

    async fn amend(&mut self, projection: usize, changes: &[Entry]) -> Result<Outcome, SinkError> {
        let Filling { mut connection, fill, tables, .. } = self.filling(projection).await?;
        let outcome = fill.amend(&mut connection, &tables, changes).await?;
        self.filler = Some(connection);
        self.remember_fill(projection, changes, &outcome);
        Ok(outcome)
    }

    async fn apply(&mut self, step: &Step) -> Result<Outcome, SinkError> {
        let Some(mut connection) = self.steps.take() else {
            return Err(retryable("the connection was lost"));
        };
        let outcome = self.write_step(&mut connection, step).await?;
        self.steps = Some(connection);
        Ok(outcome)
    }
}
