//! The end in good order, after SIGTERM.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::leadership::LeaseHolder;
use crate::proxy::Admission;

/// Ends the process as soon as what is in flight is answered and flushed, within the grace period: Pingora itself
/// would sleep through all of it.
pub(super) struct Stopper {
    admission: Arc<Admission>,
    holder: Arc<LeaseHolder>,
    grace: Duration,
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

impl Stopper {
    /// `stop`: ends the journal's task when it is dropped.
    pub fn new(
        admission: Arc<Admission>,
        holder: Arc<LeaseHolder>,
        grace: Duration,
        stop: oneshot::Sender<()>,
    ) -> Stopper {
        Stopper { admission, holder, grace, stop: Mutex::new(Some(stop)) }
    }
}

#[async_trait]
impl BackgroundService for Stopper {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        if shutdown.wait_for(|stop| *stop).await.is_err() {
            return;
        }
        info!(under_way = self.admission.under_way(), "stopping: no new requests");
        let finish = async {
            self.admission.drained().await;
            self.holder.stop_sending().await;
            if let Some(journal) = self.holder.core().map(|core| core.journal()) {
                // Everything handed over before is durable when this is.
                journal.record(Vec::new()).await;
            }
        };
        if tokio::time::timeout(self.grace, finish).await.is_err() {
            warn!(
                under_way = self.admission.under_way(),
                "stopping with requests under way: recovery finishes them at the next start"
            );
        }
        self.holder.release().await;
        drop(self.stop.lock().unwrap_or_else(PoisonError::into_inner).take());
        info!("stopped");
        std::process::exit(0);
    }
}
