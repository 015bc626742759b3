//! Lists what an instance holds, its databases and collections, in pages.
//!
//! A tenant, database or collection that cannot be listed never blocks the rest: it is named, and left out. This file
//! decides nothing about what it finds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::error::InspectError;
use crate::chroma::{self, IndexShape, ShownDefinition};
use crate::coordinator::adoption::{FoundCollection, FoundDatabase};
use crate::ids::{InstanceId, Scope};
use crate::instance::{Answer, Client, LONGEST_PATH, Outgoing, SendError};
use crate::order::{DEFAULT_DATABASE, DEFAULT_TENANT};

/// How many items are requested at once.
const PAGE: usize = 250;
/// The most bytes of one page. A longer one is requested again in smaller pages.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// The most bytes of one item.
const ITEM_BYTES: usize = 64 * 1024 * 1024;

/// What an instance holds, as far as it can be seen.
#[derive(Default)]
pub(super) struct Contents {
    /// The tenants that were asked for by name and exist.
    pub tenants: Vec<String>,
    pub databases: Vec<FoundDatabase>,
    pub collections: Vec<FoundCollection>,
    /// The index of each collection, in the same order.
    pub indexes: Vec<IndexShape>,
    /// Whether the database for trials exists. It is not part of the contents.
    pub has_scratch: bool,
    /// What could not be listed.
    pub unseen: Vec<Unseen>,
    /// How many lists were read.
    listed: usize,
}

/// A list that could not be read, or only in part.
pub(super) struct Unseen {
    pub tenant: String,
    /// `None`: the tenant's databases.
    pub database: Option<String>,
    pub error: InspectError,
}

impl Unseen {
    /// Returns its name: the tenant's, or the database's with the tenant's.
    pub fn name(&self) -> String {
        match &self.database {
            None => self.tenant.clone(),
            Some(database) => format!("{database} of {}", self.tenant),
        }
    }
}

#[derive(Deserialize)]
struct ListedDatabase {
    id: Uuid,
    name: String,
}

/// A listed collection. It is reduced to this as it is read: definitions can be large, and many.
#[derive(Deserialize)]
#[serde(from = "ShownCollection")]
struct ListedCollection {
    id: Uuid,
    name: String,
    dimension: Option<u64>,
    index: IndexShape,
}

#[derive(Deserialize)]
struct ShownCollection {
    id: Uuid,
    name: String,
    dimension: Option<u64>,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
    #[serde(default)]
    configuration_json: Option<Box<RawValue>>,
    #[serde(default)]
    schema: Option<Box<RawValue>>,
}

impl From<ShownCollection> for ListedCollection {
    fn from(shown: ShownCollection) -> ListedCollection {
        let ShownCollection { id, name, dimension, metadata, configuration_json, schema } = shown;
        let index = ShownDefinition { metadata, configuration_json, schema }.index();
        ListedCollection { id, name, dimension, index }
    }
}

/// The result of reading one page.
enum Listed<T> {
    Page(Vec<T>),
    /// The page is longer than may be read at once.
    TooLong,
}

/// One instance that is being inspected.
pub(super) struct Look<'a> {
    pub client: &'a Client,
    pub instance: InstanceId,
    pub deadline: Duration,
}

