//! Who may do what: tokens, roles, scopes, and what needs no token, through the real edge.

use serde_json::{Value, json};

use chroma_edge::auth::{Digest, Need, PAGES, Role};
use testkit::cluster::{CATCH_UP, Cluster, add, create, ids};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::{self, wait_for};
use testkit::{ChromaServer, Edge};

const TOKENS: [(&str, &str); 3] = [("reader", "reader"), ("writer", "writer"), ("admin", "admin")];

fn line(name: &str, role: &str, more: &str) -> String {
    let sha256 = Digest::of(secret(name).as_bytes()).hex();
    format!("      - {{ name: {name}, role: {role}, sha256: {sha256}{more} }}\n")
}

fn secret(name: &str) -> String {
    format!("a-secret-of-{name}")
}

/// Returns a token for each role, and these.
fn tokens(more: &str) -> String {
    let all: String = TOKENS.iter().map(|(name, role)| line(name, role, "")).collect();
    format!("  auth:\n    tokens:\n{all}{more}")
}

fn guarded(more: &str) -> Cluster {
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let edge = Edge::builder().instances(&servers.iter().collect::<Vec<_>>()).config(&tokens(more)).launch();
    let cluster = Cluster { edge, servers };
    cluster.edge.wait_for_health();
    cluster
}

fn holding(edge: &Edge, name: &str) -> Client {
    edge.client().with_header("x-chroma-token", &secret(name))
}

#[track_caller]
fn refused(answer: testkit::http::Answer, status: u16, error: &str) {
    let answer = answer.expect(status);
    assert_eq!(answer.json()["error"], error, "{answer}");
    assert!(!answer.text().contains("a-secret"), "{answer}");
}

#[test]
fn a_request_needs_a_token_however_it_is_brought() {
    let cluster = guarded("");
    let nobody = cluster.client();
    refused(nobody.get(&format!("{DEFAULT}/collections")), 401, "AuthorizationError");
    assert!(nobody.get("/status").expect(401).header("www-authenticate").is_some());
    refused(nobody.with_header("x-chroma-token", "wrong").get("/status"), 401, "AuthorizationError");
    for path in ["/health", "/api/v2/heartbeat", "/api/v2/version", "/transaction/safety/client.js"] {
        nobody.get(path).expect(200);
    }
    use base64::Engine;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("me:{}", secret("reader")));
    for (name, value) in [
        ("authorization", format!("Bearer {}", secret("reader"))),
        ("x-chroma-token", secret("reader")),
        ("authorization", format!("Basic {basic}")),
    ] {
        nobody.with_header(name, &value).get(&format!("{DEFAULT}/collections")).expect(200);
    }
    let log = cluster.edge.log();
    assert!(!log.contains("a-secret") && log.contains("needs one of 3 tokens"), "{log}");
}

