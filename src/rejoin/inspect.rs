//! Looking at an instance before it is trusted: does it still hold what it should, and what does it hold besides?
//!
//! A server that came back blank answers every heartbeat and accepts every creation; what it lacks shows in its
//! lists. What it holds besides was there before the edge, and is proposed for adoption once its catalog lane is at
//! rest. Nothing is written to it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use tracing::{error, info};
use uuid::Uuid;

use crate::chroma;
use crate::clock::Timestamp;
use crate::coordinator::Core;
use crate::coordinator::adoption::{Adoption, FoundCollection, FoundDatabase, adoption_draft};
use crate::ids::{InstanceId, Scope, Seq};
use crate::instance::{Client, Outgoing};
use crate::journal::{Fact, TimingGap};
use crate::order::{AckPolicy, Input};

/// Looks at instances.
pub struct Inspector {
    core: Arc<Core>,
    client: Client,
    /// Tenants to look into besides those that the catalog knows: Chroma cannot list its tenants.
    tenants: Vec<String>,
    deadline: Duration,
}

/// An instance that could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("{0}")]
    Unanswered(String),
    #[error("it answered {status} to {path}")]
    Refused { status: u16, path: String },
    #[error("it is not what it was, and another edge may have the journal")]
    Succeeded,
    #[error("its answer to {path} cannot be read: {error}")]
    Unreadable { path: String, error: serde_json::Error },
}

/// Whether there is nothing left to adopt on the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adopted {
    Everything,
    /// Its catalog lane was not at rest: look again later.
    Later,
}

/// Whether this look may end in an adoption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adopting {
    Now,
    /// It is the turn of an instance that is preferred to this one.
    NotYet,
}

#[derive(Deserialize)]
struct ListedDatabase {
    id: Uuid,
    name: String,
}

#[derive(Deserialize)]
struct ListedCollection {
    id: Uuid,
    name: String,
    dimension: Option<u64>,
}

type Contents = (Vec<FoundDatabase>, Vec<FoundCollection>);

fn completed(seq: Seq) -> Fact {
    Fact::completed(seq, None, None, TimingGap::No, Timestamp::now())
}

impl Inspector {
    /// Run it in the runtime that `client` is to belong to.
    pub fn new(core: Arc<Core>, client: Client, tenants: Vec<String>, deadline: Duration) -> Self {
        Inspector { core, client, tenants, deadline }
    }

    /// Looks at everything on the instance, reports what is missing, proposes what is unknown.
    pub(super) async fn inspect(&self, instance: InstanceId, adopting: Adopting) -> Result<Adopted, InspectError> {
        let (expected, wait) = {
            let board = self.core.board();
            (board.expected_on(instance), board.catalog_quiescent(instance))
        };
        let (databases, collections) = self.contents(instance).await?;
        let present: HashSet<Uuid> = collections.iter().map(|found| found.id).collect();
        let missing: Vec<_> = expected
            .iter()
            .filter(|(_, id)| !present.contains(&id.uuid()))
            .map(|(collection, _)| *collection)
            .collect();
        // Another edge may have the journal by now: what differs may be its doing.
        let succeeded = self.core.lease.has_begun() && self.core.lease.check().is_err();
        if !missing.is_empty() && succeeded {
            return Err(InspectError::Succeeded);
        }
        if !missing.is_empty() {
            let name = self.core.registry.name(instance);
            error!(instance = %name, collections = missing.len(), "the instance lacks collections that it had: not served from there");
            self.core.step(Input::Missing { instance, collections: missing });
        }
        let wait = wait.filter(|_| adopting == Adopting::Now && !succeeded);
        self.propose(instance, wait, databases, collections).await
    }

