//! A client of server-sent events, over a raw connection.

use std::io;
use std::time::Duration;

use serde_json::Value;

use super::http::{Answer, Client, Connection, head};

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    pub event: String,
    pub data: Value,
}

/// An open stream.
#[derive(Debug)]
pub struct Listener {
    pub connection: Connection,
    text: String,
    /// The first bytes of an incomplete character.
    begun: Vec<u8>,
    /// The last id received, with a message or alone.
    pub last_id: String,
}

/// Requests `/transaction/safety/events?` with this query.
pub fn ask(client: &Client, query: &str, last_id: Option<&str>) -> (Connection, Answer) {
    let mut connection = client.connect().expect("a connection");
    let mut headers = vec![("accept", "text/event-stream")];
    headers.extend(last_id.map(|id| ("last-event-id", id)));
    let mut bytes = head("GET", &format!("/transaction/safety/events?{query}"), &headers);
    bytes.extend_from_slice(b"\r\n");
    connection.send(&bytes).expect("a request");
    let answer = connection.read_header().expect("a header");
    (connection, answer)
}

impl Listener {
    /// Opens a stream. Returns once it is open.
    #[track_caller]
    pub fn open(client: &Client, query: &str, last_id: Option<&str>) -> Listener {
        let (connection, answer) = ask(client, query, last_id);
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{answer}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer}");
        let mut listener = Listener { connection, text: String::new(), begun: Vec::new(), last_id: String::new() };
        while !listener.text.contains("\n\n") {
            listener.read().expect("the stream's beginning");
        }
        if listener.text.find("data: ").is_none_or(|data| listener.text.find("\n\n") < Some(data)) {
            // It only sets the position. Events that already exist come after it.
            let place: String = listener.text.drain(..listener.text.find("\n\n").unwrap_or(0) + 2).collect();
            listener.last_id = place.trim().strip_prefix("id: ").expect("a place").to_owned();
        }
        listener
    }

    /// Returns the next message, or `None` at the stream's orderly end.
    #[track_caller]
    pub fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.skip_to_message() {
                return Some(message);
            }
            if !self.read().expect("the stream goes on") {
                return None;
            }
        }
    }

    /// Returns the next message, which must exist and be this event.
    #[track_caller]
    pub fn expect(&mut self, event: &str) -> Message {
        let message = self.next().unwrap_or_else(|| panic!("{event} expected at the stream's end"));
        assert_eq!(message.event, event, "{message:?}");
        message
    }

    /// Returns whether nothing but comments arrives for this long.
    pub fn is_silent(&mut self, span: Duration) -> bool {
        self.connection.set_timeout(span);
        let silent = matches!(self.read(), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        self.connection.set_timeout(Duration::from_secs(60));
        silent && self.skip_to_message().is_none()
    }

    /// Reads more. Returns `false` at the orderly end, and an error if the stream breaks off.
    pub fn try_read(&mut self) -> io::Result<bool> {
        self.read()
    }

    /// Returns the complete messages in what has been read.
    pub fn buffered(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.skip_to_message()).collect()
    }

    fn read(&mut self) -> io::Result<bool> {
        let chunk = self.connection.read_chunk()?;
        self.begun.extend_from_slice(&chunk);
        // A chunk may end in the middle of a character.
        let whole = match std::str::from_utf8(&self.begun) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(error) => return Err(io::Error::other(error)),
        };
        let rest = self.begun.split_off(whole);
        let text = String::from_utf8(std::mem::replace(&mut self.begun, rest)).map_err(io::Error::other)?;
        self.text.push_str(&text);
        Ok(!chunk.is_empty())
    }

    /// Returns the first complete message with data in what has been read. A message without data only sets the id.
    fn skip_to_message(&mut self) -> Option<Message> {
        while let Some(end) = self.text.find("\n\n") {
            let message: String = self.text.drain(..end + 2).collect();
            let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if let Some(id) = field("id: ") {
                self.last_id = id;
            }
            if let Some(data) = field("data: ") {
                let data = serde_json::from_str(&data).expect("data is JSON on one line");
                return Some(Message { id: self.last_id.clone(), event: field("event: ").unwrap_or_default(), data });
            }
        }
        None
    }
}
