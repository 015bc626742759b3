//! Makes diverged copies whole (rule R14) from a fresh instance, while clients read and write. A copy is repaired in
//! place, or made anew in full.
//!
//! A new copy is made beside the old one, under a name of the edge's own that no client sees, and takes the old one's
//! place at a moment when the lane stands still. `order/` decides when that may happen; this room reads, writes and
//! renames. A copy that existed before the edge and differs from the one that is served is left alone: the edge cannot
//! tell which copy is right. A quarantined copy is replaced unread, and so is one that is condemned for anything but
//! its records.

mod align;
mod copy;
mod cursor;
mod cutover;
mod error;
mod in_place;
mod place;
mod progress;
mod queue;
mod records;
mod throttle;
mod touched;
mod way;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tracing::{info, warn};

use self::align::Aligned;
use self::copy::{Copy, Holder, Made, Twin};
use self::cutover::Cutover;
use self::error::HealError;
pub(crate) use self::place::{NAMED, PAGE_IDS, PageLimits, Place, Shown};
pub use self::progress::{HealPause, HealProgress, HealStage, HealTotals, HealView};
use self::queue::{Next, Queue};
#[cfg(test)]
pub(crate) use self::records::records_of;
pub(crate) use self::records::{Embeddings, Record};
use self::throttle::Throttle;
pub use self::way::HealWay;
use crate::clock;
use crate::coordinator::{Core, LateWrites};
use crate::current::Current;
use crate::ids::{CollectionId, InstanceId, Scope, shown};
use crate::instance::{Client, Generation};
use crate::lasting::LastingStates;
use crate::order::{LaneState, Rebuild};
use crate::proof::{self, CrashPoint};

/// How copies are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealOptions {
    /// In the configuration file: `heal.enabled`.
    pub mode: HealMode,
    /// How long writers of a collection may wait while its new copy takes its place: `heal.hold`.
    pub hold: Duration,
    /// Records a second over all copies, `None` for no limit: `heal.rate`.
    pub rate: Option<NonZeroU32>,
    /// How many copies are made at once: `heal.concurrent`.
    pub concurrent: usize,
    /// How many bytes the pages of one copy may take at once: `heal.memory`.
    pub memory: usize,
}

/// How many pages are in memory at once: as an answer and as records, of both sides and of the source's next page, and
/// as the body that is sent, while it is built.
const PAGES_IN_MEMORY: usize = 8;

/// How an attempt to make a copy whole ended.
enum Attempt {
    Made,
    /// Nothing was begun. The copy is considered again after this pause.
    Left(Duration),
    /// A repair turned out to cost more than a new copy.
    NotWorthIt(HealError),
    Failed(HealWay, HealError),
}

/// Whether the edge makes copies without an operator's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealMode {
    Automatic,
    Off,
}

/// The pause between two searches for diverged copies.
const MOMENT: Duration = Duration::from_millis(250);
/// How long an existing copy is left to the comparison, which costs less and may find it equal.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many times a copy is compared with its source before it is given up for now.
const PASSES: usize = 12;
/// A copy that differed in no more records than this is worth a cutover.
const NEARLY_EQUAL: usize = 500;

/// The background service `heal`.
pub struct Healer {
    core: Arc<Core>,
    client: Client,
    options: Current<HealOptions>,
    progress: Arc<HealProgress>,
    /// The late writes to copies that are repaired.
    late_writes: Arc<LateWrites>,
    made: Made,
    throttle: Throttle,
    /// Databases without leftovers, as of the instance's last return.
    swept: Mutex<HashMap<(InstanceId, Scope), Generation>>,
    /// For the log: instances on which copies could not be made. `/status` shows each copy.
    failing: LastingStates<InstanceId>,
}

impl Healer {
    /// Creates the healer. It must run in the runtime that `client` belongs to.
    pub fn new(
        core: Arc<Core>,
        client: Client,
        late_writes: Arc<LateWrites>,
        options: Current<HealOptions>,
        progress: Arc<HealProgress>,
    ) -> Self {
        Healer {
            core,
            client,
            options,
            progress,
            late_writes,
            made: Made::default(),
            throttle: Throttle::default(),
            swept: Mutex::default(),
            failing: LastingStates::default(),
        }
    }

