//! What dies, and how.

use std::os::unix::process::ExitStatusExt as _;

use fastrand::Rng;

use crate::harness::process::Signal;
use crate::harness::search::PrivateSearch;
use crate::harness::{Daemon, Postgres, Redis};

pub(super) struct Targets<'a> {
    /// `None` before its first start.
    pub(super) daemon: &'a mut Option<Daemon>,
    pub(super) config: &'a str,
    pub(super) source: &'a mut Postgres,
    pub(super) reporting: &'a mut Postgres,
    pub(super) cache: &'a mut Redis,
    /// Where there is one that nobody else uses.
    pub(super) search: Option<&'a mut PrivateSearch>,
}

impl Targets<'_> {
    pub(super) async fn strike(&mut self, rng: &mut Rng) {
        let Some(daemon) = self.daemon else {
            *self.daemon = Some(Daemon::start(self.config));
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
