//! What happens next: chosen by the seed, one event at a time.
//!
//! [`World::advance`] chooses among what clients, the journal, instances and the shell may do now. Faults of edges are
//! in [`crate::edge`], faults of instances in [`crate::rollback`].

use chroma_edge::ids::{CollectionId, InstanceId, LaneId};
use chroma_edge::order::{Comparison, Examination, Input, LaneState, Look, MergeLimits, Reach};

use crate::assumptions::Holds;
use crate::divergence::{Cause, Known};
use crate::instance::Power;
use crate::invariants::violated;
use crate::journal::LIMITS;
use crate::late_requests::{LateRequest, ON_THE_WAY};
use crate::requests::Request;
use crate::world::{Weather, World};

/// The counter for memory becoming short, or no longer being short.
pub const RESIZED: &str = "requests may hold more or less from now on";

impl World {
    /// Performs one event.
    pub fn advance(&mut self) {
        self.now += 1;
        let storm = self.weather == Weather::Storm;
        if storm {
            self.succeed();
        }
        match self.rng.index(1000) {
            0..345 => self.some_request(),
            345..495 => self.flush(),
            495..650 => self.some_notice(),
            650..730 => self.some_quiescence(),
            730..770 => self.some_probe(),
            770..774 => self.some_examination(),
            774..778 => self.some_touched(),
            778..782 => self.look_again(),
            782..797 => self.some_comparison(),
            797..812 => self.some_check(),
            812..832 => self.inspect(),
            832..838 => self.some_late_request(),
            838..850 => self.some_late_write(),
            850..862 => {
                self.some_late_request_lands();
            }
            _ if !storm => self.some_notice(),
            // Pauses, so that lanes become quiescent from time to time and can be compared.
            862..905 if self.now % 400 < 250 && self.rng.per_mille(self.temper.writes) => self.client_writes(),
            905..942 if !self.now.is_multiple_of(3) => self.client_reads(),
            862..942 => self.some_comparison(),
            942..955 => self.late_execution(),
            955..960 => self.client_gives_up(),
            960..965 => self.trim(),
            965..968 => self.leave_behind(),
            _ if !self.rng.per_mille(self.temper.breaks) => self.some_request(),
            968..982 => self.change_power(),
            982..986 => self.breaks_or_is_mended(),
            986..991 => self.backup_or_restore(),
            991..998 => self.edge_ends(),
            _ => self.configure_another(),
        }
        self.fate_takes_its_course();
        self.some_mark();
        self.some_hold_ends();
        self.some_condemning();
        self.some_adoption();
        self.some_placement();
        self.some_keeping();
        self.some_repair();
        self.check_state();
    }

    fn look_again(&mut self) {
        if self.requests.len() > 2 {
            self.counters.count("looked again under load");
        }
        self.tell(Input::LookAgain(Look::Around));
        if self.assumptions.memory_suffices == Holds::Always {
            return;
        }
        let (documents, bytes) = (1 + self.rng.index(LIMITS.documents as usize), LIMITS.bytes);
        let limits = MergeLimits { documents: u32::try_from(documents).unwrap_or(1), bytes };
        self.counters.count(RESIZED);
        self.tell(Input::Batches { limits });
    }

    pub fn pick(&mut self, count: usize) -> Option<usize> {
        (count > 0).then(|| self.rng.index(count))
    }

    pub fn some_request(&mut self) {
        if let Some(at) = self.pick(self.requests.len())
            && let Some(at) = self.at_the_limiter(at)
        {
            self.progress(at);
        }
    }

    pub fn flush(&mut self) {
        let most = 1 + self.rng.index(6);
        let reports = self.journal.flush(most);
        self.check_durable(&reports);
        self.notices.extend(reports);
    }

    pub fn some_notice(&mut self) {
        if let Some((input, _)) = self.notices.pop_front() {
            self.tell(input);
        }
    }

    fn some_quiescence(&mut self) {
        let ready: Vec<_> = self.waits.keys().copied().filter(|(_, instance, _)| self.there(*instance)).collect();
        let Some(at) = self.pick(ready.len()) else { return };
        let (lane, instance, wait) = ready[at];
        let Some(since) = self.waits.remove(&ready[at]) else { return };
        self.end_abandoned(lane, instance, since);
        self.late_requests_end(lane, instance, since);
        self.landings_end(lane, instance, since);
        self.tell(Input::Quiesced { lane, instance, wait });
    }

