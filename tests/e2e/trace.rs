//! The id of a request: in each of the edge's own errors, and passed on to the servers.

use serde_json::json;

use testkit::Relay;
use testkit::cluster::{Cluster, add};
use testkit::http::{Answer, DEFAULT, record_path};

const TRACE: &str = "chroma-trace-id";
const MINE: &str = "00ab5f3c9d2e4f61a7b8c9d0e1f20304";

#[track_caller]
fn traced(answer: &Answer) -> String {
    let id = answer.header(TRACE).unwrap_or_else(|| panic!("no trace id: {answer}"));
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{answer}");
    id.to_owned()
}

fn has(relay: &Relay, ending: &str) -> bool {
    let named = |(name, value): &(String, String)| name == TRACE && value == MINE;
    relay.seen_at(ending).iter().any(|seen| seen.headers.iter().any(named))
}

#[test]
fn every_error_of_the_edges_own_names_the_request() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    let client = cluster.client();
    let errors = [
        client.get(&format!("{DEFAULT}/collections/missing")).expect(404),
        client.post("/api/v2/reset", &json!(null)).expect(403),
        client
            .with_header("Transaction-ID", "two words")
            .post(&record_path(&collection, "add"), &json!({}))
            .expect(400),
        client.get("/transaction/safety/transaction/missing").expect(404),
        client.with_header("chroma-edge-instance", "nobody").get("/api/v2/version").expect(400),
    ];
    let ids: std::collections::BTreeSet<String> = errors.iter().map(traced).collect();
    assert_eq!(ids.len(), errors.len(), "each request has its own");
    let named = client.with_header(TRACE, MINE);
    assert_eq!(traced(&named.get(&format!("{DEFAULT}/collections/missing")).expect(404)), MINE);
    named.post(&record_path(&collection, "get"), &json!({})).expect(200);
    assert!(relays.iter().any(|relay| has(relay, "/get")), "passed on to the server");
    add(&named, &collection, "two").expect(201);
    cluster.assert_converged();
    assert!(
        relays.iter().all(|relay| has(relay, "/add")),
        "with a write, to the server that executes it and to the others"
    );
}
