//! The copy of a collection that is made whole. It is a new one beside the old one: created from the source's
//! definition under a hidden name, renamed into its place, and removed if it is given up. Or it is the old one, if that
//! can be repaired in place.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;
use uuid::Uuid;

use super::align::{Sides, Worth, target};
use super::error::HealError;
use super::place::{PageLimits, Place, WriteError};
use super::records::Embeddings;
use crate::chroma::{
    self, blank_definition_difference, copy_requests, definition_difference, hidden_name, is_reserved, same_definition,
};
use crate::coordinator::{Core, LateWrites};
use crate::ids::{InstanceCollectionId, LaneId, Scope};
use crate::instance::Client;
use crate::journal::Fact;
use crate::order::{CatalogChange, Input, LaneState, Origin, Rebuild};

/// How many collections are listed at once.
const LISTED: usize = 250;

/// The copy of one collection that is being made.
pub(super) struct Copy<'a> {
    core: &'a Core,
    rebuild: Rebuild,
    /// Ids of the copies that this process has made.
    made: &'a Made,
    pub source: Place<'a>,
    /// The collection's id on the source.
    from: Uuid,
    /// The old copy's id on the target.
    old: Option<InstanceCollectionId>,
    /// The database on the target.
    beside: Place<'a>,
    pub scope: Scope,
    /// The collection's name, as clients know it.
    pub name: String,
    /// The name of the copy until it takes its place (`hidden`), and of the old one from then on (`discarded`).
    hidden: String,
    discarded: String,
}

/// Ids of copies that were made, and hidden names of those that are being made.
#[derive(Debug, Default)]
pub(super) struct Made {
    ids: Mutex<HashSet<Uuid>>,
    names: Mutex<HashSet<String>>,
}

/// Keeps the hidden names of a copy from being taken for leftovers, until it is dropped.
pub(super) struct NamesInUse<'a> {
    made: &'a Made,
    names: [String; 2],
}

impl Drop for NamesInUse<'_> {
    fn drop(&mut self) {
        let mut names = self.made.names();
        for name in &self.names {
            names.remove(name);
        }
    }
}

impl Made {
    fn note(&self, id: Uuid) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn has(&self, id: Uuid) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    fn names(&self) -> MutexGuard<'_, HashSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which collection has the name on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    /// A copy of the edge's own, or an empty collection: it may be replaced.
    Replaceable {
        records: u64,
    },
    /// The instance died of a write to it, or it is known to be wrong: it may be replaced, and is not read before that.
    Discarded,
    /// Records that the edge did not write, or another collection's: never touched.
    Foreign,
}

/// The collection on the target that is made equal to the source: a new one, or the old one.
pub(super) struct Twin<'a> {
    pub place: Place<'a>,
    pub id: InstanceCollectionId,
    called: Called,
    embeddings: Embeddings,
    pub worth: Worth,
}

/// What a twin is called while it is made equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Called {
    /// By the hidden name of the new copy.
    Hidden,
    /// Like the collection, even if clients rename it meanwhile.
    LikeTheCollection,
}

impl Twin<'_> {
    /// Returns the two sides of a comparison with this source.
    pub fn sides<'a>(&'a self, source: &'a Place<'a>) -> Sides<'a> {
        Sides { source, copy: &self.place, embeddings: self.embeddings, worth: self.worth }
    }
}

#[derive(Deserialize)]
struct Listed {
    id: Uuid,
    name: String,
}

#[derive(Deserialize)]
struct Identified {
    id: Uuid,
}

fn id_of(object: &[u8]) -> Option<Uuid> {
    serde_json::from_slice::<Identified>(object).ok().map(|object| object.id)
}

/// How far a renaming got.
pub(super) enum Renamed {
    InPlace,
    /// Nothing was renamed.
    NotBegun(HealError),
    /// Something may still be renamed.
    InDoubt(HealError),
}

impl<'a> Copy<'a> {
    pub fn new(
        core: &'a Core,
        client: &'a Client,
        rebuild: Rebuild,
        (scope, name): (&Scope, &str),
        made: &'a Made,
        (deadline, limits): (std::time::Duration, PageLimits),
    ) -> Result<Self, HealError> {
        let [from, old] = {
            let board = core.board();
            [rebuild.source, rebuild.target].map(|at| board.catalog().mapping(rebuild.collection, at))
        };
        let from = from.ok_or(HealError::Overtaken)?;
        let path = |id: &str| chroma::collection_path(scope, id);
        let source = Place::new(core, client, rebuild.source, path(&from.to_string()), deadline).limited(limits);
        let beside =
            Place::new(core, client, rebuild.target, chroma::collections_path(scope), deadline).limited(limits);
        let (scope, name) = (scope.clone(), name.to_owned());
        let (hidden, discarded) = (hidden_name("copy"), hidden_name("old"));
        Ok(Copy { core, rebuild, made, source, from: from.uuid(), old, beside, scope, name, hidden, discarded })
    }

