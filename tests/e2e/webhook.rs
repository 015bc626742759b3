//! The webhook with a receiver that refuses, goes away and comes back: in order, signed, and nothing lost.

use std::time::Duration;

use testkit::Cluster;
use testkit::cluster::{CATCH_UP, add};
use testkit::http::Client;
use testkit::place::wait_for;
use testkit::webhook::{Receiver, SECRET};

fn cluster(receiver: &Receiver, events: &str) -> Cluster {
    let webhook = format!(
        "  write_wait: 300ms\n  notify:\n    webhook:\n      url: {:?}\n      secret: {SECRET:?}\n{events}",
        receiver.url()
    );
    Cluster::with(2, |edge| edge.config(&webhook))
}

const ALL: &str = "      events: [timing_gap, completed, recovered, abandoned]\n";

fn named(client: &Client, id: &str) -> Client {
    client.with_header("transaction-id", id)
}

#[test]
fn posts_are_signed_in_order_and_repeated_until_accepted() {
    let receiver = Receiver::start(&[500, 302, 429]);
    let cluster = cluster(&receiver, ALL);
    let client = cluster.client();
    let collection = cluster.create("things");
    for id in ["a", "b", "c"] {
        add(&named(&client, id), &collection, id).expect(201);
    }
    let accepted = receiver.accepted(4);
    let own: Vec<_> = accepted.iter().map(|(_, event, id)| (event.as_str(), id.as_str())).collect();
    let completed = "transaction:completed";
    assert_eq!(own, [(completed, ""), (completed, "a"), (completed, "b"), (completed, "c")]);
    assert!(accepted.is_sorted_by(|one, next| one.0 < next.0), "{accepted:?}");
    let posts = receiver.posts();
    let first: Vec<_> = posts.iter().take(4).map(|post| (post.json()["id"].clone(), post.status)).collect();
    assert_eq!(first.iter().map(|(_, status)| *status).collect::<Vec<_>>(), [500, 302, 429, 204]);
    assert!(first.iter().all(|(id, _)| *id == first[0].0), "the same one until it is accepted: {first:?}");
    for post in &posts {
        assert!(post.is_signed(SECRET) && !post.is_signed("another secret of some length"), "{post:?}");
        assert_eq!(
            (post.path.as_str(), post.header("content-type")),
            ("/hooks/chroma?key=private", "application/json")
        );
        assert_eq!(post.header("chroma-edge-event"), post.json()["event"]);
    }
    wait_for("nothing left", Duration::from_secs(10), || (client.metric("webhook_pending") == 0).then_some(()));
    assert_eq!(client.metric("webhook_failed"), 3);
    let log = cluster.edge.log();
    assert!(!log.contains(SECRET) && !log.contains("private"), "a secret in the log");
}

#[test]
fn nothing_is_lost_when_both_sides_go_away() {
    let receiver = Receiver::start(&[]);
    let mut cluster = cluster(&receiver, ALL);
    let client = cluster.client();
    let collection = cluster.create("things");
    add(&named(&client, "before"), &collection, "before").expect(201);
    receiver.accepted(2);
    receiver.set_away(true);
    cluster.primary().kill();
    cluster.replica().kill();
    for id in ["one", "two"] {
        add(&named(&client, id), &collection, id).expect(503);
    }
    // The edge sends the 503 before it is durable that it did.
    wait_for("two failures in the journal", Duration::from_secs(10), || {
        let failed = |id| client.get(&format!("/transaction/safety/transaction/{id}")).json()["status"] == "FAILED";
        (failed("one") && failed("two")).then_some(())
    });
    wait_for("a post into the void", Duration::from_secs(20), || (receiver.posts().len() > 2).then_some(()));
    cluster.edge.kill();
    cluster.primary().restart();
    cluster.replica().restart();
    cluster.edge.restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    add(&named(&client, "after"), &collection, "after").expect(201);
    receiver.set_away(false);
    let accepted = receiver.accepted(7);
    let mut once = accepted.clone();
    once.dedup();
    let own: Vec<_> =
        once.iter().filter(|(_, _, id)| !id.is_empty()).map(|(_, event, id)| (id.as_str(), &event[12..])).collect();
    assert_eq!(own[..3], [("before", "completed"), ("one", "timing_gap"), ("two", "timing_gap")], "{accepted:?}");
    for expected in [("one", "recovered"), ("two", "recovered"), ("after", "completed")] {
        assert_eq!(own.iter().filter(|found| **found == expected).count(), 1, "{expected:?} in {accepted:?}");
    }
    assert!(once.is_sorted_by(|one, next| one.0 < next.0), "never out of order: {accepted:?}");
    cluster.assert_converged();
}

#[test]
fn a_receiver_that_is_away_holds_nothing_up() {
    let receiver = Receiver::start(&[]);
    receiver.set_away(true);
    let cluster = cluster(&receiver, ALL);
    let client = cluster.client();
    let collection = cluster.create("things");
    for number in 0..20 {
        add(&client, &collection, &number.to_string()).expect(201);
    }
    cluster.assert_converged();
    wait_for("an attempt", Duration::from_secs(20), || (client.metric("webhook_failed") > 0).then_some(()));
    assert_eq!(client.metric("webhook_pending"), 21, "the creation and twenty writes");
    receiver.set_away(false);
    assert_eq!(receiver.accepted(21).len(), 21);
}

#[test]
fn by_default_it_hears_of_trouble_only() {
    let receiver = Receiver::start(&[]);
    let mut cluster = cluster(&receiver, "");
    let client = cluster.client();
    let collection = cluster.create("things");
    add(&named(&client, "fine"), &collection, "fine").expect(201);
    cluster.primary().kill();
    cluster.replica().kill();
    add(&named(&client, "late"), &collection, "late").expect(503);
    cluster.primary().restart();
    cluster.replica().restart();
    let accepted = receiver.accepted(2);
    let events: Vec<_> = accepted.iter().map(|(_, event, id)| (event.as_str(), id.as_str())).collect();
    assert_eq!(events, [("transaction:timing_gap", "late"), ("transaction:recovered", "late")]);
    cluster.assert_converged();
}
