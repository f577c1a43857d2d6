//! The budget of WAL that the source keeps for our slot: a warning at half of it, an alarm at four
//! fifths, the configured act when it is used up. It acts on our own part alone: what the server keeps
//! for a transaction that is still open, no act of ours would free, so that transaction is named.
//!
//! It lives as long as the daemon: a state that cannot be written, which keeps any pipeline from being
//! built, is what fills a source's disk. It looks for itself only while no pipeline does (P6).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::config::{Config, OnWalBudget};
use crate::pg::{self, Session};
use crate::sink::delivery::chain;
use crate::source::catalog::{Catalog, Scope, SlotWal};
use crate::source::{APPLICATION_NAME, slot, watch};

/// A pipeline looks at the catalog more often.
const UNSEEN_MAX: Duration = Duration::from_secs(watch::INTERVAL.as_secs() * 3 / 2);
/// What goes on for long is told again.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Calm,
    Warning,
    Alarm,
    UsedUp,
}

fn level(bytes: u64, budget: u64) -> Level {
    let (bytes, budget) = (u128::from(bytes), u128::from(budget));
    match () {
        () if bytes >= budget => Level::UsedUp,
        () if bytes * 5 >= budget * 4 => Level::Alarm,
        () if bytes * 2 >= budget => Level::Warning,
        () => Level::Calm,
    }
}

/// How much of the budget is used, by us and in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    ours: Level,
    all: Level,
}

impl Usage {
    fn of(wal: SlotWal, budget: u64) -> Self {
        let all = level(wal.retained_bytes, budget);
        Self { ours: level(wal.unconfirmed_bytes, budget).min(all), all }
    }

    /// More is kept than for us.
    fn is_held(self) -> bool {
        self.all > self.ours
    }
}

/// Runs until it is cancelled.
pub(super) async fn guard(shared: Arc<Shared>, cancel: CancellationToken) {
    let mut guard = Guard { shared, session: None, told: None };
    cancel.run_until_cancelled(guard.run()).await;
}

struct Guard {
    shared: Arc<Shared>,
    session: Option<Session>,
    /// What was told last, and when.
    told: Option<(Usage, Instant)>,
}

impl Guard {
    async fn run(&mut self) {
        let mut seen = self.shared.slot_wal();
        loop {
            if let Ok(looked) = tokio::time::timeout(UNSEEN_MAX, seen.changed()).await {
                if looked.is_err() {
                    return;
                }
                let wal = *seen.borrow_and_update();
                self.judge(wal).await;
            } else if let Err(error) = self.look().await {
                // A source that is away has been told of by those who need it for more.
                tracing::debug!(error = %chain(&error), "the slot cannot be looked at");
                self.session = None;
            }
        }
    }

    async fn session(&mut self) -> Result<&Session, pg::Error> {
        if self.session.is_none() {
            self.session = Some(pg::connect(&self.shared.params(), APPLICATION_NAME).await?);
        }
        Ok(self.session.as_ref().expect("it has just been opened"))
    }

    async fn look(&mut self) -> Result<(), pg::Error> {
        let laid = self.shared.laid();
        let source = &laid.config.source;
        let scope = Scope {
            publication: source.publication.clone(),
            slot: source.slot.clone(),
            tables: Vec::new(),
        };
        let catalog = Catalog::read(self.session().await?, &scope).await?;
        self.shared.retained(catalog.slot.map_or_else(SlotWal::default, |slot| slot.wal));
        Ok(())
    }

    async fn judge(&mut self, wal: SlotWal) {
        let config = Arc::clone(&self.shared.laid().config);
        let budget = config.source.wal_budget;
        let usage = Usage::of(wal, budget);
        let is_news = |(told, at): (Usage, Instant)| {
            told != usage || (usage.all > Level::Calm && at.elapsed() >= TOLD_AGAIN)
        };
        if !self.told.map_or(usage.all > Level::Calm, is_news) {
            return;
        }
        let held_by = if usage.is_held() { Some(self.held_by().await) } else { None };
        let slot = &config.source.slot;
        let (retained_bytes, percent) = (wal.retained_bytes, percent(wal.retained_bytes, budget));
        if usage.all == Level::Calm {
            tracing::info!(slot, retained_bytes, percent, "the slot holds back little WAL again");
        }
        if let Some(held_by) = &held_by {
            tracing::warn!(
                slot,
                retained_bytes,
                percent,
                held_by,
                "the source keeps WAL for the slot, of which the most is not ours to let go"
            );
        }
        let alarm = alarm(&config, wal);
        match usage.ours {
            Level::Calm => {}
            Level::Warning => tracing::warn!(
                slot,
                retained_bytes,
                percent,
                "we are behind: the source keeps WAL for the slot, more than half of source.wal_budget"
            ),
            Level::Alarm | Level::UsedUp => {
                tracing::error!(
                    slot,
                    retained_bytes,
                    percent,
                    "{}",
                    alarm.as_deref().unwrap_or("")
                );
            }
        }
        self.told = Some((usage, Instant::now()));
        self.shared.wal_budget(alarm, held_by);
        if usage.ours == Level::UsedUp && config.source.on_wal_budget == OnWalBudget::DropSlot {
            self.drop_slot().await;
        }
    }

