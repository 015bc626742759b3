//! A server with foreign data in place of its own (rule R16): wiped and made anew if an operator has allowed it, and
//! never if it is another instance's server at a second address.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, create, ids, ids_by_name};
use testkit::http::{Answer, Client, DEFAULT};
use testkit::place::wait_for;
use testkit::random::seed;
use testkit::relay::Relay;
use testkit::workload::{Plan, Workload, errors};
use testkit::{ChromaServer, Edge};

const HEALED: Duration = Duration::from_secs(120);
const REPORT: &str = "  heal: { enabled: true, marker_interval: 1s }\n  read_wait: 1s\n  recovery_interval: 1s";
const REBUILD: &str =
    "  heal: { enabled: true, marker_interval: 1s, foreign: rebuild }\n  read_wait: 1s\n  recovery_interval: 1s";
const MARKER: &str = "/api/v2/tenants/default_tenant/databases/chroma-edge-marker/collections/marker";
const DATABASES: &str = "/api/v2/tenants/default_tenant/databases";

fn marker(server: &ChromaServer) -> Value {
    let answer = server.client().get(MARKER);
    if answer.status == 200 { answer.json()["metadata"].clone() } else { Value::Null }
}

fn await_marked(cluster: &Cluster) {
    cluster.edge.wait_until_in_sync(CATCH_UP);
    for server in &cluster.servers {
        wait_for("a marker", CATCH_UP, || marker(server).is_object().then_some(()));
    }
}

fn expecting_trouble(edge: &Edge) {
    for text in ["somebody else's data", "lacks what it was given", "lacks collections", "diverged"] {
        edge.announce(text);
    }
}

/// Returns what `/status` reports about the second instance.
fn second(edge: &Edge) -> Value {
    edge.status()["instances"][1].clone()
}

fn say(client: &Client, body: &Value) -> Answer {
    client.post("/admin/foreign", body)
}

/// Returns the data of a server that another edge has marked: many collections, and a database that no other server
/// has.
fn of_another_journal(collections: usize) -> tempfile::TempDir {
    let mut cluster = Cluster::with(2, |edge| edge.config(REPORT));
    let client = cluster.client();
    client.post(DATABASES, &json!({ "name": "strange-database" })).expect(200);
    let strange = json!({ "name": "in-the-strange-database" });
    client.post(&format!("{DATABASES}/strange-database/collections"), &strange).expect(200);
    add(&client, &cluster.create("things"), "strange").expect(201);
    for number in 0..collections {
        cluster.create(&format!("strange-{number}"));
    }
    await_marked(&cluster);
    cluster.edge.announce("");
    cluster.servers[0].kill();
    cluster.servers[0].save()
}

#[test]
fn a_copied_folder_that_runs_on_its_own_is_wiped_and_made_anew_under_load() {
    let mut cluster = Cluster::with(2, |edge| edge.config(REBUILD));
    expecting_trouble(&cluster.edge);
    let client = cluster.client();
    let things = cluster.create("things");
    for number in 0..200 {
        add(&client, &things, &format!("r{number}")).expect(201);
    }
    await_marked(&cluster);
    let journal = marker(&cluster.servers[0])["journal"].clone();
    cluster.servers[1].kill();
    cluster.servers[0].kill();
    let copied = cluster.servers[0].save();
    cluster.servers[0].restart();
    cluster.edge.wait_until_healthy("primary", true, CATCH_UP);
    cluster.servers[1].put_back(&copied);
    let load = Workload::start(&client, seed(), &Plan::records());
    load.await_more(50, CATCH_UP);
    cluster.servers[1].restart();
    wait_for("wiped", CATCH_UP, || cluster.edge.log().contains("this server is blank now").then_some(()));
    load.await_more(50, CATCH_UP);
    wait_for("every collection whole again, under load", HEALED, || {
        let status = cluster.edge.status();
        let whole = status["without_second_copy"]["count"] == 0 && status["diverged"].as_array()?.is_empty();
        whole.then_some(())
    });
    let events = load.finish();
    assert_eq!(errors(&events), Vec::<String>::new());
    cluster.assert_converged();
    assert!(cluster.edge.log().contains("what this server holds is being deleted"));
    assert_eq!(second(&cluster.edge)["foreign_rebuild"], Value::Null);
    wait_for("a marker of its own", CATCH_UP, || {
        let carries = marker(&cluster.servers[1]);
        (carries["instance"] == second(&cluster.edge)["name"] && carries["journal"] == journal).then_some(())
    });
    cluster.servers[0].kill();
    assert_eq!(ids(&client, &things).len(), 200);
    cluster.servers[0].restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
}

