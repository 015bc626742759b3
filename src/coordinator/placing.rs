//! Begins switchovers and drains at an operator's request, if the board allows it, and ends them.
//!
//! The board decides whether one may begin, and what it means for what is sent (`order/board/placed.rs`).

use std::time::Duration;

use tracing::{info, warn};

use super::Core;
use super::placements::{Drain, DrainStage, Insistence, Placed, Span, Sync};
use crate::clock::{self, Timestamp};
use crate::ids::{InstanceId, shown};
use crate::order::{Duty, Input, LastCopies, NotReady};

/// How long the writes of a lane may wait for the instance that has become the preferred one.
const HANDOVER: Duration = Duration::from_secs(2);
/// The least time that a write waits for an instance that is not drained. It waits at most twice as long.
const DEFERRED: Duration = Duration::from_secs(1);

impl Core {
    /// Returns whether requests are sent to the instance: it is usable, and not stopped by a drain.
    pub fn is_in_use(&self, instance: InstanceId) -> bool {
        self.registry.usable(instance) && self.board().duty(instance) != Duty::Stopped
    }

    /// The switchover from the configured primary to the present one, if there is one.
    pub fn switchover(&self) -> Option<Span> {
        self.placements.lock().switched
    }

    /// The instance's drain, if it is drained.
    pub fn drain_of(&self, instance: InstanceId) -> Option<Drain> {
        self.placements.lock().drains.get(&instance).copied()
    }

    /// Makes this instance the preferred one. If a length is given, the configured one is preferred again after that.
    ///
    /// # Errors
    /// If the instance is not ready. Nothing has changed then.
    pub fn switch_over(&self, to: InstanceId, length: Option<Duration>) -> Result<(), NotReady> {
        let mut state = self.placements.lock();
        if self.board().primary() != to
            && let Some(why) = self.board().why_not_preferred(to)
        {
            return Err(why);
        }
        let until = self.prefer(&mut state, to, length);
        let to = self.registry.name(to);
        info!(%to, until, "switchover: this instance is the primary from now on");
        Ok(())
    }

    fn prefer(&self, state: &mut Placed, to: InstanceId, length: Option<Duration>) -> Option<i64> {
        let now = clock::now();
        let configured = to == InstanceId(0);
        state.switched = (!configured).then(|| Span::new(length, now));
        state.handover_ends = Some(now + HANDOVER);
        self.step(Input::Prefer { instance: to });
        state.switched.and_then(|span| span.until).map(Timestamp::millis)
    }

    /// Sends clients' requests to other instances, for a length of time if one is given, and stops this instance's sync
    /// if asked to.
    ///
    /// # Errors
    /// If no other instance could serve what this one serves, and the operator has not insisted. Nothing has changed
    /// then.
    pub fn drain(
        &self,
        instance: InstanceId,
        sync: Sync,
        length: Option<Duration>,
        insistence: Insistence,
    ) -> Result<(), LastCopies> {
        let mut state = self.placements.lock();
        if insistence == Insistence::None
            && let Some(last) = self.board().last_copies(instance)
        {
            return Err(last);
        }
        let span = Span::new(length, clock::now());
        state.drains.insert(instance, Drain { sync, span, stage: DrainStage::Draining });
        self.step(Input::Assign { instance, duty: sync.duty() });
        let (name, until) = (self.registry.name(instance), span.until.map(Timestamp::millis));
        info!(instance = %name, sync = sync.as_str(), until, "drain begins: no requests of clients go to this instance");
        Ok(())
    }

    /// Describes what would be missing, for an operator whose request is refused.
    pub fn describe(&self, missing: &LastCopies) -> String {
        let named = |id| self.board().catalog().get(id).map(|known| shown(&known.name).into_owned());
        match (missing.count, missing.first.and_then(named).unwrap_or_default()) {
            (0, _) => "anything".to_owned(),
            (1, first) => format!("the collection {first}"),
            (count, first) => format!("{count} collections ({first}, ...)"),
        }
    }

    /// Ends the instance's drain. Returns whether there was one.
    pub fn undrain(&self, instance: InstanceId) -> bool {
        let mut state = self.placements.lock();
        self.end_drain(&mut state, instance, "an operator has ended it")
    }

    fn end_drain(&self, state: &mut Placed, instance: InstanceId, why: &'static str) -> bool {
        let Some(drain) = state.drains.remove(&instance) else { return false };
        self.step(Input::Assign { instance, duty: Duty::Full });
        let seconds = (Timestamp::now().millis() - drain.span.since.millis()) / 1000;
        info!(instance = %self.registry.name(instance), seconds, why, "drain ends");
        true
    }

    /// Ends what is over, and notes which drained instances have no clients' requests in flight any more. Called at
    /// regular intervals.
    pub fn look_at_placements(&self) {
        let now = clock::now();
        let mut state = self.placements.lock();
        if state.handover_ends.is_some_and(|ends| ends <= now) {
            state.handover_ends = None;
            self.step(Input::HandedOver);
        }
        if state.drains.values().all(|drain| drain.sync == Sync::Stop) {
            state.deferred_until = None;
        } else if state.deferred_until.is_none_or(|until| until <= now) {
            state.deferred_until = Some(now + DEFERRED);
            self.step(Input::DeferredLongEnough);
        }
        if state.switched.is_some_and(|span| span.is_over(now)) {
            self.prefer(&mut state, InstanceId(0), None);
            let to = self.registry.name(InstanceId(0));
            info!(%to, why = "its time is over", "switchover ends: the configured primary is the primary again");
            if let Some(not_ready) = self.board().why_not_preferred(InstanceId(0)) {
                warn!(%to, ?not_ready, "the configured primary cannot take writes first yet: others do until it can");
            }
        }
        let over: Vec<InstanceId> =
            state.drains.iter().filter(|(_, drain)| drain.span.is_over(now)).map(|(id, _)| *id).collect();
        for instance in over {
            self.end_drain(&mut state, instance, "its time is over");
        }
        for (instance, drain) in &mut state.drains {
            if drain.stage == DrainStage::Draining && self.has_left(*instance, drain.sync) {
                drain.stage = DrainStage::Drained;
            }
        }
    }

    /// Returns whether no client's request is in flight on the instance. What the lanes replicate to an instance that
    /// is kept in sync does not count.
    fn has_left(&self, instance: InstanceId, sync: Sync) -> bool {
        let board = self.board();
        let replicated = match sync {
            Sync::Keep => board.requests_of_lanes(instance),
            Sync::Stop => 0,
        };
        !board.executes_first(instance) && self.registry.in_flight(instance) <= replicated
    }
}
