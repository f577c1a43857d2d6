//! SO_RCVLOWAT (socket(7)): below this many bytes a TCP socket does not count as readable.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Lowering it wakes a reader for what is already there. Unix sockets ignore it.
#[expect(unsafe_code, reason = "no safe crate sets SO_RCVLOWAT")]
pub(super) fn set(socket: &impl AsFd, bytes: i32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<i32>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed, so it is open; the kernel reads `length` bytes at the
    // address of `bytes`, which is an i32 and lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
