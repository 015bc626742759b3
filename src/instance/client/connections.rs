//! Connections to instances: opened, kept after an answer that was read whole, and taken for the next request.
//!
//! Keeping a connection here needs no task of its own. Pingora's pool runs one per connection, spawned and woken at
//! every request. [`client`](super) decides what is sent over connections, and what a failure means.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use pingora::BError;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::{HttpPeer, Peer};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use crate::clock;
use crate::instance::traffic::Pooled;

/// The most idle connections kept for all instances together.
const POOL: usize = 128;
/// How long, at most, a connection stays open after the instance has closed it or its idle time is over.
const LOOK: Duration = Duration::from_secs(1);

/// Whether a connection that has served an earlier request may be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    Allowed,
    Forbidden,
}

/// The connections of one runtime.
pub(super) struct Connections {
    transport: TransportConnector,
    kept: Arc<Mutex<Kept>>,
}

/// The idle connections, the latest last.
#[derive(Default)]
struct Kept {
    idle: VecDeque<Idle>,
    /// Whether a task is tidying them.
    watched: bool,
}

struct Idle {
    /// The peer's hash. It differs for each generation of an instance.
    peer: u64,
    stream: Stream,
    until: Option<Instant>,
}

impl Connections {
    pub fn new() -> Connections {
        // Pingora's own pool is not used.
        let transport = TransportConnector::new(Some(ConnectorOptions::new(1)));
        Connections { transport, kept: Arc::default() }
    }

    /// Returns a connection to this peer.
    pub async fn take(&self, peer: &HttpPeer, reuse: Reuse) -> Result<(Stream, Pooled), BError> {
        if reuse == Reuse::Allowed
            && let Some(stream) = locked(&self.kept).take(peer.reuse_hash(), clock::runtime_now())
        {
            return Ok((stream, Pooled::Hit));
        }
        // On the heap: it is rare, and with a TLS handshake it is larger than all the rest of a request.
        let stream = Box::pin(self.transport.new_stream(peer)).await?;
        Ok((stream, Pooled::Miss))
    }

    /// Keeps the session's connection for a later request, if possible.
    pub async fn keep(&self, mut session: HttpSession, peer: &HttpPeer) {
        session.respect_keepalive();
        let time = peer.options.idle_timeout;
        // Dropping closes the connection; releasing such a session would half-close it first.
        if session.will_keepalive()
            && time != Some(Duration::ZERO)
            && let Some(stream) = session.reuse().await
        {
            let until = time.map(|time| clock::runtime_now() + time);
            let begins = locked(&self.kept).put(Idle { peer: peer.reuse_hash(), stream, until });
            if begins {
                let kept = Arc::downgrade(&self.kept);
                #[allow(clippy::disallowed_methods, reason = "one at a time, until nothing is kept")]
                tokio::spawn(look_after(kept));
            }
        }
    }
}

impl Kept {
    /// Takes the latest usable connection to this peer.
    fn take(&mut self, peer: u64, now: Instant) -> Option<Stream> {
        while let Some(at) = self.idle.iter().rposition(|idle| idle.peer == peer) {
            let mut idle = self.idle.remove(at)?;
            if idle.can_be_used(now) {
                return Some(idle.stream);
            }
        }
        None
    }

    /// Adds a connection. Returns `true` if the caller must now start a task to tidy them.
    fn put(&mut self, mut idle: Idle) -> bool {
        if !idle.is_silent() {
            return false;
        }
        if self.idle.len() >= POOL {
            self.idle.pop_front();
        }
        self.idle.push_back(idle);
        !std::mem::replace(&mut self.watched, true)
    }

    /// Closes connections that can no longer be used. Returns `false` if none are left.
    fn tidy(&mut self, now: Instant) -> bool {
        self.idle.retain_mut(|idle| idle.can_be_used(now));
        self.watched = !self.idle.is_empty();
        self.watched
    }
}

impl Idle {
    fn can_be_used(&mut self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until) && self.is_silent()
    }

    /// Returns whether the connection is open and the instance has sent nothing unrequested. Makes no system call: the
    /// readiness that the runtime has recorded is enough.
    fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let look = poll_fn(|context| Pin::new(&mut self.stream).poll_read(context, &mut ReadBuf::new(&mut byte)));
        // Without this, a task that has used up its budget would be told that nothing has arrived even if something has.
        pin!(tokio::task::unconstrained(look)).poll(&mut context).is_pending()
    }
}

fn locked(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn look_after(kept: Weak<Mutex<Kept>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(kept) = kept.upgrade() else { return };
        if !locked(&kept).tidy(clock::runtime_now()) {
            return;
        }
    }
}
