//! A relay between a client and its server: passes requests on and records them. Rules hold, refuse or lose some of
//! them. A function may answer all of them. With a certificate, the relay is the server's TLS end.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::chroma::ChromaServer;
use super::http::{Answer, Client};

/// One received request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    /// As sent, with names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: Instant,
    /// The server name in the client's TLS greeting.
    pub server_name: Option<String>,
}

impl Seen {
    /// The path without its query.
    pub fn endpoint(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

/// Answers a request in place of the server. Its second argument passes a request on and returns the server's answer.
pub type Intercept = dyn Fn(Seen, &dyn Fn(&Seen) -> Answer) -> Answer + Send + Sync;

struct Shared {
    server: Client,
    intercept: Option<Box<Intercept>>,
    seen: Mutex<Vec<Seen>>,
    /// Requests whose path ends like this wait.
    held: watch::Sender<Option<&'static str>>,
    rules: Mutex<Rules>,
}

/// What happens to requests, by the end of their path or by their method. The first rule that applies decides.
#[derive(Debug, Default)]
struct Rules {
    /// Writes with this text in their path or body are not delivered: they are answered 500, in Chroma's form.
    failing: Option<String>,
    /// Not delivered: answered 400, as Chroma would.
    refused: Option<&'static str>,
    /// Not delivered: answered as a Chroma with a locked database answers.
    locked: &'static [&'static str],
    locked_method: Option<&'static str>,
    /// Not delivered: the connection is closed.
    swallowed: Option<&'static str>,
    /// Not delivered: answered like this.
    answered: Option<(&'static str, String)>,
    /// Executed, but the connection is closed instead of an answer.
    unanswered: Option<&'static str>,
    deadly: Option<Deadly>,
}

/// A text that kills the server if it is in a request's path or body. The request is not executed.
#[derive(Clone)]
struct Deadly {
    mark: String,
    kill: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Deadly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadly").field("mark", &self.mark).finish_non_exhaustive()
    }
}

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Passed,
    Unanswered,
    Refused,
    Locked,
    Answered,
    Swallowed,
}

impl Rules {
    fn fails(&self, seen: &Seen) -> bool {
        let body = String::from_utf8_lossy(&seen.body);
        // Reading records by id still works. Reading which ids a condition selects is part of a delete.
        let reads = seen.method == "GET" || (seen.endpoint().ends_with("/get") && !body.contains("\"where\""));
        let is_in = |text: &String| seen.path.contains(text) || body.contains(text);
        !reads && self.failing.as_ref().is_some_and(is_in)
    }

    /// Returns the function that kills the server, if this request is deadly.
    fn killer(&self, seen: &Seen) -> Option<Arc<dyn Fn() + Send + Sync>> {
        let Deadly { mark, kill } = self.deadly.as_ref()?;
        let marked = seen.path.contains(mark) || String::from_utf8_lossy(&seen.body).contains(mark);
        marked.then(|| Arc::clone(kill))
    }

    fn fate(&self, method: &str, path: &str) -> Fate {
        let is = |rule: Option<&'static str>| rule.is_some_and(|ending| path.ends_with(ending));
        if self.answered.as_ref().is_some_and(|(ending, _)| path.ends_with(ending)) {
            Fate::Answered
        } else if is(self.refused) {
            Fate::Refused
        } else if self.locked.iter().any(|ending| path.ends_with(ending)) || self.locked_method == Some(method) {
            Fate::Locked
        } else if is(self.swallowed) {
            Fate::Swallowed
        } else if is(self.unanswered) {
            Fate::Unanswered
        } else {
            Fate::Passed
        }
    }
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("no thread panics here")
    }

    fn remember(&self, seen: Seen) {
        self.seen.lock().expect("no thread panics here").push(seen);
    }
}

/// A running relay. Dropping it ends its connections.
pub struct Relay {
    url: String,
    shared: Arc<Shared>,
    /// `None` only while the relay is being dropped.
    runtime: Option<Runtime>,
}

impl Relay {
    /// Starts a relay to this server.
    pub fn plain(server: &ChromaServer) -> Relay {
        Self::start(server.client(), None, None)
    }

