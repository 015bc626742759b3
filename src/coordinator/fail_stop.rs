//! How a panic in a step of the board ends the process: noted, logged, and with an exit code of its own.
//!
//! The board may then be half changed, and the journal restores it. This file decides when to halt a lane that would panic
//! for ever: at its second fault in a row. The board decides what a halted lane does.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tracing::error;

use crate::clock::Timestamp;
use crate::ids::LaneId;
use crate::journal::{Fault, Store};

/// EX_SOFTWARE of sysexits.h.
pub const EXIT_CODE: i32 = 70;

/// A lane is halted by so many faults in a row: once may be chance, and a restart mends it.
const HALTED_BY: u64 = 2;

/// How long the note of a fault may take. Without it the next start does not know, and the process ends once more.
const PATIENCE: Duration = Duration::from_secs(2);

/// Those of the faults that halt their lane.
pub(super) fn halting(faults: Vec<Fault>) -> Vec<Fault> {
    faults.into_iter().filter(|fault| fault.times >= HALTED_BY).collect()
}

/// The lanes of these faults.
pub(super) fn lanes(faults: &[Fault]) -> BTreeSet<LaneId> {
    faults.iter().map(|fault| fault.lane).collect()
}

/// What a panic says.
pub(super) fn text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}

/// Ends the process. `lane`: in which lane it happened, if that is known.
///
/// A crash before the note is durable, a disk that is full or a database that is away cost one more restart, and nothing
/// else: every answer is durable, or in doubt, as after any crash.
pub(super) fn end(store: &Arc<dyn Store>, lane: Option<LaneId>, reason: &str) -> ! {
    match lane {
        Some(lane) => {
            error!(%lane, reason, "a step of the board panicked: the process ends, and the journal restores the board");
            if let Err(why) = note(store, lane, reason) {
                error!(%lane, why, "the fault could not be noted: the next start does not know of it");
            }
        }
        None => error!(reason, "a step of the board panicked, in no lane: the process ends"),
    }
    std::process::exit(EXIT_CODE);
}

/// Notes the fault from a thread and a runtime of its own: this one may be the journal's.
fn note(store: &Arc<dyn Store>, lane: LaneId, reason: &str) -> Result<(), String> {
    let (store, reason) = (Arc::clone(store), reason.to_owned());
    let (done, noted) = sync_channel(1);
    let work = move || {
        let noted = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let noting = store.note_fault(lane, &reason, Timestamp::now());
                runtime.block_on(noting).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        // The thread that waited for it has ended the process, or is about to.
        let _ = done.send(noted);
    };
    let thread = std::thread::Builder::new().name("fault".to_owned());
    #[allow(clippy::disallowed_methods, reason = "one for the process, which ends with it")]
    thread.spawn(work).map_err(|error| error.to_string())?;
    noted.recv_timeout(PATIENCE).unwrap_or_else(|_| Err("the journal did not answer".to_owned()))
}
