//! The operators' views: what their queries find, on every store, whatever bytes the journal holds; and that they
//! cannot be used to change anything.

use std::time::Duration;

use super::*;

/// The result of a statement, as text.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::journal) struct Shown {
    pub rows: Vec<Vec<Option<String>>>,
    /// The number of rows that a change affected.
    pub changed: u64,
}

/// An operator's SQL shell on the journal, beside the edge.
pub(in crate::journal) trait Shell: Bench {
    /// Runs one statement; panics where a shell would show an error.
    fn ask(&self, statement: &str) -> impl Future<Output = Shown> + Send;

    /// How this dialect writes the time a day ago, the hour of `created_at`, and the seconds that a transaction took.
    fn day_ago(&self) -> &'static str;
    fn hour(&self) -> &'static str;
    fn seconds(&self) -> &'static str;
}

/// Runs every function here as a test of its own.
macro_rules! views_suite {
    ($shell:expr) => {
        $crate::journal::contract::views::views_suite! { @ $shell;
            statuses_are_counted_with_percentages, failures_are_counted_by_hour, recovery_takes_its_average_time,
            cleaning_up_through_a_view_changes_nothing, a_transaction_is_shown_as_it_is, any_body_is_shown_or_described,
            a_write_goes_from_pending_to_synced, collections_are_shown_with_their_ids,
            what_recovery_has_to_finish_is_pending, the_summary_is_by_status
        }
    };
    (@ $shell:expr; $($test:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                $crate::journal::contract::views::$test(&$shell).await;
            }
        )+
    };
}
pub(in crate::journal) use views_suite;

