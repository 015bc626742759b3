//! The end in good order of a process (after SIGTERM) or of its program (before a restart in place).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::handover::Handover;
use super::leadership::LeaseHolder;
use crate::proxy::Admission;
use crate::traces;

/// The least time a restart in place waits for requests under way: clients that have just connected must be answered.
const LEAST_GRACE: Duration = Duration::from_secs(3);

/// How long the end waits for the last spans to be sent.
const LAST_SPANS: Duration = Duration::from_secs(1);

/// Ends the process as soon as the requests in flight are answered and flushed, within the grace period. Pingora itself
/// would always sleep through the whole period.
pub(super) struct Stopper {
    admission: Arc<Admission>,
    holder: Arc<LeaseHolder>,
    handover: Arc<Handover>,
    grace: Duration,
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

impl Stopper {
    /// Dropping `stop` ends the journal's task.
    pub fn new(
        admission: Arc<Admission>,
        (holder, handover): (Arc<LeaseHolder>, Arc<Handover>),
        grace: Duration,
        stop: oneshot::Sender<()>,
    ) -> Stopper {
        Stopper { admission, holder, handover, grace, stop: Mutex::new(Some(stop)) }
    }

    /// Waits until everything under way is answered and durable.
    async fn finish(&self) {
        if self.handover.has_begun() {
            // An accepted connection may not have sent its request yet.
            tokio::join!(self.admission.drained(), self.handover.all_answered());
        }
        self.admission.drained().await;
        self.holder.stop_sending().await;
        if let Some(journal) = self.holder.core().map(|core| core.journal()) {
            // Once this is durable, so is everything handed over before.
            journal.record(Vec::new()).await;
        }
    }
}

#[async_trait]
impl BackgroundService for Stopper {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let ends = tokio::select! {
            ends = shutdown.wait_for(|stop| *stop) => ends.is_ok(),
            // Pingora is not notified: it would end the process when its own grace period is over.
            () = self.handover.farewell() => true,
        };
        if !ends {
            return;
        }
        let restarts = self.handover.has_begun();
        info!(under_way = self.admission.under_way(), "stopping: no new requests");
        let placements = self.holder.core().filter(|_| restarts).and_then(|core| core.hand_on());
        let grace = if restarts { self.grace.max(LEAST_GRACE) } else { self.grace };
        if tokio::time::timeout(grace, self.finish()).await.is_err() {
            warn!(
                under_way = self.admission.under_way(),
                "stopping with requests under way: recovery finishes them at the next start"
            );
        }
        self.holder.release().await;
        if let Some(tracer) = traces::tracer() {
            tracer.flush(LAST_SPANS).await;
        }
        drop(self.stop.lock().unwrap_or_else(PoisonError::into_inner).take());
        // A signal may have called off the restart in the meantime.
        if self.handover.has_begun() {
            self.handover.replace(placements.as_deref());
            std::process::exit(1);
        }
        info!("stopped");
        std::process::exit(0);
    }
}
