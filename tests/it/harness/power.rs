//! A power loss of the daemon: it dies, and of its files goes what was written and never synced.
//! `tests/power/unsynced.rs`, loaded into the daemon, notes what that is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::daemon::binary;

/// For the daemon's environment.
pub(super) fn environment(state: &Path, log: &Path) -> Vec<(String, String)> {
    let library = binary().with_file_name("examples").join("libunsynced.so");
    assert!(
        library.exists(),
        "{} is missing; run: cargo build --example unsynced",
        library.display()
    );
    [
        ("LD_PRELOAD", library.as_path()),
        ("READSIDE_UNSYNCED_DIR", state),
        ("READSIDE_UNSYNCED_LOG", log),
    ]
    .map(|(name, path)| (name.to_owned(), path.display().to_string()))
    .into()
}

#[derive(Default)]
struct Fate {
    synced: bool,
    /// Offset and length of what was written since.
    unsynced: Vec<(u64, u64)>,
}

/// Takes what is not on disk; says how many bytes. What is left is on disk, and the notes begin with that.
pub(super) fn lose(state: &Path, log: &Path, rng: &mut Rng) -> u64 {
    let text = fs::read_to_string(log).expect("the daemon has written notes");
    let mut lost = 0;
    for (path, fate) in fates(&text) {
        // What was removed since, or is no file but a directory that was synced.
        if !path.is_file() {
            continue;
        }
        if !fate.synced {
            lost += fs::metadata(&path).expect("it is there").len();
            fs::remove_file(&path).expect("the directory is ours");
            continue;
        }
        let file = File::options().write(true).open(&path).expect("the directory is ours");
        for (offset, length) in fate.unsynced {
            // A disk may have taken a part; what it has not taken of a file's reserved space is zeros.
            let kept = if rng.bool() { 0 } else { rng.u64(0..=length) };
            let end = file.metadata().expect("it is there").len().min(offset + length);
            let gone = end.saturating_sub(offset + kept);
            file.write_all_at(&vec![0; gone as usize], offset + kept).expect("there is room");
            lost += gone;
        }
    }
    let left =
        files(state).iter().map(|path| format!("s {}\n", path.display())).collect::<String>();
    fs::write(log, left).expect("the log is ours");
    lost
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the directory is ours");
    let paths = entries.map(|entry| entry.expect("the directory is ours").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn fates(log: &str) -> BTreeMap<PathBuf, Fate> {
    let mut fates: BTreeMap<PathBuf, Fate> = BTreeMap::new();
    for line in log.lines() {
        match line.split_once(' ') {
            Some(("w", rest)) => {
                let mut fields = rest.splitn(3, ' ');
                let mut number = || fields.next()?.parse::<u64>().ok();
                let (Some(offset), Some(length)) = (number(), number()) else { continue };
                let path = fields.next().expect("a path");
                fates.entry(path.into()).or_default().unsynced.push((offset, length));
            }
            Some(("s", path)) => {
                fates.insert(path.into(), Fate { synced: true, unsynced: Vec::new() });
            }
            _ => panic!("the notes of what is synced say {line:?}"),
        }
    }
    fates
}
