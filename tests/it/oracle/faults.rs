//! What dies, and how.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join4;

use super::picture::Sink;
use crate::harness::process::Signal;
use crate::harness::search::PrivateSearch;
use crate::harness::{Cache, Daemon, Postgres, wait};

/// What it says of a state that lacks what it had acknowledged.
const BEYOND: &str = "the slot has been acknowledged beyond the state";
/// Until a process comes to its fail-point, on a machine that does other things, too.
const POINT_BOUND: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Daemon,
    Source,
    Reporting,
    Cache,
    Search,
}

impl Victim {
    pub(super) fn name(self) -> &'static str {
        match self {
            Victim::Daemon => "readside",
            Victim::Source => "the source",
            Victim::Reporting => "Postgres",
            Victim::Cache => "Redis",
            Victim::Search => "the search server",
        }
    }
}

pub(super) struct Targets<'a> {
    /// `None` before its first start.
    pub(super) daemon: &'a mut Option<Daemon>,
    pub(super) config: &'a str,
    pub(super) source: &'a mut Postgres,
    pub(super) reporting: &'a mut Postgres,
    pub(super) cache: &'a mut Cache,
    /// Where there is one that nobody else uses.
    pub(super) search: Option<&'a mut PrivateSearch>,
    /// Of `Shared`.
    pub(super) restored: &'a Cell<u32>,
    pub(super) losses: &'a Losses,
}

/// What has been lost since the last comparison: some of it costs occurrences and versions.
#[derive(Default)]
pub(super) struct Losses {
    state: Cell<bool>,
    put_back: RefCell<BTreeSet<Victim>>,
}

impl Losses {
    pub(super) fn state(&self) -> bool {
        self.state.get()
    }

    pub(super) fn is_put_back(&self, sink: Sink) -> bool {
        let victim = match sink {
            Sink::Reporting => Victim::Reporting,
            Sink::Cache => Victim::Cache,
            Sink::Search => Victim::Search,
        };
        self.put_back.borrow().contains(&victim)
    }

    pub(super) fn forget(&self) {
        self.state.set(false);
        self.put_back.borrow_mut().clear();
    }
}

