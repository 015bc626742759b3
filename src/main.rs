//! The program: hands the command line to the library.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A request allocates a few hundred times: docs/decisions/0056-an-allocator.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    chroma_edge::cli::run(std::env::args_os(), chroma_edge::server::serve)
}
