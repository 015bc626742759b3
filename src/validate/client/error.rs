//! Why a call returned no usable answer, in words for an operator.
//!
//! Decides the words. The check decides whether it fails.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::own::OwnName;
use super::wire::Answer;

/// A call that did not get the expected answer.
#[derive(Clone, Debug, Error)]
pub enum CallError {
    /// No connection.
    #[error("{server} cannot be reached: {why}")]
    Unreachable { server: String, why: String },
    /// Connected, but the connection ended or did not carry HTTP.
    #[error("{request} brought no answer: {why}")]
    NoAnswer { request: String, why: String },
    /// Connected, but nothing was received in time.
    #[error("{request} brought no answer within {} s", limit.as_secs_f32())]
    TooLate { request: String, limit: Duration },
    /// The run's limit is over; nothing was sent.
    #[error("the run's limit of {} s is over: not sent: {request}", limit.as_secs())]
    RunOver { request: String, limit: Duration },
    /// An answer with an unexpected status.
    #[error("{request} was answered {status}{said}")]
    Refused { request: String, status: u16, said: String },
    /// An answer that this path should never give.
    #[error("{request} was answered with {what}")]
    Nonsense { request: String, what: String },
    /// The instance was down at the beginning, so it is not read.
    #[error("not looked at: {0}")]
    Away(String),
    /// A server has a collection under another id than the deployment shows for that instance.
    #[error("{server} has it as {shown}, not as {mapped}")]
    OtherId { server: String, shown: String, mapped: String },
    /// A removal was answered, but the collection still exists.
    #[error("the removal of {name} succeeded, and it is still there")]
    StillThere { name: OwnName },
}

impl CallError {
    pub(super) fn refused(answer: &Answer) -> CallError {
        CallError::Refused { request: answer.request.clone(), status: answer.status, said: said(&answer.body) }
    }

    /// Returns whether the request certainly had no effect: it was never sent, or definitely refused. A taken name
    /// proves nothing: an earlier attempt may have taken it.
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

    /// Returns whether the edge requires a token.
    pub fn asks_for_a_token(&self) -> bool {
        matches!(self, CallError::Refused { status: 401, .. })
    }

    /// Creates an error for an unexpected answer.
    pub fn nonsense(answer: &Answer, what: &str) -> CallError {
        CallError::Nonsense { request: answer.request.clone(), what: what.to_owned() }
    }
}

/// Formats an error's body: reason and message, or its beginning.
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