/// One row of text.
fn row(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

fn ago(span: Duration) -> Timestamp {
    Timestamp::now().before(span)
}

fn at(created_at: Timestamp) -> Draft {
    Draft { created_at, ..draft(LaneId::Catalog, "{\"a\": 1}") }
}

fn ended(seq: Seq, status: Status, timing_gap: TimingGap, at: Timestamp) -> Fact {
    let (response_status, failure_reason) = (Some(201), None);
    Fact::Status { seq, status, response_status, failure_reason, timing_gap, executed_on: None, at }
}

/// Five transactions: two completed, one failed in a timing gap, one recovered after 20 s, and one completed two days
/// ago. Returns their positions.
async fn history(store: &dyn Store) -> Vec<Seq> {
    let (now, old) = (Timestamp::now(), ago(Duration::from_secs(2 * 86_400)));
    let drafts = [now, now, now, ago(Duration::from_secs(20)), old].map(at);
    let seqs = append(store, drafts.into()).await;
    let facts = vec![
        applied(seqs[0]),
        ended(seqs[0], Status::Completed, TimingGap::No, now),
        applied(seqs[1]),
        ended(seqs[1], Status::Completed, TimingGap::No, now),
        ended(seqs[2], Status::Failed, TimingGap::Yes, now),
        applied(seqs[3]),
        ended(seqs[3], Status::Recovered, TimingGap::No, now),
        applied(seqs[4]),
        ended(seqs[4], Status::Completed, TimingGap::No, old),
    ];
    record(store, facts).await;
    seqs
}

pub async fn statuses_are_counted_with_percentages(shell: &impl Shell) {
    let store = shell.open();
    history(&*store).await;
    let query = format!(
        "SELECT status, COUNT(*) AS count, CAST(ROUND(COUNT(*) * 100.0 / SUM(COUNT(*)) OVER ()) AS INTEGER) AS percentage
        FROM emergency_transaction_log WHERE created_at > {} GROUP BY status ORDER BY status",
        shell.day_ago()
    );
    let expected = vec![row(&["COMPLETED", "2", "50"]), row(&["FAILED", "1", "25"]), row(&["RECOVERED", "1", "25"])];
    assert_eq!(shell.ask(&query).await.rows, expected);
}

pub async fn failures_are_counted_by_hour(shell: &impl Shell) {
    let store = shell.open();
    history(&*store).await;
    let query = format!(
        "SELECT COUNT(*) AS failures, SUM(CASE WHEN is_timing_gap_failure THEN 1 ELSE 0 END) AS gaps
        FROM emergency_transaction_log WHERE status = 'FAILED' AND created_at > {}
        GROUP BY {} ORDER BY 1",
        shell.day_ago(),
        shell.hour()
    );
    assert_eq!(shell.ask(&query).await.rows, [row(&["1", "1"])]);
    let gaps = "SELECT COUNT(*) FROM emergency_transaction_log WHERE is_timing_gap_failure";
    assert_eq!(shell.ask(gaps).await.rows, [row(&["1"])]);
}

pub async fn recovery_takes_its_average_time(shell: &impl Shell) {
    let store = shell.open();
    history(&*store).await;
    let query = format!(
        "SELECT CAST(ROUND(AVG({})) AS INTEGER) FROM emergency_transaction_log WHERE status = 'RECOVERED'",
        shell.seconds()
    );
    assert_eq!(shell.ask(&query).await.rows, [row(&["20"])]);
}

const VIEWS: [(&str, &str); 5] = [
    ("emergency_transaction_log", "status"),
    ("collection_id_mapping", "collection_name"),
    ("pending_recovery_transactions", "status"),
    ("transaction_safety_summary", "status"),
    ("unified_wal_writes", "status"),
];

pub async fn cleaning_up_through_a_view_changes_nothing(shell: &impl Shell) {
    let store = shell.open();
    history(&*store).await;
    record(&*store, vec![created(new_collection(), "a", Seq::new(1))]).await;
    for (view, column) in VIEWS {
        let count = format!("SELECT COUNT(*) FROM {view}");
        let before = shell.ask(&count).await;
        assert_ne!(before.rows, [row(&["0"])], "{view}");
        for change in [
            format!("DELETE FROM {view}"),
            format!("UPDATE {view} SET {column} = 'x'"),
            format!("INSERT INTO {view} ({column}) VALUES ('x')"),
        ] {
            assert_eq!(shell.ask(&change).await.changed, 0, "{change}");
        }
        assert_eq!(shell.ask(&count).await, before, "{view}");
        let touched = shell.ask(&format!("SELECT COUNT(*) FROM {view} WHERE {column} = 'x'")).await;
        assert_eq!(touched.rows, [row(&["0"])], "{view}");
    }
}

pub async fn a_transaction_is_shown_as_it_is(shell: &impl Shell) {
    let store = shell.open();
    let written = at(Timestamp::from_millis(1_700_000_000_123));
    let seq = append(&*store, vec![written.clone()]).await[0];
    let done = Timestamp::from_millis(1_700_000_001_456);
    record(&*store, vec![applied(seq), ended(seq, Status::Completed, TimingGap::No, done)]).await;
    // The columns, by name and in order.
    let query = "SELECT transaction_id, client_session, client_ip, method, path, data, headers, status, failure_reason,
            response_status, response_data, created_at, completed_at, retry_count, max_retries, next_retry_at,
            CASE WHEN is_timing_gap_failure THEN 'gap' ELSE 'none' END, target_instance, operation_type, user_identifier
        FROM emergency_transaction_log";
    let shown = shell.ask(query).await.rows.remove(0);
    let shown: Vec<&str> = shown.iter().map(|value| value.as_deref().unwrap_or("-")).collect();
    let id = written.transaction_id.uuid().to_string();
    let (path, kind) = ("/api/v2/tenants/t/databases/d/collections/c/upsert?x=1", "upsert");
    let begins = [&id, "session", "127.0.0.1", "POST", path, "{\"a\": 1}"];
    assert_eq!(shown[..6], begins);
    let headers: serde_json::Value = serde_json::from_str(shown[6]).unwrap();
    assert_eq!(headers, serde_json::json!({ "content-type": "application/json" }));
    assert_eq!(shown[7..11], ["COMPLETED", "-", "201", "{}"]);
    assert!(shown[11].starts_with("2023-11-14 22:13:20.123"), "{}", shown[11]);
    assert!(shown[12].starts_with("2023-11-14 22:13:21.456"), "{}", shown[12]);
    assert_eq!(shown[13..], ["0", "3", "-", "none", "primary", kind, "someone"]);
    let all = shell.ask("SELECT * FROM emergency_transaction_log").await.rows.remove(0);
    assert_eq!(all.len(), 20);
    assert_eq!((all[19].as_deref(), all[5].as_deref()), (Some("someone"), Some("{\"a\": 1}")));
}

pub async fn any_body_is_shown_or_described(shell: &impl Shell) {
    let store = shell.open();
    let nested = "[".repeat(100_000) + &"]".repeat(100_000);
    let long = format!("\"{}\"", "x".repeat(30_000_000));
    let shown = ["{\"a\": \"\\u0000\"}", "{\"a\": \"ü\"}", "null", &long];
    let described: [&[u8]; 7] =
        [b"", b"plain text", b"{\"a\": \"\xff\"}", b"{\"a\": 1}\0", b"\0", &[0xed, 0xa0, 0x80], nested.as_bytes()];
    let bodies = shown.iter().map(|body| body.as_bytes()).chain(described);
    let drafts = bodies.map(|body| Draft { body: Bytes::copy_from_slice(body), ..at(MADE) }).collect();
    let seqs = append(&*store, drafts).await;
    let answer = |seq: &Seq, body: &'static [u8]| {
        let answer = Some(StoredAnswer { status: 500, body: Bytes::from_static(body) });
        Fact::Verdict { seq: *seq, verdict: Verdict::Rejected, by: None, answer }
    };
    let answers: [&[u8]; 3] = [b"\xff\xfe", b"\0", b"upstream connect error"];
    record(&*store, seqs.iter().zip(answers).map(|(seq, body)| answer(seq, body)).collect()).await;
    let log = "SELECT data, response_data FROM emergency_transaction_log ORDER BY length(CAST(data AS text)) DESC";
    let rows = shell.ask(log).await.rows;
    let data: Vec<&str> = rows.iter().filter_map(|row| row[0].as_deref()).collect();
    assert_eq!(data.len(), seqs.len());
    for body in shown {
        assert!(data.contains(&body), "{} bytes are JSON", body.len());
    }
    let description = |text: &&str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        value.get("json").is_some_and(|json| json == false).then(|| value["bytes"].as_u64().unwrap())
    };
    let mut sizes: Vec<u64> = data.iter().filter(|text| text.len() < 1000).filter_map(description).collect();
    let mut expected: Vec<u64> = described.iter().map(|body| body.len() as u64).collect();
    sizes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sizes, expected);
    assert_eq!(rows.iter().filter_map(|row| row[1].as_ref().and_then(|text| description(&text.as_str()))).count(), 3);
}

