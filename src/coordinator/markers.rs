//! What the journal knows of the servers' markers (rule R16), and which servers are not what they should be.
//!
//! It decides nothing: `rejoin/` reads, writes and reports here, the pages ask.

use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::ids::{InstanceId, InstanceName};
use crate::journal::Snapshot;
use crate::order::{Foreign, Generation};

#[derive(Clone, Debug, Default)]
struct Known {
    /// The last marker that the server is known to carry, durably.
    marked: Option<Generation>,
    /// What it carried when it was looked at or marked last, whoever gave it that.
    carried: Option<Carried>,
    /// Everything that it had was deleted on purpose, its marker too.
    reset: bool,
    foreign: Option<Foreign>,
    /// An operator has said that these data may be wiped.
    word: Option<Foreign>,
    stage: ForeignStage,
}

/// What is being done about a server with somebody else's data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ForeignStage {
    /// Nothing: nobody has said that it may be wiped.
    #[default]
    Reported,
    /// It is to be wiped.
    Asked,
    /// It cannot be wiped now, for this reason.
    Refused(String),
    /// So many of its collections are deleted.
    Wiping { deleted: usize, collections: usize },
}

/// A marker, as far as one is told from another.
pub(crate) type Carried = (Uuid, Generation);

/// What is known of the markers.
#[derive(Debug)]
pub struct Markers {
    journal: Uuid,
    known: Mutex<Vec<Known>>,
}

impl Markers {
    /// Those of a journal with this identity, by instance.
    pub fn new(journal: Uuid, marked: Vec<Option<Generation>>) -> Markers {
        let known = marked.into_iter().map(|marked| Known { marked, ..Known::default() }).collect();
        Markers { journal, known: Mutex::new(known) }
    }

    /// Those of this snapshot, for these configured instances.
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

    /// The last marker that the instance's server is known to carry.
    pub fn marked(&self, instance: InstanceId) -> Option<Generation> {
        self.known()[instance.0].marked
    }

    /// Whose data the instance's server holds in place of its own.
    pub fn foreign(&self, instance: InstanceId) -> Option<Foreign> {
        self.known()[instance.0].foreign.clone()
    }

    /// What is being done about that.
    pub fn foreign_stage(&self, instance: InstanceId) -> ForeignStage {
        self.known()[instance.0].stage.clone()
    }

    /// An operator says that the server may be wiped; returned: whose data it holds. `None`: its own.
    pub fn ask_to_wipe(&self, instance: InstanceId) -> Option<Foreign> {
        let known = &mut self.known()[instance.0];
        known.word = known.foreign.clone();
        if known.word.is_some() && known.stage == ForeignStage::Reported {
            known.stage = ForeignStage::Asked;
        }
        known.word.clone()
    }

    /// Whether an operator has said that what the server holds now may be wiped.
    pub(crate) fn is_to_be_wiped(&self, instance: InstanceId) -> bool {
        let known = &self.known()[instance.0];
        known.foreign.is_some() && known.word == known.foreign
    }

    /// The operator's word counts no more.
    pub(crate) fn forget_word(&self, instance: InstanceId) {
        self.known()[instance.0].word = None;
    }

    pub(crate) fn note_stage(&self, instance: InstanceId, stage: ForeignStage) {
        self.known()[instance.0].stage = stage;
    }

    /// The server carries this marker, durably.
    pub(crate) fn note_marked(&self, instance: InstanceId, generation: Generation) {
        let known = &mut self.known()[instance.0];
        known.marked = known.marked.max(Some(generation));
        known.carried = Some((self.journal, generation));
        known.reset = false;
    }

    /// The server was looked at, and carries this.
    pub(crate) fn note_carried(&self, instance: InstanceId, carried: Option<Carried>) {
        self.known()[instance.0].carried = carried;
    }

    /// The server has just executed a reset: nothing is left of its marker.
    pub(crate) fn note_reset(&self, instance: InstanceId) {
        let known = &mut self.known()[instance.0];
        known.carried = None;
        known.reset = true;
    }

    /// What the server should carry, as far as it was looked at.
    pub(crate) fn carried(&self, instance: InstanceId) -> Option<Carried> {
        self.known()[instance.0].carried
    }

    /// Whether the server was reset since it was marked last.
    pub(crate) fn was_reset(&self, instance: InstanceId) -> bool {
        self.known()[instance.0].reset
    }

    /// Whether the server does not carry the marker that it is known by.
    pub(crate) fn lacks_its_own(&self, instance: InstanceId) -> bool {
        let known = &self.known()[instance.0];
        known.marked.is_none() || known.carried != known.marked.map(|generation| (self.journal, generation))
    }

    /// Whether that is new.
    pub(crate) fn note_foreign(&self, instance: InstanceId, found: Option<Foreign>) -> bool {
        let known = &mut self.known()[instance.0];
        let new = known.foreign != found;
        if new {
            known.stage = ForeignStage::default();
            // An operator's word was about what was there then.
            known.word = None;
        }
        known.foreign = found;
        new
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
