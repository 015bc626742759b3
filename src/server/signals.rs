//! Which signals end the process: SIGTERM in good order, SIGINT at once. No other does. SIGHUP has the configuration read
//! again, SIGUSR2 has the process restarted in place.
//!
//! SIGUSR1 and SIGQUIT are logged and ignored. Pingora would hand its listening sockets over on SIGQUIT,
//! through a socket in a folder that everybody may write to; an edge has no use for that, since a second process could not
//! open its journal.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use super::handover::Handover;
use super::reload::Reloader;
use crate::admin::Restart;

/// Waits for the signals that end the process, and for those that are answered.
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

/// Each, and when it may restart the process.
fn answered() -> [(SignalKind, Restart); 2] {
    [(SignalKind::hangup(), Restart::ForInstances), (SignalKind::user_defined2(), Restart::Always)]
}

/// From now on the signals that are ignored do not end the process. The handlers outlive `runtime`, whose driver is needed
/// only to install them.
///
/// # Errors
/// When a handler cannot be installed.
pub(super) fn ignore_from_now_on(runtime: &tokio::runtime::Runtime) -> std::io::Result<()> {
    let _entered = runtime.enter();
    let kinds = ignored().into_iter().map(|(_, kind)| kind).chain(answered().into_iter().map(|(kind, _)| kind));
    // One that is answered, and comes before the edge waits for it, changes nothing: the file has just been read.
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

/// Resolves when the signal arrives; never, if it cannot be listened for.
async fn received(kind: SignalKind) {
    if let Ok(mut signal) = listen(kind)
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}
