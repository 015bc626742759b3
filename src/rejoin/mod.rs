//! Rejoin: a background service that admits instances that return, and compares and adopts what it can.
//!
//! An instance whose probes are green again is inspected, then admitted; its lanes continue where they stopped.
//! Diverged copies are compared regularly, and admitted again if equal. What existed before the edge is adopted.

mod capabilities;
mod compare;
mod completeness;
mod contents;
mod copies;
mod departures;
mod error;
mod foreign;
mod inspect;
mod marker;
mod marking;
mod options;
mod parts;
mod tally;
mod wipe;
mod withheld;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use self::compare::{Found, compare, is_the_only_full_one};
use self::copies::{Copies, Line};
use self::error::InspectError;
use self::foreign::Foreigners;
pub use self::inspect::Inspector;
use self::inspect::{Adopted, Adopting};
pub use self::options::{FirstLook, RejoinOptions};
use crate::clock;
use crate::coordinator::{Core, Difference, Inspections};
use crate::current::Current;
use crate::ids::{CollectionId, InstanceId, Seq};
use crate::instance::{Admission, Client, Observation, Phase};
use crate::lasting::LastingStates;
use crate::order::{Comparison, Duty, Evidence, Input, Keeping, LaneState, Look, Origin, Reach};

/// The pause before a failed inspection is repeated.
const SOON: Duration = Duration::from_secs(1);
/// The interval of checks for due comparisons and adoptions.
const MOMENT: Duration = Duration::from_millis(200);
/// How long the edge's start waits for the inspection of the instances that answer.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// How long the edge's start waits for adopted collections to be compared.
const FIRST_COMPARISON: Duration = Duration::from_secs(30);
/// How long adoption from an instance waits for a preferred instance to go first.
const PRECEDENCE: Duration = Duration::from_secs(20);

/// What an instance had missed when it returned.
struct Backlog {
    writes: u64,
    up_to: Seq,
}

/// The background service `rejoin`.
pub struct Rejoin {
    core: Arc<Core>,
    inspector: Inspector,
    client: Client,
    options: Current<RejoinOptions>,
    first: FirstLook,
    begun: Instant,
    adopt_later: Mutex<HashSet<InstanceId>>,
    /// The reference's position when the comparison found a difference.
    unequal: Mutex<HashMap<(CollectionId, InstanceId), Seq>>,
    /// For the log: instances that cannot be inspected, and those with collections that cannot be compared.
    unseen: LastingStates<InstanceId>,
    unclear: LastingStates<InstanceId>,
    /// For the log: copies that were compared and differ.
    differing: LastingStates<(CollectionId, InstanceId)>,
    foreigners: Foreigners,
}

impl Rejoin {
    /// Creates the service. It must run in the runtime that the clients belong to.
    pub fn new(
        core: Arc<Core>,
        inspector: Inspector,
        client: Client,
        options: Current<RejoinOptions>,
        first: FirstLook,
    ) -> Self {
        let all = core.registry.ids().collect();
        let (adopt_later, begun) = (Mutex::new(all), clock::now());
        let (unequal, unseen, unclear) = (Mutex::default(), LastingStates::default(), LastingStates::default());
        let differing = LastingStates::default();
        let foreigners = Foreigners::new(begun);
        Rejoin {
            core,
            inspector,
            client,
            options,
            first,
            begun,
            adopt_later,
            unequal,
            unseen,
            unclear,
            differing,
            foreigners,
        }
    }

    /// Runs until the future is dropped. Calls `ready` once, when clients may come: the instances that answered at the
    /// start have been inspected, and what was adopted has been compared, within limits.
    pub async fn run(self, inspections: Arc<Inspections>, ready: impl FnOnce() + Send) {
        let _recovering = self.core.recovering();
        let returns = futures::future::join_all(self.core.registry.ids().map(|id| self.follow(id)));
        let first_look = async {
            self.first_look().await;
            ready();
        };
        let watches = self.core.registry.ids().map(|id| departures::watch(&self.core, &self.inspector, id));
        let departures = futures::future::join_all(watches);
        let (demands, heals, scans) = (self.inspect_on_demand(&inspections), self.heal(), self.scan());
        tokio::join!(
            returns,
            departures,
            first_look,
            demands,
            heals,
            scans,
            self.keep_marked(),
            self.keep_placements()
        );
    }

