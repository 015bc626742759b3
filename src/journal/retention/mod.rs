//! Retention: removes finished transactions when they are old enough, or earlier if the journal is over its byte limit,
//! in small commits between all others.
//!
//! It decides when to remove, how much at a time, and which instance to name if that is not enough. The store's rule
//! (R11) decides what may be removed: never what a configured instance in step still needs, and, to make room, never
//! what fewer than two of several instances hold.

mod applications;
mod capacity;
mod told;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

#[cfg(test)]
pub(super) use self::applications::overdue;
pub use self::applications::{AGE as APPLICATION_AGE, ApplicationQuota, Coming, client_share_of, counted, share_of};
pub(super) use self::applications::{give_up, make_room as make_room_for_applications};
pub use self::capacity::Capacity;
use self::capacity::Judgement;
use self::told::Told;
use super::{AppendError, ApplicationUse, CommitError, Journal, ReadError, Store, Trimming};
use crate::clock::{self, Timestamp};
use crate::current::Current;
use crate::ids::{InstanceName, LaneId};

/// How long transactions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionOptions {
    /// How long finished transactions are kept: the key `retention`.
    pub keep: Duration,
    /// The time between two rounds.
    pub every: Duration,
    /// Transactions per commit: a few hundred, so that appends do not wait long.
    pub batch: u32,
    /// Above this, finished transactions are removed before `keep` is over: the key `journal.max_bytes`.
    pub max_bytes: u64,
    /// The time between two checks of the journal's size.
    pub look: Duration,
    /// The most bytes that applications' own operations may take: the key `journal.application_bytes`.
    pub application_bytes: u64,
    /// The most bytes that one client's operations may take: the key `journal.application_client_bytes`.
    pub application_client_bytes: u64,
    /// How long an application's own operation may stay open: the key `journal.application_age`.
    pub application_age: Duration,
    /// How long an ended operation is kept at least, however little room there is: the key `idempotency.keep`.
    pub keep_ids: Duration,
}

impl Default for RetentionOptions {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        RetentionOptions {
            keep: 7 * day,
            every: Duration::from_secs(10 * 60),
            batch: 500,
            max_bytes: u64::MAX,
            look: Duration::from_secs(5),
            application_bytes: u64::MAX,
            application_client_bytes: u64::MAX,
            application_age: APPLICATION_AGE,
            keep_ids: Duration::from_secs(60 * 60),
        }
    }
}

/// The pause between two checks of the journal's size is at least this many times as long as a check took. If nothing
/// may be removed from a journal that is too large, a check reads everything that the journal holds.
const REST: u32 = 20;

/// Receives what retention finds.
pub trait RetentionSink: Send + Sync + 'static {
    /// Called with how full the journal is now.
    fn capacity(&self, capacity: &Capacity);

    /// Returns the quota of applications' own operations.
    fn applications(&self) -> &ApplicationQuota;

    /// Called when the instance is left behind in this lane: it must become diverged there.
    fn left_behind(&self, lane: LaneId, instance: &InstanceName);
}

/// A failed check of the journal's size.
#[derive(Debug, thiserror::Error)]
pub(super) enum CapacityError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Record(#[from] AppendError),
}

