//! Sends the same requests to two servers and reports how the answers differ. Ids are ignored: each UUID is replaced by
//! the number of its first appearance, and lists that a server sorts by such an id are sorted by name.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::http::{Answer, Client, DEFAULT};

/// How much of two answers must be equal. Status and content type always must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// The whole body. For an error, the parts that Chroma sends (the edge may add to them).
    Body,
    /// Keys, types and lengths, but not the values: for clocks, and for pages whose order differs between servers.
    Shape,
    /// An error's name, not its text.
    ErrorName,
    /// Only the status and content type.
    Status,
}

/// One request. `{db}` in the path stands for the default database, `{name}` for a captured id.
#[derive(Clone, Debug)]
pub struct Step {
    pub name: &'static str,
    pub method: &'static str,
    pub path: String,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// The name under which later steps know the answer's id.
    pub capture: Option<&'static str>,
    pub same: Same,
}

impl Step {
    pub fn raw(name: &'static str, method: &'static str, path: &str, content_type: &'static str, body: &[u8]) -> Step {
        let (path, body) = (path.to_owned(), body.to_vec());
        Step { name, method, path, content_type, body, capture: None, same: Same::Body }
    }

    pub fn json(name: &'static str, method: &'static str, path: &str, body: &Value) -> Step {
        Step::raw(name, method, path, "application/json", body.to_string().as_bytes())
    }

    pub fn get(name: &'static str, path: &str) -> Step {
        Step::raw(name, "GET", path, "", b"")
    }

    pub fn post(name: &'static str, path: &str, body: &Value) -> Step {
        Step::json(name, "POST", path, body)
    }

    pub fn delete(name: &'static str, path: &str) -> Step {
        Step::raw(name, "DELETE", path, "", b"")
    }

    pub fn capture(mut self, id: &'static str) -> Step {
        self.capture = Some(id);
        self
    }

    pub fn same(mut self, same: Same) -> Step {
        self.same = same;
        self
    }
}

/// One side of the comparison.
struct Side<'a> {
    client: &'a Client,
    captured: HashMap<&'static str, String>,
    seen: Vec<String>,
}

impl<'a> Side<'a> {
    fn new(client: &'a Client) -> Side<'a> {
        Side { client, captured: HashMap::new(), seen: Vec::new() }
    }

    fn take(&mut self, step: &Step) -> Result<Answer, String> {
        let mut path = step.path.replace("{db}", DEFAULT);
        for (name, id) in &self.captured {
            path = path.replace(&format!("{{{name}}}"), id);
        }
        let answer = self.client.send(step.method, &path, step.content_type, &step.body);
        let answer = answer.map_err(|error| error.to_string())?;
        if let Some(name) = step.capture {
            let id =
                answer.json()["id"].as_str().unwrap_or_else(|| panic!("{}: no id: {answer}", step.name)).to_owned();
            self.captured.insert(name, id);
        }
        Ok(answer)
    }

    /// Returns the body in the form in which it is compared.
    fn body(&mut self, answer: &Answer, same: Same) -> Value {
        let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
            return if same == Same::Body { Value::String(self.without_ids(&answer.text())) } else { Value::Null };
        };
        let body = if answer.status < 400 { body } else { error(&body, same) };
        match same {
            Same::Body | Same::ErrorName => self.normal(by_name(body)),
            Same::Shape => shape(&body),
            Same::Status => Value::Null,
        }
    }

    fn normal(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.without_ids(&text)),
            Value::Array(list) => list.into_iter().map(|item| self.normal(item)).collect(),
            Value::Object(map) => map.into_iter().map(|(key, value)| (key, self.normal(value))).collect(),
            other => other,
        }
    }

    /// Returns the text with each random UUID replaced by the number of its first appearance.
    fn without_ids(&mut self, text: &str) -> String {
        const LENGTH: usize = 36;
        let mut result = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let id = rest.get(..LENGTH).and_then(|part| uuid::Uuid::try_parse(part).ok());
            match id.filter(|id| id.get_version_num() == 4) {
                Some(id) => {
                    let id = id.to_string();
                    let known = self.seen.iter().position(|seen| *seen == id);
                    let number = known.unwrap_or_else(|| {
                        self.seen.push(id);
                        self.seen.len() - 1
                    });
                    result.push_str(&format!("<id {number}>"));
                    rest = &rest[LENGTH..];
                }
                None => {
                    result.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        result
    }
}

/// Returns the parts of an error that Chroma sends.
fn error(body: &Value, same: Same) -> Value {
    let keys: &[&str] = if same == Same::Body { &["error", "message"] } else { &["error"] };
    let keep = |key: &&str| body.get(*key).map(|value| ((*key).to_owned(), value.clone()));
    if body.is_object() { Value::Object(keys.iter().filter_map(keep).collect()) } else { body.clone() }
}

fn by_name(mut value: Value) -> Value {
    if let Some(list) = value.as_array_mut().filter(|list| list.iter().all(|item| item["name"].is_string())) {
        list.sort_by_key(|item| item["name"].as_str().map(str::to_owned));
    }
    value
}

fn shape(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => "boolean".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(list) => list.iter().map(shape).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect::<Map<_, _>>().into(),
    }
}

/// Runs all steps against both servers and returns every difference.
pub fn compare(left: &Client, right: &Client, steps: &[Step]) -> Vec<String> {
    let (mut left, mut right) = (Side::new(left), Side::new(right));
    let mut differences = Vec::new();
    for step in steps {
        let (a, b) = match (left.take(step), right.take(step)) {
            (Ok(a), Ok(b)) => (a, b),
            (a, b) => {
                differences.push(format!("{}: {a:?} | {b:?}", step.name));
                continue;
            }
        };
        let mut note = |what: &str, a: &dyn std::fmt::Display, b: &dyn std::fmt::Display| {
            let (a, b) = (a.to_string(), b.to_string());
            if a != b {
                differences.push(format!("{} ({} {}): {what}: {a} | {b}", step.name, step.method, step.path));
            }
        };
        note("status", &a.status, &b.status);
        let (body_a, body_b) = (left.body(&a, step.same), right.body(&b, step.same));
        note("body", &body_a, &body_b);
        for header in ["content-type", "allow"] {
            note(header, &a.header(header).unwrap_or("none"), &b.header(header).unwrap_or("none"));
        }
    }
    differences
}
