//! The same three lines as the `attache` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    attache::cli::run()
}
