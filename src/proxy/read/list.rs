//! A list of collections: which ones it holds the catalog says, and each is a collection object.
//!
//! Objects that are kept cost the instances nothing; the others are read, a page at a time where an instance's own order
//! fits ([`page`](super::page)), else a few at a time. The list comes in portions, so that no more than one of them is in
//! memory, however long it is. How they are written is decided elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::join_all;
use tokio::time::timeout;

use super::object::{find, object, read_of};
use super::page::{self, FEW, Wanted};
use crate::chroma::Window;
use crate::ids::{CollectionId, Scope};
use crate::order::{Consistency, ObjectVersion};
use crate::proxy::Edge;
use crate::proxy::admit::AnswerMemory;
use crate::proxy::failure::Failure;
use crate::web::TraceId;

/// Collections that are looked at together: the board is locked meanwhile.
const CHUNK: usize = 256;
/// The first page that an instance is asked for; while its answers are short, the next ones are longer.
const FIRST_PAGE: usize = 16;
/// Objects that one list reads at the same time.
const AT_ONCE: usize = 4;
/// A portion is at least so long, unless it is the last one.
pub const PORTION: usize = 1024 * 1024;
/// An object from this size on is passed on without a copy.
const UNCOPIED: usize = 64 * 1024;

/// Which list.
#[derive(Clone, Debug)]
pub struct Listing {
    pub scope: Scope,
    pub window: Window,
    pub consistency: Consistency,
}

/// A list that is being read.
pub struct List {
    edge: Arc<Edge>,
    listing: Listing,
    trace: TraceId,
    ids: Vec<CollectionId>,
    /// The place of the next one in `ids`.
    at: usize,
    /// The length of the next page that an instance is asked for; 0: pages are of no use.
    page: usize,
    /// Objects at hand; `None`: the collection was deleted since.
    at_hand: HashMap<CollectionId, Option<Bytes>>,
    written: Written,
}

/// Whether the list has an item yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Nothing,
    Some,
}

/// A part of the answer.
pub struct Portion {
    pub pieces: Vec<Bytes>,
    pub rest: Rest,
    /// What the portion takes until it is written.
    pub memory: AnswerMemory,
}

/// Whether something follows a portion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    Follows,
    Nothing,
}

impl List {
    /// The list as it is now.
    pub fn new(edge: &Arc<Edge>, listing: Listing, trace: TraceId) -> List {
        let ids = listing.window.select(edge.core.board().catalog().listed(&listing.scope));
        List {
            edge: Arc::clone(edge),
            listing,
            trace,
            ids,
            at: 0,
            page: FIRST_PAGE,
            at_hand: HashMap::new(),
            written: Written::Nothing,
        }
    }

    /// The next portion. The last one says that nothing follows.
    ///
    /// # Errors
    /// What to answer if nothing has been written yet.
    pub async fn next(&mut self) -> Result<Portion, Failure> {
        let (mut pieces, mut length, mut short) = (Vec::new(), 0, BytesMut::new());
        if self.at == 0 {
            short.put_u8(b'[');
        }
        while let Some(id) = self.ids.get(self.at).copied() {
            if length + short.len() >= PORTION {
                break;
            }
            let Some(object) = self.at_hand.remove(&id) else {
                self.look().await?;
                continue;
            };
            self.at += 1;
            let Some(object) = object else { continue };
            if self.written == Written::Some {
                short.put_u8(b',');
            }
            self.written = Written::Some;
            if object.len() < UNCOPIED {
                short.put_slice(&object);
            } else {
                for piece in [short.split().freeze(), object] {
                    length += piece.len();
                    pieces.push(piece);
                }
            }
        }
        let rest = if self.at < self.ids.len() { Rest::Follows } else { Rest::Nothing };
        if rest == Rest::Nothing {
            short.put_u8(b']');
        }
        length += short.len();
        pieces.push(short.freeze());
        let memory = self.edge.admission.claim_for_answer(length).await?;
        Ok(Portion { pieces, rest, memory })
    }

