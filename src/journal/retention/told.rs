//! What retention logs. A state that lasts is logged when it begins, once a minute, and when it ends.

use std::fmt::Display;
use std::time::Instant;

use super::capacity::Capacity;
use crate::ids::{InstanceName, LaneId};
use crate::journal::{ApplicationUse, ClientUse, CommitError};
use crate::lasting::{Lasting, LastingStates};

/// What has been logged.
#[derive(Default)]
pub(super) struct Told {
    stuck: Lasting,
    unread: Lasting,
    early: Lasting,
    removed_early: u64,
    left: LastingStates<InstanceName>,
    kept_for: Lasting,
    named: Option<InstanceName>,
    crowded: Lasting,
}

impl Told {
    /// Logs how many transactions a round removed, or its failure.
    pub fn round(&mut self, removed: Result<u64, CommitError>, now: Instant) {
        match removed {
            Ok(transactions) => {
                if let Some(lasted) = self.stuck.ended(now) {
                    let seconds = lasted.time.as_secs();
                    tracing::info!(seconds, "old transactions can be removed from the journal again");
                }
                if transactions > 0 {
                    tracing::info!(transactions, "removed old transactions from the journal");
                }
            }
            Err(error) => {
                if let Some(times) = self.stuck.seen(now).times() {
                    tracing::warn!(%error, times, "cannot remove old transactions from the journal");
                }
            }
        }
    }

    /// Logs that the journal's size could not be checked.
    pub fn unread(&mut self, error: &dyn Display, now: Instant) {
        if let Some(times) = self.unread.seen(now).times() {
            tracing::warn!(%error, times, "cannot check the journal's size");
        }
    }

    /// Logs that the size was checked, and how many transactions were removed early.
    pub fn read(&mut self, removed: u64, now: Instant) {
        if let Some(lasted) = self.unread.ended(now) {
            tracing::info!(
                seconds = lasted.time.as_secs(),
                times = lasted.times,
                "the journal's size can be read again"
            );
        }
        if removed > 0 {
            self.removed_early += removed;
            if self.early.seen(now).times().is_some() {
                let transactions = std::mem::take(&mut self.removed_early);
                tracing::info!(transactions, "removed transactions early: the journal is over its limit");
            }
        } else if self.early.is_quiet(now)
            && let Some(lasted) = self.early.ended(now)
        {
            let (seconds, transactions) = (lasted.time.as_secs(), std::mem::take(&mut self.removed_early));
            tracing::info!(seconds, transactions, "no longer removing transactions early");
        }
        for (instance, lasted) in self.left.quiet(now) {
            tracing::info!(%instance, lanes = lasted.times, "not left behind in any more lanes");
        }
    }

    /// Logs that the instance is left behind in this lane: one line for all its lanes.
    pub fn left_behind(&self, lane: LaneId, instance: &InstanceName, now: Instant) {
        if let Some(lanes) = self.left.seen(instance.clone(), now).times() {
            tracing::error!(%instance, %lane, lanes, "left behind: the journal is over its limit, and two others have all of it");
        }
    }

    /// Logs which client's own operations take nearly all that one client may.
    pub fn applications(&mut self, used: ApplicationUse, limit: u64, now: Instant) {
        match used.largest.filter(|largest| largest.bytes > limit - limit / 10) {
            Some(ClientUse { client, bytes }) => {
                if let Some(times) = self.crowded.seen(now).times() {
                    tracing::warn!(client, bytes, limit, times, "a client's own operations nearly fill its share");
                }
            }
            None => {
                if let Some(lasted) = self.crowded.ended(now) {
                    let seconds = lasted.time.as_secs();
                    tracing::info!(seconds, "no client's own operations nearly fill its share any longer");
                }
            }
        }
    }

    /// Logs which instance keeps the journal over its limit.
    pub fn capacity(&mut self, capacity: &Capacity, now: Instant) {
        let Capacity { used, limit, held_back_by } = capacity;
        if self.named != *held_back_by {
            let lasted = self.kept_for.ended(now).map(|lasted| lasted.time.as_secs());
            if held_back_by.is_none() {
                tracing::info!(used, limit, seconds = lasted, "no instance keeps the journal over its limit now");
            }
            self.named.clone_from(held_back_by);
        }
        if let Some(instance) = held_back_by
            && let Some(times) = self.kept_for.seen(now).times()
        {
            tracing::error!(%instance, used, limit, times, "the journal is over its limit, and kept for this instance");
        }
    }
}
