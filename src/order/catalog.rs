//! The catalog: which tenants, databases and collections there are, folded from the journal's catalog entries.
//!
//! Decides which collection a name or an id means, and what a deletion hits. It holds only what is durable.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::catalog_change::{CatalogChange, Origin};
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, InstanceName, Scope, Seq};

/// Chroma's default tenant and database exist from the start and survive a reset.
pub const DEFAULT_TENANT: &str = "default_tenant";
/// See [`DEFAULT_TENANT`].
pub const DEFAULT_DATABASE: &str = "default_database";

/// A collection as the catalog knows it.
#[derive(Clone, Debug)]
pub struct Collection {
    pub id: CollectionId,
    pub scope: Scope,
    pub name: String,
    pub origin: Origin,
    /// The last catalog entry about it (rule R5).
    pub touched: Seq,
    /// Its id on each instance, by the instance's place in the configuration.
    pub mappings: Vec<Option<InstanceCollectionId>>,
    /// Ids on instances that are no longer configured: still aliases, still stored.
    pub former: Vec<(InstanceName, InstanceCollectionId)>,
}

/// What a deletion would delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    Collection { scope: Scope, name: String },
    Database { scope: Scope },
    Everything,
}

/// The fold of the catalog lane.
#[derive(Clone, Debug)]
pub struct Catalog {
    instances: Vec<InstanceName>,
    tenants: BTreeSet<String>,
    databases: BTreeMap<Scope, Uuid>,
    collections: HashMap<CollectionId, Collection>,
    /// Deleted, but not on every instance yet: an instance that was away executes the earlier entries first.
    departed: HashMap<CollectionId, Collection>,
    names: BTreeMap<(Scope, String), CollectionId>,
    aliases: HashMap<Uuid, CollectionId>,
}

impl Catalog {
    /// The catalog of a blank Chroma, for these configured instances.
    pub fn new(instances: Vec<InstanceName>) -> Self {
        let mut catalog = Catalog {
            instances,
            tenants: BTreeSet::new(),
            databases: BTreeMap::new(),
            collections: HashMap::new(),
            departed: HashMap::new(),
            names: BTreeMap::new(),
            aliases: HashMap::new(),
        };
        catalog.add_defaults();
        catalog
    }

    fn add_defaults(&mut self) {
        self.tenants.insert(DEFAULT_TENANT.to_owned());
        self.databases.insert(Scope::new(DEFAULT_TENANT, DEFAULT_DATABASE), Uuid::nil());
    }

    /// Folds one durable change of the entry at `seq`. Folding it twice changes nothing more.
    pub fn fold(&mut self, seq: Seq, change: &CatalogChange) {
        match change {
            CatalogChange::TenantCreated { tenant } => {
                self.tenants.insert(tenant.clone());
            }
            CatalogChange::DatabaseCreated { scope, database_id } => {
                self.databases.entry(scope.clone()).or_insert(*database_id);
            }
            CatalogChange::DatabaseDeleted { scope } => {
                self.databases.remove(scope);
                for collection in self.in_scope(scope) {
                    // Its database goes on every instance, whatever the collection is called there.
                    drop(self.remove(collection));
                }
            }
            CatalogChange::CollectionCreated { collection, scope, name, created, origin } => {
                self.add(*collection, scope, name, *created, *origin);
            }
            CatalogChange::CollectionRenamed { collection, name } => self.rename(seq, *collection, name),
            CatalogChange::CollectionDeleted { collection } => {
                if let Some(removed) = self.remove(*collection) {
                    self.departed.insert(*collection, removed);
                }
            }
            CatalogChange::Mapped { collection, instance, id } => self.map(*collection, instance, *id),
            CatalogChange::Dimensioned { .. } => {}
            CatalogChange::Reset => {
                let instances = std::mem::take(&mut self.instances);
                // Tenants survive in name: Chroma cannot list them, and a name too many does no harm.
                let tenants = std::mem::take(&mut self.tenants);
                *self = Catalog::new(instances);
                self.tenants = tenants;
            }
        }
    }

    fn add(&mut self, id: CollectionId, scope: &Scope, name: &str, created: Seq, origin: Origin) {
        if self.collections.contains_key(&id) {
            return;
        }
        let collection = Collection {
            id,
            scope: scope.clone(),
            name: name.to_owned(),
            origin,
            touched: created,
            mappings: vec![None; self.instances.len()],
            former: Vec::new(),
        };
        self.names.insert((scope.clone(), name.to_owned()), id);
        self.aliases.insert(id.uuid(), id);
        self.collections.insert(id, collection);
    }

