//! The dashboard: in a real browser, with a server killed while it is open; its stream, and the limit of streams.

use serde_json::Value;

use testkit::cluster::{CATCH_UP, Cluster, add};
use testkit::http::{Answer, Client, Connection, head};
use testkit::place::wait_for;
use testkit::scripts::Dialogue;

const WRITERS: usize = 24;
const EACH: usize = 20;

/// Runs writers of one collection, whose writes share requests.
fn busy(client: &Client, collection: &str) {
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                (0..EACH).for_each(|n| drop(add(client, collection, &format!("{writer}-{n}")).expect(201)))
            });
        }
    });
}

#[test]
fn a_person_sees_whether_the_data_is_safe() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    let mut browser = Dialogue::js("dashboard.mjs", &cluster.edge.url());
    match browser.line().as_str() {
        "write" => {}
        "no browser" => {
            eprintln!("skipped: there is no Chromium here");
            return browser.end();
        }
        surprise => panic!("{surprise}:\n{}", browser.until("seen").join("\n")),
    }
    busy(&cluster.client(), &collection);
    browser.answer();
    browser.until("kill");
    cluster.replica().kill();
    browser.answer();
    browser.until("restart");
    cluster.replica().restart();
    browser.answer();
    browser.until("stop the edge");
    cluster.edge.kill();
    browser.answer();
    browser.until("seen");
    browser.end();
}

/// Opens the stream. Returns the connection and the header.
pub fn watch(client: &Client) -> (Connection, Answer) {
    let mut connection = client.connect().expect("a connection");
    let mut request = head("GET", "/dashboard/live", &[]);
    request.extend_from_slice(b"\r\n");
    connection.send(&request).expect("a request");
    let answer = connection.read_header().expect("a header");
    (connection, answer)
}

/// Returns the first state in the stream.
pub fn first_state(stream: &mut Connection) -> Value {
    let mut text = String::new();
    while !text.contains("\n\n") {
        text.push_str(&String::from_utf8_lossy(&stream.read_chunk().expect("a piece")));
    }
    let piece = text.split("\n\n").next().and_then(|one| one.strip_prefix("event: state\ndata: ")).expect("an event");
    serde_json::from_str(piece).expect("JSON")
}

#[test]
fn the_stream_tells_what_the_pages_tell_and_is_limited() {
    let cluster = Cluster::with(2, |edge| edge.config("  limits: { dashboards: 1 }"));
    let client = cluster.client();
    cluster.filled("things", 10);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let (mut first, answer) = watch(&client);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    let state = first_state(&mut first);
    assert_eq!(state["verdict"]["level"], "safe", "{state}");
    let status = cluster.edge.status();
    for same in ["pending_writes", "in_doubt", "collections", "quarantine", "healing"] {
        assert_eq!(state[same], status[same], "{same}");
    }
    let names = |page: &Value| -> Vec<Value> {
        page["instances"].as_array().expect("instances").iter().map(|one| one["name"].clone()).collect()
    };
    assert_eq!(names(&state), names(&status));

    let (_, second) = watch(&client);
    assert_eq!(second.status, 503, "{second}");
    assert_eq!((client.metric("dashboards"), client.metric("dashboards_limit")), (1, 1));
    drop(first);
    wait_for("a place", CATCH_UP, || (client.metric("dashboards") == 0).then_some(()));
    assert_eq!(watch(&client).1.status, 200);
}

#[test]
fn the_page_runs_nothing_but_its_own_script() {
    let cluster = Cluster::two();
    let client = cluster.client();
    let page = client.get("/dashboard").expect(200);
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert_eq!(
        (page.header("x-frame-options"), page.header("x-content-type-options")),
        (Some("DENY"), Some("nosniff"))
    );
    assert_eq!(client.post("/dashboard", &Value::Null).status, 405);
    assert_eq!(client.post("/dashboard/live", &Value::Null).status, 405);
}
