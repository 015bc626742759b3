//! Whether facts whose caller waits for a limited time can be withdrawn.
//!
//! As long as no commit contains them they can, and then certainly have no effect. A refused commit makes them
//! withdrawable again; after one in doubt their fate is unknown.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const CARRIED: u8 = 1;
const DOUBTFUL: u8 = 2;
const WITHDRAWN: u8 = 3;

/// The state of a group of facts.
#[derive(Debug, Default)]
pub(super) struct Hold(AtomicU8);

impl Hold {
    /// A commit is about to contain them; `false` if they were withdrawn.
    pub(super) fn carry(&self) -> bool {
        self.step(WAITING, CARRIED) || self.0.load(Ordering::Acquire) != WITHDRAWN
    }

    /// The commit had no effect.
    pub(super) fn give_back(&self) {
        self.step(CARRIED, WAITING);
    }

    /// The commit is in doubt.
    pub(super) fn doubt(&self) {
        self.step(CARRIED, DOUBTFUL);
    }

    /// Withdraws them; `false` if a commit contains them, or did.
    pub(super) fn withdraw(&self) -> bool {
        self.step(WAITING, WITHDRAWN)
    }

    fn step(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_commit_carries_is_not_taken_back() {
        let hold = Hold::default();
        assert!(hold.carry());
        assert!(!hold.withdraw());
        hold.give_back();
        assert!(hold.withdraw());
        assert!(!hold.carry(), "taken back for good");
        let hold = Hold::default();
        assert!(hold.carry());
        hold.doubt();
        hold.give_back();
        assert!(!hold.withdraw(), "it may be durable");
        assert!(hold.carry(), "and is committed again");
    }
}
