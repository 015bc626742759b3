//! JWTs through the real edge: what they allow, whose writes they make, and how keys are replaced.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use chroma_edge::auth::Digest;
use testkit::cluster::{Cluster, add, create, ids};
use testkit::http::{Answer, Client, DEFAULT};
use testkit::place::{data_dir, wait_for};
use testkit::{ChromaServer, Edge};

const SECRET: &str = "a-secret-of-the-issuer-of-32-bytes";
const OPERATOR: &str = "a-secret-of-an-operator";
const SOON: Duration = Duration::from_secs(20);

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns claims that are valid for this many seconds, with additional ones.
fn claims(subject: &str, role: &str, seconds: i64, more: Value) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs() as i64;
    let mut all = json!({ "sub": subject, "chroma_role": role, "exp": now + seconds, "iss": "id", "aud": "edge" });
    for (name, value) in more.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    all
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()))
}

fn by_secret(secret: &str, claims: &Value) -> String {
    let message = message(&json!({ "alg": "HS256", "typ": "JWT" }), claims);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    format!("{message}.{}", encoded(ring::hmac::sign(&key, message.as_bytes()).as_ref()))
}

fn token(subject: &str, role: &str, more: Value) -> String {
    by_secret(SECRET, &claims(subject, role, 600, more))
}

/// Starts an edge with one token, which accepts JWTs as these keys define.
fn accepting(jwt: &str) -> Cluster {
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let sha256 = Digest::of(OPERATOR.as_bytes()).hex();
    let auth = format!(
        "  auth:\n    tokens: [{{ name: app, role: admin, sha256: {sha256} }}]\n    \
         jwt: {{ {jwt}, issuer: id, audience: edge }}"
    );
    let edge = Edge::builder()
        .instances(&servers.iter().collect::<Vec<_>>())
        .config(&auth)
        .config("  access_log: true")
        .env("ISSUER", SECRET)
        .launch();
    edge.wait_for_health();
    Cluster { edge, servers }
}

fn bearing(edge: &Edge, token: &str) -> Client {
    edge.client().with_header("authorization", &format!("Bearer {token}"))
}

#[track_caller]
fn refused(answer: Answer, status: u16, error: &str) {
    let answer = answer.expect(status);
    assert_eq!(answer.json()["error"], error, "{answer}");
}

#[test]
fn a_jwt_may_what_its_claims_say_and_nothing_that_it_is_not() {
    let cluster = accepting("secret: env:ISSUER");
    let edge = &cluster.edge;
    let [reader, writer, admin] =
        ["reader", "writer", "admin"].map(|role| bearing(edge, &token(role, role, json!({}))));
    refused(reader.post(&format!("{DEFAULT}/collections"), &json!({ "name": "things" })), 403, "AuthError");
    let id = create(&writer, "things");
    create(&writer, "other");
    add(&writer, &id, "one").expect(201);
    assert_eq!(ids(&reader, &id), ["one"]);
    refused(writer.post("/transaction/safety/cleanup", &json!({ "days_old": 9 })), 403, "AuthError");
    admin.post("/transaction/safety/cleanup", &json!({ "days_old": 9 })).expect(200);
    let scope = json!({ "chroma_collections": ["things"] });
    let scoped = bearing(edge, &token("scoped", "writer", scope));
    add(&scoped, &id, "two").expect(201);
    scoped.get(&format!("{DEFAULT}/collections/other")).expect(404);
    refused(scoped.get("/status"), 403, "AuthError");
    edge.client().with_header("x-chroma-token", &token("r", "reader", json!({}))).get("/status").expect(200);

    let good = token("mallory", "admin", json!({}));
    let unsigned = message(&json!({ "alg": "none" }), &claims("mallory", "admin", 600, json!({})));
    for (what, wrong) in [
        ("expired", by_secret(SECRET, &claims("mallory", "admin", -60, json!({})))),
        ("not yet", token("mallory", "admin", json!({ "nbf": 4_102_444_800_i64 }))),
        ("endless", by_secret(SECRET, &json!({ "sub": "m", "chroma_role": "admin", "iss": "id", "aud": "edge" }))),
        ("another secret", by_secret("a-secret-of-nobody-else-of-32-bytes!", &claims("m", "admin", 600, json!({})))),
        ("unsigned", format!("{unsigned}.")),
        ("cut", good[..good.len() - 2].to_owned()),
        ("an unknown role", token("mallory", "owner", json!({}))),
        ("another issuer", token("mallory", "admin", json!({ "iss": "other" }))),
        ("for another", token("mallory", "admin", json!({ "aud": "other" }))),
        ("too long", token("mallory", "admin", json!({ "padding": "p".repeat(9000) }))),
    ] {
        let answer = bearing(edge, &wrong).get("/status");
        refused(answer, 401, "AuthorizationError");
        add(&bearing(edge, &wrong), &id, what).expect(401);
    }
    assert_eq!(ids(&reader, &id), ["one", "two"]);
    let log = edge.log();
    assert!(log.contains("needs one of 1 tokens or a JWT (HS256)") && log.contains("jwt:writer"), "{log}");
    assert!(!log.contains(SECRET) && !log.contains(&good[..20]), "no secret and no token is in the log");
}