    /// Serving waits for the first comparisons: once one of two equal adopted collections has been written to, they can
    /// no longer be found equal.
    async fn first_look(&self) {
        let registry = &self.core.registry;
        let mut changes = self.core.changes();
        let looked_at = async {
            let awaited = |id| matches!(registry.phase(id), Phase::Unknown | Phase::Returned) && self.may_serve(id);
            while registry.ids().any(awaited) {
                let _ = tokio::time::timeout(MOMENT, changes.changed()).await;
            }
        };
        let _ = tokio::time::timeout(FIRST_LOOK, looked_at).await;
        if self.first == FirstLook::Instances {
            return;
        }
        let compared = async {
            while self.adopted_something().await {
                tokio::time::sleep(MOMENT).await;
            }
        };
        if tokio::time::timeout(FIRST_COMPARISON, compared).await.is_err() {
            warn!("serving before everything that was adopted has been compared");
        }
    }

    /// Returns whether an adoption is in progress, or something adopted has yet to be compared.
    async fn adopted_something(&self) -> bool {
        if !self.awaiting_adoption().is_empty() || self.is_adopting() {
            return true;
        }
        // Read last, so that they include everything that was adopted by then.
        let comparisons = parts::comparisons(&self.core).await;
        let board = self.core.board();
        comparisons.iter().any(|comparison| {
            let adopted = board.catalog().get(comparison.collection).is_some_and(|c| c.origin == Origin::Adopted);
            adopted && !self.is_known_unequal(comparison)
        })
    }

    fn is_adopting(&self) -> bool {
        let (registry, board) = (&self.core.registry, self.core.board());
        board.adopting() && registry.ids().any(|id| registry.usable(id) && board.catalog_quiescent(id).is_none())
    }

    fn is_known_unequal(&self, comparison: &Comparison) -> bool {
        let unequal = self.unequal.lock().unwrap_or_else(PoisonError::into_inner);
        unequal.get(&(comparison.collection, comparison.instance)) == Some(&comparison.at)
    }

