//! Retention: deletes finished transactions after a time, or before it when the journal is over its byte limit, in
//! small commits between everyone else's.
//!
//! Decides when and how much at a time, and whom to name when that is not enough. What may go is the store's rule
//! (R11): never what a configured instance in step still needs; for room, never what fewer than two hold.

mod capacity;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{CommitError, ReadError, Store, Trimming};
use crate::clock::{self, Timestamp};
use crate::ids::{InstanceName, LaneId};
use crate::lasting::Lasting;

/// How long transactions are kept.
#[derive(Clone, Debug)]
pub struct RetentionOptions {
    /// Finished transactions are kept for this long.
    pub keep: Duration,
    /// The time between two rounds.
    pub every: Duration,
    /// Transactions per commit: a few hundred, so that no append waits for long.
    pub batch: u32,
    /// Above this, finished transactions are not kept for that long.
    pub max_bytes: u64,
    /// The time between two looks at the bytes.
    pub look: Duration,
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
        }
    }
}

/// How full the journal is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes that its transactions take, as far as they count for the limit.
    pub used: u64,
    pub limit: u64,
    /// While it is over the limit and nothing may be removed: the instance for which most is kept.
    pub held_back_by: Option<InstanceName>,
}

/// Receives what retention finds.
pub trait RetentionSink: Send + Sync + 'static {
    /// The journal is this full now.
    fn capacity(&self, capacity: &Capacity);

    /// The instance is not waited for any more in this lane: it is to be diverged there.
    fn left_behind(&self, lane: LaneId, instance: &InstanceName);
}

/// A failed check of the journal's size.
#[derive(Debug, thiserror::Error)]
pub(super) enum CapacityError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Trims the store, at once and then every [`RetentionOptions::every`], and looks at its bytes every
/// [`RetentionOptions::look`], until `shutdown`. A round that fails is logged, and the next one tries again.
pub async fn run(
    store: Arc<dyn Store>,
    configured: Vec<InstanceName>,
    options: RetentionOptions,
    sink: Arc<dyn RetentionSink>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let ticks = |every: Duration| {
        let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let (mut rounds, mut looks) = (ticks(options.every), ticks(options.look));
    let (mut named, mut unread) = (None, Lasting::default());
    let work = async {
        loop {
            tokio::select! {
                _ = rounds.tick() => match round(store.as_ref(), &configured, &options, Timestamp::now()).await {
                    Ok(0) => {}
                    Ok(transactions) => tracing::info!(transactions, "removed old transactions from the journal"),
                    Err(error) => tracing::warn!(%error, "cannot remove old transactions from the journal"),
                },
                _ = looks.tick() => match make_room(store.as_ref(), &configured, &options, sink.as_ref()).await {
                    Ok(capacity) => {
                        unread.ended(clock::now());
                        tell(capacity, &mut named, sink.as_ref());
                    }
                    Err(error) => if let Some(times) = unread.seen(clock::now()).times() {
                        tracing::warn!(%error, times, "look at the journal's size");
                    },
                },
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown => {}
    }
}

/// Says who holds the journal back, once per change.
fn tell(capacity: Capacity, named: &mut Option<InstanceName>, sink: &dyn RetentionSink) {
    let Capacity { used, limit, held_back_by } = &capacity;
    if named != held_back_by {
        match held_back_by {
            Some(instance) => {
                tracing::error!(%instance, used, limit, "the journal is over its limit, and kept for this instance");
            }
            None => tracing::info!(used, limit, "no instance holds the journal over its limit any more"),
        }
        named.clone_from(held_back_by);
    }
    sink.capacity(&capacity);
}

/// One round: batch after batch, until nothing is left to remove. Returns how many transactions went.
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

/// Removes what may go before its time, the oldest first, until the journal is within its limit; when that is not
/// enough, finds out why.
pub(super) async fn make_room(
    store: &dyn Store,
    configured: &[InstanceName],
    options: &RetentionOptions,
    sink: &dyn RetentionSink,
) -> Result<Capacity, CapacityError> {
    let limit = options.max_bytes;
    let used = store.used_bytes(limit).await?;
    if used <= limit {
        return Ok(Capacity { used, limit, held_back_by: None });
    }
    let (transactions, exhausted) = trim_down(store, configured, options, used).await?;
    if transactions > 0 {
        tracing::info!(transactions, "removed transactions early: the journal is over its limit");
    }
    let used = store.used_bytes(limit).await?;
    if used <= limit || !exhausted {
        return Ok(Capacity { used, limit, held_back_by: None });
    }
    let judgement = capacity::judge(&store.held(configured).await?, used - limit);
    for (lane, instance) in &judgement.leave {
        tracing::error!(%instance, %lane, "left behind: the journal is over its limit, and two others have all of it");
        sink.left_behind(*lane, instance);
    }
    Ok(Capacity { used, limit, held_back_by: judgement.holder })
}

/// Returns how many transactions went, and whether no more may.
async fn trim_down(
    store: &dyn Store,
    configured: &[InstanceName],
    options: &RetentionOptions,
    mut used: u64,
) -> Result<(u64, bool), CommitError> {
    let mut removed = 0;
    for age in capacity::ages(options.keep) {
        // What ended in this very millisecond too.
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
