//! One attempt of a catalog write on one instance: what is sent, and what an answer means, given what the catalog
//! held before the entry (rule R8).
//!
//! Names are judged by the edge's catalog: what an instance has besides is adopted, never mixed in.

mod adopt;
mod collection;
mod copy;
mod database;
mod existing;
mod index;
mod made;
mod refusal;

use serde_json::Value;

pub use self::made::{Content, Creation, origin_of_found};

use super::attempt::{Attempt, Attempted, judge};
use super::records::content_type;
use crate::chroma::{self, CatalogWrite, Class, EdgeAnswer, ErrorBody, ErrorName, Operation, route};
use crate::coordinator::{Core, intent};
use crate::ids::CollectionId;
use crate::instance::{Answer, Outgoing};
use crate::journal::Request;
use crate::order::{CatalogChange, Consequences, Kind, Outcome, Purpose, Repeat};

/// A catalog entry being sent.
pub(super) struct Entry<'a> {
    pub request: &'a Request,
    pub purpose: Purpose,
    pub repeat: Repeat,
}

impl Entry<'_> {
    fn retry(&self) -> bool {
        matches!(self.repeat, Repeat::Retry { .. })
    }

    /// Applied on another instance: only the effect matters here, its answer has been given.
    pub(super) fn has_verdict(&self) -> bool {
        self.purpose != Purpose::Execute
    }
}

/// Executes the entry on the attempt's instance.
pub(super) async fn attempt(attempt: &Attempt<'_>, entry: &Entry<'_>) -> Attempted {
    let request = entry.request;
    if request.profile.kind == Kind::Adopt {
        return match entry.purpose {
            Purpose::Execute | Purpose::Replicate => adopt::attempt(attempt, entry),
            Purpose::ExpectRefusal => Attempted::of(Outcome::Rejected { about: None }, None),
        };
    }
    let ended = execute(attempt, entry).await.unwrap_or_else(|failed| failed);
    index::note(attempt, entry, &ended);
    if entry.has_verdict() { on_this_instance_only(ended) } else { ended }
}

async fn execute(attempt: &Attempt<'_>, entry: &Entry<'_>) -> Result<Attempted, Attempted> {
    let request = entry.request;
    let Operation::CatalogWrite(write) = route(&request.method, &request.path) else {
        return Ok(not_executable("a journaled catalog write is not one"));
    };
    match write {
        write if entry.purpose == Purpose::ExpectRefusal => refusal::expect_refusal(attempt, entry, write).await,
        CatalogWrite::CreateTenant => database::create_tenant(attempt, entry).await,
        CatalogWrite::UpdateTenant { .. } => database::update_tenant(attempt, entry).await,
        CatalogWrite::CreateDatabase { tenant } => database::create_database(attempt, entry, &tenant).await,
        CatalogWrite::DeleteDatabase { scope } => database::delete_database(attempt, entry, &scope).await,
        CatalogWrite::CreateCollection { scope } if entry.has_verdict() => copy::copy(attempt, entry, &scope).await,
        CatalogWrite::CreateCollection { scope } => collection::create(attempt, entry, &scope).await,
        CatalogWrite::UpdateCollection { collection, .. } => {
            collection::update(attempt, entry, collection.as_id()).await
        }
        CatalogWrite::DeleteCollection { scope, name } => collection::delete(attempt, entry, &scope, &name).await,
        CatalogWrite::Reset => database::reset(attempt, entry).await,
    }
}

/// The catalog took the entry's effect when it was first executed and has gone on since: folded again, an old reset
/// or deletion would take away what was created after it. A copy adds its instance's own id, and nothing else.
fn on_this_instance_only(mut attempted: Attempted) -> Attempted {
    if let Outcome::Applied(consequences) = &mut attempted.outcome {
        consequences.changes.retain(|change| matches!(change, CatalogChange::Mapped { .. }));
    }
    attempted
}

/// The lane goes on behind what no edge of this version can send (rule R4: it never stops).
fn not_executable(why: &'static str) -> Attempted {
    let answer = EdgeAnswer::error(500, &ErrorBody::new(ErrorName::InternalError, why));
    Attempted::by_the_edge(Outcome::Rejected { about: None }, answer)
}

/// Sends the journaled request as it is and classifies the answer.
async fn send_as_is(attempt: &Attempt<'_>, entry: &Entry<'_>) -> Result<(Class, Answer), Attempted> {
    let request = entry.request;
    let method = http::Method::from_bytes(request.method.as_bytes())
        .map_err(|_| not_executable("a journaled write has no valid method"))?;
    let outgoing = Outgoing {
        method,
        path: request.path.clone(),
        headers: content_type(request.content_type.as_deref()),
        body: request.body.clone(),
    };
    send(attempt, entry.request.profile.kind, &outgoing).await
}

async fn send(attempt: &Attempt<'_>, kind: Kind, outgoing: &Outgoing) -> Result<(Class, Answer), Attempted> {
    let answer = attempt.send(outgoing).await?;
    Ok((chroma::classify(chroma::Call::Write(kind), answer.status, &answer.body), answer))
}

fn applied(changes: Vec<CatalogChange>) -> Outcome {
    Outcome::Applied(Consequences { changes, diverged: Vec::new() })
}

/// The goal was reached by an earlier attempt of the same entry: the answer that attempt would have had.
fn already(changes: Vec<CatalogChange>) -> Attempted {
    Attempted::by_the_edge(applied(changes), EdgeAnswer::json(200, "{}"))
}

fn plain(attempt: &Attempt<'_>, class: Class, answer: Answer, changes: Vec<CatalogChange>) -> Attempted {
    judge(attempt, class, answer, |_| applied(changes), None)
}

/// The collection that a catalog entry changes, deletes, or has created.
pub(super) fn about(core: &Core, request: &Request) -> Option<CollectionId> {
    let board = core.board();
    let created = || {
        let creates = request.profile.kind == Kind::CreateCollection;
        let answer = request.answer.as_ref().filter(|_| creates)?;
        let id = CollectionId::new(uuid_field(&answer.body, "id")?);
        board.catalog().get(id).map(|known| known.id)
    };
    intent::about(board.catalog(), &request.method, &request.path).or_else(created)
}

/// A field of a JSON answer.
fn field(body: &[u8], name: &str) -> Option<Value> {
    serde_json::from_slice::<Value>(body).ok()?.get_mut(name).map(Value::take)
}

fn uuid_field(body: &[u8], name: &str) -> Option<uuid::Uuid> {
    field(body, name)?.as_str().and_then(|text| uuid::Uuid::try_parse(text).ok())
}
