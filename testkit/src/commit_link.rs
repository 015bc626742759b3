//! A TCP link to a PostgreSQL server that fails at message boundaries: it refuses, cuts, holds and delays, and can do
//! so at a COMMIT.
//!
//! Unlike [`FaultLink`](super::link::FaultLink), which handles bytes only, it delivers what it held even when its
//! client is gone: a commit that was given up may still become durable. Works only without TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};

/// What happens to the next COMMIT that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtCommit {
    /// The connection is cut before the COMMIT reaches the server.
    CutBefore,
    /// The server receives it, and its answer is cut off.
    CutAfter,
    /// It is held until [`CommitLink::release`], with everything that follows on its connection, even when the client
    /// is gone.
    Keep,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
    /// Incremented to end every open connection.
    cut: watch::Sender<u64>,
    /// Whether the link holds what clients send.
    kept: watch::Sender<bool>,
    /// Incremented to deliver the held COMMITs.
    released: watch::Sender<u64>,
    /// Notified when a COMMIT was held, or its connection was cut.
    met: Notify,
}

#[derive(Debug, Default)]
struct State {
    refuse: bool,
    at_commit: Option<AtCommit>,
    /// Bytes that clients may still send.
    budget: Option<usize>,
    /// The delay of each message of a client.
    delay: Duration,
}

/// A link. Dropping it ends its connections.
#[derive(Debug)]
pub struct CommitLink {
    port: u16,
    shared: Arc<Shared>,
    /// `None` only while the link is being dropped.
    runtime: Option<Runtime>,
}

impl CommitLink {
    /// Starts a link to the server on this port. It passes everything on.
    pub fn to(port: u16) -> CommitLink {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        // Not on the caller's runtime, which may be one that must not block.
        let bound = runtime.spawn(TcpListener::bind("127.0.0.1:0"));
        let (done, result) = std::sync::mpsc::channel();
        runtime.spawn(async move { done.send(bound.await) });
        let listener = result.recv().expect("the runtime").expect("no panic").expect("a free port");
        let own = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared {
            server: SocketAddr::from(([127, 0, 0, 1], port)),
            state: Mutex::default(),
            cut: watch::Sender::new(0),
            kept: watch::Sender::new(false),
            released: watch::Sender::new(0),
            met: Notify::new(),
        });
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        CommitLink { port: own, shared, runtime: Some(runtime) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets whether new connections are closed at once.
    pub fn refuse(&self, refuse: bool) {
        self.shared.state().refuse = refuse;
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|count| *count += 1);
    }

    /// Cuts the connection whose client exceeds this many more bytes, counted over all connections.
    pub fn cut_after(&self, bytes: usize) {
        self.shared.state().budget = Some(bytes);
    }

    /// Holds what clients send from now on, until [`CommitLink::release`].
    pub fn keep(&self) {
        self.shared.kept.send_replace(true);
    }

    /// Delivers what was held, and everything that follows.
    pub fn release(&self) {
        self.shared.kept.send_replace(false);
        self.shared.released.send_modify(|count| *count += 1);
    }

    /// Delays each message of a client by this much from now on.
    pub fn delay(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// Sets what happens to the next COMMIT.
    pub fn at_commit(&self, fate: AtCommit) {
        self.shared.state().at_commit = Some(fate);
    }

    /// Waits until the COMMIT of [`CommitLink::at_commit`] has arrived.
    pub async fn met(&self) {
        self.shared.met.notified().await;
    }

    /// Returns whether the COMMIT of [`CommitLink::at_commit`] has yet to arrive.
    pub fn awaits_commit(&self) -> bool {
        self.shared.state().at_commit.is_some()
    }
}

impl Drop for CommitLink {
    /// Does not block: the test may be running on a runtime of its own.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics here")
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if !shared.state().refuse {
            tokio::spawn(connect(client, Arc::clone(&shared)));
        }
    }
}

/// How the client's side ended.
enum End {
    /// It closed, or was cut.
    Cut,
    /// The answer to the last message must be cut off.
    AfterAnswer,
}

async fn connect(client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let mut cut = shared.cut.subscribe();
    cut.mark_unchanged();
    let server = TcpStream::connect(shared.server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    tokio::select! {
        end = forward(from_client, to_server, &shared) => if let Ok(End::AfterAnswer) = end {
            // Read until the server has confirmed the commit, and deliver none of it.
            let mut answers = Vec::new();
            while !answers.windows(7).any(|bytes| bytes == b"COMMIT\0") && from_server.read_buf(&mut answers).await? > 0 {}
        },
        _ = async {
            // The server's connection outlives the client's.
            if io::copy(&mut from_server, &mut to_client).await.is_err() {
                std::future::pending::<()>().await;
            }
        } => {}
        _ = cut.changed() => {}
    }
    Ok(())
}

/// Delivers the client's messages to the server.
async fn forward(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, shared: &Shared) -> io::Result<End> {
    let mut begun = false;
    loop {
        let Some(message) = read(&mut client, &mut begun).await? else { return Ok(End::Cut) };
        let fate = if message == *b"Q\0\0\0\x0bCOMMIT\0" { shared.state().at_commit.take() } else { None };
        match fate {
            Some(AtCommit::CutBefore) => {
                shared.met.notify_one();
                return Ok(End::Cut);
            }
            Some(AtCommit::Keep) => {
                let mut released = shared.released.subscribe();
                released.mark_unchanged();
                shared.met.notify_one();
                // The sender lives as long as the link.
                let _ = released.changed().await;
            }
            Some(AtCommit::CutAfter) | None => {}
        }
        let _ = shared.kept.subscribe().wait_for(|kept| !kept).await;
        let delay = shared.state().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let allowed = spend(&mut shared.state().budget, message.len());
        server.write_all(&message[..allowed]).await?;
        if allowed < message.len() {
            return Ok(End::Cut);
        }
        if fate == Some(AtCommit::CutAfter) {
            shared.met.notify_one();
            return Ok(End::AfterAnswer);
        }
    }
}

/// Returns how many of these bytes may pass.
fn spend(budget: &mut Option<usize>, bytes: usize) -> usize {
    let Some(left) = budget else { return bytes };
    let allowed = bytes.min(*left);
    *left -= allowed;
    if allowed < bytes {
        *budget = None;
    }
    allowed
}

/// Reads one message; `None` when the client has closed. The first messages have no type, only a length and a request
/// code.
async fn read(client: &mut OwnedReadHalf, begun: &mut bool) -> io::Result<Option<Vec<u8>>> {
    const STARTUP: u32 = 196_608;
    let mut message = Vec::new();
    if *begun {
        match client.read_u8().await {
            Ok(kind) => message.push(kind),
            Err(_) => return Ok(None),
        }
    }
    let length = match client.read_u32().await {
        Ok(length) => length,
        Err(_) => return Ok(None),
    };
    message.extend(length.to_be_bytes());
    let start = message.len();
    message.resize(start + usize::try_from(length).expect("a length") - 4, 0);
    client.read_exact(&mut message[start..]).await?;
    *begun |= start == 4 && message[start..].starts_with(&STARTUP.to_be_bytes());
    Ok(Some(message))
}
