//! The thin binary: everything is in the library.

use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: readside::memory::Allocator = readside::memory::Allocator;

fn main() -> ExitCode {
    // Before any client asks for one: they refuse to choose between providers themselves. It is the
    // first call of its kind in the process, so there is none to be replaced.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    readside::cli::main()
}
