//! The waits of a replica: why nothing is sent to it for a while, and which wait it is.

/// Identifies one wait of one replica. Each wait of a replica has a greater id than the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitId(u64);

impl WaitId {
    /// The id of the wait after this one.
    #[must_use]
    pub(in crate::order) fn next(self) -> WaitId {
        WaitId(self.0 + 1)
    }
}

/// Why nothing is sent to a replica for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// A request got no answer: a request that was given up may still be executed until the settle time is over.
    /// `in_a_row` counts such requests on a healthy instance; the more, the longer the wait.
    Settle { in_a_row: u32 },
    /// The instance has repeatedly died of the same entry, which is never set aside (rule R13). `in_a_row` counts the
    /// deaths beyond the limit. Each makes the wait longer, so that the instance serves others meanwhile.
    Deaths { in_a_row: u32 },
    /// Nothing was executed, and an immediate retry would fare no better. The more failures in a row, the longer the pause.
    Backoff { in_a_row: u32 },
}
