//! Reads one collection object: a kept one, one that another request is reading now, or one from an instance.
//!
//! What is kept, and for how long, is decided by [`objects`](crate::proxy::objects) and the board; where a read goes
//! and what an answer means, by [`fetch`].

use bytes::Bytes;
use tokio::time::timeout;

use super::choose::Attempts;
use super::fetch::fetch;
use super::request::ReadRequest;
use super::{Read, Rewrite, Target};
use crate::chroma::{self, CatalogRead, ErrorBody, Operation};
use crate::clock;
use crate::ids::{CollectionId, InstanceId};
use crate::instance::Generation;
use crate::order::{Board, Consistency, ObjectVersion};
use crate::proxy::Edge;
use crate::proxy::failure::Failure;
use crate::proxy::objects::{Object, Turn};
use crate::web::{INSTANCE, Reply, RequestName};

/// What is known of an object before it is read.
pub(super) struct Before {
    pub version: ObjectVersion,
    /// The instances that show this version, whatever else is under way.
    shown_by: Vec<(InstanceId, Generation)>,
}

impl Before {
    /// Returns `None` if there is no such collection.
    pub fn of(edge: &Edge, board: &Board, collection: CollectionId) -> Option<Before> {
        let version = board.object_version(collection)?;
        let shows = |instance: &InstanceId| board.shows_version(collection, *instance);
        let shown_by = edge.registry.ids().filter(shows).map(|one| (one, edge.registry.generation(one))).collect();
        Some(Before { version, shown_by })
    }

    /// Returns the object that was read from this instance if others may have it: nothing can have changed it
    /// meanwhile.
    pub fn object(
        &self,
        edge: &Edge,
        board: &Board,
        collection: CollectionId,
        instance: InstanceId,
        body: Bytes,
    ) -> Option<Object> {
        let source = (instance, edge.registry.generation(instance));
        let is_true = self.shown_by.contains(&source)
            && board.object_version(collection) == Some(self.version)
            && board.shows_version(collection, instance);
        is_true.then_some(Object { body, source, version: self.version })
    }
}

/// Returns the kept objects of these versions, in the same order, up to `most` bytes.
pub(super) fn find(
    edge: &Edge,
    wanted: impl ExactSizeIterator<Item = (CollectionId, ObjectVersion)>,
    most: usize,
) -> Vec<Option<Object>> {
    // Without the lease, another edge may have made changes that this one does not know of.
    if edge.core.lease().check().is_err() {
        return vec![None; wanted.len()];
    }
    let generations: Vec<Generation> = edge.registry.ids().map(|one| edge.registry.generation(one)).collect();
    edge.objects.find(wanted, &generations, most)
}

/// Returns a collection as `GET` shows it.
///
/// # Errors
/// The failure to answer with when there is no such collection, or no instance gave an answer that can be passed on.
pub async fn show(edge: &Edge, collection: CollectionId, name: RequestName) -> Result<Reply, Failure> {
    match read_of(edge, collection, Consistency::Fresh) {
        Some(read) => object(edge, &read, name).await,
        None => Err(Failure::Chroma(ErrorBody::collection_id_not_found(collection))),
    }
}

/// Returns the read of one collection object; `None` if there is no such collection.
pub(super) fn read_of(edge: &Edge, collection: CollectionId, consistency: Consistency) -> Option<Read> {
    let board = edge.core.board();
    let known = board.catalog().get(collection)?;
    let (scope, name) = (known.scope.clone(), known.name.clone());
    let operation = Operation::CatalogRead(CatalogRead::GetCollection { scope, name });
    let (target, rewrite) = (Target::Collection(collection), Rewrite::Collection);
    Some(Read { target, rewrite, consistency, ..Read::of(operation) })
}

/// Returns the answer to a read of one collection object.
///
/// # Errors
/// As [`show`].
pub async fn object(edge: &Edge, read: &Read, name: RequestName) -> Result<Reply, Failure> {
    let Target::Collection(collection) = read.target else {
        return fetch(edge, read, &ReadRequest::get(name), Attempts::default()).await;
    };
    let before = {
        let board = edge.core.board();
        match read.deleted(&board) {
            Some(deleted) => return Err(deleted),
            None => Before::of(edge, &board, collection),
        }
    };
    let Some(before) = before else {
        return Err(Failure::Chroma(ErrorBody::collection_id_not_found(collection)));
    };
    if let Some(kept) = find(edge, [(collection, before.version)].into_iter(), usize::MAX).pop().flatten() {
        return Ok(shown(edge, &kept));
    }
    let mut flight = None;
    if !before.shown_by.is_empty() {
        match edge.objects.take(collection, before.version) {
            Turn::First(first) => flight = Some(first),
            Turn::Behind(mut behind) => {
                let landed = timeout(edge.options().read_wait, behind.wait_for(Option::is_some)).await;
                let landed = landed.ok().and_then(|read| read.ok().and_then(|object| object.clone()));
                if let Some(object) = landed {
                    return Ok(shown(edge, &object));
                }
            }
        }
    }
    let request = ReadRequest::object(name, edge.objects.weight(collection));
    let now = clock::now();
    let slow = edge.registry.ids().find(|one| edge.objects.is_slow(*one, now));
    let reply = fetch(edge, read, &request, Attempts::avoiding(slow)).await?;
    if reply.status == 200 && chroma::is_collection(&reply.body, collection) {
        edge.objects.seen(collection, reply.body.len());
        let from = reply.headers.get(INSTANCE).and_then(|name| edge.registry.id_of(name.to_str().ok()?));
        let object = from.and_then(|from| {
            let board = edge.core.board();
            before.object(edge, &board, collection, from, reply.body.clone())
        });
        if let Some(object) = object {
            edge.objects.keep(collection, object.clone());
            if let Some(flight) = flight {
                flight.land(object);
            }
        }
    }
    Ok(reply)
}

fn shown(edge: &Edge, object: &Object) -> Reply {
    Reply::json(200, object.body.clone()).with(INSTANCE, edge.registry.name(object.source.0).as_str())
}
