//! The deployment under test, as a client sees it.
//!
//! Reads anything, but writes only to this run's own collections, and keeps the ledger and the tally of them. An answer
//! with any status but that of success is an error here.

use std::sync::Arc;

use http::Method;
use serde_json::Value;
use uuid::Uuid;

use super::database_path::DatabasePath;
use super::error::CallError;
use super::ledger::{Guarded, Ledger};
use super::own::{OwnCollection, OwnName};
use super::tally::Tally;
use super::wire::{Answer, Call, Wire};

/// A write of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Add,
    Update,
    Upsert,
    Delete,
}

impl Verb {
    const fn path(self) -> &'static str {
        match self {
            Verb::Add => "add",
            Verb::Update => "update",
            Verb::Upsert => "upsert",
            Verb::Delete => "delete",
        }
    }

    /// Returns the status of a successful answer.
    const fn success(self) -> u16 {
        match self {
            Verb::Add => 201,
            Verb::Update | Verb::Upsert | Verb::Delete => 200,
        }
    }
}

/// A read of records that has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Get,
    Query,
}

/// How a path refers to a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Id,
    Name,
}

/// A write that succeeded.
#[derive(Clone, Debug)]
pub struct Written {
    pub answer: Answer,
    pub body: Value,
}

impl Written {
    /// Returns the transaction that the answer names.
    pub fn transaction(&self) -> Option<&str> {
        self.answer.header("transaction-id")
    }
}

/// The deployment under test.
#[derive(Clone, Debug)]
pub struct Deployment {
    wire: Wire,
    place: DatabasePath,
    ledger: Arc<Ledger>,
    tally: Arc<Tally>,
}

impl Deployment {
    /// Creates a client of the deployment behind this wire, whose writes belong to `session`. Reads request fresh
    /// answers whatever the configured default is, because every write must be visible.
    pub fn new(wire: Wire, place: DatabasePath, token: Option<&str>, session: &str) -> Result<Deployment, String> {
        let mut wire = wire.with("x-client-session", session)?.with("chroma-edge-consistency", "fresh")?;
        let mut guarded = Guarded::Open;
        if let Some(token) = token {
            wire = wire.with("authorization", &format!("Bearer {token}"))?.with("x-chroma-token", token)?;
            guarded = Guarded::ByToken;
        }
        let ledger = Arc::new(Ledger::new(wire.base().clone(), place.clone(), guarded));
        Ok(Deployment { wire, place, ledger, tally: Arc::default() })
    }

    /// Returns the wire. Outside this module it can only read.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    pub fn place(&self) -> &DatabasePath {
        &self.place
    }

    /// Returns the record of this run's remaining collections.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Returns the record of this run's writes.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Returns the same deployment and run, with this idempotency key on every write.
    pub fn repeating(&self, transaction: &str) -> Result<Deployment, String> {
        Ok(Deployment { wire: self.wire.with("transaction-id", transaction)?, ..self.clone() })
    }

    /// Reads this path as JSON.
    pub fn page(&self, path: &str) -> Result<Value, CallError> {
        self.wire.get(path)?.expect(200)?.json()
    }

    /// Creates a collection. If the answer shows another one, that is an error, so nothing is ever written to it.
    pub fn create(&self, name: &OwnName, metadata: &Value) -> Result<(OwnCollection, Written), CallError> {
        let mut body = serde_json::json!({ "name": name.as_str() });
        if !metadata.is_null() {
            body["metadata"] = metadata.clone();
        }
        self.ledger.intend(name);
        let path = self.place.collections().to_owned();
        let written = self.write(Method::POST, &path, Some(&body), 200);
        let written = written.inspect_err(|error| {
            if error.is_without_effect() {
                self.ledger.gone(name);
            }
        })?;
        let id = written.body["id"].as_str().and_then(|id| Uuid::try_parse(id).ok());
        match id {
            Some(id) if written.body["name"] == name.as_str() => {
                Ok((OwnCollection { name: name.clone(), id }, written))
            }
            _ => Err(CallError::nonsense(&written.answer, "something else than the created collection")),
        }
    }

    /// Replaces a collection's metadata.
    pub fn modify(&self, collection: &OwnCollection, metadata: &Value) -> Result<Written, CallError> {
        let path = self.place.collection(&collection.id.to_string());
        self.write(Method::PUT, &path, Some(&serde_json::json!({ "new_metadata": metadata })), 200)
    }

    /// Removes a collection, which may already be gone, and checks that it is gone.
    pub fn remove(&self, name: &OwnName) -> Result<(), CallError> {
        let path = self.place.collection(name.as_str());
        match self.write(Method::DELETE, &path, None, 200) {
            Ok(_) | Err(CallError::Refused { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
        match self.wire.get(&path)?.status {
            404 => {
                self.ledger.gone(name);
                Ok(())
            }
            _ => Err(CallError::StillThere { name: name.clone() }),
        }
    }

    /// Writes records.
    pub fn records(&self, to: &OwnCollection, by: By, verb: Verb, body: &Value) -> Result<Written, CallError> {
        let path = self.place.operation(&Self::spelled(to, by), verb.path());
        self.write(Method::POST, &path, Some(body), verb.success())
    }

    /// Reads records; returns the whole answer, because its headers name the instance that answered.
    pub fn ask(&self, of: &OwnCollection, by: By, question: Question, body: &Value) -> Result<Answer, CallError> {
        let operation = match question {
            Question::Get => "get",
            Question::Query => "query",
        };
        let path = self.place.operation(&Self::spelled(of, by), operation);
        self.wire.send(&Call { method: Method::POST, path: &path, body: Some(body) })?.expect(200)
    }

    /// Returns how many records the collection has.
    pub fn count(&self, of: &OwnCollection) -> Result<Value, CallError> {
        self.page(&self.place.operation(&of.id.to_string(), "count"))
    }

    fn spelled(collection: &OwnCollection, by: By) -> String {
        match by {
            By::Id => collection.id.to_string(),
            By::Name => collection.name.to_string(),
        }
    }

    fn write(&self, method: Method, path: &str, body: Option<&Value>, success: u16) -> Result<Written, CallError> {
        let answer = self.wire.send(&Call { method, path, body });
        match &answer {
            Ok(answer) => self.tally.answered(answer),
            Err(error) if error.is_without_effect() => {}
            Err(_) => self.tally.unanswered(),
        }
        let answer = answer?.expect(success)?;
        let body = answer.json()?;
        Ok(Written { answer, body })
    }
}
