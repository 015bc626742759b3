//! Wipes a foreign server (rule R16): every collection, every database that the catalog lacks, and its marker last. A
//! crash in between leaves a server that is still foreign, and that carries a note of who is wiping it.
//!
//! Decides what is deleted, and in which order. `foreign.rs` decides whether to wipe; the board and healing decide what
//! is made anew there.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use uuid::Uuid;

use super::contents::{Contents, Look};
use super::error::InspectError;
use super::inspect::Inspector;
use super::marker;
use crate::chroma::{self, WIPE_NAME, Wiper, is_wiped_by, marker_scope, wipe_creation};
use crate::coordinator::{Core, ForeignStage};
use crate::ids::{InstanceId, Scope};
use crate::instance::{Answer, Generation, Licence, Outgoing};
use crate::order::{DEFAULT_DATABASE, DEFAULT_TENANT, Marker};

const ANSWER_BYTES: usize = 64 * 1024;
/// How many times the contents are listed and deleted: another writer may add to them meanwhile.
const ROUNDS: usize = 3;
/// Chroma answers 500 when its database is locked for a moment.
const TRIES: usize = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(200);
/// Records are counted only if there are at most this many collections.
const COUNTED: usize = 500;

/// A server that is being wiped.
pub(super) struct Wipe<'a> {
    core: &'a Core,
    inspector: &'a Inspector,
    look: Look<'a>,
    /// The marker that it carries, and must carry until the end.
    carries: Marker,
    generation: Generation,
    address: Option<SocketAddr>,
}

/// Everything that is to be deleted.
pub(super) struct Doomed {
    contents: Contents,
    /// `None`: there are too many collections to count their records, or counting failed.
    pub records: Option<u64>,
}

impl Doomed {
    pub fn collections(&self) -> usize {
        self.contents.collections.len()
    }
}