    /// Ends the time in which abandoned requests of this replica may be executed. Some are executed at the last moment.
    fn end_abandoned(&mut self, lane: LaneId, instance: InstanceId, since: u64) {
        let here = |request: &Request| (request.lane, request.instance) == (lane, instance) && request.left <= since;
        let (ended, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.abandoned).into_iter().partition(here);
        self.abandoned = others;
        for request in ended {
            let may_be_late = lane != LaneId::Catalog || instance == self.unlucky();
            if self.assumptions.quiescence_is_real == Holds::NotAlways && may_be_late && self.rng.per_mille(600) {
                let (lanes, lands) = (vec![request.lane], self.now + self.rng.index(ON_THE_WAY) as u64);
                self.late_requests.push(LateRequest { request, lanes, sent: Some(self.now), lands });
            } else if self.weather == Weather::Storm && self.rng.per_mille(300) {
                self.counters.count("executed at the last moment before quiescence");
                self.lands(request);
            }
        }
    }

    pub fn there(&self, instance: InstanceId) -> bool {
        self.instances[instance.0].power == Power::Up && self.reach[instance.0] != Reach::Away
    }

    fn some_probe(&mut self) {
        let at = self.rng.index(self.reach.len());
        self.probe(InstanceId(at));
    }

    pub fn probe(&mut self, instance: InstanceId) {
        let suspect = self.weather == Weather::Storm && self.rng.per_mille(50);
        let reach = match self.instances[instance.0].power {
            Power::Up if suspect => Reach::Suspect,
            Power::Up => Reach::Here,
            Power::Hung | Power::Down => Reach::Away,
        };
        if self.reach[instance.0] != reach {
            if reach == Reach::Away {
                self.repairing.told(instance);
            }
            if self.reach[instance.0] == Reach::Away {
                // Admitted only after an inspection of its content.
                self.look_at(instance);
            }
            self.tell(Input::Reached { instance, reach });
            self.reach[instance.0] = reach;
        }
    }

    fn some_examination(&mut self) {
        let Some(at) = self.pick(self.examinations.len()) else { return };
        let (lane, seq) = self.examinations.swap_remove(at);
        let LaneId::Records(collection) = lane else { return };
        let in_step: Vec<_> =
            self.journal.instances().filter(|i| self.board.state_of(collection, *i) == LaneState::InStep).collect();
        let hasty = self.rng.per_mille(300);
        let absent = !hasty && in_step.iter().all(|i| self.there(*i) && !self.facts.executed(*i, seq));
        let shows = if absent { Examination::AbsentEverywhere } else { Examination::Unclear };
        if !absent {
            self.counters.count("examination unclear");
        }
        self.tell(Input::Examined { lane, seq, shows });
    }

    fn some_comparison(&mut self) {
        if self.rng.per_mille(250) {
            return self.some_rebuild();
        }
        if let Some(at) = self.pick(self.compared.len())
            && self.rng.per_mille(300)
        {
            let comparison = self.compared.swap_remove(at);
            self.found_equal(comparison);
            return;
        }
        let mut possible = self.board.comparisons();
        possible.sort_by_key(|comparison| (comparison.collection, comparison.instance));
        if let Some(at) = self.pick(possible.len()) {
            let comparison = possible[at].clone();
            let replica = (comparison.collection, comparison.instance);
            if !(self.there(comparison.instance) && self.there(comparison.reference)) {
                return;
            }
            if self.same_content(&comparison) {
                self.compared.push(comparison);
            } else if self.unequal.insert(replica) {
                self.counters.count("found unequal");
            }
        }
    }

