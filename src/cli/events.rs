//! `readside events tail`.

use super::{Outcome, unavailable};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Prints each event as it happens
    Tail,
}

pub(super) fn run(command: &Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Tail => Ok(unavailable("events tail")),
    }
}
