//! A write request as it arrived, before anything is decided: its operation and its identity.

use bytes::Bytes;
use http::HeaderMap;

use super::failure::Failure;
use crate::auth::Principal;
use crate::chroma::{CatalogWrite, Operation, Refusal, Scanned};
use crate::ids::TransactionId;
use crate::journal::ClientKey;
use crate::proof::{self, Rule};
use crate::web::idempotency_key;

/// A write request, read whole.
#[derive(Clone)]
pub struct WriteRequest<'a> {
    pub operation: &'a Operation,
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
    pub client_ip: Option<String>,
    pub identity: Identity,
    pub principal: &'a Principal,
}

/// The ids of a write.
#[derive(Clone, Debug)]
pub struct Identity {
    pub id: TransactionId,
    pub key: ClientKey,
    /// The client's own id, as it spelled it.
    pub brought: Option<String>,
}

impl Identity {
    /// The identity with the client's own id, or with one made here.
    pub fn of(
        operation: &Operation,
        method: &str,
        path: &str,
        brought: Option<String>,
        body: &[u8],
        principal: Option<&str>,
    ) -> Self {
        let id = TransactionId::random();
        let fingerprint = idempotency_key::fingerprint(method, path, body);
        let tenant = &ClientKey::scope_of(principal, tenant_of(operation));
        // A broken rule, for the proof: the key is stored where a repetition does not look.
        let hidden = proof::broken(Rule::OnceOnly).then(|| format!("{tenant}, {id}"));
        let key = idempotency_key::key(brought.as_deref(), id, hidden.as_deref().unwrap_or(tenant), fingerprint);
        Identity { id, key, brought }
    }

    /// The id that the client is shown.
    pub fn shown(&self) -> String {
        self.brought.clone().unwrap_or_else(|| self.id.to_string())
    }
}

fn tenant_of(operation: &Operation) -> &str {
    match operation {
        Operation::RecordWrite { scope, .. } => &scope.tenant,
        Operation::CatalogWrite(write) => match write {
            CatalogWrite::UpdateTenant { tenant } | CatalogWrite::CreateDatabase { tenant } => tenant,
            CatalogWrite::DeleteDatabase { scope }
            | CatalogWrite::CreateCollection { scope }
            | CatalogWrite::UpdateCollection { scope, .. }
            | CatalogWrite::DeleteCollection { scope, .. } => &scope.tenant,
            CatalogWrite::CreateTenant | CatalogWrite::Reset => "",
        },
        _ => "",
    }
}

/// Returns what the scan read. A body that could not be read is not journaled.
pub(super) fn understood<T>(scanned: Result<Scanned<T>, Refusal>) -> Result<T, Failure> {
    match scanned {
        Ok(Scanned::Read(read)) => Ok(read),
        Ok(Scanned::Malformed(refusal)) | Err(refusal) => Err(Failure::Refused(refusal)),
    }
}
