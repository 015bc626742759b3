//! Writes of earlier edges that end after the lease (docs/one-active-edge.md): the process was stopped in the middle of
//! them, another edge took over, and the process is continued.
//!
//! It notices once the last byte is handed over that it was too late, and records that. The write may take effect at
//! any time until a settle time that began after it was sent is over.

use chroma_edge::ids::{CollectionId, InstanceId, LaneId};
use chroma_edge::order::Input;

use crate::assumptions::Holds;
use crate::body::Body;
use crate::divergence::Cause;
use crate::instance::Power;
use crate::journal::Commit;
use crate::requests::Request;
use crate::world::{Weather, World};

/// The counter of writes that were executed without the edge knowing.
pub const LANDED: &str = "landed behind the edge's back";

#[derive(Clone, Debug)]
pub struct LateRequest {
    pub request: Request,
    /// The lanes whose content it may change, according to its edge's catalog.
    pub lanes: Vec<LaneId>,
    /// The step at which its last byte was handed over. `None` if its edge is stopped in the middle of it.
    pub sent: Option<u64>,
    /// The first step at which it may be executed.
    pub lands: u64,
}

/// The longest time until a request arrives, in steps.
pub const ON_THE_WAY: usize = 300;

impl World {
    /// Stops the old edge in the middle of sending this request.
    pub fn leave_half_sent(&mut self, request: Request) {
        let lanes = self.lanes_of(&request);
        self.late_requests.push(LateRequest { request, lanes, sent: None, lands: 0 });
    }

    fn lanes_of(&self, request: &Request) -> Vec<LaneId> {
        let catalog = self.board.catalog();
        let about = match &self.journal.rows[&request.seqs()[0]].body {
            Body::UpdateCollection { collection, .. } => catalog.get(*collection).map(|known| known.id),
            Body::DeleteCollection { scope, name } => catalog.by_name(scope, name).map(|known| known.id),
            _ => None,
        };
        [request.lane].into_iter().chain(about.map(LaneId::Records)).collect()
    }

    /// Continues an earlier edge, which gives the write up, or has sent it already.
    pub fn some_late_request(&mut self) {
        let held: Vec<_> = (0..self.late_requests.len()).filter(|at| self.late_requests[*at].sent.is_none()).collect();
        if held.is_empty() {
            return;
        }
        let at = held[self.rng.index(held.len())];
        if self.weather == Weather::Quiesced || self.rng.per_mille(200) {
            self.counters.count("given up in the middle when the lease was over");
            self.late_requests.swap_remove(at);
            return;
        }
        self.late_requests[at].sent = Some(self.now);
        self.late_requests[at].lands = self.now + self.rng.index(ON_THE_WAY) as u64;
        self.counters.count("sent after the lease");
        let (lanes, instance) = (self.late_requests[at].lanes.clone(), self.late_requests[at].request.instance);
        self.note(|| format!("an earlier edge sends too late to {instance:?}, {lanes:?}"));
        if self.assumptions.lateness_is_noticed == Holds::Always {
            self.unrecorded_late_writes.extend(lanes.into_iter().map(|lane| (lane, instance)));
        }
    }

    /// Lets earlier edges record late writes, and this one read them.
    pub fn some_late_write(&mut self) {
        if self.rng.per_mille(500) {
            let unrecorded_late_writes = std::mem::take(&mut self.unrecorded_late_writes);
            if self.assumptions.late_writes_are_recorded == Holds::Always {
                unrecorded_late_writes.into_iter().for_each(|replica| self.journal.record_late_write(replica));
            }
            return;
        }
        for (id, (lane, instance)) in self.journal.late_writes() {
            if self.handled_late_writes.insert(id) {
                self.counters.count("late write acted upon");
                self.act_on_late_write(lane, instance);
                // After the commits that were handed over before it.
                self.journal.queue.push_back(Commit::Handled(id));
            }
        }
    }

    fn act_on_late_write(&mut self, lane: LaneId, instance: InstanceId) {
        let busy = self.requests.iter().any(|request| (request.lane, request.instance) == (lane, instance));
        if busy {
            self.counters.count("late write reported while a request is under way");
        }
        if self.waits.keys().any(|(other, at, _)| (*other, *at) == (lane, instance)) {
            self.counters.count("late write reported during a wait");
        }
        self.tell(Input::LateWrite { lane, instance });
        let collections: Vec<CollectionId> = match lane {
            LaneId::Records(collection) => vec![collection],
            LaneId::Catalog => Vec::new(),
        };
        self.reported_to_the_board(instance, &collections, Cause::Late);
    }

    /// Executes one of them. Returns whether there was one.
    pub fn some_late_request_lands(&mut self) -> bool {
        let up =
            |late: &LateRequest| late.lands <= self.now && self.instances[late.request.instance.0].power == Power::Up;
        let ready: Vec<_> = (0..self.late_requests.len())
            .filter(|at| self.late_requests[*at].sent.is_some() && up(&self.late_requests[*at]))
            .collect();
        if ready.is_empty() {
            return false;
        }
        let late = self.late_requests.swap_remove(ready[self.rng.index(ready.len())]);
        self.lands_late(&late.request);
        true
    }

    /// Executes the request without the edge knowing, in any order.
    pub fn lands_late(&mut self, request: &Request) {
        let never = request.seqs().iter().any(|seq| self.unanswerable(*seq));
        if never || self.would_kill(request.instance, request.seqs()) {
            return;
        }
        self.counters.count(LANDED);
        let (lane, instance) = (request.lane, request.instance);
        let before = self.instances[instance.0].collections.clone();
        let answer = self.execute_anyhow(lane, instance, request.seqs());
        self.note(|| format!("late and unseen on {instance:?} {lane:?}: {:?}: {answer:?}", request.seqs()));
        if before != self.instances[instance.0].collections || lane == LaneId::Catalog {
            self.counters.count("changed something behind the edge's back");
            self.note_changes(instance, &before, Cause::Late);
        }
    }

    /// Ends a settle time: what was sent to the replica before it began can no longer be executed.
    pub fn late_requests_end(&mut self, lane: LaneId, instance: InstanceId, since: u64) {
        if self.assumptions.quiescence_is_real == Holds::NotAlways {
            return;
        }
        self.late_requests.retain(|late| {
            let here = (late.request.lane, late.request.instance) == (lane, instance);
            !here || late.sent.is_none_or(|sent| sent >= since)
        });
    }
}
