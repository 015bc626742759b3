//! Requests that do not begin a restart in place, or that end the process instead: nothing is stopped before it is
//! known that it can start again, and nothing is lost without an operator's confirmation.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add};
use testkit::http::Answer;
use testkit::place::{self, wait_for};
use testkit::{ChromaServer, Edge};

const SOON: Duration = Duration::from_secs(30);

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, reason: &str) {
    assert_eq!((answer.status, &answer.json()["reason"]), (status, &json!(reason)), "{answer}");
}

fn upgrade(edge: &Edge) -> Answer {
    edge.client().post("/admin/upgrade", &Value::Null)
}

fn starts(edge: &Edge) -> usize {
    edge.log().lines().filter(|line| line.contains("serving") && line.contains("listen=")).count()
}

fn link(to: &Path, at: &Path) {
    let beside = at.with_extension("new");
    symlink(to, &beside).expect("a link");
    std::fs::rename(beside, at).expect("a link in its place");
}

#[test]
fn a_program_or_a_configuration_that_would_not_start() {
    let folder = place::data_dir("program");
    let program = folder.path().join("chroma-edge");
    link(&place::binary(), &program);
    let cluster = Cluster::with(2, |edge| edge.program(&program).config("  handover_linger: 0s"));
    let (edge, collection) = (&cluster.edge, cluster.create("things"));
    edge.announce("not reloaded, and nothing is changed");
    link(Path::new("/bin/false"), &program);
    assert_refused(&upgrade(edge), 409, "cannot_start");
    std::fs::remove_file(&program).expect("our own link");
    assert_refused(&upgrade(edge), 409, "cannot_start");
    link(&place::binary(), &program);
    edge.rewrite(|text| text.to_owned() + "  write_wiat: 1s\n");
    let answer = upgrade(edge);
    assert_refused(&answer, 400, "bad_configuration");
    assert!(answer.text().contains("did you mean `write_wait`?"), "{answer}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = format!("  admin_listen: {}\n", taken.local_addr().expect("its address"));
    edge.rewrite(|text| text.replace("  write_wiat: 1s\n", &listen));
    let answer = edge.client().post("/admin/reload", &json!({ "restart": "in_place" }));
    assert_refused(&answer, 409, "cannot_start");
    add(&cluster.client(), &collection, "as before").expect(201);
    assert_eq!(starts(edge), 1, "nothing was stopped");
    // The same with a key that is none of these.
    edge.rewrite(|text| text.replace(&listen, "  shutdown_grace: 3s\n"));
    edge.client().post("/admin/reload", &json!({ "restart": "in_place" })).expect(202);
    wait_for("the new edge", SOON, || (starts(edge) == 2).then_some(()));
    cluster.assert_converged();
}

#[test]
fn the_only_one_that_holds_something_is_taken_out_by_name_alone() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  handover_linger: 0s\n  catalog_wait: 1s"));
    cluster.create("both");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    let alone = cluster.create("alone");
    add(&cluster.client(), &alone, "one").expect(201);
    let edge = &cluster.edge;
    edge.announce("not reloaded, and nothing is changed");
    edge.set_instances(&[("replica", &cluster.servers[1])]);
    for answer in [
        upgrade(edge),
        edge.client().post("/admin/reload", &json!({ "restart": "in_place" })),
        edge.client().post("/admin/upgrade", &json!({ "confirm": "replica" })),
    ] {
        assert_refused(&answer, 409, "last_copy");
        assert!(answer.text().contains("Without primary, no instance would hold the collection alone"), "{answer}");
    }
    let refusals = || edge.log().lines().filter(|line| line.contains("reason=\"last_copy\"")).count();
    assert_eq!(refusals(), 3);
    edge.signal(Signal::SIGHUP);
    wait_for("the refusal of the signal", SOON, || (refusals() == 4).then_some(()));
    assert_eq!(starts(edge), 1);
    edge.client().post("/admin/upgrade", &json!({ "confirm": "primary" })).expect(202);
    wait_for("the new edge", SOON, || (starts(edge) == 2).then_some(()));
    assert_eq!(edge.status()["total_instances"], 1);
}

#[test]
fn a_signal_that_ends_the_process_ends_it_meanwhile_too() {
    for linger in ["1m", "0s"] {
        let mut cluster = Cluster::with(2, |edge| edge.config(&format!("  handover_linger: {linger}")));
        let collection = cluster.create("things");
        cluster.edge.wait_until_in_sync(CATCH_UP);
        // The connection is kept, so the edge waits for it.
        let mut kept = cluster.client().connect().expect("a connection");
        kept.request("GET", "/health", &[], b"").expect("an answer");
        cluster.servers.iter().for_each(ChromaServer::stop);
        let (client, before) = (cluster.client(), testkit::cluster::journaled(&cluster.edge));
        let writer = std::thread::spawn(move || add(&client, &collection, "under way"));
        wait_for("the write", SOON, || (testkit::cluster::journaled(&cluster.edge) > before).then_some(()));
        upgrade(&cluster.edge).expect(202);
        cluster.edge.announce("called off");
        wait_for("its beginning", SOON, || cluster.edge.log().contains("restarting in place").then_some(()));
        cluster.edge.term();
        wait_for("the end of it", SOON, || cluster.edge.log().contains("is called off").then_some(()));
        cluster.servers.iter().for_each(ChromaServer::cont);
        writer.join().expect("the writer").expect(201);
        assert!(cluster.edge.wait_for_exit(SOON).success());
        cluster.edge.restart();
        cluster.assert_converged();
    }
}
