//! What is about to be journaled: a write, or an application's own operation. The store gives it its position.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::ids::{LaneId, Seq, TraceContext, TransactionId};
use crate::order::{AckPolicy, Profile, Vouching};

/// A write about to be journaled. Secrets (Authorization, X-Chroma-Token, cookies) are never part of it.
#[derive(Clone, Debug)]
pub struct Draft {
    pub transaction_id: TransactionId,
    /// The id the client brought, if it did: the same key with the same fingerprint is the same write (G6).
    pub client_key: Option<ClientKey>,
    pub lane: LaneId,
    pub profile: Profile,
    pub method: String,
    /// Path and query as the client sent them, but for the collection: its stable id stands wherever an id may.
    pub path: String,
    pub content_type: Option<String>,
    pub body: Bytes,
    pub created_at: Timestamp,
    pub client_session: Option<String>,
    pub client_ip: Option<String>,
    pub user_identifier: Option<String>,
    /// The span of the client's request, for what is done for the write later; `None` while nothing is traced.
    pub trace_context: Option<TraceContext>,
    /// The quarantined entry of the same lane in whose stead it comes: that one is lifted in the same commit, or neither is done.
    pub instead_of: Option<Seq>,
}

/// An id that a client brought for its write, and what it brought it for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// What ids are scoped by: the tenant in the path and, if there is one, the principal ([`ClientKey::scope_of`]).
    pub tenant: String,
    /// Visible ASCII, up to 255 bytes.
    pub key: String,
    /// A digest of method, path and body.
    pub fingerprint: [u8; 32],
}

/// Stands around a principal in a scope. No name of a principal holds it.
const MARK: char = '\u{1}';

impl ClientKey {
    /// The scope of a principal's ids in a tenant. Without a principal it is the tenant.
    pub fn scope_of(principal: Option<&str>, tenant: &str) -> String {
        principal.map_or_else(|| tenant.to_owned(), |name| ClientKey::scopes_of(name) + tenant)
    }

    /// What every scope of this principal begins with.
    pub fn scopes_of(principal: &str) -> String {
        format!("{MARK}{principal}{MARK}")
    }

    /// The tenant in whose path it came.
    pub fn tenant_named(&self) -> &str {
        let scope = self.tenant.strip_prefix(MARK).and_then(|rest| rest.split_once(MARK));
        scope.map_or(self.tenant.as_str(), |(_, tenant)| tenant)
    }

    /// The principal whose id it is.
    pub fn principal(&self) -> Option<&str> {
        self.tenant.strip_prefix(MARK)?.split_once(MARK).map(|(principal, _)| principal)
    }
}

/// An operation that an application executes itself: journaled and shown like a write, in no lane.
#[derive(Clone, Debug)]
pub struct ApplicationDraft {
    pub transaction_id: TransactionId,
    /// The id that the application brought, or the transaction's own.
    pub client_key: ClientKey,
    pub method: String,
    pub path: String,
    /// What the application wants to find again: JSON.
    pub body: Bytes,
    pub created_at: Timestamp,
    pub client_session: Option<String>,
    pub client_ip: Option<String>,
    /// Whose share it takes of what such operations may take: a client as limits count them.
    pub client: String,
    pub user_identifier: Option<String>,
}

/// Whether a transaction goes by the id that the edge gave it: its client brought none of its own.
pub fn is_given(key: &str, id: TransactionId) -> bool {
    key == id.to_string()
}

/// When the client of a transaction with this key may be answered: one that brought no id of its own goes by the one that
/// the edge gave it, and is answered before its outcome is durable. Catalog writes never are, in spite of it, nor what
/// is not vouched for: it may yet be quarantined, and no client was answered that it is applied (rule R13).
pub fn ack_policy(client_key: Option<&str>, given: TransactionId, vouching: Vouching) -> AckPolicy {
    match (client_key, vouching) {
        (Some(key), Vouching::Vouched) if is_given(key, given) => AckPolicy::Applied,
        (Some(_) | None, Vouching::Vouched | Vouching::Unvouched) => AckPolicy::Durable,
    }
}
