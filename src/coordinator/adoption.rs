//! Adoption: what existed on an instance before the edge enters the catalog by a journaled entry of the edge's own.
//!
//! One named instance serves an adopted collection; the others are diverged for it until their content has been
//! compared. The catalog judges the entry at its place in the order, not when it was proposed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ids::{CollectionId, InstanceId, InstanceName, LaneId, Scope, Seq, TransactionId};
use crate::journal::Draft;
use crate::order::{Catalog, CatalogChange, Consequences, Kind, Origin, Profile};

/// What one instance has and the catalog lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    pub instance: String,
    /// Tenants that it has, with or without databases.
    #[serde(default)]
    pub tenants: Vec<String>,
    pub databases: Vec<FoundDatabase>,
    pub collections: Vec<FoundCollection>,
}

/// A database, as the instance lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundDatabase {
    pub tenant: String,
    pub name: String,
    pub id: Uuid,
}

/// A collection, as the instance lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundCollection {
    pub tenant: String,
    pub database: String,
    pub name: String,
    pub id: Uuid,
    /// As the instance shows it; `null` until a record with an embedding has been written.
    pub dimension: Option<u64>,
}

/// Returns the draft of an adoption: an entry of the edge's own, which is sent to no instance.
pub(crate) fn adoption_draft(adoption: &Adoption) -> Draft {
    let body = Bytes::from(json!(adoption).to_string());
    Draft {
        transaction_id: TransactionId::random(),
        client_key: None,
        lane: LaneId::Catalog,
        profile: Profile::of(Kind::Adopt, body.len() as u64),
        method: "ADOPT".to_owned(),
        path: format!("/{}", adoption.instance),
        content_type: None,
        body,
        created_at: Timestamp::now(),
        client_session: None,
        client_ip: None,
        user_identifier: None,
        trace_context: None,
        instead_of: None,
    }
}

/// Returns whether the catalog does not know this collection of the instance: it has none of that name on the instance,
/// nor that id under another name, nor did the edge make it as a copy.
pub fn is_unknown(catalog: &Catalog, found: &FoundCollection, instance: InstanceId) -> bool {
    if catalog.is_copy(found.id) {
        return false;
    }
    let named = catalog.by_name(&Scope::new(&found.tenant, &found.database), &found.name);
    named.map_or_else(|| catalog.by_id(found.id).is_none(), |known| known.mappings[instance.0].is_none())
}

/// Returns what the adoption changes, given the catalog as it is right before it.
pub fn fold(catalog: &Catalog, adoption: &Adoption, home: InstanceId, others: &[InstanceId], seq: Seq) -> Consequences {
    let mut consequences = Consequences::default();
    let name = InstanceName::new(&adoption.instance);
    for tenant in adoption.tenants.iter().filter(|tenant| !catalog.has_tenant(tenant)) {
        consequences.changes.push(CatalogChange::TenantCreated { tenant: tenant.clone() });
    }
    for found in &adoption.databases {
        let scope = Scope::new(&found.tenant, &found.name);
        if catalog.database(&scope).is_none() {
            consequences.changes.push(CatalogChange::TenantCreated { tenant: found.tenant.clone() });
            consequences.changes.push(CatalogChange::DatabaseCreated { scope, database_id: found.id });
        }
    }
    for found in &adoption.collections {
        let scope = Scope::new(&found.tenant, &found.database);
        let (collection, is_new) = match catalog.by_name(&scope, &found.name) {
            Some(known) if known.mappings[home.0].is_some() => continue,
            Some(known) => (known.id, false),
            // Known under another name: the instance has yet to execute the renaming.
            None if catalog.by_id(found.id).is_some() => continue,
            None => (CollectionId::new(found.id), true),
        };
        if is_new {
            let name = found.name.clone();
            let origin = Origin::Adopted;
            consequences.changes.push(CatalogChange::CollectionCreated {
                collection,
                scope,
                name,
                created: seq,
                origin,
            });
            consequences.diverged.extend(others.iter().map(|other| (collection, *other)));
        } else {
            consequences.diverged.push((collection, home));
        }
        consequences.changes.push(CatalogChange::mapped(collection, &name, found.id));
        if found.dimension.is_some() && is_new {
            consequences.changes.push(CatalogChange::Dimensioned { collection });
        }
    }
    consequences
}

/// Returns what a settled adoption means for an instance that executes it later. It never changes the catalog, since
/// what has been deleted meanwhile must not come back.
pub fn pass_on(catalog: &Catalog, adoption: &Adoption, instance: InstanceId) -> Consequences {
    let adopted = adoption.collections.iter().filter_map(|found| catalog.by_id(found.id));
    lacking(catalog, adopted.map(|known| known.id), instance)
}

