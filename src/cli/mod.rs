//! The command line. One file per command; `daemon` asks the running daemon by HTTP.
//!
//! Exit codes: 0 when all is well, 1 when something failed, 2 for faults in the configuration and for
//! wrong use.

mod check;
mod daemon;
mod dead_letters;
mod events;
mod explain;
mod log;
mod rebuild;
mod run;
mod status;
mod verify;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Diagnostic, Environment, HttpConfig, Style};

/// Keeps read models in Elasticsearch, Redis and Postgres exactly in step with a Postgres database.
#[derive(Debug, Parser)]
#[command(name = "readside", version, max_term_width = 100)]
struct Arguments {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "readside.toml",
        env = "READSIDE_CONFIG"
    )]
    config: PathBuf,
    /// How log lines are written to stderr; READSIDE_LOG filters them, as in "info,readside::sink=debug"
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = log::Format::Human)]
    log: log::Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon, after the tests of `check` on configuration, SQL and source
    Run,
    /// Tests configuration, source and sinks, creates nothing, and tells every fault
    Check,
    /// Shows how a projection is maintained, and what it costs
    Explain(explain::Arguments),
    /// Shows what the running daemon does and how far it is
    Status(status::Arguments),
    /// Compares what the sinks hold of a projection with the query's answer on the source
    Verify(verify::Arguments),
    /// Builds a projection anew, beside the one that readers see
    Rebuild(rebuild::Arguments),
    /// Shows events as they happen
    #[command(subcommand)]
    Events(events::Command),
    /// Shows and settles the rows that a sink refused
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
}

/// What a command comes to, errors apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Faults have been told.
    Faults,
}

/// Reads the process's arguments and does what they say.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log::start(arguments.log);
    let environment = Environment::of_process();
    match dispatch(&arguments, &environment) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Faults) => ExitCode::from(2),
        Err(error) => {
            tell(&Diagnostic::new(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &Arguments, environment: &Environment) -> anyhow::Result<Outcome> {
    let config = &arguments.config;
    match &arguments.command {
        Command::Run => run::run(config, environment),
        Command::Check => check::run(config, environment),
        Command::Explain(command) => explain::run(command, config, environment),
        Command::Status(command) => asks(config, environment, |http| status::run(command, http)),
        Command::Verify(command) => asks(config, environment, |http| verify::run(command, http)),
        Command::Rebuild(command) => asks(config, environment, |http| rebuild::run(command, http)),
        Command::Events(command) => asks(config, environment, |http| events::run(command, http)),
        Command::DeadLetters(command) => {
            asks(config, environment, |http| dead_letters::run(command, http))
        }
    }
}

/// A command that asks the running daemon; it needs to know no more of the configuration than where that is.
fn asks(
    path: &Path,
    environment: &Environment,
    command: impl FnOnce(&HttpConfig) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    match config::load_http(path, environment) {
        Ok(http) => command(&http),
        Err(faults) => check::report(path, &faults),
    }
}

/// Shows a fault on stderr: as a log line where these are JSON, else in colours on a terminal that wants
/// them.
fn tell(fault: &Diagnostic) {
    use std::io::IsTerminal;
    if log::shows_json_errors() {
        tracing::error!("{}", fault.render(Style::Plain));
        return;
    }
    let stderr = std::io::stderr();
    let colours = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let style = if colours { Style::Coloured } else { Style::Plain };
    // Nobody is left to be told that stderr is closed; the exit code still says it.
    let _ = writeln!(stderr.lock(), "{}\n", fault.render(style));
}

/// News on stderr, beside what is printed.
fn say(text: &str) {
    // As with `tell`.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes a line, or many, to stdout.
fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        // As `readside status | head` ends.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_of_the_contract_is_known() {
        Arguments::command().debug_assert();
        for line in [
            "run",
            "check --config x.toml",
            "--config x.toml --log json check",
            "run --log json",
            "explain orders",
            "status --json",
            "verify orders --sink cache --repair",
            "verify orders --sample 1000 --json",
            "rebuild orders",
            "events tail",
            "events tail OrderConfirmed --since 0/16B3748/1 --json",
            "dead-letters list",
            "dead-letters show 7",
            "dead-letters list --sink cache --projection orders --json",
            "dead-letters retry 7",
            "dead-letters retry --all --sink cache",
            "dead-letters drop 7",
        ] {
            let words = std::iter::once("readside").chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
        let parsed = Arguments::try_parse_from(["readside", "check"]).expect("a command");
        if std::env::var_os("READSIDE_CONFIG").is_none() {
            assert_eq!(parsed.config, PathBuf::from("readside.toml"));
        }
    }
}
