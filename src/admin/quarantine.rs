//! `/admin/quarantine`: suspects, quarantined requests, and what an operator can do about them (rule R13).
//!
//! It decides no quarantine: the board decides those of writes, the proxy those of reads. A write that is sent again
//! becomes a new transaction at the end of its lane: in its old place, an old delete would remove newer records.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refused::refused;
use super::{Admin, Page};
use crate::chroma::ErrorName;
use crate::clock::Timestamp;
use crate::coordinator::intent;
use crate::ids::{CollectionId, InstanceId, LaneId, Seq, TransactionId, shown};
use crate::journal::{
    AppendError, ClientKey, Draft, Judge, Judgement, QuarantineRow, Request, Resolution, TransactionRow,
};
use crate::order::{Case, CaseState, Input, Kind, LaneState, Profile, Vouching};
use crate::proxy::{Guard, Policy, read_case};
use crate::web::{PageRequest, Reply};

/// The actions that an operator can request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// Execute the write again, as a new transaction at the end of its lane, and allow its class again.
    Retry,
    /// Give the write up, and allow its class again.
    Discard,
    /// As `Discard`; a copy that the write cost, and that is not healed yet, is compared instead of replaced.
    Lift,
}

#[derive(Deserialize)]
struct Body {
    action: Action,
}

fn unavailable(why: &str) -> Reply {
    refused(503, ErrorName::InternalError, "journal_unavailable", why)
}

fn unknown(why: &str) -> Reply {
    refused(404, ErrorName::NotFoundError, "unknown_quarantine", why)
}

fn done(id: &str, action: Action, again: Option<TransactionId>) -> Reply {
    let action = match action {
        Action::Retry => "retry",
        Action::Discard => "discard",
        Action::Lift => "lift",
    };
    let body = json!({
        "success": true, "id": id, "action": action, "transaction_id": again.map(|id| id.to_string()),
    });
    Reply::json(200, body.to_string())
}

/// Builds the new transaction for a quarantined write.
fn again(row: &QuarantineRow, request: Request, lane: LaneId) -> Draft {
    let transaction_id = TransactionId::random();
    let tenant = row.transaction.client_key.as_ref().map(|key| key.tenant.clone()).unwrap_or_default();
    let fingerprint = row.transaction.client_key.as_ref().map(|key| key.fingerprint).unwrap_or_default();
    // A limited delete whose ids are already resolved deletes exactly these.
    let kind = match (request.profile.kind, request.resolved) {
        (Kind::DeleteLimited, Resolution::Resolved) => Kind::Delete,
        (kind, _) => kind,
    };
    Draft {
        transaction_id,
        client_key: Some(ClientKey { tenant, key: transaction_id.to_string(), fingerprint }),
        lane,
        profile: Profile { kind, merge: None, vouching: Vouching::Unvouched, ..request.profile },
        method: request.method,
        path: request.path,
        content_type: request.content_type,
        body: request.body,
        created_at: Timestamp::now(),
        client_session: row.transaction.client_session.clone(),
        client_ip: row.transaction.client_ip.clone(),
        user_identifier: row.transaction.user_identifier.clone(),
        trace_context: None,
        instead_of: Some(row.transaction.seq),
    }
}

/// How many requests are quarantined or suspect.
pub(super) struct Counts {
    pub writes: usize,
    pub reads: usize,
    /// Classes of reads that are not decided yet.
    pub suspect_reads: usize,
    pub suspect_writes: usize,
}

impl Counts {
    pub(super) fn shown(&self) -> Value {
        json!({ "writes": self.writes, "reads": self.reads, "suspects": self.suspect_reads + self.suspect_writes })
    }
}

impl Admin {
    pub(super) fn quarantine_counts(&self) -> Counts {
        let (writes, suspect_writes) = {
            let board = self.core.board();
            (board.quarantined().count(), board.suspects().count())
        };
        let cases = self.vouch.cases();
        let reads = cases.iter().filter(|case| case.state == CaseState::Quarantined).count();
        Counts { writes, reads, suspect_reads: cases.len() - reads, suspect_writes }
    }

    /// Lists all suspects and quarantined requests.
    pub(super) async fn quarantine(&self) -> Page {
        let reads: Vec<Value> = self.vouch.cases().iter().map(|case| self.read_shown(case)).collect();
        match self.core.store().quarantines().await {
            Ok(rows) => {
                let writes: Vec<Value> =
                    self.suspects_shown().into_iter().chain(rows.iter().map(|row| self.write_shown(row))).collect();
                Page::Json { status: 200, body: json!({ "available": true, "writes": writes, "reads": reads }) }
            }
            Err(error) => {
                let body = json!({ "available": false, "error": error.to_string(), "reads": reads });
                Page::Json { status: 200, body }
            }
        }
    }