    /// Makes copies until the future is dropped, a few at once. A copy that is cut off stays behind under its hidden name, and
    /// is removed before the next one is made there.
    pub async fn run(self) {
        let healer = &self;
        let mut queue = Queue::default();
        let mut under_way = FuturesUnordered::new();
        loop {
            let options = self.options.get();
            let most = if options.mode == HealMode::Automatic { options.concurrent } else { 0 };
            let rebuilds = self.core.board().rebuilds();
            queue.is_now(&rebuilds, clock::now(), |key| self.is_out_of_step(key));
            let known: HashSet<_> = rebuilds.iter().map(queue::key).collect();
            self.progress.keep(|key| known.contains(&key) || queue.is_being_made(key));
            while self.progress.pause() == HealPause::On
                && let Some(next) = queue.next(&rebuilds, |of| self.good_copies(of), (most, clock::now()))
            {
                under_way.push(async move { (next.rebuild, healer.attempt(next).await) });
            }
            // The attempts in progress are polled all the time: one of them may hold a lane.
            tokio::select! {
                Some((rebuild, attempt)) = under_way.next(), if !under_way.is_empty() => {
                    self.conclude(&mut queue, rebuild, attempt);
                }
                () = tokio::time::sleep(MOMENT) => {}
            }
        }
    }

    fn is_out_of_step(&self, (collection, instance): queue::Key) -> bool {
        self.core.board().state_of(collection, instance) != LaneState::InStep
    }

    /// Returns how many copies of the collection are in step, wherever they are.
    fn good_copies(&self, collection: CollectionId) -> usize {
        let board = self.core.board();
        let serves = |instance: &InstanceId| {
            board.catalog().mapping(collection, *instance).is_some()
                && board.state_of(collection, *instance) == LaneState::InStep
        };
        self.core.registry().ids().filter(serves).count()
    }

    async fn attempt(&self, Next { rebuild, since, way }: Next) -> Attempt {
        let Ok(copy) = self.copy(rebuild) else { return Attempt::Left(MOMENT) };
        if !self.is_due(&copy, rebuild, since).await {
            return Attempt::Left(PATIENCE);
        }
        if way == HealWay::Repair
            && let Some(attempt) = self.try_to_repair(rebuild, &copy).await
        {
            return attempt;
        }
        let made = self.make_anew(rebuild, &copy).await;
        made.map_or_else(|error| Attempt::Failed(HealWay::Anew, error), |()| Attempt::Made)
    }

    fn conclude(&self, queue: &mut Queue, rebuild: Rebuild, attempt: Attempt) {
        match attempt {
            Attempt::Made => {
                queue.made(&rebuild);
                self.succeeded(rebuild);
            }
            Attempt::Left(pause) => queue.left(&rebuild, clock::now() + pause),
            Attempt::NotWorthIt(why) => {
                info!(collection = %rebuild.collection, target = %self.core.registry().name(rebuild.target), %why, "the copy is not repaired further");
                queue.not_worth_a_repair(&rebuild, clock::now());
            }
            Attempt::Failed(way, error) => {
                queue.failed(&rebuild, (way, &error), clock::now());
                self.failed(rebuild, &error);
            }
        }
    }

