//! Error bodies in Chroma's shape, so that stock clients raise the right exception.
//!
//! The Python client picks its exception by `error`, the JS client by the status. The texts of the constructors are
//! those of Chroma 1.5.9, byte for byte. An error of the edge's own adds `reason`, `transaction_id` and `recovery`.
//! Each constructor names the status that Chroma returns with the body.

use serde::Serialize;

use super::answer::EdgeAnswer;
use crate::ids::TransactionId;

/// The names that stock clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum ErrorName {
    InvalidArgumentError,
    NotFoundError,
    InternalError,
    /// Chroma's name for everything without a better one: 409, 415, 422, 501.
    ChromaError,
    RateLimitError,
    AuthError,
    AuthorizationError,
}

/// What happens to a write that got no definite answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Recovery {
    /// It is in the journal and will be executed.
    Pending,
    /// It is unknown whether it is in the journal.
    Unknown,
}

/// One error body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    pub error: ErrorName,
    pub message: String,
    /// A short machine-readable cause, for the edge's own errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "transaction_text")]
    pub transaction_id: Option<TransactionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub overload: Option<Overload>,
}

/// The edge's capacity, shown to clients whose request exceeds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Overload {
    /// Requests sent to one Chroma server at once.
    pub concurrent_limit: usize,
    /// Requests that may wait for one of those places.
    pub queue_size: usize,
}

fn transaction_text<S: serde::Serializer>(id: &Option<TransactionId>, to: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => to.collect_str(id),
        None => to.serialize_none(),
    }
}

impl ErrorBody {
    /// An error with Chroma's two fields only.
    pub fn new(error: ErrorName, message: impl Into<String>) -> Self {
        ErrorBody { error, message: message.into(), reason: None, transaction_id: None, recovery: None, overload: None }
    }

    /// The same error with a machine-readable cause.
    pub fn with_reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// The same error with the edge's capacity.
    pub fn with_overload(mut self, overload: Option<Overload>) -> Self {
        self.overload = overload;
        self
    }

    /// The same error with the transaction and, if its outcome is open, its recovery.
    pub fn with_transaction(mut self, id: TransactionId, recovery: Option<Recovery>) -> Self {
        self.transaction_id = Some(id);
        self.recovery = recovery;
        self
    }

