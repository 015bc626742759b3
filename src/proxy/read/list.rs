//! A list of collections: the catalog decides which ones it contains, and each item is a collection object.
//!
//! Kept objects cost the instances nothing. The others are read: a page at a time where an instance's own order fits
//! ([`page`](super::page)), otherwise a few at a time. The list is read in portions, so that memory holds little more
//! than one portion, however long the list is; that memory is claimed. How portions are written is decided elsewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::join_all;
use tokio::time::timeout;

use super::object::{find, object, read_of};
use super::page::{self, FEW, Page, Wanted};
use crate::auth::Grants;
use crate::chroma::Window;
use crate::ids::{CollectionId, Scope};
use crate::order::{Consistency, ObjectVersion};
use crate::proxy::Edge;
use crate::proxy::admit::AnswerMemory;
use crate::proxy::failure::Failure;
use crate::proxy::known::visible;
use crate::proxy::outlet::Rest;
use crate::web::RequestName;

/// How many collections are looked up together; the board is locked meanwhile.
const CHUNK: usize = 256;
/// The length of the first page. While an instance's answers are short, the next pages are longer.
const FIRST_PAGE: usize = 16;
/// How many collections are read one by one after a page that was of no use.
const APART: usize = FIRST_PAGE;
/// How long a list waits for its turn to read a page before it reads objects one by one.
const TURN: Duration = Duration::from_secs(1);
/// How many objects one list reads at the same time.
const AT_ONCE: usize = 4;
/// The least length of a portion, except for the last one.
pub const PORTION: usize = 1024 * 1024;
/// The assumed size of an object before it is at hand.
const USUAL: usize = 4 * 1024;
/// From this size on, an object is passed on without a copy.
const UNCOPIED: usize = 64 * 1024;

/// The list that a request asks for.
#[derive(Clone, Debug)]
pub struct Listing {
    pub scope: Scope,
    pub window: Window,
    pub consistency: Consistency,
    /// Collections outside these grants are not listed.
    pub grants: Arc<Grants>,
}

/// A list that is being read.
pub struct List {
    edge: Arc<Edge>,
    listing: Listing,
    name: RequestName,
    ids: Vec<CollectionId>,
    /// The index in `ids` of the next collection.
    at: usize,
    /// The length of the next page to ask an instance for; 0 if pages are of no use.
    page: usize,
    /// The index from which on a page is worth another try.
    page_from: usize,
    at_hand: AtHand,
    written: Written,
    /// Covers the portion that is being put together or written, and the objects at hand.
    memory: AnswerMemory,
}

/// Objects that are not in a portion so far.
#[derive(Default)]
struct AtHand {
    /// `None` if the collection has been deleted.
    objects: HashMap<CollectionId, Option<Bytes>>,
    bytes: usize,
}

impl AtHand {
    fn has(&self, id: CollectionId) -> bool {
        self.objects.contains_key(&id)
    }

    fn put(&mut self, id: CollectionId, object: Option<Bytes>) {
        self.take(id);
        self.bytes += object.as_ref().map_or(0, Bytes::len);
        self.objects.insert(id, object);
    }

    fn take(&mut self, id: CollectionId) -> Option<Option<Bytes>> {
        let taken = self.objects.remove(&id)?;
        self.bytes -= taken.as_ref().map_or(0, Bytes::len);
        Some(taken)
    }
}

/// Whether the list has an item so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Nothing,
    Some,
}

/// A part of the answer.
pub struct Portion {
    pub pieces: Vec<Bytes>,
    pub rest: Rest,
}

/// A portion that is being put together.
#[derive(Default)]
struct Draft {
    pieces: Vec<Bytes>,
    /// The length of the pieces.
    length: usize,
    /// Small objects that follow the pieces.
    short: BytesMut,
    items: usize,
}

impl Draft {
    fn bytes(&self) -> usize {
        self.length + self.short.len()
    }

    fn add(&mut self, object: Bytes) {
        self.items += 1;
        if object.len() < UNCOPIED {
            self.short.put_slice(&object);
            return;
        }
        for piece in [self.short.split().freeze(), object] {
            self.length += piece.len();
            self.pieces.push(piece);
        }
    }

    fn finished(mut self, rest: Rest) -> Portion {
        if !self.short.is_empty() {
            self.pieces.push(self.short.freeze());
        }
        Portion { pieces: self.pieces, rest }
    }
}

