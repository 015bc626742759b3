//! A restart in place: another program, configuration or set of instances in the same process, without any error for
//! clients.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, ids};
use testkit::http::{Client, DEFAULT};
use testkit::place::{self, wait_for};
use testkit::postgres::Postgres;
use testkit::random::{Random, seed};
use testkit::scripts::Dialogue;
use testkit::workload::{Event, Plan, Workload, acknowledged, added_id, errors, summary};
use testkit::{ChromaServer, Edge};

const SOON: Duration = Duration::from_secs(60);
const LINGER: &str = "  handover_linger: 3s\n  health: { interval: 500ms, timeout: 400ms }";
const HEALING: &str = "  handover_linger: 3s\n  heal: { enabled: true }\n  recovery_interval: 1s";

/// Strict clients: none of their connections may be refused, reset or closed without an answer.
struct Strict {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Strict {
    /// Starts some clients that connect for each request, and some that keep their connection, with pauses between
    /// requests.
    fn start(client: &Client) -> Strict {
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut random = Random::new(seed());
        let start = |number: u64| {
            let (client, stop, answers) = (client.clone(), Arc::clone(&stop), Arc::clone(&answers));
            let mut random = random.fork();
            std::thread::spawn(move || {
                let mut errors = Vec::new();
                let mut kept = None;
                while !stop.load(Ordering::Relaxed) {
                    let connection = match kept.take().map_or_else(|| client.connect(), Ok) {
                        Ok(connection) => connection,
                        Err(error) => {
                            errors.push(format!("client {number}: not let in: {error}"));
                            continue;
                        }
                    };
                    match ask(connection) {
                        Ok((status, again)) => {
                            answers.fetch_add(1, Ordering::Relaxed);
                            if status != 200 {
                                errors.push(format!("client {number}: {status}"));
                            }
                            kept = again.filter(|_| number.is_multiple_of(2));
                        }
                        Err(error) => errors.push(format!("client {number}: {error}")),
                    }
                    std::thread::sleep(Duration::from_millis(random.below(30 * number + 1)));
                    // As every client that keeps connections does.
                    kept = kept.filter(|connection: &testkit::http::Connection| !connection.is_stale());
                }
                errors
            })
        };
        let clients = (0..8).map(start).collect();
        Strict { stop, answers, clients }
    }

    fn await_more(&self, count: usize) {
        let target = self.answers.load(Ordering::Relaxed) + count;
        wait_for("answers", SOON, || (self.answers.load(Ordering::Relaxed) >= target).then_some(()));
    }

