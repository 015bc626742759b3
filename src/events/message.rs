//! An event as it is sent: its name and its data, the same for streams and for the webhook.

use serde_json::{Map, Value};

use crate::journal::{EventRow, OperationType, Status, TimingGap, TransactionRow};

/// Renders a transaction.
pub type Show = fn(&TransactionRow) -> Map<String, Value>;

/// The status that a client was answered when its transaction became FAILED.
const PENDING: u16 = 503;
/// Texts from clients and instances are cut to this many characters, which bounds the memory of a stream.
const LONGEST_TEXT: usize = 2048;

/// Returns the name of the event for a transaction that reaches this status.
pub const fn name_of(status: Status) -> &'static str {
    match status {
        Status::Attempting | Status::Failed => "transaction:timing_gap",
        Status::Completed => "transaction:completed",
        Status::Recovered => "transaction:recovered",
        Status::Abandoned => "transaction:abandoned",
    }
}

/// Returns the event's data: the transaction as it was at the time of the event.
pub(super) fn data(row: &EventRow, show: Show) -> Map<String, Value> {
    let mut transaction = row.transaction.clone();
    if row.status == Status::Failed {
        transaction.status = Status::Failed;
        transaction.timing_gap = TimingGap::Yes;
        transaction.completed_at = None;
        transaction.response_status = (transaction.operation != OperationType::Application).then_some(PENDING);
    }
    transaction.path = shortened(transaction.path);
    transaction.failure_reason = transaction.failure_reason.map(shortened);
    show(&transaction)
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{LaneId, Seq, TransactionId};
    use crate::journal::EventId;
    use crate::order::Kind;

    pub fn show(row: &TransactionRow) -> Map<String, Value> {
        let fields = json!({
            "status": row.status.as_str(), "response_status": row.response_status, "path": row.path,
            "done": row.completed_at.is_some(),
        });
        fields.as_object().cloned().unwrap_or_default()
    }

    pub fn row(number: u64, status: Status) -> EventRow {
        let transaction = TransactionRow {
            seq: Seq::new(number),
            transaction_id: TransactionId::random(),
            client_key: None,
            operation: OperationType::Write(Kind::Add),
            lane: Some(LaneId::Catalog),
            method: "POST".to_owned(),
            path: "/x".to_owned(),
            status: Status::Recovered,
            verdict: None,
            answer: None,
            response_status: Some(201),
            failure_reason: None,
            timing_gap: TimingGap::Yes,
            executed_on: None,
            retry_count: 0,
            next_retry_at: None,
            created_at: Timestamp::from_millis(0),
            completed_at: Some(Timestamp::from_millis(1)),
            client_session: None,
            client_ip: None,
            client: None,
            user_identifier: None,
        };
        EventRow { event: EventId::new(number), status, transaction }
    }

    #[test]
    fn an_event_tells_what_was_true_then() {
        let gap = data(&row(1, Status::Failed), show);
        assert_eq!(
            (&gap["status"], &gap["response_status"], &gap["done"]),
            (&json!("FAILED"), &json!(503), &json!(false))
        );
        let end = data(&row(2, Status::Recovered), show);
        assert_eq!(
            (&end["status"], &end["response_status"], &end["done"]),
            (&json!("RECOVERED"), &json!(201), &json!(true))
        );
    }

    #[test]
    fn long_texts_are_cut() {
        let mut long = row(1, Status::Recovered);
        long.transaction.path = "ä".repeat(LONGEST_TEXT + 1);
        let path = data(&long, show)["path"].as_str().unwrap().to_owned();
        assert_eq!((path.chars().count(), path.ends_with('…')), (LONGEST_TEXT + 1, true));
        long.transaction.path = "ä".repeat(LONGEST_TEXT);
        assert_eq!(data(&long, show)["path"], json!("ä".repeat(LONGEST_TEXT)));
    }

    #[test]
    fn every_name_is_listed() {
        let named = Status::ALL.map(name_of);
        assert!(named.iter().all(|name| super::super::NAMES.contains(name)));
    }
}
