//! Connections to instances: opened, kept after an answer that was read whole, and taken for the next request.
//!
//! A kept connection costs nothing but its place: Pingora's own pool runs a task for each, which is begun and woken at every
//! request. What is sent over them, and what a failure means, is decided in [`client`](super).

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

/// Idle connections kept for all instances together.
const POOL: usize = 128;
/// How long one that the instance has closed, or whose time is over, stays open at most.
const LOOK: Duration = Duration::from_secs(1);

/// Whether a connection that has served another request may be taken.
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

/// Those that are idle, the latest last.
#[derive(Default)]
struct Kept {
    idle: VecDeque<Idle>,
    /// Whether a task looks after them.
    watched: bool,
}

struct Idle {
    /// Where it leads: no two generations of an instance have the same.
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

    /// A connection to this peer.
    pub async fn take(&self, peer: &HttpPeer, reuse: Reuse) -> Result<(Stream, Pooled), BError> {
        if reuse == Reuse::Allowed
            && let Some(stream) = locked(&self.kept).take(peer.reuse_hash(), clock::runtime_now())
        {
            return Ok((stream, Pooled::Hit));
        }
        // On the heap: seldom done, and with a handshake of TLS larger than all the rest of a request.
        let stream = Box::pin(self.transport.new_stream(peer)).await?;
        Ok((stream, Pooled::Miss))
    }

    /// Keeps the session's connection for the next request, if it may be kept.
    pub async fn keep(&self, mut session: HttpSession, peer: &HttpPeer) {
        session.respect_keepalive();
        let time = peer.options.idle_timeout;
        // Dropping closes; releasing such a session would half-close it first.
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
    /// The latest that leads there and can be used.
    fn take(&mut self, peer: u64, now: Instant) -> Option<Stream> {
        while let Some(at) = self.idle.iter().rposition(|idle| idle.peer == peer) {
            let mut idle = self.idle.remove(at)?;
            if idle.can_be_used(now) {
                return Some(idle.stream);
            }
        }
        None
    }

    /// `true`: from now on somebody must look after them.
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

    /// Closes what cannot be used any more. `false`: nothing is left to look after.
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

    /// Whether it is open, and the instance has sent nothing that nobody asked for. Asks no kernel: the runtime has heard.
    fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let look = poll_fn(|context| Pin::new(&mut self.stream).poll_read(context, &mut ReadBuf::new(&mut byte)));
        // A task that has done enough for now is told that nothing has come, whatever has.
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
