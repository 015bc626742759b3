//! Holding the journal: claims it, renews it, and ends this edge when another one has it.
//!
//! Decides when to ask the store, and what each answer means for this process. The store decides which edge may hold
//! the journal, and the sender checks what a lease allows. The service around this is in [`LeaseRenewer`].

mod renewer;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

pub(super) use self::renewer::{Begin, LeaseRenewer};
use crate::clock::{self, Awake};
use crate::coordinator::{Core, LateWrites};
use crate::current::Current;
use crate::journal::{Claim, LateWrite, LateWriteId, Leadership, LeadershipError, LeaseTerm, Predecessor};
use crate::lasting::Lasting;
use crate::lease::Lease;
use crate::proof::{self, CrashPoint};
use crate::proxy::{StandbyReason, StandbyState};

/// The time between two claims of a journal that another edge holds or that cannot be reached.
const POLL: Duration = Duration::from_millis(250);
/// How long one request to the store may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long reading the late writes of earlier edges may hold up the next renewal.
const LATE_WRITES_LIMIT: Duration = Duration::from_millis(200);
/// How long a superseded edge waits for writes that are being sent. Either the kernel takes their bytes within
/// microseconds, or the instance does not take them and never gets the whole request.
const LAST_SENDS: Duration = Duration::from_millis(500);
/// How long the end waits for the answers to requests already sent.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// The time between two checks whether the answers have arrived.
const LOOK: Duration = Duration::from_millis(10);
/// How long an ending edge tries to report its late writes for the next one.
const REPORT_LIMIT: Duration = Duration::from_secs(2);
const LAST_RELEASE: Duration = Duration::from_secs(1);

/// Whether there is something to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    /// Not granted yet, or held without a claim.
    Nothing,
    Granted,
    /// Granted, and being given back: never claimed again.
    Returning,
    /// Never granted, and no longer claimed.
    Never,
}

/// This edge's hold on the journal, shared by the service that renews it and the one that gives it back.
pub(super) struct LeaseHolder {
    leadership: Arc<dyn Leadership>,
    lease: Arc<Lease>,
    /// Writes that ended after the lease.
    late_writes: Arc<LateWrites>,
    standby: Arc<StandbyState>,
    /// How long a predecessor's requests may still be executed.
    settle: Current<Duration>,
    core: OnceLock<Arc<Core>>,
    /// Locked while the store is asked, so that nothing is renewed after the journal was given back.
    holding: Mutex<Holding>,
}

/// Returns the part of a term in which this edge sends. It ends before the store gives the journal to another edge.
fn safe(term: Duration) -> Duration {
    term - term / 6
}

impl LeaseHolder {
    pub fn new(
        leadership: Arc<dyn Leadership>,
        lease: Arc<Lease>,
        standby: Arc<StandbyState>,
        settle: Current<Duration>,
    ) -> Arc<LeaseHolder> {
        let (core, holding, late_writes) = (OnceLock::new(), Mutex::new(Holding::Nothing), Arc::default());
        Arc::new(LeaseHolder { leadership, lease, late_writes, standby, settle, core, holding })
    }

    /// Where writes that end after the lease are recorded.
    pub fn late_writes(&self) -> &Arc<LateWrites> {
        &self.late_writes
    }

    /// The core, once the journal is loaded.
    pub fn core(&self) -> Option<&Arc<Core>> {
        self.core.get()
    }

    /// Records that the journal is held and loaded.
    fn loaded(&self, core: Arc<Core>) {
        let _ = self.core.set(core);
    }

