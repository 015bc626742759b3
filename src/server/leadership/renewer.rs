//! The service `leadership`: from a process without a journal to one that serves it, and to the end of that process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::LeaseHolder;
use crate::clock;
use crate::coordinator::Restored;
use crate::journal::{CommitError, LeadershipError, LeaseTerm};
use crate::lasting::Lasting;
use crate::proxy::StandbyReason;
use crate::rejoin::FirstLook;
use crate::server::components::{Active, Components};
use crate::server::services::Work;
use crate::server::start_error::StartError;

/// The time between two attempts to load a journal that this edge holds.
const AGAIN: Duration = Duration::from_secs(1);

/// The state in which the service begins.
pub(in crate::server) enum Begin {
    /// The journal is held for life, and loaded.
    Active(Active),
    /// The journal must be claimed first.
    Claim(Box<Components>),
}

pub(in crate::server) struct LeaseRenewer {
    pub holder: Arc<LeaseHolder>,
    pub begin: Begin,
    /// The edges that commits have found to hold the journal instead.
    pub losses: mpsc::Receiver<String>,
}

#[async_trait]
impl Work for LeaseRenewer {
    /// Notifies `ready`, which opens the listener, when clients can be served or as soon as this edge has to stand by.
    async fn work(self, _shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let LeaseRenewer { holder, begin, losses } = self;
        let why = match begin {
            Begin::Active(active) => own(&holder, active, losses, ready).await,
            Begin::Claim(components) => hold(&holder, *components, losses, ready).await,
        };
        holder.give_up(&why).await;
        // A supervisor starts it again, as a standby.
        std::process::exit(1);
    }
}

async fn own(
    holder: &Arc<LeaseHolder>,
    active: Active,
    mut losses: mpsc::Receiver<String>,
    ready: ServiceReadyNotifier,
) -> LeadershipError {
    serve(holder, active, &mut Some(ready)).await;
    holder.keep(LeaseTerm::ForLife, &mut losses).await
}

async fn hold(
    holder: &Arc<LeaseHolder>,
    components: Components,
    mut losses: mpsc::Receiver<String>,
    ready: ServiceReadyNotifier,
) -> LeadershipError {
    let mut ready = Some(ready);
    let mut first_look = FirstLook::InstancesAndAdoption;
    let refused = || {
        open(&mut ready);
        first_look = FirstLook::Instances;
    };
    let term = match holder.claim(refused).await {
        Ok(term) => term,
        Err(unusable) => return unusable,
    };
    // In its own task, because loading may keep a thread busy for longer than a lease's term.
    let renewing = Arc::clone(holder);
    #[allow(clippy::disallowed_methods, reason = "one task for the process: it ends when the journal is lost")]
    let keeping = tokio::spawn(async move { renewing.keep(term, &mut losses).await });
    let serving = async {
        let reloader = Arc::clone(&components.reloader);
        let active = {
            let _none = reloader.no_reload().await;
            let restored = load(holder, &components, &mut ready).await?;
            components.activate(restored, first_look)
        };
        serve(holder, active, &mut ready).await;
        std::future::pending::<Result<(), LeadershipError>>().await
    };
    let ended = |_| LeadershipError::Unusable("the task that renews the lease has ended".to_owned());
    tokio::select! {
        over = keeping => over.unwrap_or_else(ended),
        Err(over) = serving => over,
    }
}

async fn load(
    holder: &LeaseHolder,
    components: &Components,
    ready: &mut Option<ServiceReadyNotifier>,
) -> Result<Restored, LeadershipError> {
    let mut failing = Lasting::default();
    loop {
        let error = match components.load().await {
            Ok(restored) => {
                if let Some(lasted) = failing.ended(clock::now()) {
                    info!(
                        seconds = lasted.time.as_secs(),
                        times = lasted.times,
                        "the journal is loaded after failed attempts"
                    );
                }
                return Ok(restored);
            }
            Err(StartError::Finish(CommitError::Superseded(by))) => return Err(LeadershipError::Superseded { by }),
            Err(error) => error.to_string(),
        };
        if let Some(times) = failing.seen(clock::now()).times() {
            warn!(error, times, "this edge holds the journal but cannot load it yet");
        }
        holder.standby.set(StandbyReason::Unreachable { why: error });
        open(ready);
        tokio::time::sleep(AGAIN).await;
    }
}

async fn serve(holder: &LeaseHolder, active: Active, ready: &mut Option<ServiceReadyNotifier>) {
    holder.loaded(active.core);
    // An error means that the service that lets clients in has ended: the process is stopping.
    if active.serving.await.is_ok() {
        open(ready);
    } else {
        std::future::pending().await
    }
}

/// Opens the listener, once.
fn open(ready: &mut Option<ServiceReadyNotifier>) {
    if let Some(ready) = ready.take() {
        ready.notify_ready();
    }
}
