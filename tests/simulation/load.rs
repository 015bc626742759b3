//! Which clients wait for what, and what has failed where: the observer's own account, against which each request's
//! priority is checked (docs/rules.md, "Who goes first").
//!
//! Also the shell's limiter before each instance: it admits a fixed number of requests at once, and the others wait in
//! the order of their precedence.

use std::collections::{BTreeSet, HashMap};

use chroma_edge::ids::{InstanceId, LaneId, Seq};
use chroma_edge::order::{
    Board, ClientState, Duty, Health, Input, LaneState, Outcome, Precedence, Priority, Reach, Resolved, Retry,
    SendPriority, WaitReason,
};

use crate::invariants::violated;
use crate::placing::Placing;
use crate::world::World;

/// Consecutive failures of one replica, at least and at most.
#[derive(Clone, Copy, Default)]
struct InARow {
    least: u32,
    most: u32,
}

#[derive(Default)]
pub struct Load {
    /// The entries that clients wait for.
    waiting: HashMap<LaneId, BTreeSet<(Priority, Seq)>>,
    in_a_row: HashMap<(LaneId, InstanceId), InARow>,
}

impl Load {
    /// Notes an input that is about to be reported to the board.
    pub fn hear(&mut self, input: &Input, board: &Board, reach: &[Reach], placing: &Placing) {
        match input {
            Input::Journaled(submissions) => {
                for submission in submissions {
                    let waiting = self.waiting.entry(submission.lane).or_default();
                    waiting.insert((submission.profile.priority, submission.seq));
                }
            }
            Input::ClientGone { lane, seq } => {
                self.stops_waiting(*lane, *seq);
            }
            Input::Attempted { lane, instance, outcome } if serves(board, *lane, *instance) => {
                let replica = self.in_a_row.entry((*lane, *instance)).or_default();
                match outcome {
                    Outcome::NotSent { retry: Retry::AfterBackoff }
                    | Outcome::InDoubt { instance_was: Health::Healthy } => replica.fails(),
                    Outcome::Unfit | Outcome::Failed { .. } => replica.most += 1,
                    Outcome::Applied(_) | Outcome::Rejected { .. } => replica.least = 0,
                    Outcome::NotSent { .. } | Outcome::InDoubt { .. } | Outcome::Died { .. } | Outcome::Void => {}
                }
            }
            Input::IdsRead {
                lane,
                instance,
                resolved: Resolved::Failed { retry: Retry::AfterBackoff } | Resolved::Died { .. },
            } => {
                self.in_a_row.entry((*lane, *instance)).or_default().fails();
            }
            Input::WriteChecked { lane, instance, .. }
            | Input::IdsRead { lane, instance, resolved: Resolved::Unexplained { .. } } => {
                self.in_a_row.entry((*lane, *instance)).or_default().most += 1;
            }
            Input::Reached { instance, .. }
                if reach[instance.0] == Reach::Away && placing.duty(*instance) != Duty::Stopped =>
            {
                self.comes_back(*instance);
            }
            _ => {}
        }
    }

    /// Forgets the failures of an instance that has come back.
    pub fn comes_back(&mut self, instance: InstanceId) {
        self.in_a_row.retain(|(_, at), _| *at != instance);
    }

    /// Notes that a write was properly applied on the replica.
    pub fn answered(&mut self, replica: (LaneId, InstanceId), board: &Board) {
        if serves(board, replica.0, replica.1) {
            self.in_a_row.remove(&replica);
        }
    }

    /// Returns whether a client waited for the entry.
    pub fn stops_waiting(&mut self, lane: LaneId, seq: Seq) -> bool {
        let Some(waiting) = self.waiting.get_mut(&lane) else { return false };
        let before = waiting.len();
        waiting.retain(|(_, other)| *other != seq);
        waiting.len() < before
    }

    /// Returns how many clients wait for something in the lane.
    pub fn waiting_in(&self, lane: LaneId) -> usize {
        self.waiting.get(&lane).map_or(0, BTreeSet::len)
    }

