//! The cost of queries about transactions, with a million of them in the journal: the pages must stay cheap.
//!
//! Results: see docs/decisions/0016-transaction-surface.md.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panic")]

use std::sync::Arc;

use bytes::Bytes;
use chroma_edge::clock::Timestamp;
use chroma_edge::ids::{CollectionId, LaneId, TransactionId};
use chroma_edge::journal::sqlite::SqliteStore;
use chroma_edge::journal::{AuditQuery, Batch, Draft, Fact, Filter, Lookup, OperationType, Status, Store, TimingGap};
use chroma_edge::order::{Kind, Profile};
use criterion::{Criterion, criterion_group, criterion_main};

const TRANSACTIONS: u64 = 1_000_000;
const BATCH: u64 = 10_000;
/// A week, with writes spread evenly.
const SPAN_MILLIS: u64 = 7 * 24 * 60 * 60 * 1000;
const NOW: i64 = 1_800_000_000_000;

fn draft(lane: LaneId, number: u64) -> Draft {
    let kinds = [Kind::Add, Kind::Upsert, Kind::Update, Kind::Delete];
    let kind = kinds[(number % 4) as usize];
    Draft {
        transaction_id: TransactionId::random(),
        client_key: None,
        lane,
        profile: Profile::of(kind, 64),
        method: "POST".to_owned(),
        path: "/api/v2/tenants/default_tenant/databases/default_database/collections/c/add".to_owned(),
        content_type: Some("application/json".to_owned()),
        body: Bytes::from(vec![b'x'; 64]),
        created_at: Timestamp::from_millis(NOW - ((TRANSACTIONS - number) * SPAN_MILLIS / TRANSACTIONS) as i64),
        // A hundred sessions, and one with half of all transactions.
        client_session: Some(if number.is_multiple_of(2) {
            "big".to_owned()
        } else {
            format!("session-{}", number / 2 % 100)
        }),
        client_ip: None,
        user_identifier: None,
        trace_context: None,
        instead_of: None,
    }
}

async fn fill(store: &dyn Store) {
    let lane = LaneId::Records(CollectionId::new(TransactionId::random().uuid()));
    for first in (0..TRANSACTIONS).step_by(BATCH as usize) {
        let appends: Vec<Draft> = (first..first + BATCH).map(|number| draft(lane, number)).collect();
        let seqs = store.commit(Batch { appends, facts: Vec::new() }).await.expect("appends");
        let fact = |seq: &chroma_edge::ids::Seq| Fact::Status {
            seq: *seq,
            status: if seq.get().is_multiple_of(50) { Status::Recovered } else { Status::Completed },
            response_status: Some(201),
            failure_reason: None,
            timing_gap: if seq.get().is_multiple_of(50) { TimingGap::Yes } else { TimingGap::No },
            executed_on: None,
            at: Timestamp::from_millis(NOW),
        };
        store.commit(Batch { appends: Vec::new(), facts: seqs.iter().map(fact).collect() }).await.expect("facts");
    }
}

fn audit(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let directory = tempfile::tempdir().expect("directory");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&directory.path().join("journal.db")).expect("journal"));
    runtime.block_on(fill(store.as_ref()));
    let mut group = criterion.benchmark_group("journal/of_a_million");
    let query = |filter: Filter| AuditQuery { filter, after: None, limit: 100 };
    let session = |name: &str| Filter { session: Some(name.to_owned()), ..Filter::default() };
    let ago = |hours: i64| Some(Timestamp::from_millis(NOW - hours * 3_600_000 - 1_234));
    let pages = [
        ("page", query(Filter::default())),
        ("page of a session of 5 000", query(session("session-7"))),
        ("page of a session of 500 000", query(session("big"))),
        ("page of a status", query(Filter { statuses: vec![Status::Recovered], ..Filter::default() })),
        ("page of an operation", query(Filter { operations: OperationType::shown_as("delete"), ..Filter::default() })),
        ("page of a day", query(Filter { since: ago(72), until: ago(48), ..Filter::default() })),
    ];
    for (name, query) in &pages {
        group.bench_function(*name, |bencher| {
            bencher.to_async(&runtime).iter(|| async { store.audit(query).await.expect("a page") });
        });
    }
    group.bench_function("summary", |bencher| {
        bencher.to_async(&runtime).iter(|| async { store.summary().await.expect("a summary") });
    });
    group.bench_function("recent", |bencher| {
        let (since, gaps) = (Timestamp::from_millis(NOW - 7_200_000), Timestamp::from_millis(NOW - 86_400_000));
        bencher.to_async(&runtime).iter(|| async { store.recent(since, gaps).await.expect("what is recent") });
    });
    group.bench_function("totals", |bencher| {
        bencher.to_async(&runtime).iter(|| async { store.totals().await.expect("totals") });
    });
    group.bench_function("details", |bencher| {
        let lookup = Lookup::Key { key: "nobody's".to_owned(), of: None, outside: None };
        bencher.to_async(&runtime).iter(|| async { store.details(&lookup).await.expect("details") });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_secs(2));
    targets = audit
}
criterion_main!(benches);
