//! What the address leads to: an active edge, a standby, something else, or nothing.
//!
//! Decides whether the run can go on, from `/health` and `/status` alone.

use std::time::Duration;

use serde_json::Value;

use super::client::{CallError, Wire};

/// The limit for an edge's page; a healthy edge answers at once.
const PAGE: Duration = Duration::from_secs(10);

/// An instance, as `/status` shows it.
#[derive(Clone, Debug)]
pub struct Instance {
    pub name: String,
    pub role: String,
    pub url: String,
    pub healthy: bool,
    pub state: String,
    pub pending: u64,
    pub last_error: Option<String>,
}

impl Instance {
    fn of(value: &Value) -> Option<Instance> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(Instance {
            name: text("name")?,
            role: text("role")?,
            url: text("url").unwrap_or_default(),
            healthy: value["healthy"].as_bool()?,
            state: text("state").unwrap_or_default(),
            pending: value["pending_writes"].as_u64().unwrap_or(0),
            last_error: text("last_error"),
        })
    }

    /// Describes the instance and its state.
    pub fn describe(&self) -> String {
        let role = if self.role == self.name { String::new() } else { format!("{}, ", self.role) };
        format!("{} ({role}{}) is {}", self.name, self.url, self.state)
    }
}

/// What was found at the address.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// An active edge; `status` is its page.
    Active {
        instances: Vec<Instance>,
        status: Value,
    },
    /// An edge that does not serve, and why.
    Standby(String),
    /// A server that answers but is not an edge.
    NotAnEdge(String),
    Unreachable(String),
}

impl Endpoint {
    /// Asks the server at the address.
    pub fn ask(wire: &Wire) -> Endpoint {
        let answer = match wire.hurried(PAGE).get("/status") {
            Ok(answer) => answer,
            Err(error @ CallError::Nonsense { .. }) => return Endpoint::NotAnEdge(error.to_string()),
            Err(error) => return Endpoint::Unreachable(error.to_string()),
        };
        if matches!(answer.status, 401 | 403) {
            return Endpoint::NotAnEdge(format!("GET /status was answered {}: is --token right?", answer.status));
        }
        if let (300..400, Some(elsewhere)) = (answer.status, answer.header("location")) {
            return Endpoint::NotAnEdge(format!("GET /status leads to {elsewhere}: is --url right?"));
        }
        if answer.status != 200 {
            return Endpoint::NotAnEdge(format!("GET /status was answered {}, as by no chroma-edge", answer.status));
        }
        let status = answer.json().unwrap_or_default();
        match status["role"].as_str() {
            Some("active") => Self::active(status),
            Some("standby") => Endpoint::Standby(standby(&status["journal"])),
            _ => Endpoint::NotAnEdge("GET /status was not answered as by a chroma-edge".to_owned()),
        }
    }

    fn active(status: Value) -> Endpoint {
        let list = status["instances"].as_array().cloned().unwrap_or_default();
        let instances: Option<Vec<Instance>> = list.iter().map(Instance::of).collect();
        match instances {
            Some(instances) if !instances.is_empty() => Endpoint::Active { instances, status },
            _ => Endpoint::NotAnEdge("GET /status names no instances".to_owned()),
        }
    }

    /// Returns why nothing can be checked, if so.
    pub fn obstacle(&self) -> Option<&str> {
        match self {
            Endpoint::Active { .. } => None,
            Endpoint::Standby(why) | Endpoint::NotAnEdge(why) | Endpoint::Unreachable(why) => Some(why),
        }
    }
}

fn standby(journal: &Value) -> String {
    match (journal["state"].as_str(), journal["held_by"].as_str()) {
        (_, Some(holder)) => format!("this edge stands by: another one ({holder}) serves its journal"),
        (Some("unreachable"), _) => "this edge stands by: its journal cannot be reached".to_owned(),
        (Some(state), _) => format!("this edge stands by: {state}"),
        (None, _) => "this edge stands by".to_owned(),
    }
}
