//! What happens to the directory of the state: two processes, damage of every kind. It is refused or
//! made anew, and says so; it is never wrong.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Daemon, wait};
use crate::world::World;

const ITEMS: &str = "
    CREATE TABLE items (id int PRIMARY KEY, v text);
    INSERT INTO items SELECT i, repeat(i::text, 50) FROM generate_series(1, 3000) AS i;";

/// More with READSIDE_TEST_DAMAGES.
const DAMAGES: u32 = 6;

#[tokio::test]
async fn two_processes_do_not_share_a_state() {
    let world = World::new(ITEMS).await;
    let config = world.config(&world.projection("items", "items", &["id"]));
    let mut daemon = Daemon::start(&config);
    daemon.wait_ready().await;
    let dir = daemon.state_dir().display().to_string();
    let mut second = Daemon::start_with(&config, &[("READSIDE__STATE__DIR", &dir)]);
    assert!(!second.ended().await.success());
    let log = second.log();
    assert!(log.contains(&dir) && log.contains("in use by another process"), "{log}");
    world.execute("UPDATE items SET v = 'goes on' WHERE id < 10").await;
    world.same(&mut daemon, "items", "items", &["id"]).await;
}

#[tokio::test]
async fn a_damaged_state_is_refused_or_rebuilt_and_never_wrong() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("READSIDE_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    let damages = number("READSIDE_TEST_DAMAGES").unwrap_or(u64::from(DAMAGES));
    println!("READSIDE_TEST_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let world = World::new(ITEMS).await;
    let mut daemon = Daemon::start(&world.config(&world.projection("items", "items", &["id"])));
    daemon.wait_ready().await;
    for round in 0..damages {
        let change = format!(
            "UPDATE items SET v = 'round {round}' WHERE id % 50 = {};
             DELETE FROM items WHERE id = {}; INSERT INTO items VALUES ({}, 'new')",
            rng.u32(0..50),
            rng.u32(1..3000),
            10_000 + round,
        );
        world.execute(&change).await;
        world.same(&mut daemon, "items", "items", &["id"]).await;
        if rng.bool() {
            daemon.terminate().await;
        } else {
            daemon.kill9();
        }
        // What comes meanwhile must not be missed, whatever is left.
        world.execute(&format!("UPDATE items SET v = 'away {round}' WHERE id % 40 = 1")).await;
        let what = damage(&daemon.state_dir(), &mut rng);
        println!("round {round}: {what}");
        daemon.restart();
        if let Some(refusal) = refused(&mut daemon).await {
            println!("refused: {refusal}");
            daemon.kill9();
            daemon.lose_state();
            daemon.restart();
        }
        world.same(&mut daemon, "items", "items", &["id"]).await;
    }
}

/// `None` when it works; else its words.
async fn refused(daemon: &mut Daemon) -> Option<String> {
    let dir = daemon.state_dir().display().to_string();
    let told = |text: &str| {
        let names = |line: &&str| line.contains(&dir) || line.contains("state.dir");
        text.lines()
            .rfind(|line| names(line) && !line.contains("readside version="))
            .map(str::to_owned)
    };
    wait::until("the state to be taken or refused", async || {
        if daemon.exited().is_some() {
            let log = daemon.log_of_this_start();
            return Ok(Some(
                told(&log).unwrap_or_else(|| panic!("it ended without a word: {log}")),
            ));
        }
        let Ok((status, reasons)) = daemon.try_get("/readyz").await else {
            return Err("no answer yet".to_owned());
        };
        match told(&reasons) {
            _ if status == 200 => Ok(None),
            Some(why) => Ok(Some(why)),
            None => Err(reasons),
        }
    })
    .await
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Does something to one file of the state; says what.
fn damage(dir: &Path, rng: &mut fastrand::Rng) -> String {
    let files: Vec<PathBuf> =
        files(dir).into_iter().filter(|file| fs::metadata(file).unwrap().len() > 0).collect();
    let file = &files[rng.usize(0..files.len())];
    let mut bytes = fs::read(file).unwrap();
    // Much of a journal is reserved and not written yet.
    let used = bytes.iter().rposition(|&byte| byte != 0).map_or(1, |last| last + 1);
    let at = rng.usize(0..used);
    let what = match rng.u8(0..4) {
        0 => {
            bytes.truncate(at);
            format!("cut at {at} of {used}")
        }
        1 => {
            let end = (at + 4096).min(bytes.len());
            bytes[at..end].fill(0);
            format!("zeros from {at} of {used}")
        }
        2 => {
            fs::remove_file(file).unwrap();
            return format!("{}: gone", file.display());
        }
        _ => {
            bytes[at] ^= 1 << rng.u8(0..8);
            format!("a bit at {at} of {used}")
        }
    };
    fs::write(file, bytes).unwrap();
    format!("{}: {what}", file.display())
}
