//! Who holds the journal: claims it, renews it, and ends this edge when another one has it.
//!
//! Decides when to ask and what each answer means for this process. Who may hold the journal is the store's to say;
//! what a lease allows is checked by whoever sends. The service around it is in [`LeaseRenewer`].

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
use crate::coordinator::Core;
use crate::journal::{Claim, LateWrite, LateWriteId, Leadership, LeadershipError, LeaseTerm, Predecessor};
use crate::lease::Lease;
use crate::proof::{self, CrashPoint};
use crate::proxy::{StandbyReason, StandbyState};

/// Between two claims of a journal that another edge holds, or that cannot be reached.
const POLL: Duration = Duration::from_millis(250);
/// How long one question to the store may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long reading the late writes of earlier edges may hold up the next renewal.
const HEED: Duration = Duration::from_millis(200);
/// How long an edge that is superseded waits for writes that are on their way out: their bytes are with the kernel in
/// microseconds, or the instance does not take them, and never gets the whole.
const LAST_SENDS: Duration = Duration::from_millis(500);
/// How long an edge that ends tries to leave word for the next one.
const LAST_WORDS: Duration = Duration::from_secs(2);
const LAST_RELEASE: Duration = Duration::from_secs(1);

/// Whether there is something to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    /// Not granted yet, or ours without being asked for.
    Nothing,
    Granted,
    /// It was granted, and is being given back: never asked for again.
    Returning,
    /// It was not granted, and is not asked for any more.
    Never,
}

/// This edge's hold on the journal. Shared by the one who keeps it and the one who gives it back.
pub(super) struct LeaseHolder {
    leadership: Arc<dyn Leadership>,
    lease: Arc<Lease>,
    standby: Arc<StandbyState>,
    /// How long what a predecessor sent may still be executed.
    settle: Duration,
    core: OnceLock<Arc<Core>>,
    /// Locked while the store is asked: nothing is renewed after it was given back.
    holding: Mutex<Holding>,
}

/// The part of a term in which this edge sends: it ends on its own before the store gives the journal to another.
fn safe(term: Duration) -> Duration {
    term - term / 6
}

impl LeaseHolder {
    pub fn new(
        leadership: Arc<dyn Leadership>,
        lease: Arc<Lease>,
        standby: Arc<StandbyState>,
        settle: Duration,
    ) -> Arc<LeaseHolder> {
        let (core, holding) = (OnceLock::new(), Mutex::new(Holding::Nothing));
        Arc::new(LeaseHolder { leadership, lease, standby, settle, core, holding })
    }

    /// The core, once the journal is loaded.
    pub fn core(&self) -> Option<&Arc<Core>> {
        self.core.get()
    }

    /// The journal is ours and loaded.
    fn loaded(&self, core: Arc<Core>) {
        let _ = self.core.set(core);
    }

