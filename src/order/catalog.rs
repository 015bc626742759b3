//! The catalog: the tenants, databases and collections that exist, folded from the journal's catalog entries.
//!
//! Decides which collection a name or an id refers to, and which collections a deletion deletes. It holds only what is durable.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use uuid::Uuid;

use super::catalog_change::{CatalogChange, Origin};
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, InstanceName, Scope, Seq};

/// An odd 128-bit number without a pattern.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// Chroma's default tenant and database exist from the start and survive a reset.
pub const DEFAULT_TENANT: &str = "default_tenant";
/// See [`DEFAULT_TENANT`].
pub const DEFAULT_DATABASE: &str = "default_database";

/// A collection in the catalog.
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
    /// Ids on instances that are no longer configured. They remain aliases and stay stored.
    pub former: Vec<(InstanceName, InstanceCollectionId)>,
}

/// The target of a deletion.
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
    collections: BTreeMap<CollectionId, Collection>,
    /// The collections of each database that has any.
    scopes: HashMap<Scope, BTreeSet<CollectionId>>,
    names: BTreeMap<(Scope, String), CollectionId>,
    aliases: HashMap<Uuid, CollectionId>,
    /// The keys in `aliases` that refer to each collection.
    aliases_of: HashMap<CollectionId, Vec<Uuid>>,
    /// Collections that are not mapped on every instance yet.
    incomplete: BTreeSet<CollectionId>,
    /// Deleted collections that an instance may still hold, each with the position of its deletion. Entries before the
    /// deletion are replicated to that instance under the collection's id there.
    departed: HashMap<CollectionId, (Seq, Collection)>,
    /// Ids of copies that the edge made, whether they ever served or not. Kept when their collection is deleted.
    copies: HashSet<Uuid>,
}

impl Catalog {
    /// Returns the catalog of a blank Chroma with these configured instances.
    pub fn new(instances: Vec<InstanceName>) -> Self {
        let mut catalog = Catalog {
            instances,
            tenants: BTreeSet::new(),
            databases: BTreeMap::new(),
            collections: BTreeMap::new(),
            scopes: HashMap::new(),
            names: BTreeMap::new(),
            aliases: HashMap::new(),
            aliases_of: HashMap::new(),
            incomplete: BTreeSet::new(),
            departed: HashMap::new(),
            copies: HashSet::new(),
        };
        catalog.add_defaults();
        catalog
    }

    fn add_defaults(&mut self) {
        self.tenants.insert(DEFAULT_TENANT.to_owned());
        self.databases.insert(Scope::new(DEFAULT_TENANT, DEFAULT_DATABASE), Uuid::nil());
    }

