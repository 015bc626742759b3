//! Which status follows which: the one rule about a transaction's status, the same for every store.
//!
//! Reports about one transaction come from its client's side and from recovery, and may arrive late or twice.

/// A transaction's status, as stored and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Attempting,
    /// A definite answer was given, 4xx included.
    Completed,
    /// The client was told 503, recovery pending: it will be retried.
    Failed,
    /// Finished after its client had been told "pending", or after a restart. Also what may have been acknowledged, and went
    /// with its collection before that was durable.
    Recovered,
    /// Rejected on recovery, or never acknowledged and shown absent, or below the deletion of its collection.
    Abandoned,
}

impl Status {
    /// Every status, in the order in which they are shown.
    pub const ALL: [Status; 5] =
        [Status::Attempting, Status::Completed, Status::Failed, Status::Recovered, Status::Abandoned];

    /// The name that is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Attempting => "ATTEMPTING",
            Status::Completed => "COMPLETED",
            Status::Failed => "FAILED",
            Status::Recovered => "RECOVERED",
            Status::Abandoned => "ABANDONED",
        }
    }
}

impl Status {
    /// Whether nothing can follow: the transaction is finished, and so is its line in the journal.
    pub const fn is_final(self) -> bool {
        match self {
            Status::Completed | Status::Recovered | Status::Abandoned => true,
            Status::Attempting | Status::Failed => false,
        }
    }

    /// The status after `reported` arrived. A final one stays: whoever finished first told the truth, and what
    /// comes later is a late or repeated report.
    pub const fn after(self, reported: Status) -> Status {
        if self.is_final() { self } else { reported }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_status_never_changes() {
        for last in [Status::Completed, Status::Recovered, Status::Abandoned] {
            for reported in Status::ALL {
                assert_eq!(last.after(reported), last);
            }
        }
    }

    #[test]
    fn an_open_status_becomes_what_is_reported() {
        for open in [Status::Attempting, Status::Failed] {
            for reported in Status::ALL {
                assert_eq!(open.after(reported), reported);
            }
        }
    }
}
