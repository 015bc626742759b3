//! Inspects an instance before it is trusted: does it still hold what it should, and what does it hold besides?
//!
//! A server that came back blank answers every heartbeat and accepts every creation; what it lacks shows in its lists.
//! Tenants and databases that it lacks are created again. What it holds besides the catalog existed before the edge,
//! and is proposed for adoption once nothing of the catalog lane is in flight there.
//!
//! An inspection waits for no lane: what cannot be adopted now is inspected again later.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{error, info, warn};
use uuid::Uuid;

use super::capabilities;
use super::completeness::{Recreated, complete};
use super::contents::{Contents, Look};
use super::error::InspectError;
use super::marker::{self, Marked};
use super::parts::{self, AT_ONCE};
use super::withheld::{Carries, Withheld};
use crate::chroma::is_reserved;
use crate::clock::{self, Timestamp};
use crate::coordinator::adoption::{Adoption, FoundCollection, FoundDatabase, adoption_draft, is_unknown};
use crate::coordinator::{Core, Settlement};
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, LaneId, Scope, Seq, shown};
use crate::instance::Client;
use crate::journal::{Fact, TimingGap};
use crate::lasting::LastingStates;
use crate::order::{AckPolicy, Identity, Input};

/// Inspects instances.
pub struct Inspector {
    core: Arc<Core>,
    client: Client,
    /// Tenants to inspect besides those in the catalog: Chroma cannot list its tenants.
    tenants: Vec<String>,
    /// How many times in a row a part of an instance could not be listed.
    failures: Mutex<HashMap<(InstanceId, String), u32>>,
    /// What a server that came back older still holds, although it may have been deleted since.
    withheld: Withheld,
    /// For the log: instances that lack collections.
    lacking: LastingStates<InstanceId>,
    /// For the log: servers on which no trial was possible, and what had to be created on an instance again and again.
    untried: LastingStates<InstanceId>,
    recreated: Recreated,
}

/// After this many failures in a row to read a list, the instance is admitted without it.
const TRIES: u32 = 3;

/// Whether there is nothing left to adopt on the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adopted {
    Everything,
    /// Its catalog lane had not quiesced: inspect again later.
    Later,
}

/// Whether this inspection may end in an adoption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adopting {
    Now,
    /// A more preferred instance comes first.
    NotYet,
}

fn completed(settlement: &Settlement) -> Fact {
    Fact::completed(settlement.seq, settlement.verdict, None, None, TimingGap::No, Timestamp::now())
}

impl Inspector {
    /// Creates the inspector. It must run in the runtime that `client` belongs to.
    pub fn new(core: Arc<Core>, client: Client, tenants: Vec<String>) -> Self {
        Inspector {
            core,
            client,
            tenants,
            failures: Mutex::default(),
            withheld: Withheld::default(),
            lacking: LastingStates::default(),
            untried: LastingStates::default(),
            recreated: Recreated::default(),
        }
    }

    /// Returns whether the server still carries the marker that it carried. If it does not answer, it counts as
    /// unchanged.
    pub(super) async fn is_unchanged(&self, instance: InstanceId) -> bool {
        marker::is_unchanged(&self.core, &self.look(instance)).await
    }

    /// Writes a marker that claims everything up to `through` on the server.
    pub(super) async fn mark(&self, instance: InstanceId, through: Seq) -> Marked {
        marker::write(&self.core, &self.look(instance), through).await
    }

    /// Returns the tenants to inspect: those of the catalog, those of the configuration, and those that clients have
    /// named.
    pub(super) fn known_tenants(&self) -> BTreeSet<String> {
        let mut tenants: BTreeSet<String> = self.core.board().catalog().tenants().map(str::to_owned).collect();
        tenants.extend(self.tenants.iter().cloned());
        tenants.extend(self.core.discovery.tenants());
        tenants
    }

