//! What a request needs in order to be sent, and what is known of one that got no answer.

use std::time::Duration;

use crate::lease::{LeaseEnded, Sending};

/// Whether the instance refused the connection: no process listens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Yes,
    No,
}

/// What is known of a request that got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The instance cannot have received the whole request, and never will.
    #[error("not sent: {reason}")]
    NotSent { reason: String, refused: Refused },
    /// It may have been executed, may still be, or may never be.
    #[error("in doubt: {reason}")]
    InDoubt { reason: String },
    /// The answer was longer than the caller reads. Only for reads, which can be repeated in parts. This says nothing
    /// against the instance.
    #[error("an answer longer than {most} bytes")]
    TooLong { most: usize },
    /// The write's lease had ended. This says nothing about the instance.
    #[error("the lease had ended: {0}")]
    LeaseEnded(Sent),
}

impl SendError {
    /// Returns the kind of error in one word.
    pub const fn as_word(&self) -> &'static str {
        match self {
            SendError::NotSent { .. } => "not_sent",
            SendError::InDoubt { .. } => "in_doubt",
            SendError::TooLong { .. } => "too_long",
            SendError::LeaseEnded(_) => "lease_ended",
        }
    }
}

/// How much of a write was sent when its lease was found to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing at all.
    Nothing,
    /// Not all of it. The rest never will be, since the connection is closed.
    Part,
    /// Perhaps all of it, and perhaps after the lease.
    Whole,
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Sent::Nothing => "nothing was sent",
            Sent::Part => "part of it was sent",
            Sent::Whole => "it may have been sent",
        })
    }
}

/// How long a request is waited for. The wait always ends at once when the connection or the instance is gone.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    /// Until the request is handed over whole; afterwards, until its answer, unless the answer is still worth waiting for.
    pub attempt: Duration,
    /// Until the answer, in any case.
    pub answer: Duration,
    /// Returns whether the answer is still worth waiting for, given the time since the start. Called repeatedly from
    /// `attempt` on.
    pub worth: &'a (dyn Fn(Duration) -> bool + Send + Sync),
}

impl Wait<'_> {
    /// Returns what is left of the wait after this time.
    pub(super) fn after(self, elapsed: Duration) -> Self {
        let left = |time: Duration| time.saturating_sub(elapsed);
        Wait { attempt: left(self.attempt), answer: left(self.answer), worth: self.worth }
    }
}

impl From<Duration> for Wait<'_> {
    fn from(deadline: Duration) -> Self {
        Wait { attempt: deadline, answer: deadline, worth: &no_longer }
    }
}

fn no_longer(_: Duration) -> bool {
    false
}

/// What a request needs in order to be sent.
#[derive(Clone, Copy, Debug)]
pub enum Licence<'a> {
    /// Nothing: the request changes nothing.
    NotNeeded,
    /// The lease, up to the last byte.
    Lease(&'a Sending<'a>),
    /// A lease that lasts for this many checks.
    #[cfg(test)]
    Questions(&'a std::sync::atomic::AtomicUsize),
}

impl Licence<'_> {
    pub(super) fn check(&self) -> Result<(), LeaseEnded> {
        match self {
            Licence::NotNeeded => Ok(()),
            Licence::Lease(sending) => sending.check(),
            #[cfg(test)]
            Licence::Questions(left) => {
                let before = std::sync::atomic::Ordering::SeqCst;
                left.fetch_update(before, before, |left| left.checked_sub(1)).map(drop).map_err(|_| LeaseEnded)
            }
        }
    }

    pub(super) fn handed_over(&self) -> Result<(), LeaseEnded> {
        match self {
            Licence::NotNeeded => Ok(()),
            Licence::Lease(sending) => sending.handed_over(),
            #[cfg(test)]
            Licence::Questions(_) => self.check(),
        }
    }
}
