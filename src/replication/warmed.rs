//! Which collections have been read on which instance since it last returned.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::ids::{CollectionId, InstanceId};
use crate::instance::Generation;

/// More than this are forgotten together: a read too many does no harm.
const MOST: usize = 100_000;

#[derive(Default)]
pub(super) struct Warmed(Mutex<HashMap<(InstanceId, CollectionId), Generation>>);

impl Warmed {
    pub fn is(&self, instance: InstanceId, collection: CollectionId, generation: Generation) -> bool {
        let warmed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        warmed.get(&(instance, collection)) == Some(&generation)
    }

    pub fn note(&self, instance: InstanceId, collection: CollectionId, generation: Generation) {
        let mut warmed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if warmed.len() >= MOST {
            warmed.clear();
        }
        warmed.insert((instance, collection), generation);
    }
}
