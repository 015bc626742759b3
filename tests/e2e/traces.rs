//! Traces of OpenTelemetry: a real collector receives what happened, and no request waits for it.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;

use testkit::cluster::{CATCH_UP, Cluster, add, timed};
use testkit::collector::{Collector, SpanSeen};
use testkit::http::{Client, record_path};
use testkit::place::wait_for;
use testkit::relay::Relay;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// Used in a document and in a token; must appear in no span.
const PRIVATE: &str = "the-private-text";

fn traced(collector: &Collector) -> String {
    format!("  traces: {{ endpoint: {:?}, sample_ratio: 0, headers: {{ x-key: {PRIVATE} }} }}\n", collector.endpoint())
}

/// Returns a client within a trace that is recorded or not, depending on the flags.
fn within(client: &Client, trace: &str, flags: &str) -> Client {
    client.with_header("traceparent", &format!("00-{trace}-{PARENT}-{flags}"))
}

/// Returns the span with this name, and for this instance if one is named.
fn named<'a>(spans: &'a [SpanSeen], name: &str, instance: &str) -> Option<&'a SpanSeen> {
    let fits =
        |span: &&SpanSeen| span.name == name && (instance.is_empty() || span.get("chroma_edge.instance") == instance);
    spans.iter().find(fits)
}

fn passed_on(relay: &Relay, ending: &str) -> Vec<String> {
    let header = |(name, value): &(String, String)| (name == "traceparent").then(|| value.clone());
    relay.seen_at(ending).iter().flat_map(|seen| seen.headers.iter().filter_map(header)).collect()
}

fn sample(client: &Client, name: &str) -> u64 {
    let text = client.get("/metrics").expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("chroma_edge_{name} ")).map(str::to_owned));
    line.map_or(0, |number| number.parse().expect("a number"))
}

#[test]
fn a_write_is_traced_to_every_instance_and_nothing_private_with_it() {
    // Spans that the collector refuses at first are sent again.
    let collector = Collector::start(&[503]);
    let (mut cluster, relays) = Cluster::relayed(|edge| edge.config(&traced(&collector)));
    let collection = cluster.create("things");
    let client = within(&cluster.client(), TRACE, "01").with_header("x-chroma-token", PRIVATE);
    let body = json!({ "ids": [PRIVATE], "embeddings": [[1, 2, 3]], "documents": [PRIVATE] });
    client.post(&record_path(&collection, "add"), &body).expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let spans = collector.wait("a replication", |spans| named(spans, "replicate", "replica").map(|_| spans.to_vec()));
    let [request, append, attempt, replicate] =
        [("add", ""), ("journal append", ""), ("attempt", "primary"), ("replicate", "replica")]
            .map(|(name, instance)| named(&spans, name, instance).unwrap_or_else(|| panic!("{name}: {spans:#?}")));
    assert_eq!(spans.len(), 4, "the creation is in no trace: {spans:#?}");
    assert_eq!((request.trace.as_str(), request.parent.as_str()), (TRACE, PARENT));
    assert!(request.is_server && !request.has_failed && request.service == "chroma-edge", "{request:?}");
    for inner in [append, attempt] {
        assert_eq!((&inner.trace, &inner.parent), (&request.trace, &request.id));
        assert!(request.nanos.0 <= inner.nanos.0 && inner.nanos.1 <= request.nanos.1, "{request:?} {inner:?}");
    }
    assert!(append.nanos.0 <= attempt.nanos.0 && append.nanos.0 < append.nanos.1, "{append:?} {attempt:?}");
    let attributes =
        |span: &SpanSeen, keys: &[&str]| keys.iter().map(|key| span.get(key).to_owned()).collect::<Vec<_>>();
    let (seq, id, status) = ("chroma_edge.seq", "chroma_edge.collection_id", "http.response.status_code");
    assert_eq!(attributes(append, &[seq, "chroma_edge.batch_size"]), ["2", "1"]);
    assert_eq!(attributes(request, &[seq, id, status, "http.request.method"]), ["2", &collection, "201", "POST"]);
    for (sent, purpose) in [(attempt, "execute"), (replicate, "replicate")] {
        let told = [seq, id, status, "chroma_edge.purpose", "chroma_edge.outcome", "chroma_edge.writes"];
        assert_eq!(attributes(sent, &told), ["2", &collection, "201", purpose, "applied", "1"]);
    }
    assert_eq!(replicate.links, [(request.trace.clone(), request.id.clone())]);
    assert!(replicate.parent.is_empty() && replicate.trace != TRACE, "{replicate:?}");
    assert_eq!(passed_on(&relays[0], "/add"), [attempt.traceparent()]);
    assert_eq!(passed_on(&relays[1], "/add"), [replicate.traceparent()]);
    client.get(&record_path(&collection, "count")).expect(200);
    cluster.edge.term();
    assert!(cluster.edge.wait_for_exit(CATCH_UP).success());
    assert!(named(&collector.spans(), "record_read", "").is_some(), "the last spans are sent before the end");
    for post in collector.posts() {
        let is_private = post.body.windows(PRIVATE.len()).any(|bytes| bytes == PRIVATE.as_bytes());
        assert!(!is_private && post.header("x-key") == PRIVATE, "{post:?}");
    }
    assert!(!cluster.edge.log().contains(PRIVATE));
}

