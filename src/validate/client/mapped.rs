//! Whether a server is the instance it is said to be: a collection has the id there that the deployment has for it on
//! that instance. An operator's address may lead anywhere.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::CallError;
use super::own::OwnName;
use super::wire::Wire;

/// What the deployment says of the ids on one instance.
#[derive(Clone, Debug)]
pub struct Mapped {
    edge: Wire,
    instance: String,
    /// Names and ids that were right: an id does not change.
    right: Arc<Mutex<BTreeSet<(String, String)>>>,
}

impl Mapped {
    /// Of this instance, as the deployment behind `edge` has it.
    pub fn of(edge: &Wire, instance: &str) -> Mapped {
        Mapped { edge: edge.clone(), instance: instance.to_owned(), right: Arc::default() }
    }

    /// Whether the collection is there under the id that it should have. `server` is how the place is called.
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
