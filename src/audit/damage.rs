//! Finds copies that fail queries. Decides when copies are queried, and when they are condemned.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Auditor;
use super::answers::{Answers, to_a_query};
use super::report::Finding;
use crate::chroma::IndexShape;
use crate::clock;
use crate::ids::{CollectionId, InstanceId};
use crate::instance::Generation;
use crate::order::{Evidence, Input, LaneState};

/// The pause between two copies that are queried because their instance returned.
const PACE: Duration = Duration::from_millis(50);
/// The pause between two searches for returned instances, if no change is announced.
const LOOK: Duration = Duration::from_secs(2);
/// How many times a copy fails before it is condemned, and the pause between the tries: some failures pass by
/// themselves.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// How long a copy that was checked because of a failed read is not checked again.
const CHECKED_FOR: Duration = Duration::from_secs(10);
/// After every copy on an instance has been queried, the end of a connection is ignored for this many times as long as
/// that took.
const REST: u32 = 20;
/// The most copies whose last check is remembered.
const REMEMBERED: usize = 1024;

/// The last time that every copy on an instance was queried.
struct Checked {
    generation: Generation,
    endings: u64,
    ended: Instant,
    took: Duration,
}

impl Checked {
    /// Returns whether the copies are due again: after an outage at once, after the end of a connection only if that
    /// costs little. Something in front of the server may end connections all the time.
    fn is_due(&self, generation: Generation, endings: u64, now: Instant) -> bool {
        let affordable = now.duration_since(self.ended) >= self.took * REST;
        self.generation != generation || (self.endings != endings && affordable)
    }
}

impl Auditor {
    /// Checks copies that failed a read that another copy answered.
    pub(super) async fn check_what_failed(&self) {
        let mut checked: HashMap<(CollectionId, InstanceId), Instant> = HashMap::new();
        loop {
            let (collection, instance) = self.core.discovery().doubts().next().await;
            let now = clock::now();
            checked.retain(|_, at| now.duration_since(*at) < CHECKED_FOR);
            if checked.len() < REMEMBERED && checked.insert((collection, instance), now).is_none() {
                self.check(collection, instance).await;
            }
        }
    }

    /// Checks every collection on an instance that returned, one after the other: an index may have been damaged while
    /// its server was down, and no client may query it for a long time.
    pub(super) async fn check_what_returned(&self) {
        let registry = self.core.registry();
        let mut changes = registry.changes();
        let mut checked: HashMap<InstanceId, Checked> = HashMap::new();
        loop {
            for instance in registry.ids() {
                let (generation, begun) = (registry.generation(instance), clock::now());
                let endings = self.core.discovery().endings(instance);
                let due = |last: &Checked| last.is_due(generation, endings, begun);
                if !self.core.is_in_use(instance) || !checked.get(&instance).is_none_or(due) {
                    continue;
                }
                if self.check_all(instance, generation).await {
                    let ended = clock::now();
                    checked.insert(instance, Checked { generation, endings, ended, took: ended.duration_since(begun) });
                }
            }
            let _ = tokio::time::timeout(LOOK, changes.changed()).await;
        }
    }

    /// Checks every collection on the instance. Returns whether all were checked before the instance went away again.
    async fn check_all(&self, instance: InstanceId, generation: Generation) -> bool {
        let registry = self.core.registry();
        let collections: Vec<CollectionId> = self.core.board().catalog().collections().map(|known| known.id).collect();
        for collection in collections {
            if !self.core.is_in_use(instance) || registry.generation(instance) != generation {
                return false;
            }
            self.check(collection, instance).await;
            tokio::time::sleep(PACE).await;
        }
        true
    }

    /// Condemns the copy if it keeps failing queries, and another copy answers them.
    async fn check(&self, collection: CollectionId, instance: InstanceId) {
        // A query of an unusual index can crash its server.
        if self.core.discovery().indexes().of(collection) != IndexShape::ORDINARY {
            return;
        }
        // It is undecided which copy is right: a failed query does not show that this one is wrong.
        if self.report.of(collection).is_some_and(|audit| matches!(audit.finding, Finding::Undecided { .. })) {
            return;
        }
        let generation = self.core.registry().generation(instance);
        let mut why = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let Some(copy) =
                self.copy(collection, instance, &[LaneState::InStep, LaneState::Diverged, LaneState::Contradicted])
            else {
                return;
            };
            match to_a_query(&copy).await {
                Answers::Fails(error) => why = error,
                Answers::Yes | Answers::Empty => return self.is_sound(collection, instance),
                Answers::Unknown(_) => return self.note_departure(collection, instance, generation).await,
            }
        }
        let name = self.core.registry().name(instance);
        if self.another_answers(collection, instance).await {
            warn!(%collection, instance = %name, error = why, "this copy fails queries that another one answers: it is made anew");
            self.core.step(Input::Condemn { collection, instance, evidence: Evidence::FailsQueries });
        } else if let Some(times) = self.failing.seen((collection, instance), clock::now()).times() {
            warn!(%collection, instance = %name, error = why, times, "this copy fails queries, and no other one answers them");
        }
    }

    fn is_sound(&self, collection: CollectionId, instance: InstanceId) {
        if let Some(lasted) = self.failing.ended(&(collection, instance), clock::now()) {
            let (instance, seconds) = (self.core.registry().name(instance), lasted.time.as_secs());
            info!(%collection, %instance, seconds, times = lasted.times, "this copy answers queries again");
        }
    }

    async fn another_answers(&self, collection: CollectionId, instance: InstanceId) -> bool {
        for other in self.core.registry().ids().filter(|other| *other != instance) {
            let Some(copy) = self.copy(collection, other, &[LaneState::InStep]) else { continue };
            if to_a_query(&copy).await == Answers::Yes {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_outage_all_is_asked_and_after_a_lost_connection_if_it_costs_little() {
        let ended = clock::now();
        let checked = Checked { generation: Generation(1), endings: 7, ended, took: Duration::from_secs(1) };
        let due = |generation, endings, seconds| {
            checked.is_due(Generation(generation), endings, ended + Duration::from_secs(seconds))
        };
        assert!(!due(1, 7, 1_000_000), "nothing has happened");
        assert!(due(2, 7, 0) && due(2, 8, 0), "it was away");
        assert!(!due(1, 8, 19) && due(1, 8, 20));
    }
}