/// A container's health check asks without a token.
#[test]
fn status_has_a_verdict_for_who_has_no_token_and_none_for_a_wrong_one() {
    let mut cluster = guarded("");
    let url = cluster.edge.url();
    let status = |token: Option<&str>| {
        let mut command = std::process::Command::new(place::binary());
        command.env_remove("CHROMA_EDGE_TOKEN").args(["status", "--url", &url]);
        let output = command.args(token.map(|token| format!("--token={token}"))).output().expect("the command");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = status(None);
    assert!(code == Some(0) && text.starts_with("healthy: 2/2 servers in use;"), "{text}");
    assert!(status(Some(&secret("reader"))).1.contains("INSTANCE"));
    assert_eq!(status(Some("wrong")).0, Some(2));
    cluster.replica().kill();
    cluster.primary().kill();
    wait_for("nobody to serve from", CATCH_UP, || (status(None).0 == Some(2)).then_some(()));
}

#[test]
fn a_role_is_about_what_is_done_and_not_about_methods() {
    let mut cluster = guarded("");
    let [reader, writer, admin] = TOKENS.map(|(name, _)| holding(&cluster.edge, name));
    refused(reader.post(&format!("{DEFAULT}/collections"), &json!({ "name": "things" })), 403, "AuthError");
    let id = create(&writer, "things");
    add(&writer, &id, "one").expect(201);
    assert_eq!(ids(&reader, &id), ["one"], "a read by POST");
    let again = json!({ "name": "things", "get_or_create": true });
    reader.post(&format!("{DEFAULT}/collections"), &again).expect(200);
    // A gateway may add a transaction id to every request.
    reader.with_header("transaction-id", "mine").post(&format!("{DEFAULT}/collections"), &again).expect(200);
    cluster.replica().kill();
    create(&writer, "later");
    let later = json!({ "name": "later", "get_or_create": true });
    reader.post(&format!("{DEFAULT}/collections"), &later).expect(200);
    cluster.replica().restart();
    let new = json!({ "name": "new", "get_or_create": true });
    refused(reader.post(&format!("{DEFAULT}/collections"), &new), 403, "AuthError");
    for verb in ["add", "update", "upsert", "delete"] {
        let body = json!({ "ids": ["x"], "embeddings": [[1, 2, 3]] });
        refused(reader.post(&record_path(&id, verb), &body), 403, "AuthError");
    }
    refused(reader.call("DELETE", &format!("{DEFAULT}/collections/things"), &Value::Null), 403, "AuthError");
    refused(writer.post("/admin/drain", &json!({ "instance": "replica" })), 403, "AuthError");
    refused(writer.post("/transaction/safety/cleanup", &json!({ "days_old": 9 })), 403, "AuthError");
    admin.post("/transaction/safety/cleanup", &json!({ "days_old": 9 })).expect(200);
    writer.call("DELETE", &format!("{DEFAULT}/collections/things"), &Value::Null).expect(200);
}

/// Every row of the table, asked by every role: those without the right are refused, and those with it are not.
#[test]
fn every_page_asks_for_its_role() {
    let cluster = guarded(&line("limited", "admin", ", tenants: [default_tenant]"));
    for page in PAGES {
        let path = page.path.replace("{id}", "nothing").replace("{name}", "nothing").replace("{lane}", "catalog");
        let ask = |client: &Client| {
            // A stream has no end: a HEAD shows whether it would start.
            let method = if page.method == "GET" { "HEAD" } else { page.method };
            let mut connection = client.connect().expect("a connection");
            let mut head = testkit::http::head(method, &path, &[("connection", "close"), ("content-length", "0")]);
            for (name, value) in &client.headers {
                head.extend(format!("{name}: {value}\r\n").bytes());
            }
            head.extend(b"\r\n");
            connection.send(&head).expect("sent");
            connection.read_header().expect("an answer").status
        };
        let nobody = ask(&cluster.client());
        let (role, whole) = match page.need {
            Need::Nothing => {
                assert!(nobody < 400, "{page:?}: {nobody}");
                continue;
            }
            Need::Role(role) => (role, false),
            Need::Whole(role) | Need::Shown(role) => (role, true),
        };
        assert_eq!(nobody, 401, "{page:?}");
        for (rank, (name, _)) in TOKENS.iter().enumerate() {
            let may = Role::ALL[rank] >= role;
            let status = ask(&holding(&cluster.edge, name));
            assert_eq!(matches!(status, 401 | 403), !may, "{page:?}, {name}: {status}");
        }
        let limited = ask(&holding(&cluster.edge, "limited"));
        assert_eq!(limited == 403, whole, "{page:?}, limited: {limited}");
    }
}

#[test]
fn a_scope_holds_whatever_the_path_says() {
    let scoped = line("scoped", "writer", ", databases: [default_database], collections: [mine, new]");
    let cluster = guarded(&scoped);
    let (admin, scoped) = (holding(&cluster.edge, "admin"), holding(&cluster.edge, "scoped"));
    let [mine, other] = ["mine", "other"].map(|name| create(&admin, name));
    admin.post("/api/v2/tenants/default_tenant/databases", &json!({ "name": "second" })).expect(200);
    let second = "/api/v2/tenants/default_tenant/databases/second";
    let hidden = admin.post(&format!("{second}/collections"), &json!({ "name": "mine" })).expect(200).json()["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    for id in [&other, &hidden] {
        add(&admin, id, "secret").expect(201);
        let spellings = [id.clone(), id.to_uppercase(), id.replace('-', ""), format!("urn:uuid:{id}")];
        for spelling in &spellings {
            // Chroma itself ignores tenant and database here.
            for database in [DEFAULT, second, "/api/v2/tenants/nobody/databases/nothing"] {
                let path = |verb: &str| format!("{database}/collections/{spelling}/{verb}");
                scoped.post(&path("get"), &json!({})).expect(404);
                scoped.post(&path("query"), &json!({ "query_embeddings": [[1, 2, 3]] })).expect(404);
                scoped.get(&path("count")).expect(404);
                add(&scoped, spelling, "x").expect(404);
            }
        }
        scoped.call("PUT", &format!("{DEFAULT}/collections/{id}"), &json!({ "new_name": "new" })).expect(404);
        scoped.get(&format!("{DEFAULT}/collections/by-id/{id}")).expect(404);
    }
    // Nor by any instance's own id.
    for server in &cluster.servers {
        let found = server.client().get(&format!("{DEFAULT}/collections/other")).expect(200).json();
        let id = found["id"].as_str().expect("an id").to_owned();
        scoped.post(&record_path(&id, "get"), &json!({})).expect(404);
    }
    add(&scoped, &mine, "one").expect(201);
    let absent = scoped.get(&format!("{DEFAULT}/collections/absent")).expect(404).json();
    let there = scoped.get(&format!("{DEFAULT}/collections/other")).expect(404).json();
    assert_eq!(
        absent["message"].as_str().map(|text| text.replace("absent", "other")),
        there["message"].as_str().map(str::to_owned)
    );
    let listed = scoped.get(&format!("{DEFAULT}/collections")).expect(200).json();
    let names: Vec<&str> = listed.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["mine"]);
    assert_eq!(scoped.get(&format!("{DEFAULT}/collections_count")).expect(200).json(), 1);
    assert_eq!(scoped.get(&format!("{DEFAULT}/collections?limit=1&offset=1")).expect(200).json(), json!([]));
    let databases = scoped.get("/api/v2/tenants/default_tenant/databases").expect(200).json();
    assert_eq!(databases.as_array().map(Vec::len), Some(1), "{databases}");
    scoped.get(second).expect(404);
    let pinned = scoped.with_header("chroma-edge-instance", "primary");
    for path in [format!("{DEFAULT}/collections"), format!("{DEFAULT}/collections_count")] {
        refused(pinned.get(&path), 403, "AuthError");
    }
    refused(scoped.post(&format!("{DEFAULT}/collections"), &json!({ "name": "other" })), 403, "AuthError");
    refused(scoped.post(&format!("{DEFAULT}/collections"), &json!({ "name": "unknown" })), 403, "AuthError");
    refused(
        scoped.call("PUT", &format!("{DEFAULT}/collections/{mine}"), &json!({ "new_name": "other2" })),
        403,
        "AuthError",
    );
    refused(scoped.call("DELETE", DEFAULT, &Value::Null), 403, "AuthError");
    refused(scoped.post("/api/v2/reset", &Value::Null), 403, "AuthError");
    refused(scoped.get("/status"), 403, "AuthError");
    scoped.call("PUT", &format!("{DEFAULT}/collections/{mine}"), &json!({ "new_name": "new" })).expect(200);
    assert_eq!(ids(&admin, &other), ["secret"]);
}

