//! Whether this instance leads its group, and in which term.
//!
//! Who holds the lease (`source/lease.rs`) leads. It delivers; the others follow the source just as it does, look
//! where it has brought the sinks, and deliver nothing. A leader that loses the lease goes on until
//! somebody else has it: while the source is away nobody can, and the sinks' backlogs need no source. What it
//! writes after that is fenced by the next one's term, which is greater than any that was seen.
//!
//! Why so: the source is what all instances need anyway, and its lock costs no write. Claims and heartbeats as messages
//! in the log would be as well ordered, but would write WAL into an idle source for ever, and a standby that is
//! behind would read them late. A lease in each sink would have to be built for each kind, apart from its open
//! transactions, and a sink that is away would have no leader. A lease alone fences nothing: who stands still does
//! not know that time has passed. Terms need no counter that all share: who holds the lease and finds a greater one,
//! or an equal one of somebody else's, takes a greater one still.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::shared::{Shared, lock};
use crate::config::HaConfig;
use crate::http::{HaStatus, RoleStatus};
use crate::lsn::Lsn;
use crate::metrics::Metrics;
use crate::pg;
use crate::sink::delivery::chain;
use crate::sink::{History, Term, Watermark};
use crate::source::APPLICATION_NAME;
use crate::source::lease::Lease;

/// Between two questions for the lease, and between two renewals.
const PAUSE: Duration = Duration::from_secs(1);
/// An instance that has nothing to deliver yet leaves the lease to others for so long.
const LOADING_PATIENCE: Duration = Duration::from_secs(10);
/// A leader whose pipeline is down for longer than so many leases is no leader.
const DOWN_LEASES_MAX: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// There is no group.
    Alone,
    Leader,
    Standby,
}

impl Role {
    pub(super) fn delivers(self) -> bool {
        self != Role::Standby
    }
}

pub(super) struct Lead {
    group: Option<String>,
    role: watch::Sender<Role>,
    term: Term,
    /// The greatest term that was found in any sink.
    seen: AtomicU64,
    /// The greatest that a sink has refused ours for, since we looked last.
    outranked_by: AtomicU64,
    outranked: Notify,
    /// By sink and epoch: how far the leader had brought it.
    reached: Mutex<HashMap<(usize, u64), Lsn>>,
    /// The leader's epoch, which is to be ours.
    epoch: Mutex<Option<u64>>,
    other_epoch: Notify,
    metrics: Metrics,
}

impl Lead {
    pub(super) fn new(ha: Option<&HaConfig>, metrics: &Metrics) -> Self {
        let role = if ha.is_some() { Role::Standby } else { Role::Alone };
        let this = Self {
            group: ha.map(|ha| ha.group.clone()),
            role: watch::channel(role).0,
            term: Term::default(),
            seen: AtomicU64::new(0),
            outranked_by: AtomicU64::new(0),
            outranked: Notify::new(),
            reached: Mutex::new(HashMap::new()),
            epoch: Mutex::new(None),
            other_epoch: Notify::new(),
            metrics: metrics.clone(),
        };
        this.becomes(role);
        this
    }

