//! The mapped file, and the allocator's heap in it.

#![expect(unsafe_code, reason = "maps a file and gives the pages to the allocator")]

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};

use libmimalloc_sys::mi_heap_t;

use super::warden;

/// Of addresses, not of memory: what can be spilled in all. The allocator's arenas end at 16 GiB.
const MAPPED_BYTES: usize = 15 << 30;
/// The allocator wants its arena aligned to its slices; this is more than that.
const ALIGNMENT: usize = 1 << 30;

/// Each time that so much more is taken, the resident part is looked at.
const BREATH: u64 = 4 << 20;

// Of mimalloc 3, in its header mimalloc.h; the bindings do not have it.
type CommitFun = unsafe extern "C" fn(bool, *mut c_void, usize, *mut bool, *mut c_void) -> bool;
unsafe extern "C" {
    fn mi_manage_memory(
        start: *mut c_void,
        size: usize,
        is_committed: bool,
        is_pinned: bool,
        is_zero: bool,
        numa_node: c_int,
        exclusive: bool,
        commit_fun: Option<CommitFun>,
        commit_fun_arg: *mut c_void,
        arena_id: *mut *mut c_void,
    ) -> bool;
}

struct Mapped {
    file: File,
    start: usize,
}

/// Once in the life of the process: blocks in it are freed whenever their owners end.
static MAPPED: OnceLock<Mapped> = OnceLock::new();
/// The allocator's, in the mapped file.
static HEAP: AtomicPtr<mi_heap_t> = AtomicPtr::new(ptr::null_mut());
/// Of the file, reserved on disk.
static BYTES: AtomicU64 = AtomicU64::new(0);
/// Of these, what the allocator took for its records of the file.
static RECORDS: AtomicU64 = AtomicU64::new(0);
static HIGHEST: AtomicUsize = AtomicUsize::new(0);
static IS_FULL: AtomicBool = AtomicBool::new(false);

/// Without the allocator's own records, which are there while nothing lies in the file yet.
pub(super) fn bytes() -> u64 {
    BYTES.load(Relaxed).saturating_sub(RECORDS.load(Relaxed))
}

/// Beyond it nothing was ever used.
pub(super) fn reach() -> usize {
    HIGHEST.load(Relaxed)
}

/// Whether the disk had no room for more since the last call.
pub(super) fn take_full() -> bool {
    IS_FULL.swap(false, Relaxed)
}

/// Makes the heap in a file of this directory; there is one in the life of the process.
pub(super) fn map(dir: &Path) -> io::Result<()> {
    if MAPPED.get().is_some() {
        return Ok(());
    }
    let file = nameless_in(dir)?;
    let start = map_shared(&file)?;
    // The allocator may ask for the first pages at once.
    MAPPED.get_or_init(|| Mapped { file, start });
    let mut arena = ptr::null_mut();
    // SAFETY: the range was mapped above, for nobody else, and is never unmapped.
    let taken = unsafe {
        mi_manage_memory(
            start as *mut c_void,
            MAPPED_BYTES,
            false,
            false,
            // All of it is a hole. Else the allocator would write 30 MiB of zeros for its own records.
            true,
            -1,
            true,
            Some(commit),
            ptr::null_mut(),
            &raw mut arena,
        )
    };
    if taken {
        // SAFETY: the arena is the one just made.
        let heap = unsafe { libmimalloc_sys::mi_heap_new_in_arena(arena) };
        RECORDS.store(BYTES.load(Relaxed), Relaxed);
        HEAP.store(heap, Release);
    }
    if heap().is_none() {
        return Err(io::Error::other("the allocator does not take the mapped file"));
    }
    Ok(())
}

/// The heap in the file, once there is one.
pub(super) fn heap() -> Option<*mut mi_heap_t> {
    let heap = HEAP.load(Acquire);
    (!heap.is_null()).then_some(heap)
}

fn nameless_in(dir: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(libc::O_TMPFILE).open(dir) {
        Ok(file) => Ok(file),
        // Not every file system has files without names.
        Err(_) => {
            let path = dir.join("memory");
            let file = options.create(true).truncate(true).open(&path)?;
            std::fs::remove_file(path)?;
            Ok(file)
        }
    }
}

fn map_shared(file: &File) -> io::Result<usize> {
    file.set_len(MAPPED_BYTES as u64)?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let around = unsafe {
        libc::mmap(ptr::null_mut(), MAPPED_BYTES + ALIGNMENT, libc::PROT_NONE, flags, -1, 0)
    };
    if around == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = (around as usize).next_multiple_of(ALIGNMENT);
    // SAFETY: it takes the place of a part of the mapping just made, which nobody knows of.
    let mapped = unsafe {
        libc::mmap(
            start as *mut c_void,
            MAPPED_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE,
            file.as_raw_fd(),
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(start)
}

/// Called by the allocator before it uses pages, and when it needs them no more. It must not allocate.
unsafe extern "C" fn commit(
    commits: bool,
    start: *mut c_void,
    size: usize,
    is_zero: *mut bool,
    _: *mut c_void,
) -> bool {
    let Some(mapped) = MAPPED.get() else { return false };
    let offset = start as usize - mapped.start;
    let mode = if commits { 0 } else { libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE };
    let (Ok(at), Ok(len)) = (libc::off_t::try_from(offset), libc::off_t::try_from(size)) else {
        return false;
    };
    // SAFETY: the descriptor is open as long as the process lives.
    let failed = unsafe { libc::fallocate(mapped.file.as_raw_fd(), mode, at, len) } != 0;
    if !is_zero.is_null() {
        // SAFETY: the allocator's own variable. Pages that were given back and taken again may hold
        // anything where the file system could not make holes.
        unsafe { *is_zero = false };
    }
    if failed {
        IS_FULL.fetch_or(commits, Relaxed);
        return false;
    }
    if commits {
        let before = BYTES.fetch_add(size as u64, Relaxed);
        HIGHEST.fetch_max(offset + size, Relaxed);
        if before / BREATH != (before + size as u64) / BREATH {
            warden::breathe();
        }
    } else {
        BYTES.fetch_sub(size as u64, Relaxed);
    }
    true
}

/// Lets go of the resident pages of a window of the file and returns where the next one begins.
pub(super) fn release(from: usize, len: usize) -> usize {
    let Some(mapped) = MAPPED.get() else { return 0 };
    let highest = HIGHEST.load(Relaxed);
    let from = if from < highest { from } else { 0 };
    let len = len.min(highest - from);
    if len == 0 {
        return 0;
    }
    // SAFETY: a part of the mapping. It is of a file and shared, so its pages keep their bytes there.
    unsafe { libc::madvise((mapped.start + from) as *mut c_void, len, libc::MADV_DONTNEED) };
    from + len
}
