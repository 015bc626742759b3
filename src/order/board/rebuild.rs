//! Which copy is made whole, and how that ended. Plain data; the rule is in [`super::cutover`].

use super::wait::WaitId;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId};

/// A diverged replica that can be made whole from a fresh one: anew, or where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rebuild {
    pub collection: CollectionId,
    pub source: InstanceId,
    pub target: InstanceId,
    /// The target's latest wait. What was done before another wait began there may still be undone.
    pub wait: WaitId,
}

/// How a cutover ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutoverOutcome {
    /// The new copy, known by this id, has the source's content and stands in the old one's place.
    InPlace(InstanceCollectionId),
    /// The copy that was repaired where it is has the source's content.
    Repaired,
    /// It was given up before anything was renamed.
    NotBegun,
    /// It was given up while a renaming may still be executed.
    InDoubt,
}

/// What may become of the writes of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairWrites {
    /// Each was answered: none can be executed any more.
    Answered,
    /// One may still be executed.
    InDoubt,
}
