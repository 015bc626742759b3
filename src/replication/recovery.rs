//! Recovery: a background service that brings instances back and heals what can be healed.
//!
//! An instance whose probes are green again is inspected, then admitted; its lanes go on from where they were. Every
//! so often what is diverged is compared, and admitted if it is equal; what existed before the edge is adopted.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::compare::{Found, compare};
use super::core::Core;
use super::inspect::{Adopted, Adopting, InspectError, Inspector};
use crate::ids::{CollectionId, InstanceId, Seq};
use crate::instance::{Admission, Client, Phase};
use crate::order::{Comparison, Input, Reach};

/// How recovery works.
#[derive(Clone, Debug)]
pub struct RecoveryOptions {
    /// Between two looks at what is diverged or waits for adoption, when nothing else asks for one.
    pub interval: Duration,
    /// The time limit of one read of a comparison.
    pub deadline: Duration,
}

/// Between two looks while something is diverged, or an inspection has failed.
const SOON: Duration = Duration::from_secs(1);

/// The background service `recovery`.
pub struct Recovery {
    core: Arc<Core>,
    inspector: Inspector,
    client: Client,
    options: RecoveryOptions,
    adopt_later: Mutex<HashSet<InstanceId>>,
}

impl Recovery {
    /// Run it in the runtime that the clients are to belong to.
    pub fn new(core: Arc<Core>, inspector: Inspector, client: Client, options: RecoveryOptions) -> Self {
        let all = core.registry.ids().collect();
        Recovery { core, inspector, client, options, adopt_later: Mutex::new(all) }
    }

    /// Runs until the future is dropped.
    pub async fn run(self, inspections: mpsc::Receiver<InstanceId>) {
        let returns = futures::future::join_all(self.core.registry.ids().map(|id| self.follow(id)));
        tokio::join!(returns, self.inspect_on_demand(inspections), self.heal());
    }

    /// Follows one instance's phases: tells the board how far it can be reached, admits it when it has returned.
    async fn follow(&self, instance: InstanceId) {
        let registry = &self.core.registry;
        let mut changes = registry.changes();
        let mut known = Reach::Away;
        loop {
            let phase = registry.phase(instance);
            let reach = match phase {
                Phase::Up => Reach::Here,
                Phase::Suspect => Reach::Suspect,
                Phase::Unknown | Phase::Down | Phase::Returned => Reach::Away,
            };
            if reach != known {
                known = reach;
                self.core.step(Input::Reached { instance, reach });
            }
            if phase == Phase::Returned && self.bring_back(instance).await == Admission::Admitted {
                continue;
            }
            let wait = if phase == Phase::Returned { SOON } else { self.options.interval };
            // Nothing is missed: the phase is read again after each tick, and now and then without one.
            let _ = tokio::time::timeout(wait, changes.changed()).await;
        }
    }

    async fn bring_back(&self, instance: InstanceId) -> Admission {
        let registry = &self.core.registry;
        let generation = registry.generation(instance);
        match self.inspect(instance).await {
            Ok(()) => registry.admit(instance, generation),
            Err(error) => {
                warn!(instance = %registry.name(instance), %error, "the instance has returned, but cannot be looked at yet");
                Admission::Superseded
            }
        }
    }

    async fn inspect(&self, instance: InstanceId) -> Result<(), InspectError> {
        let adopted = self.inspector.inspect(instance, self.turn(instance)).await?;
        self.note_adoption(instance, adopted);
        Ok(())
    }

    /// What two instances had by one name is served from the one whose adoption comes first: the preferred one, unless
    /// it is down, and not whichever was looked at first.
    fn turn(&self, instance: InstanceId) -> Adopting {
        let later = self.adopt_later.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = &self.core.registry;
        let preferred =
            registry.ids().any(|id| id < instance && later.contains(&id) && registry.phase(id) != Phase::Down);
        if preferred { Adopting::NotYet } else { Adopting::Now }
    }

    fn note_adoption(&self, instance: InstanceId, adopted: Adopted) {
        let mut later = self.adopt_later.lock().unwrap_or_else(PoisonError::into_inner);
        match adopted {
            Adopted::Everything => later.remove(&instance),
            Adopted::Later => later.insert(instance),
        };
    }

    async fn inspect_on_demand(&self, mut inspections: mpsc::Receiver<InstanceId>) {
        while let Some(instance) = inspections.recv().await {
            // What could not be looked at now is looked at again when it returns.
            let _ = self.inspect(instance).await;
        }
    }

    /// Compares what is diverged and adopts what waits, soon while there is anything, else every so often.
    async fn heal(&self) {
        let mut unequal: HashMap<(CollectionId, InstanceId), Seq> = HashMap::new();
        loop {
            for instance in self.due_for_adoption() {
                let _ = self.inspect(instance).await;
            }
            let comparisons = self.core.board().comparisons();
            unequal.retain(|key, _| comparisons.iter().any(|c| (c.collection, c.instance) == *key));
            for comparison in &comparisons {
                let key = (comparison.collection, comparison.instance);
                // Neither side has changed since they were found to differ.
                if unequal.get(&key) != Some(&comparison.at) {
                    self.compare(comparison, &mut unequal).await;
                }
            }
            let busy = comparisons.len() > unequal.len() || !self.due_for_adoption().is_empty();
            let wait = if busy { SOON } else { self.options.interval.min(SOON * 5) };
            tokio::time::sleep(wait).await;
        }
    }

    fn due_for_adoption(&self) -> Vec<InstanceId> {
        let later = self.adopt_later.lock().unwrap_or_else(PoisonError::into_inner);
        later.iter().copied().filter(|instance| self.core.registry.usable(*instance)).collect()
    }

    async fn compare(&self, comparison: &Comparison, unequal: &mut HashMap<(CollectionId, InstanceId), Seq>) {
        let instance = self.core.registry.name(comparison.instance);
        let collection = comparison.collection;
        match compare(&self.core, &self.client, comparison, self.options.deadline).await {
            Found::Equal { records } => {
                info!(%collection, %instance, records, "equal content: admitted");
                self.core.step(Input::FoundEqual(comparison.clone()));
            }
            Found::Different(why) => {
                warn!(%collection, %instance, why, "diverged: not served from there");
                unequal.insert((collection, comparison.instance), comparison.at);
            }
            Found::Unclear(why) => info!(%collection, %instance, why, "not compared yet"),
        }
    }
}
