//! How much the proxy takes on at once: requests, waiting requests, buffered bytes, journaled entries. The proxy
//! refuses a request beyond a limit with a reason of its own; no queue is unbounded. The configuration sets the limits.
//! How much memory each body may take is decided by [`intake`](super::intake).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::failure::Failure;
use super::intake::Intake;
use super::lane_admission::LaneAdmission;
use crate::chroma::Overload;
use crate::wire::Visitors;

/// The most that the proxy takes on. Each field is the key of that name under `limits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmitLimits {
    pub concurrent_requests: usize,
    /// How many requests may wait for one of `concurrent_requests`.
    pub queued_requests: usize,
    /// How long a request waits for one of `concurrent_requests`, and its body for memory while none is given back.
    pub queue_wait: Duration,
    /// The largest request body.
    pub body_bytes: usize,
    /// All request bodies in memory together; at least `body_bytes`.
    pub buffered_bytes: usize,
    /// How many bodies may come in slowly. Beyond this, a body that does not arrive at once is refused.
    pub incoming_bodies: usize,
    /// How long a body may take, plus a second for each `body_rate` bytes of it.
    pub body_timeout: Duration,
    /// Bytes per second.
    pub body_rate: usize,
    /// Journaled entries in memory, over all lanes.
    pub backlog_entries: usize,
    /// Requests of the lanes that may be under way to one instance. The executor has the same limit.
    pub concurrent_attempts: usize,
    /// How many more requests of the lanes may wait for one of `concurrent_attempts`.
    pub queued_attempts: usize,
}

#[cfg(test)]
impl AdmitLimits {
    /// One of each, and this many bytes.
    pub fn of_test(bytes: usize) -> AdmitLimits {
        AdmitLimits {
            concurrent_requests: 1,
            queued_requests: 1,
            queue_wait: Duration::ZERO,
            body_bytes: bytes,
            buffered_bytes: bytes,
            incoming_bodies: 10,
            body_timeout: Duration::from_secs(1),
            body_rate: 1024,
            backlog_entries: 1,
            concurrent_attempts: 1,
            queued_attempts: 0,
        }
    }
}

/// Counts what is under way, and enforces the limits.
pub struct Admission {
    limits: AdmitLimits,
    requests: Arc<Semaphore>,
    waiting: AtomicUsize,
    intake: Mutex<Intake>,
    /// Notified when memory for bodies is given back.
    pub(super) freed: Notify,
    /// The memory for answers, in units of [`UNIT`] bytes because a semaphore counts only to 2^29 on small machines.
    /// Answers wait for each other, never for a request's body.
    answers: Arc<Semaphore>,
    /// The clients' connections.
    visitors: Arc<Visitors>,
    /// Requests under way or waiting. A stop waits for both.
    present: AtomicUsize,
    idle: Notify,
    stopping: watch::Sender<bool>,
    lanes: Arc<LaneAdmission>,
    /// Clients' requests that have ended.
    processed: AtomicU64,
}

const UNIT: usize = 1024;

/// The memory for answers is half of that for bodies.
fn answer_units(limits: &AdmitLimits) -> usize {
    (limits.buffered_bytes.div_ceil(UNIT) / 2).clamp(1, Semaphore::MAX_PERMITS)
}

/// A claim on the memory for an answer; given back when dropped.
#[derive(Default)]
pub struct AnswerMemory {
    permit: Option<OwnedSemaphorePermit>,
}

impl AnswerMemory {
    /// Gives back everything beyond this many bytes.
    pub fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.permit {
            drop(permit.split(permit.num_permits().saturating_sub(bytes.div_ceil(UNIT))));
        }
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
    }

    fn units(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

/// One of the requests under way.
pub struct AdmissionPermit {
    admission: Arc<Admission>,
    permit: Option<OwnedSemaphorePermit>,
    whose: Whose,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Client,
    /// A request for one of the edge's own pages.
    Page,
}

impl AdmissionPermit {
    /// Frees the permit for another request. A stop still waits for this one.
    pub fn step_aside(&mut self) {
        self.permit = None;
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        if self.whose == Whose::Client {
            self.admission.processed.fetch_add(1, Ordering::Relaxed);
        }
        if self.admission.present.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.admission.idle.notify_waiters();
        }
    }
}

