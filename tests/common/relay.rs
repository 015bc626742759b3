//! Between the edge and a server: passes everything on, remembers each request, and holds back those that a test
//! wants to keep waiting. With a certificate it is the server's TLS end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::chroma::ChromaServer;

/// One request that came by.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    /// As it was sent, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: Instant,
    /// The name that the client asked for in its TLS greeting.
    pub server_name: Option<String>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    seen: Mutex<Vec<Seen>>,
    /// Requests whose path ends like this wait.
    held: watch::Sender<Option<&'static str>>,
    /// Requests whose path ends like this are executed, and their connection is closed instead of an answer.
    unanswered: Mutex<Option<&'static str>>,
    /// Requests whose path ends like this do not reach the server: they are answered 400, as Chroma would.
    refused: Mutex<Option<&'static str>>,
    /// Requests whose path ends like one of these do not reach the server: they are answered that its database is locked.
    locked: Mutex<&'static [&'static str]>,
    /// Requests of this method do not reach the server: they are answered that its database is locked.
    locked_method: Mutex<Option<&'static str>>,
    /// Requests whose path ends like this do not reach the server: their connection is closed.
    swallowed: Mutex<Option<&'static str>>,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Passed,
    Unanswered,
    Refused,
    Locked,
    Swallowed,
}

impl Shared {
    fn fate(&self, method: &str, path: &str) -> Fate {
        let is = |what: &Mutex<Option<&'static str>>| {
            what.lock().expect("no thread panics here").is_some_and(|ending| path.ends_with(ending))
        };
        let locked = self.locked.lock().expect("no thread panics here").iter().any(|ending| path.ends_with(ending))
            || *self.locked_method.lock().expect("no thread panics here") == Some(method);
        if is(&self.refused) {
            Fate::Refused
        } else if locked {
            Fate::Locked
        } else if is(&self.swallowed) {
            Fate::Swallowed
        } else if is(&self.unanswered) {
            Fate::Unanswered
        } else {
            Fate::Passed
        }
    }
}

/// A running relay. Its connections end when it is dropped.
#[derive(Debug)]
pub struct Relay {
    url: String,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

impl Relay {
    /// A relay to this server.
    pub fn plain(server: &ChromaServer) -> Relay {
        Self::start(server, None)
    }

    /// A relay to this server that speaks TLS as `localhost`.
    pub fn tls(server: &ChromaServer, certified: &Arc<ServerConfig>) -> Relay {
        Self::start(server, Some(TlsAcceptor::from(Arc::clone(certified))))
    }

    fn start(server: &ChromaServer, tls: Option<TlsAcceptor>) -> Relay {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let url = match tls {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        };
        let server = server.client().address;
        let shared = Arc::new(Shared {
            server,
            seen: Mutex::default(),
            held: watch::Sender::new(None),
            unanswered: Mutex::default(),
            refused: Mutex::default(),
            locked: Mutex::default(),
            locked_method: Mutex::default(),
            swallowed: Mutex::default(),
        });
        runtime.spawn(accept(listener, tls, Arc::clone(&shared)));
        Relay { url, shared, _runtime: runtime }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Every request so far, held ones too, in the order of their arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no thread panics here").clone()
    }

    /// The requests so far whose path ends like this.
    pub fn seen_at(&self, ending: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path.ends_with(ending)).collect()
    }

    /// From now on, requests whose path ends like this wait for `release`.
    pub fn hold(&self, ending: &'static str) {
        self.shared.held.send_replace(Some(ending));
    }

    pub fn release(&self) {
        self.shared.held.send_replace(None);
    }

    /// From now on, requests whose path ends like this are executed, and nobody hears how they went.
    pub fn lose_answers(&self, ending: Option<&'static str>) {
        *self.shared.unanswered.lock().expect("no thread panics here") = ending;
    }

