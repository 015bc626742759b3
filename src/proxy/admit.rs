//! How much the proxy takes on at once: requests, waiting requests, buffered bytes, journaled entries. The proxy refuses
//! a request beyond a limit with a reason of its own; no queue is unbounded. The configuration sets the limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::failure::Failure;

/// What the proxy takes on at most. Each field is the key of that name under `limits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmitLimits {
    pub concurrent_requests: usize,
    /// How many requests may wait for one of `concurrent_requests`.
    pub queued_requests: usize,
    /// How long a request waits for one of `concurrent_requests`.
    pub queue_wait: Duration,
    /// The largest request body.
    pub body_bytes: usize,
    /// All request bodies held in memory together; at least `body_bytes`.
    pub buffered_bytes: usize,
    /// Journaled entries in memory, over all lanes.
    pub backlog_entries: usize,
}

/// Counts what is under way.
pub struct Admission {
    limits: AdmitLimits,
    requests: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// In units of [`UNIT`] bytes: a semaphore counts to 2^29 on small machines.
    memory: Arc<Semaphore>,
    /// Of the same units: answers that are held in memory. They wait for each other, and never for a request's body.
    answers: Arc<Semaphore>,
    /// Under way or waiting: a stop waits for both.
    present: AtomicUsize,
    idle: Notify,
    stopping: watch::Sender<bool>,
}

const UNIT: usize = 1024;

/// Answers may hold half as much as bodies do.
fn answer_units(limits: &AdmitLimits) -> usize {
    (limits.buffered_bytes.div_ceil(UNIT) / 2).clamp(1, Semaphore::MAX_PERMITS)
}

/// A claim on the memory for an answer; given back when dropped.
#[derive(Default)]
pub struct AnswerMemory {
    permit: Option<OwnedSemaphorePermit>,
}

impl AnswerMemory {
    /// Gives back what is more than so many bytes.
    pub fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.permit {
            drop(permit.split(permit.num_permits().saturating_sub(bytes.div_ceil(UNIT))));
        }
    }

    fn units(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

/// One request among those under way.
pub struct AdmissionPermit {
    admission: Arc<Admission>,
    permit: Option<OwnedSemaphorePermit>,
}

impl AdmissionPermit {
    /// Frees the permit for another request; a stop still waits for this one.
    pub fn step_aside(&mut self) {
        self.permit = None;
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        if self.admission.present.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.admission.idle.notify_waiters();
        }
    }
}

/// A claim on buffer memory, growing as a body of unknown length does.
pub struct Memory {
    admission: Arc<Admission>,
    permit: OwnedSemaphorePermit,
    units: usize,
}

