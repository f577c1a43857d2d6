//! `readside run`: the daemon, when the tests of `check` find no fault.

use std::path::Path;

use super::{Outcome, check};
use crate::config::Environment;

pub(super) fn run(path: &Path, environment: &Environment) -> anyhow::Result<Outcome> {
    match check::faults(path, environment) {
        Ok(config) => {
            crate::pipeline::run::run(config)?;
            Ok(Outcome::Done)
        }
        Err(faults) => check::report(path, &faults),
    }
}
