//! A journal that accepts no writes: every page, the command and the metric report it. They also report it when it
//! accepts writes again, even if no client writes meanwhile (promise G10).

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use testkit::cluster::{CATCH_UP, Cluster, add};
use testkit::http::Client;
use testkit::place::{self, wait_for};
use testkit::postgres::Postgres;
use testkit::shared::Shared;

use crate::dashboard::{first_state, watch};

const RETURN: Duration = Duration::from_secs(30);
/// Longer than the time without a failure after which the journal counts as accepting writes.
const LASTS: Duration = Duration::from_secs(5);

/// What an edge in front of two healthy servers reports about its journal, everywhere.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    health: (u16, String, bool),
    ready: u16,
    status: bool,
    level: String,
    metric: i64,
    code: Option<i32>,
    line: bool,
}

impl Told {
    fn by(cluster: &Cluster) -> Told {
        let client = cluster.client();
        let health = client.get("/health");
        let said = health.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut command = Command::new(place::binary());
        command.args(["status", "--url", &cluster.edge.url()]).env_remove("CHROMA_EDGE_TOKEN");
        let ran = command.output().expect("the program");
        Told {
            health: (health.status, text(&said["status"]), said["journal_writable"] == true),
            ready: client.get("/health/ready").status,
            status: cluster.edge.status()["journal"]["writable"] == true,
            level: text(&first_state(&mut watch(&client).0)["verdict"]["level"]),
            metric: client.metric("journal_writable"),
            code: ran.status.code(),
            line: String::from_utf8_lossy(&ran.stdout).contains("the journal takes no writes: "),
        }
    }

    fn writable() -> Told {
        Told {
            health: (200, "healthy".to_owned(), true),
            ready: 200,
            status: true,
            level: "safe".to_owned(),
            metric: 1,
            code: Some(0),
            line: false,
        }
    }

    fn refusing() -> Told {
        Told {
            // A load balancer keeps the edge, since it serves reads.
            health: (200, "degraded".to_owned(), false),
            ready: 503,
            status: false,
            level: "unavailable".to_owned(),
            metric: 0,
            code: Some(1),
            line: true,
        }
    }
}

/// Waits without any write.
fn await_told(cluster: &Cluster, expected: &Told) {
    let mut last = None;
    wait_for(&format!("{expected:?}"), RETURN, || {
        let told = Told::by(cluster);
        let is_told = told == *expected;
        if !is_told && last.as_ref() != Some(&told) {
            eprintln!("{told:?}");
        }
        last = Some(told);
        is_told.then_some(())
    });
}

fn failed_commits(client: &Client) -> i64 {
    client.metric("journal_failed_commits")
}

#[test]
fn a_full_disk() {
    let cluster = Cluster::with(2, testkit::edge::Builder::limitable_files);
    let (client, collection) = (cluster.client(), cluster.create("things"));
    add(&client, &collection, "before").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(Told::by(&cluster), Told::writable());
    super::journal_away::fill_up(&cluster);
    assert_eq!(add(&client, &collection, "refused").status, 503);
    assert_eq!(Told::by(&cluster), Told::refusing());
    let until = Instant::now() + LASTS;
    while Instant::now() < until {
        assert_eq!(Told::by(&cluster), Told::refusing(), "it lasts though nobody writes");
    }
    cluster.edge.limit_files(None);
    await_told(&cluster, &Told::writable());
    add(&client, &collection, "after").expect(201);
    assert_eq!(Told::by(&cluster), Told::writable());
}

#[test]
fn a_journal_that_another_process_has_locked() {
    let cluster = Cluster::with(2, |edge| edge.config("  journal_timeout: 1s"));
    let (client, collection) = (cluster.client(), cluster.create("things"));
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let lock = super::journal_away::lock(&cluster);
    assert_eq!(add(&client, &collection, "refused").status, 503);
    assert_eq!(Told::by(&cluster), Told::refusing());
    let before = failed_commits(&client);
    wait_for("attempts of the edge's own", RETURN, || (failed_commits(&client) >= before + 4).then_some(()));
    assert_eq!(Told::by(&cluster), Told::refusing(), "it lasts though nobody writes");
    drop(lock);
    await_told(&cluster, &Told::writable());
}

#[test]
fn a_database_that_is_gone() {
    let mut shared = Shared::on(Postgres::fresh(), |edge| edge);
    let collection = shared.cluster.create("things");
    shared.cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(Told::by(&shared.cluster), Told::writable());
    shared.postgres.kill();
    await_told(&shared.cluster, &Told::refusing());
    shared.postgres.start();
    await_told(&shared.cluster, &Told::writable());
    shared.postgres.kill();
    assert_eq!(add(&shared.cluster.client(), &collection, "refused").status, 503);
    assert_eq!(Told::by(&shared.cluster), Told::refusing(), "known from the first write that is refused");
    shared.postgres.start();
    await_told(&shared.cluster, &Told::writable());
    add(&shared.cluster.client(), &collection, "after").expect(201);
}