impl Look<'_> {
    /// Lists everything in these tenants and databases.
    ///
    /// # Errors
    /// When nothing at all could be listed.
    pub async fn contents(
        &self,
        tenants: &BTreeSet<String>,
        known: impl Iterator<Item = Scope>,
    ) -> Result<Contents, InspectError> {
        let mut contents = Contents::default();
        let mut scopes: BTreeMap<Scope, Option<Uuid>> = known.map(|scope| (scope, None)).collect();
        for tenant in tenants {
            let before = contents.listed;
            let listed = self.list::<ListedDatabase>(&chroma::databases_path(tenant)).await;
            for found in contents.take(listed, tenant, None) {
                if chroma::is_reserved_database(tenant, &found.name) {
                    contents.has_scratch |= chroma::is_scratch(tenant, &found.name);
                    continue;
                }
                scopes.insert(Scope::new(tenant, &found.name), Some(found.id));
            }
            if contents.listed > before {
                // A database that the instance does not have holds nothing.
                scopes.retain(|scope, id| scope.tenant != *tenant || id.is_some());
            }
        }
        for (scope, id) in scopes {
            let Scope { tenant, database } = scope.clone();
            if let Some(id) = id {
                contents.databases.push(FoundDatabase { tenant: tenant.clone(), name: database.clone(), id });
            }
            let listed = self.list::<ListedCollection>(&chroma::collections_path(&scope)).await;
            for found in contents.take(listed, &tenant, Some(database.as_str())) {
                let ListedCollection { id, name, dimension, index } = found;
                let (tenant, database) = (tenant.clone(), database.clone());
                contents.collections.push(FoundCollection { tenant, database, name, id, dimension });
                contents.indexes.push(index);
            }
        }
        if contents.listed == 0
            && let Some(unseen) = contents.unseen.pop()
        {
            return Err(unseen.error);
        }
        Ok(contents)
    }

    /// Returns the items of a list that could be read, and why others could not.
    async fn list<T: for<'a> Deserialize<'a>>(&self, path: &str) -> (Vec<T>, Option<InspectError>) {
        let (mut items, mut problem) = (Vec::new(), None);
        let (mut offset, mut page) = (0, PAGE);
        loop {
            match self.page(path, offset, page).await {
                Ok(Listed::Page(found)) => {
                    let read = found.len();
                    offset += read;
                    items.extend(found);
                    // Fewer: this was the last page. More: the server does not page.
                    if read != page {
                        return (items, problem);
                    }
                    page = (page * 2).min(PAGE);
                }
                Ok(Listed::TooLong) if page > 1 => page /= 2,
                Ok(Listed::TooLong) => {
                    problem = Some(InspectError::TooLong { path: path.to_owned() });
                    offset += 1;
                }
                Err(error) => return (items, Some(error)),
            }
        }
    }

    async fn page<T: for<'a> Deserialize<'a>>(
        &self,
        path: &str,
        offset: usize,
        limit: usize,
    ) -> Result<Listed<T>, InspectError> {
        let most = if limit == 1 { ITEM_BYTES } else { PAGE_BYTES };
        let asked = format!("{path}?limit={limit}&offset={offset}");
        if asked.len() > LONGEST_PATH {
            return Err(InspectError::PathTooLong { path: path.to_owned() });
        }
        let answer = match self.get(asked, most).await {
            Ok(answer) => answer,
            Err(SendError::TooLong { .. }) => return Ok(Listed::TooLong),
            Err(error) => return Err(InspectError::Unanswered(error.to_string())),
        };
        let unreadable = |error| InspectError::Unreadable { path: path.to_owned(), error };
        match answer.status {
            200 => serde_json::from_slice(&answer.body).map(Listed::Page).map_err(unreadable),
            404 => Ok(Listed::Page(Vec::new())),
            status => Err(InspectError::Refused { status, path: path.to_owned() }),
        }
    }

    /// Requests one answer of at most `most` bytes.
    pub async fn get(&self, path: String, most: usize) -> Result<Answer, SendError> {
        let outgoing = Outgoing::get(path);
        self.client.send_idempotent_within(self.instance, &outgoing, self.deadline, most).await
    }

    /// Returns whether the instance has a collection with this id. Chroma finds an id whatever database the path names.
    pub async fn has(&self, id: Uuid) -> bool {
        let path = chroma::collection_path(&Scope::new(DEFAULT_TENANT, DEFAULT_DATABASE), &id.to_string());
        let counted = self.get(format!("{path}/count"), PAGE_BYTES).await;
        counted.is_ok_and(|answer| answer.status == 200 && serde_json::from_slice::<u64>(&answer.body).is_ok())
    }

    /// Returns whether the instance has this tenant.
    pub async fn has_tenant(&self, tenant: &str) -> Result<bool, InspectError> {
        let path = chroma::tenant_path(tenant);
        match self.get(path.clone(), PAGE_BYTES).await {
            Ok(Answer { status: 200, body, .. }) if serde_json::from_slice::<IgnoredAny>(&body).is_ok() => Ok(true),
            Ok(Answer { status: 404, .. }) => Ok(false),
            Ok(Answer { status, .. }) => Err(InspectError::Refused { status, path }),
            Err(error) => Err(InspectError::Unanswered(error.to_string())),
        }
    }
}

impl Contents {
    fn take<T>(
        &mut self,
        (items, problem): (Vec<T>, Option<InspectError>),
        tenant: &str,
        database: Option<&str>,
    ) -> Vec<T> {
        match problem {
            None => self.listed += 1,
            Some(error) => {
                let database = database.map(str::to_owned);
                self.unseen.push(Unseen { tenant: tenant.to_owned(), database, error });
            }
        }
        items
    }

    /// Returns whether some of this database's collections could not be listed.
    pub fn is_unseen(&self, scope: &Scope) -> bool {
        self.unseen.iter().any(|unseen| {
            unseen.tenant == scope.tenant && unseen.database.as_ref().is_none_or(|database| *database == scope.database)
        })
    }
}