    /// Lists the writes that are not decided yet.
    fn suspects_shown(&self) -> Vec<Value> {
        let board = self.core.board();
        let shown = |(lane, seq, instance): (LaneId, Seq, InstanceId)| {
            let collection = match lane {
                LaneId::Records(collection) => Some(collection.to_string()),
                LaneId::Catalog => None,
            };
            let instance = self.core.registry().name(instance).as_str();
            json!({ "id": format!("position-{seq}"), "state": "suspect", "collection_id": collection,
                "instances": [instance], "actions": [] })
        };
        board.suspects().map(shown).collect()
    }

    fn write_shown(&self, row: &QuarantineRow) -> Value {
        let QuarantineRow { transaction, conditions } = row;
        let collection = self.collection_of(transaction);
        let lost = collection.map(|collection| self.lost_copies(collection)).unwrap_or_default();
        let instances: Vec<_> = lost.into_iter().map(|id| self.core.registry().name(id).as_str()).collect();
        // The board is locked only for the lookup.
        let name = {
            let board = self.core.board();
            collection.and_then(|id| board.catalog().get(id)).map(|known| shown(&known.name).into_owned())
        };
        json!({
            "id": transaction.transaction_id.to_string(),
            "state": "quarantined",
            "collection_id": collection.map(|id| id.to_string()),
            "collection_name": name,
            "operation": transaction.operation.as_str(),
            "conditions": conditions.as_str(),
            "method": transaction.method,
            "path": shown(&transaction.path),
            "instances": instances,
            "created_at": transaction.created_at.millis(),
            "actions": ["retry", "discard", "lift"],
        })
    }

    /// Returns the collection that the write was sent to or was about.
    fn collection_of(&self, transaction: &TransactionRow) -> Option<CollectionId> {
        match transaction.lane? {
            LaneId::Records(collection) => Some(collection),
            LaneId::Catalog => intent::about(self.core.board().catalog(), &transaction.method, &transaction.path),
        }
    }

    /// Returns the instances whose copy of the collection is quarantined because they died of a write to it.
    fn lost_copies(&self, collection: CollectionId) -> Vec<InstanceId> {
        let board = self.core.board();
        let lost = |id: &InstanceId| board.state_of(collection, *id) == LaneState::Quarantined;
        self.core.registry().ids().filter(lost).collect()
    }

    fn read_shown(&self, case: &Case) -> Value {
        let board = self.core.board();
        let known = board.catalog().get(case.subject.collection);
        let state = match case.state {
            CaseState::Away => "waiting_for_instance",
            CaseState::Back => "to_be_tried_alone",
            CaseState::Trying => "being_tried_alone",
            CaseState::Quarantined => "quarantined",
        };
        json!({
            "id": read_case(case.id),
            "state": state,
            "collection_id": case.subject.collection.to_string(),
            "collection_name": known.map(|known| shown(&known.name)),
            "operation": case.subject.class.kind.as_str(),
            "conditions": case.subject.class.conditions.as_str(),
            "instance": self.core.registry().name(case.instance).as_str(),
            "deaths": case.deaths,
            "actions": ["lift"],
        })
    }

    /// Performs an operator's action on one suspect or quarantined request.
    pub(super) async fn on_quarantined(&self, id: &str, request: &PageRequest) -> Reply {
        if request.method != Method::POST {
            return Reply::wrong_method("POST");
        }
        let Ok(Body { action }) = serde_json::from_slice(&request.body) else {
            let text = "Expected {\"action\": \"retry\" | \"discard\" | \"lift\"}";
            return refused(400, ErrorName::InvalidArgumentError, "bad_body", text);
        };
        let unknown = || unknown("Nothing with this id is quarantined");
        if let Some(case) = self.vouch.cases().into_iter().find(|case| read_case(case.id) == id) {
            if action == Action::Retry {
                let text = "A read is sent again by its client: {\"action\": \"lift\"} allows that";
                return refused(400, ErrorName::InvalidArgumentError, "bad_body", text);
            }
            return self.vouch.lift(case.id).map_or_else(unknown, |_| done(id, action, None));
        }
        let rows = match self.core.store().quarantines().await {
            Ok(rows) => rows,
            Err(error) => return unavailable(&error.to_string()),
        };
        match rows.into_iter().find(|row| row.transaction.transaction_id.to_string() == id) {
            Some(row) => self.on_write(row, action, request).await,
            None => unknown(),
        }
    }

