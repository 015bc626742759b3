//! The open connections: how many there may be, and which idle one makes room for a new one.
//!
//! A connection that serves a request is never sent away. This file decides nothing about requests.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use pingora::http::ResponseHeader;
use pingora::protocols::Digest;
use pingora::protocols::raw_connect::ProxyDigest;
use tokio::sync::{Notify, watch};

use crate::clock;

/// The limits on open connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisitorLimits {
    pub connections: usize,
    pub per_address: usize,
    /// Proxies with many clients behind one address: `per_address` does not apply to them.
    pub proxies: Vec<IpNet>,
}

/// How long a connection must be idle before it makes room, so that one between two requests of a busy client stays.
const IDLE: Duration = Duration::from_secs(1);

/// Stored in place of the number of requests: the connection was sent away.
const SENT_AWAY: usize = usize::MAX;

/// All open connections.
pub struct Visitors {
    limits: VisitorLimits,
    began: Instant,
    present: Mutex<Present>,
    refused: AtomicU64,
    sent_away: AtomicU64,
    /// Whether each connection ends with its next answer. Sent again to reach connections that were opened since.
    ends: Arc<watch::Sender<bool>>,
    left: Notify,
}

#[derive(Default)]
struct Present {
    next: u64,
    visitors: BTreeMap<u64, Arc<Visitor>>,
    of: HashMap<IpAddr, usize>,
}

/// One connection.
pub struct Visitor {
    address: Option<IpAddr>,
    /// The number of requests being served, or [`SENT_AWAY`].
    serving: AtomicUsize,
    /// When the connection became idle, in milliseconds since the start.
    idle_since: AtomicU64,
    began: Instant,
    gone: Notify,
    ends: Arc<watch::Sender<bool>>,
}

/// An open connection. It counts as open until this is dropped.
pub struct Visit {
    visitors: Arc<Visitors>,
    number: u64,
    visitor: Arc<Visitor>,
    /// The form in which Pingora is notified of the end.
    ends: watch::Receiver<bool>,
}

/// A request that is being served: its connection is not idle.
pub struct Serving(Arc<Visitor>);

impl Visitors {
    pub fn new(limits: VisitorLimits) -> Arc<Visitors> {
        Arc::new(Visitors {
            limits,
            began: clock::now(),
            present: Mutex::default(),
            refused: AtomicU64::new(0),
            sent_away: AtomicU64::new(0),
            ends: Arc::new(watch::Sender::new(false)),
            left: Notify::new(),
        })
    }

    pub const fn limits(&self) -> &VisitorLimits {
        &self.limits
    }

    /// The number of open connections.
    pub fn count(&self) -> usize {
        self.present().visitors.len()
    }

    /// Connections that were refused and closed at once, since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Idle connections that were sent away to make room, since the start.
    pub fn sent_away(&self) -> u64 {
        self.sent_away.load(Ordering::Relaxed)
    }

    /// Counts a new connection. `None` if there are too many and none of them is idle.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>, now: Instant) -> Option<Visit> {
        let address = address.map(|address| address.to_canonical());
        let limited = address.filter(|one| !self.limits.proxies.iter().any(|net| net.contains(one)));
        let mut present = self.present();
        let of_address = limited.and_then(|address| present.of.get(&address)).copied().unwrap_or(0);
        let room = if of_address >= self.limits.per_address {
            self.make_room(&mut present, limited, now)
        } else if present.visitors.len() >= self.limits.connections {
            self.make_room(&mut present, None, now)
        } else {
            true
        };
        if !room {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let visitor = Arc::new(Visitor {
            address,
            serving: AtomicUsize::new(0),
            idle_since: AtomicU64::new(millis(now.saturating_duration_since(self.began))),
            began: self.began,
            gone: Notify::new(),
            ends: Arc::clone(&self.ends),
        });
        let number = present.next;
        present.next += 1;
        present.visitors.insert(number, Arc::clone(&visitor));
        if let Some(address) = address {
            *present.of.entry(address).or_default() += 1;
        }
        Some(Visit { visitors: Arc::clone(self), number, visitor, ends: self.ends.subscribe() })
    }

