//! Where a read may go, and how it gets there (rule R5).
//!
//! Most reads are passed on by Pingora. What Pingora cannot send twice, and what one instance alone cannot answer, is
//! read whole and executed by the edge, like a write but without the journal.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::time::timeout_at;
use uuid::Uuid;

use super::Edge;
use super::failure::Failure;
use super::prepare::resolve;
use super::respond::{INSTANCE, Reply};
use crate::chroma::{
    self, Call, CatalogRead, Class, ErrorBody, Operation, Page, RecordReadKind, RequestLimits, Window,
};
use crate::clock;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, Scope};
use crate::instance::{Answer, Outgoing, SendError};
use crate::order::{Board, Candidate, Consistency, Preference, choose};

/// The header that relaxes or restores freshness for one read.
const CONSISTENCY: &str = "chroma-edge-consistency";
/// The header that pins a read to one instance, for verification.
const PIN: &str = "chroma-edge-instance";
/// Attempts of one read, however few instances there are: a passing error (`Error finding id`) is tried again.
pub const ATTEMPTS: usize = 4;
/// The pause before the second attempt at an instance that has failed; before the third it is twice as long, and so on.
const AGAIN: Duration = Duration::from_millis(100);

/// What must be fresh where a read goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Collection(CollectionId),
    /// The collections of a database, all of them.
    Collections(Scope),
    Catalog,
    /// Nothing: any instance will do.
    Anything,
}

/// How an instance's answer becomes the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Only ids in error texts.
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
    /// Path and query as the client sent them, the page of a list left out.
    path: String,
}

/// A read as one instance is asked it.
pub struct Asked {
    /// Path and query.
    pub path: String,
    /// The id of the read's collection in the path, and the one that clients know. They are kept for the answer: when that
    /// comes, the catalog may know neither any more.
    pub ids: Option<(InstanceCollectionId, CollectionId)>,
}

/// What becomes of a read request.
pub enum Plan {
    Pass(Read),
    /// The edge knows the answer.
    Answer(Reply),
}

/// Plans a read.
pub fn plan(edge: &Edge, operation: Operation, path: &str, headers: &HeaderMap) -> Result<Plan, Failure> {
    let consistency = consistency(edge, headers)?;
    let pin = pin(edge, headers)?;
    let mut read = Read {
        operation,
        target: Target::Anything,
        rewrite: Rewrite::Nothing,
        consistency,
        pin,
        path: path.to_owned(),
    };
    let board = edge.core.board();
    let catalog = board.catalog();
    match &read.operation {
        Operation::RecordRead { collection, scope, .. } => {
            read.target = Target::Collection(resolve(catalog, collection, scope)?);
            read.rewrite = Rewrite::ErrorText;
        }
        Operation::CatalogRead(CatalogRead::GetCollection { scope, name }) => {
            if let Some(found) = catalog.by_name(scope, name) {
                read.target = Target::Collection(found.id);
                read.rewrite = Rewrite::Collection;
            } else {
                return Err(Failure::Chroma(ErrorBody::collection_not_found(name)));
            }
        }
        Operation::CatalogRead(CatalogRead::GetCollectionById { scope, collection }) => {
            let found = resolve(catalog, collection, scope).map_err(|_| match collection.as_id() {
                Some(id) => Failure::Chroma(ErrorBody::collection_not_found(&id.to_string())),
                None => Failure::Chroma(ErrorBody::bad_collection_id_by_id()),
            });
            read.target = Target::Collection(found?);
            read.rewrite = Rewrite::Collection;
        }
        Operation::CatalogRead(CatalogRead::CountCollections { scope }) => {
            if pin.is_none() {
                let count = catalog.in_scope(scope).len();
                return Ok(Plan::Answer(Reply::json(200, count.to_string())));
            }
            read.target = Target::Catalog;
        }
        Operation::CatalogRead(CatalogRead::ListCollections { scope, page: Page::Window(window) }) => {
            read.path = chroma::strip_page(path);
            read.target = Target::Collections(scope.clone());
            read.rewrite = Rewrite::CollectionList(*window);
        }
        // Never from an instance that may lack them.
        Operation::CatalogRead(CatalogRead::GetTenant { tenant }) if pin.is_none() && catalog.has_tenant(tenant) => {
            return Ok(Plan::Answer(tenant_shown(tenant)));
        }
        Operation::CatalogRead(CatalogRead::GetDatabase { scope })
            if pin.is_none() && catalog.database(scope).is_some() =>
        {
            let id = catalog.database(scope).unwrap_or_default();
            return Ok(Plan::Answer(Reply::json(200, database_shown(scope, id).to_string())));
        }
        Operation::CatalogRead(CatalogRead::ListDatabases { tenant, page: Page::Window(window) }) if pin.is_none() => {
            let known = catalog.databases_of(tenant).map(|(scope, id)| database_shown(scope, id));
            return Ok(Plan::Answer(Reply::json(200, Value::from(window.select(known)).to_string())));
        }
        Operation::CatalogRead(CatalogRead::ListDatabases { tenant, page: Page::Window(window) }) => {
            read.path = chroma::strip_page(path);
            read.target = Target::Catalog;
            read.rewrite = Rewrite::DatabaseList(tenant.clone(), *window);
        }
        Operation::CatalogRead(CatalogRead::GetDatabase { scope }) => {
            read.target = Target::Catalog;
            read.rewrite = Rewrite::Database(scope.clone());
        }
        Operation::CatalogRead(CatalogRead::GetTenant { .. }) => read.target = Target::Catalog,
        // A page that Chroma refuses, and everything that has nothing to do with collections.
        _ => {}
    }
    drop(board);
    Ok(Plan::Pass(read))
}

