//! `readside check`: every fault, each with its place and what to do.

use std::path::Path;

use super::{Outcome, print, tell};
use crate::config::{self, Config, Diagnostic, Environment};

pub(super) fn run(path: &Path, environment: &Environment) -> anyhow::Result<Outcome> {
    match faults(path, environment) {
        Ok(_) => {
            print(&format!("{}: no faults found", path.display()))?;
            Ok(Outcome::Done)
        }
        Err(faults) => report(path, &faults),
    }
}

/// The tests of the file, then those that ask the source and the sinks. What has faults in the file
/// is not taken further: the servers' answers would only repeat them.
pub(super) fn faults(path: &Path, environment: &Environment) -> Result<Config, Vec<Diagnostic>> {
    config::load(path, environment)
}

/// Tells the faults on stderr and their number on stdout.
pub(super) fn report(path: &Path, faults: &[Diagnostic]) -> anyhow::Result<Outcome> {
    faults.iter().for_each(tell);
    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        many => format!("{many} faults"),
    };
    print(&format!("{}: {count}", path.display()))?;
    Ok(Outcome::Faults)
}