impl List {
    /// The list as the catalog has it now.
    pub fn new(edge: &Arc<Edge>, listing: Listing, name: RequestName) -> List {
        let ids = {
            let board = edge.core.board();
            listing.window.select(visible(board.catalog(), &listing.scope, &listing.grants))
        };
        // An instance's pages hold other collections, too.
        let page = if listing.grants.has_whole_databases() { FIRST_PAGE } else { 0 };
        List {
            edge: Arc::clone(edge),
            listing,
            name,
            ids,
            at: 0,
            page,
            page_from: 0,
            at_hand: AtHand::default(),
            written: Written::Nothing,
            memory: AnswerMemory::default(),
        }
    }

    /// Returns the memory that covers the last portion.
    pub fn into_memory(self) -> AnswerMemory {
        self.memory
    }

    /// Returns the next portion. Call it when the previous one has been written. The last portion's `rest` is
    /// `Nothing`.
    ///
    /// # Errors
    /// The failure to answer with if nothing has been written.
    pub async fn next(&mut self) -> Result<Portion, Failure> {
        let mut draft = Draft::default();
        self.memory.shrink(self.at_hand.bytes);
        self.claim(self.ids.len().saturating_sub(self.at).saturating_mul(USUAL).min(PORTION)).await?;
        if self.at == 0 {
            draft.short.put_u8(b'[');
        }
        while let Some(id) = self.ids.get(self.at).copied() {
            if draft.bytes() >= PORTION {
                break;
            }
            let Some(object) = self.at_hand.take(id) else {
                let long = self.edge.objects.long(id).unwrap_or(0);
                // A long object begins a portion, so that no draft is held while the list waits for room.
                if draft.items > 0 && draft.bytes() + long >= PORTION {
                    break;
                }
                self.claim(draft.bytes() + long).await?;
                self.look(draft.bytes()).await?;
                self.claim(draft.bytes()).await?;
                continue;
            };
            self.at += 1;
            let Some(object) = object else {
                self.fill_up();
                continue;
            };
            if self.written == Written::Some {
                draft.short.put_u8(b',');
            }
            self.written = Written::Some;
            draft.add(object);
        }
        let rest = if self.at < self.ids.len() { Rest::Follows } else { Rest::Nothing };
        if rest == Rest::Nothing {
            draft.short.put_u8(b']');
        }
        self.claim(draft.bytes()).await?;
        self.memory.shrink(draft.bytes() + self.at_hand.bytes);
        Ok(draft.finished(rest))
    }

    /// Replaces a collection that has been deleted by the one that follows the page, so that no page is short while
    /// more collections follow.
    fn fill_up(&mut self) {
        if self.listing.window.limit.is_none() {
            return;
        }
        let Some(last) = self.ids.last().copied() else { return };
        let Listing { scope, grants, .. } = &self.listing;
        let next = visible(self.edge.core.board().catalog(), scope, grants).find(|id| *id > last);
        self.ids.extend(next);
    }

    /// Claims memory for the objects at hand and this many bytes.
    async fn claim(&mut self, bytes: usize) -> Result<(), Failure> {
        self.edge.admission.grow_for_answer(&mut self.memory, bytes + self.at_hand.bytes).await
    }

    /// Gets the next object, and any others that come with it, while the draft holds `drafted` bytes.
    async fn look(&mut self, drafted: usize) -> Result<(), Failure> {
        let mut missing = self.look_here(drafted);
        if self.wants_page(missing.len()) {
            let edge = Arc::clone(&self.edge);
            let turn = timeout(TURN.min(edge.options().read_wait), edge.objects.pages().acquire_owned()).await;
            // Another request may have read them meanwhile.
            missing = self.look_here(drafted);
            match turn {
                Ok(Ok(_turn)) if self.wants_page(missing.len()) => self.read_page(&missing).await?,
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => self.page_from = self.at + APART,
            }
        }
        if self.has_next() {
            return Ok(());
        }
        // A long object is read alone. The objects before it are read without it.
        let missing = missing.iter().map(|(_, id)| *id).filter(|id| !self.at_hand.has(*id)).take(AT_ONCE);
        let long = |id: &CollectionId| self.edge.objects.is_long(*id);
        let mut few: Vec<CollectionId> = missing.collect();
        let together = if few.first().is_some_and(long) { 1 } else { few.iter().take_while(|id| !long(id)).count() };
        few.truncate(together);
        let read = join_all(few.iter().map(|id| self.read_one(*id))).await;
        for (id, object) in few.into_iter().zip(read) {
            self.at_hand.put(id, object?);
        }
        Ok(())
    }

    fn wants_page(&self, missing: usize) -> bool {
        self.page > 0 && self.at >= self.page_from && missing >= FEW && !self.has_next()
    }

