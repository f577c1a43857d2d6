//! `readside explain PROJECTION`.

use super::{Outcome, unavailable};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The projection's name
    projection: String,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    Ok(unavailable(&format!("explain {}", arguments.projection)))
}
