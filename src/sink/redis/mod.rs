//! The Redis sink (and Valkey): hashes, JSON strings, sorted sets and sets, kept by one script per
//! step, and a backlog by transactions of plain commands.
//!
//! * `target`: what a projection's targets are; `pattern`: their templates.
//! * `encode` (with `row` and `record`): entries to the arguments of `step.lua`, which writes rows, lets moved ones leave their
//!   old keys, and moves the watermarks, all or nothing for a reader.
//! * `log`: events, in streams and lists.
//! * `apply`: a step; `backlog` and `plain`: those of a backlog and of a first fill; `swap` and
//!   `sweep`: a fill, and what it leaves behind.
//! * `refused`: what Redis itself remembers of refusals.
//! * `lead`: one leader of a group at a time, and what the others see.
//! * `connect`, `prepare`, `check`, `watermark`, `error`: the server, what is asked of it before
//!   anything is written, and our own keys.
//!
//! Invariants: a script or a transaction runs only over the watermark that this process saw last (P2, P3); it leaves
//! the watermark unsettled unless it ran to its end; a key of another type, and a key that no
//! template or record proves to be ours, is never removed.
//!
//! In a cluster a script is bound to one slot, and a step is a script for each slot, the watermarks last:
//!
//! * `cluster` and `slot`: its masters, and what goes where.
//! * `spread` and `words`: a step there, in the messages that it takes.
//! * `session`: what fences it, and how writes that a node has lost are noticed.

mod apply;
mod audit;
mod backlog;
mod check;
mod cluster;
mod connect;
mod encode;
mod error;
mod lead;
mod log;
mod pattern;
mod plain;
mod prepare;
mod record;
mod refused;
mod row;
mod session;
mod slot;
mod spread;
mod swap;
mod sweep;
mod target;
#[cfg(test)]
mod tests;
mod watermark;
mod words;

use crate::config::SinkConfig;
use crate::engine::Entry;
use crate::sink::{Origin, Outcome, Refusal, Sink, SinkError, SinkProjection, Step, Watermark};

use connect::{Link, Server};
use error::fatal;
use record::Layout;
use session::Session;
use swap::{Fill, FillPart};
use target::Plan;

pub use audit::RedisAudit;
pub use backlog::BACKLOG_STEPS;
pub use check::{check, store};

/// See `Sink`.
pub struct RedisSink {
    name: String,
    server: Server,
    projections: Vec<SinkProjection>,
    origin: Origin,
    plans: Vec<Plan>,
    /// One for each plan.
    standings: Vec<Standing>,
    connection: Option<Link>,
    /// What the server is; the plans are bound to it.
    layout: Layout,
    session: Session,
    /// Whether the user may WATCH, MULTI and EXEC; all goes by scripts otherwise.
    transactions: bool,
    step_rows: usize,
    step_sha: String,
    /// Tells this process' fence tokens from all others'.
    run_id: u64,
    scripts: u64,
    /// What this process has written into the watermarks.
    term: u64,
    /// By projection: something there is in its way, and it is left alone.
    blocked: Vec<bool>,
}

/// What this process knows of a projection's watermark.
struct Standing {
    /// Its owner and its token: what the next script expects. Empty: it has none.
    owner: String,
    step: String,
    /// The token of a script whose answer never came.
    possible: Option<String>,
    filling: bool,
    watermark: Watermark,
    fill: Option<Fill>,
}

impl RedisSink {
    pub fn new(
        config: &SinkConfig,
        origin: Origin,
        projections: Vec<SinkProjection>,
    ) -> Result<Self, SinkError> {
        let server = Server::new(config)?;
        let plans = bind(&projections, Layout::Single)?;
        let standings = plans.iter().map(|_| Standing::unknown()).collect();
        let blocked = vec![false; projections.len()];
        Ok(Self {
            name: config.name.clone(),
            server,
            projections,
            origin,
            plans,
            standings,
            connection: None,
            layout: Layout::Single,
            session: Session::default(),
            transactions: false,
            step_rows: config.step_rows.max(1),
            step_sha: redis::Script::new(apply::STEP_SCRIPT).get_hash().to_owned(),
            run_id: fastrand::u64(..),
            scripts: 0,
            term: 0,
            blocked,
        })
    }

