//! Accepts connections on one socket, as a Pingora service. The socket stays open when the service ends.
//!
//! Pingora's own listening service closes its socket. It also does not know of a connection until the connection's
//! first task runs, so one that is accepted at the last moment would be cut off.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::protocols::l4::listener::Listener;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;

use super::front::Front;
use super::socket::Socket;
use crate::clock;
use crate::lasting::Lasting;

/// The pause between two attempts when the process or the machine has no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(200);
/// How long new clients have for their first request and idle ones for another one, after a process that is about to be
/// replaced has accepted its last connection.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// The service.
pub struct Acceptor<A> {
    name: &'static str,
    socket: Arc<Socket>,
    front: Arc<Front<A>>,
}

impl<A> Acceptor<A> {
    /// Serves connections to this socket through the front.
    pub fn new(name: &'static str, socket: Arc<Socket>, front: Front<A>) -> Acceptor<A> {
        Acceptor { name, socket, front: Arc::new(front) }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> Service for Acceptor<A> {
    async fn start_service(&mut self, _fds: Option<ListenFds>, mut shutdown: ShutdownWatch, _listeners_per_fd: usize) {
        let listener = match self.socket.listen().await {
            Ok(listener) => Listener::from(listener),
            Err(error) => {
                tracing::error!(address = %self.socket.address(), %error, "cannot listen");
                std::process::exit(1);
            }
        };
        let visitors = self.front.visitors();
        let last_requests = tokio::select! {
            biased;
            () = stopped(&mut shutdown) => Duration::ZERO,
            () = self.socket.rests() => LAST_REQUESTS,
            never = accept_all(&self.front, &listener) => match never {},
        };
        drop(listener);
        visitors.end_all();
        // Gives idle clients time to notice the end before they send another request.
        let _ = tokio::time::timeout(last_requests, visitors.all_gone()).await;
        self.front.close_idle().await;
    }

    fn name(&self) -> &str {
        self.name
    }
}

async fn accept_all<A>(front: &Arc<Front<A>>, listener: &Listener) -> Infallible
where
    A: ServerApp + Send + Sync + 'static,
{
    let failing = Mutex::new(Lasting::new());
    loop {
        let mut stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tell(&failing, &error);
                tokio::time::sleep(NO_ROOM).await;
                continue;
            }
        };
        // The client has already gone.
        if stream.set_nodelay().is_err() {
            continue;
        }
        let stream: Stream = Box::new(stream);
        let Some(visit) = front.enter(&stream) else { continue };
        let front = Arc::clone(front);
        #[allow(clippy::disallowed_methods, reason = "one for each connection, of which there is a limit")]
        tokio::spawn(async move { front.attend(stream, visit).await });
    }
}

async fn stopped(shutdown: &mut ShutdownWatch) {
    drop(shutdown.wait_for(|stop| *stop).await);
}

fn tell(failing: &Mutex<Lasting>, error: &io::Error) {
    let mut failing = failing.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(times) = failing.seen(clock::now()).times() {
        tracing::error!(%error, times, "cannot accept connections");
    }
}
