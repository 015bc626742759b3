//! Finding one collection on one server by its id there. Takes one request if the server has a route for that.
//! Otherwise the collection is looked up by its name, and in the list if the name currently belongs to another one.
//!
//! It decides what to request and reads the answers; it sends nothing.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::capabilities::ByIdRoute;
use super::rewrite::{by_id_path, collection_path, collections_path};
use crate::ids::{InstanceCollectionId, Scope};

/// The number of collections requested at once.
const PAGE: usize = 100;

/// The next request, or the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Send a GET of this path and pass the answer to [`Lookup::take`].
    Ask(String),
    /// The Collection object, as the server shows it.
    Found(Vec<u8>),
    /// The server has no collection with this id.
    Absent,
    /// The last answer shows neither.
    Unclear,
}

/// The search for one collection.
#[derive(Clone, Debug)]
pub struct Lookup {
    scope: Scope,
    id: InstanceCollectionId,
    name: String,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    ById,
    ByName,
    InList { offset: usize },
}

#[derive(Deserialize)]
struct Identified {
    id: uuid::Uuid,
}

impl Lookup {
    /// Begins a search. `name` is its name as far as is known.
    pub fn new(route: ByIdRoute, scope: Scope, id: InstanceCollectionId, name: String) -> Lookup {
        let step = match route {
            ByIdRoute::Present => Step::ById,
            ByIdRoute::Absent => Step::ByName,
        };
        Lookup { scope, id, name, step }
    }

    /// Returns the path to request in the current step.
    pub fn path(&self) -> String {
        match self.step {
            Step::ById => by_id_path(&self.scope, self.id),
            Step::ByName => collection_path(&self.scope, &self.name),
            Step::InList { offset } => format!("{}?limit={PAGE}&offset={offset}", collections_path(&self.scope)),
        }
    }

    /// Reads the answer to the last request.
    pub fn take(&mut self, status: u16, body: &[u8]) -> Looked {
        match (self.step, status) {
            (Step::ById, 404) if is_chromas(body) => Looked::Absent,
            (Step::ByName, 404) if is_chromas(body) => self.ask(0),
            (Step::ById | Step::ByName, 200) => match serde_json::from_slice::<Identified>(body) {
                Ok(found) if found.id == self.id.uuid() => Looked::Found(body.to_vec()),
                // Another collection has this name on the server: names are being changed.
                Ok(_) if matches!(self.step, Step::ByName) => self.ask(0),
                Ok(_) | Err(_) => Looked::Unclear,
            },
            (Step::InList { offset }, 200) => self.take_list(offset, body),
            _ => Looked::Unclear,
        }
    }

    fn ask(&mut self, offset: usize) -> Looked {
        self.step = Step::InList { offset };
        Looked::Ask(self.path())
    }

    fn take_list(&mut self, offset: usize, body: &[u8]) -> Looked {
        let Ok(items) = serde_json::from_slice::<Vec<&RawValue>>(body) else { return Looked::Unclear };
        let is_it = |item: &&&RawValue| {
            serde_json::from_str::<Identified>(item.get()).is_ok_and(|found| found.id == self.id.uuid())
        };
        if let Some(found) = items.iter().find(is_it) {
            return Looked::Found(found.get().as_bytes().to_vec());
        }
        // A list longer than a page is complete: the server does not page.
        if items.len() == PAGE { self.ask(offset + PAGE) } else { Looked::Absent }
    }
}

/// Returns whether Chroma itself reports that the object does not exist. A gateway's 404 is not Chroma's, nor is the
/// 404 of a server without the route.
pub fn is_not_found(status: u16, body: &[u8]) -> bool {
    status == 404 && is_chromas(body)
}

fn is_chromas(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct NotFound {
        error: String,
    }
    serde_json::from_slice::<NotFound>(body).is_ok_and(|body| body.error == "NotFoundError")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const NOT_FOUND: &[u8] = br#"{"error":"NotFoundError","message":"Collection [x] does not exists"}"#;

    fn collection(id: u128) -> String {
        format!(r#"{{"id":"{}","name":"n","metadata":{{"id":1.0}}}}"#, Uuid::from_u128(id))
    }

    fn lookup(route: ByIdRoute) -> Lookup {
        let id = InstanceCollectionId::new(Uuid::from_u128(7));
        Lookup::new(route, Scope::new("t", "d"), id, "a/b".to_owned())
    }

    fn found(id: u128) -> Looked {
        Looked::Found(collection(id).into_bytes())
    }

    #[test]
    fn one_request_where_there_is_a_route() {
        let mut looking = lookup(ByIdRoute::Present);
        assert!(looking.path().ends_with(&format!("/collections/by-id/{}", Uuid::from_u128(7))));
        assert_eq!(looking.take(200, collection(7).as_bytes()), found(7));
        assert_eq!(looking.take(404, NOT_FOUND), Looked::Absent);
        for (status, body) in [(404, &b""[..]), (404, b"<html>"), (200, b"{}"), (500, NOT_FOUND), (503, b"")] {
            assert_eq!(looking.take(status, body), Looked::Unclear, "{status}");
        }
    }

    #[test]
    fn without_a_route_the_name_and_then_the_list() {
        let mut looking = lookup(ByIdRoute::Absent);
        assert_eq!(looking.path(), "/api/v2/tenants/t/databases/d/collections/a%2Fb");
        assert_eq!(looking.clone().take(200, collection(7).as_bytes()), found(7));
        assert_eq!(looking.clone().take(500, b""), Looked::Unclear);
        let page = |offset: usize| {
            Looked::Ask(format!("/api/v2/tenants/t/databases/d/collections?limit={PAGE}&offset={offset}"))
        };
        assert_eq!(looking.clone().take(404, NOT_FOUND), page(0), "renamed there");
        assert_eq!(looking.take(200, collection(8).as_bytes()), page(0), "its name is another one's there");
        let list = |ids: std::ops::Range<u128>| format!("[{}]", ids.map(collection).collect::<Vec<_>>().join(","));
        assert_eq!(looking.take(200, list(100..200).as_bytes()), page(PAGE));
        assert_eq!(looking.clone().take(200, list(200..210).as_bytes()), Looked::Absent);
        assert_eq!(looking.take(200, list(5..8).as_bytes()), found(7));
        assert_eq!(looking.take(200, b"{}"), Looked::Unclear);
        assert_eq!(looking.take(500, b"[]"), Looked::Unclear);
    }
}