    /// Claims the journal until it is granted. Calls `refused` each time it is not.
    async fn claim(&self, mut refused: impl FnMut() + Send) -> Result<LeaseTerm, LeadershipError> {
        let mut unreachable = Lasting::new();
        loop {
            let waiting = {
                let mut holding = self.not_over().await;
                let asked = clock::awake();
                match answer(self.leadership.claim()).await {
                    Ok(Claim::Granted { term, predecessor }) => {
                        *holding = Holding::Granted;
                        self.granted(asked, term, predecessor);
                        return Ok(term);
                    }
                    Ok(Claim::Held { by }) | Err(LeadershipError::Superseded { by }) => StandbyReason::Held { by },
                    Err(LeadershipError::Unavailable(why)) => StandbyReason::Unreachable { why },
                    Err(unusable @ LeadershipError::Unusable(_)) => return Err(unusable),
                }
            };
            let is_new = self.standby.set(waiting.clone());
            match waiting {
                StandbyReason::Held { by } if is_new => info!(by, "standing by: another edge holds the journal"),
                StandbyReason::Unreachable { why } => {
                    if let Some(times) = unreachable.seen(clock::now()).times() {
                        warn!(why, times, "standing by: the journal cannot be reached");
                    }
                }
                StandbyReason::Held { .. } | StandbyReason::Starting => {}
            }
            refused();
            sleep(POLL).await;
        }
    }

    fn granted(&self, asked: Awake, term: LeaseTerm, predecessor: Predecessor) {
        info!(?predecessor, "this edge holds the journal");
        if predecessor == Predecessor::MayLinger {
            self.lease.begin_at(clock::awake().after(*self.settle.get()));
            proof::pass(CrashPoint::DuringTakeover);
        }
        self.prolong(asked, term);
        self.standby.set(StandbyReason::Starting);
    }

    fn prolong(&self, asked: Awake, term: LeaseTerm) {
        match term {
            LeaseTerm::ForLife => self.lease.hold_for_life(),
            LeaseTerm::For(term) => self.lease.renew(asked, safe(term)),
        }
    }

    /// Renews the term until the journal is lost for good. `losses` reports other edges that commits have found to hold it.
    async fn keep(&self, mut term: LeaseTerm, losses: &mut mpsc::Receiver<String>) -> LeadershipError {
        let mut seen = HashSet::new();
        let mut away = Lasting::new();
        loop {
            let due = async {
                match term {
                    LeaseTerm::ForLife => std::future::pending().await,
                    // The pause below is as long as a standby's pause between two claims: when the database returns,
                    // the standby must not be the only edge that asks.
                    LeaseTerm::For(_) if away.has_begun() => {}
                    LeaseTerm::For(term) => sleep(term / 3).await,
                }
            };
            tokio::select! {
                Some(by) = losses.recv() => return LeadershipError::Superseded { by },
                () = self.late_writes.arrived() => {}
                () = due => {}
            }
            match self.renew().await {
                Ok(renewed) => {
                    term = renewed;
                    if let Some(lasted) = away.ended(clock::now()) {
                        let seconds = lasted.time.as_secs();
                        info!(seconds, "the journal is back, and still held by this edge");
                    }
                    // Limited, so that it does not hold up the next renewal.
                    let _ = timeout(LATE_WRITES_LIMIT, self.take_late_writes(&mut seen)).await;
                }
                Err(LeadershipError::Unavailable(why)) => {
                    if let Some(times) = away.seen(clock::now()).times() {
                        warn!(why, times, "the journal cannot be reached: nothing is sent once the lease has ended");
                    }
                    // `arrived` is ready as long as late writes are unreported. Without this pause the loop would spin.
                    sleep(POLL).await;
                }
                Err(over) => return over,
            }
        }
    }

    async fn renew(&self) -> Result<LeaseTerm, LeadershipError> {
        let _holding = self.not_over().await;
        let asked = clock::awake();
        let term = answer(self.leadership.renew()).await?;
        self.prolong(asked, term);
        // No other edge has taken over, so none has sent anything: the late writes are this edge's alone.
        self.late_writes.forget();
        Ok(term)
    }

