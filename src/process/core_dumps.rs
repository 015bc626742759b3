//! Forbids core dumps: this process's memory holds tokens, keys and clients' data.
//!
//! It decides nothing else. The system decides what may be read of a live process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The system treats a limit of one byte as no dump at all, even if dumps go to a program, which no other limit stops.
const NOT_AT_ALL: Rlimit = Rlimit { current: Some(1), maximum: Some(1) };

/// Forbids core dumps from now on, for this process and any program that replaces it.
pub fn forbid_core_dumps() {
    if let Err(error) = setrlimit(Resource::Core, NOT_AT_ALL) {
        if getrlimit(Resource::Core).maximum == Some(0) {
            // The limit cannot be raised to one. No file is written either way.
            return tracing::info!(
                "core dumps are forbidden already: only a program that the system hands them to might get one"
            );
        }
        tracing::warn!(%error, "core dumps cannot be forbidden: a dump of this process holds secrets");
    }
}
