//! The names that unsettled catalog entries may give to collections. A deletion behind these entries would delete such
//! collections as well.
//!
//! Decides nothing about the deletion: the proxy decides what is protected.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Board;
use super::input::Intent;
use crate::ids::{CollectionId, Scope, Seq};
use crate::order::catalog::{Catalog, Deletion};

/// The names that one entry may bring.
#[derive(Clone, Debug)]
enum Coming {
    Collections(Vec<(Scope, String)>),
    NewName(CollectionId, String),
}

/// The names that each entry without a verdict may bring.
#[derive(Clone, Debug, Default)]
pub(super) struct ComingNames {
    entries: BTreeMap<Seq, Coming>,
    /// The renames of each collection that has any.
    renames: HashMap<CollectionId, BTreeMap<Seq, String>>,
    /// Renames of which it is not known which collection gets which name.
    unknown: BTreeSet<Seq>,
}

impl ComingNames {
    pub(super) fn note(&mut self, seq: Seq, intent: &Intent) {
        let coming = match intent {
            Intent::Brings(named) => Coming::Collections(named.clone()),
            Intent::Renames(Some(collection), Some(name)) => {
                self.renames.entry(*collection).or_default().insert(seq, name.clone());
                Coming::NewName(*collection, name.clone())
            }
            Intent::Renames(..) => {
                self.unknown.insert(seq);
                return;
            }
            Intent::Plain | Intent::Changes(_) | Intent::Deletes(_) => return,
        };
        self.entries.insert(seq, coming);
    }

    /// Forgets an entry that has its verdict: what it brought is in the catalog. Returns whether it was to rename a
    /// collection.
    pub(super) fn settled(&mut self, seq: Seq) -> bool {
        let Some(Coming::NewName(collection, _)) = self.entries.remove(&seq) else {
            return self.unknown.remove(&seq);
        };
        if let Some(renames) = self.renames.get_mut(&collection) {
            renames.remove(&seq);
            if renames.is_empty() {
                self.renames.remove(&collection);
            }
        }
        true
    }

    /// Returns whether a rename before this position may give the collection this name.
    pub(super) fn may_be_called(&self, collection: CollectionId, name: &str, before: Seq) -> bool {
        let renamed = |renames: &BTreeMap<Seq, String>| renames.range(..before).any(|(_, new)| new == name);
        self.unknown.range(..before).next().is_some() || self.renames.get(&collection).is_some_and(renamed)
    }

    fn under(&self, catalog: &Catalog, deletion: &Deletion) -> Vec<String> {
        let named = self.entries.values().flat_map(|coming| match coming {
            Coming::Collections(named) => named.iter().map(|(scope, name)| (Some(scope), name)).collect(),
            Coming::NewName(id, name) => vec![(catalog.get(*id).map(|known| &known.scope), name)],
        });
        let is_hit = |(scope, name): &(&Scope, &String)| match deletion {
            Deletion::Collection { scope: of, name: deleted } => of == *scope && deleted == *name,
            Deletion::Database { scope: of } => of == *scope,
            Deletion::Everything => true,
        };
        // A collection that is gone gets no new name.
        let there = named.filter_map(|(scope, name)| Some((scope?, name)));
        there.filter(is_hit).map(|(_, name)| name.clone()).collect()
    }
}

impl Board {
    /// The names of the collections that the deletion would delete if it were the next entry of the catalog lane: of
    /// existing ones, and of those that entries before it may bring.
    pub fn names_under(&self, deletion: &Deletion) -> Vec<String> {
        let held = self.catalog.hit_by(deletion);
        let mut names: Vec<String> =
            held.into_iter().filter_map(|id| self.catalog.get(id)).map(|known| known.name.clone()).collect();
        names.extend(self.coming_names.under(&self.catalog, deletion));
        names
    }

    /// The names that the collection has, or may have once all current entries are settled.
    pub fn names_of(&self, collection: CollectionId) -> Vec<String> {
        let coming =
            self.coming_names.renames.get(&collection).into_iter().flat_map(|renames| renames.values().cloned());
        self.catalog.get(collection).map(|known| known.name.clone()).into_iter().chain(coming).collect()
    }
}