impl Admission {
    /// Admission with these limits.
    pub fn new(limits: AdmitLimits) -> Arc<Admission> {
        Arc::new(Admission {
            requests: Arc::new(Semaphore::new(limits.concurrent_requests.min(Semaphore::MAX_PERMITS))),
            memory: Arc::new(Semaphore::new(limits.buffered_bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS))),
            answers: Arc::new(Semaphore::new(answer_units(&limits))),
            limits,
            waiting: AtomicUsize::new(0),
            present: AtomicUsize::new(0),
            idle: Notify::new(),
            stopping: watch::Sender::new(false),
        })
    }

    /// The limits.
    pub fn limits(&self) -> &AdmitLimits {
        &self.limits
    }

    /// Requests under way now, including the edge's own pages, excluding those that wait for a permit.
    pub fn under_way(&self) -> usize {
        self.present.load(Ordering::Acquire).saturating_sub(self.waiting())
    }

    /// Requests waiting for a permit now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Bytes of request bodies, and of answers that are being rewritten, held in memory now.
    pub fn buffered(&self) -> usize {
        let all = self.limits.buffered_bytes.div_ceil(UNIT);
        let answers = answer_units(&self.limits).saturating_sub(self.answers.available_permits());
        (all.saturating_sub(self.memory.available_permits()) + answers) * UNIT
    }

    /// Admits without a permit: the edge's own pages must answer when everything else waits.
    pub fn pass(self: &Arc<Self>) -> AdmissionPermit {
        self.present.fetch_add(1, Ordering::AcqRel);
        AdmissionPermit { admission: Arc::clone(self), permit: None }
    }

    /// Admits one request, at once or after a bounded wait in a bounded queue.
    pub async fn enter(self: &Arc<Self>) -> Result<AdmissionPermit, Failure> {
        let mut admitted = self.pass();
        if let Ok(permit) = Arc::clone(&self.requests).try_acquire_owned() {
            admitted.permit = Some(permit);
            return Ok(admitted);
        }
        let queued = Queued::join(self)?;
        let permit = tokio::time::timeout(self.limits.queue_wait, Arc::clone(&self.requests).acquire_owned()).await;
        drop(queued);
        match permit {
            Ok(Ok(permit)) => {
                admitted.permit = Some(permit);
                Ok(admitted)
            }
            Ok(Err(_)) | Err(_) => Err(Failure::QueueTooSlow),
        }
    }

    /// A claim on this many bytes.
    pub fn claim(self: &Arc<Self>, bytes: usize) -> Result<Memory, Failure> {
        let units = bytes.div_ceil(UNIT);
        let count = u32::try_from(units).map_err(|_| Failure::MemoryFull)?;
        let permit = Arc::clone(&self.memory).try_acquire_many_owned(count).map_err(|_| Failure::MemoryFull)?;
        Ok(Memory { admission: Arc::clone(self), permit, units })
    }

    /// A claim on this many bytes for an answer, after a bounded wait for other answers. One that is larger than all of them
    /// may be is held alone.
    pub async fn claim_for_answer(&self, bytes: usize) -> Result<AnswerMemory, Failure> {
        let mut memory = AnswerMemory::default();
        self.grow_for_answer(&mut memory, bytes).await?;
        Ok(memory)
    }

    /// Has the claim cover this many bytes, as [`Admission::claim_for_answer`].
    pub async fn grow_for_answer(&self, memory: &mut AnswerMemory, bytes: usize) -> Result<(), Failure> {
        let units = bytes.div_ceil(UNIT).min(answer_units(&self.limits)).saturating_sub(memory.units());
        if units == 0 {
            return Ok(());
        }
        let count = u32::try_from(units).map_err(|_| Failure::MemoryFull)?;
        let permit = Arc::clone(&self.answers).acquire_many_owned(count);
        let Ok(Ok(more)) = tokio::time::timeout(self.limits.queue_wait, permit).await else {
            return Err(Failure::MemoryFull);
        };
        match &mut memory.permit {
            Some(permit) => permit.merge(more),
            None => memory.permit = Some(more),
        }
        Ok(())
    }

    /// Resolves when the edge is about to stop: what only waits for others ends then.
    pub async fn stopping(&self) {
        // The sender lives as long as `self`.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Ends what only waits for others, and resolves when nothing is under way or waiting.
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

impl Memory {
    /// Grows the claim to this many bytes.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let units = bytes.div_ceil(UNIT);
        if units > self.units {
            let more = self.admission.claim((units - self.units) * UNIT)?;
            self.units = units;
            self.permit.merge(more.permit);
        }
        Ok(())
    }
}

struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn join(admission: &'a Admission) -> Result<Self, Failure> {
        if admission.waiting.fetch_add(1, Ordering::AcqRel) >= admission.limits.queued_requests {
            admission.waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(Failure::QueueFull);
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
    use super::*;

    fn admission(concurrent: usize, queued: usize) -> Arc<Admission> {
        Admission::new(AdmitLimits {
            concurrent_requests: concurrent,
            queued_requests: queued,
            queue_wait: Duration::from_millis(50),
            body_bytes: 4096,
            buffered_bytes: 4096,
            backlog_entries: 1,
        })
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_slow_one_gives_up() {
        let admission = admission(1, 1);
        let first = admission.enter().await.map_err(|f| f.reason()).unwrap();
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter().await.map(drop).map_err(|failure| failure.reason()) }
        });
        while admission.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(admission.under_way(), 1, "who waits is not under way");
        assert_eq!(admission.enter().await.map(drop).map_err(|f| f.reason()), Err("queue_full"));
        assert_eq!(waiting.await.unwrap(), Err("queue_timeout"));
        drop(first);
        admission.drained().await;
        assert!(admission.enter().await.is_ok());
    }

    #[tokio::test]
    async fn answers_wait_for_each_other_and_hold_no_more_than_their_part() {
        let admission = admission(1, 1);
        let one = admission.claim_for_answer(1 << 30).await.map_err(|f| f.reason()).unwrap();
        assert_eq!(admission.buffered(), 2048, "half of the budget, however large it is");
        assert_eq!(admission.claim_for_answer(1).await.map(drop).map_err(|f| f.reason()), Err("memory_full"));
        assert!(admission.claim(4096).is_ok(), "a request's body does not wait for answers");
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
        memory.shrink(1);
        assert_eq!(admission.buffered(), 1024);
        assert!(admission.claim_for_answer(1).await.is_ok());
        memory.shrink(0);
        assert_eq!(admission.buffered(), 0);
    }

    #[test]
    fn memory_is_claimed_and_given_back() {
        let admission = admission(1, 1);
        let mut claim = admission.claim(1024).map_err(|f| f.reason()).unwrap();
        assert!(claim.grow(4096).is_ok());
        assert_eq!(admission.buffered(), 4096);
        assert_eq!(admission.claim(1).map(drop).map_err(|f| f.reason()), Err("memory_full"));
        drop(claim);
        assert_eq!(admission.buffered(), 0);
    }
}