    /// Connects to what is there: one server or a cluster.
    async fn link(&mut self) -> Result<(), SinkError> {
        let link = self.server.link(spread::SCRIPTS).await?;
        let layout = link.layout();
        if layout != self.layout {
            self.plans = bind(&self.projections, layout)?;
            self.standings = self.plans.iter().map(|_| Standing::unknown()).collect();
            self.transactions = false;
            self.layout = layout;
        }
        self.connection = Some(link);
        Ok(())
    }
}

fn bind(projections: &[SinkProjection], layout: Layout) -> Result<Vec<Plan>, SinkError> {
    let plans = projections.iter().enumerate().map(|(number, projection)| {
        Plan::bind(number, projection, layout).map_err(|faults| match faults.into_iter().next() {
            Some(fault) => fatal(fault.what, fault.hint),
            None => fatal(format!("projection.{} has no target", projection.name), ""),
        })
    });
    plans.collect()
}

impl Standing {
    fn unknown() -> Self {
        let watermark = Watermark {
            lsn: crate::lsn::Lsn::ZERO,
            reaching: crate::lsn::Lsn::ZERO,
            committed_at: 0,
            settled: false,
            generation: 0,
            fingerprint: String::new(),
            history: String::new(),
            term: 0,
        };
        Self {
            owner: String::new(),
            step: String::new(),
            possible: None,
            filling: false,
            watermark,
            fill: None,
        }
    }
}

impl Sink for RedisSink {
    async fn open(&mut self) -> Result<Vec<Option<Watermark>>, SinkError> {
        self.connection = None;
        self.link().await?;
        if let (Some(Link::Single(connection)), Some(plan)) =
            (&mut self.connection, self.plans.first())
        {
            let (server, key) = (&self.server, &plan.watermark_key);
            self.transactions = prepare::may_transact(server, connection, key).await?;
        }
        let term = self.origin.term.get();
        for projection in 0..self.plans.len() {
            self.claim(projection, term).await?;
        }
        self.term = term;
        // The next leader of a group has not heard what this one is answered. In a cluster the row's script has
        // no place for it.
        let single = self.layout == Layout::Single;
        for plan in &mut self.plans {
            plan.remembers = single && (plan.log.is_some() || term > 0);
        }
        if self.layout == Layout::Cluster {
            self.begin_session(term).await?;
        }
        let mut watermarks = Vec::with_capacity(self.plans.len());
        for projection in 0..self.plans.len() {
            let watermark = match self.blocked[projection] {
                true => None,
                false => {
                    let read = self.read_watermark(projection).await;
                    read.map_err(|error| error.of_projection(projection))?
                }
            };
            watermarks.push(watermark);
        }
        Ok(watermarks)
    }

    fn leave_alone(&mut self, blocked: &[bool]) {
        self.blocked = blocked.to_vec();
    }

    async fn look(&mut self) -> Result<Vec<Option<Watermark>>, SinkError> {
        if self.connection.is_none() {
            self.link().await?;
        }
        let mut watermarks = Vec::with_capacity(self.plans.len());
        for projection in 0..self.plans.len() {
            watermarks.push(self.look_at(projection).await?);
        }
        Ok(watermarks)
    }

    async fn begin_fill(&mut self, projection: usize, generation: u64) -> Result<(), SinkError> {
        self.plans[projection].remembered.begin_fill();
        self.begin(projection, generation).await
    }

    async fn fill(&mut self, projection: usize, rows: &[Entry]) -> Result<Outcome, SinkError> {
        let outcome = self.write_filling(projection, rows, FillPart::Rows).await?;
        Ok(self.remember_fill(projection, rows, outcome))
    }

    /// Each `fill` was answered when it was written.
    async fn end_fill(&mut self, _projection: usize) -> Result<(), SinkError> {
        Ok(())
    }

    async fn amend(&mut self, projection: usize, changes: &[Entry]) -> Result<Outcome, SinkError> {
        let outcome = self.write_filling(projection, changes, FillPart::Changes).await?;
        Ok(self.remember_fill(projection, changes, outcome))
    }

    async fn apply(&mut self, step: &Step) -> Result<Outcome, SinkError> {
        let outcome = self.apply_step(step).await?;
        self.remember_step(step, &outcome);
        Ok(outcome)
    }

    async fn refusals(&mut self) -> Result<Vec<Refusal>, SinkError> {
        self.read_refusals().await
    }

    async fn forget(&mut self, projection: usize, keys: &[Vec<u8>]) -> Result<(), SinkError> {
        self.forget_refusals(projection, keys).await
    }
}
