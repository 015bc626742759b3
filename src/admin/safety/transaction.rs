//! One transaction, now or once it is final.

use std::time::{Duration, Instant};

use tokio::time::timeout_at;
use uuid::Uuid;

use super::query::Query;
use super::{Refusal, Safety, view};
use crate::auth::Principal;
use crate::clock;
use crate::ids::TransactionId;
use crate::journal::{ClientKey, Details, Lookup, TransactionRow};
use crate::web::{PageRequest, Reply, idempotency_key};

/// The longest wait that a client can request, in seconds.
const LONGEST_WAIT: f64 = 60.0;
/// How long a look-up waits for completions that are about to be recorded in the journal.
const MARKING: Duration = Duration::from_millis(250);
/// How often to look again even if the journal announces no outcome.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Safety {
    /// Returns the transaction with this id, after the requested wait.
    pub(super) async fn transaction(&self, id: &str, request: &PageRequest) -> Result<Reply, Refusal> {
        let query = Query::of(&request.query);
        let wait = query.read("wait", "a number of seconds from 0 to 60", seconds)?.unwrap_or_default();
        let tenant = query.read("tenant", "text", super::audit_log::text)?;
        let deadline = clock::now() + wait;
        let principal = &request.principal;
        let mut details = self.find(id, tenant.as_deref(), principal).await?;
        if !details.transaction.status.is_final() {
            // The next commit records an answer that was given a moment ago.
            self.core.journal().settle_within(MARKING).await;
            details = self.find(id, tenant.as_deref(), principal).await?;
        }
        if !wait.is_zero() && !details.transaction.status.is_final() {
            details = self.ended(details, deadline).await?;
        }
        Ok(self.show(200, &details))
    }

    /// Finds the transaction by the edge's id or by the client's; the edge's id takes precedence. A client's id without
    /// a tenant must match exactly one transaction. For principals that do not see everything, the transactions of
    /// other principals do not exist.
    pub(super) async fn find(&self, id: &str, tenant: Option<&str>, principal: &Principal) -> Result<Details, Refusal> {
        if !idempotency_key::is_valid(id) {
            return Err(Refusal::BadTransactionId);
        }
        let key = idempotency_key::canonical(id);
        if let Some(tenant) = tenant {
            let own = Lookup::ClientKey { tenant: ClientKey::scope_of(principal.name(), tenant), key: key.clone() };
            if let Some(found) = self.core.store().details(&own).await? {
                return Ok(found);
            }
            // A principal that sees everything may mean another principal's transaction.
            let newest = self.newest(key, principal, None).await?;
            let is_there =
                |row: &TransactionRow| row.client_key.as_ref().is_some_and(|key| key.tenant_named() == tenant);
            return newest.filter(|found| is_there(&found.transaction)).ok_or(Refusal::UnknownTransaction);
        }
        if let Ok(uuid) = Uuid::try_parse(id)
            && let Some(found) = self.core.store().details(&Lookup::Id(TransactionId::new(uuid))).await?
            && is_seen(&found.transaction, principal)
        {
            return Ok(found);
        }
        let found = self.newest(key.clone(), principal, None).await?.ok_or(Refusal::UnknownTransaction)?;
        let scope = found.transaction.client_key.as_ref().map(|key| key.tenant.clone());
        match self.newest(key, principal, scope).await? {
            None => Ok(found),
            // Another tenant or principal has one with this id, too.
            Some(_) => Err(Refusal::AmbiguousId),
        }
    }

    /// Returns the newest transaction with this key that the principal may see, outside this scope.
    async fn newest(
        &self,
        key: String,
        principal: &Principal,
        outside: Option<String>,
    ) -> Result<Option<Details>, Refusal> {
        let of = principal.sees_only().map(str::to_owned);
        Ok(self.core.store().details(&Lookup::Key { key, of, outside }).await?)
    }

    /// Waits until the transaction is final, at most until the deadline.
    async fn ended(&self, found: Details, deadline: Instant) -> Result<Details, Refusal> {
        let Ok(_place) = self.waiting.try_acquire() else { return Err(Refusal::TooManyWait) };
        let lookup = Lookup::Id(found.transaction.transaction_id);
        let mut watch = self.core.journal().watch(found.transaction.seq);
        loop {
            // Read after the watch began, so that no outcome is missed.
            let details = self.core.store().details(&lookup).await?.ok_or(Refusal::UnknownTransaction)?;
            if details.transaction.status.is_final() || clock::now() >= deadline {
                return Ok(details);
            }
            let look = deadline.min(clock::now() + LOOK_AGAIN);
            tokio::select! {
                _ = timeout_at(look.into(), watch.changed()) => {}
                () = self.admission.stopping() => return Ok(details),
            }
        }
    }

    pub(super) fn show(&self, status: u16, details: &Details) -> Reply {
        let whole = view::whole(details, self.core.registry());
        Reply::json(status, whole.to_string())
    }
}

/// Returns whether the principal may see the transaction.
pub(super) fn is_seen(row: &TransactionRow, principal: &Principal) -> bool {
    principal.sees_only().is_none_or(|name| row.client_key.as_ref().and_then(ClientKey::principal) == Some(name))
}

fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = digits.then(|| text.parse().ok())??;
    (0.0..=LONGEST_WAIT).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_0_to_60_seconds() {
        let good = [("0", 0), ("60", 60_000), ("1.5", 1_500), ("60.0", 60_000)];
        for (text, millis) in good {
            assert_eq!(seconds(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "-1", "60.01", "61", "1e1", "ten", "NaN", "inf", " 5", "5s", ".", "0x5"] {
            assert_eq!(seconds(bad), None, "{bad:?}");
        }
    }
}