    /// Makes each connection end with its next answer from now on. Resolves when the connections open before have
    /// ended.
    pub async fn part(&self) {
        let first_new = {
            let present = self.present();
            self.end_all();
            present.next
        };
        self.until(|present| present.visitors.keys().all(|number| *number >= first_new)).await;
    }

    /// Makes each connection end with its next answer from now on. Call it again once no new connections come: an
    /// HTTP/2 connection that was opened after the first call may be used until then.
    pub fn end_all(&self) {
        self.ends.send_replace(true);
    }

    /// Resolves when no connection is open.
    pub async fn all_gone(&self) {
        self.until(|present| present.visitors.is_empty()).await;
    }

    async fn until(&self, done: impl Fn(&Present) -> bool) {
        loop {
            let left = self.left.notified();
            // Created before the check, so that a connection that ends in between is noticed.
            if done(&self.present()) {
                return;
            }
            left.await;
        }
    }

    /// Sends away the connection that has been idle longest, of this address if one is given.
    fn make_room(&self, present: &mut Present, address: Option<IpAddr>, now: Instant) -> bool {
        let Some(latest) = now.saturating_duration_since(self.began).checked_sub(IDLE) else { return false };
        let latest = millis(latest);
        let mut idle: Vec<(u64, u64)> = present
            .visitors
            .iter()
            .filter(|(_, visitor)| address.is_none() || visitor.address == address)
            .filter(|(_, visitor)| visitor.serving.load(Ordering::Acquire) == 0)
            .map(|(number, visitor)| (visitor.idle_since.load(Ordering::Acquire), *number))
            .filter(|(since, _)| *since <= latest)
            .collect();
        // A request may begin meanwhile; if so, try the next connection.
        idle.sort_unstable();
        for (_, number) in idle {
            let sent = present.visitors.get(&number).is_some_and(|visitor| visitor.send_away());
            if sent {
                present.leave(number);
                self.sent_away.fetch_add(1, Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    fn leave(&mut self, number: u64) {
        let Some(visitor) = self.visitors.remove(&number) else { return };
        let Some(address) = visitor.address else { return };
        if let Some(count) = self.of.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&address);
            }
        }
    }
}

impl Visitor {
    /// Begins a request. `None` if the connection was sent away.
    pub fn serve(self: &Arc<Self>) -> Option<Serving> {
        let more = |count: usize| (count != SENT_AWAY).then(|| count + 1);
        self.serving.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Serving(Arc::clone(self)))
    }

    /// Returns whether the connection ends with its next answer.
    pub fn is_parting(&self) -> bool {
        *self.ends.borrow()
    }

    fn send_away(&self) -> bool {
        let sent = self.serving.compare_exchange(0, SENT_AWAY, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if sent {
            self.gone.notify_one();
        }
        sent
    }
}

impl Visit {
    pub const fn visitor(&self) -> &Arc<Visitor> {
        &self.visitor
    }

    /// Notifies of the end of all connections.
    pub const fn ends(&self) -> &watch::Receiver<bool> {
        &self.ends
    }

