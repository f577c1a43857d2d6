//! The bound on memory: what the engine keeps beyond `state.memory` lies in a file.
//!
//! Most of the memory is rows, operators' indexes and logs, in ordinary maps. As long as all fits, it is
//! ordinary memory. When the process comes near its bound, the threads that hold a `Spilling` take new
//! memory from a mapped file in the state's directory instead, and a thread of this room lets go of the
//! file's pages whenever too many of them are resident. Their bytes stay in the file, as far as possible in
//! the kernel's cache, and a look brings them back: no code of the engine's knows, it is only slower.
//!
//! The file has no name and nothing durable in it: it is gone with the process. Room on the disk is reserved
//! before it is used, so a full disk is no fault in the middle of a write; then ordinary memory is taken,
//! beyond the bound, and a warning says so.

#[cfg(feature = "mimalloc")]
mod allocator;
#[cfg(feature = "mimalloc")]
mod file;
#[cfg(feature = "mimalloc")]
mod warden;

#[cfg(feature = "mimalloc")]
pub use allocator::Allocator;
#[cfg(feature = "mimalloc")]
pub use allocator::{Spilling, is_tight};
#[cfg(feature = "mimalloc")]
pub use warden::{bound, breathe};

/// Bytes that lie in the file.
#[cfg(feature = "mimalloc")]
pub fn spilled_bytes() -> u64 {
    file::bytes()
}

#[cfg(not(feature = "mimalloc"))]
mod without {
    /// Built without the allocator that can tell memory apart.
    pub fn bound(_: &std::path::Path, _: u64) -> std::io::Result<()> {
        tracing::warn!("this build does not bound its memory: it lacks the feature mimalloc");
        Ok(())
    }

    pub struct Spilling;

    impl Spilling {
        pub fn begin() -> Self {
            Self
        }
    }

    pub fn is_tight() -> bool {
        false
    }

    pub fn breathe() {}

    pub fn spilled_bytes() -> u64 {
        0
    }
}

#[cfg(not(feature = "mimalloc"))]
pub use without::{Spilling, bound, breathe, is_tight, spilled_bytes};
