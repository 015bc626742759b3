//! Whether facts that somebody waits for only so long can be taken back.
//!
//! As long as no commit carries them they can, and then have no effect, for certain. A commit that was refused gives
//! them back; after one in doubt nobody can say any more.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const CARRIED: u8 = 1;
const DOUBTFUL: u8 = 2;
const WITHDRAWN: u8 = 3;

/// Where a group of facts stands.
#[derive(Debug, Default)]
pub(super) struct Hold(AtomicU8);

impl Hold {
    /// A commit is about to carry them; `false` if they were taken back.
    pub(super) fn carry(&self) -> bool {
        self.step(WAITING, CARRIED) || self.0.load(Ordering::Acquire) != WITHDRAWN
    }

    /// The commit left nothing behind.
    pub(super) fn give_back(&self) {
        self.step(CARRIED, WAITING);
    }

    /// Nobody knows what the commit left behind.
    pub(super) fn doubt(&self) {
        self.step(CARRIED, DOUBTFUL);
    }

    /// Takes them back; `false` if a commit carries them, or did.
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
