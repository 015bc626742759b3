//! The state of an instance, in one word.

use super::pages::Picture;
use super::{Admin, instances};
use crate::clock;
use crate::ids::InstanceId;
use crate::instance::Phase;

impl Admin {
    /// Records the journal's current end.
    pub(super) fn note_end(&self) {
        let end = self.core.board().last();
        self.ends.note(clock::now(), end);
    }

    /// Returns the state of the instance, in one word.
    pub(super) fn state_of(&self, id: InstanceId, picture: &Picture) -> &'static str {
        let is_foreign = self.core.discovery().markers().foreign(id).is_some();
        match (self.core.registry().phase(id), self.core.drain_of(id)) {
            (Phase::Returned, _) if is_foreign => "foreign",
            (phase, Some(drain)) if phase.usable() => instances::stage(&drain),
            (Phase::Up, None) if picture.behind(id) > 0 && self.catches_up(id) => "catching_up",
            (other, _) => other.as_str(),
        }
    }

    /// Returns whether the instance lacks a write that existed when it returned, or one that is no longer recent.
    fn catches_up(&self, id: InstanceId) -> bool {
        let to_have = self.ends.to_have(clock::now());
        let board = self.core.board();
        board.lacks_what_it_missed(id) || to_have.is_some_and(|end| !board.has_caught_up(id, end))
    }
}