    /// Asks for the journal until it is granted. `refused` is called each time it is not.
    async fn claim(&self, mut refused: impl FnMut() + Send) -> Result<LeaseTerm, LeadershipError> {
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
            if self.standby.set(waiting.clone()) {
                match waiting {
                    StandbyReason::Held { by } => info!(by, "standing by: another edge holds the journal"),
                    StandbyReason::Unreachable { why } => warn!(why, "standing by: the journal cannot be reached"),
                    StandbyReason::Starting => {}
                }
            }
            refused();
            sleep(POLL).await;
        }
    }

    fn granted(&self, asked: Awake, term: LeaseTerm, predecessor: Predecessor) {
        info!(?predecessor, "this edge holds the journal");
        if predecessor == Predecessor::MayLinger {
            self.lease.begin_at(clock::awake().after(self.settle));
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

    /// Renews the term until that is over for good. `losses`: what a commit has shown.
    async fn keep(&self, mut term: LeaseTerm, losses: &mut mpsc::Receiver<String>) -> LeadershipError {
        let mut seen = HashSet::new();
        let mut away = false;
        loop {
            let due = async {
                match term {
                    LeaseTerm::ForLife => std::future::pending().await,
                    // It has paused already, for as long as a standby does between two claims: the database's return must
                    // not find the standby alone waiting for it.
                    LeaseTerm::For(_) if away => {}
                    LeaseTerm::For(term) => sleep(term / 3).await,
                }
            };
            tokio::select! {
                Some(by) = losses.recv() => return LeadershipError::Superseded { by },
                () = self.overran() => {}
                () = due => {}
            }
            match self.renew().await {
                Ok(renewed) => {
                    term = renewed;
                    if std::mem::take(&mut away) {
                        info!("the journal is back, and still held by this edge");
                    }
                    // For no longer than a renewal may wait.
                    let _ = timeout(HEED, self.heed(&mut seen)).await;
                }
                Err(LeadershipError::Unavailable(why)) => {
                    if !std::mem::replace(&mut away, true) {
                        warn!(why, "the journal cannot be reached: nothing is sent once the lease has ended");
                    }
                    // What ended too late is told as soon as the store can be asked, not in a loop without a pause.
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
        if let Some(core) = self.core.get() {
            // Nobody has taken over, so nobody else has sent anything: what ended too late was ours alone.
            core.late_writes().forget();
        }
        Ok(term)
    }

    /// Resolves when a write has ended after the lease.
    async fn overran(&self) {
        match self.core.get() {
            Some(core) => core.late_writes().arrived().await,
            None => std::future::pending().await,
        }
    }

    /// What earlier edges feared: their requests may have been executed behind the back of this one.
    async fn heed(&self, seen: &mut HashSet<LateWriteId>) {
        let Some(core) = self.core.get() else { return };
        match self.leadership.late_writes().await {
            Ok(late_writes) => {
                for (id, late_write) in late_writes {
                    // It stays listed until it is durably handled.
                    if seen.insert(id) {
                        let LateWrite { lane, instance } = &late_write;
                        warn!(%lane, %instance, "an earlier edge may have sent a write after its lease: it is looked at");
                        core.late_write(id, &late_write);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "late writes are read again with the next renewal"),
        }
    }

    /// The end of an edge whose journal is another's: stops sending, confirms nothing more, and leaves word of what it
    /// sent too late.
    async fn give_up(&self, why: &LeadershipError) {
        error!("{why}: this edge stops");
        self.lease.end();
        if let Some(core) = self.core.get() {
            core.fall_silent();
        }
        // Whoever is writing sees at the latest after its last byte that the lease is over, and notes it.
        let _ = timeout(LAST_SENDS, self.lease.sends_done()).await;
        self.leave_word().await;
    }

    async fn leave_word(&self) {
        let Some(core) = self.core.get() else { return };
        let registry = core.registry();
        let late_write = |(lane, instance)| LateWrite { lane, instance: registry.name(instance).clone() };
        let late_writes: Vec<_> = core.late_writes().all().into_iter().map(late_write).collect();
        if late_writes.is_empty() {
            return;
        }
        let told = timeout(LAST_WORDS, async {
            while let Err(error) = self.leadership.report_late_writes(&late_writes).await {
                tracing::debug!(%error, "word of late writes is left again");
                sleep(POLL / 5).await;
            }
        });
        match told.await {
            Ok(()) => warn!(places = late_writes.len(), "writes ended after the lease: left word for the next edge"),
            Err(_) => error!(
                places = ?late_writes,
                "writes ended after the lease, and the next edge could not be told: compare these instances"
            ),
        }
    }

    /// Sends nothing more, and renews nothing more: this edge is about to stop.
    pub async fn stop_sending(&self) {
        let mut holding = self.holding.lock().await;
        if *holding == Holding::Nothing {
            *holding = Holding::Never;
            return;
        }
        *holding = Holding::Returning;
        self.lease.end();
        let _ = timeout(LAST_SENDS, self.lease.sends_done()).await;
    }

    /// Gives the journal back, if it was held and nothing is sent any more.
    pub async fn release(&self) {
        let holding = timeout(LAST_RELEASE, self.holding.lock()).await;
        if holding.is_ok_and(|holding| *holding == Holding::Returning) {
            self.leave_word().await;
            if !self.lease.has_begun() {
                // The next edge would not wait for what this one was waiting for. Not given back, it runs out, and it waits.
                return info!("the lease is not given back: what an earlier edge sent may still be on its way");
            }
            let _ = timeout(LAST_RELEASE, self.leadership.release()).await;
        }
    }

    /// Waits for its turn to ask the store; for ever once that is over.
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

/// A store that does not answer is one that cannot be reached.
async fn answer<T>(asked: impl Future<Output = Result<T, LeadershipError>>) -> Result<T, LeadershipError> {
    let silence = |_| Err(LeadershipError::Unavailable(format!("no answer within {ANSWER:?}")));
    timeout(ANSWER, asked).await.unwrap_or_else(silence)
}