    /// Resolves when the connection must make room. No request is being served on it, nor will be.
    pub async fn sent_away(&self) {
        self.visitor.gone.notified().await;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.visitors.present().leave(self.number);
        self.visitors.left.notify_waiters();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.idle_since.store(millis(clock::now().saturating_duration_since(self.0.began)), Ordering::Release);
        self.0.serving.fetch_sub(1, Ordering::AcqRel);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Carries the connection to the hooks. Of all that Pingora shows the hooks of a connection, only this digest takes
/// user data.
pub(super) fn digest_of(visitor: &Arc<Visitor>) -> Option<Arc<ProxyDigest>> {
    let response = Box::new(ResponseHeader::build_no_case(200, None).ok()?);
    Some(Arc::new(ProxyDigest::new(response, Some(Box::new(Arc::clone(visitor))))))
}

/// Returns the connection of a request.
pub fn visitor_of(digest: Option<&Digest>) -> Option<Arc<Visitor>> {
    let data = digest?.proxy_digest.as_ref()?.user_data.as_ref()?;
    data.downcast_ref::<Arc<Visitor>>().cloned()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn visitors(connections: usize, per_address: usize) -> Arc<Visitors> {
        let proxies = vec!["10.0.0.0/8".parse().unwrap()];
        Visitors::new(VisitorLimits { connections, per_address, proxies })
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[tokio::test]
    async fn the_longest_idle_makes_room_and_who_is_served_stays() {
        let visitors = visitors(3, 3);
        let start = visitors.began;
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let served = visitors.enter(address(1), at(0)).unwrap();
        let _request = served.visitor().serve().unwrap();
        let older = visitors.enter(address(2), at(1)).unwrap();
        let newer = visitors.enter(address(3), at(2)).unwrap();
        let fourth = visitors.enter(address(4), at(10)).unwrap();
        older.sent_away().await;
        assert!(older.visitor().serve().is_none(), "no request of it is served any more");
        assert!(newer.visitor().serve().is_some());
        assert_eq!((visitors.count(), visitors.sent_away(), visitors.refused()), (3, 1, 0));
        drop((older, fourth));
        assert_eq!(visitors.count(), 2, "it is counted once");
    }

    #[tokio::test]
    async fn parting_waits_for_those_who_were_there_and_the_end_for_all() {
        let visitors = visitors(3, 3);
        let before = visitors.enter(address(1), visitors.began).unwrap();
        let mut parting = std::pin::pin!(visitors.part());
        assert_eq!((&mut parting).now_or_never(), None);
        let after = visitors.enter(address(2), visitors.began).unwrap();
        assert!(before.visitor().is_parting() && after.visitor().is_parting());
        assert!(before.ends().has_changed().unwrap() && !after.ends().has_changed().unwrap());
        visitors.end_all();
        assert!(after.ends().has_changed().unwrap());
        drop(before);
        parting.await;
        let mut end = std::pin::pin!(visitors.all_gone());
        assert_eq!((&mut end).now_or_never(), None);
        drop(after);
        end.await;
    }

    #[test]
    fn nobody_is_let_in_while_nobody_is_idle() {
        let visitors = visitors(2, 2);
        let start = visitors.began;
        let one = visitors.enter(address(1), start).unwrap();
        let request = one.visitor().serve().unwrap();
        let _two = visitors.enter(address(2), start + Duration::from_secs(5)).unwrap();
        assert!(visitors.enter(address(3), start + Duration::from_secs(5)).is_none(), "the other came just now");
        assert_eq!(visitors.refused(), 1);
        drop(request);
        drop(one);
        assert!(visitors.enter(address(3), start + Duration::from_secs(5)).is_some());
    }

    #[test]
    fn one_address_makes_room_among_its_own_and_a_proxy_has_no_limit() {
        let visitors = visitors(100, 2);
        let start = visitors.began;
        let other = visitors.enter(address(9), start).unwrap();
        let mut own: Vec<Visit> = (0..2).filter_map(|_| visitors.enter(address(1), start)).collect();
        own.push(visitors.enter(address(1), start + Duration::from_secs(9)).unwrap());
        assert!(own[0].visitor().serve().is_none());
        assert!(other.visitor().serve().is_some(), "it has been idle as long");
        let mapped = Some("::ffff:192.0.2.1".parse().unwrap());
        assert!(visitors.enter(mapped, start).is_none(), "it is the same address");
        let proxy = Some(IpAddr::from([10, 0, 0, 1]));
        let many: Vec<Option<Visit>> = (0..9).map(|_| visitors.enter(proxy, start)).collect();
        assert!(many.iter().all(Option::is_some));
        drop((other, own, many));
        assert_eq!((visitors.count(), visitors.present().of.len()), (0, 0));
    }
}
