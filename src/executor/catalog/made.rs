//! What an entry that creates a collection means for the catalog, once its instance has the collection (rule R8).
//!
//! The requests to the instance are elsewhere (`collection.rs`, `existing.rs`, `copy.rs`). The simulation's shell calls
//! the pure parts of this file as well.

use uuid::Uuid;

use super::entry::{Entry, uuid_field};
use crate::chroma::Existing;
use crate::executor::attempt::{Attempt, Attempted};
use crate::ids::{CollectionId, InstanceId, InstanceName, Scope, Seq};
use crate::order::{CatalogChange, Consequences, Health, Origin, Outcome, Repeat};
use crate::proof::{self, CrashPoint};

/// What is in a collection that a creation finds on its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Empty,
    /// Records, or not checked.
    Other,
}

/// Returns how a collection enters the catalog that a creation finds on its instance and that the catalog does not
/// have. `None`: the instance's refusal stands.
pub fn origin_of_found(repeat: Repeat, content: Content, existing: Existing) -> Option<Origin> {
    match (repeat, content, existing) {
        // An earlier attempt of the same entry made it.
        (Repeat::Retry { .. }, Content::Empty, _) => Some(Origin::Created),
        // It existed before the edge, and is what the client asks for.
        (_, _, Existing::Reuse) => Some(Origin::Adopted),
        (_, _, Existing::Conflict) => None,
    }
}

/// A collection that a creation has made or found on one instance.
pub struct Creation<'a> {
    pub scope: &'a Scope,
    pub name: &'a str,
    /// The position of the entry that creates it.
    pub created: Seq,
    pub instance: &'a InstanceName,
    /// The instance's id for it, which becomes the collection's.
    pub id: Uuid,
}

impl Creation<'_> {
    /// Returns what changes in the catalog. An adopted collection is served by this instance. Each of the `others`
    /// serves it once its content has been found equal.
    pub fn consequences(&self, origin: Origin, others: impl Iterator<Item = InstanceId>) -> Consequences {
        let collection = CollectionId::new(self.id);
        let changes = vec![
            CatalogChange::CollectionCreated {
                collection,
                scope: self.scope.clone(),
                name: self.name.to_owned(),
                created: self.created,
                origin,
            },
            CatalogChange::mapped(collection, self.instance, self.id),
        ];
        let diverged = match origin {
            Origin::Created => Vec::new(),
            Origin::Adopted => others.map(|other| (collection, other)).collect(),
        };
        Consequences { changes, diverged }
    }
}

/// The consequences of the attempt's entry for a collection that its instance has.
pub(super) fn creation(
    attempt: &Attempt<'_>,
    entry: &Entry<'_>,
    (scope, name): (&Scope, &str),
    id: Uuid,
    origin: Origin,
) -> Consequences {
    proof::pass(CrashPoint::BeforeMapping);
    let registry = &attempt.core.registry;
    let instance = registry.name(attempt.instance);
    let creation = Creation { scope, name, created: entry.request.seq, instance, id };
    creation.consequences(origin, registry.ids().filter(|other| *other != attempt.instance))
}

/// The outcome of a creation that the instance has executed. `changes` precede those of the creation itself.
pub(super) fn created(
    attempt: &Attempt<'_>,
    entry: &Entry<'_>,
    place: (&Scope, &str),
    mut changes: Vec<CatalogChange>,
    body: &[u8],
) -> Outcome {
    let Some(id) = uuid_field(body, "id") else {
        return Outcome::InDoubt { instance_was: Health::Healthy };
    };
    let mut consequences = creation(attempt, entry, place, id, Origin::Created);
    changes.append(&mut consequences.changes);
    Outcome::Applied(Consequences { changes, ..consequences })
}

/// The change that maps the collection to this id on the attempt's instance.
pub(super) fn mapped(attempt: &Attempt<'_>, collection: CollectionId, id: Uuid) -> CatalogChange {
    proof::pass(CrashPoint::BeforeMapping);
    CatalogChange::mapped(collection, attempt.core.registry.name(attempt.instance), id)
}

/// The outcome of a request that failed after an earlier one that has changed the instance, or may have: in doubt.
pub(super) fn doubtful(failed: Attempted) -> Attempted {
    Attempted { outcome: Outcome::InDoubt { instance_was: Health::Healthy }, ..failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Repeat = Repeat::Retry { unanswered: 0 };

    #[test]
    fn only_a_repeated_creation_takes_an_empty_collection_for_its_own() {
        for existing in [Existing::Conflict, Existing::Reuse] {
            assert_eq!(origin_of_found(RETRY, Content::Empty, existing), Some(Origin::Created));
        }
        for (repeat, content) in
            [(Repeat::First, Content::Empty), (Repeat::First, Content::Other), (RETRY, Content::Other)]
        {
            assert_eq!(origin_of_found(repeat, content, Existing::Conflict), None);
            assert_eq!(origin_of_found(repeat, content, Existing::Reuse), Some(Origin::Adopted));
        }
    }

    #[test]
    fn an_adopted_collection_is_diverged_on_every_other_instance() {
        let (scope, instance) = (Scope::new("t", "d"), InstanceName::new("a"));
        let id = Uuid::from_u128(7);
        let creation = Creation { scope: &scope, name: "docs", created: Seq::new(1), instance: &instance, id };
        let others = || [InstanceId(1), InstanceId(2)].into_iter();
        assert_eq!(creation.consequences(Origin::Created, others()).diverged, []);
        let collection = CollectionId::new(id);
        let adopted = creation.consequences(Origin::Adopted, others());
        assert_eq!(adopted.diverged, [(collection, InstanceId(1)), (collection, InstanceId(2))]);
        assert!(matches!(adopted.changes[..], [CatalogChange::CollectionCreated { .. }, CatalogChange::Mapped { .. }]));
    }
}
