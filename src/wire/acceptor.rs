//! Accepts connections on one socket, as a service of Pingora's. After its end the socket stays open.
//!
//! Pingora's own listening service closes its socket, and does not know a connection before the first task of it has run:
//! one that is accepted at the last moment would be cut off.

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

/// Between two attempts, when the process or the machine has no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(200);
/// How long those who have just connected have for their first request, and those who are idle to be asked for another
/// one, after the last connection was accepted by a process that is about to be replaced.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// The service.
pub struct Acceptor<A> {
    name: &'static str,
    socket: Arc<Socket>,
    front: Arc<Front<A>>,
}

impl<A> Acceptor<A> {
    /// For connections to this socket, which become the front's.
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
        // Those who are idle still see the end before they ask again.
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
        // A client that has gone already.
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