impl<'a> Wipe<'a> {
    /// Prepares to wipe the server that carries this marker. Nothing is deleted once another server answers in its
    /// place.
    pub fn of(core: &'a Core, inspector: &'a Inspector, instance: InstanceId, carries: Marker) -> Wipe<'a> {
        let registry = core.registry();
        let (generation, address) = (registry.generation(instance), registry.address(instance));
        Wipe { core, inspector, look: inspector.look(instance), carries, generation, address }
    }

    fn by(&self) -> Wiper<'_> {
        let (journal, instance) =
            (self.core.discovery().markers().journal(), self.core.registry().name(self.look.instance));
        Wiper { journal, instance }
    }

    /// Returns whether the wiping of these very data for this instance has begun before.
    pub async fn has_begun(&self) -> bool {
        let path = chroma::collection_path(&marker_scope(), WIPE_NAME);
        let found = self.look.get(path, ANSWER_BYTES).await;
        found.is_ok_and(|answer| answer.status == 200 && is_wiped_by(&self.by(), &self.carries, &answer.body))
    }

    /// Lists everything on the server.
    ///
    /// # Errors
    /// When something could not be listed.
    pub async fn doomed(&self) -> Result<Doomed, InspectError> {
        let contents = self.contents().await?;
        let mut records = (contents.collections.len() <= COUNTED).then_some(0);
        for found in &contents.collections {
            let Some(so_far) = records else { break };
            records = self.count(found.id).await.map(|count| so_far + count);
        }
        Ok(Doomed { contents, records })
    }

    async fn contents(&self) -> Result<Contents, InspectError> {
        let tenants = self.inspector.known_tenants();
        let scopes: Vec<Scope> = self.core.board().catalog().databases().cloned().collect();
        let mut contents = self.look.contents(&tenants, scopes.into_iter()).await?;
        contents.unseen.pop().map_or(Ok(contents), |unseen| Err(unseen.error))
    }

    async fn count(&self, id: Uuid) -> Option<u64> {
        let scope = Scope::new(DEFAULT_TENANT, DEFAULT_DATABASE);
        let path = format!("{}/count", chroma::collection_path(&scope, &id.to_string()));
        let answer = self.look.get(path, ANSWER_BYTES).await.ok().filter(|answer| answer.status == 200)?;
        serde_json::from_slice(&answer.body).ok()
    }

    /// Deletes everything, the marker last.
    ///
    /// # Errors
    /// When something was not deleted, or may not have been. The server is still foreign then.
    pub async fn run(&self, doomed: Doomed) -> Result<(), InspectError> {
        self.say_who_wipes().await?;
        let mut contents = doomed.contents;
        for _ in 0..ROUNDS {
            if self.empty(&contents).await? == 0 {
                return self.delete(chroma::database_path(&marker_scope())).await;
            }
            contents = self.contents().await?;
        }
        Err(InspectError::Unanswered("there is always more on it: somebody else writes there".to_owned()))
    }

    /// Notes on the server itself who is wiping it. An edge that finds the note goes on.
    async fn say_who_wipes(&self) -> Result<(), InspectError> {
        if self.has_begun().await {
            return Ok(());
        }
        self.delete(chroma::collection_path(&marker_scope(), WIPE_NAME)).await?;
        let (path, body) = (chroma::collections_path(&marker_scope()), wipe_creation(&self.by(), &self.carries));
        match self.send(Outgoing::json(Method::POST, path.clone(), body)).await?.status {
            200..=299 => Ok(()),
            status => Err(InspectError::Refused { status, path }),
        }
    }

    /// Deletes these contents. Returns how many collections and databases there were.
    async fn empty(&self, contents: &Contents) -> Result<usize, InspectError> {
        let collections = contents.collections.len();
        for (deleted, found) in contents.collections.iter().enumerate() {
            let stage = ForeignStage::Wiping { deleted, collections };
            self.core.discovery().markers().note_stage(self.look.instance, stage);
            self.delete(chroma::collection_path(&Scope::new(&found.tenant, &found.database), &found.name)).await?;
        }
        let unknown: Vec<Scope> = {
            let board = self.core.board();
            let scopes = contents.databases.iter().map(|found| Scope::new(&found.tenant, &found.name));
            scopes.filter(|scope| board.catalog().database(scope).is_none()).collect()
        };
        for scope in &unknown {
            self.delete(chroma::database_path(scope)).await?;
        }
        Ok(collections + unknown.len())
    }

    /// Deletes the object at this path. One that is gone already counts as deleted.
    async fn delete(&self, path: String) -> Result<(), InspectError> {
        let mut tries = 0;
        loop {
            self.check().await?;
            let outgoing = Outgoing::json(Method::DELETE, path.clone(), Vec::new());
            match self.send(outgoing).await?.status {
                200..=299 | 404 => return Ok(()),
                500 if tries < TRIES => tokio::time::sleep(BETWEEN_TRIES).await,
                status => return Err(InspectError::Refused { status, path }),
            }
            tries += 1;
        }
    }

    /// Checks that this is still the server that may be wiped: an address can lead to another one at any moment.
    async fn check(&self) -> Result<(), InspectError> {
        let (registry, instance) = (self.core.registry(), self.look.instance);
        let carries = marker::read(&self.look).await?.map(|(_, marker)| marker);
        let same = carries.as_ref() == Some(&self.carries)
            && registry.generation(instance) == self.generation
            && registry.address(instance) == self.address;
        if same { Ok(()) } else { Err(InspectError::Replaced) }
    }

    async fn send(&self, outgoing: Outgoing) -> Result<Answer, InspectError> {
        let sending = self.core.lease().sending();
        let Look { client, instance, deadline } = self.look;
        let sent = client.send(instance, &outgoing, deadline, Licence::Lease(&sending)).await;
        drop(sending);
        sent.map_err(|error| InspectError::Unanswered(error.to_string()))
    }
}
