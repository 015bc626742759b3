//! Makes diverged copies anew (rule R14): in full, from a fresh instance, while clients read and write.
//!
//! A copy is made beside the old one, under a name of the edge's own that no client sees, and takes the old one's place
//! at a moment when the lane stands still. `order/` decides when that may be; this room reads, writes and renames. A
//! copy that existed before the edge and differs from what is served is left alone: nobody can say which copy is right.
//! A quarantined or condemned copy is replaced unread.

mod align;
mod copy;
mod cutover;
mod error;
mod place;
mod progress;
mod records;
mod touched;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tracing::{info, warn};

use self::copy::{Copy, Holder, Made};
use self::cutover::Cutover;
use self::error::HealError;
pub(crate) use self::place::{NAMED, PAGE_IDS, Place};
pub use self::progress::{HealPause, HealProgress, HealStage, HealView};
#[cfg(test)]
pub(crate) use self::records::records_of;
pub(crate) use self::records::{Embeddings, Record};
use crate::clock;
use crate::coordinator::Core;
use crate::ids::{CollectionId, InstanceId, Scope, shown};
use crate::instance::Client;
use crate::lasting::LastingStates;
use crate::order::Rebuild;

/// How copies are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealOptions {
    /// In the configuration file: `heal.enabled`.
    pub mode: HealMode,
    /// How long writers of a collection may wait while its new copy takes its place: `heal.hold`.
    pub hold: Duration,
}

/// Whether the edge makes copies without an operator's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealMode {
    Automatic,
    Off,
}

/// The pause between two searches for diverged copies.
const MOMENT: Duration = Duration::from_millis(250);
/// How long an existing copy is left to the comparison, which costs less and may find it equal.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause after failures that may have cost the target its life.
const LONGEST_PAUSE_UNANSWERED: Duration = Duration::from_secs(3600);
/// How often a copy is compared with its source before it is given up for now.
const PASSES: usize = 12;
/// A copy that differed in no more records than this is worth a cutover.
const NEARLY_EQUAL: usize = 500;

/// What is known of a copy that has to be made.
struct Due {
    since: Instant,
    failures: u32,
    /// How many of the last failures, in a row, had a target that did not answer.
    unanswered: u32,
    not_before: Instant,
}

impl Due {
    fn new(now: Instant) -> Due {
        Due { since: now, failures: 0, unanswered: 0, not_before: now }
    }

    /// How long nothing is sent after this failure. A target that may die of the copy itself is left alone for longer
    /// each time.
    fn pause_after(&mut self, error: &HealError) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let (exponent, longest) = match error {
            HealError::Unanswered(_) => {
                self.unanswered = self.unanswered.saturating_add(1);
                (2 * self.unanswered, LONGEST_PAUSE_UNANSWERED)
            }
            _ => {
                self.unanswered = 0;
                (self.failures, LONGEST_PAUSE)
            }
        };
        Duration::from_secs(1 << exponent.min(12)).min(longest)
    }

    fn made(&mut self) {
        self.failures = 0;
        self.unanswered = 0;
    }
}

/// The background service `heal`.
pub struct Healer {
    core: Arc<Core>,
    client: Client,
    /// The time limit of one request.
    deadline: Duration,
    options: HealOptions,
    progress: Arc<HealProgress>,
    made: Made,
    /// Instances on which copies could not be made, for the log; `/status` shows each copy.
    failing: LastingStates<InstanceId>,
}

impl Healer {
    /// Run the healer in the runtime that `client` is to belong to. `deadline`: the time limit of one request.
    pub fn new(
        core: Arc<Core>,
        client: Client,
        deadline: Duration,
        options: HealOptions,
        progress: Arc<HealProgress>,
    ) -> Self {
        Healer { core, client, deadline, options, progress, made: Made::default(), failing: LastingStates::default() }
    }

    /// Makes one copy after another until the future is dropped. A copy that is cut off stays behind under its hidden
    /// name, and is removed before the next one is made there.
    pub async fn run(self) {
        if self.options.mode == HealMode::Off {
            return std::future::pending().await;
        }
        let mut due: HashMap<(CollectionId, InstanceId), Due> = HashMap::new();
        let mut swept = HashSet::new();
        loop {
            self.progress.unpaused().await;
            let rebuilds = self.core.board().rebuilds();
            let now = clock::now();
            let known: HashSet<_> = rebuilds.iter().map(|rebuild| (rebuild.collection, rebuild.target)).collect();
            due.retain(|key, _| known.contains(key));
            self.progress.keep(|collection, target| known.contains(&(collection, target)));
            for rebuild in rebuilds {
                let key = (rebuild.collection, rebuild.target);
                let state = due.entry(key).or_insert(Due::new(now));
                if state.not_before > now {
                    continue;
                }
                let Ok(copy) = self.copy(rebuild) else { continue };
                if !self.is_due(&copy, rebuild, state.since).await {
                    state.not_before = now + PATIENCE;
                    continue;
                }
                match self.make_anew(rebuild, &copy, &mut swept).await {
                    Ok(()) => {
                        state.made();
                        self.succeeded(rebuild);
                    }
                    Err(error) => self.failed(rebuild, state, &error),
                }
            }
            tokio::time::sleep(MOMENT).await;
        }
    }

