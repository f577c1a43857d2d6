//! `readside explain PROJECTION`: how a projection is maintained.

use std::path::Path;

use super::{Outcome, check, print};
use crate::config::Environment;
use crate::pipeline::run::explain::explain;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The projection's name
    projection: String,
}

pub(super) fn run(
    arguments: &Arguments,
    path: &Path,
    environment: &Environment,
) -> anyhow::Result<Outcome> {
    let config = match check::read(path, environment) {
        Ok(config) => config,
        Err(faults) => return check::report(path, &faults),
    };
    match check::ask(explain(&config, &arguments.projection))? {
        Ok(words) => {
            print(words.trim_end())?;
            Ok(Outcome::Done)
        }
        Err(faults) => check::report(path, &faults),
    }
}
