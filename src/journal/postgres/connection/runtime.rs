//! The thread that everything said to the database is said on.
//!
//! A connection lives on the runtime that opened it: a busy runtime stalls its commits, an ending one kills them. The
//! services that ask for commits come and go; this thread does nothing else, and ends with the store.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A runtime on a thread of its own.
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
        // The sender is only ever dropped.
        #[allow(clippy::disallowed_methods, reason = "one thread for each store: it ends when `stop` is dropped")]
        let thread = thread.spawn(move || drop(runtime.block_on(stopped)))?;
        Ok(OwnThread { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs `work` there. It goes on when its caller stops waiting; `None`: it panicked, or the thread has ended.
    #[allow(clippy::disallowed_methods, reason = "one task for each call: the store's time limits end it")]
    pub(in crate::journal::postgres) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.handle.spawn(work).await.ok()
    }

    /// Runs `work` there, the caller's thread blocked. For the store's end, which cannot wait otherwise.
    pub(in crate::journal::postgres) fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, result) = std::sync::mpsc::sync_channel(1);
        #[allow(clippy::disallowed_methods, reason = "its caller is blocked until it ends")]
        self.handle.spawn(async move {
            let done = done;
            // The receiver is below.
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
