//! Concurrent requests with one id: the first is executed, the others wait for its outcome.
//!
//! The journal alone ensures that an id is executed once. This file keeps a storm of repetitions away from it: no
//! append and no look-up before the first one's outcome.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::failure::Failure;
use crate::ids::TransactionId;
use crate::journal::ClientKey;

/// The most requests that may wait for another's outcome.
const ASIDE: usize = 16 * 1024;
/// How many ids with an outcome are remembered: repetitions often come soon after.
const RECENT: usize = 4 * 1024;

/// A digest of tenant and key, so that remembered ids are small however long the keys are.
type Name = [u8; 32];

fn name(key: &ClientKey) -> Name {
    let mut digest = Sha256::new();
    digest.update((key.tenant.len() as u64).to_be_bytes());
    digest.update(&key.tenant);
    digest.update(&key.key);
    digest.finalize().into()
}

/// The requests with an id that are being served now.
pub struct SingleFlight {
    state: Mutex<State>,
    aside: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    running: HashMap<Name, Running>,
    recent: VecDeque<Name>,
    known: HashSet<Name>,
}

struct Running {
    id: TransactionId,
    fingerprint: [u8; 32],
    ended: watch::Receiver<Option<Ended>>,
}

/// How the first request ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// The journal has the transaction.
    Journaled,
    /// Without a transaction. The waiting requests get the same answer.
    Refused(Failure),
}

/// What a request with an id must do.
pub enum Arrival {
    /// No other request has the id now: execute it.
    Leader(Leader),
    /// Look in the journal: the id had an outcome a moment ago.
    Known,
    /// Wait: the first request is being executed.
    Follower(Follower),
}

/// The right to execute. If it is dropped without [`Leader::end`], the waiting requests do not learn the outcome.
pub struct Leader {
    single_flight: Arc<SingleFlight>,
    name: Name,
    end: watch::Sender<Option<Ended>>,
}

/// A request that waits for the first one.
pub struct Follower {
    pub first: TransactionId,
    pub fingerprint: [u8; 32],
    ended: watch::Receiver<Option<Ended>>,
}

impl Follower {
    /// Returns how the first request ended; `None` if that is unknown.
    pub async fn ended(&mut self) -> Option<Ended> {
        self.ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone())
    }
}

impl SingleFlight {
    pub fn new() -> Arc<SingleFlight> {
        Arc::new(SingleFlight { state: Mutex::default(), aside: Arc::new(Semaphore::new(ASIDE)) })
    }

    /// Returns what a request with this key must do. `id` is the request's own, in case it is the first.
    pub fn take(self: &Arc<Self>, key: &ClientKey, id: TransactionId) -> Arrival {
        let name = name(key);
        let mut state = self.state();
        if let Some(running) = state.running.get(&name) {
            let ended = running.ended.clone();
            return Arrival::Follower(Follower { first: running.id, fingerprint: running.fingerprint, ended });
        }
        if state.known.contains(&name) {
            return Arrival::Known;
        }
        let (end, ended) = watch::channel(None);
        state.running.insert(name, Running { id, fingerprint: key.fingerprint, ended });
        Arrival::Leader(Leader { single_flight: Arc::clone(self), name, end })
    }

    /// Returns a permit to wait; `None` when too many requests wait.
    pub fn aside(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.aside).try_acquire_owned().ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leader {
    /// Notifies the waiting requests of the outcome.
    pub fn end(self, ended: Ended) {
        if matches!(ended, Ended::Journaled) {
            let mut state = self.single_flight.state();
            if state.known.insert(self.name) {
                state.recent.push_back(self.name);
            }
            if state.recent.len() > RECENT
                && let Some(oldest) = state.recent.pop_front()
            {
                state.known.remove(&oldest);
            }
        }
        self.end.send_replace(Some(ended));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.single_flight.state().running.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> ClientKey {
        ClientKey { tenant: "t".to_owned(), key: key.to_owned(), fingerprint: [1; 32] }
    }

    fn first(single_flight: &Arc<SingleFlight>, name: &str) -> Leader {
        match single_flight.take(&key(name), TransactionId::random()) {
            Arrival::Leader(first) => first,
            Arrival::Known | Arrival::Follower(_) => panic!("{name} has a turn already"),
        }
    }

    fn behind(single_flight: &Arc<SingleFlight>, name: &str) -> Follower {
        match single_flight.take(&key(name), TransactionId::random()) {
            Arrival::Follower(behind) => behind,
            Arrival::Leader(_) | Arrival::Known => panic!("{name} is not running"),
        }
    }

    #[tokio::test]
    async fn one_executes_and_the_others_hear_how_it_ended() {
        let single_flight = SingleFlight::new();
        let one = first(&single_flight, "a");
        let (mut second, mut third) = (behind(&single_flight, "a"), behind(&single_flight, "a"));
        drop(first(&single_flight, "b"));
        one.end(Ended::Refused(Failure::LaneHalted));
        let reason = |ended: Option<Ended>| match ended {
            Some(Ended::Refused(failure)) => failure.reason(),
            Some(Ended::Journaled) => "journaled",
            None => "unknown",
        };
        assert_eq!(reason(second.ended().await), "lane_halted");
        assert_eq!(reason(third.ended().await), "lane_halted");
        let again = first(&single_flight, "a");
        let mut second = behind(&single_flight, "a");
        again.end(Ended::Journaled);
        assert_eq!(reason(second.ended().await), "journaled");
        assert!(matches!(single_flight.take(&key("a"), TransactionId::random()), Arrival::Known));
        let gone = first(&single_flight, "c");
        let mut second = behind(&single_flight, "c");
        drop(gone);
        assert_eq!(reason(second.ended().await), "unknown");
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let single_flight = SingleFlight::new();
        for number in 0..RECENT + 10 {
            first(&single_flight, &number.to_string()).end(Ended::Journaled);
        }
        let state = single_flight.state();
        assert_eq!((state.known.len(), state.recent.len(), state.running.len()), (RECENT, RECENT, 0));
    }
}
