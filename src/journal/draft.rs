//! What is about to be journaled: a write, or an application's own operation. The store assigns its position.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::ids::{LaneId, Seq, TraceContext, TransactionId};
use crate::order::{AckPolicy, Profile, Vouching};

/// A write about to be journaled. Secrets (Authorization, X-Chroma-Token, cookies) are never part of it.
#[derive(Clone, Debug)]
pub struct Draft {
    pub transaction_id: TransactionId,
    /// The id that the client sent, if any: the same key with the same fingerprint is the same write (G6).
    pub client_key: Option<ClientKey>,
    pub lane: LaneId,
    pub profile: Profile,
    pub method: String,
    /// Path and query as the client sent them, except that the collection is named by its stable id.
    pub path: String,
    pub content_type: Option<String>,
    pub body: Bytes,
    pub created_at: Timestamp,
    pub client_session: Option<String>,
    pub client_ip: Option<String>,
    pub user_identifier: Option<String>,
    /// The span of the client's request, for later work on the write. `None` if the request is not traced.
    pub trace_context: Option<TraceContext>,
    /// The quarantined entry of the same lane that this write replaces. It is lifted in the same commit, or neither
    /// happens.
    pub instead_of: Option<Seq>,
}

/// An id that a client sent for its write, and what identifies that write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// The scope of the id: the tenant in the path and, if there is one, the principal ([`ClientKey::scope_of`]).
    pub tenant: String,
    /// Visible ASCII, up to 255 bytes.
    pub key: String,
    /// A digest of method, path and body.
    pub fingerprint: [u8; 32],
}

/// Encloses the principal's name in a scope. Names of principals never contain it.
const MARK: char = '\u{1}';

impl ClientKey {
    /// Returns the scope of a principal's ids in a tenant. Without a principal, the scope is the tenant.
    pub fn scope_of(principal: Option<&str>, tenant: &str) -> String {
        principal.map_or_else(|| tenant.to_owned(), |name| ClientKey::scopes_of(name) + tenant)
    }

    /// Returns the prefix of all scopes of this principal.
    pub fn scopes_of(principal: &str) -> String {
        format!("{MARK}{principal}{MARK}")
    }

    /// Returns the tenant from the path of the request.
    pub fn tenant_named(&self) -> &str {
        let scope = self.tenant.strip_prefix(MARK).and_then(|rest| rest.split_once(MARK));
        scope.map_or(self.tenant.as_str(), |(_, tenant)| tenant)
    }

    /// Returns the principal that sent the id.
    pub fn principal(&self) -> Option<&str> {
        self.tenant.strip_prefix(MARK)?.split_once(MARK).map(|(principal, _)| principal)
    }
}

/// An operation that an application executes itself. It is journaled and shown like a write, but is in no lane.
#[derive(Clone, Debug)]
pub struct ApplicationDraft {
    pub transaction_id: TransactionId,
    /// The id that the application sent, or else the transaction's own id.
    pub client_key: ClientKey,
    pub method: String,
    pub path: String,
    /// Data that the application wants to read back later: JSON.
    pub body: Bytes,
    pub created_at: Timestamp,
    pub client_session: Option<String>,
    pub client_ip: Option<String>,
    /// The client, as limits count clients, whose share the operation's bytes count against.
    pub client: String,
    pub user_identifier: Option<String>,
}

/// Returns whether the transaction uses the id that the edge gave it, because its client sent none.
pub fn is_given(key: &str, id: TransactionId) -> bool {
    key == id.to_string()
}

/// Returns when the client of a transaction with this key may be answered. If the client sent no id and the edge gave
/// it one, it is answered before its outcome is durable. Catalog writes wait until it is durable all the same (the
/// board sees to that). So do writes that are not vouched for: they may still be quarantined, and no client may have
/// been told that such a write is applied (rule R13).
pub fn ack_policy(client_key: Option<&str>, given: TransactionId, vouching: Vouching) -> AckPolicy {
    match (client_key, vouching) {
        (Some(key), Vouching::Vouched) if is_given(key, given) => AckPolicy::Applied,
        (Some(_) | None, Vouching::Vouched | Vouching::Unvouched) => AckPolicy::Durable,
    }
}
