//! A relay between the command and the edge that answers falsely, as a test decides.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use testkit::http::Answer;
use testkit::relay::Seen;
use testkit::{Edge, Relay};

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The name of the collection in its path, if it was created through this liar.
    pub collection: Option<String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns whether it is this operation on a collection that belongs to this check.
    pub fn is(&self, method: &str, ending: &str, check: &str) -> bool {
        let own = self.collection.as_ref().is_some_and(|name| name.contains(&format!("_{check}_")));
        self.method == method && self.path.split('?').next().is_some_and(|path| path.ends_with(ending)) && own
    }

    /// Returns whether it requests this page.
    pub fn is_page(&self, path: &str) -> bool {
        self.path.split('?').next() == Some(path)
    }
}

/// A running liar.
pub struct Liar {
    url: String,
    _relay: Relay,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Liar {
    /// Starts a liar in front of this edge. `pass` sends a request on.
    pub fn before(
        edge: &Edge,
        lie: impl Fn(&Asked, &dyn Fn(&Asked) -> Answer) -> Answer + Send + Sync + 'static,
    ) -> Liar {
        let all: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (remembered, names) = (Arc::clone(&all), Mutex::new(BTreeMap::new()));
        let intercept = move |seen: Seen, pass: &dyn Fn(&Seen) -> Answer| {
            let collection = collection_of(&seen, &names.lock().expect("no thread panics here"));
            let asked = Asked {
                method: seen.method.clone(),
                path: seen.path.clone(),
                headers: seen.headers.clone(),
                body: seen.body.clone(),
                collection,
            };
            remembered.lock().expect("no thread panics here").push(asked.clone());
            let send_on = |asked: &Asked| {
                let Asked { method, path, headers, body, .. } = asked.clone();
                pass(&Seen { method, path, headers, body, ..seen.clone() })
            };
            let answer = lie(&asked, &send_on);
            if asked.method == "POST" && asked.path.ends_with("/collections") && answer.status == 200 {
                let made = answer.json();
                let text = |key: &str| made[key].as_str().unwrap_or_default().to_owned();
                names.lock().expect("no thread panics here").insert(text("id"), text("name"));
            }
            answer
        };
        let relay = Relay::intercepted(edge.client(), Box::new(intercept));
        Liar { url: relay.url(), _relay: relay, asked: all }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns every request so far.
    pub fn seen(&self) -> Vec<Asked> {
        self.asked.lock().expect("no thread panics here").clone()
    }
}

/// Returns the name of the collection in the path, or the path's own text if no such id was given out.
fn collection_of(seen: &Seen, names: &BTreeMap<String, String>) -> Option<String> {
    let part = seen.endpoint().split("/collections/").nth(1)?.split('/').next().unwrap_or_default();
    Some(names.get(part).cloned().unwrap_or_else(|| part.to_owned()))
}

/// Returns an answer that the edge did not give.
pub fn made_up(status: u16, body: &Value) -> Answer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Answer { status, headers, body: body.to_string().into_bytes() }
}

/// Returns the answer with its JSON changed.
pub fn changed(mut answer: Answer, change: impl FnOnce(&mut Value)) -> Answer {
    let mut body = answer.json();
    change(&mut body);
    answer.body = body.to_string().into_bytes();
    answer
}

/// Returns the answer without a header.
pub fn without(mut answer: Answer, header: &str) -> Answer {
    answer.headers.retain(|(name, _)| name != header);
    answer
}
