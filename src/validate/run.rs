//! One run against a deployment: its id, its ways to read the instances, and what the checks share.
//!
//! Decides which instance is read directly, and how long a condition may take to become true.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::client::{BaseUrl, DatabasePath, Deployment, OwnName, RunId, View, Wire};
use super::endpoint::Instance;
use super::findings::Stop;
use crate::clock;

/// The patience while an instance is down: no wait makes everything whole.
const NO_PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);

/// The context of a check.
#[derive(Debug)]
pub struct Run {
    pub id: RunId,
    pub edge: Deployment,
    pub instances: Vec<Instance>,
    /// `/status` at the beginning of the run.
    pub status: Value,
    /// One view per instance, in the configured order.
    pub views: Vec<View>,
    pub patience: Patience,
}

/// The time that one check may still spend on waiting.
#[derive(Debug)]
pub struct Patience {
    of_a_check: Duration,
    left: Mutex<Duration>,
}

impl Patience {
    /// Creates the patience for these instances, at most as much as requested.
    pub fn with(instances: &[Instance], asked: Duration) -> Patience {
        let of_a_check = if instances.iter().all(|one| one.healthy) { asked } else { asked.min(NO_PATIENCE) };
        Patience { of_a_check, left: Mutex::new(of_a_check) }
    }

    /// Restores the full time of a check.
    pub fn renew(&self) {
        self.set(self.of_a_check);
    }

    /// Sets the remaining time.
    pub fn set(&self, patience: Duration) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = patience;
    }

    fn left(&self) -> Duration {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spend(&self, waited: Duration) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_sub(waited);
    }
}

/// An instance's own address, given by the operator.
#[derive(Clone, Debug)]
pub struct DirectAddress {
    pub name: String,
    pub url: BaseUrl,
}

/// Returns a view of each instance: at its own address if the operator gave one, otherwise through the edge. An address
/// for an unknown instance is an error that lists the known ones. The address of an edge is an error, too.
pub fn views(
    edge: &Deployment,
    place: &DatabasePath,
    instances: &[Instance],
    direct: &[DirectAddress],
    wire: impl Fn(&BaseUrl) -> Result<Wire, String>,
) -> Result<Vec<View>, String> {
    if let Some(unknown) = direct.iter().find(|one| instances.iter().all(|known| known.name != one.name)) {
        let names: Vec<&str> = instances.iter().map(|one| one.name.as_str()).collect();
        return Err(format!("the deployment has no instance {:?}: it has {}", unknown.name, names.join(", ")));
    }
    let view = |known: &Instance| {
        let view = match direct.iter().find(|one| one.name == known.name) {
            Some(one) => own_address(one, wire(&one.url)?, place, edge)?,
            None => View::pinned(&known.name, edge.wire(), place.clone())?,
        };
        Ok(if known.healthy { view } else { view.away(known.describe()) })
    };
    instances.iter().map(view).collect()
}

/// Rejects the address of an edge: an edge would agree with itself about everything.
fn own_address(one: &DirectAddress, wire: Wire, place: &DatabasePath, edge: &Deployment) -> Result<View, String> {
    let view = View::direct(&one.name, wire, place.clone(), edge.wire());
    match view.is_an_edge() {
        true => Err(format!("{} is an edge: --instances takes {}'s own address", one.url, one.name)),
        false => Ok(view),
    }
}

impl Run {
    /// Names a collection of this check.
    pub fn name(&self, check: &'static str, part: &str) -> OwnName {
        OwnName::new(&self.id, check, part)
    }

    /// Repeats `ask` until it succeeds or the check's patience runs out; returns the last result.
    pub fn eventually<T, E>(&self, mut ask: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        let begun = clock::now();
        let patience = self.patience.left().min(self.edge.wire().remaining());
        loop {
            let result = ask();
            if result.is_ok() || begun.elapsed() >= patience {
                self.patience.spend(begun.elapsed());
                return result;
            }
            // The state is on another machine: there is nothing to await but its next answer.
            std::thread::sleep(LOOK);
        }
    }

    /// Returns the mapping on `/collection/mappings` that has this id.
    pub fn mapping(&self, id: &str) -> Result<Option<Value>, Stop> {
        let page = self.edge.page("/collection/mappings")?;
        let Some(list) = page["mappings"].as_array() else {
            return Err(Stop("GET /collection/mappings shows no mappings".to_owned()));
        };
        Ok(list.iter().find(|one| one["collection_id"] == id).cloned())
    }
}
