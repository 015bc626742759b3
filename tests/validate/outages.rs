//! A deployment that is away, partly away, or not what it seems: clear messages, and never a hang.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use super::command::{MUCH, Ran, command, end_of, own, validate};
use super::liar::Liar;
use testkit::http::DEFAULT;
use testkit::place::wait_for;
use testkit::postgres::Postgres;
use testkit::{ChromaServer, Cluster, Edge};

/// Checks that health gives the reason, and that nothing else was begun.
#[track_caller]
fn assert_nothing_begun(ran: &Ran, why: &str) {
    ran.assert_failed("health", why);
    let skipped = |one: &serde_json::Value| one["check"] == "health" || one["verdict"] == "skipped";
    assert!(ran.report["checks"].as_array().is_some_and(|list| list.iter().all(skipped)), "{ran:#?}");
    assert_eq!(ran.left(), 0);
}

#[test]
fn one_instance_down_is_told_by_name_and_the_rest_goes_on() {
    let mut cluster = Cluster::two();
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, Duration::from_secs(30));
    let begun = Instant::now();
    let ran = validate(&cluster.edge.url(), &[]);
    for check in ["health", "collections", "metadata", "reads", "sync", "delete"] {
        ran.assert_failed(check, "replica");
        let words = if check == "collections" { "no id on replica" } else { "is down" };
        assert!(ran.check(check).to_string().contains(words), "{ran:#?}");
    }
    for check in ["documents", "concurrency", "transactions"] {
        assert_eq!(ran.check(check)["verdict"], "passed", "{ran:#?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(100), "{:?}", begun.elapsed());
    assert_eq!(ran.check("sync")["figures"]["records_compared"], 42, "on the one that could be read");
    ran.assert_removable(&[&cluster.client(), &cluster.servers[0].client()]);
    cluster.replica().restart();
    cluster.edge.wait_until_in_sync(Duration::from_secs(60));
}

#[test]
fn nobody_there_is_told_at_once() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port");
    assert_nothing_begun(&validate(&format!("http://{port}"), &[]), "cannot be reached: the connection was refused");
    let ran = validate("http://no-such-host.invalid", &[]);
    assert_nothing_begun(&ran, "http://no-such-host.invalid cannot be reached");
    assert_eq!(
        ran.stdout.matches("cannot be reached").count(),
        2,
        "said once for all that was skipped: {}",
        ran.stdout
    );
    let ran = validate(&format!("http://{port}"), &["--only", "sync"]);
    assert_eq!(
        (ran.code, &ran.check("sync")["verdict"]),
        (Some(1), &json!("skipped")),
        "what was not shown did not pass"
    );
}

