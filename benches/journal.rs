//! Appends per second of 1 KB bodies through the group commit, with one writer and with 64: what one flush costs
//! alone, and what it costs when shared.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panic")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chroma_edge::clock::Timestamp;
use chroma_edge::ids::{CollectionId, LaneId, TransactionId};
use chroma_edge::journal::sqlite::SqliteStore;
use chroma_edge::journal::{Appended, Draft, DurableSink, Journal, JournalOptions};
use chroma_edge::order::{Kind, Priority, Profile};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

struct Nowhere;

impl DurableSink for Nowhere {
    fn appended(&self, _: Vec<Appended>) {}
}

fn draft(lane: LaneId, body: Bytes) -> Draft {
    Draft {
        transaction_id: TransactionId::random(),
        client_key: None,
        lane,
        profile: Profile { kind: Kind::Add, merge: None, bytes: body.len() as u64, priority: Priority::Normal },
        method: "POST".to_owned(),
        path: "/api/v2/tenants/default_tenant/databases/default_database/collections/c/add".to_owned(),
        content_type: Some("application/json".to_owned()),
        body,
        created_at: Timestamp::now(),
        client_session: None,
        client_ip: None,
        user_identifier: None,
    }
}

/// Appends `each` drafts from each of `writers` tasks.
async fn append(journal: &Journal, writers: usize, each: u64) -> Duration {
    let lane = LaneId::Records(CollectionId::new(TransactionId::random().uuid()));
    let body = Bytes::from(vec![b'x'; 1024]);
    let began = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (journal, body) = (journal.clone(), body.clone());
            tokio::spawn(async move {
                for _ in 0..each {
                    journal.append(draft(lane, body.clone())).await.expect("append");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("writer");
    }
    began.elapsed()
}

fn appends(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let directory = tempfile::tempdir().expect("directory");
    let store = SqliteStore::open(&directory.path().join("journal.db")).expect("journal");
    let (journal, task) = Journal::start(Arc::new(store), JournalOptions::default(), Arc::new(Nowhere));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = runtime.spawn(task.run(async move { drop(stopped.await) }));
    let mut group = criterion.benchmark_group("journal/append_1k");
    for writers in [1_usize, 64] {
        group.throughput(Throughput::Elements(writers as u64));
        group.bench_with_input(BenchmarkId::new("writers", writers), &writers, |bencher, &writers| {
            bencher.to_async(&runtime).iter_custom(|each| {
                let journal = journal.clone();
                async move { append(&journal, writers, each).await }
            });
        });
    }
    group.finish();
    drop(stop);
    runtime.block_on(running).expect("journal");
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3));
    targets = appends
}
criterion_main!(benches);
