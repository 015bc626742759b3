//! The servers' markers as the journal records them (rule R16), and which servers are foreign.
//!
//! It decides nothing: `rejoin/` reads and writes the markers and reports here, and the pages read it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::ids::{InstanceId, InstanceName};
use crate::instance;
use crate::journal::Snapshot;
use crate::order::{Foreign, Generation};

#[derive(Clone, Debug, Default)]
struct Known {
    /// The last marker that the server is known to carry, durably.
    marked: Option<Generation>,
    /// The marker that it carried when it was last inspected or marked, whoever wrote that.
    carried: Option<Carried>,
    /// The return after which it was found older, and the marker that it carried.
    older: Option<(instance::Generation, Option<Carried>)>,
    /// All its contents were deleted on purpose, including its marker.
    reset: bool,
    foreign: Option<Foreign>,
    /// The data that an operator has confirmed may be wiped.
    word: Option<Foreign>,
    stage: ForeignStage,
}

/// What is being done about a foreign server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ForeignStage {
    /// Nothing: no operator has confirmed that it may be wiped.
    #[default]
    Reported,
    /// An operator has confirmed that it may be wiped.
    Asked,
    /// It cannot be wiped now, for this reason.
    Refused(String),
    /// This many of its collections are deleted.
    Wiping { deleted: usize, collections: usize },
}

/// What tells one marker from another: its journal and its generation.
pub(crate) type Carried = (Uuid, Generation);

/// What is known about the markers.
#[derive(Debug)]
pub struct Markers {
    journal: Uuid,
    known: Mutex<Vec<Known>>,
}

impl Markers {
    /// Creates the markers of the journal with this identity, by instance.
    pub fn new(journal: Uuid, marked: Vec<Option<Generation>>) -> Markers {
        let known = marked.into_iter().map(|marked| Known { marked, ..Known::default() }).collect();
        Markers { journal, known: Mutex::new(known) }
    }

    /// Creates the markers of this snapshot, for these configured instances.
    pub(super) fn of(snapshot: &Snapshot, instances: &[InstanceName]) -> Markers {
        let of = |name: &InstanceName| {
            snapshot.marked.iter().find(|(marked, _)| marked == name).map(|(_, generation)| *generation)
        };
        Markers::new(snapshot.journal_id, instances.iter().map(of).collect())
    }

    /// The journal's identity.
    pub fn journal(&self) -> Uuid {
        self.journal
    }

    /// Returns the last marker that the instance's server is known to carry.
    pub fn marked(&self, instance: InstanceId) -> Option<Generation> {
        self.known()[instance.0].marked
    }

    /// Returns whose data the instance's server holds in place of its own, if it is foreign.
    pub fn foreign(&self, instance: InstanceId) -> Option<Foreign> {
        self.known()[instance.0].foreign.clone()
    }

    /// Returns what is being done about a foreign server.
    pub fn foreign_stage(&self, instance: InstanceId) -> ForeignStage {
        self.known()[instance.0].stage.clone()
    }

    /// Records an operator's confirmation that the server may be wiped. Returns whose data it holds, or `None` if they
    /// are its own.
    pub fn ask_to_wipe(&self, instance: InstanceId) -> Option<Foreign> {
        let known = &mut self.known()[instance.0];
        known.word = known.foreign.clone();
        if known.word.is_some() && known.stage == ForeignStage::Reported {
            known.stage = ForeignStage::Asked;
        }
        known.word.clone()
    }

    /// Returns whether an operator has confirmed that what the server holds now may be wiped.
    pub(crate) fn is_to_be_wiped(&self, instance: InstanceId) -> bool {
        let known = &self.known()[instance.0];
        known.foreign.is_some() && known.word == known.foreign
    }

    /// Forgets the operator's confirmation.
    pub(crate) fn forget_word(&self, instance: InstanceId) {
        self.known()[instance.0].word = None;
    }

    pub(crate) fn note_stage(&self, instance: InstanceId, stage: ForeignStage) {
        self.known()[instance.0].stage = stage;
    }

    /// Notes that the server carries this marker, durably.
    pub(crate) fn note_marked(&self, instance: InstanceId, generation: Generation) {
        let known = &mut self.known()[instance.0];
        known.marked = known.marked.max(Some(generation));
        known.carried = Some((self.journal, generation));
        known.older = None;
        known.reset = false;
    }

    /// Notes what the server carried when it was inspected.
    pub(crate) fn note_carried(&self, instance: InstanceId, carried: Option<Carried>) {
        self.known()[instance.0].carried = carried;
    }

    /// Notes that the server has come back older, carrying this marker. Returns whether that is new since this return: an
    /// inspection that is repeated before the server is marked again shows the same once more.
    pub(crate) fn note_older(
        &self,
        instance: InstanceId,
        returned: instance::Generation,
        carried: Option<Carried>,
    ) -> bool {
        self.known()[instance.0].older.replace((returned, carried)) != Some((returned, carried))
    }

    /// Notes that the server has just executed a reset, which removed its marker.
    pub(crate) fn note_reset(&self, instance: InstanceId) {
        let known = &mut self.known()[instance.0];
        known.carried = None;
        known.reset = true;
    }

    /// Returns what the server carried when it was last inspected or marked.
    pub(crate) fn carried(&self, instance: InstanceId) -> Option<Carried> {
        self.known()[instance.0].carried
    }

    /// Returns whether the server was reset since it was last marked.
    pub(crate) fn was_reset(&self, instance: InstanceId) -> bool {
        self.known()[instance.0].reset
    }

    /// Returns whether the server does not carry the marker that it is known by.
    pub(crate) fn lacks_its_own(&self, instance: InstanceId) -> bool {
        let known = &self.known()[instance.0];
        known.marked.is_none() || known.carried != known.marked.map(|generation| (self.journal, generation))
    }

    /// Notes whose data the server holds in place of its own, if any. Returns whether that is new.
    pub(crate) fn note_foreign(&self, instance: InstanceId, found: Option<Foreign>) -> bool {
        let known = &mut self.known()[instance.0];
        let new = known.foreign != found;
        if new {
            known.stage = ForeignStage::default();
            // The operator's confirmation was about the data that were there before.
            known.word = None;
        }
        known.foreign = found;
        new
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
