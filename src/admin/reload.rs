//! `/admin/reload` and `/admin/upgrade`: the configuration is read again, and the process restarted in place.
//!
//! It decides how that is asked for, and how the outcome is shown. What a reload or a restart may do is the server's.

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refused::{refused, word};
use crate::chroma::ErrorName;
use crate::web::{PageRequest, Reply};

/// Where it is asked for.
pub(super) const PATH: &str = "/admin/reload";
/// Where a restart in place is asked for.
pub(super) const UPGRADE: &str = "/admin/upgrade";
/// The largest body of such a request.
const BODY_BYTES: usize = 4096;

/// A value that has changed. Secret ones are not in it.
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
    /// If other instances are configured, or another order, and no other key needs it.
    ForInstances,
    /// If a changed key needs it.
    IfNeeded,
    /// In any case: the program may be another one.
    Always,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub restart: Restart,
    /// Instances that may be taken out although nobody else holds what they hold.
    pub confirm: Vec<String>,
}

impl Ask {
    /// Without a word about instances.
    pub const fn with(restart: Restart) -> Ask {
        Ask { restart, confirm: Vec::new() }
    }
}

/// What is done about the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Process {
    #[default]
    GoesOn,
    /// It is about to be replaced, in place.
    Restarts,
}

/// What a reload has changed, or what is different once the process has been replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    pub process: Process,
    pub changed: Vec<Change>,
    /// An instance's name as the key, and its addresses.
    pub readdressed: Vec<Change>,
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// All instances, if they have another order.
    pub reordered: Option<Vec<String>>,
}

/// Why a reload has changed nothing.
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
    /// Somebody has to insist.
    #[error("{0}")]
    LastCopy(String),
    /// The program or the configuration would not start.
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

    /// For programs.
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
    /// All of the new configuration takes effect, or nothing of it.
    ///
    /// # Errors
    /// Why nothing has changed.
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

/// Whether this path is one of the two pages.
pub(super) fn takes(path: &str) -> bool {
    path == PATH || path == UPGRADE
}

pub(super) fn body_bytes(method: &Method) -> usize {
    if *method == Method::POST { BODY_BYTES } else { 0 }
}

/// A slip must not pass for a request without it.
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
