//! `readside dead-letters list|show|retry|drop`.

use super::{Outcome, unavailable};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Prints a line for each letter; it begins with the id that the other commands take
    List,
    /// Prints one letter: its row, its LSN, and the sink's own words
    Show { id: String },
    /// Sends the row to the sink again
    Retry { id: String },
    /// Forgets the letter; the row stays out of the sink until it changes
    Drop { id: String },
}

pub(super) fn run(command: &Command) -> anyhow::Result<Outcome> {
    let command = match command {
        Command::List => "list".to_owned(),
        Command::Show { id } => format!("show {id}"),
        Command::Retry { id } => format!("retry {id}"),
        Command::Drop { id } => format!("drop {id}"),
    };
    Ok(unavailable(&format!("dead-letters {command}")))
}