#[test]
fn a_read_shows_each_attempt_and_what_is_not_recorded_is_passed_on() {
    let collector = Collector::start(&[]);
    let config = format!("  read_replica_ratio: 0\n{}", traced(&collector));
    let (cluster, relays) = Cluster::relayed(|edge| edge.config(&config));
    let (collection, client) = (cluster.create("things"), cluster.client());
    let unsampled = within(&client, &TRACE.replace('4', "5"), "00");
    add(&unsampled, &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(passed_on(&relays[0], "/add"), [format!("00-{}-{PARENT}-00", TRACE.replace('4', "5"))]);
    assert!(passed_on(&relays[1], "/add").is_empty(), "later, and not in the client's time");
    relays[0].swallow(Some("/get"));
    within(&client, TRACE, "01").post(&record_path(&collection, "get"), &json!({})).expect(200);
    let spans = collector.wait("the read", |spans| named(spans, "record_read", "").map(|_| spans.to_vec()));
    let [request, failed, answered] = [("record_read", "replica"), ("attempt", "primary"), ("attempt", "replica")]
        .map(|(name, instance)| named(&spans, name, instance).unwrap_or_else(|| panic!("{name}: {spans:#?}")));
    assert_eq!(spans.len(), 3, "{spans:#?}");
    for attempt in [failed, answered] {
        assert_eq!((attempt.trace.as_str(), &attempt.parent), (TRACE, &request.id));
        assert_eq!(attempt.get("chroma_edge.collection_id"), collection);
    }
    assert!(failed.has_failed && failed.get("error.type") == "in_doubt", "{failed:?}");
    assert!(!answered.has_failed && answered.get("http.response.status_code") == "200", "{answered:?}");
    assert_eq!([failed, answered].map(|span| span.get("chroma_edge.attempt").to_owned()), ["1", "2"]);
    assert!(passed_on(&relays[1], "/get").contains(&answered.traceparent()));
}

#[test]
fn what_is_replicated_after_a_restart_is_linked_to_its_clients_traces() {
    let collector = Collector::start(&[]);
    let config = format!("  settle_time: 100ms\n{}", traced(&collector));
    let (mut cluster, relays) = Cluster::relayed(|edge| edge.config(&config));
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays[1].hold("/add");
    for number in ["1", "2", "3"] {
        add(&within(&cluster.client(), &TRACE.replace('4', number), "01"), &collection, number).expect(201);
    }
    let requests = collector.wait("three requests", |spans| {
        let requests = spans.iter().filter(|span| span.name == "add");
        let requests: BTreeSet<_> = requests.map(|span| (span.trace.clone(), span.id.clone())).collect();
        (requests.len() == 3).then_some(requests)
    });
    cluster.edge.kill();
    relays[1].release();
    cluster.edge.restart();
    let links = collector.wait("their replication", |spans| {
        let replicated =
            spans.iter().filter(|span| span.name == "replicate" && span.get("chroma_edge.outcome") == "applied");
        let links: BTreeSet<_> = replicated.flat_map(|span| span.links.clone()).collect();
        (links.len() >= 3).then_some(links)
    });
    assert_eq!(links, requests);
    cluster.assert_converged();
}

#[test]
fn a_collector_that_hangs_holds_nobody_up() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = silent.local_addr().expect("an address");
    let config =
        format!("  traces: {{ endpoint: \"http://{endpoint}\", sample_ratio: 1, timeout: 100ms, queue: 8 }}\n");
    let (cluster, relays) = Cluster::relayed(|edge| edge.config(&config));
    let (collection, client) = (cluster.create("things"), cluster.client());
    assert_eq!(sample(&client, "spans_waiting_limit"), 8);
    let mut longest = Duration::ZERO;
    let mut number = 0;
    let mut write = || {
        let (answer, took) = timed(|| add(&client, &collection, &number.to_string()));
        answer.expect(201);
        (longest, number) = (longest.max(took), number + 1);
    };
    write();
    let told = "the collector does not take spans";
    wait_for("a line", Duration::from_secs(30), || cluster.edge.log().contains(told).then_some(()));
    // From now on it retries for some seconds, and takes nothing from the queue.
    let full = "spans_dropped_total{reason=\"queue_full\"}";
    wait_for("dropped spans", Duration::from_secs(30), || {
        write();
        (sample(&client, full) > 0).then_some(())
    });
    // A write that waited for the collector would take seconds.
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    // Once, and again for each minute that it lasts.
    assert!((1..=2).contains(&cluster.edge.log().matches(told).count()));
    assert_eq!(passed_on(&relays[0], "/add").len(), number, "they are passed on all the same");
}

#[test]
fn by_default_nothing_is_traced() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let (collection, client) = (cluster.create("things"), within(&cluster.client(), TRACE, "01"));
    add(&client, &collection, "one").expect(201);
    client.post(&record_path(&collection, "query"), &json!({ "query_embeddings": [[1, 2, 3]] })).expect(200);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let query: Vec<String> = relays.iter().flat_map(|relay| passed_on(relay, "/query")).collect();
    assert_eq!(query, [format!("00-{TRACE}-{PARENT}-01")], "a read's header is passed on like any other");
    assert!(relays.iter().all(|relay| passed_on(relay, "/add").is_empty()));
    assert_eq!(sample(&client, "spans_waiting_limit"), 0);
}