/// As Chroma shows it.
fn tenant_shown(tenant: &str) -> Reply {
    Reply::json(200, json!({ "name": tenant, "resource_name": null }).to_string())
}

fn database_shown(scope: &Scope, id: Uuid) -> Value {
    json!({ "id": id, "name": scope.database, "tenant": scope.tenant })
}

fn consistency(edge: &Edge, headers: &HeaderMap) -> Result<Consistency, Failure> {
    match headers.get(CONSISTENCY).map(|value| value.as_bytes().to_ascii_lowercase()) {
        None => Ok(edge.options.consistency),
        Some(value) if value == b"any" => Ok(Consistency::Any),
        Some(value) if value == b"fresh" => Ok(Consistency::Fresh),
        Some(_) => Err(Failure::BadConsistency),
    }
}

fn pin(edge: &Edge, headers: &HeaderMap) -> Result<Option<InstanceId>, Failure> {
    let Some(value) = headers.get(PIN) else { return Ok(None) };
    let name = value.to_str().unwrap_or_default();
    edge.registry.id_of(name).map(Some).ok_or_else(|| Failure::UnknownInstance(name.to_owned()))
}

impl Read {
    /// The instances that may serve it now.
    fn candidates(&self, board: &Board) -> Vec<Candidate> {
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
        if let Some(pin) = self.pin {
            candidates.retain(|candidate| candidate.instance == pin);
        }
        candidates
    }

    /// Whether a 500 may be a passing one: not for what a single node always answers so.
    pub fn may_repeat(&self) -> bool {
        self.rewrite == Rewrite::Collection
            || matches!(
                self.operation,
                Operation::CatalogRead(_)
                    | Operation::RecordRead {
                        kind: RecordReadKind::Get | RecordReadKind::Query | RecordReadKind::Count,
                        ..
                    }
            )
    }

    /// Whether the instance denies what the catalog says it has: it came back blank, or a deletion is on its way. No
    /// verdict for the client, either way (rule R2).
    pub fn denied(&self, edge: &Edge, status: u16) -> bool {
        if !matches!(status, 404 | 412) || !self.may_repeat() {
            return false;
        }
        match (&self.target, &self.rewrite) {
            (Target::Collection(_), _) => true,
            (_, Rewrite::Database(scope)) => edge.core.board().catalog().database(scope).is_some(),
            _ => false,
        }
    }

    /// The answer if its collection has been deleted since the read was planned.
    fn deleted(&self, board: &Board) -> Option<Failure> {
        let Target::Collection(id) = self.target else { return None };
        let answer = || match &self.operation {
            Operation::CatalogRead(CatalogRead::GetCollection { name, .. }) => ErrorBody::collection_not_found(name),
            _ => ErrorBody::collection_id_not_found(id),
        };
        board.catalog().get(id).is_none().then(|| Failure::Chroma(answer()))
    }