    /// Reserves the hidden names. Must be called before anything is created.
    pub fn use_names(&self) -> NamesInUse<'a> {
        let names = [self.hidden.clone(), self.discarded.clone()];
        self.made.names().extend(names.iter().cloned());
        NamesInUse { made: self.made, names }
    }

    /// What clients call the collection now. While the lane is held for the cutover, the servers call it so, too.
    fn current_name(&self) -> String {
        let board = self.core.board();
        board.catalog().get(self.rebuild.collection).map_or_else(|| self.name.clone(), |known| known.name.clone())
    }

    fn named(&self, name: &str) -> Place<'a> {
        self.beside.at(chroma::collection_path(&self.scope, name))
    }

    fn with_id(&self, id: InstanceCollectionId) -> Place<'a> {
        self.named(&id.to_string())
    }

    /// Creates the copy, and reads its definition back.
    pub async fn create(&self) -> Result<Twin<'a>, HealError> {
        let original = self.original().await?;
        let copied_by = self.core.discovery().servers().copied_by(self.rebuild.target);
        let plan = copy_requests(&original, &self.hidden, copied_by).ok_or(HealError::NotCopyable)?;
        let body = String::from_utf8(plan.create_body).map_err(|_| HealError::NotCopyable)?;
        let answer = self.beside.write(Method::POST, self.beside.path.clone(), body).await.map_err(target)?;
        let unreadable = || HealError::Target("its answer to the creation cannot be read".to_owned());
        let id = InstanceCollectionId::new(id_of(&answer.body).ok_or_else(unreadable)?);
        let place = self.with_id(id);
        if let Some(put) = plan.then_put.filter(|_| !same_definition(&original, &answer.body)) {
            let put = String::from_utf8(put).map_err(|_| HealError::NotCopyable)?;
            place.write(Method::PUT, place.path.clone(), put).await.map_err(target)?;
        }
        let made = self.named(&self.hidden).definition().await.map_err(HealError::Target)?;
        let same = made.is_some_and(|made| blank_definition_difference(&original, &made).is_none());
        let embeddings = Embeddings::of(&original);
        let (called, worth) = (Called::Hidden, Worth::Everything);
        if same { Ok(Twin { place, id, called, embeddings, worth }) } else { Err(HealError::Definition) }
    }

    /// Returns the old copy, if it can be repaired in place: it exists under its name and its id, and is defined as the
    /// source is. A dimension that it lacks can be given to it.
    pub async fn standing(&self, late: &'a LateWrites) -> Result<Option<Twin<'a>>, HealError> {
        let Some(id) = self.old else { return Ok(None) };
        let original = self.original().await?;
        let found = self.named(&self.current_name()).definition().await.map_err(HealError::Target)?;
        let Some(found) = found.filter(|found| id_of(found) == Some(id.uuid())) else { return Ok(None) };
        let fits = dimension(&found).is_none_or(|theirs| dimension(&original) == Some(theirs));
        if !fits || blank_definition_difference(&original, &found).is_some() {
            return Ok(None);
        }
        let place = self.with_id(id).known_to_others(LaneId::Records(self.rebuild.collection), late);
        let (called, embeddings, worth) = (Called::LikeTheCollection, Embeddings::of(&original), Worth::Everything);
        Ok(Some(Twin { place, id, called, embeddings, worth }))
    }

    /// Reads the source's Collection object by name. The collection with that name must be this one.
    async fn original(&self) -> Result<bytes::Bytes, HealError> {
        let by_name = self.source.at(chroma::collection_path(&self.scope, &self.current_name()));
        let found = by_name.definition().await.map_err(HealError::Source)?;
        found.filter(|body| id_of(body) == Some(self.from)).ok_or(HealError::Overtaken)
    }

    /// Reads the twin's Collection object by name. The collection with that name must be the twin.
    async fn definition_of(&self, twin: &Twin<'_>) -> Result<Option<bytes::Bytes>, HealError> {
        let name = match twin.called {
            Called::Hidden => self.hidden.clone(),
            Called::LikeTheCollection => self.current_name(),
        };
        let found = self.named(&name).definition().await.map_err(HealError::Target)?;
        Ok(found.filter(|found| id_of(found) == Some(twin.id.uuid())))
    }

    /// Returns whether the two definitions are the same now, dimensions included.
    pub async fn same_definition(&self, twin: &Twin<'_>) -> Result<bool, HealError> {
        let original = self.original().await?;
        let made = self.definition_of(twin).await?;
        Ok(made.is_some_and(|made| definition_difference(&original, &made).is_none()))
    }

    /// Gives the copy the source's dimension. A rejected write may have set it, and then no record shows it.
    pub async fn give_dimension(&self, twin: &Twin<'_>) -> Result<(), HealError> {
        let wanted = dimension(&self.original().await?);
        let made = self.definition_of(twin).await?;
        let (Some(wanted), None) = (wanted, made.and_then(|made| dimension(&made))) else { return Ok(()) };
        let id = hidden_name("dimension");
        let body = json!({ "ids": [id], "embeddings": [vec![0.0; usize::try_from(wanted).unwrap_or(1)]] });
        let place = &twin.place;
        place.write(Method::POST, format!("{}/add", place.path), body.to_string()).await.map_err(target)?;
        place.delete(&[id]).await.map_err(target)
    }

    /// Renames the old copy out of the way, and the new one to the collection's name. The requests name both by their
    /// ids: executed once more, or late, they do no harm as long as nothing has renamed the copies since.
    ///
    /// A crash here leaves the replica diverged, and the copies under any name: the next copy takes the name from the
    /// collection that has it.
    pub async fn rename(&self, twin: &Twin<'_>) -> Renamed {
        match self.holder().await {
            Ok((Some(id), Holder::Replaceable { .. } | Holder::Discarded)) if id != twin.id.uuid() => {
                match self.called(InstanceCollectionId::new(id), &self.discarded).await {
                    Ok(()) => {}
                    Err(error @ WriteError::Refused(_)) => return Renamed::NotBegun(target(error)),
                    Err(error @ WriteError::Unanswered(_)) => return Renamed::InDoubt(target(error)),
                }
            }
            Ok((_, Holder::Foreign)) => return Renamed::NotBegun(HealError::Foreign),
            Ok(_) => {}
            Err(error) => return Renamed::NotBegun(error),
        }
        match self.called(twin.id, &self.current_name()).await {
            Ok(()) => Renamed::InPlace,
            Err(error) => Renamed::InDoubt(target(error)),
        }
    }

    /// Returns which collection has the name on the target, and whether the new copy may take it. A collection that
    /// existed before the edge and has records is the user's, whatever the catalog says about it.
    pub async fn holder(&self) -> Result<(Option<Uuid>, Holder), HealError> {
        let found = self.named(&self.current_name()).definition().await.map_err(HealError::Target)?;
        let Some(id) = found.as_deref().and_then(id_of) else { return Ok((None, Holder::Nobody)) };
        let (owner, own, state) = {
            let board = self.core.board();
            let catalog = board.catalog();
            let owner = catalog.by_id(id).map(|owner| owner.id);
            let collection = catalog.get(self.rebuild.collection).ok_or(HealError::Overtaken)?;
            let mapped = collection.mappings[self.rebuild.target.0].map(|mapped| mapped.uuid());
            // A copy that was adopted is mapped; a copy that an earlier edge has made is known without being mapped.
            let own = collection.origin == Origin::Created || mapped != Some(id);
            (owner, own, board.state_of(self.rebuild.collection, self.rebuild.target))
        };
        if owner.is_some_and(|owner| owner != self.rebuild.collection) {
            return Ok((Some(id), Holder::Foreign));
        }
        let discarded = matches!(state, LaneState::Quarantined | LaneState::Condemned | LaneState::Contradicted);
        if discarded && owner.is_some() {
            return Ok((Some(id), Holder::Discarded));
        }
        let place = self.with_id(InstanceCollectionId::new(id));
        let records = place.count().await.map_err(HealError::Target)?.unwrap_or_default();
        let ours = self.made.has(id) || (owner.is_some() && own);
        let holder = if ours || records == 0 { Holder::Replaceable { records } } else { Holder::Foreign };
        Ok((Some(id), holder))
    }

    /// Makes durable that the collection with this id is a copy of the edge's own, before it can be found under a name
    /// that is not the edge's. A crash after that leaves a copy that may be replaced.
    pub async fn note_made(&self, twin: &Twin<'_>) {
        self.made.note(twin.id.uuid());
        let instance = self.core.registry().name(self.rebuild.target).of_a_copy();
        let change = CatalogChange::mapped(self.rebuild.collection, &instance, twin.id.uuid());
        self.core.journal().record(vec![Fact::Catalog(change)]).await;
        self.core.step(Input::CopyNoted(self.rebuild, twin.id));
    }

    async fn called(&self, id: InstanceCollectionId, name: &str) -> Result<(), WriteError> {
        let place = self.with_id(id);
        let body = json!({ "new_name": name }).to_string();
        place.write(Method::PUT, place.path.clone(), body).await.map(drop)
    }

    /// Removes the old copy, whatever its name was, because the new one serves.
    pub async fn remove_old(&self) {
        self.discard(&self.discarded).await;
        // A server that came back older holds the old copy under an earlier name. A collection that existed before the
        // edge stays: its owner may have renamed it in order to keep it.
        let adopted = {
            let board = self.core.board();
            board.catalog().get(self.rebuild.collection).is_none_or(|known| known.origin != Origin::Created)
        };
        let Some(old) = self.old.filter(|old| !adopted || self.made.has(old.uuid())) else { return };
        if self.called(old, &self.discarded).await.is_ok() {
            self.discard(&self.discarded).await;
        }
    }

    /// Removes the new copy, which was given up, whatever its name is by now: left behind under the collection's name, it
    /// would be taken for a client's collection once clients rename or delete that one.
    ///
    /// A rename without an answer may still be executed after this. [`Copy::sweep`] finds it before the next copy is
    /// made here, and nothing adopts it ([`Catalog::is_copy`](crate::order::Catalog::is_copy)).
    pub async fn remove(&self, twin: &Twin<'_>) {
        let serves = {
            let board = self.core.board();
            let mapped = board.catalog().mapping_while_held(self.rebuild.collection, self.rebuild.target);
            mapped == Some(twin.id) || board.admits(self.rebuild)
        };
        if serves {
            return;
        }
        match self.called(twin.id, &self.hidden).await {
            Ok(()) => self.remove_hidden().await,
            Err(error) => warn!(name = self.hidden, %error, "a copy that was given up may be left behind"),
        }
    }

    /// Removes what has the new copy's hidden name, if anything has.
    pub async fn remove_hidden(&self) {
        self.discard(&self.hidden).await;
    }

    /// Removes the collection with this hidden name. If that fails now, it is removed after a restart, before the next
    /// copy is made here.
    async fn discard(&self, name: &str) {
        let place = self.named(name);
        match place.definition().await {
            Ok(None) => {}
            Ok(Some(_)) => {
                if let Err(error) = place.write(Method::DELETE, place.path.clone(), String::new()).await {
                    warn!(name, %error, "a hidden collection of the edge's own is left behind");
                }
            }
            Err(error) => warn!(name, %error, "a hidden collection of the edge's own may be left behind"),
        }
    }

    /// Removes what an earlier edge, or an earlier attempt, has left behind in this database.
    pub async fn sweep(&self) -> Result<(), HealError> {
        let mut offset = 0;
        let mut left = Vec::new();
        loop {
            let path = format!("{}?limit={LISTED}&offset={offset}", self.beside.path);
            let answer = self.beside.read(Method::GET, path, Value::Null).await.map_err(HealError::Target)?;
            let listed: Vec<Listed> =
                serde_json::from_slice(&answer.body).map_err(|error| HealError::Target(error.to_string()))?;
            offset += listed.len();
            let more = listed.len() == LISTED;
            left.extend(listed.into_iter().filter(|one| self.is_left_behind(one)));
            if !more {
                break;
            }
        }
        for Listed { id, name } in left {
            if is_reserved(&name) {
                self.discard(&name).await;
            } else {
                // Hidden by its id: its name may be given to another collection meanwhile.
                let hidden = hidden_name("left");
                self.called(InstanceCollectionId::new(id), &hidden).await.map_err(target)?;
                self.discard(&hidden).await;
            }
        }
        Ok(())
    }

    /// Returns whether this collection is a leftover: a copy under a hidden name, or one that took its place and was
    /// never admitted, and whose collection has been renamed or deleted since.
    fn is_left_behind(&self, one: &Listed) -> bool {
        let board = self.core.board();
        let known = board.catalog().by_id(one.id);
        let mapped = known.is_some_and(|known| {
            // The old copy stays until the new one serves, whatever its name.
            known.mappings.iter().flatten().any(|mapped| mapped.uuid() == one.id)
        });
        let misnamed = known.map_or_else(
            || board.catalog().is_copy(one.id),
            |known| known.scope != self.scope || known.name != one.name,
        );
        !mapped && !self.made.names().contains(&one.name) && (is_reserved(&one.name) || misnamed)
    }
}

fn dimension(object: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(object).ok()?.get("dimension")?.as_u64()
}
