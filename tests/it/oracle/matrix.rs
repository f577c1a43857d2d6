//! The crash matrix: each fail-point of the daemon times each sink, while writers and readers go on.
//! After each, all sinks must equal the source without anybody's help.
//!
//! * `READSIDE_TEST_KILLS=500`: so many cases drawn at random; kills of each process, the search
//!   server's too, and of pairs of them at random moments are among them then.
//! * `READSIDE_CRASH_MATRIX=docs/crash-matrix.md`: where the table of cases, runs and results is
//!   written to.

use std::cell::Cell;
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join;
use tokio_postgres::Client;

use super::faults::{Targets, Victim};
use super::{SearchSink, Trial};
use crate::harness::wait;

/// In which the daemon dies at a place, or anything at any moment.
struct Case {
    name: String,
    fault: Fault,
    runs: u32,
}

enum Fault {
    /// Where the daemon dies: name, sink and the how-manieth time; and what brings it there.
    At {
        point: String,
        on: On,
    },
    Kill(Vec<Victim>),
    PowerLoss,
    /// A sink goes back to what it was a moment or some time ago.
    PutBack(Victim),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Anything,
    LargeTransaction,
    Load,
}

fn cases(kills_search: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut at = |name: &str, point: &str, on: On| {
        let fault = Fault::At { point: point.into(), on };
        cases.push(Case { name: name.into(), fault, runs: 0 });
    };
    at("a gulp is received", "received:3", On::Anything);
    at("a gulp is applied", "applied:3", On::Anything);
    at("within a large transaction", "within-transaction:2", On::LargeTransaction);
    at("before a checkpoint", "store-before:3", On::Anything);
    at("after a checkpoint", "store-after:3", On::Anything);
    at("a load's chunk is taken", "chunk-loaded:4", On::Load);
    at("before a load's checkpoint", "store-before:3", On::Load);
    at("within a backlog of Redis", "backlog@cache:3", On::LargeTransaction);
    for (sink, name) in [("reporting", "Postgres"), ("cache", "Redis"), ("search", "search")] {
        // In Postgres a step alone is one message to the server.
        let on = if sink == "reporting" { On::LargeTransaction } else { On::Anything };
        at(
            &format!("{name}: rows are there, the watermark not"),
            &format!("delivered@{sink}:2"),
            on,
        );
        at(
            &format!("{name}: the watermark is there"),
            &format!("watermark@{sink}:2"),
            On::Anything,
        );
        at(&format!("{name}: within a generation's swap"), &format!("swap@{sink}:3"), On::Load);
    }
    let mut add = |name: &str, fault| cases.push(Case { name: name.into(), fault, runs: 0 });
    add("power loss of readside: what was not synced is gone", Fault::PowerLoss);
    add("Redis loses its last writes, or is an older backup", Fault::PutBack(Victim::Cache));
    add("Postgres is an older backup", Fault::PutBack(Victim::Reporting));
    if kills_search {
        add("the search server is an older backup", Fault::PutBack(Victim::Search));
    }
    let mut victims = vec![Victim::Daemon, Victim::Source, Victim::Reporting, Victim::Cache];
    victims.extend(kills_search.then_some(Victim::Search));
    for (at, &one) in victims.iter().enumerate() {
        cases.push(Case::kill(&[one]));
        for &other in &victims[at + 1..] {
            cases.push(Case::kill(&[one, other]));
        }
    }
    cases
}

impl Case {
    fn kill(victims: &[Victim]) -> Case {
        let names: Vec<_> = victims.iter().map(|victim| victim.name()).collect();
        let name = format!("kill of {}", names.join(" and "));
        Case { name, fault: Fault::Kill(victims.to_vec()), runs: 0 }
    }

    async fn run(&mut self, trial: &mut Trial) {
        eprintln!("oracle: {}", self.name);
        self.runs += 1;
        let pause = Duration::from_millis(trial.rng.u64(0..600));
        let mut rng = trial.rng.fork();
        let client = trial.source.client(&trial.database).await;
        trial
            .round(async |targets: &mut Targets<'_>| match &self.fault {
                Fault::At { point, on } => {
                    let dead = Cell::new(*on != On::LargeTransaction);
                    let dies = async {
                        targets.die_at(point, *on == On::Load).await;
                        dead.set(true);
                    };
                    join(dies, large_transactions(&client, &dead)).await;
                }
                Fault::Kill(victims) => {
                    wait::delay(pause).await;
                    targets.kill(victims).await;
                }
                Fault::PowerLoss => {
                    for _ in 0..3 {
                        targets.lose_power(&mut rng).await;
                        wait::delay(pause).await;
                    }
                }
                Fault::PutBack(victim) => {
                    targets.daemon();
                    // From a second of Redis' to what deletes a lot.
                    let age = pause * [1, 2, 10][rng.usize(..3)];
                    targets.put_back(*victim, age).await;
                    wait::delay(pause).await;
                }
            })
            .await;
        trial.compare().await;
    }
}

