//! A listening socket that outlives this process's image: bound when it is needed, or inherited.
//!
//! While it is open, the kernel queues incoming connections, whether or not they are accepted. Who accepts them is
//! decided by [`Acceptor`](super::Acceptor), and who inherits the socket by the server.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::sync::watch;

/// How many connections may wait to be accepted. The kernel's own limit applies, too.
const BACKLOG: u32 = 65_535;
/// How often to try to bind an address that is in use, and at what interval.
const TRIES: u32 = 30;
const AGAIN: Duration = Duration::from_secs(1);

/// An address where connections come in.
pub struct Socket {
    address: SocketAddr,
    open: Mutex<Option<TcpListener>>,
    rests: watch::Sender<bool>,
}

impl Socket {
    /// A socket that is bound when it is first listened on. If one is inherited, that one is used.
    pub fn new(address: SocketAddr, inherited: Option<TcpListener>) -> Socket {
        Socket { address, open: Mutex::new(inherited), rests: watch::Sender::new(false) }
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting: from now on, connections wait.
    pub fn rest(&self) {
        self.rests.send_replace(true);
    }

    /// Resolves when connections are no longer accepted.
    pub(super) async fn rests(&self) {
        // The sender lives as long as `self`.
        drop(self.rests.subscribe().wait_for(|rests| *rests).await);
    }

    /// Listens on the socket, and binds it unless it is open.
    pub(super) async fn listen(&self) -> io::Result<tokio::net::TcpListener> {
        let mut tries = 1;
        loop {
            let opened = self.opened();
            match opened {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {
                    tracing::warn!(address = %self.address, "the address is in use; trying again");
                    tries += 1;
                    tokio::time::sleep(AGAIN).await;
                }
                opened => return tokio::net::TcpListener::from_std(opened?),
            }
        }
    }

    fn opened(&self) -> io::Result<TcpListener> {
        let mut open = self.lock();
        let listener = match open.take() {
            Some(listener) => listener,
            None => bind(self.address)?,
        };
        listener.set_nonblocking(true)?;
        let again = listener.try_clone();
        *open = Some(listener);
        again
    }

    /// Returns another descriptor of the socket, if it is open.
    pub fn descriptor(&self) -> io::Result<Option<OwnedFd>> {
        self.lock().as_ref().map(|open| open.try_clone().map(OwnedFd::from)).transpose()
    }

    fn lock(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections of an earlier edge may still be closing there.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_stays_open_when_nobody_accepts_any_more() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let socket = Socket::new(address, None);
        assert!(socket.descriptor().unwrap().is_none(), "nobody has listened yet");
        drop(socket.listen().await.unwrap());
        let waiting = std::net::TcpStream::connect(address);
        assert!(waiting.is_ok(), "{waiting:?}");
        let heir = Socket::new(address, socket.descriptor().unwrap().map(TcpListener::from));
        drop(socket);
        let (_, from) = heir.listen().await.unwrap().accept().await.unwrap();
        assert_eq!(from, waiting.unwrap().local_addr().unwrap(), "it has waited for the heir");
    }
}
