//! Which index each collection has, if it is an unusual one (rule R13). The edge learns that from what instances show, and
//! from what they execute.
//!
//! An index that the edge has not seen yet counts as unusual, and as unlike any other. If one instance shows an unusual
//! index, the collection has it everywhere: an instance that is behind still shows the earlier definition. It decides
//! nothing: `rejoin/` and the executor report here, the proxy asks.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::chroma::IndexShape;
use crate::ids::{CollectionId, Seq};

/// What is known of the collections' indexes.
#[derive(Debug, Default)]
pub struct Indexes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    indexes: HashMap<CollectionId, Index>,
    reports: u64,
}

#[derive(Debug, Default)]
struct Index {
    /// As an instance showed it.
    shown: Option<IndexShape>,
    /// What was changed since this process began.
    changes: IndexShape,
    /// The last catalog entry of those changes.
    through: Option<Seq>,
    /// The last report about it.
    reported: u64,
}

/// A moment in the order of the reports.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

impl Indexes {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The collection's index.
    pub fn of(&self, collection: CollectionId) -> IndexShape {
        let known = self.known();
        let unknown = || IndexShape::unknown(collection.uuid());
        let Some(index) = known.indexes.get(&collection) else { return unknown() };
        index.shown.unwrap_or_else(unknown).changed(index.changes)
    }

    /// An instance shows the collection with this index.
    pub fn shown(&self, collection: CollectionId, shape: IndexShape) {
        let mut known = self.known();
        let index = known.reported(collection);
        if matches!(index.shown, None | Some(IndexShape::ORDINARY)) {
            index.shown = Some(shape);
        }
    }

    /// The catalog entry at `seq`, which changes the collection's index so far, has been executed on an instance.
    pub fn changed(&self, collection: CollectionId, seq: Seq, by: IndexShape) {
        if by == IndexShape::ORDINARY {
            return;
        }
        let mut known = self.known();
        let index = known.reported(collection);
        // Every instance executes it, in order.
        if index.through.is_none_or(|through| through < seq) {
            index.changes = index.changes.changed(by);
            index.through = Some(seq);
        }
    }

    /// Now.
    pub fn mark(&self) -> Mark {
        Mark(self.known().reports)
    }

    /// Forgets the collections of which nothing was reported since, and which are none any more.
    pub fn forget(&self, since: Mark, is_there: impl Fn(CollectionId) -> bool) {
        self.known().indexes.retain(|collection, index| index.reported > since.0 || is_there(*collection));
    }
}

impl Known {
    fn reported(&mut self, collection: CollectionId) -> &mut Index {
        self.reports += 1;
        let index = self.indexes.entry(collection).or_default();
        index.reported = self.reports;
        index
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::chroma::shown_index;

    fn collection(number: u128) -> CollectionId {
        CollectionId::new(Uuid::from_u128(number))
    }

    fn odd(neighbors: u32) -> IndexShape {
        shown_index(format!(r#"{{"configuration_json":{{"hnsw":{{"max_neighbors":{neighbors}}}}}}}"#).as_bytes())
            .unwrap()
    }

    #[test]
    fn an_index_that_nobody_has_seen_is_one_of_its_own() {
        let indexes = Indexes::default();
        assert_ne!(indexes.of(collection(1)), IndexShape::ORDINARY);
        assert_ne!(indexes.of(collection(1)), indexes.of(collection(2)));
        indexes.shown(collection(1), IndexShape::ORDINARY);
        assert_eq!(indexes.of(collection(1)), IndexShape::ORDINARY);
        assert_ne!(indexes.of(collection(2)), IndexShape::ORDINARY);
    }

    #[test]
    fn what_one_instance_shows_out_of_the_ordinary_stays_so() {
        let indexes = Indexes::default();
        for shape in [IndexShape::ORDINARY, odd(1), IndexShape::ORDINARY, odd(2), IndexShape::ORDINARY] {
            indexes.shown(collection(1), shape);
        }
        assert_eq!(indexes.of(collection(1)), odd(1));
    }

    #[test]
    fn a_change_counts_once_wherever_it_is_executed_and_an_instance_behind_hides_it_from_nobody() {
        let indexes = Indexes::default();
        let seq = Seq::new;
        indexes.shown(collection(1), IndexShape::ORDINARY);
        indexes.changed(collection(1), seq(5), odd(2));
        let changed = indexes.of(collection(1));
        assert_ne!(changed, IndexShape::ORDINARY);
        indexes.changed(collection(1), seq(5), odd(2));
        indexes.shown(collection(1), IndexShape::ORDINARY);
        indexes.changed(collection(1), seq(4), odd(3));
        indexes.changed(collection(1), seq(6), IndexShape::ORDINARY);
        assert_eq!(indexes.of(collection(1)), changed);
        // Of a collection that nobody has shown yet.
        let before = indexes.of(collection(2));
        indexes.changed(collection(2), seq(7), odd(2));
        assert!(![before, IndexShape::ORDINARY].contains(&indexes.of(collection(2))));
        indexes.shown(collection(2), IndexShape::ORDINARY);
        assert_ne!(indexes.of(collection(2)), IndexShape::ORDINARY);
    }

    #[test]
    fn what_is_gone_is_forgotten_and_what_has_just_been_reported_is_not() {
        let indexes = Indexes::default();
        indexes.shown(collection(1), odd(1));
        indexes.shown(collection(2), odd(1));
        let mark = indexes.mark();
        indexes.shown(collection(3), odd(1));
        indexes.forget(mark, |known| known == collection(2));
        let known = [1, 2, 3].map(|number| indexes.of(collection(number)) == odd(1));
        assert_eq!(known, [false, true, true]);
    }
}
