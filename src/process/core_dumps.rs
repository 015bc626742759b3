//! No picture of this process's memory is written when it dies: it holds tokens, keys and what clients store.
//!
//! It decides only that. What may be read of a live process is the system's.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The system takes a limit of one byte for "not at all", also where dumps go to a program and no other limit counts.
const NOT_AT_ALL: Rlimit = Rlimit { current: Some(1), maximum: Some(1) };

/// From now on, for this process and what it becomes.
pub fn forbid_core_dumps() {
    if let Err(error) = setrlimit(Resource::Core, NOT_AT_ALL) {
        if getrlimit(Resource::Core).maximum == Some(0) {
            // It cannot be raised to one. No file is written either way.
            return tracing::info!(
                "core dumps are forbidden already: only a program that the system hands them to might get one"
            );
        }
        tracing::warn!(%error, "core dumps cannot be forbidden: a dump of this process holds secrets");
    }
}
