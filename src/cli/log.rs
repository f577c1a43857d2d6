//! Log lines on stderr: for people, or JSON for machines.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

/// Filters log lines as RUST_LOG does elsewhere.
const FILTER_VARIABLE: &str = "READSIDE_LOG";
/// The libraries' own news is nothing to users.
const DEFAULT: &str = "warn,readside=info";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Human,
    Json,
}

/// Of this process.
static FORMAT: OnceLock<Format> = OnceLock::new();

/// Whether whoever reads stderr expects JSON, and no filter takes errors away.
pub(super) fn shows_json_errors() -> bool {
    FORMAT.get() == Some(&Format::Json) && tracing::enabled!(tracing::Level::ERROR)
}

/// Sets the process's logging up. A filter that cannot be read is told, and the default taken.
pub(super) fn start(format: Format) {
    FORMAT.get_or_init(|| format);
    let wanted = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let wanted = if wanted.is_empty() { DEFAULT } else { &wanted };
    let (filter, refused) = match EnvFilter::try_new(wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(DEFAULT), Some(error)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A log that cannot be written (its disk is full) would be told by a panic.
    let builder = builder.log_internal_errors(false);
    let started = match format {
        Format::Human => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colours).with_target(false).try_init()
        }
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was set up before");
    }
    if let Some(error) = refused {
        tracing::warn!(%error, "{FILTER_VARIABLE} cannot be read, {DEFAULT} is taken");
    }
}
