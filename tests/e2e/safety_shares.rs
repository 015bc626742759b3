//! Each client has a share of the room that applications' own operations may take in the journal: a client that fills
//! its share is refused, and no other.

use serde_json::{Value, json};

use chroma_edge::auth::Digest;
use testkit::http::{Answer, Client};
use testkit::postgres::Postgres;
use testkit::{ChromaServer, Cluster, Edge};

const TRANSACTIONS: &str = "/transaction/safety/transactions";
const SHARE: &str = "application_client_bytes: 512KiB";
const NAMES: [&str; 2] = ["cms", "shop"];

fn secret(name: &str) -> String {
    format!("a-secret-of-{name}")
}

fn line(name: &str, role: &str) -> String {
    let sha256 = Digest::of(secret(name).as_bytes()).hex();
    format!("      - {{ name: {name}, role: {role}, sha256: {sha256} }}\n")
}

fn guarded(postgres: Option<&Postgres>) -> Cluster {
    let servers = vec![ChromaServer::fresh()];
    let lines = [line("operator", "admin"), NAMES.map(|name| line(name, "writer")).concat()].concat();
    let edge = Edge::builder()
        .instances(&[&servers[0]])
        .journal_keys(&format!("max_bytes: 8MiB, application_bytes: 1MiB, {SHARE}"))
        .config(&format!("  auth:\n    tokens:\n{lines}"));
    let edge = postgres.into_iter().fold(edge, |edge, postgres| edge.postgres(&postgres.url())).launch();
    edge.wait_for_health();
    Cluster { edge, servers }
}

fn holding(cluster: &Cluster, name: &str) -> Client {
    cluster.client().with_header("x-chroma-token", &secret(name))
}

fn begin(client: &Client, id: &str, size: usize) -> Answer {
    let body = json!({ "method": "POST", "path": "/import", "data": "x".repeat(size) });
    client.with_header("transaction-id", id).post(TRANSACTIONS, &body)
}

fn end(client: &Client, id: &str, size: usize) -> Answer {
    client.post(&format!("{TRANSACTIONS}/{id}/complete"), &json!({ "result": "y".repeat(size) }))
}

/// Returns how many operations begin before one is refused because of its client's share.
#[track_caller]
fn until_refused(client: &Client, name: &str) -> usize {
    let answers = (0..20).map(|number| begin(client, &format!("{name}-{number}"), 150_000));
    let answers: Vec<Answer> = answers.take_while(|answer| answer.status != 507).collect();
    answers.iter().for_each(|answer| assert_eq!(answer.status, 201, "{answer}"));
    assert_full(&begin(client, "one-more", 150_000));
    answers.len()
}

#[track_caller]
fn assert_full(answer: &Answer) {
    assert_eq!((answer.status, &answer.json()["reason"]), (507, &json!("client_applications_full")), "{answer}");
}

fn one_fills_its_share_and_the_other_goes_on(postgres: Option<&Postgres>) {
    let mut cluster = guarded(postgres);
    let [cms, shop] = NAMES.map(|name| holding(&cluster, name));
    let operator = holding(&cluster, "operator");
    // From the start, without a retention round first.
    assert_eq!(until_refused(&cms, "of-cms"), 3);
    assert_eq!(begin(&cms, "of-cms-0", 150_000).expect(201).header("idempotent-replayed"), Some("true"));
    begin(&shop, "import", 150_000).expect(201);
    assert_eq!(operator.metric("journal_application_client_bytes_limit"), 1 << 19);
    assert!(operator.metric("applications_refused_to_clients") >= 1);
    assert_eq!(operator.metric("applications_refused"), 0, "there is room in the whole");

    cluster.edge.kill();
    cluster.edge.relaunch();
    cluster.edge.wait_for_health();
    assert_full(&begin(&cms, "one-more", 150_000));
    assert_eq!(until_refused(&shop, "of-shop"), 2, "with the one of before, as many as the other");
    // Whoever ends it, it stays its owner's.
    for client in [&cms, &operator] {
        assert_full(&end(client, "of-cms-0", 60_000));
    }
    end(&operator, "of-cms-0", 4_000).expect(200);

    let share = |from: &str, to: &str| {
        cluster.edge.rewrite(|text| text.replace(from, to));
        operator.post("/admin/reload", &json!({})).expect(200);
    };
    let more = "application_client_bytes: 700KiB";
    share(SHARE, more);
    begin(&cms, "after-all", 20_000).expect(201);
    share(more, SHARE);
    assert_full(&begin(&cms, "and-more", 20_000));
    let list = operator.get(&format!("{TRANSACTIONS}?operation=application")).expect(200).json();
    assert_eq!(list["total"], 7, "what was refused is not journaled: {list}");
    end(&cms, "of-cms-1", 0).expect(200);
}

#[test]
fn one_client_fills_its_share_and_the_other_goes_on() {
    one_fills_its_share_and_the_other_goes_on(None);
}

#[test]
fn one_client_fills_its_share_and_the_other_goes_on_with_postgres() {
    one_fills_its_share_and_the_other_goes_on(Some(&Postgres::fresh()));
}

/// Without tokens, a client is an address, or a network of 64 bits.
#[test]
fn an_address_has_a_share_where_nobody_is_asked_for_a_token() {
    let keys = format!("max_bytes: 8MiB, application_bytes: 1MiB, {SHARE}");
    let cluster = Cluster::with(1, |edge| edge.journal_keys(&keys).config("  trusted_proxies: [127.0.0.1]"));
    let from = |address: &str| cluster.client().with_header("x-forwarded-for", address);
    assert_eq!(until_refused(&from("2001:db8::1"), "import"), 3);
    assert_full(&begin(&from("2001:db8::ffff"), "of-a-neighbour", 150_000));
    begin(&from("203.0.113.7"), "of-another", 150_000).expect(201);
}

/// Operations that begin concurrently are counted together, before any of them is durable.
#[test]
fn who_begins_many_at_once_gets_no_more() {
    let keys = format!("max_bytes: 8MiB, application_bytes: 1MiB, {SHARE}");
    let cluster = Cluster::with(1, |edge| edge.journal_keys(&keys));
    let client = cluster.client();
    let begun: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..12)
            .map(|number| {
                let client = client.clone();
                scope.spawn(move || begin(&client, &format!("import-{number}"), 150_000).status)
            })
            .collect();
        all.into_iter().map(|one| usize::from(one.join().expect("an answer") == 201)).sum()
    });
    assert!((1..=3).contains(&begun), "{begun} of at most three");
    let sum: Value = client.get(&format!("{TRANSACTIONS}?operation=application")).expect(200).json();
    assert_eq!(sum["total"], begun, "{sum}");
}