#[test]
fn foreign_data_stay_until_an_operator_has_said_so_and_an_edge_that_is_killed_goes_on() {
    let strange = of_another_journal(150);
    let mut cluster = Cluster::with(2, |edge| edge.config(REPORT));
    expecting_trouble(&cluster.edge);
    let client = cluster.client();
    let things = cluster.create("things");
    add(&client, &things, "ours").expect(201);
    await_marked(&cluster);
    let name = second(&cluster.edge)["name"].as_str().expect("a name").to_owned();
    let word = json!({ "instance": name, "action": "rebuild", "confirm": name });
    assert_eq!(say(&client, &word).expect(409).json()["reason"], "not_foreign");
    cluster.servers[1].kill();
    cluster.servers[1].put_back(&strange);
    cluster.servers[1].restart();
    wait_for("noticed", CATCH_UP, || second(&cluster.edge)["foreign"].is_string().then_some(()));
    for (body, status, reason) in [
        (json!({ "instance": name, "action": "rebuild" }), 400, "bad_body"),
        (json!({ "instance": name, "action": "rebuild", "confirm": "yes" }), 400, "not_confirmed"),
        (json!({ "instance": name, "action": "burn", "confirm": name }), 400, "bad_body"),
        (json!({ "instance": "nobody", "action": "rebuild", "confirm": "nobody" }), 404, "unknown_instance"),
    ] {
        assert_eq!(say(&client, &body).expect(status).json()["reason"], reason, "{body}");
    }
    assert_eq!(client.get("/admin/foreign").status, 405);
    assert_eq!(second(&cluster.edge)["foreign_rebuild"], json!({ "stage": "reported" }));
    wait_for("its state", CATCH_UP, || (second(&cluster.edge)["state"] == "foreign").then_some(()));
    assert_eq!(ids_by_name(&cluster.servers[1], "things"), ["strange"]);
    assert_eq!(say(&client, &word).expect(202).json()["success"], true);
    wait_for("half of it deleted", CATCH_UP, || {
        let stage = second(&cluster.edge)["foreign_rebuild"].clone();
        (stage["stage"] == "wiping" && stage["deleted"].as_u64()? > 10).then_some(())
    });
    cluster.edge.kill();
    let left =
        cluster.servers[1].client().get(&format!("{DEFAULT}/collections_count")).json().as_u64().unwrap_or_default();
    assert!(
        left > 0 && marker(&cluster.servers[1]).is_object(),
        "killed in the middle, the marker is the last: {left}"
    );
    cluster.edge.restart();
    expecting_trouble(&cluster.edge);
    add(&client, &things, "meanwhile").expect(201);
    wait_for("wiped, without another word", CATCH_UP, || {
        cluster.edge.log().contains("this server is blank now").then_some(())
    });
    wait_for("healthy", HEALED, || (second(&cluster.edge)["healthy"] == true).then_some(()));
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
    assert_eq!(cluster.servers[1].client().get(&format!("{DATABASES}/strange-database")).status, 404);
    assert_eq!(ids_by_name(&cluster.servers[1], "things"), ["ours", "meanwhile"]);
}

/// A second process on one data folder, as on a shared volume: it shows what the first one serves.
#[test]
fn a_second_address_of_one_folder_is_refused_and_nothing_is_deleted() {
    let mut cluster = Cluster::with(2, |edge| edge.config(REBUILD));
    expecting_trouble(&cluster.edge);
    let client = cluster.client();
    let things = cluster.create("things");
    add(&client, &things, "one").expect(201);
    await_marked(&cluster);
    cluster.servers[1].kill();
    let (first, rest) = cluster.servers.split_at_mut(1);
    rest[0].shares_the_folder_of(Some(&first[0]));
    rest[0].restart();
    let why = wait_for("refused", CATCH_UP, || {
        let stage = second(&cluster.edge)["foreign_rebuild"].clone();
        stage["why"].as_str().map(str::to_owned)
    });
    assert!(why.contains("under another address"), "{why}");
    let word = json!({ "instance": "replica", "action": "rebuild", "confirm": "replica" });
    say(&client, &word).expect(202);
    add(&client, &things, "two").expect(201);
    // Longer than the pause between two attempts.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(ids(&client, &things), ["one", "two"]);
    assert_eq!(ids_by_name(&cluster.servers[0], "things"), ["one", "two"]);
    assert!(!cluster.edge.log().contains("is being deleted"));
    cluster.servers[1].kill();
    cluster.servers[1].shares_the_folder_of(None);
    cluster.servers[1].restart();
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
}

