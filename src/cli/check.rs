//! `readside check`: every fault, each with its place and what to do.

use std::path::Path;

use super::{Outcome, print, tell};
use crate::config::{self, Config, Diagnostic, Environment, Secret};
use crate::pg;

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
    let postgres_url = |url: &Secret, password: Option<&Secret>| {
        let parsed = pg::Params::parse(url.expose(), password);
        parsed.map(drop).map_err(|error| error.to_string())
    };
    config::load(path, environment, &postgres_url)
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
            for fault in faults(&path, &Environment::default()).expect_err("no sink at least") {
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
        assert_eq!(outcome(include_str!("../../config/readside.toml")), Outcome::Done);
        std::fs::remove_file(&path).expect("removed");
        let outcome = run(&path, &Environment::default()).expect("an outcome");
        assert_eq!(outcome, Outcome::Faults);
    }
}