    async fn on_write(&self, row: QuarantineRow, action: Action, page: &PageRequest) -> Reply {
        let transaction = &row.transaction;
        let (id, seq) = (transaction.transaction_id.to_string(), transaction.seq);
        let Some(lane) = transaction.lane else { return unavailable("the transaction has no lane") };
        let new = match action {
            Action::Retry => match self.send_again(&row, lane, page).await {
                Ok(new) => Some(new),
                Err(reply) => return reply,
            },
            Action::Discard | Action::Lift => {
                self.core.step(Input::Lift { lane, seq });
                None
            }
        };
        if action == Action::Lift {
            self.compare_lost_copies(transaction);
        }
        tracing::info!(transaction = %id, ?action, "an operator has dealt with a quarantined write");
        done(&id, action, new)
    }

    /// Journals the write again and lifts its quarantine in the same commit, so that neither a refusal nor a crash can
    /// lose it: until that commit it stays quarantined.
    async fn send_again(&self, row: &QuarantineRow, lane: LaneId, page: &PageRequest) -> Result<TransactionId, Reply> {
        let (draft, guard) = self.same_write(row, lane, page).await?;
        let new = draft.transaction_id;
        // As for every other write, the records that it would delete may have changed since it was judged.
        let (judge, refusal) = guard.and_then(|guard| guard.at_its_place(&self.core)).unzip();
        let judge = self.while_quarantined(lane, row.transaction.seq, judge);
        self.core.journal().append_judged(draft, Some(judge)).await.map_err(|error| {
            let refusal = refusal.as_ref().and_then(|refusal| refusal.get());
            refusal.map_or_else(|| not_sent_again(&error), |failure| failure.answer().into())
        })?;
        Ok(new)
    }

    /// Checks, at the write's place in the order, that nobody else has dealt with it: if two operators send it again,
    /// it is sent once.
    fn while_quarantined(&self, lane: LaneId, seq: Seq, judge: Option<Judge>) -> Judge {
        let core = Arc::clone(&self.core);
        Box::new(move || {
            let is_quarantined = core.board().quarantined().any(|(held, entry, _)| (held, entry) == (lane, seq));
            match judge {
                _ if !is_quarantined => Judgement::Decline,
                Some(judge) => judge(),
                None => Judgement::Commit,
            }
        })
    }

    fn compare_lost_copies(&self, transaction: &TransactionRow) {
        let Some(collection) = self.collection_of(transaction) else { return };
        for instance in self.lost_copies(collection) {
            self.core.step(Input::Reconsider { lane: LaneId::Records(collection), instance });
        }
    }

    /// Builds the same write as a new transaction. It is not vouched for, whatever has succeeded since. It is judged
    /// again, because the collection that it deletes or renames may be protected by now.
    async fn same_write(
        &self,
        row: &QuarantineRow,
        lane: LaneId,
        page: &PageRequest,
    ) -> Result<(Draft, Option<Guard>), Reply> {
        let found = self.core.store().requests(&[row.transaction.seq]).await;
        let found = found.map_err(|error| unavailable(&error.to_string()))?;
        let request = found.into_iter().next().ok_or_else(|| unknown("Its body is no longer stored"))?;
        let policy = {
            let options = self.options.get();
            Policy { protection: options.earlier.protection.clone(), reset: options.earlier.reset }
        };
        let guard = Guard::judged_again(policy, &request, (&page.headers, &page.principal), &self.core);
        let guard = guard.map_err(|failure| failure.answer())?;
        Ok((again(row, request, lane), guard))
    }
}

fn not_sent_again(error: &AppendError) -> Reply {
    match error {
        AppendError::InDoubt(_) => unavailable(
            "The journal did not say in time whether it has the write: if it has, the write is no longer quarantined, but \
             among the transactions",
        ),
        AppendError::Declined => unknown("It was dealt with meanwhile"),
        error => unavailable(&format!("The write was not journaled, and is still quarantined: try again ({error})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_asked_for() {
        let action = |body: &str| serde_json::from_str::<Body>(body).ok().map(|body| body.action);
        assert_eq!(action(r#"{"action":"lift"}"#), Some(Action::Lift));
        assert_eq!(action(r#"{"action":"destroy"}"#), None);
    }
}
