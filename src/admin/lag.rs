//! How far instances are behind in bytes and seconds, and how much recovery has left to do, for metrics.
//!
//! A write's age is that of its transaction in the journal.

use std::collections::BTreeMap;

use super::Admin;
use crate::clock::Timestamp;
use crate::ids::Seq;
use crate::journal::Lookup;
use crate::metrics::{Gauges, Number};
use crate::order::Lag;

impl Admin {
    /// Fills in how much each instance lacks, and since when. Unknown while the journal cannot be read.
    pub(super) async fn set_lags(&self, gauges: &mut Gauges) {
        let registry = self.core.registry();
        // Keyed by name, because a reload may change the set of instances.
        let lags: BTreeMap<&str, Lag> = {
            let board = self.core.board();
            registry.ids().map(|id| (registry.name(id).as_str(), board.lag(id))).collect()
        };
        let mut ages = BTreeMap::new();
        for seq in lags.values().filter_map(|lag| lag.oldest) {
            if let std::collections::btree_map::Entry::Vacant(unknown) = ages.entry(seq) {
                unknown.insert(self.age(seq).await);
            }
        }
        let seconds = |lag: &Lag| match lag.oldest {
            Some(seq) => ages.get(&seq).copied().flatten(),
            None => Some(0.0),
        };
        for instance in &mut gauges.instances {
            let Some(lag) = lags.get(instance.name.as_str()) else { continue };
            instance.lag_bytes = i64::try_from(lag.bytes).unwrap_or(i64::MAX);
            instance.lag_seconds = seconds(lag);
        }
        let oldest = lags.values().map(seconds).try_fold(0.0, |most: f64, one| one.map(|one| most.max(one)));
        gauges.oldest_unreplicated_seconds = oldest;
    }

    async fn age(&self, seq: Seq) -> Option<f64> {
        let row = self.core.store().transaction(&Lookup::Position(seq)).await.ok()??;
        let millis = Timestamp::now().millis().saturating_sub(row.created_at.millis());
        Some((millis as f64 / 1000.0).max(0.0))
    }

    /// The gauges of recovery and of missing second copies.
    pub(super) fn recovery_numbers(&self) -> [(Number, i64); 3] {
        let board = self.core.board();
        [
            (Number::RecoveryRunning, i64::from(self.core.is_recovering())),
            (Number::AwaitingRecovery, i64::try_from(board.awaiting_recovery()).unwrap_or(i64::MAX)),
            (Number::WithoutSecondCopy, i64::try_from(board.without_second_copy(0).0).unwrap_or(i64::MAX)),
        ]
    }
}
