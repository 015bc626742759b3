//! Why a call brought no usable answer, in words for an operator.
//!
//! Decides the words. Whether that makes a check fail is for the check.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::own::OwnName;
use super::wire::Answer;

/// A call without the answer it should have had.
#[derive(Clone, Debug, Error)]
pub enum CallError {
    /// No connection.
    #[error("{server} cannot be reached: {why}")]
    Unreachable { server: String, why: String },
    /// Connected, and the connection ended or spoke nonsense.
    #[error("{request} brought no answer: {why}")]
    NoAnswer { request: String, why: String },
    /// Connected, and nothing came.
    #[error("{request} brought no answer within {} s", limit.as_secs_f32())]
    TooLate { request: String, limit: Duration },
    /// The whole run's limit is over: nothing was sent.
    #[error("the run's limit of {} s is over: not sent: {request}", limit.as_secs())]
    RunOver { request: String, limit: Duration },
    /// An answer with another status than the expected one.
    #[error("{request} was answered {status}{said}")]
    Refused { request: String, status: u16, said: String },
    /// An answer that is not what this path answers.
    #[error("{request} was answered with {what}")]
    Nonsense { request: String, what: String },
    /// The instance was down at the beginning: it is not read.
    #[error("not looked at: {0}")]
    Away(String),
    /// A server has a collection under another id than the deployment says of the instance that it should be.
    #[error("{server} has it as {shown}, not as {mapped}")]
    OtherId { server: String, shown: String, mapped: String },
    /// A removal was answered, and has not removed it.
    #[error("the removal of {name} succeeded, and it is still there")]
    StillThere { name: OwnName },
}

impl CallError {
    pub(super) fn refused(answer: &Answer) -> CallError {
        CallError::Refused { request: answer.request.clone(), status: answer.status, said: said(&answer.body) }
    }

    /// Whether whatever was asked for cannot have happened: it was never sent, or refused for good. A name that is taken
    /// says nothing of the kind: an earlier attempt may have taken it.
    pub(super) fn is_without_effect(&self) -> bool {
        match self {
            CallError::Unreachable { .. } | CallError::RunOver { .. } | CallError::Away(_) => true,
            CallError::Refused { status, .. } => (400..500).contains(status) && *status != 409,
            CallError::NoAnswer { .. }
            | CallError::TooLate { .. }
            | CallError::Nonsense { .. }
            | CallError::OtherId { .. }
            | CallError::StillThere { .. } => false,
        }
    }

    /// Whether the edge asks who that is.
    pub fn asks_for_a_token(&self) -> bool {
        matches!(self, CallError::Refused { status: 401, .. })
    }

    /// What came is not what was expected.
    pub fn nonsense(answer: &Answer, what: &str) -> CallError {
        CallError::Nonsense { request: answer.request.clone(), what: what.to_owned() }
    }
}

/// What an error's body says: reason and message, or the beginning of whatever it is.
fn said(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(value) => match (value["reason"].as_str(), value["message"].as_str()) {
            (Some(reason), Some(message)) => format!("{reason}: {message}"),
            (None, Some(message)) => message.to_owned(),
            _ => value.to_string(),
        },
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    if text.is_empty() {
        return String::new();
    }
    let shown: String = text.chars().take(200).collect();
    format!(" ({shown})")
}