    /// R4: an instance that is admitted holds what the reference holds at that moment.
    fn found_equal(&mut self, comparison: Comparison) {
        let Comparison { collection, reference, instance, .. } = comparison;
        let before = self.board.state_of(collection, instance);
        self.tell(Input::FoundEqual(comparison.clone()));
        if before == LaneState::InStep || self.board.state_of(collection, instance) != LaneState::InStep {
            self.counters.count("comparison came too late");
            return;
        }
        // One of them has been rolled back unnoticed.
        let rolled_back = |place| {
            self.divergences.of(collection, place).is_some_and(|divergence| divergence.known == Known::ToNobody)
        };
        if !self.same_content(&comparison) && ![reference, instance].into_iter().any(rolled_back) {
            violated("R4", &format!("{instance:?} is admitted to {collection:?} and differs from {reference:?}"));
        }
        self.may_still_land(collection, instance);
        self.may_still_be_repaired(collection, instance);
        match self.divergences.of(collection, reference) {
            Some(divergence) => self.divergences.diverge_again(collection, instance, divergence),
            None => {
                if self.divergences.of(collection, instance).is_some() {
                    self.counters.count("admitted again after a late write or a loss");
                }
                self.divergences.forget(collection, instance);
            }
        }
    }

    /// R4: nothing that the board could know of is executed on the replica after the comparison.
    pub fn may_still_land(&self, collection: CollectionId, instance: InstanceId) {
        let lane = LaneId::Records(collection);
        let here = |request: &Request| (request.lane, request.instance) == (lane, instance);
        let reported =
            self.divergences.of(collection, instance).is_some_and(|divergence| divergence.known == Known::ToTheBoard);
        let known = reported && self.assumptions.kept();
        let late = self.late_requests.iter().find(|late| late.sent.is_some() && here(&late.request)).filter(|_| known);
        if let Some(request) = self.abandoned.iter().find(|request| here(request)).or(late.map(|late| &late.request)) {
            violated("R4", &format!("{instance:?} is admitted while {request:?} may be executed"));
        }
    }

    fn inspect(&mut self) {
        let Some(instance) = self.inspections.pop_first() else { return };
        if self.there(instance) {
            self.look_at(instance);
        } else {
            self.inspections.insert(instance);
        }
    }

    pub fn look_at(&mut self, instance: InstanceId) {
        self.identify(instance);
        if self.joined.contains(&instance) {
            // It gets its databases here. The lane brings only newer ones.
            let lacking = self.board.catalog().databases().filter(|scope| !self.board.may_be_deleting(scope));
            self.instances[instance.0].databases.extend(lacking.cloned());
        }
        let held = &self.instances[instance.0].collections;
        let expected = self.board.expected_on(instance, None, usize::MAX).0;
        let mut collections: Vec<_> =
            expected.into_iter().filter(|(_, id)| !held.contains_key(&id.uuid())).map(|(id, _)| id).collect();
        collections.sort();
        if !collections.is_empty() {
            self.counters.count("missing reported");
            self.repairing.told(instance);
            self.tell(Input::Missing { instance, collections: collections.clone() });
            self.reported_to_the_board(instance, &collections, Cause::Older);
        }
    }

    fn change_power(&mut self) {
        let at = self.rng.index(self.instances.len());
        let power = match (self.instances[at].power, self.rng.index(3)) {
            (Power::Up, 0) => Power::Hung,
            (Power::Up, _) => Power::Down,
            (Power::Hung | Power::Down, _) => Power::Up,
        };
        self.set_power(InstanceId(at), power);
    }

    pub fn set_power(&mut self, instance: InstanceId, power: Power) {
        self.note(|| format!("{instance:?} is {power:?}"));
        if power == Power::Down {
            self.kill(instance);
        }
        self.instances[instance.0].power = power;
    }

    /// Retention reports an instance for which nothing is kept, rightly or not. The board decides again (rule R11).
    fn leave_behind(&mut self) {
        let lanes: Vec<_> = self.journal.lanes.keys().copied().collect();
        let Some(at) = self.pick(lanes.len()) else { return };
        let instance = InstanceId(self.rng.index(self.instances.len()));
        self.tell(Input::LeftBehind { lane: lanes[at], instance });
    }

    fn trim(&mut self) {
        let lanes: Vec<_> = self.journal.lanes.keys().copied().collect();
        if let Some(at) = self.pick(lanes.len())
            && self.journal.trim(lanes[at])
        {
            self.counters.count("trimmed");
        }
    }
}
