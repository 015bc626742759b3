//! Whether a server is the instance that it should be: it must have a collection under the id that the deployment shows
//! for that instance. An operator's address may lead anywhere.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::CallError;
use super::own::OwnName;
use super::wire::Wire;

/// The deployment's ids on one instance.
#[derive(Clone, Debug)]
pub struct Mapped {
    edge: Wire,
    instance: String,
    /// Pairs of name and id that were correct; an id never changes.
    right: Arc<Mutex<BTreeSet<(String, String)>>>,
}

impl Mapped {
    /// Creates the expectation for this instance, from the deployment behind `edge`.
    pub fn of(edge: &Wire, instance: &str) -> Mapped {
        Mapped { edge: edge.clone(), instance: instance.to_owned(), right: Arc::default() }
    }

    /// Checks that the collection has the expected id there. `server` is the server's name in messages.
    pub fn expect(&self, server: &str, name: &OwnName, shown: &str) -> Result<(), CallError> {
        let pair = (name.to_string(), shown.to_owned());
        if self.right.lock().unwrap_or_else(PoisonError::into_inner).contains(&pair) {
            return Ok(());
        }
        let page = self.edge.get("/collection/mappings")?.expect(200)?.json()?;
        let all = page["mappings"].as_array().into_iter().flatten();
        let instances = all.filter(|one| one["collection_name"] == name.as_str()).map(|one| &one["instances"]);
        let mut here = instances.filter_map(|list| list.as_array()).flatten();
        let mapped = here.find(|one| one["instance"] == *self.instance).and_then(|one| one["collection_id"].as_str());
        if mapped == Some(shown) {
            self.right.lock().unwrap_or_else(PoisonError::into_inner).insert(pair);
            return Ok(());
        }
        Err(CallError::OtherId {
            server: server.to_owned(),
            shown: shown.to_owned(),
            mapped: mapped.unwrap_or("anything on GET /collection/mappings").to_owned(),
        })
    }
}
