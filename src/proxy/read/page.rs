//! Reads several collection objects at once, from a page of an instance's own list.
//!
//! Chroma lists collections in the order of its own ids. A collection keeps for life the id given by the instance that
//! created it. On that instance the list is therefore in the edge's order, and a page of it holds what the edge's page
//! lacks. Other collections in the page are ignored, and missing ones are read one by one ([`list`](super::list)).

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::attempt_span;
use super::object::Before;
use crate::chroma;
use crate::clock;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, Scope};
use crate::instance::{Outgoing, SendError};
use crate::order::{Board, Candidate, CandidateHealth, Consistency};
use crate::proxy::Edge;
use crate::proxy::failure::Failure;
use crate::web::RequestName;

/// The fewest collections that are worth a page. Fewer are read one by one.
pub(super) const FEW: usize = 3;
/// The most bytes of one page.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// The assumed size of a page, in MiB.
const WEIGHT: u32 = 8;
/// How long a page may take. A longer wait is not worth it: without a page, each object is read on its own.
const LONGEST: Duration = Duration::from_secs(2);

/// The collections to read: part of a list in the edge's order.
pub(super) struct Wanted<'a> {
    pub scope: &'a Scope,
    /// In the list's order, with their places in the whole list. They need not be adjacent.
    pub collections: &'a [(usize, CollectionId)],
    /// The most collections to ask for.
    pub limit: usize,
    pub consistency: Consistency,
    pub name: RequestName,
}

/// The outcome of reading a page.
pub(super) enum Page {
    Read(Found),
    /// The page was of no use, or no instance can be asked now. A later page may work.
    NotNow,
    /// The answer would have been too long.
    TooLong,
    /// No instance has these collections in the edge's order.
    NoOrder,
}

/// The objects found in a page.
pub(super) struct Found {
    pub objects: Vec<(CollectionId, Bytes)>,
    /// The number of collections asked for.
    pub asked: usize,
    pub bytes: usize,
}

/// Reads one page from the instance whose order fits.
///
/// # Errors
/// There is no room for the page.
pub(super) async fn read(edge: &Edge, wanted: &Wanted<'_>) -> Result<Page, Failure> {
    let Some((first, _)) = wanted.collections.first().copied() else { return Ok(Page::NotNow) };
    let within = wanted.collections.iter().take_while(|(place, _)| *place < first + wanted.limit);
    // A long object is read on its own, so the page ends before it.
    let short: Vec<_> = within.take_while(|(_, id)| !edge.objects.is_long(*id)).copied().collect();
    let ids: Vec<CollectionId> = short.iter().map(|(_, id)| *id).collect();
    let last = short.last().map_or(first, |(place, _)| *place);
    if ids.len() < FEW {
        return Ok(Page::NotNow);
    }
    let room = edge.objects.room(WEIGHT, edge.options().read_wait).await;
    let _room = room.ok_or_else(|| Failure::QueueTooSlow(edge.admission.overload()))?;
    let (instance, asked) = {
        let board = edge.core.board();
        let instance = match in_order(edge, &board, &ids, wanted.consistency) {
            Order::Of(instance) => instance,
            Order::OfNobodyNow => return Ok(Page::NotNow),
            Order::OfNobody => return Ok(Page::NoOrder),
        };
        let known = ids.iter().filter(|id| board.serves(**id, instance, wanted.consistency));
        let asked: HashMap<CollectionId, Before> =
            known.filter_map(|id| Some((*id, Before::of(edge, &board, *id)?))).collect();
        (instance, asked)
    };
    let path = format!("{}?limit={}&offset={first}", chroma::collections_path(wanted.scope), last - first + 1);
    let span = attempt_span::attempt(edge, &wanted.name, ("catalog_read", None), instance, 1);
    let headers = attempt_span::under(span.as_deref(), wanted.name).headers().collect();
    let outgoing = Outgoing { headers, ..Outgoing::get(path) };
    let deadline = edge.registry.timeouts().read;
    let sent = edge.client.send_idempotent_within(instance, &outgoing, deadline, PAGE_BYTES);
    // A slow answer is no evidence against the instance: it may be busy.
    let answer = timeout(LONGEST, sent).await;
    attempt_span::page_ended(span, answer.as_ref().ok());
    let Ok(answer) = answer else {
        edge.objects.note_slow(instance, clock::now());
        return Ok(Page::NotNow);
    };
    match answer {
        Ok(answer) if answer.status == 200 => Ok(found(edge, (ids.len(), &asked), instance, &answer.body)),
        Err(SendError::TooLong { .. }) => Ok(Page::TooLong),
        // Each object is then read on its own, and that outcome is judged.
        Ok(_) | Err(_) => Ok(Page::NotNow),
    }
}

/// Picks the wanted collections from the instance's answer.
fn found(
    edge: &Edge,
    (count, asked): (usize, &HashMap<CollectionId, Before>),
    instance: InstanceId,
    answer: &Bytes,
) -> Page {
    let board = edge.core.board();
    let id_of = |on_instance: InstanceCollectionId| {
        let known = board.catalog().by_id(on_instance.uuid())?;
        let is_asked = known.mappings[instance.0] == Some(on_instance) && asked.contains_key(&known.id);
        is_asked.then_some(known.id)
    };
    let Some(listed) = chroma::listed_collections(answer, id_of) else { return Page::NotNow };
    let mut found = Found { objects: Vec::with_capacity(listed.len()), asked: count, bytes: answer.len() };
    for (id, body) in listed {
        let body = Bytes::from(body);
        edge.objects.seen(id, body.len());
        if let Some(object) = asked.get(&id).and_then(|before| before.object(edge, &board, id, instance, body.clone()))
        {
            edge.objects.keep(id, object);
        }
        found.objects.push((id, body));
    }
    Page::Read(found)
}

/// The instance whose order fits.
enum Order {
    Of(InstanceId),
    /// Perhaps one that must not be asked now.
    OfNobodyNow,
    OfNobody,
}

/// Returns the instance that created and serves more than half of these collections.
fn in_order(edge: &Edge, board: &Board, ids: &[CollectionId], consistency: Consistency) -> Order {
    let fits = |instance: InstanceId| {
        let own = |id: &&CollectionId| {
            board.catalog().mapping(**id, instance).is_some_and(|own| own.uuid() == id.uuid())
                && board.serves(**id, instance, consistency)
        };
        ids.iter().filter(own).count()
    };
    let all = board.usable();
    let (total, now) = (all.len(), clock::now());
    // A page only saves requests, so instances that reads avoid are not asked for one.
    let sound = |one: &Candidate| {
        one.health == CandidateHealth::Sound
            && edge.registry.usable(one.instance)
            && !edge.objects.is_slow(one.instance, now)
            && !edge.registry.avoided(one.instance)
    };
    let asked: Vec<Candidate> = board.spared(None, all).into_iter().filter(sound).collect();
    // The first of equals, which is the preferred one.
    let best = asked
        .iter()
        .map(|one| (fits(one.instance), one.instance))
        .reduce(|best, other| if other.0 > best.0 { other } else { best });
    match best {
        Some((count, instance)) if count * 2 > ids.len() => Order::Of(instance),
        _ if asked.len() < total => Order::OfNobodyNow,
        _ => Order::OfNobody,
    }
}
