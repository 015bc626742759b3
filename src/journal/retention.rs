//! Retention: deletes finished transactions after a time, in small commits between everyone else's.
//!
//! Decides when and how much at a time. What may go is the store's rule (R11): never what a configured instance in
//! step still needs.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{CommitError, Store};
use crate::clock::Timestamp;
use crate::ids::InstanceName;

/// How long transactions are kept.
#[derive(Clone, Debug)]
pub struct RetentionOptions {
    /// Finished transactions are kept for this long.
    pub keep: Duration,
    /// The time between two rounds.
    pub every: Duration,
    /// Transactions per commit: a few hundred, so that no append waits for long.
    pub batch: u32,
}

impl Default for RetentionOptions {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        RetentionOptions { keep: 7 * day, every: Duration::from_secs(10 * 60), batch: 500 }
    }
}

/// Trims the store, at once and then every [`RetentionOptions::every`], until `shutdown`. A round that fails is
/// logged, and the next one tries again.
pub async fn run(
    store: Arc<dyn Store>,
    configured: Vec<InstanceName>,
    options: RetentionOptions,
    shutdown: impl Future<Output = ()> + Send,
) {
    let mut rounds = tokio::time::interval(options.every.max(Duration::from_millis(1)));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            rounds.tick().await;
            match round(store.as_ref(), &configured, &options, Timestamp::now()).await {
                Ok(0) => {}
                Ok(transactions) => tracing::info!(transactions, "removed old transactions from the journal"),
                Err(error) => tracing::warn!(%error, "remove old transactions from the journal"),
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown => {}
    }
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
        let trimmed = store.trim(before, configured, options.batch).await?;
        if trimmed.transactions == 0 {
            return Ok(removed);
        }
        removed += trimmed.transactions;
    }
}
