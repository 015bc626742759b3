//! An operator's connection to a live edge: reads its pages, and posts requests under `/admin/`.
//!
//! Decides only what can be requested: nothing here reaches clients' data except collections left by tests
//! (`collections.rs`). The edge decides what a request does.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::collections::Collections;
use super::database_path::DatabasePath;
use super::error::CallError;
use super::live::Live;
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
    /// Connects to this address, with this token if one is required.
    ///
    /// # Errors
    /// A message for the operator: the address or the token is invalid.
    pub fn at(url: &str, token: Option<&str>) -> Result<Operator, String> {
        let mut wire = Wire::new(BaseUrl::parse(url)?, WireOptions { call: CALL, run: RUN })?;
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            wire = wire.with("authorization", &format!("Bearer {token}"))?.with("x-chroma-token", token)?;
        }
        Ok(Operator(wire))
    }

    /// Reads this page.
    ///
    /// # Errors
    /// If there is no answer, or one with a status other than 200.
    pub fn page(&self, path: &str) -> Result<Value, CallError> {
        self.0.get(path)?.expect(200)?.json()
    }

    /// Reads this page, even if its status reports a problem.
    ///
    /// # Errors
    /// If there is no answer, or one that is not JSON.
    pub fn page_whatever_its_status(&self, path: &str) -> Result<Value, CallError> {
        self.0.get(path)?.json()
    }

    /// Opens this page as a stream.
    ///
    /// # Errors
    /// If there is no answer, or one with a status other than 200.
    pub fn live(&self, path: &str) -> Result<Live, CallError> {
        Live::open(&self.0, path)
    }

    /// Returns the address.
    pub fn url(&self) -> String {
        self.0.base().to_string()
    }

    /// Returns the collections of this database.
    pub fn collections(&self, tenant: &str, database: &str) -> Collections {
        Collections { wire: self.0.clone(), place: DatabasePath::new(tenant, database) }
    }

    /// Posts `body` to `/admin/` followed by `word`, and returns the edge's answer.
    ///
    /// # Errors
    /// If there is no answer, or if the edge refuses.
    pub fn say(&self, word: &str, body: &Value) -> Result<Value, CallError> {
        let path = format!("/admin/{word}");
        let answer = self.0.send(&Call { method: Method::POST, path: &path, body: Some(body) })?;
        match answer.status {
            200..=299 => answer.json(),
            _ => Err(CallError::refused(&answer)),
        }
    }
}
