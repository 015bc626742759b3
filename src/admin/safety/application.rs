//! An application's own operations: the application executes them, and the edge records them.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Refusal, Safety};
use crate::auth::{Client, Principal};
use crate::clock::Timestamp;
use crate::ids::TransactionId;
use crate::journal::retention::{Coming, counted};
use crate::journal::{
    AppendError, ApplicationDraft, ApplicationReport, ClientKey, Details, Fact, Lookup, StoredAnswer, TimingGap,
    TransactionRow,
};
use crate::web::{PageRequest, REPLAYED, Reply, TRANSACTION_ID, idempotency_key};

/// Ids are scoped by tenant, and an application's operation has no tenant.
const NO_TENANT: &str = "";
const LONGEST_METHOD: usize = 64;
const LONGEST_PATH: usize = 8 * 1024;
/// In characters. Longer reasons are cut, because one is kept for each failed operation.
const LONGEST_REASON: usize = 4 * 1024;
/// Headers that are known to carry no secrets. Other headers are not stored: no list of secret names would be complete.
const STORED: [&str; 18] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "content-encoding",
    "content-language",
    "content-length",
    "content-type",
    "idempotency-key",
    "traceparent",
    "transaction-id",
    "user-agent",
    "x-client-session",
    "x-correlation-id",
    "x-request-id",
    "x-session-id",
    "x-transaction-id",
    "x-transaction-priority",
    "x-user-id",
];

#[derive(Deserialize)]
struct Begin {
    method: String,
    path: String,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Complete {
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    result: Value,
}

const fn ok() -> u16 {
    200
}

#[derive(Deserialize)]
struct Fail {
    reason: String,
    #[serde(default)]
    is_timing_gap: bool,
    #[serde(default, rename = "final")]
    is_final: bool,
}

fn bad(expected: &str) -> impl Fn(serde_json::Error) -> Refusal {
    move |error| Refusal::BadBody(format!("Expected {expected}: {error}"))
}

impl Safety {
    /// Journals the beginning of an operation.
    pub(super) async fn begin(&self, request: &PageRequest) -> Result<Reply, Refusal> {
        let brought = self.options.get().key_headers.read(&request.headers).map_err(|_| Refusal::BadTransactionId)?;
        let brought = brought.map(|key| key.text);
        let draft = draft(request, brought.as_deref())?;
        let (id, key) = (draft.transaction_id, draft.client_key.clone());
        let shown_id = brought.clone().unwrap_or_else(|| id.to_string());
        // An operation that began with a client's id can also be found by the edge's id.
        if let Some(first) = brought.as_deref().and_then(idempotency_key::given)
            && let Some(details) = self.core.store().details(&Lookup::Id(first)).await?
            && details.transaction.lane.is_none()
            && details.transaction.client_key.as_ref().is_some_and(|first| first.tenant == key.tenant)
        {
            return self.repeated(&details, &key, &shown_id);
        }
        let lookup = Lookup::ClientKey { tenant: key.tenant.clone(), key: key.key.clone() };
        let bytes = (draft.body.len() + draft.path.len()) as u64 + counted(0);
        let quota = self.core.applications_quota();
        let coming = match self.claim(&draft.client, bytes).await {
            Ok(coming) => coming,
            // A repeated request needs no space.
            Err(refusal) => {
                let known = self.core.store().details(&lookup).await?.ok_or(refusal)?;
                return self.repeated(&known, &key, &shown_id);
            }
        };
        self.record_claimed(Fact::ApplicationBegan(Box::new(draft)), bytes, id).await?;
        drop(coming);
        let details = self.core.store().details(&lookup).await?.ok_or(Refusal::UnknownTransaction)?;
        if details.transaction.transaction_id == id {
            return Ok(self.show(201, &details).with(TRANSACTION_ID, &shown_id));
        }
        quota.give_back(bytes);
        self.repeated(&details, &key, &shown_id)
    }

