//! Another configuration without a restart: looked for each second and at SIGHUP, tested as `check` tests it
//! while the one in use goes on, and given to the daemon when nothing is wrong with it. It is applied whole or
//! not at all.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::check;
use super::shared::Shared;
use crate::config::{self, Change, Config, Diagnostic, Environment, Style};
use crate::http::{ReloadStatus, Time};
use crate::pg::Params;

/// Between two looks at the files. What has changed is loaded when it is the same at two of them.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Between two attempts while the source, which has to be asked, is away.
const AWAY_PAUSE: Duration = Duration::from_secs(5);

/// SIGHUP does not end the process any more: a handler that was set once stays.
pub(crate) fn outlive_hangups() -> std::io::Result<()> {
    signal(SignalKind::hangup()).map(drop)
}

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) path: PathBuf,
    pub(crate) environment: Environment,
}

impl Origin {
    /// With its faults what of it is valid.
    pub(crate) fn load(&self) -> (Option<Config>, Vec<Diagnostic>) {
        config::load_partly(&self.path, &self.environment, &check::postgres_url)
    }

    fn fingerprint(&self) -> Fingerprint {
        config::fingerprint(&self.path, &self.environment)
    }
}

type Fingerprint = [u8; 32];

/// A configuration to be applied.
pub(super) struct Next {
    pub config: Arc<Config>,
    pub params: Params,
    pub changes: Vec<Change>,
    /// Answered when it is the one in use.
    pub applied: oneshot::Sender<()>,
}

pub(super) struct Reloader {
    pub origin: Origin,
    /// The one in use.
    pub config: Arc<Config>,
    pub shared: Arc<Shared>,
    pub hangups: Signal,
    pub daemon: mpsc::Sender<Next>,
}

/// What the files said at the last attempt and at the last look.
struct Seen {
    tried: Fingerprint,
    last: Fingerprint,
    /// The attempt is made again then.
    again: Option<Instant>,
}

impl Reloader {
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.watch()).await;
    }

    async fn watch(&mut self) {
        // What was loaded at the start is what is in use, unless the files have changed since.
        let Some(first) = self.look().await else { return };
        let mut seen = Seen { tried: first, last: first, again: None };
        if self.load().await.is_some_and(|loaded| match loaded {
            (Some(config), faults) if faults.is_empty() => {
                !self.config.outline.changes_to(&config.outline).is_empty()
            }
            _ => true,
        }) {
            self.attempt(&mut seen).await;
        }
        loop {
            let pause = Instant::now() + LOOK_PAUSE;
            let asked = tokio::select! {
                asked = self.hangups.recv() => asked.is_some(),
                () = sleep_until(pause) => false,
            };
            let Some(now) = self.look().await else { return };
            let settled = std::mem::replace(&mut seen.last, now) == now;
            let is_new = now != seen.tried && settled;
            let again = seen.again.is_some_and(|at| at <= Instant::now());
            if asked || is_new || again {
                seen.tried = now;
                self.attempt(&mut seen).await;
            }
        }
    }

    /// `None` at the process's end.
    async fn look(&self) -> Option<Fingerprint> {
        let origin = self.origin.clone();
        // A file system may hold up whoever reads.
        tokio::task::spawn_blocking(move || origin.fingerprint()).await.ok()
    }

    async fn load(&self) -> Option<(Option<Config>, Vec<Diagnostic>)> {
        let origin = self.origin.clone();
        tokio::task::spawn_blocking(move || origin.load()).await.ok()
    }

    async fn attempt(&mut self, seen: &mut Seen) {
        let waited = seen.again.take().is_some();
        let Some(loaded) = self.load().await else { return };
        let config = match loaded {
            (Some(config), faults) if faults.is_empty() => config,
            (Some(valid), faults) => {
                let faults = check::beside(faults, &valid).await;
                return self.refuse(&[], &faults);
            }
            (None, faults) => return self.refuse(&[], &faults),
        };
        let changes = self.config.outline.changes_to(&config.outline);
        if changes.is_empty() {
            tracing::info!("the configuration says what the one in use says");
            return self.tell("unchanged", &[], Vec::new());
        }
        let fixed: Vec<Diagnostic> =
            changes.iter().filter(|change| change.part.is_fixed()).map(needs_restart).collect();
        if !fixed.is_empty() {
            return self.refuse(&changes, &fixed);
        }
        let params = match check::params(&config) {
            Ok(params) => params,
            Err(fault) => return self.refuse(&changes, &[fault]),
        };
        let found = check::before_run(&config).await;
        if found.source_away {
            seen.again = Some(Instant::now() + AWAY_PAUSE);
            if waited {
                return;
            }
            for fault in &found.faults {
                tracing::warn!("{}; the new configuration waits for it", fault.what);
            }
            return self.tell("waiting", &changes, shown(&found.faults));
        }
        if !found.faults.is_empty() {
            return self.refuse(&changes, &found.faults);
        }
        let config = Arc::new(config);
        let (applied, done) = oneshot::channel();
        let next = Next { config: Arc::clone(&config), params, changes: changes.clone(), applied };
        // Otherwise the daemon is at its end.
        if self.daemon.send(next).await.is_ok() && done.await.is_ok() {
            self.config = config;
            let said: Vec<String> = changes.iter().map(ToString::to_string).collect();
            tracing::info!(changes = said.join(", "), "another configuration is in use");
            self.tell("applied", &changes, Vec::new());
        }
    }

    fn refuse(&self, changes: &[Change], faults: &[Diagnostic]) {
        let faults = shown(faults);
        for fault in &faults {
            tracing::error!("{fault}");
        }
        tracing::error!(
            file = %self.origin.path.display(),
            faults = faults.len(),
            "the configuration is refused: the one in use goes on"
        );
        self.tell("refused", changes, faults);
    }

    fn tell(&self, result: &'static str, changes: &[Change], faults: Vec<String>) {
        let changes = changes.iter().map(ToString::to_string).collect();
        self.shared.reload(ReloadStatus { at: Time::now(), result, changes, faults });
    }
}

fn shown(faults: &[Diagnostic]) -> Vec<String> {
    faults.iter().map(|fault| fault.render(Style::Plain)).collect()
}

fn needs_restart(change: &Change) -> Diagnostic {
    Diagnostic::new(format!("{} cannot change while Readside runs", change.part))
        .at(&change.place)
        .hint("restart Readside, or write again what it was")
}