    /// Has the next object at hand, and what else comes with it.
    async fn look(&mut self) -> Result<(), Failure> {
        let mut missing = self.look_here();
        if self.page > 0 && missing.len() >= FEW {
            let edge = Arc::clone(&self.edge);
            let turn = timeout(edge.options.read_wait, edge.objects.pages().acquire_owned()).await;
            let _turn = turn.ok().and_then(Result::ok).ok_or(Failure::QueueTooSlow)?;
            // Somebody else may have read them meanwhile.
            missing = self.look_here();
            if missing.len() >= FEW {
                self.read_page(&missing).await?;
            }
        }
        missing.retain(|(_, id)| !self.at_hand.contains_key(id));
        // One that is long is read alone, and the others when they are due.
        let next = missing.iter().map(|(_, id)| *id);
        let long = missing.first().is_some_and(|(_, id)| self.edge.objects.is_long(*id));
        let few: Vec<CollectionId> = next.take(if long { 1 } else { AT_ONCE }).collect();
        if self.ids.get(self.at).is_none_or(|id| self.at_hand.contains_key(id)) {
            return Ok(());
        }
        let read = join_all(few.iter().map(|id| self.read_one(*id))).await;
        for (id, object) in few.into_iter().zip(read) {
            self.at_hand.insert(id, object?);
        }
        Ok(())
    }

    /// Takes the next objects that are kept. Returns the ones that are not, with their places in the whole list.
    fn look_here(&mut self) -> Vec<(usize, CollectionId)> {
        let chunk = &self.ids[self.at..self.ids.len().min(self.at + CHUNK)];
        let unread: Vec<(usize, CollectionId)> = (self.at..).zip(chunk.iter().copied()).collect();
        let mut known: Vec<(usize, CollectionId, ObjectVersion)> = Vec::with_capacity(unread.len());
        {
            let board = self.edge.core.board();
            for (place, id) in unread {
                if self.at_hand.contains_key(&id) {
                    continue;
                }
                match board.object_version(id) {
                    Some(version) => known.push((place, id, version)),
                    None => drop(self.at_hand.insert(id, None)),
                }
            }
        }
        let found = find(&self.edge, known.iter().map(|(_, id, version)| (*id, *version)));
        let before = self.listing.window.offset();
        let mut missing = Vec::new();
        for ((place, id, _), kept) in known.into_iter().zip(found) {
            match kept {
                Some(object) => drop(self.at_hand.insert(id, Some(object.body))),
                None => missing.push((before + place, id)),
            }
        }
        missing
    }

    async fn read_page(&mut self, missing: &[(usize, CollectionId)]) -> Result<(), Failure> {
        let Listing { scope, consistency, .. } = &self.listing;
        let (limit, trace, consistency) = (self.page, self.trace, *consistency);
        let wanted = Wanted { scope, collections: missing, limit, consistency, trace };
        let page = page::read(&self.edge, &wanted).await?.unwrap_or_default();
        let asked = missing.iter().take_while(|(place, _)| *place < missing[0].0 + limit).count();
        self.page = next_page(limit, asked, page.found.len(), page.bytes);
        self.at_hand.extend(page.found.into_iter().map(|(id, body)| (id, Some(body))));
        Ok(())
    }

    /// One object; `None` if the collection has been deleted since.
    async fn read_one(&self, id: CollectionId) -> Result<Option<Bytes>, Failure> {
        let Some(read) = read_of(&self.edge, id, self.listing.consistency) else { return Ok(None) };
        match object(&self.edge, &read, self.trace).await {
            Ok(reply) if reply.status == 200 => Ok(Some(reply.body)),
            Err(Failure::Chroma(_)) => Ok(None),
            Ok(_) if self.edge.core.board().catalog().get(id).is_none() => Ok(None),
            Ok(_) => Err(Failure::InstancesFailed),
            Err(failure) => Err(failure),
        }
    }
}

/// The length of the next page after one of this length, in which so many collections were asked for and found.
fn next_page(limit: usize, asked: usize, found: usize, bytes: usize) -> usize {
    if found * 2 < asked {
        // The orders do not agree.
        return 0;
    }
    let longer = (limit * 4).min(CHUNK);
    if bytes.saturating_mul(longer / limit.max(1)) < PORTION { longer } else { limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_grow_while_they_are_short_and_end_where_orders_differ() {
        let kib = 1024;
        assert_eq!(next_page(16, 16, 16, 20 * kib), 64);
        assert_eq!(next_page(64, 64, 60, 80 * kib), CHUNK);
        assert_eq!(next_page(CHUNK, CHUNK, CHUNK, 300 * kib), CHUNK);
        assert_eq!(next_page(16, 16, 16, 300 * kib), 16, "four times as many would be too long");
        assert_eq!(next_page(16, 16, 7, 20 * kib), 0);
        assert_eq!(next_page(16, 16, 0, 0), 0);
    }
}
