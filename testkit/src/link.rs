//! A TCP link that fails as networks do, in front of any server.
//!
//! It handles bytes and connections without interpreting them, except for the marks of its traps (`trap.rs`). What it
//! holds is dropped as soon as its client closes, and a black hole delivers nothing afterwards. So a request that its
//! sender gave up is never delivered late, just as on a single TCP connection. While its server is known to be dead it
//! refuses connections, as the server's port would.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use crate::place::Port;
use crate::trap::{self, Deed, Passed, Trap};

/// How long the rest of a failed request is read.
const REST: Duration = Duration::from_secs(1);

/// What a link does to its connections while this fault is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkFault {
    #[default]
    None,
    /// Connections are reset, and new ones are refused.
    Refuse,
    /// Each piece, in either direction, is delayed by this much.
    Delay(Duration),
    /// Connections are reset, and new ones are reset as soon as their client sends something.
    Reset,
    /// Connections stay open and new ones are accepted, but nothing arrives, even afterwards.
    BlackHole,
    /// What the client sends arrives. Instead of an answer, the client sees the end of the connection.
    HalfClose,
    /// Each connection ends after this many bytes of answers.
    CutResponse(usize),
    /// Each connection ends after this many bytes of requests have been delivered.
    CutRequest(usize),
}

impl LinkFault {
    /// Returns the name of its kind, under which it is counted.
    pub fn as_str(self) -> &'static str {
        match self {
            LinkFault::None => "none",
            LinkFault::Refuse => "refuse",
            LinkFault::Delay(_) => "delay",
            LinkFault::Reset => "reset",
            LinkFault::BlackHole => "black hole",
            LinkFault::HalfClose => "half-close",
            LinkFault::CutResponse(_) => "cut response",
            LinkFault::CutRequest(_) => "cut request",
        }
    }
}

/// Whether the server behind a link runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Running,
    /// Its port is closed.
    Dead,
}

/// A fault, and the number of settings so far, so that setting the same fault twice is a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Setting {
    fault: LinkFault,
    server: Server,
    count: u64,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    setting: watch::Sender<Setting>,
    /// How many connections, or pieces of them, the current fault has affected.
    hits: AtomicU64,
    traps: Mutex<Vec<Trap>>,
}

impl Shared {
    fn traps(&self) -> MutexGuard<'_, Vec<Trap>> {
        self.traps.lock().expect("no thread panics here")
    }

    fn now(&self) -> Setting {
        *self.setting.borrow()
    }

    fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }
}

/// A link. Its connections end with the runtime that runs it.
#[derive(Debug)]
pub struct FaultLink {
    port: Port,
    shared: Arc<Shared>,
}

impl FaultLink {
    /// Starts a link to the server on this port, on this runtime. It passes everything on.
    pub fn to(runtime: &Handle, server: u16) -> FaultLink {
        let port = Port::take();
        let number = port.number;
        let setting = Setting { fault: LinkFault::None, server: Server::Running, count: 0 };
        let shared = Arc::new(Shared {
            server: SocketAddr::from(([127, 0, 0, 1], server)),
            setting: watch::Sender::new(setting),
            hits: AtomicU64::new(0),
            traps: Mutex::default(),
        });
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", number))).expect("our own port");
        runtime.spawn(listen(number, listener, Arc::clone(&shared)));
        FaultLink { port, shared }
    }

    /// Returns the port where clients connect.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// Sets the fault until another is set, and resets the hit count.
    pub fn set(&self, fault: LinkFault) {
        self.shared.hits.store(0, Ordering::Relaxed);
        self.shared.setting.send_modify(|setting| *setting = Setting { fault, count: setting.count + 1, ..*setting });
    }

    /// Catches requests with this mark from now on, in addition to any fault that is set.
    pub fn lay(&self, trap: Trap) {
        self.shared.traps().push(trap);
    }

    /// Treats this mark as ordinary bytes from now on.
    pub fn lift(&self, mark: &str) {
        self.shared.traps().retain(|trap| trap.mark != mark);
    }

    /// Notes whether the server behind it has died or runs again.
    pub fn server_is(&self, server: Server) {
        self.shared.setting.send_modify(|setting| setting.server = server);
    }

    /// Returns how often the current fault took effect.
    pub fn hits(&self) -> u64 {
        self.shared.hits.load(Ordering::Relaxed)
    }
}

/// Accepts connections, unless they must be refused. A closed port refuses by itself.
async fn listen(port: u16, first: TcpListener, shared: Arc<Shared>) {
    let mut setting = shared.setting.subscribe();
    let mut listener = Some(first);
    loop {
        let now = *setting.borrow_and_update();
        let open = now.fault != LinkFault::Refuse && now.server == Server::Running;
        if !open {
            listener = None;
            shared.hit();
        } else if listener.is_none() {
            listener = bind(port).await;
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = setting.changed() => if changed.is_err() { return },
            accepted = accepted => if let Ok((client, _)) = accepted {
                tokio::spawn(serve(client, Arc::clone(&shared)));
            },
        }
    }
}