    /// From now on, writes whose path ends like one of these are answered as by a locked database, without effect.
    pub fn lock(&self, endings: &'static [&'static str]) {
        *self.shared.locked.lock().expect("no thread panics here") = endings;
    }

    /// From now on, requests of this method are answered as by a locked database, without effect.
    pub fn lock_method(&self, method: Option<&'static str>) {
        *self.shared.locked_method.lock().expect("no thread panics here") = method;
    }

    /// From now on, requests whose path ends like this are lost on the way, and so is their connection.
    pub fn swallow(&self, ending: Option<&'static str>) {
        *self.shared.swallowed.lock().expect("no thread panics here") = ending;
    }

    /// From now on, requests whose path ends like this are refused with 400, without effect.
    pub fn refuse(&self, ending: Option<&'static str>) {
        *self.shared.refused.lock().expect("no thread panics here") = ending;
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        // Whatever ends a connection ends it for both sides, and is for them to complain about.
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let Some(tls) = tls else { return pass(stream, None, &shared).await };
            let stream = tls.accept(stream).await?;
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            pass(stream, name, &shared).await
        });
    }
}

/// One exchange after the other: the edge does not pipeline.
async fn pass(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    name: Option<String>,
    shared: &Shared,
) -> io::Result<()> {
    let mut server = TcpStream::connect(shared.server).await?;
    server.set_nodelay(true)?;
    loop {
        let mut nothing = [0];
        let request = tokio::select! {
            request = read_request(&mut client) => request?,
            // Nothing was asked: the server has closed an idle connection, or died.
            _ = server.peek(&mut nothing) => None,
        };
        let Some((bytes, mut seen)) = request else { return Ok(()) };
        seen.server_name.clone_from(&name);
        let mut held = shared.held.subscribe();
        let (method, path, wrote) = (seen.method.clone(), seen.path.clone(), !seen.body.is_empty());
        shared.seen.lock().expect("no thread panics here").push(seen);
        let free = held.wait_for(|ending| ending.is_none_or(|ending| !path.ends_with(ending)));
        tokio::select! {
            free = free => drop(free.map_err(io::Error::other)?),
            // A client that gives up is not waited with.
            _ = client.read_u8() => return Ok(()),
        }
        let fate = shared.fate(&method, &path);
        match fate {
            Fate::Refused => {
                client.write_all(refusal().as_bytes()).await?;
                client.flush().await?;
                continue;
            }
            Fate::Locked if wrote => {
                client.write_all(locked().as_bytes()).await?;
                client.flush().await?;
                continue;
            }
            Fate::Swallowed => return Ok(()),
            Fate::Passed | Fate::Unanswered | Fate::Locked => {}
        }
        server.write_all(&bytes).await?;
        let answer = tokio::select! {
            answer = read_answer(&mut server) => answer?,
            _ = client.read_u8() => None,
        };
        let Some(answer) = answer else { return Ok(()) };
        if matches!(fate, Fate::Unanswered) {
            return Ok(());
        }
        client.write_all(&answer).await?;
        client.flush().await?;
    }
}

fn refusal() -> String {
    answer("400 Bad Request", r#"{"error":"InvalidArgumentError","message":"refused by the test"}"#)
}

/// As Chroma 1.5.9 says it.
fn locked() -> String {
    let message = "Database error: error returned from database: (code: 5) database is locked";
    answer("500 Internal Server Error", &format!(r#"{{"error":"InternalError","message":"{message}"}}"#))
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Everything up to and with the empty line; `None` at the end of the connection.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) if bytes.is_empty() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(bytes))
}

/// The first line, and the headers with their names in lower case.
fn parse(head: &[u8]) -> (String, Vec<(String, String)>) {
    let text = String::from_utf8_lossy(head).into_owned();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    (first, headers)
}

/// The body that these headers announce, appended to the head.
async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    headers: &[(String, String)],
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    assert!(headers.iter().all(|(name, _)| name != "transfer-encoding"), "whole bodies only: {headers:?}");
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse::<usize>());
    let start = bytes.len();
    bytes.resize(start + length.transpose().map_err(io::Error::other)?.unwrap_or(0), 0);
    stream.read_exact(&mut bytes[start..]).await.map(drop)
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(Vec<u8>, Seen)>> {
    let Some(mut bytes) = read_head(stream).await? else { return Ok(None) };
    let (first, headers) = parse(&bytes);
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let head = bytes.len();
    read_body(stream, &headers, &mut bytes).await?;
    let body = bytes[head..].to_vec();
    Ok(Some((bytes, Seen { method, path, headers, body, at: Instant::now(), server_name: None })))
}

async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let Some(mut bytes) = read_head(stream).await? else { return Ok(None) };
    let (_, headers) = parse(&bytes);
    read_body(stream, &headers, &mut bytes).await?;
    Ok(Some(bytes))
}
