//! Directories of the servers, below one directory of this test binary. What a killed run left
//! behind is removed by the next one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::process::run;

const PREFIX: &str = "readside-it-";

/// Removed when dropped; kept when the test fails and `READSIDE_TEST_KEEP` is set.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(kind: &str) -> Scratch {
        let path = root().join(super::unique(kind));
        fs::create_dir(&path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("READSIDE_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.0.display());
            return;
        }
        // A server that was just killed may still be writing; the next run removes what is left.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Puts a copy of a directory in the place of another one.
pub(super) fn replace(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap_or_else(|e| panic!("cannot remove {}: {e}", to.display()));
    }
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=auto"]).arg(from).arg(to);
    run("cp", copy);
}

/// The directory of this process, which every user may enter: servers do not run as root.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        let root = parent.join(format!("{PREFIX}{}", std::process::id()));
        // Of an earlier process with our number, if it exists.
        let _ = fs::remove_dir_all(&root);
        fs::create_dir(&root).unwrap_or_else(|e| panic!("cannot create {}: {e}", root.display()));
        root
    })
}

/// For a program that ends in an orderly way, when all its servers are gone.
pub(crate) fn remove_root() {
    // What cannot be removed now is removed by the next run.
    let _ = fs::remove_dir_all(root());
}

fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.strip_prefix(PREFIX)) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            // Another user's is not ours to remove.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
