//! The changes that a settled catalog entry makes to the catalog, as data: stored by the journal in the same
//! commit as the verdict, folded by [`super::catalog::Catalog`].

use uuid::Uuid;

use crate::ids::{CollectionId, InstanceCollectionId, InstanceName, Scope, Seq};

/// How a collection came into the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    Created,
    /// It existed on an instance before the edge.
    Adopted,
}

/// One change to the catalog. Applying a change twice changes nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogChange {
    TenantCreated {
        tenant: String,
    },
    /// `database_id` is the id clients see for life, as given by the instance that created it first.
    DatabaseCreated {
        scope: Scope,
        database_id: Uuid,
    },
    /// Deletes the collections in it as well.
    DatabaseDeleted {
        scope: Scope,
    },
    CollectionCreated {
        collection: CollectionId,
        scope: Scope,
        name: String,
        created: Seq,
        origin: Origin,
    },
    CollectionRenamed {
        collection: CollectionId,
        name: String,
    },
    CollectionDeleted {
        collection: CollectionId,
    },
    /// The collection exists on `instance` under `id`.
    Mapped {
        collection: CollectionId,
        instance: InstanceName,
        id: InstanceCollectionId,
    },
    /// The collection has a dimension: a write with embeddings was applied (rule R4).
    Dimensioned {
        collection: CollectionId,
    },
    /// Everything goes but the default tenant and database.
    Reset,
}

impl CatalogChange {
    /// The collection exists on the instance under this id.
    pub fn mapped(collection: CollectionId, instance: &InstanceName, id: Uuid) -> CatalogChange {
        CatalogChange::Mapped { collection, instance: instance.clone(), id: InstanceCollectionId::new(id) }
    }
}