/// The port is ours, but old connections to it may still be closing.
async fn bind(port: u16) -> Option<TcpListener> {
    for _ in 0..200 {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return Some(listener);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// How a connection ended, which decides what each side sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client closed. The server's side is reset, so that the server notices at once.
    ClientGone,
    /// The server closed, and everything it had sent was delivered. The client sees the same.
    ServerDone,
    /// Both are reset.
    Reset,
    /// The client sees an orderly end. The server's side is reset.
    Cut,
    /// The client gets a failure as the answer. The server's side is reset.
    Failed,
}

async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let Ok(mut server) = TcpStream::connect(shared.server).await else {
        // Nothing can be done about a socket that rejects an option.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = pass(&mut client, &mut server, &shared).await;
    if end != End::ServerDone {
        let _ = server.set_zero_linger();
    }
    match end {
        End::Reset => {
            let _ = client.set_zero_linger();
        }
        End::Failed => {
            drop(server);
            // Either way, the connection ends.
            let _ = fail(&mut client).await;
        }
        End::ClientGone | End::ServerDone | End::Cut => {}
    }
}

/// Sends the failure, and reads what still arrives. Closing earlier would reset the connection, and the answer would be
/// lost.
async fn fail(client: &mut TcpStream) -> io::Result<()> {
    client.write_all(trap::failure().as_bytes()).await?;
    client.shutdown().await?;
    let mut rest = tokio::io::sink();
    let rest = tokio::io::copy(client, &mut rest);
    tokio::time::timeout(REST, rest).await.map_or(Ok(()), |read| read.map(drop))
}

/// Springs a trap, and returns how the connection ends.
fn spring(shared: &Shared, trap: &Trap, name: &str) -> End {
    (trap.told)(name);
    match trap.deed {
        Deed::Kill => {
            shared.setting.send_modify(|setting| setting.server = Server::Dead);
            End::Reset
        }
        Deed::Fail => End::Failed,
    }
}

async fn pass(client: &mut TcpStream, server: &mut TcpStream, shared: &Shared) -> End {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (requests, requests_out) = unbounded_channel();
    let (answers, answers_out) = unbounded_channel();
    tokio::select! {
        // The client's side is polled first, so that nothing is delivered after the client has closed.
        biased;
        _ = read_all(from_client, requests) => End::ClientGone,
        () = cut_off(shared) => End::Reset,
        end = deliver(Direction::Requests, requests_out, to_server, shared) => end,
        end = listen_to(from_server, answers) => end,
        end = deliver(Direction::Answers, answers_out, to_client, shared) => end,
    }
}

/// Waits for a fault that ends open connections.
async fn cut_off(shared: &Shared) {
    let mut setting = shared.setting.subscribe();
    setting.mark_unchanged();
    while setting.changed().await.is_ok() {
        if matches!(setting.borrow_and_update().fault, LinkFault::Reset | LinkFault::Refuse) {
            shared.hit();
            return;
        }
    }
}

/// Reads to the end of the connection, whether or not anything can be delivered meanwhile.
async fn read_all(mut from: ReadHalf<'_>, pieces: UnboundedSender<Vec<u8>>) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 || pieces.send(buffer[..count].to_vec()).is_err() {
            return Ok(());
        }
    }
}

/// Reads answers. What a server sent before an orderly close is still delivered.
async fn listen_to(server: ReadHalf<'_>, answers: UnboundedSender<Vec<u8>>) -> End {
    match read_all(server, answers).await {
        Ok(()) => std::future::pending().await,
        Err(_) => End::Reset,
    }
}

/// How many bytes may still pass on one connection in one direction, under the current fault.
#[derive(Default)]
struct Budget {
    setting: u64,
    spent: usize,
}

impl Budget {
    /// Returns how many of these bytes may pass. If fewer than all, the budget is used up.
    fn spend(&mut self, setting: Setting, limit: usize, bytes: usize) -> usize {
        if self.setting != setting.count {
            *self = Budget { setting: setting.count, spent: 0 };
        }
        let allowed = bytes.min(limit.saturating_sub(self.spent));
        self.spent += allowed;
        allowed
    }
}

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Requests,
    Answers,
}

/// Delivers what was read, as the fault allows.
async fn deliver(
    direction: Direction,
    mut pieces: UnboundedReceiver<Vec<u8>>,
    mut to: WriteHalf<'_>,
    shared: &Shared,
) -> End {
    use Direction::{Answers, Requests};
    let mut budget = Budget::default();
    let mut passed = Passed::default();
    while let Some(piece) = pieces.recv().await {
        let now = shared.now();
        let mut allowed = piece.len();
        match (now.fault, direction) {
            (LinkFault::Delay(time), _) => {
                shared.hit();
                tokio::time::sleep(time).await;
            }
            (LinkFault::BlackHole, _) => return lost(shared).await,
            (LinkFault::Reset, Requests) => {
                shared.hit();
                return End::Reset;
            }
            (LinkFault::HalfClose, Answers) => {
                shared.hit();
                let _ = to.shutdown().await;
                return std::future::pending().await;
            }
            (LinkFault::CutRequest(limit), Requests) | (LinkFault::CutResponse(limit), Answers) => {
                allowed = budget.spend(now, limit, piece.len());
            }
            _ => {}
        }
        if direction == Requests {
            let traps = shared.traps().clone();
            if let Some((trap, name)) = passed.steps_into(&traps, &piece[..allowed]) {
                return spring(shared, trap, &name);
            }
        }
        if to.write_all(&piece[..allowed]).await.is_err() {
            return if direction == Requests { End::Reset } else { End::ClientGone };
        }
        if allowed < piece.len() {
            shared.hit();
            return if direction == Requests { End::Reset } else { End::Cut };
        }
    }
    match direction {
        // The task that reads from the client sees the client's end.
        Requests => std::future::pending().await,
        Answers => End::ServerDone,
    }
}

/// Ends a connection whose bytes were swallowed: nothing after them can be delivered, even when the black hole is gone.
async fn lost(shared: &Shared) -> End {
    shared.hit();
    let mut setting = shared.setting.subscribe();
    // The sender lives as long as the link.
    let _ = setting.wait_for(|setting| setting.fault != LinkFault::BlackHole).await;
    End::Reset
}