    /// What is asked of this instance.
    pub fn on(&self, edge: &Edge, instance: InstanceId) -> Asked {
        let Target::Collection(collection) = self.target else { return Asked { path: self.path.clone(), ids: None } };
        let mapping = edge.core.board().catalog().mapping_while_held(collection, instance);
        // Deleted everywhere since the instance was chosen: under an id that means nothing there it is not found.
        let id = mapping.unwrap_or_else(|| InstanceCollectionId::new(collection.uuid()));
        let path = match &self.operation {
            // By id: a rename that is under way there does not matter, nor does a new collection of this name.
            Operation::CatalogRead(CatalogRead::GetCollection { scope, .. }) => chroma::by_id_path(scope, id),
            _ => chroma::instance_path(&self.operation, &self.path, id),
        };
        Asked { path, ids: Some((id, collection)) }
    }
}

/// Chooses an instance for the next attempt; waits for a fresh one, for as long as a read waits.
///
/// `unfit`: those that denied what they should have. They are asked again only by later reads, when they have been
/// looked at.
pub async fn next(edge: &Edge, read: &Read, tried: &[InstanceId], unfit: &[InstanceId]) -> Result<InstanceId, Failure> {
    let now = clock::now();
    let deadline = now + edge.options.read_wait;
    let again_at = (now + AGAIN * u32::try_from(tried.len()).unwrap_or(u32::MAX)).min(deadline);
    let mut changes = edge.core.changes();
    loop {
        changes.mark_unchanged();
        let (candidates, any_usable) = {
            let board = edge.core.board();
            if let Some(deleted) = read.deleted(&board) {
                return Err(deleted);
            }
            let mut candidates = read.candidates(&board);
            candidates.retain(|candidate| !unfit.contains(&candidate.instance));
            // The registry knows first: the board hears of a departure a moment later.
            candidates.retain(|candidate| edge.registry.usable(candidate.instance));
            (candidates, edge.registry.ids().any(|instance| edge.registry.usable(instance)))
        };
        let untried: Vec<Candidate> =
            candidates.iter().filter(|candidate| !tried.contains(&candidate.instance)).copied().collect();
        if !untried.is_empty() {
            return Ok(pick(edge, untried));
        }
        // What has failed is tried again where it failed, but not at once: meanwhile another instance may become fresh, or
        // the probes may say that this one is gone.
        let may_repeat = !candidates.is_empty() && tried.len() < ATTEMPTS;
        if may_repeat && clock::now() >= again_at {
            return Ok(pick(edge, candidates));
        }
        let until = if may_repeat { again_at } else { deadline };
        let given_up = tried.len() >= ATTEMPTS || timeout_at(until.into(), changes.changed()).await.is_err();
        if given_up && !may_repeat {
            return Err(if any_usable { Failure::NoFreshInstance } else { Failure::NoInstance });
        }
    }
}

fn pick(edge: &Edge, mut candidates: Vec<Candidate>) -> InstanceId {
    for candidate in &mut candidates {
        candidate.in_flight = edge.registry.in_flight(candidate.instance);
    }
    let preference = match replica_turn(edge.reads.fetch_add(1, Ordering::Relaxed), edge.options.replica_ratio) {
        true => Preference::Replicas,
        false => Preference::Configured,
    };
    let best = choose(&candidates, preference);
    edge.health.select(&best).or(best.first().copied()).unwrap_or(candidates[0].instance)
}

/// Whether the n-th read goes to a replica: evenly spread, and exactly the ratio in the long run.
#[allow(clippy::cast_precision_loss, reason = "a counter beyond 2^53 reads only makes the spread less even")]
fn replica_turn(n: u64, ratio: f64) -> bool {
    ((n + 1) as f64 * ratio).floor() > (n as f64 * ratio).floor()
}