    /// Takes over late writes that earlier edges reported: they may have been executed after this edge began.
    async fn take_late_writes(&self, seen: &mut HashSet<LateWriteId>) {
        let Some(core) = self.core.get() else { return };
        match self.leadership.late_writes().await {
            Ok(late_writes) => {
                for (id, late_write) in late_writes {
                    // It stays listed until it is durably handled.
                    if seen.insert(id) {
                        let LateWrite { lane, instance } = &late_write;
                        warn!(%lane, %instance, "an earlier edge may have sent a write after its lease: the replica is checked");
                        core.late_write(id, &late_write);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "late writes are read again with the next renewal"),
        }
    }

    /// Ends an edge whose journal another one holds: stops sending, acknowledges nothing more, and reports its late writes.
    async fn give_up(&self, why: &LeadershipError) {
        error!("{why}: this edge stops");
        self.lease.end();
        if let Some(core) = self.core.get() {
            core.fall_silent();
        }
        // A sender checks the lease after its last byte at the latest, and records a late write.
        let _ = timeout(LAST_SENDS, self.lease.sends_done()).await;
        self.report_late_writes().await;
    }

    async fn report_late_writes(&self) {
        let Some(core) = self.core.get() else { return };
        let registry = core.registry();
        let late_write = |(lane, instance)| LateWrite { lane, instance: registry.name(instance).clone() };
        let late_writes: Vec<_> = self.late_writes.all().into_iter().map(late_write).collect();
        if late_writes.is_empty() {
            return;
        }
        let reported = timeout(REPORT_LIMIT, async {
            while let Err(error) = self.leadership.report_late_writes(&late_writes).await {
                tracing::debug!(%error, "cannot report late writes yet");
                sleep(POLL / 5).await;
            }
        });
        match reported.await {
            Ok(()) => warn!(replicas = late_writes.len(), "writes ended after the lease: reported for the next edge"),
            Err(_) => error!(
                replicas = ?late_writes,
                "writes ended after the lease, and could not be reported for the next edge: compare these instances"
            ),
        }
    }

    /// Stops sending and renewing, because this edge is about to stop.
    pub async fn stop_sending(&self) {
        let mut holding = self.holding.lock().await;
        if *holding == Holding::Nothing {
            *holding = Holding::Never;
            return;
        }
        *holding = Holding::Returning;
        // The next edge must compare every replica with a write that ends after the lease. So give writes time to end
        // before it.
        self.lease.close();
        let _ = timeout(LAST_SENDS, self.lease.sends_done()).await;
        self.lease.end();
        let _ = timeout(LAST_SENDS, self.lease.sends_done()).await;
        // Their answers are progress that the next edge would otherwise have to establish again.
        let _ = timeout(LAST_ANSWERS, async {
            while self.lease.is_anything_unanswered() {
                sleep(LOOK).await;
            }
            // A task that has just received an answer is about to pass it on.
            sleep(LOOK).await;
        })
        .await;
    }

    /// Gives the journal back, if it was held and nothing is sent any more.
    pub async fn release(&self) {
        let holding = timeout(LAST_RELEASE, self.holding.lock()).await;
        if holding.is_ok_and(|holding| *holding == Holding::Returning) {
            self.lease.end();
            self.report_late_writes().await;
            if !self.lease.has_begun() {
                // The next edge would not wait out the time that this one is still waiting for. Letting the lease
                // expire makes it wait.
                return info!("keeping the lease until it expires: a predecessor's writes may still arrive");
            }
            let _ = timeout(LAST_RELEASE, self.leadership.release()).await;
        }
    }

    /// Waits until the store may be asked; forever once the journal is being given back.
    async fn not_over(&self) -> tokio::sync::MutexGuard<'_, Holding> {
        let holding = self.holding.lock().await;
        match *holding {
            Holding::Nothing | Holding::Granted => holding,
            Holding::Returning | Holding::Never => {
                drop(holding);
                std::future::pending().await
            }
        }
    }
}

/// Awaits the store's answer. A store that does not answer counts as unreachable.
async fn answer<T>(asked: impl Future<Output = Result<T, LeadershipError>>) -> Result<T, LeadershipError> {
    let silence = |_| Err(LeadershipError::Unavailable(format!("no answer within {ANSWER:?}")));
    timeout(ANSWER, asked).await.unwrap_or_else(silence)
}
