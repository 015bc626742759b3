//! What a server that has come back older holds besides the catalog. It may have been deleted since, so it is not
//! adopted.
//!
//! If the server carries an older marker of this journal, such collections are given a hidden name. Otherwise they
//! would be in the way of collections that are made anew there, and a later edge would take them for new ones. Nothing
//! is deleted here: a collection with a hidden name is removed before the next copy is made in its database.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::Method;
use serde_json::json;
use tracing::warn;
use uuid::Uuid;

use super::contents::{Contents, Look};
use super::error::InspectError;
use crate::chroma::{self, is_reserved};
use crate::coordinator::Core;
use crate::coordinator::adoption::{FoundCollection, FoundDatabase};
use crate::ids::{InstanceId, Scope, shown};
use crate::instance::{Licence, Outgoing};

/// Which marker a server carries that has come back older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    /// One of this journal: whatever else the server holds was this journal's, too.
    AnOlderOne,
    None,
}

#[derive(Debug, Default)]
struct Inner {
    collections: HashSet<(InstanceId, Uuid)>,
    databases: HashSet<(InstanceId, Scope)>,
}

/// What is not adopted while the edge runs.
#[derive(Debug, Default)]
pub(super) struct Withheld(Mutex<Inner>);

fn scope_of(found: &FoundCollection) -> Scope {
    Scope::new(&found.tenant, &found.database)
}

impl Withheld {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has(&self, instance: InstanceId, found: &FoundCollection) -> bool {
        self.inner().collections.contains(&(instance, found.id))
    }

    pub(super) fn has_database(&self, instance: InstanceId, found: &FoundDatabase) -> bool {
        self.inner().databases.contains(&(instance, Scope::new(&found.tenant, &found.name)))
    }

    /// Notes what this server, which has come back older, holds and the catalog does not know. A crash in the middle
    /// leaves some collections under their names: the server is still older, and is inspected again.
    ///
    /// # Errors
    /// When a hidden name could not be given.
    pub(super) async fn note(
        &self,
        core: &Core,
        look: &Look<'_>,
        contents: &Contents,
        carries: Carries,
    ) -> Result<(), InspectError> {
        let unknown: Vec<&FoundCollection> = {
            let board = core.board();
            let catalog = board.catalog();
            let mut inner = self.inner();
            let unknown_databases = contents
                .databases
                .iter()
                .map(|found| Scope::new(&found.tenant, &found.name))
                .filter(|scope| catalog.database(scope).is_none());
            inner.databases.extend(unknown_databases.map(|scope| (look.instance, scope)));
            if carries == Carries::AnOlderOne {
                // This includes collections that the catalog has now: they may be deleted before their copies here are
                // made anew.
                let known = contents.collections.iter().filter(|found| catalog.by_id(found.id).is_some());
                inner.collections.extend(known.map(|found| (look.instance, found.id)));
            }
            // A collection under a name that the catalog has is an earlier copy of that one, or of one that was deleted
            // since.
            let is_unknown = |found: &&FoundCollection| {
                let takes_part =
                    carries == Carries::AnOlderOne || catalog.by_name(&scope_of(found), &found.name).is_none();
                !is_reserved(&found.name) && takes_part && catalog.by_id(found.id).is_none()
            };
            contents.collections.iter().filter(is_unknown).collect()
        };
        for found in unknown {
            if self.inner().collections.insert((look.instance, found.id)) {
                let (instance, collection) = (core.registry().name(look.instance), shown(&found.name));
                warn!(%instance, %collection, "this collection may have been deleted after what the server holds: it is not adopted");
            }
            if carries == Carries::AnOlderOne {
                hide(core, look, found).await?;
            }
        }
        Ok(())
    }
}

/// Hides the collection by its id: its name may be given to another collection meanwhile.
async fn hide(core: &Core, look: &Look<'_>, found: &FoundCollection) -> Result<(), InspectError> {
    let path = chroma::collection_path(&scope_of(found), &found.id.to_string());
    let body = json!({ "new_name": chroma::hidden_name("withheld") }).to_string();
    let sending = core.lease().sending();
    let outgoing = Outgoing::json(Method::PUT, path.clone(), body);
    let sent = look.client.send(look.instance, &outgoing, look.deadline, Licence::Lease(&sending)).await;
    drop(sending);
    let answer = sent.map_err(|error| InspectError::Unanswered(error.to_string()))?;
    match answer.status {
        200..300 => Ok(()),
        status if chroma::is_not_found(status, &answer.body) => Ok(()),
        status => Err(InspectError::Refused { status, path }),
    }
}
