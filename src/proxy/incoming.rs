//! An incoming body and the memory that it claims, at once or after a bounded wait. Which body gets memory is decided
//! by [`intake`](super::intake).

use std::sync::Arc;

use super::admit::Admission;
use super::failure::Failure;
use super::intake::{Arrival, Turn};
use crate::clock;

/// A body that is being read. Its share of the memory for bodies is given back on drop.
pub struct Incoming {
    admission: Arc<Admission>,
    arrival: Option<Arrival>,
}

/// A whole body's share of the memory for bodies, given back on drop.
pub struct Memory {
    admission: Arc<Admission>,
    bytes: u64,
}

/// The longest that a body waits for memory, in multiples of `queue_wait`, even while others give some back.
const WAITS: u32 = 12;

impl Admission {
    /// Begins a body that has at most this many bytes. It holds no memory yet.
    pub fn incoming_body(self: &Arc<Self>, most: usize) -> Incoming {
        let arrival = self.intake().begin(most as u64);
        Incoming { admission: Arc::clone(self), arrival: Some(arrival) }
    }

    fn give_back(&self, bytes: u64) {
        self.intake().give_back(bytes);
        self.freed.notify_waiters();
    }
}

impl Incoming {
    /// Claims memory for bytes that have arrived, at once or after a bounded wait for others. Meanwhile nothing is
    /// read, which slows the client down.
    ///
    /// # Errors
    /// [`Failure::MemoryFull`] when none was given back within `queue_wait`.
    pub async fn claim(&self, bytes: usize) -> Result<Waited, Failure> {
        let mut waited = Waited::No;
        let wait = self.admission.limits().queue_wait;
        let in_all = clock::runtime_now() + wait * WAITS;
        loop {
            let freed = self.admission.freed.notified();
            tokio::pin!(freed);
            // From here on, no release of memory is missed.
            freed.as_mut().enable();
            if self.arrival.is_none_or(|arrival| self.admission.intake().claim(arrival, bytes as u64) == Turn::Granted)
            {
                return Ok(waited);
            }
            waited = Waited::Yes;
            let until = (clock::runtime_now() + wait).min(in_all);
            if tokio::time::timeout_at(until, freed).await.is_err() {
                return Err(Failure::MemoryFull(self.admission.overload()));
            }
        }
    }

    /// Ends the reading: the body is whole.
    pub fn finish(mut self) -> Memory {
        let bytes = self.arrival.take().map_or(0, |arrival| self.admission.intake().finish(arrival));
        // The rest of what it announced is no longer kept free for it.
        self.admission.freed.notify_waiters();
        Memory { admission: Arc::clone(&self.admission), bytes }
    }
}

/// Whether a claim had to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    No,
    Yes,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(arrival) = self.arrival.take() {
            self.admission.intake().give_up(arrival);
            self.admission.freed.notify_waiters();
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.admission.give_back(self.bytes);
    }
}