    /// Whom to end, in words.
    async fn held_by(&mut self) -> String {
        let found = match self.session().await {
            Ok(session) => slot::oldest_transaction(session).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(transaction)) => transaction.to_string(),
            Ok(None) => {
                "a transaction that has ended; the server lets it go at its next checkpoint"
                    .to_owned()
            }
            Err(error) => {
                self.session = None;
                format!("a transaction that cannot be asked for: {}", chain(&error))
            }
        }
    }

    /// No pipeline reads the slot meanwhile. What follows is `on_slot_loss`.
    async fn drop_slot(&mut self) {
        self.shared.dropping_slot().send_replace(true);
        let name = self.shared.laid().config.source.slot.clone();
        let dropped = match self.session().await {
            Ok(session) => slot::drop_by_force(session, &name).await,
            Err(error) => Err(error),
        };
        match dropped {
            Ok(()) => {
                tracing::error!(
                    slot = name,
                    "the slot was dropped, as on_wal_budget says: the changes that it held are lost to us"
                );
                self.told = None;
                self.shared.wal_budget(None, None);
            }
            Err(error) => {
                tracing::error!(slot = name, error = %chain(&error), "the slot could not be dropped");
                self.session = None;
            }
        }
        self.shared.dropping_slot().send_replace(false);
    }
}

/// What makes the daemon unready.
fn alarm(config: &Config, wal: SlotWal) -> Option<String> {
    let source = &config.source;
    let usage = Usage::of(wal, source.wal_budget);
    let then = match (usage.ours, source.on_wal_budget) {
        (Level::Calm | Level::Warning, _) => return None,
        (Level::Alarm, OnWalBudget::DropSlot) => "at 100 % the slot is dropped",
        (Level::UsedUp, OnWalBudget::DropSlot) => "the slot is dropped",
        (_, OnWalBudget::Hold) => "on_wal_budget = \"hold\" keeps it, whatever it costs the source",
    };
    Some(format!(
        "slot {} holds back {} bytes of WAL, {} % of source.wal_budget, because we are behind; {then}",
        source.slot,
        wal.unconfirmed_bytes,
        percent(wal.unconfirmed_bytes, source.wal_budget),
    ))
}

fn percent(bytes: u64, budget: u64) -> u64 {
    u64::try_from(u128::from(bytes) * 100 / u128::from(budget.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_part_is_acted_on() {
        let usage = |retained_bytes, unconfirmed_bytes| {
            let usage = Usage::of(
                SlotWal { retained_bytes, unconfirmed_bytes, ..SlotWal::default() },
                1000,
            );
            (usage.ours, usage.all, usage.is_held())
        };
        assert_eq!(usage(499, 499), (Level::Calm, Level::Calm, false));
        assert_eq!(usage(500, 500), (Level::Warning, Level::Warning, false));
        assert_eq!(usage(800, 799), (Level::Warning, Level::Alarm, true));
        assert_eq!(usage(800, 800), (Level::Alarm, Level::Alarm, false));
        assert_eq!(usage(5000, 1000), (Level::UsedUp, Level::UsedUp, false));
        assert_eq!(usage(5000, 3), (Level::Calm, Level::UsedUp, true));
        // The two are of neighbouring moments.
        assert_eq!(usage(0, 700), (Level::Calm, Level::Calm, false));
        assert_eq!(level(u64::MAX, u64::MAX), Level::UsedUp);
        assert_eq!(percent(u64::MAX, 1), u64::MAX);
    }
}