    /// Starts a relay to the server of this client.
    pub fn to(server: Client) -> Relay {
        Self::start(server, None, None)
    }

    /// Starts a relay to this server that speaks TLS as `localhost`.
    pub fn tls(server: &ChromaServer, certified: &Arc<ServerConfig>) -> Relay {
        Self::start(server.client(), Some(TlsAcceptor::from(Arc::clone(certified))), None)
    }

    /// Starts a relay to the server of this client. This function answers each request, and rules do not apply.
    pub fn intercepted(server: Client, intercept: Box<Intercept>) -> Relay {
        Self::start(server, None, Some(intercept))
    }

    fn start(server: Client, tls: Option<TlsAcceptor>, intercept: Option<Box<Intercept>>) -> Relay {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let url = match tls {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        };
        let shared = Arc::new(Shared {
            server,
            intercept,
            seen: Mutex::default(),
            held: watch::Sender::new(None),
            rules: Mutex::default(),
        });
        runtime.spawn(accept(listener, tls, Arc::clone(&shared)));
        Relay { url, shared, runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Returns every request so far, including held ones, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no thread panics here").clone()
    }

    /// Returns the requests so far whose path ends like this.
    pub fn seen_at(&self, ending: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path.ends_with(ending)).collect()
    }

    /// Holds requests whose path ends like this, until `release`.
    pub fn hold(&self, ending: &'static str) {
        self.shared.held.send_replace(Some(ending));
    }

    pub fn release(&self) {
        self.shared.held.send_replace(None);
    }

    /// Executes requests whose path ends like this, and loses their answers.
    pub fn lose_answers(&self, ending: Option<&'static str>) {
        self.shared.rules().unanswered = ending;
    }

    /// Answers writes whose path ends like one of these as a locked database would, without effect.
    pub fn lock(&self, endings: &'static [&'static str]) {
        self.shared.rules().locked = endings;
    }

    /// Answers requests with this method as a locked database would, without effect.
    pub fn lock_method(&self, method: Option<&'static str>) {
        self.shared.rules().locked_method = method;
    }

    /// Loses requests whose path ends like this, together with their connection.
    pub fn swallow(&self, ending: Option<&'static str>) {
        self.shared.rules().swallowed = ending;
    }

    /// Answers requests whose path ends like this as a gateway in front of the server would, in HTML.
    pub fn answer_as_gateway(&self, ending: &'static str, status: &str) {
        let page = format!("<html><title>{status}</title></html>");
        let length = page.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{page}");
        self.shared.rules().answered = Some((ending, answer));
    }

    /// Answers requests whose path ends like this with 500, in Chroma's form, with this message.
    pub fn answer_500(&self, ending: &'static str, message: &str) {
        let body = format!(r#"{{"error":"InternalError","message":"{message}"}}"#);
        let answer = answer("500 Internal Server Error", &body);
        self.shared.rules().answered = Some((ending, answer));
    }

    /// Ends the rule of [`Relay::answer_as_gateway`] or [`Relay::answer_500`].
    pub fn answer_no_more(&self) {
        self.shared.rules().answered = None;
    }

    /// Answers writes with this text in their path or body with an unexplained 500, without effect.
    pub fn fail(&self, text: Option<&str>) {
        self.shared.rules().failing = text.map(str::to_owned);
    }

    /// Kills the server when a request has this text in its path or body, before the request is executed.
    pub fn deadly(&self, mark: &str, kill: Arc<dyn Fn() + Send + Sync>) {
        self.shared.rules().deadly = Some(Deadly { mark: mark.to_owned(), kill });
    }

    /// Ends the rule of [`Relay::deadly`].
    pub fn deadly_no_more(&self) {
        self.shared.rules().deadly = None;
    }

    /// Refuses requests whose path ends like this with 400, without effect.
    pub fn refuse(&self, ending: Option<&'static str>) {
        self.shared.rules().refused = ending;
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Drop for Relay {
    /// Does not block: an intercepting function may be waiting for the test to end.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        // An error ends the connection for both sides, which report it.
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            if shared.intercept.is_some() {
                return intercept(stream, shared).await;
            }
            let Some(tls) = tls else { return pass(stream, None, &shared).await };
            let stream = tls.accept(stream).await?;
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            pass(stream, name, &shared).await
        });
    }
}

