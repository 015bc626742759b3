//! The program: hands the command line to the library.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use std::process::ExitCode;

fn main() -> ExitCode {
    chroma_edge::cli::run(std::env::args_os(), chroma_edge::server::serve)
}
