//! The lanes, with totals that need no look at each one: how many entries they hold, which of them may have something
//! left to do, and which have a replica out of step.
//!
//! Decides nothing about a lane. A lane that may have changed is noted, and looked at once when the step is over. So
//! neither the cost of a step nor that of the regular looks grows with the number of lanes.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Bound, Deref};

use crate::ids::LaneId;
use crate::order::lane::{InFlight, Lane, LaneState, LateWriteCheck, ReplicaProgress};

/// Every lane.
#[derive(Clone, Debug, Default)]
pub(in crate::order) struct Lanes {
    all: HashMap<LaneId, Lane>,
    /// Lanes that may have changed since the last [`Lanes::take_stock`].
    touched: Vec<LaneId>,
    /// Lanes in which something may be left to do.
    restless: BTreeSet<LaneId>,
    /// Lanes with a replica out of step.
    out_of_step: BTreeSet<LaneId>,
    /// Entries in all lanes.
    entries: usize,
}

impl Deref for Lanes {
    type Target = HashMap<LaneId, Lane>;

    fn deref(&self) -> &HashMap<LaneId, Lane> {
        &self.all
    }
}

impl Lanes {
    pub fn get_mut(&mut self, id: &LaneId) -> Option<&mut Lane> {
        let lane = self.all.get_mut(id)?;
        if !std::mem::replace(&mut lane.touched, true) {
            self.touched.push(*id);
        }
        Some(lane)
    }

    pub fn insert(&mut self, id: LaneId, mut lane: Lane) {
        self.remove(&id);
        lane.touched = true;
        self.all.insert(id, lane);
        self.touched.push(id);
    }

    pub fn remove(&mut self, id: &LaneId) {
        if let Some(removed) = self.all.remove(id) {
            self.entries -= removed.counted;
            self.restless.remove(id);
            self.out_of_step.remove(id);
        }
    }

    /// Updates the totals with what has changed. Until then, the methods below answer as of the end of the last step,
    /// plus the lanes that were touched since.
    pub fn take_stock(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            // Removed since.
            let Some(lane) = self.all.get_mut(&id) else { continue };
            self.entries = self.entries + lane.slots.len() - lane.counted;
            lane.counted = lane.slots.len();
            lane.touched = false;
            let is_in = |set: &mut BTreeSet<LaneId>, is_in: bool| if is_in { set.insert(id) } else { set.remove(&id) };
            is_in(&mut self.restless, !is_quiet(lane));
            is_in(&mut self.out_of_step, !is_in_step(lane));
        }
    }

    /// Entries in all lanes.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// The lanes in which something may be left to do, some of them twice. In every other lane each instance is in
    /// step, nothing is under way, and no entry is kept.
    pub fn restless(&self) -> impl Iterator<Item = LaneId> + use<'_> {
        self.restless.iter().chain(&self.touched).copied()
    }

    /// The lanes of [`Lanes::restless`] that exist, each once.
    pub fn restless_lanes(&self) -> impl Iterator<Item = (LaneId, &Lane)> {
        let new = self.touched.iter().filter(|id| !self.restless.contains(id));
        self.restless.iter().chain(new).filter_map(|id| Some((*id, self.all.get(id)?)))
    }

    /// The next lanes of [`Lanes::restless`] after this one, as of the last step's end.
    pub fn restless_after(&self, after: Option<LaneId>) -> impl Iterator<Item = LaneId> + use<'_> {
        self.restless.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)).copied()
    }

    /// The lanes with a replica out of step, as of the last step's end.
    pub fn out_of_step(&self) -> impl Iterator<Item = (LaneId, &Lane)> {
        self.out_of_step_after(None)
    }

    /// The lanes of [`Lanes::out_of_step`] after this one.
    pub fn out_of_step_after(&self, after: Option<LaneId>) -> impl Iterator<Item = (LaneId, &Lane)> {
        let next = self.out_of_step.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        next.filter_map(|id| Some((*id, self.all.get(id)?)))
    }

    /// Describes a mismatch between the totals and the lanes themselves, if there is one.
    pub fn miscounted(&self) -> Option<String> {
        let entries: usize = self.all.values().map(|lane| lane.slots.len()).sum();
        if entries != self.entries {
            return Some(format!("{entries} entries, and {} counted", self.entries));
        }
        let wrong = |(id, lane): &(&LaneId, &Lane)| {
            self.restless.contains(id) == is_quiet(lane) || self.out_of_step.contains(id) == is_in_step(lane)
        };
        let gone = |ids: &BTreeSet<LaneId>| ids.iter().any(|id| !self.all.contains_key(id));
        if gone(&self.restless) || gone(&self.out_of_step) {
            return Some("a lane that is gone".to_owned());
        }
        self.all.iter().find(wrong).map(|(id, lane)| format!("{id}: {lane:?}"))
    }
}

fn is_in_step(lane: &Lane) -> bool {
    lane.replicas.iter().all(|progress| progress.state == LaneState::InStep)
}

/// Returns whether nothing is left to do in the lane, whichever instance becomes reachable.
fn is_quiet(lane: &Lane) -> bool {
    let rests = |progress: &ReplicaProgress| {
        progress.state == LaneState::InStep
            && progress.in_flight == InFlight::None
            && progress.late_write_check == LateWriteCheck::None
            && progress.scan_from <= progress.durable
            && progress.doubt <= progress.durable
            && progress.backoffs == 0
    };
    lane.slots.is_empty() && lane.closed_by.is_none() && lane.replicas.iter().all(rests)
}
