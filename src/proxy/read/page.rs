//! Several collection objects at once, from a page of an instance's own list.
//!
//! Chroma lists collections by its own ids. A collection keeps for life the id that the instance gave it which created it, so
//! on that instance the list is in the edge's order, and a page of it holds what the edge's page lacks. What else is in the
//! page is ignored, and what is not in it is read one by one ([`list`](super::list)).

use std::collections::HashMap;

use bytes::Bytes;

use super::object::{Before, room};
use crate::chroma;
use crate::ids::{CollectionId, InstanceId, Scope};
use crate::instance::Outgoing;
use crate::order::{Board, Consistency};
use crate::proxy::Edge;
use crate::proxy::failure::Failure;
use crate::web::{TRACE_ID, TraceId};

/// Fewer are read one by one.
pub(super) const FEW: usize = 3;
/// The most bytes of one page.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// What a page is taken for, in MiB.
const WEIGHT: u32 = 8;

/// What is asked for: part of a list in the edge's order.
pub(super) struct Wanted<'a> {
    pub scope: &'a Scope,
    /// With their places in the whole list, in order, and not all next to each other.
    pub collections: &'a [(usize, CollectionId)],
    /// Collections to be asked for at most.
    pub limit: usize,
    pub consistency: Consistency,
    pub trace: TraceId,
}

/// What a page came to.
#[derive(Default)]
pub(super) struct Page {
    pub found: Vec<(CollectionId, Bytes)>,
    pub bytes: usize,
}

/// Reads one page from the instance whose order fits; `None` where none does, or its answer is of no use.
///
/// # Errors
/// There is no room for it.
pub(super) async fn read(edge: &Edge, wanted: &Wanted<'_>) -> Result<Option<Page>, Failure> {
    let Some((first, _)) = wanted.collections.first().copied() else { return Ok(None) };
    let within = wanted.collections.iter().take_while(|(place, _)| *place < first + wanted.limit);
    let ids: Vec<CollectionId> = within.clone().map(|(_, id)| *id).collect();
    let last = within.map(|(place, _)| *place).last().unwrap_or(first);
    if ids.len() < FEW || ids.iter().any(|id| edge.objects.is_long(*id)) {
        return Ok(None);
    }
    let _room = room(edge, WEIGHT).await?;
    let (instance, asked) = {
        let board = edge.core.board();
        let Some(instance) = in_order(edge, &board, &ids, wanted.consistency) else { return Ok(None) };
        let known = ids.iter().filter(|id| board.serves(**id, instance, wanted.consistency));
        let asked: HashMap<CollectionId, Before> =
            known.filter_map(|id| Some((*id, Before::of(edge, &board, *id)?))).collect();
        (instance, asked)
    };
    let path = format!("{}?limit={}&offset={first}", chroma::collections_path(wanted.scope), last - first + 1);
    let headers = vec![(TRACE_ID, wanted.trace.header())];
    let outgoing = Outgoing { headers, ..Outgoing::get(path) };
    let deadline = edge.registry.timeouts().read;
    let answer = edge.client.send_idempotent_within(instance, &outgoing, deadline, PAGE_BYTES).await;
    // Whatever it is: each object is then read for itself, and that is judged.
    let Some(answer) = answer.ok().filter(|answer| answer.status == 200) else { return Ok(None) };
    let board = edge.core.board();
    let id_of = |on_instance: crate::ids::InstanceCollectionId| {
        let known = board.catalog().by_id(on_instance.uuid())?;
        let is_asked = known.mappings[instance.0] == Some(on_instance) && asked.contains_key(&known.id);
        is_asked.then_some(known.id)
    };
    let Some(listed) = chroma::listed_collections(&answer.body, id_of) else { return Ok(None) };
    let mut page = Page { found: Vec::with_capacity(listed.len()), bytes: answer.body.len() };
    for (id, body) in listed {
        let body = Bytes::from(body);
        edge.objects.seen(id, body.len());
        if let Some(object) = asked.get(&id).and_then(|before| before.object(edge, &board, id, instance, body.clone()))
        {
            edge.objects.keep(id, object);
        }
        page.found.push((id, body));
    }
    Ok(Some(page))
}

/// The instance that created most of these collections and serves them, if it is most of them.
fn in_order(edge: &Edge, board: &Board, ids: &[CollectionId], consistency: Consistency) -> Option<InstanceId> {
    let fits = |instance: InstanceId| {
        let own = |id: &&CollectionId| {
            board.catalog().mapping(**id, instance).is_some_and(|own| own.uuid() == id.uuid())
                && board.serves(**id, instance, consistency)
        };
        ids.iter().filter(own).count()
    };
    let usable = board.usable().into_iter().map(|candidate| candidate.instance);
    let counted = usable.filter(|one| edge.registry.usable(*one)).map(|one| (fits(one), one));
    // The first of equals: the preferred one.
    let best = counted.reduce(|best, other| if other.0 > best.0 { other } else { best });
    best.filter(|(count, _)| count * 2 > ids.len()).map(|(_, instance)| instance)
}