#[test]
fn what_a_token_did_is_its_own() {
    let cluster = guarded(&line("second", "writer", ""));
    let [first, second, admin] = ["writer", "second", "admin"].map(|name| holding(&cluster.edge, name));
    let id = create(&first, "things");
    let keyed = |client: &Client, record: &str| {
        let client = client.with_header("transaction-id", "import-1").with_header("x-client-session", "shared");
        add(&client, &id, record).expect(201)
    };
    keyed(&first, "a");
    let other = keyed(&second, "b");
    assert!(other.header("idempotent-replayed").is_none(), "another principal's key is another write: {other}");
    assert_eq!(keyed(&first, "a").header("idempotent-replayed"), Some("true"));
    assert_eq!(ids(&admin, &id), ["a", "b"]);
    let shown = |client: &Client| client.get("/transaction/safety/transaction/import-1").expect(200).json();
    for (client, name) in [(&first, "writer"), (&second, "second")] {
        let transaction = shown(client);
        assert_eq!(transaction["principal"], name);
        let listed = client.get("/transaction/safety/transactions?session=shared").expect(200).json();
        assert_eq!((&listed["total"], &listed["transactions"][0]["principal"]), (&json!(1), &json!(name)));
        let all = client.get("/transaction/safety/transactions").expect(200).json();
        let others = all["transactions"].as_array().expect("a list").iter().filter(|one| one["principal"] != name);
        assert_eq!(others.count(), 0, "{all}");
    }
    let of_first = shown(&first)["transaction_id"].as_str().expect("an id").to_owned();
    second.get(&format!("/transaction/safety/transaction/{of_first}")).expect(404);
    second.get(&format!("/transaction/safety/events?transaction={of_first}")).expect(404);
    assert_eq!(
        admin.get(&format!("/transaction/safety/transaction/{of_first}")).expect(200).json()["principal"],
        "writer"
    );
    let unsaid = admin.get("/transaction/safety/transaction/import-1").expect(409).json();
    assert_eq!(unsaid["reason"], "ambiguous_id");
    let page = &admin.get("/openapi.json").expect(200).json()["paths"]["/transaction/safety/transaction/{id}"]["get"];
    assert!(["401", "403", "409"].iter().all(|status| page["responses"][status].is_object()), "{page}");
    let seen = admin.get("/transaction/safety/transactions?session=shared").expect(200).json();
    assert_eq!(seen["total"], 2);
}