    /// The body's bytes, keys in Chroma's order.
    pub fn to_json(&self) -> Vec<u8> {
        // A struct of strings always serializes. If not, an empty body does no harm.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// 404 of record operations and `PUT collections/{id}`.
    pub fn collection_id_not_found(id: impl std::fmt::Display) -> EdgeAnswer {
        not_found(format!("Collection [{id}] does not exist."))
    }

    /// 500 of `PUT collections/{id}` with the name of another collection.
    pub fn name_is_taken() -> EdgeAnswer {
        let message = "Database error: error returned from database: (code: 2067) UNIQUE constraint failed: \
            collections.name, collections.database_id";
        EdgeAnswer::error(500, &ErrorBody::new(ErrorName::InternalError, message))
    }

    /// 404 of `GET` and `DELETE collections/{name}` and of `GET collections/by-id/{id}` (no full stop).
    pub fn collection_not_found(name: &str) -> EdgeAnswer {
        not_found(format!("Collection [{name}] does not exist"))
    }

    /// 400 where an id is expected: record operations and `PUT`.
    pub fn bad_collection_id() -> EdgeAnswer {
        bad_request("Collection ID is not a valid UUIDv4")
    }

    /// 400 of `GET collections/by-id/{id}`.
    pub fn bad_collection_id_by_id() -> EdgeAnswer {
        bad_request("Validation error: collection_id: Invalid collection ID format, expected UUID")
    }

    /// 409 of `POST collections`.
    pub fn collection_exists(name: &str) -> EdgeAnswer {
        conflict(format!("Collection [{name}] already exists"))
    }

    /// 404 of `GET databases/{name}`.
    pub fn database_not_found(name: &str) -> EdgeAnswer {
        not_found(format!("Database [{name}] not found. Are you sure it exists?"))
    }

    /// 404 of `DELETE databases/{name}`.
    pub fn database_to_delete_not_found(name: &str) -> EdgeAnswer {
        not_found(format!("Database [{name}] not found"))
    }

    /// 400 of `POST collections` into a database that does not exist.
    pub fn database_does_not_exist(name: &str) -> EdgeAnswer {
        bad_request(format!("Database [{name}] does not exist"))
    }

    /// 409 of `POST databases`.
    pub fn database_exists(name: &str) -> EdgeAnswer {
        conflict(format!("Database [{name}] already exists"))
    }

    /// 404 of `GET tenants/{name}`.
    pub fn tenant_not_found(name: &str) -> EdgeAnswer {
        not_found(format!("Tenant [{name}] not found"))
    }

    /// 409 of `POST tenants`.
    pub fn tenant_exists(name: &str) -> EdgeAnswer {
        conflict(format!("Tenant [{name}] already exists"))
    }
}

fn not_found(message: String) -> EdgeAnswer {
    EdgeAnswer::error(404, &ErrorBody::new(ErrorName::NotFoundError, message))
}

fn bad_request(message: impl Into<String>) -> EdgeAnswer {
    EdgeAnswer::error(400, &ErrorBody::new(ErrorName::InvalidArgumentError, message))
}

fn conflict(message: String) -> EdgeAnswer {
    EdgeAnswer::error(409, &ErrorBody::new(ErrorName::ChromaError, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(answer: &EdgeAnswer) -> String {
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    #[test]
    fn texts_are_chromas_own() {
        let id = uuid::Uuid::from_u128(0x11111111_1111_1111_1111_111111111111);
        let cases = [
            (
                ErrorBody::collection_id_not_found(id),
                404,
                r#"{"error":"NotFoundError","message":"Collection [11111111-1111-1111-1111-111111111111] does not exist."}"#,
            ),
            (
                ErrorBody::collection_not_found("no\"pe"),
                404,
                r#"{"error":"NotFoundError","message":"Collection [no\"pe] does not exist"}"#,
            ),
            (
                ErrorBody::bad_collection_id(),
                400,
                r#"{"error":"InvalidArgumentError","message":"Collection ID is not a valid UUIDv4"}"#,
            ),
            (
                ErrorBody::bad_collection_id_by_id(),
                400,
                r#"{"error":"InvalidArgumentError","message":"Validation error: collection_id: Invalid collection ID format, expected UUID"}"#,
            ),
            (
                ErrorBody::database_not_found("nope"),
                404,
                r#"{"error":"NotFoundError","message":"Database [nope] not found. Are you sure it exists?"}"#,
            ),
            (
                ErrorBody::database_to_delete_not_found("nope"),
                404,
                r#"{"error":"NotFoundError","message":"Database [nope] not found"}"#,
            ),
            (
                ErrorBody::database_does_not_exist("nope"),
                400,
                r#"{"error":"InvalidArgumentError","message":"Database [nope] does not exist"}"#,
            ),
            (
                ErrorBody::tenant_not_found("nope"),
                404,
                r#"{"error":"NotFoundError","message":"Tenant [nope] not found"}"#,
            ),
            (
                ErrorBody::tenant_exists("default_tenant"),
                409,
                r#"{"error":"ChromaError","message":"Tenant [default_tenant] already exists"}"#,
            ),
            (
                ErrorBody::database_exists("default_database"),
                409,
                r#"{"error":"ChromaError","message":"Database [default_database] already exists"}"#,
            ),
            (
                ErrorBody::collection_exists("alpha"),
                409,
                r#"{"error":"ChromaError","message":"Collection [alpha] already exists"}"#,
            ),
        ];
        for (answer, status, body) in cases {
            assert_eq!((answer.status, text(&answer).as_str()), (status, body));
        }
    }

    #[test]
    fn an_open_outcome_names_its_transaction() {
        let id = TransactionId::new(uuid::Uuid::nil());
        let body = ErrorBody::new(ErrorName::InternalError, "no instance took it")
            .with_reason("no_instance")
            .with_transaction(id, Some(Recovery::Pending));
        assert_eq!(
            String::from_utf8(body.to_json()).unwrap(),
            r#"{"error":"InternalError","message":"no instance took it","reason":"no_instance","transaction_id":"00000000-0000-0000-0000-000000000000","recovery":"pending"}"#
        );
    }
}
