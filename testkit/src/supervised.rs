//! A real Chroma server under a supervisor: each time it dies, it is counted and started again on its folder and port.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::chroma::ChromaServer;
use super::http::Client;

/// How often the supervisor checks.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct Shared {
    server: Mutex<ChromaServer>,
    deaths: AtomicU32,
    over: AtomicBool,
    /// How long a dead server stays dead.
    pause: Duration,
}

impl Shared {
    fn server(&self) -> MutexGuard<'_, ChromaServer> {
        self.server.lock().expect("no thread panics with the server")
    }

    fn supervise(&self) {
        let mut died: Option<Instant> = None;
        while !self.over.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
            let mut server = self.server();
            if died.is_none() && server.has_ended() {
                self.deaths.fetch_add(1, Ordering::Relaxed);
                died = Some(Instant::now());
            }
            if died.is_some_and(|at| at.elapsed() >= self.pause) {
                server.start_again();
                died = None;
            }
        }
    }
}

/// A server that never stays dead. Dropping it kills it for good.
#[derive(Debug)]
pub struct Supervised {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    client: Client,
}

impl Supervised {
    /// Starts a server on a fresh folder. After each death it is started again after this pause.
    pub fn fresh(pause: Duration) -> Supervised {
        let server = ChromaServer::fresh();
        let client = server.client();
        let shared = Arc::new(Shared {
            server: Mutex::new(server),
            deaths: AtomicU32::new(0),
            over: AtomicBool::new(false),
            pause,
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.supervise()
        });
        Supervised { shared, thread: Some(thread), client }
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub fn url(&self) -> String {
        self.client.url()
    }

    /// Returns how often it has died.
    pub fn deaths(&self) -> u32 {
        self.shared.deaths.load(Ordering::Relaxed)
    }

    /// Returns a function that kills it, for a relay in front of it.
    pub fn killer(&self) -> Arc<dyn Fn() + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.server().shoot())
    }

    /// Sends SIGKILL. The supervisor brings the server back.
    pub fn kill(&self) {
        self.shared.server().shoot();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the supervisor has already been printed.
            let _ = thread.join();
        }
    }
}