    fn rename(&mut self, seq: Seq, id: CollectionId, name: &str) {
        let Some(collection) = self.collections.get_mut(&id) else { return };
        collection.touched = collection.touched.max(seq);
        if collection.name != name {
            self.names.remove(&(collection.scope.clone(), collection.name.clone()));
            collection.name = name.to_owned();
            self.names.insert((collection.scope.clone(), name.to_owned()), id);
        }
    }

    fn remove(&mut self, id: CollectionId) -> Option<Collection> {
        let collection = self.collections.remove(&id)?;
        self.names.remove(&(collection.scope.clone(), collection.name.clone()));
        self.aliases.retain(|_, target| *target != id);
        Some(collection)
    }

    /// A collection that is deleted, but not on every instance yet.
    pub fn departed(&self, id: CollectionId) -> Option<&Collection> {
        self.departed.get(&id)
    }

    /// Every instance has executed every deletion.
    pub(super) fn forget_departed(&mut self) {
        self.departed.clear();
    }

    fn map(&mut self, id: CollectionId, instance: &InstanceName, on_instance: InstanceCollectionId) {
        let gone = self.departed.get_mut(&id);
        let is_gone = gone.is_some();
        let Some(collection) = gone.or_else(|| self.collections.get_mut(&id)) else { return };
        match self.instances.iter().position(|name| name == instance) {
            Some(index) => collection.mappings[index] = Some(on_instance),
            None if collection.former.iter().all(|(name, _)| name != instance) => {
                collection.former.push((instance.clone(), on_instance));
            }
            None => {}
        }
        if !is_gone {
            self.aliases.insert(on_instance.uuid(), id);
        }
    }

    /// Marks that the catalog entry at `seq` was about this collection.
    pub fn touch(&mut self, id: CollectionId, seq: Seq) {
        if let Some(collection) = self.collections.get_mut(&id) {
            collection.touched = collection.touched.max(seq);
        }
    }

    /// The collection with this id.
    pub fn get(&self, id: CollectionId) -> Option<&Collection> {
        self.collections.get(&id)
    }

    /// The collection that any id means: its own, or any instance's.
    pub fn by_id(&self, id: Uuid) -> Option<&Collection> {
        self.aliases.get(&id).and_then(|id| self.collections.get(id))
    }

    /// The collection with this name.
    pub fn by_name(&self, scope: &Scope, name: &str) -> Option<&Collection> {
        self.names.get(&(scope.clone(), name.to_owned())).and_then(|id| self.collections.get(id))
    }

    /// The collection's id on an instance.
    pub fn mapping(&self, id: CollectionId, instance: InstanceId) -> Option<InstanceCollectionId> {
        self.collections.get(&id).and_then(|collection| collection.mappings[instance.0])
    }

    /// The database's id, as clients see it.
    pub fn database(&self, scope: &Scope) -> Option<Uuid> {
        self.databases.get(scope).copied()
    }

    /// Every database.
    pub fn databases(&self) -> impl Iterator<Item = &Scope> {
        self.databases.keys()
    }

    /// Every tenant that the edge has heard of.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.iter().map(String::as_str)
    }

    /// Every collection, in no particular order.
    pub fn collections(&self) -> impl Iterator<Item = &Collection> {
        self.collections.values()
    }

    /// The collections of a database, ordered by id as Chroma lists them.
    pub fn in_scope(&self, scope: &Scope) -> Vec<CollectionId> {
        let mut ids: Vec<_> = self.collections.values().filter(|c| c.scope == *scope).map(|c| c.id).collect();
        ids.sort();
        ids
    }

    /// The collections that a deletion would delete now (rule R7).
    pub fn hit_by(&self, deletion: &Deletion) -> Vec<CollectionId> {
        match deletion {
            Deletion::Collection { scope, name } => self.by_name(scope, name).map(|c| c.id).into_iter().collect(),
            Deletion::Database { scope } => self.in_scope(scope),
            Deletion::Everything => self.collections.keys().copied().collect(),
        }
    }

    /// Whether a deletion would delete this collection now.
    pub fn hits(&self, deletion: &Deletion, id: CollectionId) -> bool {
        let Some(collection) = self.collections.get(&id) else { return false };
        match deletion {
            Deletion::Collection { scope, name } => collection.scope == *scope && collection.name == *name,
            Deletion::Database { scope } => collection.scope == *scope,
            Deletion::Everything => true,
        }
    }
}