impl Admission {
    /// Admission with these limits, for requests on these connections.
    pub fn new(limits: AdmitLimits, visitors: Arc<Visitors>) -> Arc<Admission> {
        Arc::new(Admission {
            requests: Arc::new(Semaphore::new(limits.concurrent_requests.min(Semaphore::MAX_PERMITS))),
            intake: Mutex::new(Intake::new(limits.buffered_bytes as u64)),
            freed: Notify::new(),
            answers: Arc::new(Semaphore::new(answer_units(&limits))),
            lanes: LaneAdmission::new(limits.concurrent_attempts, limits.queued_attempts),
            processed: AtomicU64::new(0),
            visitors,
            limits,
            waiting: AtomicUsize::new(0),
            present: AtomicUsize::new(0),
            idle: Notify::new(),
            stopping: watch::Sender::new(false),
        })
    }

    pub fn limits(&self) -> &AdmitLimits {
        &self.limits
    }

    /// Returns the limits on clients' requests, as shown to clients that are refused.
    pub fn overload(&self) -> Overload {
        Overload { concurrent_limit: self.limits.concurrent_requests, queue_size: self.limits.queued_requests }
    }

    /// The open connections.
    pub fn visitors(&self) -> &Arc<Visitors> {
        &self.visitors
    }

    /// Requests under way now, including those for the edge's own pages, excluding those that wait for a permit.
    pub fn under_way(&self) -> usize {
        self.present.load(Ordering::Acquire).saturating_sub(self.waiting())
    }

    /// Clients' requests that are admitted and have not ended.
    pub fn clients(&self) -> usize {
        self.limits.concurrent_requests.saturating_sub(self.requests.available_permits())
    }

    /// Clients' requests that have ended since the edge began, refused ones included.
    pub fn processed(&self) -> u64 {
        self.processed.load(Ordering::Relaxed)
    }

    /// The lanes in which clients wait.
    pub fn lanes(&self) -> &Arc<LaneAdmission> {
        &self.lanes
    }

    /// Requests waiting for a permit now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Bytes of request bodies and held answers in memory now.
    pub fn buffered(&self) -> usize {
        let answers = answer_units(&self.limits).saturating_sub(self.answers.available_permits());
        usize::try_from(self.intake().used()).unwrap_or(usize::MAX).saturating_add(answers * UNIT)
    }

    /// How much of the memory for bodies is in use, in percent.
    pub fn bodies_percent(&self) -> f64 {
        self.intake().percent()
    }

    /// Request bodies that are being read now.
    pub fn incoming(&self) -> usize {
        self.intake().incoming()
    }

    pub(super) fn intake(&self) -> MutexGuard<'_, Intake> {
        // Held for a few instructions, never across an await.
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits without a permit: the edge's own pages must answer when everything else waits.
    pub fn pass(self: &Arc<Self>) -> AdmissionPermit {
        self.present.fetch_add(1, Ordering::AcqRel);
        AdmissionPermit { admission: Arc::clone(self), permit: None, whose: Whose::Page }
    }

    /// Counts a client's request, which must still [`enter`](Admission::enter).
    pub fn arrived(self: &Arc<Self>) -> AdmissionPermit {
        let mut arrived = self.pass();
        arrived.whose = Whose::Client;
        arrived
    }

