//! A read: what must be fresh on its instance, how one instance is asked, and what becomes of the answer (rule R5).
//!
//! Most reads are passed on ([`pass`], [`Passing`]). Collection objects and lists of them are put together here
//! ([`object()`], [`List`]). This file decides neither where a read goes next ([`choose`]) nor which requests are reads
//! (`chroma::route`).

mod ask;
mod attempt_span;
mod choose;
mod fetch;
mod list;
mod loss;
mod object;
mod page;
mod passing;
mod plan;
mod request;
mod stake;

use std::sync::Arc;

pub use self::attempt_span::collection_of;
pub use self::choose::Attempts;
pub use self::fetch::{Fetched, fetch, pass};
pub use self::list::{List, Listing, Portion};
pub use self::object::{object, show};
pub use self::passing::{PassError, Passing};
pub use self::plan::{Plan, plan};
pub use self::request::ReadRequest;
pub use self::stake::stake;

use super::Edge;
use super::failure::Failure;
use super::vouch::Stake;
use crate::chroma::{self, ByIdRoute, Call, CatalogRead, ErrorBody, Lookup, Operation, RecordReadKind, Window};
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, Scope};
use crate::order::{Board, Candidate, Consistency};

/// What must be fresh on the instance that serves a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Collection(CollectionId),
    /// All collections of a database.
    Collections(Scope),
    Catalog,
    /// Nothing: any instance will do.
    Anything,
}

/// How an instance's answer becomes the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Only the ids in error texts.
    ErrorText,
    Collection,
    CollectionList(Window),
    Database(Scope),
    DatabaseList(String, Window),
    Nothing,
}

/// A read that may be sent.
#[derive(Clone, Debug)]
pub struct Read {
    pub operation: Operation,
    pub target: Target,
    pub rewrite: Rewrite,
    pub consistency: Consistency,
    pub pin: Option<InstanceId>,
    /// What is at stake, if the read could harm an instance.
    pub(in crate::proxy) stake: Option<Arc<Stake>>,
    /// The client's path and query, without the page parameters of a list.
    pub(super) path: String,
}

/// A read as it is sent to one instance.
pub struct Asked {
    /// Path and query.
    pub path: String,
    pub ids: Ids,
}

/// The instance's id of the read's collection, as sent in the path, and the id that clients know. Kept for the answer,
/// because the catalog may have forgotten both by then.
pub type Ids = Option<(InstanceCollectionId, CollectionId)>;

impl Read {
    /// A read that any instance may serve. Its answer is not rewritten.
    fn of(operation: Operation) -> Read {
        Read {
            operation,
            target: Target::Anything,
            rewrite: Rewrite::Nothing,
            consistency: Consistency::Fresh,
            pin: None,
            stake: None,
            path: String::new(),
        }
    }

    /// Returns the instances to use for the read, of those that may serve it now.
    fn used(&self, board: &Board, able: Vec<Candidate>) -> Vec<Candidate> {
        let collection = match self.target {
            Target::Collection(id) => Some(id),
            Target::Collections(_) | Target::Catalog | Target::Anything => None,
        };
        // A request that names an instance gets that one, drained or not.
        if self.pin.is_some() { able } else { board.spared(collection, able) }
    }

    /// Returns the instances that may serve the read now, including drained ones.
    fn able(&self, board: &Board) -> Vec<Candidate> {
        let mut candidates = match &self.target {
            Target::Collection(id) => board.readers(*id, self.consistency),
            Target::Collections(scope) => {
                let all = board.catalog().in_scope(scope);
                let complete = |c: &Candidate| all.iter().all(|id| board.serves(*id, c.instance, self.consistency));
                let mut fresh = board.catalog_readers(self.consistency);
                if self.pin.is_none() {
                    fresh.retain(complete);
                }
                fresh
            }
            Target::Catalog => board.catalog_readers(self.consistency),
            Target::Anything => board.usable(),
        };
        candidates.retain(|candidate| self.pin.is_none_or(|pin| candidate.instance == pin));
        candidates
    }

