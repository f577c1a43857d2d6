//! `readside verify PROJECTION [--sink S] [--repair]`.

use super::{Outcome, unavailable};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The projection's name
    projection: String,
    /// Only what this sink holds
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// Writes again what differs
    #[arg(long)]
    repair: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let Arguments { projection, sink, repair } = arguments;
    let sink = sink.as_ref().map(|sink| format!(" --sink {sink}")).unwrap_or_default();
    let repair = if *repair { " --repair" } else { "" };
    Ok(unavailable(&format!("verify {projection}{sink}{repair}")))
}
