//! Ends the process after a panic in a step of the board. The fault is noted and logged, and the exit code is one of
//! its own.
//!
//! The board may be half changed by then; the journal restores it. This file decides when to halt a lane that would
//! panic forever: at its second fault in a row. The board decides what a halted lane does.

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

/// How many faults in a row halt a lane. One may be chance, and a restart fixes it.
const HALTED_BY: u64 = 2;

/// How long it may take to note a fault. A fault that is not noted does not count, and the process ends once more.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns the faults that halt their lane.
pub(super) fn halting(faults: Vec<Fault>) -> Vec<Fault> {
    faults.into_iter().filter(|fault| fault.times >= HALTED_BY).collect()
}

/// The lanes of these faults.
pub(super) fn lanes(faults: &[Fault]) -> BTreeSet<LaneId> {
    faults.iter().map(|fault| fault.lane).collect()
}

/// Returns the message of a panic.
pub(super) fn text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}

/// Ends the process. `lane` is the lane in which the panic happened, if that is known.
///
/// A crash before the note is durable, a full disk, or an unavailable database costs one more restart, and nothing
/// else: every answer is durable, or in doubt, as after any crash.
pub(super) fn end(store: &Arc<dyn Store>, lane: Option<LaneId>, reason: &str) -> ! {
    match lane {
        Some(lane) => {
            error!(%lane, reason, "a step of the board panicked: the process ends, and the journal restores the board");
            if let Err(why) = note(store, lane, reason) {
                error!(%lane, why, "the fault could not be noted: the next start does not know of it");
            }
        }
        None => error!(reason, "a step of the board panicked outside any lane: the process ends"),
    }
    std::process::exit(EXIT_CODE);
}

/// Notes the fault from a thread and a runtime of its own, because the present ones may be the journal's.
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
        // If nothing receives it, the waiting thread has ended the process, or is about to.
        let _ = done.send(noted);
    };
    let thread = std::thread::Builder::new().name("fault".to_owned());
    #[allow(clippy::disallowed_methods, reason = "one for the process, which ends with it")]
    thread.spawn(work).map_err(|error| error.to_string())?;
    noted.recv_timeout(PATIENCE).unwrap_or_else(|_| Err("the journal did not answer".to_owned()))
}
