//! Which copy is made anew, and how that ended. Plain data; the rule is in [`super::cutover`].

use super::wait::WaitId;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId};

/// A diverged replica that can be made anew from a fresh one.
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
    /// It was given up before anything was renamed.
    NotBegun,
    /// It was given up while a renaming may still be executed.
    InDoubt,
}