    async fn propose(
        &self,
        instance: InstanceId,
        wait: Option<Seq>,
        databases: Vec<FoundDatabase>,
        collections: Vec<FoundCollection>,
    ) -> Result<Adopted, InspectError> {
        let name = self.core.registry.name(instance).to_string();
        let adoption = {
            let board = self.core.board();
            let catalog = board.catalog();
            let unknown_database =
                |found: &FoundDatabase| catalog.database(&Scope::new(&found.tenant, &found.name)).is_none();
            let unknown = |found: &FoundCollection| {
                let named = catalog.by_name(&Scope::new(&found.tenant, &found.database), &found.name);
                named.map_or_else(|| catalog.by_id(found.id).is_none(), |known| known.mappings[instance.0].is_none())
            };
            Adoption {
                instance: name.clone(),
                databases: databases.into_iter().filter(unknown_database).collect(),
                collections: collections.into_iter().filter(unknown).collect(),
            }
        };
        if adoption.databases.is_empty() && adoption.collections.is_empty() {
            return Ok(Adopted::Everything);
        }
        // Before it is at rest, what is unknown may be the edge's own doing.
        if wait.is_none() || self.core.board().catalog_quiescent(instance) != wait {
            return Ok(Adopted::Later);
        }
        info!(instance = %name, databases = adoption.databases.len(), collections = adoption.collections.len(), "adopting what existed before");
        let Some(journal) = self.core.journal() else { return Ok(Adopted::Later) };
        let draft = adoption_draft(&adoption);
        let mut ticket = self.core.ticket(draft.transaction_id, AckPolicy::Durable);
        // Judged again by the catalog at its place in the order; a refused append is proposed again later.
        if journal.append(draft).await.is_err() {
            return Ok(Adopted::Later);
        }
        let journal = journal.clone();
        // Not awaited here: it may be this very instance that has to be admitted before the entry can be carried out.
        tokio::spawn(async move {
            if let Some(settlement) = ticket.settled().await {
                journal.record_later(vec![completed(settlement.seq)]);
            }
        });
        Ok(Adopted::Everything)
    }

    async fn contents(&self, instance: InstanceId) -> Result<Contents, InspectError> {
        let (mut scopes, tenants) = {
            let board = self.core.board();
            let catalog = board.catalog();
            let scopes: BTreeMap<Scope, Option<Uuid>> =
                catalog.databases().map(|scope| (scope.clone(), None)).collect();
            let known = catalog.tenants().map(str::to_owned);
            (scopes, known.chain(self.tenants.iter().cloned()).collect::<BTreeSet<_>>())
        };
        for tenant in &tenants {
            for listed in self.list::<ListedDatabase>(instance, chroma::databases_path(tenant)).await? {
                scopes.insert(Scope::new(tenant, &listed.name), Some(listed.id));
            }
        }
        let mut contents = Contents::default();
        for (scope, id) in scopes {
            if let Some(id) = id {
                contents.0.push(FoundDatabase { tenant: scope.tenant.clone(), name: scope.database.clone(), id });
            }
            for listed in self.list::<ListedCollection>(instance, chroma::collections_path(&scope)).await? {
                let (tenant, database) = (scope.tenant.clone(), scope.database.clone());
                let ListedCollection { id, name, dimension } = listed;
                contents.1.push(FoundCollection { tenant, database, name, id, dimension });
            }
        }
        Ok(contents)
    }

    async fn list<T: for<'a> Deserialize<'a>>(
        &self,
        instance: InstanceId,
        path: String,
    ) -> Result<Vec<T>, InspectError> {
        let outgoing = Outgoing { method: Method::GET, path: path.clone(), headers: Vec::new(), body: Bytes::new() };
        let sent = self.client.send_idempotent(instance, &outgoing, self.deadline).await;
        let answer = sent.map_err(|error| InspectError::Unanswered(error.to_string()))?;
        match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|error| InspectError::Unreadable { path, error }),
            // A database that the instance does not have holds nothing.
            404 => Ok(Vec::new()),
            status => Err(InspectError::Refused { status, path }),
        }
    }
}