async fn wal_statuses(shell: &impl Shell) -> Vec<(String, bool)> {
    let query = "SELECT status, CASE WHEN synced_at IS NULL THEN 'no' ELSE 'yes' END FROM unified_wal_writes
        ORDER BY created_at, status";
    let pair = |row: Vec<Option<String>>| (row[0].clone().unwrap(), row[1].as_deref() == Some("yes"));
    shell.ask(query).await.rows.into_iter().map(pair).collect()
}

pub async fn a_write_goes_from_pending_to_synced(shell: &impl Shell) {
    let store = shell.open();
    store.begin(&instances(), MADE).await.unwrap();
    let lane = LaneId::Catalog;
    let drafts = (0..3).map(|n| at(Timestamp::from_millis(1_000 + n))).collect();
    let seqs = append(&*store, drafts).await;
    let status = |status: &str, synced| (status.to_owned(), synced);
    assert_eq!(wal_statuses(shell).await, vec![status("pending", false); 3]);
    let rejected = Fact::Verdict { seq: seqs[2], verdict: Verdict::Rejected, by: None, answer: None };
    record(&*store, vec![applied(seqs[0]), applied(seqs[1]), rejected, progress(lane, "primary", seqs[2])]).await;
    let executed = status("executed", false);
    assert_eq!(wal_statuses(shell).await, [executed.clone(), executed.clone(), status("failed", false)]);
    record(&*store, vec![progress(lane, "replica", seqs[0])]).await;
    assert_eq!(wal_statuses(shell).await, [status("synced", true), executed, status("failed", false)]);
    // Again, in two steps of one commit, and late: nothing is undone.
    record(&*store, vec![progress(lane, "replica", seqs[1]), progress(lane, "replica", seqs[2])]).await;
    record(&*store, vec![progress(lane, "replica", seqs[0])]).await;
    assert_eq!(wal_statuses(shell).await, [status("synced", true), status("synced", true), status("failed", true)]);
    let seq = append(&*store, vec![at(Timestamp::from_millis(2_000))]).await[0];
    record(&*store, vec![applied(seq), progress(lane, "primary", seq)]).await;
    assert_eq!(wal_statuses(shell).await[3], status("executed", false));
}