    /// Gives an admitted request its permit, at once or after a bounded wait in a bounded queue. The body has been read
    /// by now, so a slow upload holds no permit.
    pub async fn enter(self: &Arc<Self>, admitted: &mut AdmissionPermit) -> Result<(), Failure> {
        if admitted.permit.is_some() {
            return Ok(());
        }
        if let Ok(permit) = Arc::clone(&self.requests).try_acquire_owned() {
            admitted.permit = Some(permit);
            return Ok(());
        }
        let queued = Queued::join(self)?;
        let permit = tokio::time::timeout(self.limits.queue_wait, Arc::clone(&self.requests).acquire_owned()).await;
        drop(queued);
        match permit {
            Ok(Ok(permit)) => {
                admitted.permit = Some(permit);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(Failure::QueueTooSlow(self.overload())),
        }
    }

    /// Claims this many bytes for an answer, after a bounded wait for other answers. An answer that exceeds the whole
    /// budget gets all of it, and is held alone.
    pub async fn claim_for_answer(&self, bytes: usize) -> Result<AnswerMemory, Failure> {
        let mut memory = AnswerMemory::default();
        self.grow_for_answer(&mut memory, bytes).await?;
        Ok(memory)
    }

    /// Grows the claim to cover this many bytes, as [`Admission::claim_for_answer`].
    pub async fn grow_for_answer(&self, memory: &mut AnswerMemory, bytes: usize) -> Result<(), Failure> {
        let units = bytes.div_ceil(UNIT).min(answer_units(&self.limits)).saturating_sub(memory.units());
        if units == 0 {
            return Ok(());
        }
        let count = u32::try_from(units).map_err(|_| Failure::MemoryFull(self.overload()))?;
        let permit = Arc::clone(&self.answers).acquire_many_owned(count);
        let Ok(Ok(more)) = tokio::time::timeout(self.limits.queue_wait, permit).await else {
            return Err(Failure::MemoryFull(self.overload()));
        };
        memory.add(more);
        Ok(())
    }

    /// As [`Admission::grow_for_answer`], but without a wait. Returns `false` if there is not enough memory.
    pub fn try_grow_for_answer(&self, memory: &mut AnswerMemory, bytes: usize) -> bool {
        let units = bytes.div_ceil(UNIT).saturating_sub(memory.units());
        let Ok(count) = u32::try_from(units) else { return false };
        if count == 0 {
            return true;
        }
        let Ok(more) = Arc::clone(&self.answers).try_acquire_many_owned(count) else { return false };
        memory.add(more);
        true
    }

    /// Resolves when the edge is about to stop. Requests that only wait for others must end then.
    pub async fn stopping(&self) {
        // The sender lives as long as `self`.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Ends the requests that only wait for others, and resolves when nothing is under way or waiting.
    pub async fn drained(&self) {
        self.stopping.send_replace(true);
        loop {
            let idle = self.idle.notified();
            if self.present.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn join(admission: &'a Admission) -> Result<Self, Failure> {
        if admission.waiting.fetch_add(1, Ordering::AcqRel) >= admission.limits.queued_requests {
            admission.waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(Failure::QueueFull(admission.overload()));
        }
        Ok(Queued(&admission.waiting))
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::super::incoming::Waited;
    use super::*;
    use crate::wire::VisitorLimits;

    fn admission(concurrent: usize, queued: usize) -> Arc<Admission> {
        let visitors = VisitorLimits { connections: 1, per_address: 1, proxies: Vec::new() };
        let limits = AdmitLimits {
            concurrent_requests: concurrent,
            queued_requests: queued,
            queue_wait: Duration::from_millis(50),
            ..AdmitLimits::of_test(4096)
        };
        Admission::new(limits, Visitors::new(visitors))
    }

    async fn enter(admission: &Arc<Admission>) -> Result<AdmissionPermit, &'static str> {
        let mut admitted = admission.pass();
        admission.enter(&mut admitted).await.map(|()| admitted).map_err(|failure| failure.reason())
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_slow_one_gives_up() {
        let admission = admission(1, 1);
        let first = enter(&admission).await.unwrap();
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { enter(&admission).await.map(drop) }
        });
        while admission.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(admission.under_way(), 1, "who waits is not under way");
        assert_eq!(enter(&admission).await.map(drop), Err("queue_full"));
        assert_eq!(waiting.await.unwrap(), Err("queue_timeout"));
        drop(first);
        admission.drained().await;
        assert!(enter(&admission).await.is_ok());
    }

    #[tokio::test]
    async fn answers_wait_for_each_other_and_hold_no_more_than_their_part() {
        let admission = admission(1, 1);
        let one = admission.claim_for_answer(1 << 30).await.map_err(|f| f.reason()).unwrap();
        assert_eq!(admission.buffered(), 2048, "half of the budget, however large it is");
        assert_eq!(admission.claim_for_answer(1).await.map(drop).map_err(|f| f.reason()), Err("memory_full"));
        let body = admission.incoming_body(4096);
        assert!(body.claim(4096).await.is_ok(), "a request's body does not wait for answers");
        drop(body);
        let waiting = {
            let admission = Arc::clone(&admission);
            tokio::spawn(async move { admission.claim_for_answer(1).await.map(drop).map_err(|f| f.reason()) })
        };
        tokio::task::yield_now().await;
        drop(one);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert_eq!(admission.buffered(), 0);
    }

    #[tokio::test]
    async fn a_claim_for_an_answer_grows_and_shrinks_with_it() {
        let admission = admission(1, 1);
        let mut memory = admission.claim_for_answer(1024).await.map_err(|f| f.reason()).unwrap();
        let grown = admission.grow_for_answer(&mut memory, 2000).await;
        assert_eq!((grown.map_err(|f| f.reason()), admission.buffered()), (Ok(()), 2048));
        assert!(admission.grow_for_answer(&mut memory, 1).await.is_ok(), "it is covered");
        assert_eq!(admission.claim_for_answer(1).await.map(drop).map_err(|f| f.reason()), Err("memory_full"));
        assert!(!admission.try_grow_for_answer(&mut memory, 2049), "and nothing is waited for");
        memory.shrink(1);
        assert_eq!(admission.buffered(), 1024);
        assert!(admission.try_grow_for_answer(&mut memory, 2048));
        assert_eq!(admission.buffered(), 2048);
        memory.shrink(1);
        assert!(admission.claim_for_answer(1).await.is_ok());
        memory.shrink(0);
        assert_eq!(admission.buffered(), 0);
    }

    #[tokio::test]
    async fn memory_is_claimed_and_given_back() {
        let admission = admission(1, 1);
        let body = admission.incoming_body(4096);
        assert_eq!(admission.buffered(), 0, "nothing has come");
        for _ in 0..4 {
            assert_eq!(body.claim(1024).await.map_err(|f| f.reason()), Ok(Waited::No));
        }
        assert_eq!((admission.buffered(), admission.incoming()), (4096, 1));
        let other = admission.incoming_body(1);
        assert_eq!(other.claim(1).await.map_err(|f| f.reason()), Err("memory_full"));
        let whole = body.finish();
        assert_eq!((admission.buffered(), admission.incoming()), (4096, 1));
        let waiting = tokio::spawn(async move { other.claim(1).await.map_err(|f| f.reason()) });
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(whole);
        assert_eq!(waiting.await.unwrap(), Ok(Waited::Yes));
        assert_eq!((admission.buffered(), admission.incoming()), (0, 0));
    }

    /// A body may wait longer than one `queue_wait`, as long as others give memory back.
    #[tokio::test(start_paused = true)]
    async fn a_body_waits_as_long_as_memory_is_given_back() {
        let admission = admission(1, 1);
        let full = admission.incoming_body(4096);
        assert!(full.claim(4096).await.is_ok());
        let waiting = admission.incoming_body(1);
        let claim = waiting.claim(1);
        tokio::pin!(claim);
        for _ in 0..4 {
            assert!(tokio::time::timeout(Duration::from_millis(30), &mut claim).await.is_err(), "it waits still");
            drop(admission.incoming_body(1));
        }
        assert_eq!(claim.await.map_err(|f| f.reason()), Err("memory_full"));
    }
}
