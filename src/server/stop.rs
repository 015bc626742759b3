//! The end in good order, after SIGTERM or before a restart in place: of the process, or of its program.

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

/// A restart in place waits at least so long for what is under way: those who have just connected are to be answered.
const LEAST_GRACE: Duration = Duration::from_secs(3);

/// How long the end waits for the last spans to be sent.
const LAST_SPANS: Duration = Duration::from_secs(1);

/// Ends the process as soon as what is in flight is answered and flushed, within the grace period: Pingora itself
/// would sleep through all of it.
pub(super) struct Stopper {
    admission: Arc<Admission>,
    holder: Arc<LeaseHolder>,
    handover: Arc<Handover>,
    grace: Duration,
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

impl Stopper {
    /// `stop`: ends the journal's task when it is dropped.
    pub fn new(
        admission: Arc<Admission>,
        (holder, handover): (Arc<LeaseHolder>, Arc<Handover>),
        grace: Duration,
        stop: oneshot::Sender<()>,
    ) -> Stopper {
        Stopper { admission, holder, handover, grace, stop: Mutex::new(Some(stop)) }
    }

    /// Everything that is under way is answered, and durable.
    async fn finish(&self) {
        if self.handover.has_begun() {
            // A connection that is accepted already may not have asked yet.
            tokio::join!(self.admission.drained(), self.handover.all_answered());
        }
        self.admission.drained().await;
        self.holder.stop_sending().await;
        if let Some(journal) = self.holder.core().map(|core| core.journal()) {
            // Everything handed over before is durable when this is.
            journal.record(Vec::new()).await;
        }
    }
}

#[async_trait]
impl BackgroundService for Stopper {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let ends = tokio::select! {
            ends = shutdown.wait_for(|stop| *stop) => ends.is_ok(),
            // Pingora is not told: it would end the process when its own grace is over.
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
        // A signal may have called it off meanwhile.
        if self.handover.has_begun() {
            self.handover.replace(placements.as_deref());
            std::process::exit(1);
        }
        info!("stopped");
        std::process::exit(0);
    }
}