    /// Claims bytes for this client. The client's own share is checked first: if the share is full, the claim takes
    /// nothing from the common space.
    async fn claim(&self, client: &str, bytes: u64) -> Result<Coming<'_>, Refusal> {
        let quota = self.core.applications_quota();
        let coming = quota.comes(client.to_owned(), bytes);
        if !coming.fits(self.core.store().application_bytes_of(client).await?) {
            return Err(Refusal::ClientApplicationsFull { limit: quota.client_limit() });
        }
        if !quota.claim(bytes) {
            return Err(Refusal::ApplicationsFull { limit: quota.limit() });
        }
        Ok(coming)
    }

    /// Journals the fact, for which `bytes` were claimed. Releases the claim if the fact certainly was not journaled.
    async fn record_claimed(&self, fact: Fact, bytes: u64, id: TransactionId) -> Result<(), Refusal> {
        self.core.journal().record_in_time(vec![fact]).await.map_err(|error| {
            if !matches!(error, AppendError::InDoubt(_)) {
                self.core.applications_quota().give_back(bytes);
            }
            Refusal::of_record(error, id)
        })
    }

    /// Answers a repeated begin with the existing operation, if the request is the same.
    fn repeated(&self, first: &Details, key: &ClientKey, shown_id: &str) -> Result<Reply, Refusal> {
        let same = first.transaction.client_key.as_ref().is_some_and(|held| held.fingerprint == key.fingerprint);
        let reply = self.show(201, first).with(TRANSACTION_ID, shown_id);
        if same { Ok(reply.with(REPLAYED, "true")) } else { Err(Refusal::Reused) }
    }

    /// Journals that the operation succeeded.
    pub(super) async fn complete(&self, id: &str, request: &PageRequest) -> Result<Reply, Refusal> {
        let expected = "{\"status\": int, \"result\": any}";
        let Complete { status, result } = serde_json::from_slice(&request.body).map_err(bad(expected))?;
        if !(100..=599).contains(&status) {
            return Err(Refusal::BadBody("status is an HTTP status, 100 to 599".to_owned()));
        }
        let answer = StoredAnswer { status, body: Bytes::from(result.to_string()) };
        self.report(id, ApplicationReport::Done { answer }, &request.principal).await
    }

    /// Journals that an attempt failed.
    pub(super) async fn fail(&self, id: &str, request: &PageRequest) -> Result<Reply, Refusal> {
        let expected = "{\"reason\": string, \"is_timing_gap\": bool, \"final\": bool}";
        let Fail { mut reason, is_timing_gap, is_final } =
            serde_json::from_slice(&request.body).map_err(bad(expected))?;
        reason.truncate(reason.char_indices().nth(LONGEST_REASON).map_or(reason.len(), |(end, _)| end));
        let timing_gap = if is_timing_gap { TimingGap::Yes } else { TimingGap::No };
        let report = match is_final {
            true => ApplicationReport::GivenUp { reason, timing_gap },
            false => ApplicationReport::Failed { reason, timing_gap },
        };
        self.report(id, report, &request.principal).await
    }

    async fn report(&self, id: &str, report: ApplicationReport, principal: &Principal) -> Result<Reply, Refusal> {
        let before = self.find(id, None, principal).await?;
        let row = &before.transaction;
        if row.lane.is_some() {
            return Err(Refusal::NotAnApplicationOperation);
        }
        if row.status.is_final() {
            return self.if_matches(&before, &report);
        }
        let (id, seq) = (row.transaction_id, row.seq);
        let fact = Fact::ApplicationReported { seq, report: report.clone(), at: Timestamp::now() };
        let bytes = more_for(row, &report);
        // An operation that could begin can also end: a short answer needs no more space. The share is that of the
        // client who began it.
        let coming = match bytes {
            0 => None,
            _ => Some(self.claim(row.client.as_deref().unwrap_or_default(), bytes).await?),
        };
        self.record_claimed(fact, bytes, id).await?;
        drop(coming);
        let after = self.core.store().details(&Lookup::Id(id)).await?.ok_or(Refusal::UnknownTransaction)?;
        self.if_matches(&after, &report)
    }

