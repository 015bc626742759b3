//! The limiter of one instance: how many requests may be in flight, and in which order waiting lanes get a permit.
//!
//! The board decides what is sent; the limiter only delays it. A share of the permits is reserved for lanes with a
//! waiting client, so that these never wait for a recovery that takes every permit.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::ids::LaneId;
use crate::order::{ClientState, Precedence};

/// One of this many permits is reserved for lanes with a waiting client.
const KEPT: usize = 4;

/// The limiter of one instance.
#[derive(Debug)]
pub(super) struct AttemptLimiter {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    all: usize,
    free: usize,
    /// Of these, how many may be given to lanes without a waiting client.
    free_unattended: usize,
    /// Waiting lanes, by precedence.
    queue: BTreeSet<(Precedence, LaneId)>,
    /// A lane has one request at a time on an instance (rule R1).
    waiting: HashMap<LaneId, (Precedence, oneshot::Sender<Permit>)>,
}

/// The right to send one request; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    limiter: Option<Arc<AttemptLimiter>>,
    client: ClientState,
    beside_another: bool,
}

impl Permit {
    /// Returns whether another lane held a permit when this one was granted.
    pub fn is_beside_another(&self) -> bool {
        self.beside_another
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(limiter) = self.limiter.take() {
            limiter.detach(self.client);
        }
    }
}

/// Removes a dropped request from the queue.
struct Queued<'a> {
    limiter: &'a AttemptLimiter,
    lane: LaneId,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        if let Some((precedence, _)) = state.waiting.remove(&self.lane) {
            state.queue.remove(&(precedence, self.lane));
        }
    }
}

impl AttemptLimiter {
    /// A limiter with this many permits, at least one.
    pub fn new(permits: usize) -> Arc<AttemptLimiter> {
        let free = permits.max(1);
        let free_unattended = (free - free / KEPT).max(1);
        let state = State { all: free, free, free_unattended, queue: BTreeSet::new(), waiting: HashMap::new() };
        Arc::new(AttemptLimiter { state: Mutex::new(state) })
    }

    /// Waits for a permit. Returns `None` if another request of the same lane has replaced this one, which the board
    /// never causes.
    pub async fn enter(self: &Arc<Self>, lane: LaneId, precedence: Precedence) -> Option<Permit> {
        let granted = {
            let mut state = self.state();
            // If a permit is available to this request, no waiting request could have used it.
            if state.admits(precedence.client) {
                let permit = self.permit(precedence.client, &state);
                state.take(precedence.client);
                return Some(permit);
            }
            let (grant, granted) = oneshot::channel();
            if let Some((replaced, _)) = state.waiting.insert(lane, (precedence, grant)) {
                state.queue.remove(&(replaced, lane));
            }
            state.queue.insert((precedence, lane));
            granted
        };
        let queued = Queued { limiter: self, lane };
        // If this future is dropped here, the request leaves the queue, and a permit that it was just granted is
        // returned.
        let permit = granted.await.ok();
        // The request left the queue when it was granted its permit.
        std::mem::forget(queued);
        permit
    }

    /// Raises the precedence of the lane's waiting request, because a client now waits in the lane.
    pub fn raise(self: &Arc<Self>, lane: LaneId, precedence: Precedence) {
        let mut state = self.state();
        let Some((held, _)) = state.waiting.get(&lane) else { return };
        let (held, raised) = (*held, held.or(precedence));
        state.queue.remove(&(held, lane));
        state.queue.insert((raised, lane));
        if let Some((held, _)) = state.waiting.get_mut(&lane) {
            *held = raised;
        }
        self.let_in(&mut state);
    }

    fn detach(self: &Arc<Self>, client: ClientState) {
        let mut state = self.state();
        state.free += 1;
        if client == ClientState::Gone {
            state.free_unattended += 1;
        }
        self.let_in(&mut state);
    }

    fn let_in(self: &Arc<Self>, state: &mut State) {
        while let Some((precedence, lane)) = state.queue.first().copied() {
            // Lanes with a waiting client come first: if the first cannot get a permit, none can.
            if !state.admits(precedence.client) {
                return;
            }
            state.queue.pop_first();
            let Some((_, grant)) = state.waiting.remove(&lane) else { continue };
            match grant.send(self.permit(precedence.client, state)) {
                Ok(()) => state.take(precedence.client),
                // The request was dropped. Its permit was never taken and must not be returned, since the state is
                // locked.
                Err(mut permit) => permit.limiter = None,
            }
        }
    }

