//! An operator at a live edge: its pages are read, and words are given to it under `/admin/`.
//!
//! Decides only what may be asked: nothing here reaches a client's data, but for what tests have left (`collections.rs`). What a
//! word does is the edge's.

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

    /// What this page shows, even if its status says that something is wrong.
    ///
    /// # Errors
    /// Without an answer, or with one that is not JSON.
    pub fn page_whatever_its_status(&self, path: &str) -> Result<Value, CallError> {
        self.0.get(path)?.json()
    }

    /// What this page shows, for as long as it goes on.
    ///
    /// # Errors
    /// Without an answer, or with another one than 200.
    pub fn live(&self, path: &str) -> Result<Live, CallError> {
        Live::open(&self.0, path)
    }

    /// The address.
    pub fn url(&self) -> String {
        self.0.base().to_string()
    }

    /// The collections of this database.
    pub fn collections(&self, tenant: &str, database: &str) -> Collections {
        Collections { wire: self.0.clone(), place: DatabasePath::new(tenant, database) }
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
