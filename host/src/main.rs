//! The `attache` binary; everything is in the library.

use std::process::ExitCode;

/// Calls allocate on one thread and free on another, which the system's allocator does under a lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    attache::cli::run()
}
