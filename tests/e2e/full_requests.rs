//! Writers of a busy collection share whole requests. On first execution, the next request waits for the clients that
//! were just answered; in replication, several requests become one (rule R19).

use std::time::Duration;

use serde_json::Value;

use testkit::chroma::ChromaServer;
use testkit::cluster::{CATCH_UP, Cluster, create, record};
use testkit::http::record_path;
use testkit::{Edge, Relay};

const WRITERS: usize = 8;
const EACH: usize = 6;
/// How long a request takes on the primary: long compared with a client's next request, even on a slow machine.
const REQUEST: Duration = Duration::from_millis(400);

/// Starts a relay that delays each write.
fn slow(server: &ChromaServer, takes: Duration) -> Relay {
    Relay::intercepted(
        server.client(),
        Box::new(move |seen, pass_on| {
            if seen.path.ends_with("/upsert") {
                std::thread::sleep(takes);
            }
            pass_on(&seen)
        }),
    )
}

fn documents(relay: &Relay) -> Vec<usize> {
    let count = |body: &[u8]| {
        let body: Value = serde_json::from_slice(body).expect("a JSON body");
        body["ids"].as_array().map_or(0, Vec::len)
    };
    relay.seen_at("/upsert").iter().map(|seen| count(&seen.body)).collect()
}

/// Returns how many documents each request had, at the primary and at the replica, while each writer wrote one by one.
fn requests_with(batching: &str) -> [Vec<usize>; 2] {
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let relays = [slow(&servers[0], REQUEST), slow(&servers[1], Duration::ZERO)];
    let edge = relays.iter().fold(Edge::builder(), |edge, relay| edge.instance_url(&relay.url()));
    let cluster = Cluster { edge: edge.config(&format!("  batching: {batching}")).start(), servers };
    let path = record_path(&create(&cluster.client(), "things"), "upsert");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (client, path) = (cluster.client(), &path);
            scope.spawn(move || {
                for number in 0..EACH {
                    client.post(path, &record(&format!("w{writer}-{number}"))).expect(200);
                }
            });
        }
    });
    assert_eq!(cluster.assert_converged().record_count(), WRITERS * EACH);
    let requests = [documents(&relays[0]), documents(&relays[1])];
    for requests in &requests {
        assert_eq!(requests.iter().sum::<usize>(), WRITERS * EACH, "each record once: {requests:?}");
    }
    requests
}

#[test]
fn the_next_request_waits_for_those_who_were_answered() {
    let [whole, _] = requests_with("{ hold: 1s, replica_lag: 0s }");
    let [halves, _] = requests_with("{ hold: 0s, replica_lag: 0s }");
    assert!(whole.len() <= EACH + 3, "{whole:?}");
    assert!(halves.len() > whole.len(), "without a hold two parts take turns: {halves:?}, and with one: {whole:?}");
}

#[test]
fn several_requests_become_one_behind() {
    let [first, replicated] = requests_with("{ hold: 0s, replica_lag: 1s }");
    // The more evenly writers arrive, the more requests are joined. On a slow machine some arrive late, and are alone.
    assert!(replicated.len() + 2 <= first.len(), "{first:?} in front, {replicated:?} behind");
}