    fn has_next(&self) -> bool {
        self.ids.get(self.at).is_none_or(|id| self.at_hand.has(*id))
    }

    /// Takes the next kept objects, no more than a portion can use. Returns those that are not kept, with their places
    /// in the whole list.
    fn look_here(&mut self, drafted: usize) -> Vec<(usize, CollectionId)> {
        let chunk = &self.ids[self.at..self.ids.len().min(self.at + CHUNK)];
        let unread: Vec<(usize, CollectionId)> = (self.at..).zip(chunk.iter().copied()).collect();
        let mut known: Vec<(usize, CollectionId, ObjectVersion)> = Vec::with_capacity(unread.len());
        {
            let board = self.edge.core.board();
            for (place, id) in unread {
                if self.at_hand.has(id) {
                    continue;
                }
                match board.object_version(id) {
                    Some(version) => known.push((place, id, version)),
                    None => self.at_hand.put(id, None),
                }
            }
        }
        let most = PORTION.saturating_sub(drafted + self.at_hand.bytes);
        let found = find(&self.edge, known.iter().map(|(_, id, version)| (*id, *version)), most);
        let before = self.listing.window.offset();
        let mut missing = Vec::new();
        for ((place, id, _), kept) in known.into_iter().zip(found) {
            match kept {
                Some(object) => self.at_hand.put(id, Some(object.body)),
                None => missing.push((before + place, id)),
            }
        }
        missing
    }

    async fn read_page(&mut self, missing: &[(usize, CollectionId)]) -> Result<(), Failure> {
        let Listing { scope, consistency, .. } = &self.listing;
        let (limit, name, consistency) = (self.page, self.name, *consistency);
        let wanted = Wanted { scope, collections: missing, limit, consistency, name };
        match page::read(&self.edge, &wanted).await? {
            Page::Read(found) => {
                self.page = next_page(limit, found.asked, found.objects.len(), found.bytes);
                found.objects.into_iter().for_each(|(id, body)| self.at_hand.put(id, Some(body)));
            }
            Page::NotNow => self.page_from = self.at + APART,
            Page::TooLong => (self.page, self.page_from) = (FIRST_PAGE, self.at + APART),
            Page::NoOrder => self.page = 0,
        }
        Ok(())
    }

    /// Reads one object; `None` if the collection has been deleted.
    async fn read_one(&self, id: CollectionId) -> Result<Option<Bytes>, Failure> {
        let Some(read) = read_of(&self.edge, id, self.listing.consistency) else { return Ok(None) };
        match object(&self.edge, &read, self.name).await {
            Ok(reply) if reply.status == 200 => Ok(Some(reply.body)),
            Err(Failure::Chroma(_)) => Ok(None),
            Ok(_) if self.edge.core.board().catalog().get(id).is_none() => Ok(None),
            Ok(_) => Err(Failure::InstancesFailed),
            Err(failure) => Err(failure),
        }
    }
}

/// Returns the length of the next page. The last page had length `limit`; `asked` collections were wanted and `found`
/// were in it.
fn next_page(limit: usize, asked: usize, found: usize, bytes: usize) -> usize {
    if found * 2 < asked {
        // The instance's order differs from the edge's.
        return 0;
    }
    let longer = (limit * 4).min(CHUNK);
    if bytes.saturating_mul(longer / limit.max(1)) < PORTION { longer } else { limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_hand_and_in_a_draft_is_counted() {
        let (one, two) = (CollectionId::new(uuid::Uuid::from_u128(1)), CollectionId::new(uuid::Uuid::from_u128(2)));
        let object = |bytes| Bytes::from(vec![b'x'; bytes]);
        let mut at_hand = AtHand::default();
        at_hand.put(one, Some(object(10)));
        at_hand.put(one, Some(object(30)));
        at_hand.put(two, None);
        assert_eq!((at_hand.bytes, at_hand.has(two), at_hand.take(two)), (30, true, Some(None)));
        let taken = at_hand.take(one).flatten().map(|object| object.len());
        assert_eq!((taken, at_hand.bytes, at_hand.take(one)), (Some(30), 0, None));
        let mut draft = Draft::default();
        [10, UNCOPIED, 20, UNCOPIED + 1].into_iter().for_each(|bytes| draft.add(object(bytes)));
        assert_eq!(draft.bytes(), 2 * UNCOPIED + 31);
        let pieces: Vec<usize> = draft.finished(Rest::Nothing).pieces.iter().map(Bytes::len).collect();
        assert_eq!(pieces, [10, UNCOPIED, 20, UNCOPIED + 1]);
    }

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