/// Answers each request with the intercepting function, on a thread that the function may block.
async fn intercept(mut client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    while let Some((_, seen)) = read_request(&mut client).await? {
        shared.remember(seen.clone());
        let shared = Arc::clone(&shared);
        let answered = tokio::task::spawn_blocking(move || {
            shared.intercept.as_ref().map(|intercept| intercept(seen, &|seen| forward(&shared.server, seen)))
        });
        let Some(answer) = answered.await.map_err(io::Error::other)? else { return Ok(()) };
        client.write_all(&encoded(&answer)).await?;
        client.flush().await?;
    }
    Ok(())
}

/// Sends the same request on a connection of its own.
fn forward(server: &Client, seen: &Seen) -> Answer {
    let own = ["host", "content-length", "content-type", "connection", "accept", "accept-encoding"];
    let mut client = server.clone();
    client.headers.extend(seen.headers.iter().filter(|(name, _)| !own.contains(&name.as_str())).cloned());
    let content_type = if seen.body.is_empty() { "" } else { "application/json" };
    client.send(&seen.method, &seen.path, content_type, &seen.body).expect("the server's answer")
}

fn encoded(answer: &Answer) -> Vec<u8> {
    let kept = |name: &str| !["content-length", "transfer-encoding", "connection"].contains(&name);
    let mut head = format!("HTTP/1.1 {} intercepted\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in answer.headers.iter().filter(|(name, _)| kept(name)) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut bytes = format!("{head}\r\n").into_bytes();
    bytes.extend_from_slice(&answer.body);
    bytes
}

/// Passes on one exchange after the other. The edge does not pipeline.
async fn pass(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    name: Option<String>,
    shared: &Shared,
) -> io::Result<()> {
    let mut server = TcpStream::connect(shared.server.address).await?;
    server.set_nodelay(true)?;
    loop {
        let mut nothing = [0];
        let request = tokio::select! {
            request = read_request(&mut client) => request?,
            // No request: the server has closed an idle connection, or died.
            _ = server.peek(&mut nothing) => None,
        };
        let Some((bytes, mut seen)) = request else { return Ok(()) };
        seen.server_name.clone_from(&name);
        let mut held = shared.held.subscribe();
        let (method, path, wrote) = (seen.method.clone(), seen.path.clone(), !seen.body.is_empty());
        let fails = shared.rules().fails(&seen);
        let killer = shared.rules().killer(&seen);
        shared.remember(seen);
        let free = held.wait_for(|ending| ending.is_none_or(|ending| !path.ends_with(ending)));
        tokio::select! {
            free = free => drop(free.map_err(io::Error::other)?),
            // The client has given up.
            _ = client.read_u8() => return Ok(()),
        }
        if let Some(kill) = killer {
            kill();
            return Ok(());
        }
        let fate = shared.rules().fate(&method, &path);
        if fails {
            client.write_all(failure().as_bytes()).await?;
            client.flush().await?;
            continue;
        }
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
            Fate::Answered => {
                let answer = shared.rules().answered.clone();
                client.write_all(answer.map(|(_, answer)| answer).unwrap_or_default().as_bytes()).await?;
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

fn failure() -> String {
    answer("500 Internal Server Error", r#"{"error":"InternalError","message":"something that nobody has thought of"}"#)
}

/// Returns the answer of Chroma 1.5.9 when its database is locked.
fn locked() -> String {
    let message = "Database error: error returned from database: (code: 5) database is locked";
    answer("500 Internal Server Error", &format!(r#"{{"error":"InternalError","message":"{message}"}}"#))
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Reads up to and including the empty line; `None` at the end of the connection.
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

/// Returns the first line, and the headers with their names in lower case.
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

/// Reads the body that these headers announce, and appends it to the head.
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
