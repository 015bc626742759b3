//! Use case 5: the same work under different settings, one after the other: connection pooling, locking, workers,
//! memory, batch sizes. The costs and gains are shown side by side, without a verdict. What is stored must be the same
//! under each.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::catalog_fixture::{self, CatalogFixture, Document};
use crate::figures::{Figures, shown};
use testkit::cluster::{CATCH_UP, Cluster};
use testkit::http::{DEFAULT, record_path};

/// The collections of each setting, and the clients that share them.
const COLLECTIONS: usize = 4;
const CLIENTS: usize = 8;
/// Per client.
const UPLOADS: usize = 7;

/// One edge: its variables, and the number of chunks in a document.
struct Setting {
    name: &'static str,
    environment: &'static [(&'static str, &'static str)],
    chunks: u64,
}

const fn setting(name: &'static str, environment: &'static [(&'static str, &'static str)], chunks: u64) -> Setting {
    Setting { name, environment, chunks }
}

const POOLING: &str = "ENABLE_CONNECTION_POOLING";
const LOCKING: &str = "ENABLE_GRANULAR_LOCKING";
const SETTINGS: &[Setting] = &[
    setting("as it comes: 2 workers", &[], 3),
    setting("no pooling", &[(POOLING, "false")], 3),
    setting("no granular locking", &[(LOCKING, "false")], 3),
    setting("neither", &[(POOLING, "false"), (LOCKING, "false")], 3),
    setting("1 worker", &[("MAX_WORKERS", "1")], 3),
    setting("4 workers", &[("MAX_WORKERS", "4")], 3),
    setting("64 MiB for bodies", &[("MAX_MEMORY_MB", "64")], 3),
    setting("2048 MiB for bodies", &[("MAX_MEMORY_MB", "2048")], 3),
    setting("requests share 6 documents", &[("MAX_BATCH_SIZE", "6")], 3),
    setting("requests share 5000", &[("DEFAULT_BATCH_SIZE", "5000"), ("MAX_BATCH_SIZE", "5000")], 3),
    setting("100 documents in a write", &[("MAX_BATCH_SIZE", "1000")], 100),
];

/// The result of one setting.
struct Outcome {
    name: &'static str,
    documents: f64,
    median: Duration,
    longest: Duration,
    replicated: Duration,
    requests: u64,
    memory: u64,
}

fn collection(setting: usize, number: usize) -> String {
    format!("setting-{setting:02}-{number}")
}

/// Returns how many requests the servers have received from this edge.
fn requests(cluster: &Cluster) -> u64 {
    let status = cluster.edge.status();
    let each = status["instances"].as_array().into_iter().flatten();
    each.map(|one| one["total_requests"].as_u64().expect("a counter")).sum()
}

/// Restarts the edge with only these variables.
fn reconfigure(cluster: &mut Cluster, setting: &Setting) {
    cluster.edge.kill();
    for name in SETTINGS.iter().flat_map(|one| one.environment).map(|(name, _)| name) {
        cluster.edge.set_env(name, None);
    }
    for (name, value) in setting.environment {
        cluster.edge.set_env(name, Some(value));
    }
    cluster.edge.restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
}

/// Runs one client: uploads each document, and searches for it.
fn client(cluster: &Cluster, figures: &Figures, place: &str, number: usize, chunks: u64) -> Vec<Document> {
    let client = cluster.client();
    let upload = |upload: usize| {
        let document = Document::new(&format!("client-{number}/{upload}"), chunks);
        let call = || client.try_call("POST", &record_path(place, "add"), &document.body());
        figures.call("upload", call).expect("an answer").expect(201);
        let body = serde_json::json!({ "query_embeddings": [document.embedding(0)], "n_results": 1 });
        let call = || client.try_call("POST", &record_path(place, "query"), &body);
        let found = figures.call("search", call).expect("an answer").expect(200).json();
        assert_eq!(found["ids"][0][0], document.ids()[0].as_str(), "what was stored is found: {found}");
        document
    };
    (0..UPLOADS).map(upload).collect()
}

fn play(cluster: &mut Cluster, fixture: &mut CatalogFixture, number: usize, setting: &Setting) -> Outcome {
    reconfigure(cluster, setting);
    let figures = Figures::default();
    for place in 0..COLLECTIONS {
        let body = serde_json::json!({ "name": collection(number, place) });
        cluster.client().post(&format!("{DEFAULT}/collections"), &body).expect(200);
    }
    let (before, begun) = (requests(cluster), Instant::now());
    std::thread::scope(|scope| {
        let (cluster, figures) = (&*cluster, &figures);
        let start = |one: usize| {
            let place = collection(number, one % COLLECTIONS);
            let documents = scope.spawn({
                let place = place.clone();
                move || client(cluster, figures, &place, one, setting.chunks)
            });
            (place, documents)
        };
        let clients: Vec<_> = (0..CLIENTS).map(start).collect();
        for (place, documents) in clients {
            let documents = documents.join().expect("a client");
            fixture.entry(place).or_default().extend(documents.into_iter().map(|one| (one.name.clone(), one)));
        }
    });
    let took = begun.elapsed();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let replicated = begun.elapsed() - took;
    assert_eq!(figures.errors(), Vec::<String>::new(), "{}", setting.name);
    Outcome {
        name: setting.name,
        documents: (CLIENTS * UPLOADS) as f64 * setting.chunks as f64 / took.as_secs_f64(),
        median: figures.median("upload"),
        longest: figures.longest_wait(),
        replicated,
        requests: requests(cluster) - before,
        memory: cluster.edge.peak_memory(),
    }
}

fn print(outcomes: &[Outcome]) {
    let mut text = format!(
        "\nUse case 5: the same work under different settings\n{:<28} {:>11} {:>8} {:>8} {:>10} {:>8} {:>8}\n",
        "setting", "documents/s", "median", "longest", "replicated", "requests", "memory"
    );
    for one in outcomes {
        writeln!(
            text,
            "{:<28} {:>11.0} {:>8} {:>8} {:>10} {:>8} {:>5} MB",
            one.name,
            one.documents,
            shown(one.median),
            shown(one.longest),
            shown(one.replicated),
            one.requests,
            one.memory / 1_000_000
        )
        .expect("a text");
    }
    println!("{text}");
}

#[test]
#[ignore = "a comparison of a minute: run by make use-case-5"]
fn case_5_the_same_work_under_different_settings() {
    let mut cluster = Cluster::two();
    let mut fixture = CatalogFixture::new();
    let play = |(number, setting): (usize, &Setting)| play(&mut cluster, &mut fixture, number, setting);
    let outcomes: Vec<Outcome> = SETTINGS.iter().enumerate().map(play).collect();
    print(&outcomes);
    cluster.assert_converged();
    let (compared, differences) = catalog_fixture::compare(&fixture, &cluster.servers);
    assert!(differences.is_empty(), "{differences:#?}");
    let chunks: u64 = SETTINGS.iter().map(|one| one.chunks).sum();
    assert_eq!(compared as u64, 2 * (CLIENTS * UPLOADS) as u64 * chunks, "every chunk on two instances");
}