    #[track_caller]
    fn assert_satisfied(self) {
        self.stop.store(true, Ordering::Relaxed);
        let errors: Vec<String> =
            self.clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
        assert!(errors.is_empty(), "{} errors: {:#?}", errors.len(), &errors[..errors.len().min(20)]);
    }
}

/// Sends one request. Returns its status, and the connection if it can be reused.
fn ask(mut connection: testkit::http::Connection) -> std::io::Result<(u16, Option<testkit::http::Connection>)> {
    let answer = connection.request("GET", &format!("{DEFAULT}/collections?limit=2"), &[], b"")?;
    let again = answer.header("connection") != Some("close");
    Ok((answer.status, again.then_some(connection)))
}

fn starts(edge: &Edge) -> usize {
    edge.log().lines().filter(|line| line.contains("serving") && line.contains("listen=")).count()
}

/// Calls `restart`, which restarts the edge in place, and waits until the new edge serves.
fn through(edge: &Edge, restart: impl FnOnce()) {
    let (before, process) = (starts(edge), edge.process());
    restart();
    wait_for("the new edge", SOON, || (starts(edge) > before).then_some(()));
    assert_eq!(edge.process(), process);
    edge.client().get("/status").expect(200);
}

fn upgrade(edge: &Edge) {
    let answer = edge.client().post("/admin/upgrade", &Value::Null).expect(202).json();
    assert_eq!(answer["restart"], "in_place", "{answer}");
}

#[track_caller]
fn assert_nothing_lost(events: &[Event], client: &Client) {
    assert!(errors(events).is_empty(), "{}", summary(events));
    let held: Vec<String> = Plan::unique_adds().names.iter().flat_map(|name| ids(client, name)).collect();
    for (event, _) in acknowledged(events) {
        assert!(held.contains(&added_id(event)), "acknowledged and lost: {event:?}");
    }
}

fn under_load(edge: &Edge) {
    let load = Workload::start(&edge.client(), seed(), &Plan::unique_adds());
    let strict = Strict::start(&edge.client());
    for round in 0..3 {
        load.await_more(40, SOON);
        strict.await_more(20);
        through(edge, || if round % 2 == 0 { upgrade(edge) } else { edge.signal(Signal::SIGUSR2) });
    }
    load.await_more(40, SOON);
    strict.await_more(20);
    let events = load.finish();
    strict.assert_satisfied();
    assert_nothing_lost(&events, &edge.client());
}

#[test]
fn under_load_with_sqlite_no_client_sees_it() {
    let cluster = Cluster::with(2, |edge| edge.config(LINGER));
    under_load(&cluster.edge);
    cluster.assert_converged();
}

#[test]
fn under_load_with_postgresql_no_client_sees_it() {
    let postgres = Postgres::fresh();
    let cluster = Cluster::with(2, |edge| edge.postgres(&postgres.url()).config(LINGER));
    under_load(&cluster.edge);
    cluster.assert_converged_with(&postgres);
}

#[test]
fn stock_python_clients_see_nothing() {
    let cluster = Cluster::with(2, |edge| edge.config(LINGER));
    let mut script = Dialogue::python("unnoticed.py", &cluster.edge.url(), &[]);
    for _ in 0..2 {
        script.until("busy");
        through(&cluster.edge, || upgrade(&cluster.edge));
        script.answer();
    }
    script.until("done");
    script.end();
    cluster.assert_converged();
}

#[test]
fn what_is_kept_ends_with_its_next_answer_and_is_waited_for_no_longer() {
    let cluster = Cluster::with(2, |edge| edge.config("  handover_linger: 2m"));
    let mut kept = cluster.client().connect().expect("a connection");
    let path = format!("{DEFAULT}/collections");
    assert_eq!(kept.request("GET", &path, &[], b"").unwrap().header("connection"), Some("keep-alive"));
    through(&cluster.edge, || {
        upgrade(&cluster.edge);
        cluster.client().get(&path).expect(200);
        assert!(!kept.is_stale(), "nobody closes it while it may be used");
        let last = kept.request("GET", &path, &[], b"").unwrap();
        assert_eq!((last.status, last.header("connection")), (200, Some("close")), "{last}");
    });
}

#[test]
fn a_write_under_way_is_answered_before_and_connections_wait_meanwhile() {
    let cluster = Cluster::with(2, |edge| edge.config("  handover_linger: 0s"));
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.servers.iter().for_each(ChromaServer::stop);
    let before = testkit::cluster::journaled(&cluster.edge);
    let write = |id: &'static str| {
        let (client, collection) = (cluster.client(), collection.clone());
        std::thread::spawn(move || add(&client, &collection, id))
    };
    let first = write("under way");
    wait_for("the write in the journal", SOON, || (testkit::cluster::journaled(&cluster.edge) > before).then_some(()));
    through(&cluster.edge, || {
        upgrade(&cluster.edge);
        wait_for("the end of accepting", SOON, || cluster.edge.log().contains("no new requests").then_some(()));
        let second = write("waiting");
        cluster.servers.iter().for_each(ChromaServer::cont);
        first.join().expect("a writer").expect(201);
        second.join().expect("a writer").expect(201);
    });
    assert_eq!(ids(&cluster.client(), &collection), ["under way", "waiting"]);
    cluster.assert_converged();
}

