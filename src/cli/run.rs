//! `readside run`: the daemon, when the tests of `check` on configuration, SQL and source find no fault.

use std::path::Path;

use super::{Outcome, check};
use crate::config::{Config, Environment};
use crate::pipeline::run::check::{before_run, beside};
use crate::pipeline::run::{Origin, outlive_hangups};

pub(super) fn run(path: &Path, environment: &Environment) -> anyhow::Result<Outcome> {
    let origin = Origin { path: path.to_owned(), environment: environment.clone() };
    let config = match origin.load() {
        (Some(config), faults) if faults.is_empty() => config,
        (Some(valid), faults) => {
            return check::report(path, &check::ask(beside(faults, &valid))?);
        }
        (None, faults) => return check::report(path, &faults),
    };
    let found = check::ask(async {
        // From here on it is a request to look at the files: who is still busy with the first look stays alive.
        outlive_hangups()?;
        anyhow::Ok(before_run(&config).await)
    })??;
    if found.faults.is_empty() {
        crate::pipeline::run::run(config, origin)?;
        return Ok(Outcome::Done);
    }
    if !(found.source_away && has_run(&config)) {
        return check::report(path, &found.faults);
    }
    // P2: a daemon that has worked comes back before its source does. The same tests are made again
    // when the source answers, before anything is created there.
    for fault in &found.faults {
        tracing::warn!("{}; waiting for it", fault.what);
    }
    crate::pipeline::run::run(config, origin)?;
    Ok(Outcome::Done)
}

/// There is a state: these settings have worked before.
fn has_run(config: &Config) -> bool {
    std::fs::read_dir(&config.state.dir).is_ok_and(|mut entries| entries.next().is_some())
}
