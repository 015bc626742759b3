//! How long an open entry that only drained instances could take waits for another instance that is about to reach it.
//!
//! Decides when such a wait is over. A drained instance then takes the entry. `placed.rs` decides which instance is
//! waited for, and the shell reports that time has passed.

use super::Board;
use crate::ids::{LaneId, Seq};

/// An open entry that waits, or the last one of its lane that did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deferred {
    seq: Seq,
    /// The position that the instance it waits for had reached.
    passed: Seq,
    wait: Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Begun,
    /// It had already begun at the last report that time has passed.
    Noted,
    Over,
}

impl Board {
    /// Returns whether the entry waits for another instance, which has passed everything up to `passed`. After a wait in vain,
    /// the lane begins the next one only once that instance has moved. Otherwise each write behind one that hangs would wait.
    pub(super) fn defers(&mut self, id: LaneId, seq: Seq, passed: Option<Seq>) -> bool {
        let Some(passed) = passed else {
            self.deferred.remove(&id);
            return false;
        };
        match self.deferred.get(&id) {
            Some(last) if last.wait == Wait::Over && (last.seq == seq || last.passed == passed) => false,
            Some(last) if last.wait != Wait::Over && last.seq == seq => true,
            _ => {
                self.deferred.insert(id, Deferred { seq, passed, wait: Wait::Begun });
                true
            }
        }
    }

    /// Ends the waits that had already begun at the previous report.
    pub(super) fn deferred_long_enough(&mut self) {
        let lanes = &self.lanes;
        self.deferred.retain(|id, _| lanes.get(id).is_some_and(|lane| !lane.slots.is_empty()));
        for (id, deferred) in &mut self.deferred {
            deferred.wait = match deferred.wait {
                Wait::Begun => Wait::Noted,
                Wait::Noted => {
                    self.dirty.insert(*id);
                    Wait::Over
                }
                Wait::Over => Wait::Over,
            };
        }
    }
}