impl Targets<'_> {
    pub(super) fn daemon(&mut self) -> &mut Daemon {
        self.daemon.get_or_insert_with(|| Daemon::start_noting_syncs(self.config))
    }

    /// Kills them all at once, and starts them again beside each other.
    pub(super) async fn kill(&mut self, victims: &[Victim]) {
        let dies = |victim| victims.contains(&victim);
        let config = self.config;
        let Targets { daemon, source, reporting, cache, search, .. } = self;
        let daemon = daemon.get_or_insert_with(|| Daemon::start_noting_syncs(config));
        if dies(Victim::Source) {
            has_begun(daemon).await;
        }
        if dies(Victim::Daemon) {
            daemon.kill9();
        }
        if dies(Victim::Cache) {
            cache.kill9();
        }
        if let Some(search) = search.as_mut().filter(|_| dies(Victim::Search)) {
            search.kill9();
        }
        // The children of a killed postmaster would keep its memory for a while.
        if dies(Victim::Reporting) {
            reporting.stop_immediate().await;
        }
        if dies(Victim::Source) {
            source.stop_immediate().await;
        }
        if dies(Victim::Daemon) {
            daemon.restart();
        }
        let cache = async {
            if dies(Victim::Cache) {
                cache.restart().await;
            }
        };
        let search = async {
            if let Some(search) = search.as_mut().filter(|_| dies(Victim::Search)) {
                search.restart().await;
            }
        };
        let reporting = async {
            if dies(Victim::Reporting) {
                reporting.restart().await;
            }
        };
        let source = async {
            if dies(Victim::Source) {
                source.restart().await;
            }
        };
        join4(cache, search, reporting, source).await;
    }

    /// A sink goes back to what it was some time ago: as a Redis that had not synced its last writes, or
    /// whose backup was put back.
    pub(super) async fn put_back(&mut self, victim: Victim, age: Duration) {
        match victim {
            Victim::Reporting => self.reporting.copy().await,
            Victim::Cache => self.cache.copy(),
            Victim::Search => self.own_search().copy().await,
            Victim::Daemon | Victim::Source => unreachable!("no sinks"),
        }
        wait::delay(age).await;
        self.losses.put_back.borrow_mut().insert(victim);
        // No reader is answered any more when its next answers may be older.
        match victim {
            Victim::Reporting => {
                self.reporting.stop_immediate().await;
                self.restored.set(self.restored.get() + 1);
                self.reporting.restore().await;
            }
            Victim::Cache => {
                self.cache.kill9();
                self.restored.set(self.restored.get() + 1);
                self.cache.restore().await;
            }
            Victim::Search => {
                self.own_search().kill9();
                self.restored.set(self.restored.get() + 1);
                self.own_search().restore().await;
            }
            Victim::Daemon | Victim::Source => unreachable!("no sinks"),
        }
    }

    fn own_search(&mut self) -> &mut PrivateSearch {
        self.search.as_mut().expect("there is one of this test's own")
    }

    /// The daemon dies when it is about to sync, and what it has not synced is gone; it goes on from what
    /// it had acknowledged at least.
    pub(super) async fn lose_power(&mut self, rng: &mut Rng) {
        let daemon = self.daemon();
        let sync = rng.u32(1..60).to_string();
        daemon.restart_with(&[("READSIDE_UNSYNCED_DIES", &sync)]);
        let status = wait::until_within(&format!("sync {sync}"), POINT_BOUND, async || {
            daemon.exited().ok_or("it lives")
        })
        .await;
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
        let lost = daemon.lose_power(rng);
        eprintln!("oracle: {lost} bytes were not on disk");
        daemon.restart();
        wait::until("the daemon to stream", async || {
            let log = daemon.log_of_this_start();
            assert!(!log.contains(BEYOND), "{log}");
            if log.contains("streaming from") { Ok(()) } else { Err(log) }
        })
        .await;
    }

    /// Lets the daemon run until it comes to this place and dies there; then starts it as usual.
    pub(super) async fn die_at(&mut self, point: &str, load: bool) {
        let daemon = self.daemon();
        daemon.kill9();
        if load {
            daemon.lose_state();
            self.losses.state.set(true);
        }
        let daemon = self.daemon();
        daemon.restart_with(&[("READSIDE_FAILPOINT", point)]);
        let status = wait::until_within(&format!("death at {point}"), POINT_BOUND, async || {
            daemon.exited().ok_or("it lives")
        })
        .await;
        let aborted = Some(Signal::ABORT.as_raw());
        assert_eq!(status.signal(), aborted, "it died of something else than {point}: {status}");
        daemon.restart();
    }

    pub(super) async fn strike(&mut self, rng: &mut Rng) {
        let Some(daemon) = self.daemon else {
            *self.daemon = Some(Daemon::start_noting_syncs(self.config));
            return;
        };
        if let Some(status) = daemon.exited() {
            panic!("the daemon ended by itself ({status})");
        }
        match rng.u32(0..24) {
            0..9 => daemon.restart(),
            9..13 => {
                let status = daemon.terminate().await;
                // In its first moments it does not listen yet.
                let early = status.signal() == Some(Signal::TERM.as_raw());
                assert!(early || status.success(), "the daemon did not stop well: {status}");
                daemon.restart();
            }
            13..15 => {
                self.reporting.stop_immediate().await;
                self.reporting.restart().await;
            }
            15..17 => self.cache.restart().await,
            17 => {
                has_begun(daemon).await;
                self.source.stop_immediate().await;
                self.source.restart().await;
            }
            18 => {
                let client = self.source.client("postgres").await;
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication";
                client.batch_execute(cut).await.unwrap();
            }
            19 => {
                daemon.kill9();
                daemon.lose_state();
                self.losses.state.set(true);
                daemon.restart();
            }
            20 => {
                if let Some(search) = &mut self.search {
                    search.restart().await;
                }
            }
            _ => {}
        }
    }
}

/// At its very first start it wants its source to be there.
async fn has_begun(daemon: &mut Daemon) {
    wait::until("the daemon to have a state", async || {
        if let Some(status) = daemon.exited() {
            panic!("the daemon ended by itself ({status})");
        }
        daemon.has_state().then_some(()).ok_or("it has none")
    })
    .await;
}
