//! Copies that existed before the edge and differ, as far as they were compared: for the operator who decides.
//!
//! It decides nothing: `rejoin/` compares and reports here, and the pages read it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::ids::{CollectionId, InstanceId};

/// How one copy differs from the one that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    pub served_by: InstanceId,
    /// Records in the copy that is served.
    pub served: u64,
    /// Records in the other one.
    pub records: u64,
    /// `None`: there are too many to compare one by one.
    pub apart: Option<Apart>,
    /// When that was found.
    pub at: Instant,
}

/// How far two copies are apart, in records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apart {
    pub only_served: u64,
    pub only_here: u64,
    /// Records with the same id and different content.
    pub different: u64,
}

impl Difference {
    /// Describes the difference for the log.
    pub fn told(&self) -> String {
        let Difference { served, records, .. } = self;
        let how = match self.apart {
            None => "they are too many to be compared one by one".to_owned(),
            Some(Apart { only_served: 0, only_here, different: 0 }) if only_here > 0 => {
                format!("this copy has all of the served ones, and {only_here} more")
            }
            Some(Apart { only_served, only_here: 0, different: 0 }) if only_served > 0 => {
                format!("the served copy has all of these, and {only_served} more")
            }
            Some(Apart { only_served: 0, only_here: 0, different: 0 }) => {
                "only their order or definition differs".to_owned()
            }
            Some(Apart { only_served, only_here, different }) => {
                format!(
                    "{only_served} are only in the served copy, {only_here} only in this one, and {different} differ"
                )
            }
        };
        format!("{served} records are served, {records} are here: {how}")
    }
}

/// All known differences.
#[derive(Debug, Default)]
pub struct Differences(Mutex<BTreeMap<(CollectionId, InstanceId), Difference>>);

impl Differences {
    /// Returns the known difference of this copy.
    pub fn get(&self, collection: CollectionId, instance: InstanceId) -> Option<Difference> {
        self.known().get(&(collection, instance)).copied()
    }

    pub(crate) fn note(&self, collection: CollectionId, instance: InstanceId, difference: Difference) {
        self.known().insert((collection, instance), difference);
    }

    pub(crate) fn retain(&self, still: impl Fn(CollectionId, InstanceId) -> bool) {
        self.known().retain(|(collection, instance), _| still(*collection, *instance));
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(CollectionId, InstanceId), Difference>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superset_is_told_by_how_many_records() {
        let at = crate::clock::now();
        let told = |apart| Difference { served_by: InstanceId(0), served: 3, records: 5, apart, at }.told();
        let apart = |only_served, only_here, different| Some(Apart { only_served, only_here, different });
        assert!(told(apart(0, 2, 0)).ends_with("has all of the served ones, and 2 more"));
        assert!(told(apart(1, 0, 0)).ends_with("the served copy has all of these, and 1 more"));
        assert!(told(apart(1, 3, 1)).contains("1 are only in the served copy, 3 only in this one, and 1 differ"));
        assert!(told(apart(0, 2, 1)).contains("and 1 differ"), "no superset: one differs");
        assert!(told(None).starts_with("3 records are served, 5 are here"));
    }
}
