//! A restart in place: this process goes on with another program or another configuration, and its clients do not notice.
//!
//! It decides the order: kept connections end by themselves while everything is still served; then nothing more is
//! accepted, requests under way are answered, the journal is given back, and the process is replaced.
//! [`Reloader`](super::reload::Reloader) decides whether that may begin, and [`Stopper`](super::stop::Stopper) what
//! happens between the last two steps.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::image::Image;
use crate::wire::{Socket, Visitors};

/// Whether this process will be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    /// Begun; kept connections have this long to end.
    Begun(Duration),
    /// The process will end instead.
    Over,
}

/// The restart in place.
pub(super) struct Handover {
    image: Image,
    stage: watch::Sender<Stage>,
    doors: OnceLock<Vec<OpenDoor>>,
}

/// A listener, and the visitors connected through it.
pub(super) struct OpenDoor {
    pub socket: Arc<Socket>,
    pub visitors: Arc<Visitors>,
}

impl Handover {
    pub fn new(image: Image) -> Arc<Handover> {
        Arc::new(Handover { image, stage: watch::Sender::new(Stage::Serving), doors: OnceLock::new() })
    }

    /// Sets the listeners to pass on. Only the first call has an effect.
    pub fn set_doors(&self, doors: Vec<OpenDoor>) {
        let _ = self.doors.set(doors);
    }

    pub const fn image(&self) -> &Image {
        &self.image
    }

    /// Returns whether every listener is open. Before that, a restart would leave connections refused for a while.
    pub fn is_possible(&self) -> bool {
        self.sockets().is_some()
    }

    /// Begins the restart. Kept connections have this long to end by themselves.
    pub fn begin(&self, linger: Duration) {
        self.stage.send_if_modified(|stage| {
            let begins = *stage == Stage::Serving;
            if begins {
                *stage = Stage::Begun(linger);
            }
            begins
        });
    }

    /// Calls the restart off, because the process ends instead. Too late once the process has been replaced.
    pub fn call_off(&self) {
        if matches!(self.stage.send_replace(Stage::Over), Stage::Begun(_)) {
            warn!("the restart in place is called off: this edge stops");
        }
    }

    /// Returns whether the restart has begun and was not called off.
    pub fn has_begun(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Begun(_))
    }

    /// Resolves once the restart has begun, and the connections that were open by then have ended or used up their
    /// time. Everything is served until then, and nothing more is accepted afterwards.
    pub async fn farewell(&self) {
        let linger = self.begun().await;
        info!(?linger, "restarting in place: each connection ends with its next answer");
        let parted = futures::future::join_all(self.doors().map(|door| door.visitors.part()));
        if tokio::time::timeout(linger, parted).await.is_err() {
            let idle: usize = self.doors().map(|door| door.visitors.count()).sum();
            info!(connections = idle, "restarting in place: connections that were not used again are closed");
        }
        self.doors().for_each(|door| door.socket.rest());
    }

    async fn begun(&self) -> Duration {
        let mut stage = self.stage.subscribe();
        loop {
            if let Stage::Begun(linger) = *stage.borrow_and_update() {
                return linger;
            }
            // This cannot fail: `self` owns the sender.
            let _ = stage.changed().await;
        }
    }

    /// Resolves when every connection is closed: all accepted requests have been answered.
    pub async fn all_answered(&self) {
        futures::future::join_all(self.doors().map(|door| door.visitors.all_gone())).await;
    }

    /// Replaces this process. Returns only if that fails.
    pub fn replace(&self, placements: Option<&str>) {
        let sockets = self.sockets().unwrap_or_default();
        info!(sockets = sockets.len(), "restarting in place");
        let error = self.image.replace(&sockets, placements);
        error!(%error, "this process cannot be replaced: it ends and must be started again");
    }

    fn doors(&self) -> impl Iterator<Item = &OpenDoor> {
        self.doors.get().into_iter().flatten()
    }

    /// Returns the sockets of every listener, if all are open.
    fn sockets(&self) -> Option<Vec<OwnedFd>> {
        let doors = self.doors.get()?;
        doors.iter().map(|door| door.socket.descriptor().ok().flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handover() -> Arc<Handover> {
        Handover::new(Image::of_this_process().unwrap())
    }

    #[tokio::test]
    async fn it_begins_once_and_not_after_the_end() {
        let handover = handover();
        assert!(!handover.is_possible() && !handover.has_begun());
        handover.begin(Duration::ZERO);
        handover.farewell().await;
        assert!(handover.has_begun());
        handover.call_off();
        handover.begin(Duration::ZERO);
        assert!(!handover.has_begun());
    }
}
