//! The listeners of streams, and the one task that wakes those for which there is something new.
//!
//! After each commit that may have made an event, the task asks the journal once, for all streams, and wakes the
//! listeners that may be concerned. Each listener then reads its own events. A listener may be woken for nothing, but
//! never misses an event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::journal::{EventId, EventPage, EventRow, EventScope, Store};

/// The pause between two reads of the journal: whatever becomes durable meanwhile is read together.
const PAUSE: Duration = Duration::from_millis(20);
/// The most events that are matched one by one; with more, every listener is woken.
const LOOK: u32 = 512;

/// The registry of listeners.
pub struct Hub {
    pub(super) store: Arc<dyn Store>,
    limit: usize,
    /// The limit for one client address.
    limit_of_one: usize,
    listening: Mutex<Listening>,
}

#[derive(Default)]
struct Listening {
    by_scope: HashMap<EventScope, HashMap<u64, Arc<Notify>>>,
    count: usize,
    /// By the client's address, which is empty if the client has none.
    by_client: HashMap<String, usize>,
    next: u64,
}

/// One listener, which is woken for everything that becomes durable after it subscribed.
pub struct Subscription {
    pub(super) hub: Arc<Hub>,
    pub(super) scope: EventScope,
    client: String,
    number: u64,
    wake: Arc<Notify>,
}

impl Hub {
    /// Creates a hub for up to `limit` streams at once, `limit_of_one` of them from one client.
    pub fn new(store: Arc<dyn Store>, limit: usize, limit_of_one: usize) -> Arc<Hub> {
        Arc::new(Hub { store, limit, limit_of_one, listening: Mutex::default() })
    }

    /// Subscribes the client with this address. Returns `None` if a limit is reached.
    pub fn listen(self: &Arc<Self>, scope: EventScope, client: &str) -> Option<Subscription> {
        let mut listening = self.listening();
        let of_client = listening.by_client.get(client).copied().unwrap_or(0);
        if listening.count >= self.limit || of_client >= self.limit_of_one {
            return None;
        }
        listening.by_client.insert(client.to_owned(), of_client + 1);
        listening.count += 1;
        listening.next += 1;
        let number = listening.next;
        let wake = Arc::new(Notify::new());
        listening.by_scope.entry(scope.clone()).or_default().insert(number, Arc::clone(&wake));
        Some(Subscription { hub: Arc::clone(self), scope, client: client.to_owned(), number, wake })
    }

    /// Returns the number of open streams.
    pub fn streams(&self) -> usize {
        self.listening().count
    }

    /// Returns the most streams that may be open.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Wakes listeners after each of these reports, until the sender is dropped.
    pub async fn run(&self, mut reports: watch::Receiver<u64>) {
        let mut seen = None;
        while reports.changed().await.is_ok() {
            seen = self.look(seen).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads the events after `seen`, wakes the listeners concerned, and returns the new position.
    async fn look(&self, seen: Option<EventId>) -> Option<EventId> {
        if self.streams() == 0 {
            return None;
        }
        let page = self.store.events(&EventScope::All, seen.unwrap_or(EventId::END), LOOK).await;
        let page = page.inspect_err(|error| tracing::debug!(%error, "cannot read events")).ok();
        match (&page, seen) {
            (Some(page), Some(_)) if page.events.len() < LOOK as usize => self.wake(&page.events),
            // On the first read, with too many events, or if the journal cannot be read: wake everyone.
            _ => self.wake_all(),
        }
        page.map(|EventPage { events, last, .. }| events.last().map_or(last, |event| last.max(event.event)))
    }

    fn wake(&self, events: &[EventRow]) {
        let listening = self.listening();
        let wake = |scope: EventScope| {
            listening.by_scope.get(&scope).into_iter().flat_map(HashMap::values).for_each(|one| one.notify_one());
        };
        for event in events {
            wake(EventScope::Transaction(event.transaction.transaction_id));
            if let Some(session) = &event.transaction.client_session {
                wake(EventScope::Session(session.clone()));
            }
        }
    }

    fn wake_all(&self) {
        self.listening().by_scope.values().flat_map(HashMap::values).for_each(|one| one.notify_one());
    }

    fn listening(&self) -> MutexGuard<'_, Listening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Waits until there may be something new since the last call, or since the subscription began.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut listening = self.hub.listening();
        listening.count = listening.count.saturating_sub(1);
        if let Some(count) = listening.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                listening.by_client.remove(&self.client);
            }
        }
        if let Some(same) = listening.by_scope.get_mut(&self.scope) {
            same.remove(&self.number);
            if same.is_empty() {
                listening.by_scope.remove(&self.scope);
            }
        }
    }
}