    /// Returns the precedence of these entries and of what waits behind them: waiting client, priority and age.
    fn precedence(&self, lane: LaneId, own: impl Iterator<Item = Priority>, first: Seq) -> Precedence {
        let awaited = self.waiting.get(&lane).and_then(|waiting| waiting.first()).map(|(priority, _)| *priority);
        let has_client = lane == LaneId::Catalog || awaited.is_some();
        Precedence {
            client: if has_client { ClientState::Waiting } else { ClientState::Gone },
            priority: own.chain(awaited).min().unwrap_or_default(),
            seq: first,
        }
    }
}

impl InARow {
    fn fails(&mut self) {
        self.least += 1;
        self.most += 1;
    }
}

fn serves(board: &Board, lane: LaneId, instance: InstanceId) -> bool {
    match lane {
        LaneId::Catalog => true,
        LaneId::Records(collection) => board.state_of(collection, instance) == LaneState::InStep,
    }
}

impl World {
    /// Checks that a request's priority follows from its entries, the clients that wait for them, and the failures so
    /// far.
    pub fn check_send_priority(
        &mut self,
        lane: LaneId,
        instance: InstanceId,
        seqs: &[Seq],
        send_priority: SendPriority,
    ) {
        let own = seqs.iter().map(|seq| self.journal.rows[seq].profile.priority);
        let expected = self.facts.load.precedence(lane, own, seqs[0]);
        if send_priority.precedence != expected {
            violated("precedence", &format!("{seqs:?} goes with {:?}, not {expected:?}", send_priority.precedence));
        }
        let InARow { least, most } = self.facts.load.in_a_row.get(&(lane, instance)).copied().unwrap_or_default();
        if !(least..=most).contains(&send_priority.failures) {
            let failures = send_priority.failures;
            violated("pacing", &format!("{seqs:?} on {instance:?}: {failures} failures, not {least} to {most}"));
        }
    }

    /// Checks that the backoff counts from the first failure, and grows with each.
    pub fn check_wait(&mut self, lane: LaneId, instance: InstanceId, why: WaitReason) {
        let InARow { most, .. } = self.facts.load.in_a_row.get(&(lane, instance)).copied().unwrap_or_default();
        let (in_a_row, most) = match why {
            WaitReason::Backoff { in_a_row } | WaitReason::Settle { in_a_row } => (in_a_row, most),
            WaitReason::Deaths { in_a_row } => (in_a_row, in_a_row),
        };
        let least = if matches!(why, WaitReason::Backoff { .. }) { 1 } else { 0 };
        if !(least..=most.max(least)).contains(&in_a_row) {
            violated("pacing", &format!("{instance:?} waits for {in_a_row} failures of {most}"));
        }
        if in_a_row >= 3 {
            self.counters.count("waited after three failures in a row");
        }
    }

    /// Returns the request that proceeds when this one is chosen. If the limiter does not admit it yet, another one
    /// goes first.
    pub fn at_the_limiter(&mut self, at: usize) -> Option<usize> {
        if self.requests[at].entered {
            return Some(at);
        }
        let instance = self.requests[at].instance;
        let here = || (0..self.requests.len()).filter(|at| self.requests[*at].instance == instance);
        let inside = here().filter(|at| self.requests[*at].entered).count();
        if inside >= self.temper.permits {
            return here().find(|at| self.requests[*at].entered);
        }
        let send_priority = |at: &usize| (self.requests[*at].send_priority.precedence, self.requests[*at].lane);
        let first = here().filter(|at| !self.requests[*at].entered).min_by_key(send_priority)?;
        let oldest = here().filter(|at| !self.requests[*at].entered).min_by_key(|at| send_priority(at).0.seq);
        if oldest != Some(first) {
            self.counters.count("overtook an older request of another lane");
        }
        self.requests[first].entered = true;
        Some(first)
    }

    /// Notes that a client now waits for a request that the limiter holds.
    pub fn raise(&mut self, input: &Input) {
        let Input::Journaled(submissions) = input else { return };
        for submission in submissions {
            let (client, priority, seq) = (ClientState::Waiting, submission.profile.priority, submission.seq);
            let waiting =
                self.requests.iter_mut().filter(|request| request.lane == submission.lane && !request.entered);
            for request in waiting {
                let precedence = &mut request.send_priority.precedence;
                *precedence = precedence.or(Precedence { client, priority, seq });
            }
        }
    }
}
