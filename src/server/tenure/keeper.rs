//! The service `tenure`: from a process without a journal to one that serves it, and to its end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use tokio::sync::mpsc;
use tracing::warn;

use super::Tenancy;
use crate::journal::{CommitError, TenureError, Term};
use crate::proxy::Waiting;
use crate::replication::{FirstLook, Restored};
use crate::server::StartError;
use crate::server::house::{Active, House};
use crate::server::services::Work;

/// Between two attempts to load a journal that is ours.
const AGAIN: Duration = Duration::from_secs(1);

/// Where it begins.
pub(in crate::server) enum Begin {
    /// The journal is ours for life, and loaded.
    Active(Active),
    /// It is to be claimed.
    Claim(Box<House>),
}

pub(in crate::server) struct Keeper {
    pub tenancy: Arc<Tenancy>,
    pub begin: Begin,
    /// What commits have shown: who has the journal instead.
    pub losses: mpsc::Receiver<String>,
}

#[async_trait]
impl Work for Keeper {
    /// The listener opens with `ready`: when clients can be served, or as soon as this edge has to stand by.
    async fn work(self, _shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let Keeper { tenancy, begin, losses } = self;
        let why = match begin {
            Begin::Active(active) => own(&tenancy, active, losses, ready).await,
            Begin::Claim(house) => hold(&tenancy, *house, losses, ready).await,
        };
        tenancy.give_up(&why).await;
        // A supervisor starts it again, as a standby.
        std::process::exit(1);
    }
}

async fn own(
    tenancy: &Arc<Tenancy>,
    active: Active,
    mut losses: mpsc::Receiver<String>,
    ready: ServiceReadyNotifier,
) -> TenureError {
    serve(tenancy, active, &mut Some(ready)).await;
    tenancy.keep(Term::ForLife, &mut losses).await
}

async fn hold(
    tenancy: &Arc<Tenancy>,
    house: House,
    mut losses: mpsc::Receiver<String>,
    ready: ServiceReadyNotifier,
) -> TenureError {
    let mut ready = Some(ready);
    let mut first_look = FirstLook::InstancesAndAdoption;
    let refused = || {
        open(&mut ready);
        first_look = FirstLook::Instances;
    };
    let term = match tenancy.claim(refused).await {
        Ok(term) => term,
        Err(unusable) => return unusable,
    };
    // In a task of its own: loading may keep a thread busy for longer than a term.
    let keeping = {
        let tenancy = Arc::clone(tenancy);
        tokio::spawn(async move { tenancy.keep(term, &mut losses).await })
    };
    let serving = async {
        let restored = load(tenancy, &house, &mut ready).await?;
        serve(tenancy, house.activate(restored, first_look), &mut ready).await;
        std::future::pending::<Result<(), TenureError>>().await
    };
    let ended = |_| TenureError::Unusable("the task that renews the lease has ended".to_owned());
    tokio::select! {
        over = keeping => over.unwrap_or_else(ended),
        Err(over) = serving => over,
    }
}

async fn load(
    tenancy: &Tenancy,
    house: &House,
    ready: &mut Option<ServiceReadyNotifier>,
) -> Result<Restored, TenureError> {
    loop {
        let error = match house.load().await {
            Ok(restored) => return Ok(restored),
            Err(StartError::Finish(CommitError::Superseded(by))) => return Err(TenureError::Superseded { by }),
            Err(error) => error.to_string(),
        };
        warn!(error, "the journal is held, and cannot be loaded yet");
        tenancy.standing.set(Waiting::Unreachable { why: error });
        open(ready);
        tokio::time::sleep(AGAIN).await;
    }
}

async fn serve(tenancy: &Tenancy, active: Active, ready: &mut Option<ServiceReadyNotifier>) {
    tenancy.loaded(active.core);
    // An error means that the service which lets clients in is gone: nobody is to be let in any more.
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
