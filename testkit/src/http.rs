//! A raw HTTP/1.1 client: the test controls every byte and its timing. Answers are read by `Content-Length`, by chunks,
//! or to the end of the connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than any wait that the edge promises, shorter than a test runner's time limit.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// One complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns the first header with this name, ignoring case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Parses the body as JSON. Panics with the whole answer if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// Returns this answer, which must have that status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text())
    }
}

/// One connection, kept alive for any number of exchanges.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr, timeout: Duration) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Connection { reader: BufReader::new(stream) })
    }

    /// Sends these bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.reader.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Sends one chunk of a chunked body; an empty one ends the body.
    pub fn send_chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
        self.send(&framed)
    }

    /// Sends a whole request with `Content-Length`.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
        let mut bytes = head(method, path, headers);
        if !body.is_empty() || method != "GET" {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        self.send(&bytes)?;
        self.read_answer()
    }

    /// Sends a whole request with a chunked body, in chunks of this size.
    pub fn request_chunked(&mut self, path: &str, body: &[u8], chunk_size: usize) -> io::Result<Answer> {
        let mut bytes = head("POST", path, &[("content-type", "application/json")]);
        bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        self.send(&bytes)?;
        for chunk in body.chunks(chunk_size) {
            self.send_chunk(chunk)?;
        }
        self.send_chunk(b"")?;
        self.read_answer()
    }

    /// Reads one answer, skipping `100 Continue`.
    pub fn read_answer(&mut self) -> io::Result<Answer> {
        loop {
            let answer = self.read_one()?;
            if answer.status != 100 {
                return Ok(answer);
            }
        }
    }

    /// Reads one answer, including `100 Continue`.
    pub fn read_one(&mut self) -> io::Result<Answer> {
        let mut answer = self.read_header()?;
        if answer.status != 100 && answer.status != 204 {
            answer.body = self.read_body(&answer)?;
        }
        Ok(answer)
    }

    /// Reads only an answer's header, which is all that HEAD has.
    pub fn read_header(&mut self) -> io::Result<Answer> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other(format!("no header: {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Answer { status, headers, body: Vec::new() })
    }

    /// Sets how long each read waits.
    pub fn set_timeout(&self, timeout: Duration) {
        self.reader.get_ref().set_read_timeout(Some(timeout)).expect("a socket of ours");
    }

    /// Reads this many bytes of a body.
    pub fn read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads one chunk of a chunked body. The last one is empty.
    pub fn read_chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size];
        self.reader.read_exact(&mut chunk)?;
        self.line()?;
        Ok(chunk)
    }

    fn read_body(&mut self, answer: &Answer) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if answer.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
                let start = body.len();
                body.resize(start + size, 0);
                self.reader.read_exact(&mut body[start..])?;
                self.line()?;
                if size == 0 {
                    return Ok(body);
                }
            }
        }
        match answer.header("content-length").map(str::parse::<usize>) {
            Some(length) => {
                body.resize(length.map_err(io::Error::other)?, 0);
                self.reader.read_exact(&mut body)?;
            }
            None => {
                self.reader.read_to_end(&mut body)?;
            }
        }
        Ok(body)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Returns whether the other side closes the connection within the timeout.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.reader.read(&mut [0]), Ok(0) | Err(_))
    }

    /// Returns whether the other side has already closed or sent something unasked, so that a kept connection is of no
    /// use.
    #[allow(dead_code, reason = "asked by the chaos run")]
    pub fn is_stale(&self) -> bool {
        let stream = self.reader.get_ref();
        let silent = |stream: &TcpStream| {
            stream.set_nonblocking(true)?;
            let seen = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            seen
        };
        !matches!(silent(stream), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Closes the connection without reading what may come.
    pub fn hang_up(self) {
        // The other side may have closed already. Either way the connection is over.
        let _ = self.reader.get_ref().shutdown(Shutdown::Both);
    }
}

/// Returns the request line and headers, without the empty line that ends them.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.into_bytes()
}

/// A client of one server. Each call uses a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: SocketAddr,
    pub timeout: Duration,
    pub headers: Vec<(String, String)>,
}

impl Client {
    pub fn new(port: u16) -> Client {
        Client { address: ([127, 0, 0, 1], port).into(), timeout: DEFAULT_TIMEOUT, headers: Vec::new() }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn with_timeout(&self, timeout: Duration) -> Client {
        Client { timeout, ..self.clone() }
    }

    /// Returns a client of the same server that sends one more header with every call.
    pub fn with_header(&self, name: &str, value: &str) -> Client {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    pub fn connect(&self) -> io::Result<Connection> {
        Connection::open(self.address, self.timeout)
    }

    /// Makes one call with these exact bytes as the body. An empty content type sends none.
    pub fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> io::Result<Answer> {
        let mut headers: Vec<(&str, &str)> = vec![("connection", "close")];
        if !content_type.is_empty() {
            headers.push(("content-type", content_type));
        }
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        self.connect()?.request(method, path, &headers, body)
    }

    /// Makes one JSON call. `Value::Null` sends no body.
    pub fn try_call(&self, method: &str, path: &str, body: &Value) -> io::Result<Answer> {
        if body.is_null() {
            return self.send(method, path, "", b"");
        }
        self.send(method, path, "application/json", body.to_string().as_bytes())
    }

    /// Makes one JSON call that must get an answer.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.try_call(method, path, body).unwrap_or_else(|error| panic!("{method} {}{path}: {error}", self.url()))
    }

    /// Returns one of the edge's own metrics without labels, by its name without the prefix.
    #[track_caller]
    pub fn metric(&self, name: &str) -> i64 {
        let page = self.get("/metrics").expect(200).text();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("chroma_edge_{name} ")));
        line.unwrap_or_else(|| panic!("no metric {name}")).parse().expect("a number")
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &Value::Null)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, body)
    }
}

/// The path of the default tenant and database.
pub const DEFAULT: &str = "/api/v2/tenants/default_tenant/databases/default_database";

/// Returns the path of a collection's operation, in the default database.
pub fn record_path(collection: &str, operation: &str) -> String {
    format!("{DEFAULT}/collections/{collection}/{operation}")
}
