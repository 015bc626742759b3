//! An application's own operations: the application executes them, the edge records them.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Refusal, Safety};
use crate::clock::Timestamp;
use crate::ids::TransactionId;
use crate::journal::{ApplicationDraft, ApplicationReport, ClientKey, Details, Fact, Lookup, StoredAnswer, TimingGap};
use crate::web::{PageRequest, REPLAYED, Reply, TRANSACTION_ID, idempotency_key};

/// Ids are scoped by tenant, and an application's operation has none.
const NO_TENANT: &str = "";
const LONGEST_METHOD: usize = 64;
const LONGEST_PATH: usize = 8 * 1024;
/// Headers that carry secrets: not stored.
const SECRETS: [&str; 6] =
    ["authorization", "proxy-authorization", "x-chroma-token", "cookie", "set-cookie", "x-api-key"];

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
    /// Journals that an operation begins.
    pub(super) async fn begin(&self, request: &PageRequest) -> Result<Reply, Refusal> {
        let brought = self.key_headers.read(&request.headers).map_err(|_| Refusal::BadTransactionId)?;
        let brought = brought.map(|key| key.text);
        let draft = draft(request, brought.as_deref())?;
        let (id, key) = (draft.transaction_id, draft.client_key.clone());
        let shown_id = brought.clone().unwrap_or_else(|| id.to_string());
        // An operation with a client's id can also be found by the edge's id.
        if let Some(first) = brought.as_deref().and_then(idempotency_key::given)
            && let Some(details) = self.core.store().details(&Lookup::Id(first)).await?
            && details.transaction.lane.is_none()
        {
            return self.repeated(&details, &key, &shown_id);
        }
        let recorded = self.core.journal().record_in_time(vec![Fact::ApplicationBegan(Box::new(draft))]).await;
        recorded.map_err(|error| Refusal::of_record(error, id))?;
        let lookup = Lookup::ClientKey { tenant: key.tenant.clone(), key: key.key.clone() };
        let details = self.core.store().details(&lookup).await?.ok_or(Refusal::UnknownTransaction)?;
        if details.transaction.transaction_id == id {
            return Ok(self.show(201, &details).with(TRANSACTION_ID, &shown_id));
        }
        self.repeated(&details, &key, &shown_id)
    }

    /// The answer to a repeated begin: the existing operation, if the request is the same.
    fn repeated(&self, first: &Details, key: &ClientKey, shown_id: &str) -> Result<Reply, Refusal> {
        let same = first.transaction.client_key.as_ref().is_some_and(|held| held.fingerprint == key.fingerprint);
        let reply = self.show(201, first).with(TRANSACTION_ID, shown_id);
        if same { Ok(reply.with(REPLAYED, "true")) } else { Err(Refusal::Reused) }
    }

    /// Journals that it is done.
    pub(super) async fn complete(&self, id: &str, request: &PageRequest) -> Result<Reply, Refusal> {
        let expected = "{\"status\": int, \"result\": any}";
        let Complete { status, result } = serde_json::from_slice(&request.body).map_err(bad(expected))?;
        if !(100..=599).contains(&status) {
            return Err(Refusal::BadBody("status is an HTTP status, 100 to 599".to_owned()));
        }
        let answer = StoredAnswer { status, body: Bytes::from(result.to_string()) };
        self.report(id, ApplicationReport::Done { answer }).await
    }

    /// Journals that an attempt failed.
    pub(super) async fn fail(&self, id: &str, request: &PageRequest) -> Result<Reply, Refusal> {
        let expected = "{\"reason\": string, \"is_timing_gap\": bool, \"final\": bool}";
        let Fail { reason, is_timing_gap, is_final } = serde_json::from_slice(&request.body).map_err(bad(expected))?;
        let timing_gap = if is_timing_gap { TimingGap::Yes } else { TimingGap::No };
        let report = match is_final {
            true => ApplicationReport::GivenUp { reason, timing_gap },
            false => ApplicationReport::Failed { reason, timing_gap },
        };
        self.report(id, report).await
    }

    async fn report(&self, id: &str, report: ApplicationReport) -> Result<Reply, Refusal> {
        let before = self.find(id, None).await?;
        let row = &before.transaction;
        if row.lane.is_some() {
            return Err(Refusal::NotAnApplicationOperation);
        }
        if row.status.is_final() {
            return self.if_matches(&before, &report);
        }
        let (id, seq) = (row.transaction_id, row.seq);
        let fact = Fact::ApplicationReported { seq, report: report.clone(), at: Timestamp::now() };
        let recorded = self.core.journal().record_in_time(vec![fact]).await;
        recorded.map_err(|error| Refusal::of_record(error, id))?;
        let after = self.core.store().details(&Lookup::Id(id)).await?.ok_or(Refusal::UnknownTransaction)?;
        self.if_matches(&after, &report)
    }

    /// The operation, if its status matches the report; another report may have come first.
    fn if_matches(&self, details: &Details, report: &ApplicationReport) -> Result<Reply, Refusal> {
        let row = &details.transaction;
        if row.status.is_final() && row.status != report.status(row.timing_gap) {
            return Err(Refusal::Final);
        }
        Ok(self.show(200, details))
    }
}

fn draft(request: &PageRequest, brought: Option<&str>) -> Result<ApplicationDraft, Refusal> {
    let expected = "{\"method\": string, \"path\": string, \"data\": any, \"headers\": object}";
    let Begin { method, path, data, headers } = serde_json::from_slice(&request.body).map_err(bad(expected))?;
    if method.is_empty() || method.len() > LONGEST_METHOD || path.is_empty() || path.len() > LONGEST_PATH {
        return Err(Refusal::BadBody("method has 1 to 64 bytes, path 1 to 8192".to_owned()));
    }
    let mut headers = headers.unwrap_or_default();
    headers.retain(|name, _| !SECRETS.contains(&name.to_ascii_lowercase().as_str()));
    let body = json!({ "data": data, "headers": headers }).to_string();
    if [&method, &path, &body].iter().any(|text| text.contains('\0')) {
        return Err(Refusal::BadBody("method and path have no NUL".to_owned()));
    }
    let id = TransactionId::random();
    let fingerprint = idempotency_key::fingerprint(&method, &path, body.as_bytes());
    let client_key: ClientKey = idempotency_key::key(brought, id, NO_TENANT, fingerprint);
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(ApplicationDraft {
        transaction_id: id,
        client_key,
        method,
        path,
        body: Bytes::from(body),
        created_at: Timestamp::now(),
        client_session: idempotency_key::session(&request.headers),
        client_ip: request.client_ip.clone(),
        user_identifier: header("x-user-id"),
    })
}