#[test]
fn nobody_who_answers_is_waited_for_as_long_as_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let begun = Instant::now();
    assert_nothing_begun(&validate(&url, &["--limit", "2"]), "brought no answer within");
    assert!((2..20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[test]
fn an_address_that_leads_elsewhere_is_not_followed() {
    let cluster = Cluster::two();
    let target = cluster.edge.url();
    let liar = Liar::before(&cluster.edge, move |asked, _| {
        let mut answer = super::liar::made_up(308, &json!({}));
        answer.headers.push(("location".to_owned(), format!("{target}{}", asked.path)));
        answer
    });
    let words = format!("GET /status leads to {}/status: is --url right?", cluster.edge.url());
    assert_nothing_begun(&validate(liar.url(), &["--token", "s3cret"]), &words);
}

#[test]
fn a_bare_server_is_no_edge_and_is_left_alone() {
    let server = ChromaServer::fresh();
    assert_nothing_begun(&validate(&server.url(), &[]), "as by no chroma-edge");
    assert_eq!(own(&server.client()), Vec::<String>::new());
    assert_eq!(server.client().get(&format!("{DEFAULT}/collections_count")).expect(200).json(), 0);
}

/// With a journal in PostgreSQL: the active edge passes, the other one is a standby.
#[test]
fn a_standby_is_told_by_its_holder_and_the_active_edge_passes() {
    let postgres = Postgres::fresh();
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    let edge = || Edge::builder().instances(&servers.iter().collect::<Vec<_>>()).postgres(&postgres.url());
    let (first, second) = (edge().start(), edge().start());
    let held = || second.client().get("/health").json()["journal"] == "held";
    wait_for("a standby", Duration::from_secs(30), || held().then_some(()));
    assert_nothing_begun(&validate(&second.url(), &[]), "this edge stands by: another one (");
    let ran = validate(&first.url(), &[MUCH]);
    ran.assert_passed();
    assert_eq!(ran.check("health")["figures"]["journal"], "postgres");
}

#[test]
fn the_runs_limit_ends_it_and_what_is_left_is_named() {
    let cluster = Cluster::two();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let liar = Liar::before(&cluster.edge, move |asked, pass| {
        if asked.is("POST", "/add", "documents") {
            // Waits until the test is over.
            let _ = held.lock().expect("no thread panics here").recv();
        }
        pass(asked)
    });
    let begun = Instant::now();
    let ran = validate(liar.url(), &["--only", "documents,sync", "--limit", "5"]);
    ran.assert_failed("documents", "brought no answer within").assert_failed("sync", "the run's limit of 5 s is over");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(ran.left(), 1);
    drop(hold);
    ran.assert_removable(&[&cluster.client()]);
}

#[test]
fn addresses_of_instances_that_are_exchanged_or_lead_nowhere_are_found() {
    let cluster = Cluster::two();
    let at = |n: usize| cluster.servers[n].url();
    let exchanged = format!("primary={},replica={}", at(1), at(0));
    let ran = validate(&cluster.edge.url(), &["--only", "collections", "--instances", &exchanged]);
    ran.assert_failed("collections", &format!("replica at {} has it as ", at(0)));
    ran.assert_removable(&[&cluster.client()]);
    let both = format!("primary={},replica={}", at(0), at(0).replace("127.0.0.1", "localhost"));
    for addresses in [&exchanged, &both] {
        for check in ["metadata", "sync", "delete"] {
            let ran = validate(&cluster.edge.url(), &["--only", check, "--instances", addresses]);
            ran.assert_failed(check, "has it as ");
            assert!(ran.check(check).to_string().contains("replica at "), "{ran:#?}");
            ran.assert_removable(&[&cluster.client()]);
        }
    }
    let port = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port");
    let nowhere = format!("replica=http://{port}");
    let ran = validate(&cluster.edge.url(), &["--only", "sync", "--instances", &nowhere]);
    ran.assert_failed("sync", &format!("http://{port} cannot be reached"));
    assert!(!ran.check("sync").to_string().contains("primary at"), "{ran:#?}");
    ran.assert_removable(&[&cluster.client()]);
}

#[test]
fn an_edge_is_no_instance() {
    let cluster = Cluster::two();
    let address = format!("replica={}", cluster.edge.url());
    let ran = validate(&cluster.edge.url(), &["--instances", &address]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stderr.contains("is an edge: --instances takes replica's own address"), "{ran:#?}");
    assert_eq!(own(&cluster.client()), Vec::<String>::new());
    // An edge whose own pages cannot be reached at this address.
    let hidden = Liar::before(&cluster.edge, |asked, pass| match asked.is_page("/health") {
        true => super::liar::made_up(404, &json!({})),
        false => pass(asked),
    });
    let address = format!("replica={}", hidden.url());
    let ran = validate(&cluster.edge.url(), &["--only", "sync", "--instances", &address]);
    ran.assert_failed("sync", "the answer of an edge (by its ");
    ran.assert_removable(&[&cluster.client()]);
}

#[cfg(feature = "tls")]
#[test]
fn certificates_are_checked_against_the_systems_authorities() {
    use testkit::Relay;
    use testkit::authority::certified;
    let cluster = Cluster::two();
    let certified = certified("localhost");
    let relay = Relay::tls(&cluster.servers[1], &certified.server);
    let (_folder, authority) = super::command::file("ca.pem", &certified.authority);
    let address = format!("replica={}", relay.url());
    let options = ["--only", "sync", "--instances", &address];
    let mut trusting = command(&cluster.edge.url(), &options);
    let ran = end_of(trusting.env("SSL_CERT_FILE", &authority).spawn().expect("the command"));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.contains("asked directly: 1"), "{ran:#?}");
    let (_folder, stranger) = super::command::file("ca.pem", &strangers_authority());
    let mut doubting = command(&cluster.edge.url(), &options);
    let ran = end_of(doubting.env("SSL_CERT_FILE", &stranger).spawn().expect("the command"));
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stdout.contains("TLS: its certificate is not good"), "{ran:#?}");
}

/// Returns another authority's certificate.
#[cfg(feature = "tls")]
fn strangers_authority() -> String {
    testkit::authority::certified("localhost").authority
}