    fn failed(&self, rebuild: Rebuild, error: &HealError) {
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
            info!(%instance, seconds, times = lasted.times, "copies can be made on this instance again");
        }
    }

    /// Returns whether the copy is to be made: if the target has no copy, an empty or a discarded one, or one of the
    /// edge's own that was not found equal. Any other one is left alone.
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

    /// Returns the copy that this rebuild would make.
    fn copy(&self, rebuild: Rebuild) -> Result<Copy<'_>, HealError> {
        let (scope, name) = {
            let board = self.core.board();
            let known = board.catalog().get(rebuild.collection).ok_or(HealError::Overtaken)?;
            (known.scope.clone(), known.name.clone())
        };
        let options = self.options.get();
        let limits =
            PageLimits { bytes: options.memory / PAGES_IN_MEMORY, records: throttle::page_records(options.rate) };
        let deadline = self.core.registry().timeouts().attempt;
        Copy::new(&self.core, &self.client, rebuild, (&scope, &name), &self.made, (deadline, limits))
    }

    async fn make_anew(&self, rebuild: Rebuild, copy: &Copy<'_>) -> Result<(), HealError> {
        let registry = self.core.registry();
        let (from, to) = (registry.name(rebuild.source), registry.name(rebuild.target));
        let begun = clock::now();
        let _names = copy.use_names();
        self.sweep(rebuild, copy).await?;
        let total = copy.source.count().await.map_err(HealError::Source)?.unwrap_or_default();
        info!(collection = %rebuild.collection, name = %shown(&copy.name), source = %from, target = %to, records = total, "a copy is being made anew");
        self.progress.begin((rebuild, HealWay::Anew), total);
        proof::pass(CrashPoint::BeforeCopy);
        let twin = match copy.create().await {
            Ok(twin) => twin,
            Err(error) => {
                copy.remove_hidden().await;
                return Err(error);
            }
        };
        proof::pass(CrashPoint::CopyCreated);
        match self.bring_over((rebuild, HealWay::Anew), copy, &twin).await {
            Ok(records) => {
                let seconds = begun.elapsed().as_secs_f64();
                self.progress.made(rebuild, records);
                let rate = (records as f64 / seconds.max(0.001)).round();
                info!(collection = %rebuild.collection, target = %to, records, seconds, records_per_second = rate, "the copy is made and serves");
                copy.remove_old().await;
                Ok(())
            }
            Err(error) => {
                copy.remove(&twin).await;
                // The copy may have taken its place all the same.
                self.swept().remove(&(rebuild.target, copy.scope.clone()));
                Err(error)
            }
        }
    }

    /// Removes what was left behind in the database, once for each time that the instance returns.
    async fn sweep(&self, rebuild: Rebuild, copy: &Copy<'_>) -> Result<(), HealError> {
        let database = (rebuild.target, copy.scope.clone());
        let generation = self.core.registry().generation(rebuild.target);
        let before = self.swept().insert(database.clone(), generation);
        if before == Some(generation) {
            return Ok(());
        }
        copy.sweep().await.inspect_err(|_| {
            self.swept().remove(&database);
        })
    }

    fn swept(&self) -> MutexGuard<'_, HashMap<(InstanceId, Scope), Generation>> {
        self.swept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs how far a copy is, once for each tenth.
    fn tell(&self, (rebuild, way): (Rebuild, HealWay), page: Aligned) {
        let Some(tenth) = self.progress.aligned(rebuild, page) else { return };
        let view = self
            .progress
            .views()
            .into_iter()
            .find(|view| (view.collection, view.target) == (rebuild.collection, rebuild.target));
        let (total, rate, written) = view.map_or((page.equal, 0.0, 0), |view| (view.total, view.rate, view.written));
        let (instance, percent) = (self.core.registry().name(rebuild.target), 10 * tenth);
        let (rate, collection, records, way) = (rate.round(), rebuild.collection, page.equal, way.as_str());
        info!(%collection, target = %instance, way, percent, records, written, total, records_per_second = rate, "a copy is being made");
    }

    /// Compares and writes until little differs, then cuts over.
    async fn bring_over(
        &self,
        (rebuild, way): (Rebuild, HealWay),
        copy: &Copy<'_>,
        twin: &Twin<'_>,
    ) -> Result<u64, HealError> {
        for _ in 0..PASSES {
            let stands = match way {
                HealWay::Anew => self.core.board().can_rebuild(rebuild),
                HealWay::Repair => self.core.board().can_rebuild(rebuild) && self.core.board().repairs(rebuild),
            };
            if !stands {
                return Err(HealError::Overtaken);
            }
            let cutover = Cutover::begin(&self.core, (rebuild, way), self.options.get().hold);
            let heard = |page: Aligned| -> BoxFuture<'_, ()> {
                self.tell((rebuild, way), page);
                Box::pin(async move {
                    self.throttle.pay(page.more, self.options.get().rate).await;
                    self.progress.unpaused().await;
                })
            };
            let fixed = align::contents(&twin.sides(&copy.source), &heard).await?;
            if fixed.records() > NEARLY_EQUAL {
                continue;
            }
            copy.give_dimension(twin).await?;
            if way == HealWay::Anew {
                copy.note_made(twin).await;
            }
            proof::pass(CrashPoint::BeforeCutover);
            if let Some(fixed) = cutover.run(copy, twin).await? {
                self.progress.wrote(rebuild, fixed.records() as u64);
                return Ok(fixed.total);
            }
        }
        Err(HealError::TooBusy)
    }
}