/// The whole answer of a read that is executed by the edge itself.
pub async fn fetch(
    edge: &Edge,
    read: &Read,
    method: Method,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Reply, Failure> {
    let (mut tried, mut unfit) = (Vec::new(), Vec::new());
    loop {
        let instance = next(edge, read, &tried, &unfit).await?;
        tried.push(instance);
        let last_chance = tried.len() >= ATTEMPTS;
        let Asked { path, ids } = read.on(edge, instance);
        match send(edge, path, instance, &method, headers, &body).await {
            Ok(answer) if read.denied(edge, answer.status) => {
                edge.core.doubt_contents(instance);
                unfit.push(instance);
            }
            Ok(answer) => {
                let class = chroma::classify(Call::RecordRead, answer.status, &answer.body);
                let passing = matches!(class, Class::Transient | Class::Failed | Class::Broken | Class::Unfit);
                if !passing || last_chance {
                    return Ok(super::rewrite::whole(edge, read, instance, ids, answer));
                }
            }
            Err(error) if last_chance => {
                tracing::warn!(%error, "a read failed on every instance");
                return Err(Failure::InstancesFailed);
            }
            Err(_) => {}
        }
    }
}

async fn send(
    edge: &Edge,
    path: String,
    instance: InstanceId,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Answer, SendError> {
    let passed: Vec<(HeaderName, HeaderValue)> =
        headers.get(CONTENT_TYPE).map(|value| (CONTENT_TYPE, value.clone())).into_iter().collect();
    let outgoing = Outgoing { method: method.clone(), path, headers: passed, body: body.clone() };
    edge.client.send_idempotent(instance, &outgoing, edge.registry.timeouts().read).await
}

/// A collection as `GET` shows it.
pub async fn show(edge: &Edge, collection: CollectionId) -> Result<Reply, Failure> {
    let known = edge.core.board().catalog().get(collection).map(|known| (known.scope.clone(), known.name.clone()));
    let Some((scope, name)) = known else {
        return Err(Failure::Chroma(ErrorBody::collection_id_not_found(collection)));
    };
    let read = Read {
        operation: Operation::CatalogRead(CatalogRead::GetCollection { scope, name }),
        target: Target::Collection(collection),
        rewrite: Rewrite::Collection,
        consistency: Consistency::Fresh,
        pin: None,
        path: String::new(),
    };
    fetch(edge, &read, Method::GET, &HeaderMap::new(), Bytes::new()).await
}

/// A list of collections that no single instance has all of: each from one that serves it.
pub async fn assemble(edge: &Edge, read: &Read) -> Result<Option<Reply>, Failure> {
    let (Target::Collections(scope), Rewrite::CollectionList(window)) = (&read.target, &read.rewrite) else {
        return Ok(None);
    };
    let (all, complete) = {
        let board = edge.core.board();
        (board.catalog().in_scope(scope), !read.candidates(&board).is_empty())
    };
    if complete || read.pin.is_some() {
        return Ok(None);
    }
    let (mut items, mut memory) = (Vec::new(), Vec::new());
    for id in window.select(all) {
        match show(edge, id).await {
            Ok(reply) if reply.status == 200 => {
                // Held until the list is whole, and once more in it. More is not waited for while something is held.
                memory.push(edge.admission.claim(reply.body.len().saturating_mul(2))?);
                items.push(reply.body);
            }
            // Deleted since the list was made.
            Ok(_) | Err(Failure::Chroma(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    let joined = items.join(&b","[..]);
    Ok(Some(Reply::json(200, [b"[", joined.as_slice(), b"]"].concat())))
}

/// Reads that make Chroma's handler panic and close the connection: refused, so that they are not taken for a crash.
pub fn reject_crashing(operation: &Operation, body: &[u8]) -> Result<(), Failure> {
    #[derive(serde::Deserialize)]
    struct Query {
        n_results: Option<serde_json::Number>,
    }
    let Operation::RecordRead { kind: RecordReadKind::Query, .. } = operation else { return Ok(()) };
    match serde_json::from_slice::<Query>(body) {
        Ok(Query { n_results: Some(n) }) if n.as_u64() == Some(0) => {
            Err(Failure::CrashesChroma("n_results must be at least 1"))
        }
        _ => Ok(()),
    }
}

/// Refuses a read that is over a limit, or that cannot be read to its end, before it is sent anywhere.
pub fn check_limits(limits: &RequestLimits, operation: &Operation, body: &[u8]) -> Result<(), Failure> {
    let Operation::RecordRead { kind: RecordReadKind::Get | RecordReadKind::Query, .. } = operation else {
        return Ok(());
    };
    let measured = chroma::scan_read(body).map_err(Failure::Refused)?;
    limits.check(&measured).map_err(Failure::Refused)
}

/// The header that names the serving instance.
pub fn served_by(edge: &Edge, reply: Reply, instance: InstanceId) -> Reply {
    reply.with(INSTANCE, edge.registry.name(instance).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_exact_and_even() {
        let single_flight: Vec<bool> = (0..10).map(|n| replica_turn(n, 0.8)).collect();
        assert_eq!(single_flight.iter().filter(|turn| **turn).count(), 8);
        assert!(single_flight.windows(2).all(|pair| pair[0] || pair[1]), "two primaries in a row: {single_flight:?}");
        assert!((0..100).all(|n| !replica_turn(n, 0.0) && replica_turn(n, 1.0)));
    }
}