    /// Returns the collections that must be fresh for the read and have entries held on their way to an instance (rule
    /// R19).
    pub(super) fn held_copies(&self, board: &Board) -> Vec<CollectionId> {
        match (&self.target, self.consistency) {
            (Target::Collection(id), Consistency::Fresh) if board.holds_copies(*id) => vec![*id],
            (Target::Collections(scope), Consistency::Fresh) => {
                board.catalog().in_scope(scope).iter().filter(|id| board.holds_copies(**id)).copied().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns whether the instance denies something that the catalog has: it came back blank, or a deletion is on its
    /// way. Either way the answer is no verdict for the client (rule R2).
    pub fn denied(&self, edge: &Edge, status: u16) -> bool {
        let answered_from_content = match &self.operation {
            Operation::CatalogRead(_) => true,
            Operation::RecordRead { kind, .. } => {
                matches!(kind, RecordReadKind::Get | RecordReadKind::Query | RecordReadKind::Count)
            }
            _ => false,
        };
        if !matches!(status, 404 | 412) || !answered_from_content {
            return false;
        }
        match (&self.target, &self.rewrite) {
            (Target::Collection(_), _) => true,
            (_, Rewrite::Database(scope)) => edge.core.board().catalog().database(scope).is_some(),
            _ => false,
        }
    }

    /// Returns the answer to give if the collection has been deleted since the read was planned.
    pub(super) fn deleted(&self, board: &Board) -> Option<Failure> {
        let Target::Collection(id) = self.target else { return None };
        let answer = || match &self.operation {
            Operation::CatalogRead(CatalogRead::GetCollection { name, .. }) => ErrorBody::collection_not_found(name),
            _ => ErrorBody::collection_id_not_found(id),
        };
        board.catalog().get(id).is_none().then(|| Failure::Chroma(answer()))
    }

    /// Returns whether the outcome says something about the instance. A heartbeat does not: even an instance that
    /// answers nothing else answers heartbeats.
    pub(super) fn counts_for_breakers(&self) -> bool {
        self.target != Target::Anything
    }

    /// Returns the kind of call that the answer is classified for.
    pub fn call(&self) -> Call {
        match &self.target {
            Target::Collection(_) => Call::RecordRead,
            Target::Collections(_) | Target::Catalog | Target::Anything => Call::CatalogRead,
        }
    }

    /// Returns how to find the collection on an instance that has no route by id.
    fn lookup(&self, edge: &Edge, instance: InstanceId, asked: &Asked) -> Option<Lookup> {
        let (on_instance, collection) = asked.ids.filter(|_| self.rewrite == Rewrite::Collection)?;
        let route = edge.core.discovery().servers().by_id(instance);
        if route == ByIdRoute::Present {
            return None;
        }
        let board = edge.core.board();
        let known = board.catalog().get(collection)?;
        Some(Lookup::new(route, known.scope.clone(), on_instance, known.name.clone()))
    }

    /// Returns the path and ids to use on this instance.
    pub fn on(&self, edge: &Edge, instance: InstanceId) -> Asked {
        let Target::Collection(collection) = self.target else { return Asked { path: self.path.clone(), ids: None } };
        let mapping = edge.core.board().catalog().mapping_while_held(collection, instance);
        // Deleted everywhere since the instance was chosen: the clients' id means nothing there, so the answer is "not
        // found".
        let id = mapping.unwrap_or_else(|| InstanceCollectionId::new(collection.uuid()));
        let path = match &self.operation {
            // By id, so that neither a rename under way there nor a new collection of the same name matters.
            Operation::CatalogRead(CatalogRead::GetCollection { scope, .. }) => chroma::by_id_path(scope, id),
            _ => chroma::instance_path(&self.operation, &self.path, id),
        };
        Asked { path, ids: Some((id, collection)) }
    }
}