    fn permit(self: &Arc<Self>, client: ClientState, state: &State) -> Permit {
        Permit { limiter: Some(Arc::clone(self)), client, beside_another: state.free < state.all }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admits(&self, client: ClientState) -> bool {
        self.free > 0 && (client == ClientState::Waiting || self.free_unattended > 0)
    }

    fn take(&mut self, client: ClientState) {
        self.free -= 1;
        if client == ClientState::Gone {
            self.free_unattended -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use uuid::Uuid;

    use super::*;
    use crate::ids::{CollectionId, Seq};
    use crate::order::Priority;

    fn lane(number: u64) -> LaneId {
        LaneId::Records(CollectionId::new(Uuid::from_u128(u128::from(number))))
    }

    fn precedence(client: ClientState, priority: Priority, seq: u64) -> Precedence {
        Precedence { client, priority, seq: Seq::new(seq) }
    }

    fn normal(seq: u64) -> Precedence {
        precedence(ClientState::Gone, Priority::Normal, seq)
    }

    fn awaited(seq: u64) -> Precedence {
        precedence(ClientState::Waiting, Priority::Normal, seq)
    }

    type Waits = Pin<Box<dyn Future<Output = Option<Permit>>>>;

    fn enter(limiter: &Arc<AttemptLimiter>, number: u64, precedence: Precedence) -> Waits {
        let limiter = Arc::clone(limiter);
        Box::pin(async move { limiter.enter(lane(number), precedence).await })
    }

    fn poll(mut waits: Pin<&mut (impl Future<Output = Option<Permit>> + ?Sized)>) -> Option<Permit> {
        match waits.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit.unwrap()),
            Poll::Pending => None,
        }
    }

    /// The lanes in the order in which they get the one permit.
    fn order(mut held: Permit, waits: &mut [(u64, Waits)]) -> Vec<u64> {
        let mut order = Vec::new();
        while order.len() < waits.len() {
            drop(held);
            let mut entered =
                waits.iter_mut().filter(|(number, _)| !order.contains(number)).filter_map(|(number, w)| {
                    let permit = poll(w.as_mut())?;
                    Some((*number, permit))
                });
            let (number, permit) = entered.next().expect("somebody is let in");
            assert!(entered.next().is_none(), "one permit, one request");
            drop(entered);
            order.push(number);
            held = permit;
        }
        order
    }

    #[test]
    fn those_who_wait_go_in_by_their_precedence() {
        let limiter = AttemptLimiter::new(1);
        let held = poll(pin!(limiter.enter(lane(0), normal(1)))).unwrap();
        let wanted = [
            (1, normal(5)),
            (2, normal(4)),
            (3, precedence(ClientState::Gone, Priority::Low, 2)),
            (4, precedence(ClientState::Gone, Priority::High, 9)),
            (5, precedence(ClientState::Waiting, Priority::Low, 10)),
            (6, awaited(11)),
        ];
        let mut waits: Vec<_> = wanted.iter().map(|(number, p)| (*number, enter(&limiter, *number, *p))).collect();
        assert!(waits.iter_mut().all(|(_, wait)| poll(wait.as_mut()).is_none()));
        assert_eq!(order(held, &mut waits), [6, 5, 4, 2, 1, 3]);
    }

    #[test]
    fn a_request_that_is_given_up_takes_no_place() {
        let limiter = AttemptLimiter::new(1);
        let held = poll(pin!(limiter.enter(lane(0), normal(1)))).unwrap();
        let (mut early, mut late) = (enter(&limiter, 1, normal(2)), enter(&limiter, 2, normal(3)));
        assert!(poll(early.as_mut()).is_none() && poll(late.as_mut()).is_none());
        drop(early);
        drop(held);
        drop(poll(late.as_mut()).expect("the one that still waits"));
        // A request that is dropped after it was granted a permit, but before it was polled, returns the permit.
        let held = poll(pin!(limiter.enter(lane(0), normal(1)))).unwrap();
        let mut unaware = enter(&limiter, 1, normal(2));
        assert!(poll(unaware.as_mut()).is_none());
        drop(held);
        drop(unaware);
        let state = limiter.state();
        assert_eq!((state.free, state.free_unattended, state.queue.len(), state.waiting.len()), (1, 1, 0, 0));
    }

    #[test]
    fn a_part_of_the_permits_is_kept_for_waiting_clients() {
        let limiter = AttemptLimiter::new(4);
        let held: Vec<_> = (0..3).map(|n| poll(pin!(limiter.enter(lane(n), normal(n)))).unwrap()).collect();
        let mut fourth = enter(&limiter, 3, normal(3));
        assert!(poll(fourth.as_mut()).is_none());
        let kept = poll(pin!(limiter.enter(lane(4), awaited(4)))).expect("kept for it");
        assert!(poll(pin!(limiter.enter(lane(5), awaited(5)))).is_none(), "no more than there are");
        drop(kept);
        assert!(poll(fourth.as_mut()).is_none(), "still kept");
        drop(held);
        assert!(poll(fourth.as_mut()).is_some());
        assert_eq!(limiter.state().free, 4);
    }

    #[test]
    fn a_client_that_comes_later_raises_the_request_that_it_waits_for() {
        let limiter = AttemptLimiter::new(1);
        let held = poll(pin!(limiter.enter(lane(0), normal(1)))).unwrap();
        let mut waits = vec![(1, enter(&limiter, 1, normal(2))), (2, enter(&limiter, 2, normal(3)))];
        assert!(waits.iter_mut().all(|(_, wait)| poll(wait.as_mut()).is_none()));
        limiter.raise(lane(2), awaited(9));
        limiter.raise(lane(7), awaited(1));
        assert_eq!(order(held, &mut waits), [2, 1]);
        let limiter = AttemptLimiter::new(4);
        let _held: Vec<_> = (0..3).map(|n| poll(pin!(limiter.enter(lane(n), normal(n)))).unwrap()).collect();
        let mut fourth = enter(&limiter, 3, normal(3));
        assert!(poll(fourth.as_mut()).is_none());
        limiter.raise(lane(3), awaited(9));
        assert!(poll(fourth.as_mut()).is_some(), "the permit that is kept is for it now");
    }
}
