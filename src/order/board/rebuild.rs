//! Which copy is healed, and how that ended. Plain data; the rule is in [`super::cutover`].

use super::wait::WaitId;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId};

/// A diverged replica that can be healed from a fresh one: by a new copy, or by a repair where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rebuild {
    pub collection: CollectionId,
    pub source: InstanceId,
    pub target: InstanceId,
    /// The target's latest wait. What was done before a later wait began may still be undone.
    pub wait: WaitId,
}

/// How a cutover ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutoverOutcome {
    /// The new copy, known by this id, has the source's content and has taken the old one's place.
    InPlace(InstanceCollectionId),
    /// The copy that was repaired where it is has the source's content.
    Repaired,
    /// The cutover was given up before anything was renamed.
    NotBegun,
    /// The cutover was given up while a rename may still be executed.
    InDoubt,
}

/// The state of a repair's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairWrites {
    /// Each was answered, so none can still be executed.
    Answered,
    /// One may still be executed.
    InDoubt,
}