/// Returns the collections that are diverged on the instance because it lacks them: no entry copies an adopted
/// collection to an instance that was configured later.
pub fn lacking(
    catalog: &Catalog,
    adopted: impl IntoIterator<Item = CollectionId>,
    instance: InstanceId,
) -> Consequences {
    let unmapped = |id: &CollectionId| catalog.get(*id).is_some_and(|known| known.mappings[instance.0].is_none());
    let diverged = adopted.into_iter().filter(unmapped).map(|id| (id, instance)).collect();
    Consequences { changes: Vec::new(), diverged }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: InstanceId = InstanceId(0);
    const OTHER: InstanceId = InstanceId(1);

    fn blank() -> Catalog {
        Catalog::new(vec![InstanceName::new("a"), InstanceName::new("b")])
    }

    fn found(instance: &str, name: &str, id: u128) -> Adoption {
        let collection = FoundCollection {
            tenant: "default_tenant".into(),
            database: "default_database".into(),
            name: name.into(),
            id: Uuid::from_u128(id),
            dimension: Some(3),
        };
        Adoption {
            instance: instance.into(),
            tenants: Vec::new(),
            databases: Vec::new(),
            collections: vec![collection],
        }
    }

    fn folded(catalog: &mut Catalog, adoption: &Adoption, home: InstanceId, others: &[InstanceId]) -> Consequences {
        let consequences = fold(catalog, adoption, home, others, Seq::new(1));
        consequences.changes.iter().for_each(|change| catalog.fold(Seq::new(1), change));
        consequences
    }

    #[test]
    fn one_instance_serves_what_was_there_and_the_twin_waits_for_its_comparison() {
        let mut catalog = blank();
        let first = folded(&mut catalog, &found("a", "docs", 7), HOME, &[OTHER]);
        let id = CollectionId::new(Uuid::from_u128(7));
        assert_eq!(first.diverged, [(id, OTHER)], "nothing is known of the other's content");
        let second = folded(&mut catalog, &found("b", "docs", 8), OTHER, &[HOME]);
        assert_eq!(second.diverged, [(id, OTHER)], "mapped, but not compared");
        assert_eq!(catalog.by_id(Uuid::from_u128(8)).map(|c| c.id), Some(id), "its own id is an alias");
    }

    #[test]
    fn a_copy_that_the_edge_made_is_never_a_clients_collection() {
        let mut catalog = blank();
        folded(&mut catalog, &found("a", "docs", 7), HOME, &[OTHER]);
        let id = CollectionId::new(Uuid::from_u128(7));
        let copy = crate::ids::InstanceCollectionId::new(Uuid::from_u128(8));
        let instance = InstanceName::new("b").of_a_copy();
        catalog.fold(Seq::new(1), &CatalogChange::Mapped { collection: id, instance, id: copy });
        let left = found("b", "docs", 8).collections.remove(0);
        assert!(is_unknown(&catalog, &found("b", "others", 9).collections[0], OTHER));
        catalog.fold(Seq::new(2), &CatalogChange::CollectionRenamed { collection: id, name: "new".into() });
        assert!(!is_unknown(&catalog, &left, OTHER), "the old name is free");
        catalog.fold(Seq::new(3), &CatalogChange::CollectionDeleted { collection: id });
        assert!(!is_unknown(&catalog, &left, OTHER), "nothing has the name");
    }

    #[test]
    fn a_copied_data_directory_has_the_same_ids_and_is_a_twin_all_the_same() {
        let mut catalog = blank();
        folded(&mut catalog, &found("a", "docs", 7), HOME, &[OTHER]);
        let second = folded(&mut catalog, &found("b", "docs", 7), OTHER, &[HOME]);
        let id = CollectionId::new(Uuid::from_u128(7));
        assert_eq!(second.diverged, [(id, OTHER)]);
        assert!(catalog.mapping(id, HOME).is_some() && catalog.mapping(id, OTHER).is_some());
    }

    #[test]
    fn an_instance_that_was_configured_later_is_diverged_for_what_was_adopted() {
        let names = ["a", "b", "c"].map(InstanceName::new);
        let mut catalog = Catalog::new(names.to_vec());
        let adoption = found("a", "docs", 7);
        folded(&mut catalog, &adoption, HOME, &[OTHER]);
        let id = CollectionId::new(Uuid::from_u128(7));
        assert_eq!(pass_on(&catalog, &adoption, HOME), Consequences::default());
        let later = pass_on(&catalog, &adoption, InstanceId(2));
        assert_eq!((later.changes, later.diverged), (Vec::new(), vec![(id, InstanceId(2))]));
        catalog.fold(Seq::new(2), &CatalogChange::CollectionDeleted { collection: id });
        assert_eq!(pass_on(&catalog, &adoption, InstanceId(2)), Consequences::default());
    }

    #[test]
    fn what_is_known_is_not_adopted_again() {
        let mut catalog = blank();
        folded(&mut catalog, &found("a", "docs", 7), HOME, &[OTHER]);
        assert_eq!(folded(&mut catalog, &found("a", "docs", 7), HOME, &[OTHER]), Consequences::default());
        let another = folded(&mut catalog, &found("a", "docs", 9), HOME, &[OTHER]);
        assert_eq!(another, Consequences::default(), "a second collection of that name on a mapped instance is not it");
    }
}
