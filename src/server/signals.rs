//! Which signals end the process: SIGTERM in good order, SIGINT at once. No other does.
//!
//! SIGHUP, SIGUSR1, SIGUSR2 and SIGQUIT are logged and ignored. Pingora would hand its listening sockets over on SIGQUIT,
//! through a socket in a folder that everybody may write to; an edge has no use for that, since a second process could not
//! open its journal.

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// Waits for the signals that end the process.
pub(super) struct Signals;

fn listen(kind: SignalKind) -> std::io::Result<Signal> {
    signal(kind)
}

fn ignored() -> [(&'static str, SignalKind); 4] {
    [
        ("SIGHUP", SignalKind::hangup()),
        ("SIGUSR1", SignalKind::user_defined1()),
        ("SIGUSR2", SignalKind::user_defined2()),
        ("SIGQUIT", SignalKind::quit()),
    ]
}

/// From now on the signals that are ignored do not end the process. The handlers outlive `runtime`, whose driver is needed
/// only to install them.
///
/// # Errors
/// When a handler cannot be installed.
pub(super) fn ignore_from_now_on(runtime: &tokio::runtime::Runtime) -> std::io::Result<()> {
    let _entered = runtime.enter();
    ignored().into_iter().try_for_each(|(_, kind)| listen(kind).map(drop))
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let log = async {
            futures::future::join_all(ignored().map(|(name, kind)| log_and_ignore(name, kind))).await;
            std::future::pending().await
        };
        tokio::select! {
            () = received(SignalKind::terminate()) => ShutdownSignal::GracefulTerminate,
            () = received(SignalKind::interrupt()) => ShutdownSignal::FastShutdown,
            never = log => never,
        }
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
