//! How far the configured instances are in each lane: where loading starts, and what retention must keep (rule R11).
//!
//! Pure, and the same for every store. An instance that is not configured does not count. A configured instance without
//! a row has not begun. The store decides what to do with the answers.

use std::collections::{HashMap, HashSet};

use super::names::lane_named;
use super::{HeldProgress, ProgressRow, Trimming};
use crate::ids::{InstanceName, LaneId, Seq};
use crate::order::LaneState;

/// The stored progress rows, by lane.
#[derive(Debug, Default)]
pub(super) struct LaneProgress(HashMap<LaneId, Vec<ProgressRow>>);

impl FromIterator<ProgressRow> for LaneProgress {
    fn from_iter<T: IntoIterator<Item = ProgressRow>>(rows: T) -> Self {
        let mut places: HashMap<LaneId, Vec<ProgressRow>> = HashMap::new();
        for row in rows {
            places.entry(row.lane).or_default().push(row);
        }
        LaneProgress(places)
    }
}

/// Whose progress in a lane counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holders {
    /// In-step instances. The result is `None` if there are none.
    InStep,
    /// Every configured instance, diverged or not.
    All,
}

impl LaneProgress {
    /// Removes all other lanes.
    pub(super) fn retain(&mut self, lanes: &HashSet<LaneId>) {
        self.0.retain(|lane, _| lanes.contains(lane));
    }

    /// Returns the rows in arbitrary order.
    pub(super) fn into_rows(self) -> Vec<ProgressRow> {
        self.0.into_values().flatten().collect()
    }

    /// Returns the position above which the lane's entries are loaded. If no instance is in step, all configured
    /// instances count: loading too many entries is better than missing one that an instance needs when it is in step
    /// again.
    pub(super) fn needed_above(&self, lane: LaneId, configured: &[InstanceName]) -> Seq {
        let lowest = self.lowest(lane, configured, Holders::InStep);
        lowest.or_else(|| self.lowest(lane, configured, Holders::All)).unwrap_or(Seq::ZERO)
    }

    /// Returns the position up to which the lane may be trimmed, or `None` if it may not be trimmed at all. `open` is
    /// whether the lane takes new entries.
    pub(super) fn trimmable(&self, lane: &str, open: bool, configured: &[InstanceName], why: Trimming) -> Option<Seq> {
        if why.is_of_applications() {
            return None;
        }
        if !open {
            // Its collection is gone: no instance will execute these entries, however far it is.
            return Some(Seq::MAX);
        }
        let lane = lane_named(lane).ok()?;
        let enough = self.in_step(lane, configured) >= why.least_in_step(configured.len());
        self.lowest(lane, configured, Holders::InStep).filter(|_| enough)
    }

    /// Returns the position up to which every configured instance has the lane, diverged or not.
    pub(super) fn everywhere(&self, lane: LaneId, configured: &[InstanceName]) -> Option<Seq> {
        self.lowest(lane, configured, Holders::All)
    }

    /// Returns every configured instance's progress in the lane. The store fills in `bytes_through`.
    pub(super) fn held(&self, lane: LaneId, configured: &[InstanceName]) -> Vec<HeldProgress> {
        let place = |instance: &InstanceName| {
            let row = self.row(lane, instance);
            HeldProgress {
                instance: instance.clone(),
                through: row.map_or(Seq::ZERO, |row| row.through),
                bytes_through: 0,
                state: row.map_or(LaneState::InStep, |row| row.state),
            }
        };
        configured.iter().map(place).collect()
    }

    fn row(&self, lane: LaneId, instance: &InstanceName) -> Option<&ProgressRow> {
        self.0.get(&lane)?.iter().find(|row| row.instance == *instance)
    }

    fn in_step(&self, lane: LaneId, configured: &[InstanceName]) -> usize {
        let in_step =
            |instance: &&InstanceName| self.row(lane, instance).is_none_or(|row| row.state == LaneState::InStep);
        configured.iter().filter(in_step).count()
    }

    fn lowest(&self, lane: LaneId, configured: &[InstanceName], holders: Holders) -> Option<Seq> {
        let place = |instance: &InstanceName| match self.row(lane, instance) {
            None => Some(Seq::ZERO),
            Some(row) if holders == Holders::InStep && row.state != LaneState::InStep => None,
            Some(row) => Some(row.through),
        };
        configured.iter().filter_map(place).min()
    }
}