    pub(super) fn role(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    pub(super) fn term(&self) -> Term {
        self.term.clone()
    }

    pub(super) fn status(&self) -> Option<HaStatus> {
        let role = match *self.role.borrow() {
            Role::Alone => return None,
            Role::Leader => RoleStatus::Leader,
            Role::Standby => RoleStatus::Standby,
        };
        let term = self.shown_term();
        Some(HaStatus { group: self.group.clone()?, role, term })
    }

    /// The group's, as far as it is known here.
    fn shown_term(&self) -> u64 {
        self.term.get().max(self.seen.load(Ordering::Relaxed))
    }

    /// What a look at a sink has found, in our history.
    pub(super) fn saw(&self, sink: usize, watermarks: &[Option<Watermark>], history: &History) {
        let mut reached: HashMap<u64, Lsn> = HashMap::new();
        for watermark in watermarks.iter().flatten() {
            self.seen.fetch_max(watermark.term, Ordering::Relaxed);
            if let Some(epoch) = History::epoch_of(&watermark.history) {
                let lsn = reached.entry(epoch).or_default();
                *lsn = watermark.lsn.max(*lsn);
            }
        }
        self.metrics.term.set(i64::try_from(self.shown_term()).unwrap_or(i64::MAX));
        reached.remove(&history.epoch);
        for (epoch, lsn) in reached {
            // Only one that moves is of the source as it is now.
            let before = lock(&self.reached).insert((sink, epoch), lsn);
            if before.is_some_and(|before| before < lsn) {
                *lock(&self.epoch) = Some(epoch);
                self.other_epoch.notify_one();
            }
        }
    }

    /// Until the leader is seen to count its positions in another epoch than ours.
    pub(super) async fn other_epoch(&self) {
        self.other_epoch.notified().await;
    }

    pub(super) fn take_epoch(&self) -> Option<u64> {
        lock(&self.epoch).take()
    }

    /// A sink has been written in this term.
    pub(super) fn outranked(&self, term: u64) {
        self.seen.fetch_max(term, Ordering::Relaxed);
        self.outranked_by.fetch_max(term, Ordering::Relaxed);
        self.outranked.notify_one();
    }

    /// Somebody has written in our term, or in a greater one.
    fn is_outranked(&self) -> bool {
        let by = self.outranked_by.swap(0, Ordering::Relaxed);
        self.term.get() <= by || self.term.get() < self.shown_term()
    }

    /// A term greater than any that was seen.
    fn raise(&self) {
        self.term.set(self.shown_term() + 1);
        self.becomes(Role::Leader);
    }

    fn becomes(&self, role: Role) {
        self.metrics.leader.set(i64::from(role.delivers()));
        self.metrics.term.set(i64::try_from(self.shown_term()).unwrap_or(i64::MAX));
        if self.role.send_replace(role) != role {
            tracing::info!(?role, term = self.shown_term(), "the role in the group");
        }
    }

    pub(super) fn delivers(&self) -> bool {
        self.role.borrow().delivers()
    }

    fn leads(&self) -> bool {
        *self.role.borrow() == Role::Leader
    }
}

/// Takes part in the group until cancelled; then the lease is free.
pub(super) async fn keep(ha: HaConfig, shared: Arc<Shared>, cancel: CancellationToken) {
    let pause = PAUSE.min(ha.lease / 3);
    let mut member =
        Member { ha, shared, asks: None, holds: false, free_since: None, is_told: false };
    let mut down_since = Some(Instant::now());
    loop {
        let lead = &member.shared.lead;
        tokio::select! {
            () = cancel.cancelled() => break,
            () = lead.outranked.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        down_since = match member.shared.running() {
            Some(_) => None,
            None => Some(down_since.unwrap_or_else(Instant::now)),
        };
        if let Some(since) = down_since {
            let is_over = since.elapsed() > member.ha.lease * DOWN_LEASES_MAX;
            if is_over || !member.holds {
                member.resign().await;
                continue;
            }
        }
        tokio::select! {
            () = cancel.cancelled() => break,
            turn = member.turn() => if let Err(error) = turn {
                member.lost(&error);
            },
        }
    }
    if let Some(lease) = member.asks {
        lease.release().await;
    }
}

/// This instance in its group.
struct Member {
    ha: HaConfig,
    shared: Arc<Shared>,
    asks: Option<Lease>,
    /// `asks` has got it.
    holds: bool,
    /// The log says that there is no session.
    is_told: bool,
    /// While this instance is loading: since when the lease is nobody's.
    free_since: Option<Instant>,
}

impl Member {
    async fn turn(&mut self) -> Result<(), pg::Error> {
        if self.asks.is_none() {
            let HaConfig { group, lease } = &self.ha;
            let asks =
                Lease::connect(&self.shared.params(), APPLICATION_NAME, group, *lease).await?;
            self.asks = Some(asks);
            self.is_told = false;
        }
        let Some(lease) = &self.asks else { return Ok(()) };
        let lead = &self.shared.lead;
        if self.holds {
            lease.renew().await?;
            // One that led before us has been further than we knew.
            if lead.is_outranked() {
                lead.raise();
            }
            return Ok(());
        }
        if !lead.leads() && self.shared.is_loading() {
            let is_free = lease.is_free().await?;
            let since = self.free_since.take().unwrap_or_else(Instant::now);
            self.free_since = is_free.then_some(since);
            if !is_free || since.elapsed() < LOADING_PATIENCE {
                return Ok(());
            }
        }
        self.free_since = None;
        self.holds = lease.take().await?;
        match (self.holds, lead.leads()) {
            (true, false) => lead.raise(),
            (false, true) => lead.becomes(Role::Standby),
            // The term is as good as before, unless a sink says otherwise.
            (true, true) | (false, false) => {}
        }
        self.shared.refresh();
        Ok(())
    }

    /// The session is gone, and with it the lease.
    fn lost(&mut self, error: &pg::Error) {
        if !self.is_told {
            let held = self.holds;
            tracing::warn!(held, error = %chain(error), "the group's lease is out of reach");
        }
        self.is_told = true;
        (self.asks, self.holds) = (None, false);
    }

    /// Others may deliver; we cannot.
    async fn resign(&mut self) {
        if let Some(lease) = self.asks.take() {
            lease.release().await;
        }
        self.holds = false;
        if self.shared.lead.leads() {
            tracing::warn!("the pipeline is down: others may lead");
            self.shared.lead.becomes(Role::Standby);
        }
    }
}
