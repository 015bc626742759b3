<<<<<<< HEAD
<<<<<<< HEAD
fn main() {}
=======
//! The program: hands the command line to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    chroma_edge::cli::run(std::env::args_os(), |_config| Err::<(), _>("this build has no server"))
}
>>>>>>> wt-config
=======
fn main() {}
>>>>>>> wt-harness