    /// Follows one instance's phases: reports its reachability to the board, and admits it when it has returned.
    async fn follow(&self, instance: InstanceId) {
        let registry = &self.core.registry;
        let (mut changes, mut hurried) = (registry.changes(), self.core.hurried());
        let mut known = Reach::Away;
        let mut backlog = None;
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
                backlog = self.backlog(instance);
                continue;
            }
            backlog = backlog.filter(|backlog| phase.usable() && !self.is_done(instance, backlog));
            let wait = match phase {
                Phase::Returned => SOON,
                _ if backlog.is_some() => MOMENT,
                _ => self.options.get().interval,
            };
            // Nothing is missed: the phase is read again after each change, and at intervals without one.
            tokio::select! {
                _ = tokio::time::timeout(wait, changes.changed()) => {}
                _ = hurried.changed() => {}
            }
        }
    }

    fn backlog(&self, instance: InstanceId) -> Option<Backlog> {
        let board = self.core.board();
        let backlog = Backlog { writes: board.backlog(instance), up_to: board.last() };
        (backlog.writes > 0).then_some(backlog)
    }

    fn is_done(&self, instance: InstanceId, backlog: &Backlog) -> bool {
        let done = self.core.board().has_caught_up(instance, backlog.up_to);
        if done {
            info!(instance = %self.core.registry.name(instance), writes = backlog.writes, "instance has caught up");
        }
        done
    }

    async fn bring_back(&self, instance: InstanceId) -> Admission {
        let registry = &self.core.registry;
        let generation = registry.generation(instance);
        match self.inspect(instance).await {
            Ok(()) => {
                if let Some(lasted) = self.unseen.ended(&instance, clock::now()) {
                    let (seconds, times) = (lasted.time.as_secs(), lasted.times);
                    info!(instance = %registry.name(instance), seconds, times, "the instance could be inspected after all");
                }
                registry.admit(instance, generation)
            }
            // Logged once, when it was found out. It stays so until another server answers.
            Err(InspectError::Unsupported(_)) => Admission::Superseded,
            Err(InspectError::Foreign(_)) => {
                self.foreigners.deal_with(&self.core, &self.inspector, instance, &self.options.get()).await;
                Admission::Superseded
            }
            Err(error) => {
                if let Some(times) = self.unseen.seen(instance, clock::now()).times() {
                    let instance = registry.name(instance);
                    warn!(%instance, %error, times, "the instance has returned, but cannot be inspected yet");
                }
                Admission::Superseded
            }
        }
    }

    async fn inspect(&self, instance: InstanceId) -> Result<(), InspectError> {
        let adopted = self.inspector.inspect(instance, self.adopting(instance)).await?;
        self.note_adoption(instance, adopted);
        Ok(())
    }

    /// If two instances hold collections of the same name, the first one adopted is served. The preferred instance goes
    /// first unless it is down, for at most `PRECEDENCE`, because it may never become reachable.
    fn adopting(&self, instance: InstanceId) -> Adopting {
        let later = self.adopt_later.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = &self.core.registry;
        let may_come = |id| registry.phase(id) != Phase::Down && self.may_serve(id);
        let preferred = registry.ids().any(|id| id < instance && later.contains(&id) && may_come(id));
        if preferred && self.begun.elapsed() < PRECEDENCE { Adopting::NotYet } else { Adopting::Now }
    }

    /// Returns whether the server is not known to be unsupported or foreign.
    fn may_serve(&self, instance: InstanceId) -> bool {
        let discovery = self.core.discovery();
        discovery.servers().why_unsupported(instance).is_none() && discovery.markers().foreign(instance).is_none()
    }

    fn note_adoption(&self, instance: InstanceId, adopted: Adopted) {
        let mut later = self.adopt_later.lock().unwrap_or_else(PoisonError::into_inner);
        match adopted {
            Adopted::Everything => later.remove(&instance),
            Adopted::Later => later.insert(instance),
        };
    }

    /// Inspects instances whose contents are in doubt. A failed inspection is repeated: while the instance stays up,
    /// nothing else would demand it again or show a late write in the catalog lane. An instance that a drain has
    /// stopped is inspected after the drain, because the inspection creates what it lacks.
    async fn inspect_on_demand(&self, inspections: &Inspections) {
        let is_stopped = |instance| self.core.board().duty(instance) == Duty::Stopped;
        let mut due = BTreeSet::new();
        loop {
            tokio::select! {
                instance = inspections.next() => {
                    // One that is away is inspected when it returns.
                    let later = is_stopped(instance) || self.inspect(instance).await.is_err();
                    if later && self.core.registry().usable(instance) {
                        due.insert(instance);
                    }
                }
                () = tokio::time::sleep(SOON), if !due.is_empty() => {
                    let again: Vec<_> = due.iter().copied().filter(|instance| !is_stopped(*instance)).collect();
                    due.retain(|instance| !again.contains(instance));
                    again.into_iter().for_each(|instance| inspections.ask(instance));
                }
            }
        }
    }

    /// Re-examines the lanes, at intervals and in turn, in case a wake-up was missed.
    async fn scan(&self) {
        let mut copies = Copies::default();
        let mut look = clock::now();
        let mut round: usize = 0;
        loop {
            tokio::time::sleep(self.options.get().interval).await;
            self.core.step(Input::LookAgain(Look::Around));
            self.core.sync_numbers().round();
            self.spot_check(round).await;
            round = round.wrapping_add(1);
            let begun = clock::now();
            if begun >= look {
                self.watch_copies(&mut copies);
                look = begun + begun.elapsed() * parts::REST;
            }
            self.inspector.forget_indexes();
        }
    }

    /// A server that came back blank between two probes answers every heartbeat. Without reads and writes, only this
    /// check shows it. One collection a round is enough, since a blank server lacks all of them.
    async fn spot_check(&self, round: usize) {
        let registry = self.core.registry();
        for instance in registry.ids().filter(|id| self.core.is_in_use(*id)) {
            let sample = self.core.board().served_sample(instance, round);
            if let Some(id) = sample
                && !self.inspector.has(instance, id).await
            {
                self.core.doubt_contents(instance);
            }
            if !self.inspector.is_unchanged(instance).await {
                self.is_replaced(instance);
            }
        }
    }

    /// Marks the server as replaced: nothing is sent to it until it has been inspected.
    fn is_replaced(&self, instance: InstanceId) {
        self.core.registry().observe_because(instance, Observation::Replaced, "its marker is not the one that it had");
    }

    /// Ends switchovers and drains whose time is over.
    async fn keep_placements(&self) {
        loop {
            tokio::time::sleep(MOMENT).await;
            self.core.look_at_placements();
        }
    }

    /// Logs when some collection has had no second copy in step for a while, and when that is over.
    fn watch_copies(&self, copies: &mut Copies) {
        if self.core.registry().ids().len() < 2 {
            // Logged once, at the start.
            return;
        }
        let (collections, first) = self.core.board().without_second_copy(1);
        match copies.look(collections, clock::now()) {
            Line::Nothing => {}
            Line::Missing { times } => {
                let example = first.first().map(ToString::to_string);
                warn!(collections, example, times, "collections without a second copy in step: see /status");
            }
            Line::Over(lasted) => {
                info!(seconds = lasted.time.as_secs(), "every collection has a second copy in step again");
            }
        }
    }

    /// Compares diverged copies and adopts what waits for adoption, as soon as either is possible.
    async fn heal(&self) {
        loop {
            for instance in self.due_for_adoption() {
                let _ = self.inspect(instance).await;
            }
            let begun = clock::now();
            let comparisons = parts::comparisons(&self.core).await;
            let rest = begun.elapsed() * parts::REST;
            let compared: HashSet<_> = comparisons.iter().map(|one| (one.collection, one.instance)).collect();
            self.unequal.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| compared.contains(key));
            self.forget_decided();
            self.tell_of_the_end(&compared);
            self.inspector.tell_complete();
            for comparison in &comparisons {
                // Skipped while neither side has changed since they were found to differ.
                if !self.is_known_unequal(comparison) {
                    self.compare(comparison).await;
                }
            }
            tokio::time::sleep(MOMENT.max(rest)).await;
        }
    }

    fn forget_decided(&self) {
        let board = self.core.board();
        let diverged = |collection, instance| board.state_of(collection, instance) == LaneState::Diverged;
        self.core.discovery().differences().retain(diverged);
    }

    /// Logs what is over: copies that are no longer compared, because they are made anew, deleted, or on an instance that
    /// is away; and comparisons that failed. A copy that is not compared for a moment, while a write to it is in flight,
    /// does not count, nor does a comparison that succeeds between two that fail.
    fn tell_of_the_end(&self, compared: &HashSet<(CollectionId, InstanceId)>) {
        let is_over = |key: &(_, _)| !compared.contains(key);
        for ((collection, instance), lasted) in self.differing.quiet_where(clock::now(), is_over) {
            let (instance, seconds) = (self.core.registry.name(instance), lasted.time.as_secs());
            info!(%collection, %instance, seconds, times = lasted.times, "no longer compared");
        }
        for (instance, lasted) in self.unclear.quiet(clock::now()) {
            let (instance, seconds) = (self.core.registry.name(instance), lasted.time.as_secs());
            info!(%instance, seconds, times = lasted.times, "its collections can be compared again");
        }
    }

    /// Returns the instances that are in use and may hold something to adopt.
    fn awaiting_adoption(&self) -> Vec<InstanceId> {
        let later = self.adopt_later.lock().unwrap_or_else(PoisonError::into_inner);
        later.iter().copied().filter(|instance| self.core.is_in_use(*instance)).collect()
    }

    /// Returns the instances that can be adopted from now. Until its catalog lane has quiesced, an inspection of an
    /// instance could adopt nothing.
    fn due_for_adoption(&self) -> Vec<InstanceId> {
        let mut due = self.awaiting_adoption();
        let board = self.core.board();
        due.retain(|instance| board.catalog_quiescent(*instance).is_some());
        due
    }

    async fn compare(&self, comparison: &Comparison) {
        let instance = self.core.registry.name(comparison.instance);
        let collection = comparison.collection;
        match compare(&self.core, &self.client, comparison, self.core.registry().timeouts().attempt).await {
            Found::Equal { records } => {
                self.differing.ended(&(collection, comparison.instance), clock::now());
                info!(%collection, %instance, records, "equal content: admitted");
                self.core.step(Input::FoundEqual(comparison.clone()));
            }
            Found::Different { why, difference } => {
                if let Some(difference) = difference
                    && self.decided_by_itself(comparison, difference).await
                {
                    return;
                }
                // The copy is compared again whenever its collection is written to.
                if let Some(times) = self.differing.seen((collection, comparison.instance), clock::now()).times() {
                    let served_by = self.core.registry().name(comparison.reference);
                    match difference.map(|difference| difference.told()) {
                        Some(told) => warn!(
                            %collection, %instance, %served_by, why, told, times,
                            "still diverged: these copies were there before the edge; `chroma-edge adopt --from INSTANCE` decides"
                        ),
                        None => warn!(%collection, %instance, why, times, "still diverged: content differs"),
                    }
                }
                let mut unequal = self.unequal.lock().unwrap_or_else(PoisonError::into_inner);
                unequal.insert((collection, comparison.instance), comparison.at);
            }
            Found::Unclear(why) => {
                if let Some(times) = self.unclear.seen(comparison.instance, clock::now()).times() {
                    info!(%collection, %instance, why, times, "not compared yet");
                }
            }
        }
    }

    /// Keeps this copy if it has records and every other one is empty. Otherwise notes the difference for an operator.
    async fn decided_by_itself(&self, comparison: &Comparison, difference: Difference) -> bool {
        let Comparison { collection, instance, .. } = *comparison;
        let clear = difference.served == 0
            && difference.records > 0
            && self.core.board().can_keep(collection, instance) == Ok(Keeping::TakesOver)
            && is_the_only_full_one(&self.core, &self.client, comparison, self.core.registry().timeouts().attempt)
                .await;
        if !clear {
            self.core.discovery().differences().note(collection, instance, difference);
            return false;
        }
        let (name, records) = (self.core.registry().name(instance), difference.records);
        info!(%collection, instance = %name, records, "the only copy that is not empty is kept");
        self.core.step(Input::Keep { collection, instance, evidence: Evidence::WasEmpty });
        true
    }
}
