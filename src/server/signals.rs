//! The signals that end the process: SIGTERM in good order, SIGINT at once, and no others. SIGHUP reloads the
//! configuration, SIGUSR2 restarts the process in place.
//!
//! SIGUSR1 and SIGQUIT are logged and ignored. On SIGQUIT, Pingora would hand its listening sockets over through a
//! socket in a folder that any user may write to. An edge has no use for that, since a second process could not open
//! its journal.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use super::handover::Handover;
use super::reload::Reloader;
use crate::admin::Restart;

/// Waits for the signals that end the process, and handles the others.
pub(super) struct Signals {
    pub reloader: Arc<Reloader>,
    pub handover: Arc<Handover>,
}

fn listen(kind: SignalKind) -> std::io::Result<Signal> {
    signal(kind)
}

fn ignored() -> [(&'static str, SignalKind); 2] {
    [("SIGUSR1", SignalKind::user_defined1()), ("SIGQUIT", SignalKind::quit())]
}

/// The signals that reload, and when each may restart the process.
fn answered() -> [(SignalKind, Restart); 2] {
    [(SignalKind::hangup(), Restart::ForInstances), (SignalKind::user_defined2(), Restart::Always)]
}

/// Installs handlers so that these signals do not end the process from now on. The handlers outlive `runtime`, whose
/// driver is needed only to install them.
///
/// # Errors
/// A handler cannot be installed.
pub(super) fn ignore_from_now_on(runtime: &tokio::runtime::Runtime) -> std::io::Result<()> {
    let _entered = runtime.enter();
    let kinds = ignored().into_iter().map(|(_, kind)| kind).chain(answered().into_iter().map(|(kind, _)| kind));
    // A reload signal that arrives before the edge waits for it changes nothing: the file has just been read.
    kinds.into_iter().try_for_each(|kind| listen(kind).map(drop))
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let others = async {
            let ignored = futures::future::join_all(ignored().map(|(name, kind)| log_and_ignore(name, kind)));
            let answered = answered().map(|(kind, restart)| reload_on(&self.reloader, kind, restart));
            futures::future::join(ignored, futures::future::join_all(answered)).await;
            std::future::pending().await
        };
        let signal = tokio::select! {
            () = received(SignalKind::terminate()) => ShutdownSignal::GracefulTerminate,
            () = received(SignalKind::interrupt()) => ShutdownSignal::FastShutdown,
            never = others => never,
        };
        self.handover.call_off();
        self.reloader.stop();
        signal
    }
}

async fn reload_on(reloader: &Reloader, kind: SignalKind, restart: Restart) {
    let Ok(mut signal) = listen(kind) else { return };
    while signal.recv().await.is_some() {
        reloader.on_signal(restart).await;
    }
}

async fn log_and_ignore(name: &'static str, kind: SignalKind) {
    let Ok(mut signal) = listen(kind) else { return };
    while signal.recv().await.is_some() {
        info!(signal = name, "the signal is ignored: SIGTERM stops this edge");
    }
}

/// Resolves when the signal arrives; never, if its handler cannot be installed.
async fn received(kind: SignalKind) {
    if let Ok(mut signal) = listen(kind)
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}