    pub(super) fn look(&self, instance: InstanceId) -> Look<'_> {
        Look { client: &self.client, instance, deadline: self.core.registry().timeouts().attempt }
    }

    /// Returns whether the instance answers that it has a collection with this id.
    pub(super) async fn has(&self, instance: InstanceId, id: InstanceCollectionId) -> bool {
        self.look(instance).has(id.uuid()).await
    }

    /// Inspects everything on the instance: completes its tenants and databases, reports what is missing, and proposes
    /// what is unknown for adoption.
    pub(super) async fn inspect(&self, instance: InstanceId, adopting: Adopting) -> Result<Adopted, InspectError> {
        let look = self.look(instance);
        // Checked first: nothing else that an unsupported server shows can be relied on.
        let scratch = capabilities::learn(&self.core, &look, &self.untried).await?;
        // Read before the marker: whoever returns meanwhile is identified anew.
        let returned = self.core.registry().generation(instance);
        let identity = marker::identify(&self.core, &look).await?;
        let (wait, scopes) = {
            let board = self.core.board();
            let scopes: Vec<Scope> = board.catalog().databases().cloned().collect();
            (board.catalog_quiescent(instance), scopes)
        };
        let expected = parts::expected_on(&self.core, instance).await;
        let tenants = self.known_tenants();
        let mut contents = look.contents(&tenants, scopes.into_iter()).await?;
        if contents.has_scratch {
            // A crash left it behind, or another edge that is gone.
            scratch.sweep().await;
        }
        self.note_indexes(&contents).await;
        contents.tenants = self.unknown_tenants(&look).await;
        if matches!(identity.0, Identity::Older { .. }) {
            let journal = self.core.discovery().markers().journal();
            let ours = identity.1.is_some_and(|(of, _)| of == journal);
            let carries = if ours { Carries::AnOlderOne } else { Carries::None };
            self.withheld.note(&self.core, &look, &contents, carries).await?;
        }
        marker::accept(&self.core, (instance, returned), identity);
        self.go_without(instance, &contents)?;
        let missing = self.missing(&look, expected, &contents).await;
        // Another edge may hold the journal by now: the differences may be its doing.
        let succeeded = self.core.lease.has_begun() && self.core.lease.check().is_err();
        if !missing.is_empty() && succeeded {
            return Err(InspectError::Succeeded);
        }
        self.tell_missing(instance, missing.len());
        if !missing.is_empty() {
            self.core.step(Input::Missing { instance, collections: missing });
        }
        if !succeeded {
            complete(&self.core, &look, &contents, &self.recreated).await?;
        }
        let wait = wait.filter(|_| adopting == Adopting::Now && !succeeded);
        let adopted = self.propose(instance, wait, contents).await?;
        if adopted == Adopted::Everything {
            self.core.discovery.saw(instance);
        }
        Ok(adopted)
    }

    /// Logs that the instance lacks this many collections. It is inspected again and again until it has them; with a busy
    /// catalog it may lack none for a moment.
    fn tell_missing(&self, instance: InstanceId, collections: usize) {
        if collections > 0
            && let Some(times) = self.lacking.seen(instance, clock::now()).times()
        {
            let instance = self.core.registry.name(instance);
            error!(%instance, collections, times, "the instance lacks collections that it had: not served from there");
        }
    }

    /// Logs which instances have not lacked any collection for a while.
    pub(super) fn tell_complete(&self) {
        for (instance, lasted) in self.lacking.quiet(clock::now()) {
            let (instance, seconds) = (self.core.registry.name(instance), lasted.time.as_secs());
            info!(%instance, seconds, "the instance no longer lacks collections that it had");
        }
    }

    /// Forgets the indexes of some collections that no longer exist.
    pub(super) fn forget_indexes(&self) {
        let board = self.core.board();
        self.core.discovery.indexes().forget_some(|collection| board.catalog().get(collection).is_some());
    }

    /// Notes the indexes before unknown collections can be adopted, so that no write to one is taken for a write into
    /// an ordinary index.
    async fn note_indexes(&self, contents: &Contents) {
        let indexes = self.core.discovery.indexes();
        let shown: Vec<_> = contents.collections.iter().zip(&contents.indexes).collect();
        for (number, some) in shown.chunks(AT_ONCE).enumerate() {
            if number > 0 {
                Core::let_others_in().await;
            }
            let board = self.core.board();
            let catalog = board.catalog();
            for (found, index) in some.iter().filter(|(found, _)| !is_reserved(&found.name)) {
                let named = || catalog.by_name(&Scope::new(&found.tenant, &found.database), &found.name);
                let known = catalog.by_id(found.id).or_else(named);
                indexes.shown(known.map_or_else(|| CollectionId::new(found.id), |known| known.id), **index);
            }
        }
    }

    /// Returns an error if a part that could not be listed is worth another try. Otherwise the instance is admitted
    /// without it.
    fn go_without(&self, instance: InstanceId, contents: &Contents) -> Result<(), InspectError> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let names: HashSet<String> = contents.unseen.iter().map(|unseen| unseen.name()).collect();
        failures.retain(|(of, name), _| *of != instance || names.contains(name));
        for unseen in &contents.unseen {
            let tries = failures.entry((instance, unseen.name())).or_insert(0);
            *tries = tries.saturating_add(1);
            if !unseen.error.is_definite() && *tries < TRIES {
                return Err(InspectError::Unanswered(unseen.error.to_string()));
            }
        }
        drop(failures);
        let names: Vec<String> = contents.unseen.iter().map(|unseen| unseen.name()).collect();
        for part in self.core.discovery.not_seen(instance, names.iter().map(String::as_str)) {
            let why = contents.unseen.iter().find(|unseen| shown(&unseen.name()) == part).map(|unseen| &unseen.error);
            let why = why.map(ToString::to_string).unwrap_or_default();
            warn!(instance = %self.core.registry.name(instance), part, why, "cannot inspect a part of the instance: admitted without it");
        }
        Ok(())
    }

    /// Returns the collections that should be on the instance and are not. If their list could not be read, they are
    /// looked up by id.
    async fn missing(
        &self,
        look: &Look<'_>,
        expected: Vec<(CollectionId, InstanceCollectionId)>,
        contents: &Contents,
    ) -> Vec<CollectionId> {
        let present: HashSet<Uuid> = contents.collections.iter().map(|found| found.id).collect();
        let mut missing = Vec::new();
        for (collection, id) in expected.into_iter().filter(|(_, id)| !present.contains(&id.uuid())) {
            let hidden = {
                let board = self.core.board();
                board.catalog().get(collection).is_some_and(|known| contents.is_unseen(&known.scope))
            };
            if !(hidden && look.has(id.uuid()).await) {
                missing.push(collection);
            }
        }
        missing
    }

    /// Returns the tenants that the configuration or a client has named, that the catalog lacks, and that the instance
    /// has.
    async fn unknown_tenants(&self, look: &Look<'_>) -> Vec<String> {
        let mut named: BTreeSet<String> = self.core.discovery.tenants();
        named.extend(self.tenants.iter().cloned());
        named.retain(|tenant| !self.core.board().catalog().has_tenant(tenant));
        let mut found = Vec::new();
        for tenant in named {
            if look.has_tenant(&tenant).await.unwrap_or_default() {
                found.push(tenant);
            }
        }
        found
    }

    async fn propose(
        &self,
        instance: InstanceId,
        wait: Option<Seq>,
        Contents { tenants, databases, collections, .. }: Contents,
    ) -> Result<Adopted, InspectError> {
        let name = self.core.registry.name(instance).to_string();
        let mut adoption = {
            let board = self.core.board();
            let catalog = board.catalog();
            let unknown_database = |found: &FoundDatabase| {
                let known = catalog.database(&Scope::new(&found.tenant, &found.name)).is_some();
                !known && !self.withheld.has_database(instance, found)
            };
            Adoption {
                instance: name.clone(),
                tenants: tenants.into_iter().filter(|tenant| !catalog.has_tenant(tenant)).collect(),
                databases: databases.into_iter().filter(unknown_database).collect(),
                collections: Vec::new(),
            }
        };
        // The adoption is judged again when it is folded: the catalog may change between two parts.
        for (number, some) in collections.chunks(AT_ONCE).enumerate() {
            if number > 0 {
                Core::let_others_in().await;
            }
            let board = self.core.board();
            let unknown = |found: &&FoundCollection| {
                let edges_own = is_reserved(&found.name) || self.withheld.has(instance, found);
                !edges_own && is_unknown(board.catalog(), found, instance)
            };
            adoption.collections.extend(some.iter().filter(unknown).cloned());
        }
        if adoption.tenants.is_empty() && adoption.databases.is_empty() && adoption.collections.is_empty() {
            return Ok(Adopted::Everything);
        }
        // Nothing is adopted while the catalog lane is halted. Before it has quiesced, what is unknown may be the edge's own
        // doing.
        if self.core.board().is_halted(LaneId::Catalog)
            || wait.is_none()
            || self.core.board().catalog_quiescent(instance) != wait
        {
            return Ok(Adopted::Later);
        }
        let journal = self.core.journal().clone();
        let draft = adoption_draft(&adoption);
        let mut ticket = self.core.ticket(draft.transaction_id, AckPolicy::Durable, None);
        // The catalog judges the entry again at its place in the order. If the append fails, the adoption is proposed
        // again later.
        if journal.append(draft).await.is_err() {
            return Ok(Adopted::Later);
        }
        info!(instance = %name, databases = adoption.databases.len(), collections = adoption.collections.len(), "adopting what existed before");
        // Not awaited here: this very instance may have to be admitted before the entry can be executed.
        #[allow(
            clippy::disallowed_methods,
            reason = "one task for each adoption that was appended: it ends when the entry is settled"
        )]
        tokio::spawn(async move {
            if let Some(settlement) = ticket.settled().await {
                journal.record_later(vec![completed(&settlement)]);
            }
        });
        Ok(Adopted::Everything)
    }
}
