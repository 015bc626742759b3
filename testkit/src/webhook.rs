//! A receiver of the webhook: answers with the statuses that the test sets, and keeps what it was sent.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::place::{Port, wait_for};

pub const SECRET: &str = "a secret of some length";

/// A received post.
#[derive(Clone, Debug)]
pub struct Post {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The status it was answered with.
    pub status: u16,
}

impl Post {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// Verifies the signature as the documentation describes.
    pub fn is_signed(&self, secret: &str) -> bool {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
        mac.update(self.header("chroma-edge-timestamp").as_bytes());
        mac.update(b".");
        mac.update(&self.body);
        let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        self.header("chroma-edge-signature") == format!("v1={signature}")
    }
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<u16>,
    posts: Vec<Post>,
    away: bool,
}

/// A running receiver. Its thread ends with the test's process.
#[derive(Debug)]
pub struct Receiver {
    port: Port,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    /// Starts a receiver that answers these statuses first, then 204.
    pub fn start(answers: &[u16]) -> Receiver {
        let port = Port::take();
        let listener = TcpListener::bind(("127.0.0.1", port.number)).expect("our port");
        let state = Arc::new(Mutex::new(State { answers: answers.iter().copied().collect(), ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that breaks is the other side's problem.
                let _ = serve(stream, &shared);
            }
        });
        Receiver { port, state }
    }

    pub fn url(&self) -> String {
        format!("{}/hooks/chroma?key=private", self.address())
    }

    /// Returns the same URL without a path.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number)
    }

    /// Sets whether it hangs up without an answer.
    pub fn set_away(&self, away: bool) {
        self.state.lock().expect("no test thread panics here").away = away;
    }

    /// Returns everything posted so far.
    pub fn posts(&self) -> Vec<Post> {
        self.state.lock().expect("no test thread panics here").posts.clone()
    }

    /// Waits until it has accepted this many different events. Returns all accepted ones in the order of arrival: event
    /// id, event and transaction.
    #[track_caller]
    pub fn accepted(&self, different: usize) -> Vec<(u64, String, String)> {
        wait_for("posts to the webhook", Duration::from_secs(60), || {
            let posts = self.posts();
            let accepted: Vec<_> = posts.iter().filter(|post| post.status == 204).map(named).collect();
            let mut ids: Vec<u64> = accepted.iter().map(|(id, _, _)| *id).collect();
            ids.sort_unstable();
            ids.dedup();
            (ids.len() >= different).then_some(accepted)
        })
    }
}

fn named(post: &Post) -> (u64, String, String) {
    let body = post.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id = body["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    (id, text(&body["event"]), text(&body["data"]["client_transaction_id"]))
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let status = {
        let mut state = state.lock().expect("no test thread panics here");
        let status = if state.away { 0 } else { state.answers.pop_front().unwrap_or(204) };
        state.posts.push(Post { path, headers, body, status });
        status
    };
    if status > 0 {
        write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?;
    }
    Ok(())
}
