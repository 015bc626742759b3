//! `/admin/reload` and `/admin/upgrade`: read the configuration again, and restart the process in place.
//!
//! Decides how these are requested and how the outcome is shown. The server decides what a reload or a restart may do.

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refused::{refused, word};
use crate::chroma::ErrorName;
use crate::web::{PageRequest, Reply};

/// The page that reloads the configuration.
pub(super) const PATH: &str = "/admin/reload";
/// The page that restarts the process in place.
pub(super) const UPGRADE: &str = "/admin/upgrade";
/// The largest body of a request to either page.
const BODY_BYTES: usize = 4096;

/// A changed value. Secret values are not included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub from: String,
    pub to: String,
}

/// When a reload may restart the process in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    Never,
    /// If the set or the order of the configured instances changed, and no other key needs a restart.
    ForInstances,
    /// If a changed key needs a restart.
    IfNeeded,
    /// Always: the program itself may have changed.
    Always,
}

/// A request to reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub restart: Restart,
    /// Instances that may be removed even if no other instance holds their data.
    pub confirm: Vec<String>,
}

impl Ask {
    /// Creates a request that confirms no instances.
    pub const fn with(restart: Restart) -> Ask {
        Ask { restart, confirm: Vec::new() }
    }
}

/// What happens to the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Process {
    #[default]
    GoesOn,
    /// The process is about to be replaced, in place.
    Restarts,
}

/// What a reload has changed, or what will be different once the process is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    pub process: Process,
    pub changed: Vec<Change>,
    /// The key is the instance's name, the values are its addresses.
    pub readdressed: Vec<Change>,
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// All instances, if their order changed.
    pub reordered: Option<Vec<String>>,
}

/// The reason why a reload changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadRefusal {
    #[error("this edge is configured by its environment alone, which cannot change while it runs: restart it")]
    NoFile,
    #[error("another reload is under way, or this edge is becoming the active one")]
    Busy,
    #[error("this edge is being stopped, or restarted")]
    Stopping,
    /// One line for each mistake.
    #[error("the configuration has mistakes: {}", .0.join("; "))]
    Mistakes(Vec<String>),
    #[error("these keys take effect with the next start, and nothing is changed before: {}", .0.join(", "))]
    NeedsRestart(Vec<String>),
    #[error("this edge does not listen yet")]
    NotListening,
    /// Needs an operator's confirmation.
    #[error("{0}")]
    LastCopy(String),
    /// The new program or configuration would not start.
    #[error("nothing is stopped: {0}")]
    CannotStart(String),
}

impl ReloadRefusal {
    const fn status(&self) -> u16 {
        match self {
            ReloadRefusal::Mistakes(_) => 400,
            ReloadRefusal::NoFile
            | ReloadRefusal::Busy
            | ReloadRefusal::NeedsRestart(_)
            | ReloadRefusal::NotListening
            | ReloadRefusal::LastCopy(_)
            | ReloadRefusal::CannotStart(_) => 409,
            ReloadRefusal::Stopping => 503,
        }
    }

    /// Returns the reason code for programs.
    pub const fn reason(&self) -> &'static str {
        match self {
            ReloadRefusal::NoFile => "no_file",
            ReloadRefusal::Busy => "reload_under_way",
            ReloadRefusal::Stopping => "stopping",
            ReloadRefusal::Mistakes(_) => "bad_configuration",
            ReloadRefusal::NeedsRestart(_) => "needs_restart",
            ReloadRefusal::NotListening => "not_listening",
            ReloadRefusal::LastCopy(_) => "last_copy",
            ReloadRefusal::CannotStart(_) => "cannot_start",
        }
    }
}

/// Reads the configuration again.
#[async_trait]
pub trait Reload: Send + Sync + 'static {
    /// Applies all of the new configuration, or nothing.
    ///
    /// # Errors
    /// The reason why nothing changed.
    async fn reload(&self, ask: Ask) -> Result<Reloaded, ReloadRefusal>;
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RestartAsked {
    InPlace,
}

/// One name, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

