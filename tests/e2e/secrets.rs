//! Secrets are planted wherever one may be, and searched for wherever something is stored or shown.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, create, record};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::{binary, data_dir, wait_for};
use testkit::{ChromaServer, Edge};

/// No other text contains it.
const MARK: &str = "pl4nted";

fn planted(what: &str) -> String {
    format!("{MARK}-{what}-0123456789abcdef0123456789abcdef")
}

/// The edge's own secrets: a token and a JWT secret in files, a header from the environment, a webhook's secret and
/// URL.
fn configuration(folder: &Path) -> String {
    let file = |name: &str| {
        let path = folder.join(name);
        std::fs::write(&path, planted(name)).expect("a file");
        path.display().to_string()
    };
    let (token, jwt) = (file("token"), file("jwt"));
    format!(
        "  access_log: true\n  log: debug\n  auth:\n    tokens:\n      - {{ name: cms, role: admin, file: {token:?} }}\n    \
         jwt: {{ secret: \"file:{jwt}\" }}\n  notify:\n    webhook: {{ url: \"http://127.0.0.1:9/{}\", secret: {:?} }}\n",
        planted("url"),
        planted("webhook")
    )
}

/// Sends writes, reads and refused requests, with secrets where clients put them.
fn requests(client: &Client) {
    let strange = client
        .with_header("Cookie", &format!("session={}", planted("cookie")))
        .with_header("Api-Key", &planted("api-key"))
        .with_header("Proxy-Authorization", &planted("proxy"));
    let id = create(&strange, "things");
    strange.post(&record_path(&id, &format!("add?token={}", planted("query"))), &record("one")).expect(201);
    strange.post(&record_path(&id, &format!("get?token={}", planted("query"))), &json!({})).expect(200);
    strange.post(&record_path(&id, "add"), &json!({ "ids": [""] })).expect(400);
    strange.call("DELETE", &format!("{DEFAULT}/collections/global"), &Value::Null).expect(403);
    let operation = json!({
        "method": "POST", "path": format!("https://me:{}@shop/x?key={}", planted("user"), planted("key")), "data": 1,
        "headers": { "Authorization": planted("header"), "X-Auth-Token": planted("header") },
    });
    strange.post("/transaction/safety/transactions", &operation).expect(201);
    for (name, value) in [
        ("authorization", format!("Bearer {}", planted("wrong"))),
        ("authorization", format!("Basic {}", planted("basic"))),
        ("x-chroma-token", format!("eyJhbGciOiJIUzI1NiJ9.{}.x", planted("jwt-of-nobody"))),
    ] {
        let mut nobody = client.clone();
        nobody.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
        let refused = nobody.with_header(name, &value).get(&format!("{DEFAULT}/collections")).expect(401);
        assert!(!refused.text().contains(MARK), "{refused}");
    }
}

#[test]
fn planted_secrets_are_kept_and_shown_nowhere() {
    let folder = data_dir("secrets");
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let with_header = "headers: { Authorization: \"env:UPSTREAM\" }";
    let edge = servers.iter().fold(Edge::builder(), |edge, server| edge.instance_with(&server.url(), with_header));
    let upstream = planted("upstream");
    let edge = edge.config(&configuration(folder.path())).env("UPSTREAM", &upstream).launch();
    let mut cluster = Cluster { edge, servers };
    cluster.edge.wait_for_health();
    let client = cluster.client().with_header("authorization", &format!("Bearer {}", planted("token")));
    wait_for("an edge that serves", CATCH_UP, || (client.get("/health/ready").status == 200).then_some(()));
    requests(&client);
    // A lost server makes the edge report reasons.
    cluster.replica().kill();
    let id = create(&client, "more");
    client.post(&record_path(&id, "add"), &record("two")).expect(201);
    let mut pages = vec![("log".to_owned(), cluster.edge.log().into_bytes())];
    for page in chroma_edge::auth::PAGES.iter().filter(|page| page.method == "GET" && !page.path.contains(['{'])) {
        if page.path != "/dashboard/live" && page.path != "/transaction/safety/events" {
            pages.push((page.path.to_owned(), client.get(page.path).body));
        }
    }
    let mut check = Command::new(binary());
    check.args(["check", "--conf"]).arg(cluster.edge.dir().join("edge.yaml"));
    let check = check.env("UPSTREAM", &upstream).output().expect("check");
    pages.push(("check".to_owned(), [check.stdout, check.stderr].concat()));
    for entry in std::fs::read_dir(cluster.edge.dir()).expect("the edge's folder") {
        let path = entry.expect("a file").path();
        if path.is_file() && path.file_name().is_some_and(|name| name != "edge.yaml") {
            pages.push((path.display().to_string(), std::fs::read(&path).expect("its bytes")));
        }
    }
    assert!(pages.iter().any(|(name, bytes)| name.ends_with("journal.db") && !bytes.is_empty()), "the journal is one");
    for (name, bytes) in pages {
        let found = bytes.windows(MARK.len()).position(|window| window == MARK.as_bytes());
        let around = |at: usize| {
            String::from_utf8_lossy(&bytes[at.saturating_sub(200)..(at + 60).min(bytes.len())]).into_owned()
        };
        assert!(found.is_none(), "{name}: {:?}", found.map(around));
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", cluster.edge.process())).expect("its limits");
    let dumps = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    // If the machine itself forbids dumps, the limit cannot be raised to one.
    let none = |word: &&str| matches!(*word, "0" | "1");
    assert!(dumps.split_whitespace().filter(none).count() == 2, "a dump would hold them all: {dumps}");
}