/// An address that suddenly leads to another server, as a name or a gateway may.
#[test]
fn an_address_that_leads_to_the_other_server_deletes_nothing_there() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    let astray = Arc::new(AtomicBool::new(false));
    let (leads, other) = (Arc::clone(&astray), servers[0].client());
    let relay = Relay::intercepted(
        servers[1].client(),
        Box::new(move |seen, pass| match leads.load(Ordering::SeqCst) {
            false => pass(&seen),
            true => other.send(&seen.method, &seen.path, "application/json", &seen.body).expect("the other server"),
        }),
    );
    let edge = Edge::builder().instances(&[&servers[0]]).instance_url(&relay.url()).config(REBUILD).start();
    expecting_trouble(&edge);
    let cluster = Cluster { edge, servers: servers.into() };
    let client = cluster.client();
    let things = cluster.create("things");
    add(&client, &things, "one").expect(201);
    await_marked(&cluster);
    astray.store(true, Ordering::SeqCst);
    let why =
        wait_for("refused", CATCH_UP, || second(&cluster.edge)["foreign_rebuild"]["why"].as_str().map(str::to_owned));
    assert!(why.contains("under another address"), "{why}");
    add(&client, &things, "two").expect(201);
    assert_eq!(ids_by_name(&cluster.servers[0], "things"), ["one", "two"]);
    astray.store(false, Ordering::SeqCst);
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
}

/// Nothing is marked at first. The problem is noticed when the second address is to be marked.
#[test]
fn one_server_under_two_addresses_from_the_start_is_refused_for_the_second() {
    let server = ChromaServer::fresh();
    add(&server.client(), &create(&server.client(), "things"), "one").expect(201);
    let relay = Relay::plain(&server);
    let edge = Edge::builder().instances(&[&server]).instance_url(&relay.url()).config(REBUILD).start();
    expecting_trouble(&edge);
    wait_for("refused", CATCH_UP, || {
        let why = second(&edge)["foreign_rebuild"]["why"].as_str().map(str::to_owned)?;
        why.contains("under another address").then_some(())
    });
    assert_eq!(second(&edge)["healthy"], json!(false));
    assert_eq!(ids_by_name(&server, "things"), ["one"]);
}

/// Both folders were swapped: no copy is left to copy from.
#[test]
fn of_two_swapped_folders_neither_is_deleted() {
    let mut cluster = Cluster::with(2, |edge| edge.config(REBUILD));
    expecting_trouble(&cluster.edge);
    let client = cluster.client();
    let things = cluster.create("things");
    add(&client, &things, "one").expect(201);
    await_marked(&cluster);
    cluster.servers.iter_mut().for_each(ChromaServer::kill);
    let [first, other] = [0, 1].map(|index: usize| cluster.servers[index].save());
    let put_back = |cluster: &mut Cluster, [first, other]: [&tempfile::TempDir; 2]| {
        cluster.servers[0].put_back(first);
        cluster.servers[1].put_back(other);
        cluster.servers.iter_mut().for_each(ChromaServer::restart);
    };
    put_back(&mut cluster, [&other, &first]);
    wait_for("refused for both", CATCH_UP, || {
        let status = cluster.edge.status();
        let refused = |index: usize| status["instances"][index]["foreign_rebuild"]["stage"] == "refused";
        (refused(0) && refused(1)).then_some(())
    });
    assert!(!cluster.edge.log().contains("is being deleted"));
    cluster.servers.iter_mut().for_each(ChromaServer::kill);
    put_back(&mut cluster, [&first, &other]);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(ids(&client, &things), ["one"]);
}
