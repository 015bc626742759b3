//! The cost of the group commit. SQLite: appends of 1 KB with one writer and with 64, and the cost of one flush, alone
//! and shared. PostgreSQL: the same, plus one large body against a bare `INSERT` of its bytes, and one small append
//! against a bare `INSERT`. Measurements that are compared alternate in one run.
//!
//! PostgreSQL needs a server's programs on this machine, and is skipped without them.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panic")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chroma_edge::clock::Timestamp;
use chroma_edge::ids::{CollectionId, LaneId, TransactionId};
use chroma_edge::journal::postgres::{DatabaseUrl, PostgresOptions, PostgresStore};
use chroma_edge::journal::sqlite::SqliteStore;
use chroma_edge::journal::{Appended, Claim, Draft, DurableSink, Journal, JournalOptions, Leadership, Store};
use chroma_edge::order::{Kind, Profile};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use testkit::postgres::Postgres;
use tokio::runtime::Runtime;

/// The number of pairs of measurements whose medians are compared.
const PAIRS: usize = 400;

struct Nowhere;

impl DurableSink for Nowhere {
    fn appended(&self, _: Vec<Appended>) {}
}

fn draft(lane: LaneId, body: Bytes) -> Draft {
    Draft {
        transaction_id: TransactionId::random(),
        client_key: None,
        lane,
        profile: Profile::of(Kind::Add, body.len() as u64),
        method: "POST".to_owned(),
        path: "/api/v2/tenants/default_tenant/databases/default_database/collections/c/add".to_owned(),
        content_type: Some("application/json".to_owned()),
        body,
        created_at: Timestamp::now(),
        client_session: None,
        client_ip: None,
        user_identifier: None,
        trace_context: None,
        instead_of: None,
    }
}

fn lane() -> LaneId {
    LaneId::Records(CollectionId::new(TransactionId::random().uuid()))
}

/// Appends `each` drafts from each of `writers` tasks.
async fn append(journal: &Journal, writers: usize, each: u64) -> Duration {
    let (lane, body) = (lane(), Bytes::from(vec![b'x'; 1024]));
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

/// A running journal on this store.
struct AtWork {
    journal: Journal,
    stop: tokio::sync::oneshot::Sender<()>,
    running: tokio::task::JoinHandle<chroma_edge::journal::Ended>,
}

impl AtWork {
    fn on(store: Arc<dyn Store>, runtime: &Runtime) -> AtWork {
        let (journal, task) = Journal::start(store, JournalOptions::default(), Arc::new(Nowhere));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = runtime.spawn(task.run(async move { drop(stopped.await) }));
        AtWork { journal, stop, running }
    }

    fn end(self, runtime: &Runtime) {
        drop(self.stop);
        runtime.block_on(self.running).expect("journal");
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime")
}

fn appends(criterion: &mut Criterion, group: &str, store: Arc<dyn Store>, runtime: &Runtime) {
    let work = AtWork::on(store, runtime);
    let mut group = criterion.benchmark_group(group);
    for writers in [1_usize, 64] {
        group.throughput(Throughput::Elements(writers as u64));
        group.bench_with_input(BenchmarkId::new("writers", writers), &writers, |bencher, &writers| {
            bencher.to_async(runtime).iter_custom(|each| {
                let journal = work.journal.clone();
                async move { append(&journal, writers, each).await }
            });
        });
    }
    group.finish();
    work.end(runtime);
}

fn sqlite(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("directory");
    let store = SqliteStore::open(&directory.path().join("journal.db")).expect("journal");
    appends(criterion, "journal/append_1k", Arc::new(store), &runtime());
}

/// Returns the server, and a store that holds its journal.
fn held(runtime: &Runtime) -> Option<(Postgres, Arc<PostgresStore>)> {
    if testkit::postgres::installed().is_none() {
        eprintln!("journal/postgres: left out: no PostgreSQL server, version 15 or newer, is installed");
        return None;
    }
    let server = Postgres::durable();
    let url = DatabaseUrl::parse(&server.url()).expect("the server's URL");
    let options = PostgresOptions { term: Duration::from_secs(3600), ..PostgresOptions::default() };
    let store = Arc::new(PostgresStore::open(&url, options).expect("a store"));
    let claim = runtime.block_on(store.claim()).expect("the journal");
    assert!(matches!(claim, Claim::Granted { .. }), "{claim:?}");
    Some((server, store))
}

fn postgres(criterion: &mut Criterion) {
    let runtime = runtime();
    let Some((server, store)) = held(&runtime) else { return };
    appends(criterion, "journal/postgres_append_1k", Arc::clone(&store) as _, &runtime);
    let bare = runtime.block_on(Bare::on(&server.url()));
    let work = AtWork::on(store, &runtime);
    for (name, bytes) in [("1 KB", 1024), ("250 KB", 250 * 1024)] {
        runtime.block_on(compare(&work.journal, &bare, name, bytes));
    }
    work.end(&runtime);
}

/// The baseline for an append: an `INSERT` of one row with nothing but its bytes, on a connection of its own.
struct Bare {
    client: tokio_postgres::Client,
    insert: tokio_postgres::Statement,
}

impl Bare {
    async fn on(url: &str) -> Bare {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client.batch_execute("CREATE TABLE bare (n bigserial PRIMARY KEY, body bytea)").await.expect("a table");
        let insert = client.prepare("INSERT INTO bare (body) VALUES ($1)").await.expect("a statement");
        Bare { client, insert }
    }
}

/// Alternates an append and a bare `INSERT`, and prints their medians to standard output.
async fn compare(journal: &Journal, bare: &Bare, name: &str, bytes: usize) {
    let (lane, mut appends, mut inserts) = (lane(), Vec::new(), Vec::new());
    // Incompressible bytes, like those of embeddings.
    let body: Vec<u8> =
        std::iter::repeat_with(|| TransactionId::random().uuid().into_bytes()).flatten().take(bytes).collect();
    let shared = Bytes::from(body.clone());
    for _ in 0..PAIRS {
        let began = Instant::now();
        journal.append(draft(lane, shared.clone())).await.expect("append");
        appends.push(began.elapsed());
        let began = Instant::now();
        bare.client.execute(&bare.insert, &[&body]).await.expect("insert");
        inserts.push(began.elapsed());
    }
    let (append, insert) = (quartiles(appends), quartiles(inserts));
    let factor = append[1].as_secs_f64() / insert[1].as_secs_f64();
    println!(
        "journal/postgres_one_writer/{name}: append {append:.2?}, bare INSERT {insert:.2?} (quartiles), {factor:.2} times"
    );
}

fn quartiles(mut all: Vec<Duration>) -> [Duration; 3] {
    all.sort();
    [all.len() / 4, all.len() / 2, all.len() * 3 / 4].map(|at| all[at])
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3));
    targets = sqlite, postgres
}
criterion_main!(benches);
