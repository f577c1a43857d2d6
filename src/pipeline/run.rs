//! The daemon's tasks.

use crate::config::Config;

/// Runs until the process is told to stop.
pub fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
