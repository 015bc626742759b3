//! How long an open entry waits that stands on drained instances only, while another one is about to stand there.
//!
//! It decides when such a wait is over: then a drained instance takes the entry. Who is waited for is decided in
//! `placed.rs`; that time has passed is said by the shell.

use super::Board;
use crate::ids::{LaneId, Seq};

/// An open entry that waits, or the last one of its lane that did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deferred {
    seq: Seq,
    /// How far the instance that it waits for had come.
    passed: Seq,
    wait: Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Begun,
    /// It had begun when time was said to have passed.
    Noted,
    Over,
}

impl Board {
    /// Whether the entry waits for another instance, which has passed everything up to there. Where one wait was in vain,
    /// the lane begins the next only when that instance has moved: otherwise each write behind one that hangs would wait.
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

    /// What waited already when this was said last waits no more.
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
