//! The thread on which the store talks to its database.
//!
//! A connection lives on the runtime that opened it: a busy runtime delays its commits, and a runtime that ends kills
//! them. Services that commit come and go; this thread does nothing else, and ends with the store.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A runtime on its own thread.
pub(in crate::journal::postgres) struct OwnThread {
    handle: Handle,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OwnThread {
    pub(in crate::journal::postgres) fn start(name: &str) -> io::Result<OwnThread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned());
        // The sender never sends; dropping it ends the thread.
        #[allow(clippy::disallowed_methods, reason = "one thread for each store: it ends when `stop` is dropped")]
        let thread = thread.spawn(move || drop(runtime.block_on(stopped)))?;
        Ok(OwnThread { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs `work` on the thread. The work continues if the caller stops waiting. Returns `None` if the work panicked
    /// or the thread has ended.
    #[allow(clippy::disallowed_methods, reason = "one task for each call: the store's time limits end it")]
    pub(in crate::journal::postgres) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.handle.spawn(work).await.ok()
    }

    /// Runs `work` on the thread and blocks the caller. For dropping the store, where nothing can be awaited.
    pub(in crate::journal::postgres) fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, result) = std::sync::mpsc::sync_channel(1);
        #[allow(clippy::disallowed_methods, reason = "its caller is blocked until it ends")]
        self.handle.spawn(async move {
            let done = done;
            // The receiver below waits for this.
            drop(done.send(work.await));
        });
        result.recv().ok()
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the journal's connections panicked");
        }
    }
}
