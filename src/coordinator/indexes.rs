//! The index of each collection, to recognize unusual ones (rule R13). The edge learns it from what instances show, and
//! from what they execute.
//!
//! An index that the edge has not seen yet counts as unusual, and as unlike any other. If one instance shows an unusual
//! index, the collection has it everywhere: an instance that is behind still shows the earlier definition. This file
//! decides nothing: `rejoin/` and the executor report here, and the proxy reads it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::chroma::IndexShape;
use crate::ids::{CollectionId, Seq};

/// How many collections each search for deleted ones checks, besides two for each report.
const LOOKED_AT: usize = 64;

/// What is known about the collections' indexes.
#[derive(Debug, Default)]
pub struct Indexes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    indexes: BTreeMap<CollectionId, Index>,
    reports: u64,
    /// The number of reports before the last search for deleted collections.
    looked: u64,
    /// Where that search ended.
    through: Option<CollectionId>,
}

#[derive(Debug, Default)]
struct Index {
    /// As an instance showed it.
    shown: Option<IndexShape>,
    /// What was changed since this process started.
    changes: IndexShape,
    /// The last catalog entry of those changes.
    through: Option<Seq>,
    /// The number of the last report about it.
    reported: u64,
}

impl Indexes {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the collection's index.
    pub fn of(&self, collection: CollectionId) -> IndexShape {
        let known = self.known();
        let unknown = || IndexShape::unknown(collection.uuid());
        let Some(index) = known.indexes.get(&collection) else { return unknown() };
        index.shown.unwrap_or_else(unknown).changed(index.changes)
    }

    /// Notes that an instance shows the collection with this index.
    pub fn shown(&self, collection: CollectionId, shape: IndexShape) {
        let mut known = self.known();
        let index = known.reported(collection);
        if matches!(index.shown, None | Some(IndexShape::ORDINARY)) {
            index.shown = Some(shape);
        }
    }

    /// Notes that an instance has executed the catalog entry at `seq`, which changes the collection's index by `by`.
    pub fn changed(&self, collection: CollectionId, seq: Seq, by: IndexShape) {
        if by == IndexShape::ORDINARY {
            return;
        }
        let mut known = self.known();
        let index = known.reported(collection);
        // Every instance executes the entry, in order; it counts once.
        if index.through.is_none_or(|through| through < seq) {
            index.changes = index.changes.changed(by);
            index.through = Some(seq);
        }
    }

    /// Checks the next few collections, and forgets those that no longer exist. One that was reported since the last
    /// search stays, because it may be about to be created. The cost does not depend on how many collections there are.
    /// Since each report pays for two checks, deleted collections never outnumber the existing ones.
    pub fn forget_some(&self, is_there: impl Fn(CollectionId) -> bool) {
        let mut known = self.known();
        let reported = usize::try_from(known.reports - known.looked).unwrap_or(usize::MAX);
        let count = reported.saturating_mul(2).saturating_add(LOOKED_AT);
        let from = known.through.map_or(Bound::Unbounded, Bound::Excluded);
        let next = known.indexes.range((from, Bound::Unbounded)).take(count);
        let next: Vec<(CollectionId, u64)> = next.map(|(collection, index)| (*collection, index.reported)).collect();
        known.through = next.last().filter(|_| next.len() == count).map(|(collection, _)| *collection);
        let looked = known.looked;
        known.looked = known.reports;
        for (collection, reported) in next {
            if reported <= looked && !is_there(collection) {
                known.indexes.remove(&collection);
            }
        }
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
        // A collection that no instance has shown yet.
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
        indexes.forget_some(|_| true);
        indexes.shown(collection(3), odd(1));
        indexes.forget_some(|known| known == collection(2));
        let known = || [1, 2, 3].map(|number| indexes.of(collection(number)) == odd(1));
        assert_eq!(known(), [false, true, true]);
        indexes.forget_some(|known| known == collection(2));
        assert_eq!(known(), [false, true, false]);
    }

    #[test]
    fn a_look_for_what_is_gone_costs_the_same_however_many_there_are_and_reaches_them_all() {
        let indexes = Indexes::default();
        let all = 10_000;
        (0..all).for_each(|number| indexes.shown(collection(number), IndexShape::ORDINARY));
        let looks = std::cell::Cell::new(0);
        let is_there = |known: CollectionId| {
            looks.set(looks.get() + 1);
            known.uuid().as_u128().is_multiple_of(2)
        };
        // Pays for the reports.
        indexes.forget_some(is_there);
        for _ in 0..all.div_ceil(LOOKED_AT as u128) {
            looks.set(0);
            indexes.forget_some(is_there);
            assert!(looks.get() <= LOOKED_AT, "{looks:?}");
        }
        assert_eq!(indexes.known().indexes.len(), all as usize / 2);
        // Collections that come and go do not pile up.
        for number in all..10 * all {
            indexes.shown(collection(number), IndexShape::ORDINARY);
            if number % 100 == 0 {
                indexes.forget_some(|known| known.uuid().as_u128() < all && is_there(known));
            }
        }
        assert!(indexes.known().indexes.len() < 2 * all as usize, "{}", indexes.known().indexes.len());
    }
}