#[test]
fn without_tokens_only_this_machine_may_discard_or_reconfigure() {
    let cluster = Cluster::with(2, |edge| edge.config("  trusted_proxies: [127.0.0.1]"));
    let here = cluster.client();
    let id = create(&here, "things");
    for (header, value) in [("x-forwarded-for", "203.0.113.7"), ("via", "1.1 router"), ("x-forwarded-for", "unknown")] {
        let forwarded = here.with_header(header, value);
        add(&forwarded, &id, value).expect(201);
        forwarded.get("/status").expect(200);
        forwarded.get("/transaction/safety/transactions").expect(200);
        for page in PAGES.iter().filter(|page| page.need == Need::Whole(Role::Admin)) {
            let path = page.path.replace("{id}", "nothing").replace("{name}", "nothing").replace("{lane}", "catalog");
            refused(forwarded.call(page.method, &path, &Value::Null), 403, "AuthError");
        }
    }
    here.post("/transaction/safety/cleanup", &json!({ "days_old": 9 })).expect(200);
    let through = here.with_header("x-forwarded-for", "127.0.0.1");
    through.post("/transaction/safety/cleanup", &json!({ "days_old": 9 })).expect(200);
    assert!(cluster.edge.log().contains("open to this machine alone"));
}

#[test]
fn stock_clients_bring_tokens_and_raise_the_right_exceptions() {
    let cluster = guarded(&line("scoped", "writer", ", collections: [things]"));
    let writer = holding(&cluster.edge, "writer");
    let id = create(&writer, "things");
    create(&writer, "other");
    add(&writer, &id, "a").expect(201);
    let (reader, scoped) = (secret("reader"), secret("scoped"));
    let url = cluster.edge.url();
    testkit::scripts::python("auth.py", &url, &["--reader", &reader, "--scoped", &scoped]);
    testkit::scripts::js_with("auth.js", &url, &[("READER", &reader), ("SCOPED", &scoped)]);
}
