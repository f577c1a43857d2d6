//! A library that the tests of power loss load into the daemon (LD_PRELOAD), in front of the C library: it
//! notes which bytes of the state's files were written and which files were synced, in their order. What
//! was written and not synced is what a power loss may take.
//!
//! `READSIDE_UNSYNCED_DIR`: the directory whose files count. `READSIDE_UNSYNCED_LOG`: lines of
//! `w OFFSET LENGTH PATH`, before it is done, and `s PATH`, after it is done. `READSIDE_UNSYNCED_DIES=N`: the
//! process is killed in place of the Nth sync.

#![allow(unsafe_code, reason = "it stands in for functions of the C library")]

use std::ffi::{CString, c_int, c_long, c_void};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

struct Notes {
    dir: String,
    log: c_int,
    /// Until the process is killed.
    syncs_left: AtomicI64,
}

/// `None` without the variables: then nothing is noted.
static NOTES: LazyLock<Option<Notes>> = LazyLock::new(|| {
    let dir = std::env::var("READSIDE_UNSYNCED_DIR").ok()?;
    let log = CString::new(std::env::var("READSIDE_UNSYNCED_LOG").ok()?).ok()?;
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
    // SAFETY: the path ends with a NUL.
    let log = unsafe { libc::open(log.as_ptr(), flags, 0o600) };
    let dies = std::env::var("READSIDE_UNSYNCED_DIES").ok().and_then(|text| text.parse().ok());
    let syncs_left = AtomicI64::new(dies.unwrap_or(i64::MAX));
    (log >= 0).then_some(Notes { dir, log, syncs_left })
});

impl Notes {
    /// The path of a file below the directory.
    fn path(&self, fd: c_int) -> Option<String> {
        let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        path.to_str().filter(|path| path.starts_with(&self.dir)).map(str::to_owned)
    }

    fn add(&self, line: &str) {
        // SAFETY: the bytes are there for as long as the call takes. Not by `write`, which is ours.
        unsafe { libc::syscall(libc::SYS_write, self.log, line.as_ptr(), line.len()) };
    }
}

fn note_write(fd: c_int, length: usize, at: Option<i64>) {
    let Some(notes) = &*NOTES else { return };
    // SAFETY: neither changes anything; what is no file has no position.
    let (position, flags) =
        unsafe { (libc::lseek(fd, 0, libc::SEEK_CUR), libc::fcntl(fd, libc::F_GETFL)) };
    if position < 0 {
        return;
    }
    let Some(path) = notes.path(fd) else { return };
    let end = || std::fs::metadata(&path).map_or(position, |file| file.len() as i64);
    let appends = flags & libc::O_APPEND != 0;
    let offset = at.unwrap_or_else(|| if appends { end() } else { position });
    notes.add(&format!("w {offset} {length} {path}\n"));
}

fn sync(call: c_long, fd: c_int) -> c_int {
    let file = NOTES.as_ref().and_then(|notes| Some((notes, notes.path(fd)?)));
    if let Some((notes, _)) = &file
        && notes.syncs_left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        // SAFETY: it ends here.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
    // SAFETY: what the caller has promised.
    let answer = unsafe { libc::syscall(call, fd) };
    if let (0, Some((notes, path))) = (answer, &file) {
        notes.add(&format!("s {path}\n"));
    }
    answer as c_int
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, length: usize) -> isize {
    note_write(fd, length, None);
    // SAFETY: what the caller has promised.
    unsafe { libc::syscall(libc::SYS_write, fd, bytes, length) as isize }
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, parts: *const libc::iovec, count: c_int) -> isize {
    // SAFETY: what the caller has promised.
    let length = unsafe { std::slice::from_raw_parts(parts, count.max(0) as usize) };
    note_write(fd, length.iter().map(|part| part.iov_len).sum(), None);
    // SAFETY: what the caller has promised.
    unsafe { libc::syscall(libc::SYS_writev, fd, parts, count) as isize }
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    fd: c_int,
    bytes: *const c_void,
    length: usize,
    offset: i64,
) -> isize {
    note_write(fd, length, Some(offset));
    // SAFETY: what the caller has promised.
    unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, length, offset) as isize }
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    sync(libc::SYS_fsync, fd)
}

/// # Safety
/// As of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(libc::SYS_fdatasync, fd)
}
