//! The changes that a settled catalog entry makes to the catalog, as plain data. The journal stores them in the same
//! commit as the verdict; [`super::catalog::Catalog`] folds them.

use uuid::Uuid;

use crate::ids::{CollectionId, InstanceCollectionId, InstanceName, Scope, Seq};

/// How a collection came into the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    Created,
    /// It existed on an instance before the edge knew it.
    Adopted,
}

/// One change to the catalog. Applying it twice has no further effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogChange {
    TenantCreated {
        tenant: String,
    },
    /// `database_id` is the id that clients see for the database's lifetime. The first instance that created the
    /// database assigned it.
    DatabaseCreated {
        scope: Scope,
        database_id: Uuid,
    },
    /// Also deletes the collections in it.
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
    /// Deletes everything except the default tenant and database.
    Reset,
}

impl CatalogChange {
    /// Returns the change that maps the collection to this id on the instance.
    pub fn mapped(collection: CollectionId, instance: &InstanceName, id: Uuid) -> CatalogChange {
        CatalogChange::Mapped { collection, instance: instance.clone(), id: InstanceCollectionId::new(id) }
    }
}