#[test]
fn what_a_subject_did_is_its_own_and_no_configured_tokens() {
    let cluster = accepting("secret: env:ISSUER");
    let configured = cluster.client().with_header("x-chroma-token", OPERATOR);
    let subject = bearing(&cluster.edge, &token("app", "writer", json!({})));
    let other = bearing(&cluster.edge, &token("app2", "writer", json!({})));
    let id = create(&subject, "things");
    let keyed =
        |client: &Client, record: &str| add(&client.with_header("transaction-id", "import-1"), &id, record).expect(201);
    for (client, record) in [(&configured, "a"), (&subject, "b"), (&other, "c")] {
        assert!(keyed(client, record).header("idempotent-replayed").is_none(), "{record}");
    }
    assert_eq!(keyed(&subject, "b").header("idempotent-replayed"), Some("true"));
    // A new token of the same subject is the same principal.
    let renewed = bearing(&cluster.edge, &token("app", "writer", json!({ "jti": "another" })));
    assert_eq!(keyed(&renewed, "b").header("idempotent-replayed"), Some("true"));
    let shown = subject.get("/transaction/safety/transaction/import-1").expect(200).json();
    assert_eq!(shown["principal"], "jwt:app", "{shown}");
    let all = other.get("/transaction/safety/transactions").expect(200).json();
    assert_eq!((&all["total"], &all["transactions"][0]["principal"]), (&json!(1), &json!("jwt:app2")), "{all}");
}

/// Returns a key pair, and the key set with its public half.
fn pair(kid: &str) -> (EcdsaKeyPair, Value) {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).expect("a key");
    let point = pair.public_key().as_ref();
    let (x, y) = (encoded(&point[1..33]), encoded(&point[33..]));
    let key = json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": x, "y": y });
    (pair, key)
}

fn by_pair(pair: &EcdsaKeyPair, kid: &str) -> String {
    let message = message(&json!({ "alg": "ES256", "kid": kid }), &claims("app", "reader", 600, json!({})));
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
    format!("{message}.{}", encoded(signature.as_ref()))
}

fn written(folder: &TempDir, keys: &[&Value]) -> std::path::PathBuf {
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, json!({ "keys": keys }).to_string()).expect("a file");
    path
}

#[test]
fn keys_of_a_set_come_and_go_with_a_reload() {
    let folder = data_dir("jwks");
    let (first, first_key) = pair("2026-a");
    let (second, second_key) = pair("2026-b");
    let path: &Path = &written(&folder, &[&first_key]);
    let cluster = accepting(&format!("jwks_file: {path:?}"));
    let status = |pair, kid| bearing(&cluster.edge, &by_pair(pair, kid)).get("/status").status;
    let hung_up = |line: &str| {
        let lines = || cluster.edge.log().lines().filter(|one| one.contains(line)).count();
        let before = lines();
        cluster.edge.signal(nix::sys::signal::Signal::SIGHUP);
        wait_for("the reload in the log", SOON, || (lines() > before).then_some(()));
    };
    assert_eq!((status(&first, "2026-a"), status(&second, "2026-b"), status(&second, "2026-a")), (200, 401, 401));
    written(&folder, &[&first_key, &second_key]);
    assert_eq!(status(&second, "2026-b"), 401, "not before it is asked for");
    hung_up("configuration reloaded");
    assert_eq!((status(&first, "2026-a"), status(&second, "2026-b")), (200, 200));
    std::fs::write(path, "no keys").expect("a file");
    hung_up("the configuration is not reloaded");
    assert_eq!(
        (status(&first, "2026-a"), status(&second, "2026-b")),
        (200, 200),
        "what cannot be read changes nothing"
    );
    written(&folder, &[&second_key]);
    hung_up("configuration reloaded");
    assert_eq!((status(&first, "2026-a"), status(&second, "2026-b")), (401, 200));
}

#[test]
fn stock_clients_bring_jwts_as_they_bring_tokens() {
    let cluster = accepting("secret: env:ISSUER");
    let writer = bearing(&cluster.edge, &token("writer", "writer", json!({})));
    let id = create(&writer, "things");
    create(&writer, "other");
    add(&writer, &id, "a").expect(201);
    let reader = token("reader", "reader", json!({}));
    let scoped = token("scoped", "writer", json!({ "chroma_collections": ["things"] }));
    let url = cluster.edge.url();
    testkit::scripts::python("auth.py", &url, &["--reader", &reader, "--scoped", &scoped]);
    testkit::scripts::js_with("auth.js", &url, &[("READER", &reader), ("SCOPED", &scoped)]);
}