#[test]
fn instances_come_go_and_change_places() {
    let mut cluster = Cluster::with(2, |edge| edge.config(HEALING));
    let third = ChromaServer::fresh();
    let load = Workload::start(&cluster.client(), seed(), &Plan::unique_adds());
    let strict = Strict::start(&cluster.client());
    load.await_more(40, SOON);
    let edge = &cluster.edge;
    edge.set_instances(&[("primary", &cluster.servers[0]), ("replica", &cluster.servers[1]), ("third", &third)]);
    let refused = edge.client().post("/admin/reload", &Value::Null);
    assert_eq!((refused.status, &refused.json()["reason"]), (409, &json!("needs_restart")));
    through(edge, || {
        let answer = edge.client().post("/admin/reload", &json!({ "restart": "in_place" })).expect(202).json();
        assert_eq!(answer["instances"]["added"], json!(["third"]), "{answer}");
    });
    edge.wait_until_healthy("third", true, CATCH_UP);
    load.await_more(40, SOON);
    wait_for("copies of everything", CATCH_UP, || {
        let status = edge.status();
        (status["diverged"] == json!([]) && status["without_second_copy"]["count"] == 0).then_some(())
    });
    cluster.servers.push(third);
    // The primary leaves, and the newest server takes its place. A signal is enough.
    edge.set_instances(&[("third", &cluster.servers[2]), ("replica", &cluster.servers[1])]);
    through(edge, || edge.signal(Signal::SIGHUP));
    let gone = cluster.servers.remove(0);
    load.await_more(40, SOON);
    let events = load.finish();
    strict.assert_satisfied();
    assert_nothing_lost(&events, &cluster.client());
    let roles = cluster.edge.status()["instances"].as_array().expect("instances").clone();
    let roles: Vec<(&Value, &Value)> = roles.iter().map(|one| (&one["name"], &one["role"])).collect();
    assert_eq!(roles, [(&json!("third"), &json!("primary")), (&json!("replica"), &json!("replica"))]);
    cluster.assert_converged();
    drop(gone);
}

#[test]
fn a_switchover_and_a_drain_go_on() {
    let cluster = Cluster::with(3, |edge| edge.config("  handover_linger: 0s"));
    cluster.filled("things", 3);
    let client = cluster.client();
    client.post("/admin/switchover", &json!({ "to": "replica", "for": "10m" })).expect(200);
    client.post("/admin/drain", &json!({ "instance": "third", "sync": "stop", "for": "20m" })).expect(200);
    wait_for("the drain", SOON, || {
        (client.get("/admin/drain").json()["drained"][0]["state"] == "drained").then_some(())
    });
    let shown = || [client.get("/admin/switchover").json(), client.get("/admin/drain").json()];
    let before = shown();
    through(&cluster.edge, || upgrade(&cluster.edge));
    wait_for("the drain", SOON, || {
        (client.get("/admin/drain").json()["drained"][0]["state"] == "drained").then_some(())
    });
    assert_eq!(shown(), before);
    client.post("/admin/undrain", &json!({ "instance": "third" })).expect(200);
    cluster.assert_converged();
}

/// What systemd does for a socket unit: it binds the socket and listens before it starts the edge.
const UNIT: &str = r#"
import os, re, socket, sys
port = int(re.search(r"listen: 127.0.0.1:(\d+)", open(sys.argv[sys.argv.index("--conf") + 1]).read())[1])
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", port))
listener.listen()
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(BINARY, [BINARY] + sys.argv[1:])
"#;

#[test]
fn the_socket_of_a_unit_is_taken_and_handed_on() {
    let folder = place::data_dir("unit");
    let unit = folder.path().join("unit");
    let interpreter = place::installed("client/bin/python");
    let script = format!("#!{}\nBINARY = {:?}{UNIT}", interpreter.display(), place::binary());
    std::fs::write(&unit, script).expect("a script");
    std::fs::set_permissions(&unit, std::fs::Permissions::from_mode(0o755)).expect("a script of our own");
    let cluster = Cluster::with(2, |edge| edge.program(&unit).config("  handover_linger: 0s"));
    let given = || cluster.edge.log().lines().filter(|line| line.contains("was given its listening socket")).count();
    assert_eq!(given(), 1, "{}", cluster.edge.log());
    through(&cluster.edge, || upgrade(&cluster.edge));
    assert_eq!(given(), 2);
}
