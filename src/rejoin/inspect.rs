//! Looking at an instance before it is trusted: does it still hold what it should, and what does it hold besides?
//!
//! A server that came back blank answers every heartbeat and accepts every creation; what it lacks shows in its
//! lists. Tenants and databases are created there again. What it holds besides the catalog was there before the edge,
//! and is proposed for adoption when nothing of the catalog lane is under way there.
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

/// Looks at instances.
pub struct Inspector {
    core: Arc<Core>,
    client: Client,
    /// Tenants to look into besides those that the catalog knows: Chroma cannot list its tenants.
    tenants: Vec<String>,
    /// How often in a row a part of an instance could not be listed.
    failures: Mutex<HashMap<(InstanceId, String), u32>>,
    /// What a server that came back older holds although it may have been deleted since.
    withheld: Withheld,
    /// Instances that lack so many collections: for the log.
    lacking: LastingStates<(InstanceId, usize)>,
    /// Servers that could not be tried out, and what had to be created on an instance again and again: for the log.
    untried: LastingStates<InstanceId>,
    recreated: Recreated,
}

/// So often a list that is not answered is asked for again, before the instance is admitted without it.
const TRIES: u32 = 3;

/// Whether there is nothing left to adopt on the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adopted {
    Everything,
    /// Its catalog lane had not quiesced: inspect again later.
    Later,
}

/// Whether this look may end in an adoption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adopting {
    Now,
    /// It is the turn of an instance that is preferred to this one.
    NotYet,
}

fn completed(settlement: &Settlement) -> Fact {
    Fact::completed(settlement.seq, settlement.verdict, None, None, TimingGap::No, Timestamp::now())
}

impl Inspector {
    /// Run it in the runtime that `client` is to belong to.
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

    /// Whether the server still carries the marker that it carried, as far as it answers.
    pub(super) async fn is_unchanged(&self, instance: InstanceId) -> bool {
        marker::is_unchanged(&self.core, &self.look(instance)).await
    }

    /// Gives the server a marker that claims everything up to here.
    pub(super) async fn mark(&self, instance: InstanceId, through: Seq) -> Marked {
        marker::write(&self.core, &self.look(instance), through).await
    }

    /// The tenants to look into: those of the catalog, of the configuration, and those that clients have named.
    pub(super) fn known_tenants(&self) -> BTreeSet<String> {
        let mut tenants: BTreeSet<String> = self.core.board().catalog().tenants().map(str::to_owned).collect();
        tenants.extend(self.tenants.iter().cloned());
        tenants.extend(self.core.discovery.tenants());
        tenants
    }

    pub(super) fn look(&self, instance: InstanceId) -> Look<'_> {
        Look { client: &self.client, instance, deadline: self.core.registry().timeouts().attempt }
    }

    /// Whether the instance has a collection of this id, as far as it answers.
    pub(super) async fn has(&self, instance: InstanceId, id: InstanceCollectionId) -> bool {
        self.look(instance).has(id.uuid()).await
    }

    /// Looks at everything on the instance, completes its tenants and databases, reports what is missing, proposes what is
    /// unknown.
    pub(super) async fn inspect(&self, instance: InstanceId, adopting: Adopting) -> Result<Adopted, InspectError> {
        let look = self.look(instance);
        // First: of a server that is not supported, nothing else is believed either.
        let scratch = capabilities::learn(&self.core, &look, &self.untried).await?;
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
            // A crash left it behind, or another edge that is no more.
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
        marker::accept(&self.core, instance, identity);
        self.go_without(instance, &contents)?;
        let missing = self.missing(&look, expected, &contents).await;
        // Another edge may have the journal by now: what differs may be its doing.
        let succeeded = self.core.lease.has_begun() && self.core.lease.check().is_err();
        if !missing.is_empty() && succeeded {
            return Err(InspectError::Succeeded);
        }
        let is_over = |(of, collections): &(InstanceId, usize)| *of == instance && *collections != missing.len();
        let over = self.lacking.ended_where(clock::now(), is_over);
        if let Some((_, lasted)) = over.first().filter(|_| missing.is_empty()) {
            let (instance, seconds) = (self.core.registry.name(instance), lasted.time.as_secs());
            info!(%instance, seconds, "the instance no longer lacks collections that it had");
        }
        if !missing.is_empty() {
            // It is looked at again and again; another number is another state.
            if let Some(times) = self.lacking.seen((instance, missing.len()), clock::now()).times() {
                let (instance, collections) = (self.core.registry.name(instance), missing.len());
                error!(%instance, collections, times, "the instance lacks collections that it had: not served from there");
            }
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

    /// Forgets what was noted of some collections that are gone.
    pub(super) fn forget_indexes(&self) {
        let board = self.core.board();
        self.core.discovery.indexes().forget_some(|collection| board.catalog().get(collection).is_some());
    }

    /// Before what is unknown can be adopted: no write to it is taken for one into an ordinary index.
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

    /// What could not be listed is asked for again, unless it never will be: then the instance is admitted without it.
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

    /// What should be there and is not. What could not be listed is looked up by its id.
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

    /// Tenants that the configuration or a client has named, the catalog lacks, and the instance has.
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
        // Judged again when it is folded: the catalog may change between two looks.
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
        // Judged again by the catalog at its place in the order; a refused append is proposed again later.
        if journal.append(draft).await.is_err() {
            return Ok(Adopted::Later);
        }
        info!(instance = %name, databases = adoption.databases.len(), collections = adoption.collections.len(), "adopting what existed before");
        // Not awaited here: it may be this very instance that has to be admitted before the entry can be executed.
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
