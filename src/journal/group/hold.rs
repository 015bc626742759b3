//! Whether facts whose caller waits for a limited time can still be withdrawn.
//!
//! They can while no commit contains them, and then they certainly have no effect. After a refused commit, they can be
//! withdrawn again. After one in doubt, it is unknown whether they are durable.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const CARRIED: u8 = 1;
const DOUBTFUL: u8 = 2;
const WITHDRAWN: u8 = 3;

/// The state of a group of facts.
#[derive(Debug, Default)]
pub(super) struct Hold(AtomicU8);

impl Hold {
    /// Records that a commit is about to contain the facts. Returns `false` if they were withdrawn.
    pub(super) fn carry(&self) -> bool {
        self.step(WAITING, CARRIED) || self.0.load(Ordering::Acquire) != WITHDRAWN
    }

    /// Records that the commit had no effect.
    pub(super) fn give_back(&self) {
        self.step(CARRIED, WAITING);
    }

    /// Records that the commit is in doubt.
    pub(super) fn doubt(&self) {
        self.step(CARRIED, DOUBTFUL);
    }

    /// Withdraws the facts. Returns `false` if a commit contains them, or may have made them durable.
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
