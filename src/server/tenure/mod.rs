//! Who holds the journal: claims it, renews it, and ends this edge when another one has it.
//!
//! Decides when to ask and what each answer means for this process. Who may hold the journal is the store's to say;
//! what a lease allows is checked by whoever sends. The service around it is in [`Keeper`].

mod keeper;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

pub(super) use self::keeper::{Begin, Keeper};
use crate::clock::{self, Awake};
use crate::journal::{Claim, Predecessor, Suspicion, SuspicionId, Tenure, TenureError, Term};
use crate::lease::Lease;
use crate::proof::{self, CrashPoint};
use crate::proxy::{Standing, Waiting};
use crate::replication::Core;

/// Between two claims of a journal that another edge holds, or that cannot be reached.
const POLL: Duration = Duration::from_millis(250);
/// How long one question to the store may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long reading the suspicions of earlier edges may hold up the next renewal.
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
pub(super) struct Tenancy {
    tenure: Arc<dyn Tenure>,
    lease: Arc<Lease>,
    standing: Arc<Standing>,
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

impl Tenancy {
    pub fn new(tenure: Arc<dyn Tenure>, lease: Arc<Lease>, standing: Arc<Standing>, settle: Duration) -> Arc<Tenancy> {
        let (core, holding) = (OnceLock::new(), Mutex::new(Holding::Nothing));
        Arc::new(Tenancy { tenure, lease, standing, settle, core, holding })
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
    async fn claim(&self, mut refused: impl FnMut() + Send) -> Result<Term, TenureError> {
        loop {
            let waiting = {
                let mut holding = self.not_over().await;
                let asked = clock::awake();
                match answer(self.tenure.claim()).await {
                    Ok(Claim::Granted { term, predecessor }) => {
                        *holding = Holding::Granted;
                        self.granted(asked, term, predecessor);
                        return Ok(term);
                    }
                    Ok(Claim::Held { by }) | Err(TenureError::Superseded { by }) => Waiting::Held { by },
                    Err(TenureError::Unavailable(why)) => Waiting::Unreachable { why },
                    Err(unusable @ TenureError::Unusable(_)) => return Err(unusable),
                }
            };
            if self.standing.set(waiting.clone()) {
                match waiting {
                    Waiting::Held { by } => info!(by, "standing by: another edge holds the journal"),
                    Waiting::Unreachable { why } => warn!(why, "standing by: the journal cannot be reached"),
                    Waiting::Starting => {}
                }
            }
            refused();
            sleep(POLL).await;
        }
    }

    fn granted(&self, asked: Awake, term: Term, predecessor: Predecessor) {
        info!(?predecessor, "this edge holds the journal");
        if predecessor == Predecessor::MayLinger {
            self.lease.begin_at(clock::awake().after(self.settle));
            proof::pass(CrashPoint::DuringTakeover);
        }
        self.prolong(asked, term);
        self.standing.set(Waiting::Starting);
    }

    fn prolong(&self, asked: Awake, term: Term) {
        match term {
            Term::ForLife => self.lease.hold_for_life(),
            Term::For(term) => self.lease.renew(asked, safe(term)),
        }
    }

    /// Renews the term until that is over for good. `losses`: what a commit has shown.
    async fn keep(&self, mut term: Term, losses: &mut mpsc::Receiver<String>) -> TenureError {
        let mut seen = HashSet::new();
        let mut away = false;
        loop {
            let due = async {
                match term {
                    Term::ForLife => std::future::pending().await,
                    // It has paused already, for as long as a standby does between two claims: the database's return must
                    // not find the standby alone waiting for it.
                    Term::For(_) if away => {}
                    Term::For(term) => sleep(term / 3).await,
                }
            };
            tokio::select! {
                Some(by) = losses.recv() => return TenureError::Superseded { by },
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
                Err(TenureError::Unavailable(why)) => {
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

    async fn renew(&self) -> Result<Term, TenureError> {
        let _holding = self.not_over().await;
        let asked = clock::awake();
        let term = answer(self.tenure.renew()).await?;
        self.prolong(asked, term);
        if let Some(core) = self.core.get() {
            // Nobody has taken over, so nobody else has sent anything: what ended too late was ours alone.
            core.overruns().forget();
        }
        Ok(term)
    }

    /// Resolves when a write has ended after the lease.
    async fn overran(&self) {
        match self.core.get() {
            Some(core) => core.overruns().arrived().await,
            None => std::future::pending().await,
        }
    }

    /// What earlier edges feared: their requests may have been executed behind the back of this one.
    async fn heed(&self, seen: &mut HashSet<SuspicionId>) {
        let Some(core) = self.core.get() else { return };
        match self.tenure.suspicions().await {
            Ok(suspicions) => {
                for (id, suspicion) in suspicions {
                    // It stays listed until it is durably handled.
                    if seen.insert(id) {
                        let Suspicion { lane, instance } = &suspicion;
                        warn!(%lane, %instance, "an earlier edge may have sent a write after its lease: it is looked at");
                        core.suspect(id, &suspicion);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "suspicions are read again with the next renewal"),
        }
    }

    /// The end of an edge whose journal is another's: stops sending, confirms nothing more, and leaves word of what it
    /// sent too late.
    async fn give_up(&self, why: &TenureError) {
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
        let suspicion = |(lane, instance)| Suspicion { lane, instance: registry.name(instance).clone() };
        let suspicions: Vec<_> = core.overruns().all().into_iter().map(suspicion).collect();
        if suspicions.is_empty() {
            return;
        }
        let told = timeout(LAST_WORDS, async {
            while let Err(error) = self.tenure.suspect(&suspicions).await {
                tracing::debug!(%error, "word of late writes is left again");
                sleep(POLL / 5).await;
            }
        });
        match told.await {
            Ok(()) => warn!(places = suspicions.len(), "writes ended after the lease: left word for the next edge"),
            Err(_) => error!(
                places = ?suspicions,
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
            let _ = timeout(LAST_RELEASE, self.tenure.release()).await;
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
async fn answer<T>(asked: impl Future<Output = Result<T, TenureError>>) -> Result<T, TenureError> {
    let silence = |_| Err(TenureError::Unavailable(format!("no answer within {ANSWER:?}")));
    timeout(ANSWER, asked).await.unwrap_or_else(silence)
}
