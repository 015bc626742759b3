//! What a request needs to be sent, and what is known of one that got no answer.

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
    /// It may have been executed, or not, or it may still be.
    #[error("in doubt: {reason}")]
    InDoubt { reason: String },
    /// It was answered, with more than the caller reads: a read, which can be asked in parts. This says nothing against the instance.
    #[error("an answer longer than {most} bytes")]
    TooLong { most: usize },
    /// The write's lease had ended. This says nothing about the instance.
    #[error("the lease had ended: {0}")]
    LeaseEnded(Sent),
}

/// How much of a write was sent when its lease was found to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing at all.
    Nothing,
    /// Not all of it; the rest never will be, since the connection is closed.
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

/// What a request needs to be sent.
#[derive(Clone, Copy, Debug)]
pub enum Licence<'a> {
    /// Nothing: it changes nothing.
    NotNeeded,
    /// The lease, to its last byte.
    Lease(&'a Sending<'a>),
    /// A lease that lasts for so many questions.
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
