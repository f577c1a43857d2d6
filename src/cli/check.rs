//! `readside check`: every fault, each with its place and what to do.

use std::path::Path;

use super::{Outcome, print, tell};
use crate::config::{self, Config, Diagnostic, Environment};
use crate::pipeline::run::check::{everything, postgres_url};

pub(super) fn run(path: &Path, environment: &Environment) -> anyhow::Result<Outcome> {
    let (config, mut faults) = config::load_partly(path, environment, &postgres_url);
    if let Some(config) = &config {
        faults.extend(ask(everything(config))?);
        config::in_file_order(&mut faults);
    }
    match config {
        Some(config) if faults.is_empty() => {
            print(&format!("{}: no faults found: {}", path.display(), summary(&config)))?;
            Ok(Outcome::Done)
        }
        _ => report(path, &faults),
    }
}

/// The tests of the file alone.
pub(super) fn read(path: &Path, environment: &Environment) -> Result<Config, Vec<Diagnostic>> {
    config::load(path, environment, &postgres_url)
}

/// Waits for what the servers say.
pub(super) fn ask<T>(asking: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(asking);
    // A name that is still being looked up would hold us.
    runtime.shutdown_background();
    Ok(answer)
}

fn summary(config: &Config) -> String {
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    let events = config.projections.iter().filter(|of| of.event().is_some()).count();
    let projections = config.projections.len() - events;
    let sinks = count(config.sinks.len(), "sink");
    let mut ready = vec!["the source".to_owned(), sinks];
    // One of them is there, or it would be a fault.
    for (number, what) in [(projections, "projection"), (events, "event")] {
        if number > 0 {
            ready.push(count(number, what));
        }
    }
    let last = ready.pop().unwrap_or_default();
    format!("{} and {last} are ready", ready.join(", "))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Urls that Postgres' room refuses, each with a secret in it.
    #[test]
    fn no_secret_of_a_bad_url_shows() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("readside.toml");
        let mut refused = 0;
        for url in [
            "postgres://u:hunter2/x@db:5432/shop",
            "postgres://u:hunter2@db:port/shop",
            "postgres://u:hun%zzhunter2@db/shop",
            "postgres://u:hunter2@db@db/shop",
            "postgres://u:p:hunter2",
            "postgres://u@db/shop?password=%hunter2",
            "postgres://u@db/shop?sslpassword=hunter2",
            "postgres://u@db/shop?pasword=hunter2",
            "postgres://u@db/shop?hunter2",
            "postgres://u:hunter2@[db",
            "postgres://u:a#hunter2@db/shop",
        ] {
            std::fs::write(&path, format!("[source]\nurl = \"{url}\"")).expect("a file");
            for fault in read(&path, &Environment::default()).expect_err("no sink at least") {
                let shown = fault.to_string();
                refused += usize::from(shown.contains("`url`"));
                assert!(!shown.contains("hunter2"), "{url}: {shown}");
            }
        }
        assert!(refused > 5, "only {refused} urls were refused");
    }

    #[test]
    fn the_outcome_says_whether_there_are_faults() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("readside.toml");
        let outcome = |text: &str| {
            std::fs::write(&path, text).expect("a file");
            run(&path, &Environment::default()).expect("an outcome")
        };
        assert_eq!(outcome("slot = 1"), Outcome::Faults);
        std::fs::remove_file(&path).expect("removed");
        let outcome = run(&path, &Environment::default()).expect("an outcome");
        assert_eq!(outcome, Outcome::Faults);
    }
}