impl From<Names> for Vec<String> {
    fn from(names: Names) -> Vec<String> {
        match names {
            Names::One(name) => vec![name],
            Names::Many(names) => names,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    restart: Option<RestartAsked>,
    confirm: Option<Names>,
}

/// Returns whether this path is one of the two pages.
pub(super) fn takes(path: &str) -> bool {
    path == PATH || path == UPGRADE
}

pub(super) fn body_bytes(method: &Method) -> usize {
    if *method == Method::POST { BODY_BYTES } else { 0 }
}

/// Parses the request strictly: a misspelled field must not count as absent.
fn asked(request: &PageRequest) -> Result<Ask, String> {
    if !request.query.is_empty() {
        return Err("There is no query".to_owned());
    }
    let body: Body = if request.body.is_empty() {
        Body::default()
    } else {
        word(&request.body).map_err(|error| {
            format!("Expected {{\"restart\": \"in_place\", \"confirm\": \"<instance>\"}}, both optional: {error}")
        })?
    };
    let restart = match (request.path == UPGRADE, body.restart) {
        (true, _) => Restart::Always,
        (false, Some(RestartAsked::InPlace)) => Restart::IfNeeded,
        (false, None) => Restart::Never,
    };
    if restart == Restart::Never && body.confirm.is_some() {
        return Err("Nothing is confirmed without \"restart\": \"in_place\"".to_owned());
    }
    Ok(Ask { restart, confirm: body.confirm.map(Vec::from).unwrap_or_default() })
}

pub(super) async fn respond(reload: &dyn Reload, request: &PageRequest) -> Reply {
    if request.method != Method::POST {
        return Reply::wrong_method("POST");
    }
    let ask = match asked(request) {
        Ok(ask) => ask,
        Err(wrong) => return refused(400, ErrorName::InvalidArgumentError, "bad_body", &wrong),
    };
    match reload.reload(ask).await {
        Ok(reloaded) => {
            let status = if reloaded.process == Process::Restarts { 202 } else { 200 };
            Reply::json(status, shown(&reloaded).to_string())
        }
        Err(refusal) => {
            let name = match refusal.status() {
                400 => ErrorName::InvalidArgumentError,
                503 => ErrorName::InternalError,
                _ => ErrorName::ChromaError,
            };
            refused(refusal.status(), name, refusal.reason(), &refusal.to_string())
        }
    }
}

fn shown(reloaded: &Reloaded) -> Value {
    let change = |change: &Change| json!({ "key": change.key, "from": change.from, "to": change.to });
    let move_of = |change: &Change| json!({ "instance": change.key, "from": change.from, "to": change.to });
    json!({
        "restart": match reloaded.process {
            Process::GoesOn => Value::Null,
            Process::Restarts => "in_place".into(),
        },
        "changed": reloaded.changed.iter().map(change).collect::<Vec<_>>(),
        "instances": {
            "readdressed": reloaded.readdressed.iter().map(move_of).collect::<Vec<_>>(),
            "added": reloaded.added,
            "removed": reloaded.removed,
            "reordered": reloaded.reordered,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_at(path: &str, query: &str, body: &str) -> Option<Ask> {
        let request = PageRequest {
            method: Method::POST,
            path: path.to_owned(),
            query: query.to_owned(),
            headers: http::HeaderMap::new(),
            body: body.to_owned().into(),
            client_ip: None,
            principal: crate::auth::Principal::anonymous(crate::auth::Role::Admin),
        };
        asked(&request).ok()
    }

    #[test]
    fn what_is_asked_for_is_said_in_full() {
        let confirmed = |restart, names: &[&str]| {
            Some(Ask { restart, confirm: names.iter().map(|name| (*name).to_owned()).collect() })
        };
        let never = Some(Ask::with(Restart::Never));
        assert_eq!((asked_at(PATH, "", ""), asked_at(PATH, "", "{}")), (never.clone(), never));
        assert_eq!(asked_at(PATH, "", r#"{"restart":"in_place"}"#), confirmed(Restart::IfNeeded, &[]));
        let both = r#"{"restart":"in_place","confirm":["a","b"]}"#;
        assert_eq!(asked_at(PATH, "", both), confirmed(Restart::IfNeeded, &["a", "b"]));
        assert_eq!(asked_at(UPGRADE, "", r#"{"confirm":"a"}"#), confirmed(Restart::Always, &["a"]));
        for (query, body) in [
            ("force=1", ""),
            ("", "[]"),
            ("", r#"{"force":true}"#),
            ("", "now"),
            ("", r#"{"confirm":"a"}"#),
            ("", r#"{"restart":"now"}"#),
        ] {
            assert_eq!(asked_at(PATH, query, body), None, "{query:?} {body:?}");
        }
    }
}