    /// Returns the operation, if its status matches the report; another report may have been first.
    fn if_matches(&self, details: &Details, report: &ApplicationReport) -> Result<Reply, Refusal> {
        let row = &details.transaction;
        if row.status.is_final() && row.status != report.status(row.timing_gap) {
            return Err(Refusal::Final);
        }
        Ok(self.show(200, details))
    }
}

/// Returns the additional bytes that the operation takes with this report.
fn more_for(row: &TransactionRow, report: &ApplicationReport) -> u64 {
    let before = row.failure_reason.as_ref().map_or(0, |reason| reason.chars().count());
    let reason = report.reason().map_or(before, |reason| reason.chars().count());
    let answer = report.answer().map_or(0, |answer| answer.body.len());
    counted((reason + answer) as u64).saturating_sub(counted(before as u64))
}

/// Removes user and password from a path or URL, and the values from its query.
fn without_secrets(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let path = path.split('#').next().unwrap_or_default();
    let (scheme, rest) = path.split_once("//").map_or(("", path), |(scheme, rest)| (scheme, rest));
    let start = if rest.len() == path.len() { String::new() } else { format!("{scheme}//") };
    let (authority, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // Without a scheme, only a colon before the @ shows that a password is present.
    let has_secret =
        |authority: &str| !start.is_empty() || authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    let host = if has_secret(authority) { authority.rsplit('@').next().unwrap_or_default() } else { authority };
    let names: Vec<&str> = query.iter().flat_map(|query| query.split('&')).map(name_of).collect();
    let query = if names.is_empty() { String::new() } else { format!("?{}", names.join("&")) };
    format!("{start}{host}{tail}{query}")
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or("", |(name, _)| name)
}

fn draft(request: &PageRequest, brought: Option<&str>) -> Result<ApplicationDraft, Refusal> {
    let expected = "{\"method\": string, \"path\": string, \"data\": any, \"headers\": object}";
    let Begin { method, path, data, headers } = serde_json::from_slice(&request.body).map_err(bad(expected))?;
    if method.is_empty() || method.len() > LONGEST_METHOD || path.is_empty() || path.len() > LONGEST_PATH {
        return Err(Refusal::BadBody("method has 1 to 64 bytes, path 1 to 8192".to_owned()));
    }
    let mut headers = headers.unwrap_or_default();
    headers.retain(|name, _| STORED.contains(&name.to_ascii_lowercase().as_str()));
    let body = json!({ "data": data, "headers": headers }).to_string();
    if [&method, &path, &body].iter().any(|text| text.contains('\0')) {
        return Err(Refusal::BadBody("method and path have no NUL".to_owned()));
    }
    let id = TransactionId::random();
    let fingerprint = idempotency_key::fingerprint(&method, &path, body.as_bytes());
    let path = without_secrets(&path);
    let scope = ClientKey::scope_of(request.principal.name(), NO_TENANT);
    let client_key: ClientKey = idempotency_key::key(brought, id, &scope, fingerprint);
    let address = || request.client_ip.as_deref()?.parse().ok();
    let client = Client::of(request.principal.name(), address).to_string();
    let user = request.headers.get("x-user-id").and_then(|value| value.to_str().ok()).map(idempotency_key::shortened);
    Ok(ApplicationDraft {
        transaction_id: id,
        client_key,
        method,
        path,
        body: Bytes::from(body),
        created_at: Timestamp::now(),
        client_session: idempotency_key::session(&request.headers),
        client_ip: request.client_ip.clone(),
        client,
        user_identifier: user.or(request.principal.name()).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_not_stored() {
        for (path, stored) in [
            ("/orders/7", "/orders/7"),
            ("/orders?token=hunter2&page=2&hunter2", "/orders?token&page&"),
            ("https://me:hunter2@shop.example/orders?key=hunter2#hunter2", "https://shop.example/orders?key"),
            ("https://me:a@hunter2@shop.example", "https://shop.example"),
            ("//me:hunter2@shop.example/a@b", "//shop.example/a@b"),
            ("/a#hunter2", "/a"),
            ("orders@shop/x", "orders@shop/x"),
            ("me:hunter2@shop/x", "shop/x"),
        ] {
            assert_eq!(without_secrets(path), stored, "{path}");
        }
    }
}
