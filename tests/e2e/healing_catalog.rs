//! Clients create, rename and drop collections all the time while a server is made whole (rule R14): that neither
//! starves the copies nor leaves a collection that no client has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, create};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;

use crate::healing::fill;

const HEALED: Duration = Duration::from_secs(120);
const ON: &str = "  heal: { enabled: true }\n  recovery_interval: 1s";
const CLIENTS: usize = 3;

/// Creates, fills, renames and drops until it is stopped. Returns the names of its collections then.
fn busy(client: Client, who: usize, over: Arc<AtomicBool>) -> JoinHandle<BTreeSet<String>> {
    std::thread::spawn(move || {
        let mut held: Vec<(String, String)> = Vec::new();
        let path = |id: &str| format!("{DEFAULT}/collections/{id}");
        for number in 0.. {
            if over.load(Ordering::SeqCst) {
                break;
            }
            let name = format!("client-{who}-{number}");
            let id = create(&client, &name);
            let body = json!({ "ids": ["a"], "embeddings": [[0.5, 0.25]] });
            client.post(&record_path(&id, "add"), &body).expect(201);
            held.push((id, name));
            let at = number % held.len();
            let renamed = format!("client-{who}-{number}-renamed");
            client.call("PUT", &path(&held[at].0), &json!({ "new_name": renamed })).expect(200);
            held[at].1 = renamed;
            if held.len() > 5 {
                let (_, name) = held.remove(number % 5);
                client.call("DELETE", &path(&name), &Value::Null).expect(200);
            }
        }
        held.into_iter().map(|(_, name)| name).collect()
    })
}

fn names(client: &Client) -> BTreeSet<String> {
    let listed = client.get(&format!("{DEFAULT}/collections")).expect(200).json();
    let names = listed.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str().map(str::to_owned));
    names.filter(|name| !name.starts_with("chroma-edge.")).collect()
}

fn is_diverged(cluster: &Cluster, name: &str) -> bool {
    let status = cluster.edge.status();
    status["diverged"].as_array().is_none_or(|all| all.iter().any(|one| one["collection_name"] == name))
}

#[test]
fn a_lost_disk_is_made_whole_however_busy_the_catalog_is() {
    let mut cluster = Cluster::with(2, |edge| edge.config(ON));
    for text in ["lacks collections", "diverged"] {
        cluster.edge.announce(text);
    }
    let idle = cluster.create("idle");
    fill(&cluster.client(), &idle, 1500);
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS).map(|who| busy(cluster.client(), who, Arc::clone(&over))).collect();
    for _ in 0..2 {
        wait_for("every copy in step", HEALED, || {
            cluster.edge.status()["diverged"].as_array().is_some_and(Vec::is_empty).then_some(())
        });
        cluster.servers[1].kill();
        cluster.servers[1].wipe();
        cluster.servers[1].restart();
        wait_for("the loss noticed", CATCH_UP, || is_diverged(&cluster, "idle").then_some(()));
        wait_for("the idle collection whole, under load", HEALED, || (!is_diverged(&cluster, "idle")).then_some(()));
    }
    over.store(true, Ordering::SeqCst);
    let held = clients.into_iter().flat_map(|client| client.join().expect("every request is answered"));
    let expected: BTreeSet<String> = held.chain(["idle".to_owned()]).collect();
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
    for client in [cluster.client(), cluster.servers[0].client(), cluster.servers[1].client()] {
        assert_eq!(names(&client), expected);
    }
}
