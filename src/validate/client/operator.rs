//! An operator at a live edge: its pages are read, and words are given to it under `/admin/`.
//!
//! Decides only what may be asked: nothing here reaches a client's data. What a word does is the edge's.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::error::CallError;
use super::url::BaseUrl;
use super::wire::{Call, Wire, WireOptions};

/// How long one answer may take.
const CALL: Duration = Duration::from_secs(30);
/// How long everything together may take.
const RUN: Duration = Duration::from_secs(24 * 60 * 60);

/// A connection to a live edge.
#[derive(Clone, Debug)]
pub struct Operator(Wire);

impl Operator {
    /// At this address, with this token if a gateway asks for one.
    ///
    /// # Errors
    /// What an operator should read: the address, or the token, cannot be one.
    pub fn at(url: &str, token: Option<&str>) -> Result<Operator, String> {
        let mut wire = Wire::new(BaseUrl::parse(url)?, WireOptions { call: CALL, run: RUN })?;
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            wire = wire.with("authorization", &format!("Bearer {token}"))?.with("x-chroma-token", token)?;
        }
        Ok(Operator(wire))
    }

    /// What this page shows.
    ///
    /// # Errors
    /// Without an answer, or with another one than 200.
    pub fn page(&self, path: &str) -> Result<Value, CallError> {
        self.0.get(path)?.expect(200)?.json()
    }

    /// What the edge says to this word: to be posted to `/admin/` and its name.
    ///
    /// # Errors
    /// Without an answer, or if the edge refuses.
    pub fn say(&self, word: &str, body: &Value) -> Result<Value, CallError> {
        let path = format!("/admin/{word}");
        let answer = self.0.send(&Call { method: Method::POST, path: &path, body: Some(body) })?;
        match answer.status {
            200..=299 => answer.json(),
            _ => Err(CallError::refused(&answer)),
        }
    }
}
