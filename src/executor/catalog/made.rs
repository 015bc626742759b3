//! What an entry that creates a collection means for the catalog, once its instance has the collection (rule R8).
//!
//! The requests to the instance are elsewhere (`collection.rs`, `existing.rs`, `copy.rs`). What is pure here, the
//! simulation's shell calls as well.

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
    /// Records, or something that was not looked at.
    Other,
}

/// How a collection comes into the catalog that a creation finds on its instance, and that the catalog does not know.
/// `None`: the instance's refusal stands.
pub fn origin_of_found(repeat: Repeat, content: Content, existing: Existing) -> Option<Origin> {
    match (repeat, content, existing) {
        // An earlier attempt of the same entry made it.
        (Repeat::Retry { .. }, Content::Empty, _) => Some(Origin::Created),
        // It was there before the edge, and is what the client asks for.
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
    /// What becomes of the catalog. A collection that was adopted is served by this instance; any of the `others` serves it
    /// when its content has been found equal.
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

/// The outcome of a creation that the instance has executed. `changes` come before it.
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

/// The attempt's instance has a copy of the collection, under this id.
pub(super) fn mapped(attempt: &Attempt<'_>, collection: CollectionId, id: Uuid) -> CatalogChange {
    proof::pass(CrashPoint::BeforeMapping);
    CatalogChange::mapped(collection, attempt.core.registry.name(attempt.instance), id)
}

/// A request failed after an earlier one that has changed the instance, or may have: the outcome is unknown.
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
