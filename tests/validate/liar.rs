//! Between the command and the edge: passes requests on, remembers them, and lies as it is told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::common::Edge;
use crate::common::http::{Answer, Client};

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The name of the collection in its path, if that was created by way of here.
    pub collection: Option<String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether this is what is done, and to a collection of this check's.
    pub fn is(&self, method: &str, ending: &str, check: &str) -> bool {
        let own = self.collection.as_ref().is_some_and(|name| name.contains(&format!("_{check}_")));
        self.method == method && self.path.split('?').next().is_some_and(|path| path.ends_with(ending)) && own
    }

    /// Whether this page is asked for.
    pub fn is_page(&self, path: &str) -> bool {
        self.path.split('?').next() == Some(path)
    }
}

/// What becomes of a request: `pass` sends it on.
pub type Lie = dyn Fn(&Asked, &dyn Fn(&Asked) -> Answer) -> Answer + Send + Sync;

/// A running liar. Its thread ends with the test's process.
pub struct Liar {
    url: String,
    seen: Arc<Mutex<Vec<Asked>>>,
}

impl Liar {
    /// In front of this edge.
    pub fn before(
        edge: &Edge,
        lie: impl Fn(&Asked, &dyn Fn(&Asked) -> Answer) -> Answer + Send + Sync + 'static,
    ) -> Liar {
        Self::at(edge.client(), Arc::new(lie))
    }

    fn at(edge: Client, lie: Arc<Lie>) -> Liar {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let names: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
        let remembered = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (edge, lie) = (edge.clone(), Arc::clone(&lie));
                let (seen, names) = (Arc::clone(&remembered), Arc::clone(&names));
                std::thread::spawn(move || serve(stream, &edge, &*lie, &seen, &names));
            }
        });
        Liar { url, seen }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Asked> {
        self.seen.lock().expect("no thread panics here").clone()
    }
}

fn serve(
    stream: TcpStream,
    edge: &Client,
    lie: &Lie,
    seen: &Mutex<Vec<Asked>>,
    names: &Mutex<BTreeMap<String, String>>,
) {
    let mut reader = BufReader::new(stream);
    while let Some(mut asked) = read(&mut reader) {
        let part = asked.path.split('?').next().and_then(|path| path.split("/collections/").nth(1));
        let part = part.map(|rest| rest.split('/').next().unwrap_or_default().to_owned());
        let name = |id: &String| names.lock().expect("no thread panics here").get(id).cloned();
        asked.collection = part.as_ref().map(|part| name(part).unwrap_or_else(|| part.clone()));
        seen.lock().expect("no thread panics here").push(asked.clone());
        let answer = lie(&asked, &|asked| pass(edge, asked));
        if asked.method == "POST" && asked.path.ends_with("/collections") && answer.status == 200 {
            let made = answer.json();
            let text = |key: &str| made[key].as_str().unwrap_or_default().to_owned();
            names.lock().expect("no thread panics here").insert(text("id"), text("name"));
        }
        let kept = |name: &str| !["content-length", "transfer-encoding", "connection"].contains(&name);
        let mut bytes = format!("HTTP/1.1 {} said\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
        for (name, value) in answer.headers.iter().filter(|(name, _)| kept(name)) {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut bytes = format!("{bytes}\r\n").into_bytes();
        bytes.extend_from_slice(&answer.body);
        if reader.get_mut().write_all(&bytes).is_err() {
            return;
        }
    }
}

fn pass(edge: &Client, asked: &Asked) -> Answer {
    let own = ["host", "content-length", "content-type", "connection", "accept", "accept-encoding"];
    let mut client = edge.clone();
    client.headers.extend(asked.headers.iter().filter(|(name, _)| !own.contains(&name.as_str())).cloned());
    let content_type = if asked.body.is_empty() { "" } else { "application/json" };
    client.send(&asked.method, &asked.path, content_type, &asked.body).expect("the edge's answer")
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, path, headers, body, collection: None })
}

/// An answer that nobody gave.
pub fn made_up(status: u16, body: &Value) -> Answer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Answer { status, headers, body: body.to_string().into_bytes() }
}

/// An answer with its JSON changed.
pub fn changed(mut answer: Answer, change: impl FnOnce(&mut Value)) -> Answer {
    let mut body = answer.json();
    change(&mut body);
    answer.body = body.to_string().into_bytes();
    answer
}

/// An answer without a header.
pub fn without(mut answer: Answer, header: &str) -> Answer {
    answer.headers.retain(|(name, _)| name != header);
    answer
}