pub async fn collections_are_shown_with_their_ids(shell: &impl Shell) {
    let store = shell.open();
    store.begin(&instances(), MADE).await.unwrap();
    let (kept, deleted) = (new_collection(), new_collection());
    let id = InstanceCollectionId::new(Uuid::now_v7());
    let mapped = CatalogChange::Mapped { collection: kept, instance: InstanceName::new("replica"), id };
    let renamed = CatalogChange::CollectionRenamed { collection: kept, name: "new".to_owned() };
    let gone = CatalogChange::CollectionDeleted { collection: deleted };
    let facts = vec![
        created(kept, "old", Seq::new(1)),
        created(deleted, "gone", Seq::new(1)),
        Fact::Catalog(mapped),
        Fact::Catalog(renamed),
        Fact::Catalog(gone),
    ];
    record(&*store, facts).await;
    let query = format!(
        "SELECT collection_name, primary_collection_id, replica_collection_id, tenant, database, collection_id,
            CASE WHEN created_at <= updated_at AND created_at > {} THEN 'now' END
        FROM collection_id_mapping",
        shell.day_ago()
    );
    let mut expected = row(&["new", "", &id.to_string(), "default_tenant", "default_database", "", "now"]);
    expected[1] = None;
    expected[5] = Some(kept.to_string());
    assert_eq!(shell.ask(&query).await.rows, [expected]);
}

pub async fn what_recovery_has_to_finish_is_pending(shell: &impl Shell) {
    let store = shell.open();
    let seqs = history(&*store).await;
    let open = append(&*store, vec![draft(LaneId::Records(new_collection()), "x")]).await;
    let query = "SELECT status, operation_type, CASE WHEN collection_id IS NULL THEN 'none' ELSE 'some' END
        FROM pending_recovery_transactions ORDER BY status";
    let expected = [row(&["ATTEMPTING", "upsert", "some"]), row(&["FAILED", "upsert", "none"])];
    assert_eq!(shell.ask(query).await.rows, expected);
    record(&*store, vec![applied(seqs[2]), applied(open[0])]).await;
    assert!(shell.ask(query).await.rows.is_empty());
}

pub async fn the_summary_is_by_status(shell: &impl Shell) {
    let store = shell.open();
    let seqs = history(&*store).await;
    record(&*store, vec![Fact::Retried { seq: seqs[2], reason: "x".to_owned(), next_retry_at: None }]).await;
    let query = "SELECT status, transaction_count, timing_gap_failures, CAST(avg_retry_count AS INTEGER),
            CAST(ROUND(avg_completion_seconds) AS INTEGER),
            CASE WHEN oldest_transaction < newest_transaction THEN 'older' ELSE 'same' END
        FROM transaction_safety_summary ORDER BY status";
    let mut failed = row(&["FAILED", "1", "1", "1", "", "same"]);
    failed[4] = None;
    let expected =
        [row(&["COMPLETED", "3", "0", "0", "0", "older"]), failed, row(&["RECOVERED", "1", "0", "0", "20", "same"])];
    assert_eq!(shell.ask(query).await.rows, expected);
}
