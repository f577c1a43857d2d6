//! Watches what the process has resident, and keeps it below its bound.
//!
//! A thread looks every few milliseconds. That alone would be late: a scan brings pages back at the speed of
//! memory, and on a busy machine threads wait for their turn. So who uses the file looks as well, between
//! its pieces of work (`breathe`) and while it takes more of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::{allocator, file};

const NEAR_PAUSE: Duration = Duration::from_millis(2);
/// While nothing grows.
const FAR_PAUSE: Duration = Duration::from_millis(100);
/// So much of the file is let go of between two looks.
const WINDOW: usize = 4 << 20;
/// The file's resident part is not made smaller than this.
const RESIDENT_MIN: u64 = 16 << 20;

static BOUND: AtomicU64 = AtomicU64::new(u64::MAX);
static STATM: OnceLock<Statm> = OnceLock::new();
/// Where in the file pages are let go of next.
static HAND: AtomicUsize = AtomicUsize::new(0);

/// Bounds what the process has resident to about `bytes`, as long as what grows holds a `Spilling`. Once the
/// file is there, another call changes the bound alone.
pub fn bound(dir: &Path, bytes: u64) -> io::Result<()> {
    let first = BOUND.swap(bytes, Relaxed) == u64::MAX;
    std::fs::create_dir_all(dir)?;
    if STATM.get().is_none() {
        let statm = Statm::open()?;
        STATM.get_or_init(|| statm);
    }
    file::map(dir)?;
    if first {
        std::thread::Builder::new().name("memory".to_owned()).spawn(watch)?;
    }
    Ok(())
}

/// Keeps the file's resident part below its bound. It allocates nothing.
pub fn breathe() {
    let Some(statm) = STATM.get().filter(|_| file::bytes() > 0) else { return };
    let max = (BOUND.load(Relaxed) / 4).max(RESIDENT_MIN);
    if statm.read().is_none_or(|resident| resident.of_files <= max) {
        return;
    }
    // The program's own pages are among them, so once round has to be enough.
    let mut left = file::reach();
    while left > 0 && statm.read().is_some_and(|resident| resident.of_files > max / 4 * 3) {
        let next = file::release(HAND.load(Relaxed), WINDOW);
        HAND.store(next, Relaxed);
        left = left.saturating_sub(WINDOW);
    }
}

/// Bytes of the process that are in memory, by where they came from.
#[derive(Clone, Copy, PartialEq)]
struct Resident {
    ordinary: u64,
    /// Of the mapped file, and the program itself.
    of_files: u64,
}

/// /proc/self/statm (proc(5)): size, resident, shared and others, in pages.
struct Statm {
    file: File,
    page_bytes: u64,
}

impl Statm {
    #[expect(unsafe_code, reason = "asks for the size of a page")]
    fn open() -> io::Result<Self> {
        // SAFETY: a question without arguments that point anywhere.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page_bytes = u64::try_from(page_bytes).map_err(io::Error::other)?;
        Ok(Self { file: File::open("/proc/self/statm")?, page_bytes })
    }

    fn read(&self) -> Option<Resident> {
        let mut text = [0; 128];
        let len = self.file.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..len]).ok()?;
        let mut pages = text.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
        let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
        let ordinary = resident.saturating_sub(shared) * self.page_bytes;
        Some(Resident { ordinary, of_files: shared * self.page_bytes })
    }
}

/// Ends with the process.
#[expect(clippy::disallowed_methods, reason = "a thread of its own looks now and then")]
fn watch() {
    let mut before = None;
    let mut warned = false;
    loop {
        let bound = BOUND.load(Relaxed);
        let Some(resident) = STATM.get().and_then(Statm::read) else {
            tracing::error!("/proc/self/statm cannot be read: memory is not bounded");
            return;
        };
        // A quarter is the file's.
        let ordinary_max = bound / 4 * 3;
        if resident.ordinary > ordinary_max && !allocator::is_tight() {
            allocator::set_tight(true);
            tracing::info!(
                bound,
                resident = resident.ordinary,
                "the memory is used up: what comes now lies in a file of the state's directory, and is slower"
            );
        } else if resident.ordinary < ordinary_max / 8 * 7 {
            allocator::set_tight(false);
        }
        breathe();
        if file::take_full() {
            if !warned {
                tracing::warn!(
                    "no room on disk for what is beyond state.memory: ordinary memory is used instead"
                );
            }
            warned = true;
        } else if !allocator::is_tight() {
            warned = false;
        }
        let still = before == Some(resident);
        before = Some(resident);
        std::thread::sleep(if still { FAR_PAUSE } else { NEAR_PAUSE });
    }
}