    fn failed(&self, rebuild: Rebuild, state: &mut Due, error: &HealError) {
        state.not_before = clock::now() + state.pause_after(error);
        let instance = self.core.registry().name(rebuild.target);
        let collection = rebuild.collection;
        self.progress.failed(rebuild, &error.to_string());
        if let Some(times) = self.failing.seen(rebuild.target, clock::now()).times() {
            warn!(%collection, %instance, %error, times, "a copy could not be made, and will be tried again");
        }
    }

    fn succeeded(&self, rebuild: Rebuild) {
        if let Some(lasted) = self.failing.ended(&rebuild.target, clock::now()) {
            let (instance, seconds) = (self.core.registry().name(rebuild.target), lasted.time.as_secs());
            info!(%instance, seconds, times = lasted.times, "copies can be made there again");
        }
    }

    /// Whether the copy is to be made without asking. It is if the target has no copy, an empty or a quarantined one,
    /// or one of the edge's own that was not found equal. Somebody else's is left alone.
    async fn is_due(&self, copy: &Copy<'_>, rebuild: Rebuild, since: Instant) -> bool {
        match copy.holder().await {
            Ok((_, Holder::Nobody | Holder::Discarded | Holder::Replaceable { records: 0 })) => true,
            Ok((_, Holder::Replaceable { .. })) => since.elapsed() >= PATIENCE,
            Ok((_, Holder::Foreign)) => {
                self.progress.refused(rebuild, &HealError::Foreign.to_string());
                false
            }
            // A copy with a damaged index can be neither compared nor counted: it is checked.
            Err(HealError::Target(_)) => {
                self.core.discovery().doubts().ask((rebuild.collection, rebuild.target));
                false
            }
            Err(_) => false,
        }
    }

    /// The copy that this rebuild would make.
    fn copy(&self, rebuild: Rebuild) -> Result<Copy<'_>, HealError> {
        let (scope, name) = {
            let board = self.core.board();
            let known = board.catalog().get(rebuild.collection).ok_or(HealError::Overtaken)?;
            (known.scope.clone(), known.name.clone())
        };
        Copy::new(&self.core, &self.client, rebuild, (&scope, &name), &self.made, self.deadline)
    }

    async fn make_anew(
        &self,
        rebuild: Rebuild,
        copy: &Copy<'_>,
        swept: &mut HashSet<(InstanceId, Scope)>,
    ) -> Result<(), HealError> {
        let registry = self.core.registry();
        let (from, to) = (registry.name(rebuild.source), registry.name(rebuild.target));
        let begun = clock::now();
        if swept.insert((rebuild.target, copy.scope.clone())) {
            copy.sweep().await?;
        }
        let total = copy.source.count().await.map_err(HealError::Source)?.unwrap_or_default();
        info!(collection = %rebuild.collection, name = %shown(&copy.name), source = %from, target = %to, records = total, "a copy is being made anew");
        self.progress.begin(rebuild, total);
        let made = self.bring_over(rebuild, copy).await;
        match made {
            Ok(records) => {
                let seconds = begun.elapsed().as_secs_f64();
                self.progress.made(rebuild, records);
                let rate = (records as f64 / seconds.max(0.001)).round();
                info!(collection = %rebuild.collection, target = %to, records, seconds, records_per_second = rate, "the copy is made and serves");
                copy.remove_old().await;
                Ok(())
            }
            Err(error) => {
                copy.remove().await;
                // The copy may have taken its place nevertheless.
                swept.remove(&(rebuild.target, copy.scope.clone()));
                Err(error)
            }
        }
    }

    /// Says how far a copy is: once for each tenth.
    fn tell(&self, rebuild: Rebuild, records: u64) {
        let Some(tenth) = self.progress.copied(rebuild, records) else { return };
        let view = self
            .progress
            .views()
            .into_iter()
            .find(|view| (view.collection, view.target) == (rebuild.collection, rebuild.target));
        let (total, rate) = view.map_or((records, 0.0), |view| (view.total, view.rate));
        let (instance, percent) = (self.core.registry().name(rebuild.target), 10 * tenth);
        let (rate, collection) = (rate.round(), rebuild.collection);
        info!(%collection, target = %instance, percent, records, total, records_per_second = rate, "a copy is being made");
    }

    /// Copies, compares until little differs, and cuts over.
    async fn bring_over(&self, rebuild: Rebuild, copy: &Copy<'_>) -> Result<u64, HealError> {
        let created = copy.create().await?;
        for _ in 0..PASSES {
            if !self.core.board().can_rebuild(rebuild) {
                return Err(HealError::Overtaken);
            }
            let cutover = Cutover::begin(&self.core, rebuild, self.options.hold);
            let copied = |records| -> BoxFuture<'_, ()> {
                self.tell(rebuild, records);
                Box::pin(self.progress.unpaused())
            };
            let fixed = align::contents(&created.sides(&copy.source), &copied).await?;
            if fixed.records > NEARLY_EQUAL {
                continue;
            }
            copy.give_dimension(&created).await?;
            copy.note_made(&created).await;
            if let Some(records) = cutover.run(copy, &created).await? {
                return Ok(records);
            }
        }
        Err(HealError::TooBusy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_does_not_answer_is_left_alone_for_longer_each_time() {
        let mut due = Due::new(clock::now());
        let mut seconds = |error| due.pause_after(&error).as_secs();
        let unanswered = || HealError::Unanswered(String::new());
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(|_| seconds(unanswered())), [4, 16, 64, 256, 1024, 3600, 3600]);
        assert_eq!(seconds(HealError::TooBusy), 60);
        assert_eq!(seconds(unanswered()), 4, "it has answered meanwhile");
    }
}