/// Trims the store, at once and then every [`RetentionOptions::every`], and checks its size every
/// [`RetentionOptions::look`], until `shutdown`. Each round uses the instances that are `configured` at that time. A
/// failed round is logged, and the next one tries again.
pub async fn run(
    (store, journal): (Arc<dyn Store>, Journal),
    configured: impl Fn() -> Vec<InstanceName> + Send + Sync,
    options: Current<RetentionOptions>,
    sink: Arc<dyn RetentionSink>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let ticks = |every: Duration| {
        let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let first = options.get();
    let (mut rounds, mut looks) = (ticks(first.every), ticks(first.look));
    let mut told = Told::default();
    let work = async {
        loop {
            tokio::select! {
                _ = rounds.tick() => {
                    let removed = round(store.as_ref(), &configured(), &options.get(), Timestamp::now()).await;
                    told.round(removed, clock::now());
                    let kept = keep_applications(store.as_ref(), &journal, &options.get(), sink.applications()).await;
                    tell_of_applications(kept, options.get().application_client_bytes, &mut told);
                },
                _ = looks.tick() => {
                    let begun = clock::now();
                    match make_room(store.as_ref(), &configured(), &options.get()).await {
                        Ok(room) => tell(&room, &mut told, sink.as_ref()),
                        Err(error) => told.unread(&error, clock::now()),
                    }
                    if sink.applications().is_tight() {
                        let kept = look_at_applications(store.as_ref(), &options.get(), sink.applications()).await;
                        tell_of_applications(kept, options.get().application_client_bytes, &mut told);
                    }
                    looks.reset_after(options.get().look.max(begun.elapsed() * REST));
                },
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown => {}
    }
}

fn tell_of_applications(used: Result<ApplicationUse, CapacityError>, limit: u64, told: &mut Told) {
    match used {
        Ok(used) => told.applications(used, limit, clock::now()),
        Err(error) => told.unread(&error, clock::now()),
    }
}

/// Ends operations that stayed open for too long, and measures what applications' own operations take.
async fn keep_applications(
    store: &dyn Store,
    journal: &Journal,
    options: &RetentionOptions,
    quota: &ApplicationQuota,
) -> Result<ApplicationUse, CapacityError> {
    let ended = give_up(store, journal, options, Timestamp::now()).await?;
    if ended > 0 {
        tracing::warn!(ended, "gave up applications' own operations whose end was not reported in time");
    }
    look_at_applications(store, options, quota).await
}

async fn look_at_applications(
    store: &dyn Store,
    options: &RetentionOptions,
    quota: &ApplicationQuota,
) -> Result<ApplicationUse, CapacityError> {
    let used = make_room_for_applications(store, options).await?;
    quota.measured(&used);
    Ok(used)
}

/// The result of a check of the journal's size.
#[derive(Debug)]
pub(super) struct Room {
    pub capacity: Capacity,
    /// How many transactions were removed early.
    pub removed: u64,
    /// The instances that are left behind, by lane.
    pub leave: Vec<(LaneId, InstanceName)>,
}

fn tell(room: &Room, told: &mut Told, sink: &dyn RetentionSink) {
    let now = clock::now();
    told.read(room.removed, now);
    for (lane, instance) in &room.leave {
        told.left_behind(*lane, instance, now);
        sink.left_behind(*lane, instance);
    }
    told.capacity(&room.capacity, now);
    sink.capacity(&room.capacity);
}

/// Runs one round: removes batch after batch until nothing is left to remove. Returns how many transactions were
/// removed.
pub(super) async fn round(
    store: &dyn Store,
    configured: &[InstanceName],
    options: &RetentionOptions,
    now: Timestamp,
) -> Result<u64, CommitError> {
    let before = now.before(options.keep);
    let mut removed = 0;
    loop {
        let trimmed = store.trim(before, configured, Trimming::Age, options.batch).await?;
        if trimmed.transactions == 0 {
            return Ok(removed);
        }
        removed += trimmed.transactions;
    }
}

/// Removes transactions early, the oldest first, until the journal is within its limit. If that is not enough, finds
/// out why.
pub(super) async fn make_room(
    store: &dyn Store,
    configured: &[InstanceName],
    options: &RetentionOptions,
) -> Result<Room, CapacityError> {
    let limit = options.max_bytes;
    let enough = |used, removed| {
        let capacity = Capacity { used, limit, held_back_by: None };
        Room { capacity, removed, leave: Vec::new() }
    };
    let used = store.used_bytes(limit).await?;
    if used <= limit {
        return Ok(enough(used, 0));
    }
    let (removed, exhausted) = trim_down(store, configured, options, used).await?;
    let used = store.used_bytes(limit).await?;
    if used <= limit || !exhausted {
        return Ok(enough(used, removed));
    }
    let Judgement { holder, leave } = capacity::judge(&store.held(configured).await?, used - limit);
    Ok(Room { capacity: Capacity { used, limit, held_back_by: holder }, removed, leave })
}

/// Returns how many transactions were removed, and whether nothing else may be removed.
async fn trim_down(
    store: &dyn Store,
    configured: &[InstanceName],
    options: &RetentionOptions,
    mut used: u64,
) -> Result<(u64, bool), CommitError> {
    let mut removed = 0;
    for age in capacity::ages(options.keep) {
        // Include what ended in this very millisecond.
        let before = Timestamp::from_millis(Timestamp::now().before(age).millis().saturating_add(1));
        loop {
            let trimmed = store.trim(before, configured, Trimming::Capacity, options.batch).await?;
            removed += trimmed.transactions;
            used = used.saturating_sub(trimmed.bytes);
            if used <= options.max_bytes {
                return Ok((removed, false));
            }
            if trimmed.transactions == 0 {
                break;
            }
        }
    }
    Ok((removed, true))
}