    /// Folds one durable change of the entry at `seq`. Folding it twice has no further effect.
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
                let collections = self.in_scope(scope);
                self.remove(seq, &collections);
            }
            CatalogChange::CollectionCreated { collection, scope, name, created, origin } => {
                self.add(*collection, scope, name, *created, *origin);
            }
            CatalogChange::CollectionRenamed { collection, name } => self.rename(seq, *collection, name),
            CatalogChange::CollectionDeleted { collection } => self.remove(seq, &[*collection]),
            CatalogChange::Mapped { collection, instance, id } => self.map(*collection, instance, *id),
            CatalogChange::Dimensioned { .. } => {}
            CatalogChange::Reset => {
                let collections: Vec<_> = self.collections.keys().copied().collect();
                self.remove(seq, &collections);
                self.databases.clear();
                self.tenants.clear();
                self.add_defaults();
            }
        }
    }

    fn add(&mut self, id: CollectionId, scope: &Scope, name: &str, created: Seq, origin: Origin) {
        if self.collections.contains_key(&id) || self.departed.contains_key(&id) {
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
        self.add_alias(id.uuid(), id);
        if !self.instances.is_empty() {
            self.incomplete.insert(id);
        }
        self.scopes.entry(scope.clone()).or_default().insert(id);
        self.collections.insert(id, collection);
    }

    fn rename(&mut self, seq: Seq, id: CollectionId, name: &str) {
        let Some(collection) = self.collections.get_mut(&id) else { return };
        collection.touched = collection.touched.max(seq);
        if collection.name != name {
            let old = (collection.scope.clone(), collection.name.clone());
            if self.names.get(&old) == Some(&id) {
                self.names.remove(&old);
            }
            collection.name = name.to_owned();
            self.names.insert((collection.scope.clone(), name.to_owned()), id);
        }
    }

    fn remove(&mut self, seq: Seq, ids: &[CollectionId]) {
        for id in ids {
            let Some(collection) = self.collections.remove(id) else { continue };
            let name = (collection.scope.clone(), collection.name.clone());
            if self.names.get(&name) == Some(id) {
                self.names.remove(&name);
            }
            self.remove_from_scope(&name.0, *id);
            self.incomplete.remove(id);
            for alias in self.aliases_of.remove(id).unwrap_or_default() {
                if self.aliases.get(&alias) == Some(id) {
                    self.aliases.remove(&alias);
                }
            }
            self.departed.insert(*id, (seq, collection));
        }
    }

    fn add_alias(&mut self, alias: Uuid, id: CollectionId) {
        if self.aliases.insert(alias, id) != Some(id) {
            self.aliases_of.entry(id).or_default().push(alias);
        }
    }

    fn remove_from_scope(&mut self, scope: &Scope, id: CollectionId) {
        let Some(ids) = self.scopes.get_mut(scope) else { return };
        ids.remove(&id);
        if ids.is_empty() {
            self.scopes.remove(scope);
        }
    }

    /// Forgets the collections that were deleted up to `through`. Every instance has executed everything up to there,
    /// so nothing will be replicated to them.
    pub fn forget_departed(&mut self, through: Seq) {
        self.departed.retain(|_, (deleted, _)| *deleted > through);
    }

    fn map(&mut self, id: CollectionId, instance: &InstanceName, on_instance: InstanceCollectionId) {
        if instance.is_of_a_copy() {
            self.copies.insert(on_instance.uuid());
        }
        if let Some((_, collection)) = self.departed.get_mut(&id) {
            if let Some(index) = self.instances.iter().position(|name| name == instance) {
                collection.mappings[index] = Some(on_instance);
            }
            return;
        }
        let Some(collection) = self.collections.get_mut(&id) else { return };
        match self.instances.iter().position(|name| name == instance) {
            Some(index) => collection.mappings[index] = Some(on_instance),
            None if collection.former.iter().all(|(name, _)| name != instance) => {
                collection.former.push((instance.clone(), on_instance));
            }
            None => {}
        }
        if collection.mappings.iter().all(Option::is_some) {
            self.incomplete.remove(&id);
        }
        self.add_alias(on_instance.uuid(), id);
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

    /// The collection with this id, which may be its own or any instance's.
    pub fn by_id(&self, id: Uuid) -> Option<&Collection> {
        self.aliases.get(&id).and_then(|id| self.collections.get(id))
    }

    /// Returns whether the edge made the collection with this id as a copy. Such a collection is never a client's.
    pub fn is_copy(&self, id: Uuid) -> bool {
        self.copies.contains(&id)
    }

    /// The collection with this name.
    pub fn by_name(&self, scope: &Scope, name: &str) -> Option<&Collection> {
        self.names.get(&(scope.clone(), name.to_owned())).and_then(|id| self.collections.get(id))
    }

    /// The collection that this single-collection deletion deleted, as long as an instance may still hold it.
    pub fn deleted_by(&self, seq: Seq) -> Option<&Collection> {
        self.departed.values().find(|(deleted, _)| *deleted == seq).map(|(_, collection)| collection)
    }

    /// A deleted collection that an instance may still hold.
    pub fn departed(&self, id: CollectionId) -> Option<&Collection> {
        self.departed.get(&id).map(|(_, collection)| collection)
    }

    /// The collection's id on an instance.
    pub fn mapping(&self, id: CollectionId, instance: InstanceId) -> Option<InstanceCollectionId> {
        self.collections.get(&id).and_then(|collection| collection.mappings[instance.0])
    }

    /// The collection's id on an instance, for replication and for reads that are under way. Covers a deleted
    /// collection as long as the instance may hold it.
    pub fn mapping_while_held(&self, id: CollectionId, instance: InstanceId) -> Option<InstanceCollectionId> {
        let departed = || self.departed.get(&id).and_then(|(_, collection)| collection.mappings[instance.0]);
        self.mapping(id, instance).or_else(departed)
    }

    /// The database's id, as clients see it.
    pub fn database(&self, scope: &Scope) -> Option<Uuid> {
        self.databases.get(scope).copied()
    }

    /// The name of a configured instance.
    pub(super) fn instance(&self, instance: InstanceId) -> &InstanceName {
        &self.instances[instance.0]
    }

    /// Every database.
    pub fn databases(&self) -> impl Iterator<Item = &Scope> {
        self.databases.keys()
    }

    /// Returns whether the tenant exists.
    pub fn has_tenant(&self, tenant: &str) -> bool {
        self.tenants.contains(tenant)
    }

    /// The databases of a tenant with their ids, in the order in which Chroma lists them.
    pub fn databases_of(&self, tenant: &str) -> impl Iterator<Item = (&Scope, Uuid)> {
        self.databases.iter().filter(move |(scope, _)| scope.tenant == tenant).map(|(scope, id)| (scope, *id))
    }

    /// Every tenant in the catalog.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.iter().map(String::as_str)
    }

    /// Every collection, starting at a different one for each number.
    pub(super) fn beginning_with(&self, number: usize) -> impl Iterator<Item = &Collection> {
        // Consecutive numbers map to starting points that are far apart.
        let start = CollectionId::new(Uuid::from_u128((number as u128 + 1).wrapping_mul(SPREAD)));
        self.collections.range(start..).chain(self.collections.range(..start)).map(|(_, collection)| collection)
    }

    /// The collections after this one, ordered by id.
    pub fn collections_after(&self, after: Option<CollectionId>) -> impl Iterator<Item = &Collection> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.collections.range((from, Bound::Unbounded)).map(|(_, collection)| collection)
    }

    /// Every collection, in no particular order.
    pub fn collections(&self) -> impl Iterator<Item = &Collection> {
        self.collections.values()
    }

    /// The collections of a database, ordered by id as Chroma lists them.
    pub fn in_scope(&self, scope: &Scope) -> Vec<CollectionId> {
        self.listed(scope).collect()
    }

    /// The collections of a database one by one, in the order of [`Catalog::in_scope`].
    pub fn listed(&self, scope: &Scope) -> impl Iterator<Item = CollectionId> + use<'_> {
        self.scopes.get(scope).into_iter().flatten().copied()
    }

    /// How many collections a database has.
    pub fn count_in(&self, scope: &Scope) -> usize {
        self.scopes.get(scope).map_or(0, BTreeSet::len)
    }

    /// The collections that are not mapped on every configured instance yet.
    pub(super) fn incomplete(&self) -> impl Iterator<Item = CollectionId> + use<'_> {
        self.incomplete.iter().copied()
    }

    /// Describes a mismatch between the derived indexes and the collections themselves, if there is one.
    pub(super) fn miscounted(&self) -> Option<String> {
        let lacks = |one: &Collection| one.mappings.iter().any(Option::is_none);
        let wrong = |one: &&Collection| lacks(one) != self.incomplete.contains(&one.id);
        let leftovers = self.aliases.values().filter(|id| !self.collections.contains_key(id)).count();
        let listed: usize = self.scopes.values().map(BTreeSet::len).sum();
        if leftovers > 0 || listed != self.collections.len() {
            return Some(format!("{leftovers} aliases too many, {listed} collections in databases"));
        }
        self.collections.values().find(wrong).map(|one| format!("{one:?}"))
    }

    /// How many collections there are.
    pub fn count(&self) -> usize {
        self.collections.len()
    }

    /// The collections that a deletion would delete now (rule R7).
    pub fn hit_by(&self, deletion: &Deletion) -> Vec<CollectionId> {
        match deletion {
            Deletion::Collection { scope, name } => self.by_name(scope, name).map(|c| c.id).into_iter().collect(),
            Deletion::Database { scope } => self.in_scope(scope),
            Deletion::Everything => self.collections.keys().copied().collect(),
        }
    }

    /// Returns whether a deletion would delete this collection now.
    pub fn hits(&self, deletion: &Deletion, id: CollectionId) -> bool {
        let Some(collection) = self.collections.get(&id) else { return false };
        match deletion {
            Deletion::Collection { scope, name } => collection.scope == *scope && collection.name == *name,
            Deletion::Database { scope } => collection.scope == *scope,
            Deletion::Everything => true,
        }
    }
}