/// One after the other: more rows than a step or a gulp takes, some of which stay.
async fn large_transactions(client: &Client, enough: &Cell<bool>) {
    while !enough.get() {
        let sql = "BEGIN;
             INSERT INTO accounts SELECT 200000 + i, repeat('x', 100) FROM generate_series(1, 4000) i;
             DELETE FROM accounts WHERE id >= 100000;
             INSERT INTO accounts SELECT 100000 + i, 'large' FROM generate_series(1, 300) i;
             SELECT oracle.seal(); COMMIT";
        // The others' locks may be in the way.
        if client.batch_execute(sql).await.is_err() {
            client.batch_execute("ROLLBACK").await.expect("the source is not killed here");
        }
    }
}

#[tokio::test]
async fn crash_matrix() {
    let kills: Option<u32> = std::env::var("READSIDE_TEST_KILLS")
        .ok()
        .map(|text| text.parse().expect("READSIDE_TEST_KILLS is a number"));
    let seed = std::env::var("READSIDE_SEED").map_or(5, |seed| seed.parse().expect("a number"));
    let search = match kills {
        Some(_) => SearchSink::own().await,
        None => SearchSink::start().await,
    };
    let begun = Instant::now();
    let mut cases = cases(kills.is_some());
    let mut trial = Trial::new(seed, Some(search)).await.with_small_steps();
    trial.fill().await;
    match kills {
        // Kills at any moment are the other trials' matter.
        None => {
            for case in cases.iter_mut().filter(|case| !matches!(case.fault, Fault::Kill(_))) {
                case.run(&mut trial).await;
            }
        }
        Some(kills) => {
            let mut rng = Rng::with_seed(seed);
            for _ in 0..kills {
                let case = rng.usize(..cases.len());
                cases[case].run(&mut trial).await;
                write_table(&cases, seed, begun.elapsed());
            }
        }
    }
    assert!(trial.exact > 0, "no reader met anything");
    write_table(&cases, seed, begun.elapsed());
}

/// After each case: a run that is broken off has shown something, too.
fn write_table(cases: &[Case], seed: u64, took: Duration) {
    if let Ok(path) = std::env::var("READSIDE_CRASH_MATRIX") {
        std::fs::write(path, table(cases, seed, took)).unwrap();
    }
}

fn commit() -> String {
    let git = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let name = git.ok().filter(|git| git.status.success()).map(|git| git.stdout);
    name.map_or_else(|| "unknown".into(), |name| String::from_utf8_lossy(&name).trim().to_owned())
}

fn table(cases: &[Case], seed: u64, took: Duration) -> String {
    let runs: u32 = cases.iter().map(|case| case.runs).sum();
    let mut text = format!(
        "# Crash matrix\n\n\
         Written by the tests (`READSIDE_TEST_KILLS={runs} READSIDE_CRASH_MATRIX=docs/crash-matrix.md\n\
         cargo test --test it crash_matrix`, seed {seed}, {} minutes, commit {}), which fail at the first difference.\n\n\
         Four writers change fourteen tables, three queries among their projections, with all that Postgres knows of changes while it happens; readers\n\
         look at the sinks all the time. After each case every sink equals the source, with nobody's help; every\n\
         settled state that a reader met was the source's at that position; a number that each transaction\n\
         counts up never went back in any sink. Histories of four tables and a query show the source's state as of\n\
         each commit, but for the gaps that they tell of. Events of two tables and of messages, in Postgres, a stream and a list in Redis\n\
         and the search server, tell each occurrence in the order of commits: once, in Redis again only of a backlog or\n\
         after it was put back itself, and none is missing without a gap's being told.\n\n\
         | case | runs | result |\n|---|---|---|\n",
        took.as_secs() / 60,
        commit()
    );
    for case in cases.iter().filter(|case| case.runs > 0) {
        writeln!(text, "| {} | {} | equal |", case.name, case.runs).expect("a String takes all");
    }
    writeln!(text, "| all | {runs} | equal |").expect("a String takes all");
    text
}
