//! What a connection may do before it has a request: slow bodies, many connections, ambiguous heads.

use std::time::{Duration, Instant};

use testkit::Cluster;
use testkit::cluster::{CATCH_UP, add, record};
use testkit::http::{Connection, head, record_path};
use testkit::place::wait_for;

const MIB: usize = 1024 * 1024;

/// Returns the head of a write, without the empty line that ends it.
fn write_head(collection: &str, more: &str) -> Vec<u8> {
    let mut request = head("POST", &record_path(collection, "add"), &[("content-type", "application/json")]);
    request.extend_from_slice(more.as_bytes());
    request
}

fn connect(cluster: &Cluster) -> Connection {
    cluster.client().connect().expect("a connection")
}

fn send(cluster: &Cluster, bytes: &[u8]) -> Connection {
    let mut connection = connect(cluster);
    connection.send(bytes).expect("sent");
    connection
}

/// Returns a record's body of about this many bytes.
fn padded(id: &str, bytes: usize) -> String {
    let mut body = record(id);
    body["padding"] = "p".repeat(bytes).into();
    body.to_string()
}

#[test]
fn what_is_announced_takes_no_memory() {
    let cluster = Cluster::with(2, |edge| edge.config("  limits: { buffered_bytes: 80MiB, queue_wait: 1s }"));
    let collection = cluster.create("things");
    let announced = write_head(&collection, &format!("content-length: {}\r\n\r\n ", 40 * MIB));
    let slow: Vec<Connection> = (0..14).map(|_| send(&cluster, &announced)).collect();
    wait_for("their bodies", Duration::from_secs(10), || {
        (cluster.client().metric("incoming_bodies") == 14).then_some(())
    });
    assert!(cluster.client().metric("buffered_bytes") < MIB as i64, "only what has come");
    let body = padded("a", 20 * MIB);
    let answer = cluster.client().send("POST", &record_path(&collection, "add"), "application/json", body.as_bytes());
    answer.expect("an answer").expect(201);
    drop(slow);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

/// Together they are larger than the memory for bodies.
#[test]
fn large_bodies_at_once_wait_for_each_other() {
    let limits = "  limits: { body_bytes: 4MiB, buffered_bytes: 13MiB }";
    let cluster = Cluster::with(2, |edge| edge.config(limits));
    let collection = cluster.create("things");
    let path = record_path(&collection, "add");
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..16)
            .map(|number| {
                let (client, path) = (cluster.client(), &path);
                scope.spawn(move || {
                    let body = padded(&format!("r{number}"), 3 * MIB);
                    client.send("POST", path, "application/json", body.as_bytes()).expect("an answer").expect(201);
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().expect("a worker"));
    });
    assert_eq!(cluster.assert_converged().record_count(), 16);
    assert_eq!(cluster.client().metric("buffered_bytes"), 0);
}

#[test]
fn what_trickles_in_holds_no_permit_and_has_an_end() {
    let limits = "  limits: { concurrent_requests: 4, queued_requests: 4, queue_wait: 1s, body_timeout: 3s }";
    let cluster = Cluster::with(2, |edge| edge.config(limits));
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "a").expect(201);
    let began = Instant::now();
    let request = write_head(&collection, "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n");
    let mut slow: Vec<Connection> = (0..100).map(|_| send(&cluster, &request)).collect();
    wait_for("their bodies", Duration::from_secs(10), || {
        (cluster.client().metric("incoming_bodies") == 100).then_some(())
    });
    for _ in 0..28 {
        cluster.client().post(&record_path(&collection, "get"), &serde_json::json!({})).expect(200);
    }
    for connection in &mut slow {
        let answer = connection.read_answer().expect("an answer").expect(408);
        assert_eq!(answer.json()["reason"], "body_timeout", "{answer}");
    }
    assert!(began.elapsed() >= Duration::from_secs(3), "not before its time");
    assert_eq!(cluster.client().metric("incoming_bodies"), 0);
}

#[test]
fn beyond_the_limit_a_body_has_to_be_there_at_once() {
    let limits = "  limits: { incoming_bodies: 3, body_timeout: 1m }";
    let cluster = Cluster::with(2, |edge| edge.config(limits));
    let collection = cluster.create("things");
    let request = write_head(&collection, "content-length: 100\r\n\r\n{");
    let slow: Vec<Connection> = (0..3).map(|_| send(&cluster, &request)).collect();
    wait_for("their bodies", Duration::from_secs(10), || {
        (cluster.client().metric("incoming_bodies") == 3).then_some(())
    });
    let mut fourth = send(&cluster, &request);
    assert_eq!(fourth.read_answer().expect("an answer").expect(408).json()["reason"], "body_timeout");
    add(&cluster.client(), &collection, "a").expect(201);
    drop(slow);
}

#[test]
fn idle_connections_make_room() {
    let cluster = Cluster::with(2, |edge| edge.config("  limits: { connections: 20 }"));
    let collection = cluster.create("things");
    let ask = |connection: &mut Connection| connection.request("GET", "/health", &[], b"").map(|answer| answer.status);
    let mut idle: Vec<Connection> = (0..60)
        .filter_map(|_| {
            let mut connection = connect(&cluster);
            ask(&mut connection).ok().map(|_| connection)
        })
        .collect();
    std::thread::sleep(Duration::from_millis(1500));
    for number in 0..30 {
        add(&cluster.client(), &collection, &number.to_string()).expect(201);
        assert_eq!(ask(&mut connect(&cluster)).expect("an answer"), 200);
    }
    assert!(cluster.client().metric("connections_closed_idle") > 0);
    assert!(cluster.client().metric("connections") <= cluster.client().metric("connections_limit"));
    assert!(idle[0].is_closed(), "the one that was idle longest");
    let lines = cluster.edge.log().lines().filter(|line| line.contains("connections are closed at once")).count();
    assert!(lines <= 1, "once, not for each");
}

#[test]
fn a_connection_at_work_is_not_sent_away() {
    let cluster = Cluster::with(2, |edge| edge.config("  limits: { connections: 6 }"));
    let collection = cluster.create("things");
    let relayed: Vec<&testkit::ChromaServer> = cluster.servers.iter().collect();
    relayed.iter().for_each(|server| server.stop());
    let mut request = write_head(&collection, "");
    let body = record("slow").to_string();
    request.extend_from_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    let mut working = send(&cluster, &request);
    std::thread::sleep(Duration::from_millis(1500));
    let crowd: Vec<_> = (0..20).map(|_| connect(&cluster)).collect();
    relayed.iter().for_each(|server| server.cont());
    working.read_answer().expect("an answer").expect(201);
    drop(crowd);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn an_idle_connection_ends_and_a_slow_head_too() {
    let cluster = Cluster::with(2, |edge| edge.config("  limits: { idle_timeout: 1s, header_timeout: 1s }"));
    let mut idle = connect(&cluster);
    idle.request("GET", "/health", &[("connection", "keep-alive")], b"").expect("an answer").expect(200);
    assert!(idle.is_closed());
    let mut slow = connect(&cluster);
    slow.request("GET", "/health", &[], b"").expect("an answer").expect(200);
    let began = Instant::now();
    let trickle = "GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n";
    let sent = trickle.bytes().take_while(|byte| {
        std::thread::sleep(Duration::from_millis(200));
        began.elapsed() < Duration::from_secs(5) && !slow.is_stale() && slow.send(&[*byte]).is_ok()
    });
    assert!(sent.count() < 15, "each byte comes in time, the head does not");
}

#[test]
fn heads_have_limits() {
    let cluster =
        Cluster::with(2, |edge| edge.config("  limits: { uri_bytes: 1KiB, headers: 10, header_bytes: 4KiB }"));
    let many: Vec<(String, String)> = (0..12).map(|number| (format!("x{number}"), "1".to_owned())).collect();
    let long = ("x".to_owned(), "1".repeat(5000));
    for (path, headers, status, reason) in [
        (format!("/status?{}", "a".repeat(1100)), Vec::new(), 414, "uri_too_long"),
        ("/status".to_owned(), many, 431, "headers_too_large"),
        ("/status".to_owned(), vec![long], 431, "headers_too_large"),
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut connection = connect(&cluster);
        let answer = connection.request("GET", &path, &headers, b"").expect("an answer").expect(status);
        assert_eq!(answer.json()["reason"], reason, "{answer}");
        assert!(connection.is_closed());
    }
    let page = cluster.client().get("/metrics").expect(200).text();
    assert!(page.contains("reason=\"headers_too_large\"} 2"), "{page}");
}

/// Requests on one connection, one after the other and in every framing, arrive unchanged.
#[test]
fn every_framing_can_follow_every_other_on_a_connection() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let path = record_path(&collection, "add");
    let mut connection = connect(&cluster);
    for round in 0..4 {
        let whole = record(&format!("whole-{round}")).to_string();
        connection
            .request("POST", &path, &[("content-type", "application/json")], whole.as_bytes())
            .expect("sent")
            .expect(201);
        let pieces = record(&format!("pieces-{round}")).to_string();
        connection.request_chunked(&path, pieces.as_bytes(), 7 + round).expect("sent").expect(201);
        connection.request("GET", "/health", &[], b"").expect("sent").expect(200);
    }
    assert_eq!(cluster.assert_converged().record_count(), 8);
}

#[test]
fn the_edges_own_pages_may_have_a_listener_of_their_own() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let cluster = Cluster::with(2, |edge| edge.config(&format!("  admin_listen: 127.0.0.1:{port}")));
    let collection = cluster.create("things");
    let (clients, pages) = (cluster.client(), testkit::http::Client::new(port));
    add(&clients, &collection, "a").expect(201);
    for path in ["/status", "/metrics", "/wal/status", "/admin/quarantine"] {
        clients.get(path).expect(404);
        pages.get(path).expect(200);
    }
    for path in ["/health", "/transaction/safety/status"] {
        clients.get(path).expect(200);
        pages.get(path).expect(200);
    }
    clients.get("/api/v2/heartbeat").expect(200);
    pages.get("/api/v2/heartbeat").expect(404);
    add(&pages, &collection, "b").expect(404);
    // Replication may still be under way.
    wait_for("no pending write", CATCH_UP, || {
        (pages.get("/status").expect(200).json()["pending_writes"] == 0).then_some(())
    });
}

/// HTTP/2 without TLS, for clients that begin with it: only if configured, and beside HTTP/1.
#[test]
fn http_2_in_clear_is_spoken_where_it_is_asked_for() {
    let (cluster, relays) =
        Cluster::relayed(|edge| edge.config("  h2c: true\n  limits: { header_timeout: 1s, idle_timeout: 2s }"));
    let collection = cluster.create("things");
    let path = record_path(&collection, "add");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = cluster.client().address;
    let status = |method: &'static str, path: String, headers: Vec<(&'static str, &'static str)>, body: String| {
        runtime.block_on(async move { over_h2(address, method, &path, &headers, body).await })
    };
    assert_eq!(status("GET", "/health".to_owned(), vec![], String::new()).expect("an answer"), 200);
    assert_eq!(status("POST", path.clone(), vec![], record("a").to_string()).expect("an answer"), 201);
    let read = record_path(&collection, "get");
    assert_eq!(status("POST", read, vec![], "{}".to_owned()).expect("an answer"), 200);
    assert_eq!(
        status("GET", "/status".to_owned(), vec![("origin", "https://evil.example")], String::new())
            .expect("an answer"),
        403
    );
    // HTTP/1 on the same listener, even if it starts with the first letter of the HTTP/2 preface.
    add(&cluster.client(), &collection, "b").expect(201);
    let mut other = send(&cluster, b"PRI * HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    assert!(matches!(other.read_answer().expect("an answer").status, 400..500));
    let mut wrong = send(&cluster, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    wrong.read_answer().expect("an answer").expect(400);
    // The edge does not wait for ever for a client that sends nothing, or that begins and does not go on.
    assert!(send(&cluster, b"PRI * HT").is_closed());
    assert!(connect(&cluster).is_closed());
    assert_eq!(relays[0].seen_at("/add").len(), 2);
    assert_eq!(cluster.assert_converged().record_count(), 2);
    let plain = Cluster::two();
    let address = plain.client().address;
    runtime
        .block_on(async move { over_h2(address, "GET", "/health", &[], String::new()).await })
        .expect_err("not spoken");
}

/// Returns the status of the answer to one request.
async fn over_h2(
    address: std::net::SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&'static str, &'static str)],
    body: String,
) -> pingora::Result<u16> {
    use pingora::connectors::http::Connector;
    use pingora::http::RequestHeader;
    use pingora::protocols::ALPN;
    use pingora::upstreams::peer::HttpPeer;

    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.alpn = ALPN::H2;
    peer.options.read_timeout = Some(Duration::from_secs(30));
    let connector = Connector::new(None);
    let (mut session, _) = connector.get_http_session(&peer).await?;
    let mut header = RequestHeader::build(method, path.as_bytes(), None)?;
    header.insert_header("host", "127.0.0.1")?;
    header.insert_header("content-type", "application/json")?;
    for (name, value) in headers {
        header.insert_header(*name, *value)?;
    }
    session.write_request_header(Box::new(header)).await?;
    if body.is_empty() {
        session.finish_request_body().await?;
    } else {
        session.write_request_body(body.into(), true).await?;
    }
    session.read_response_header().await?;
    let answer = session.response_header().expect("an answer");
    assert_eq!(answer.version, http::Version::HTTP_2);
    Ok(answer.status.as_u16())
}

/// Writes a script that runs these lines in a shell, which becomes the edge.
fn started_after(lines: &str, folder: &std::path::Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let script = folder.join("edge.sh");
    let text = format!("#!/bin/sh\n{lines}\nexec {} \"$@\"\n", testkit::place::binary().display());
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("its rights");
    script
}

/// With this few descriptors, 966 idle connections once blocked clients, probes and the edge's own pages.
#[test]
fn idle_connections_lock_out_nobody_with_1024_descriptors() {
    let folder = testkit::place::data_dir("descriptors");
    let program = started_after("ulimit -n 1024", folder.path());
    let cluster = Cluster::with(2, |edge| edge.program(&program));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", cluster.edge.process())).expect("its limits");
    assert!(limits.lines().any(|line| line.starts_with("Max open files") && line.contains(" 1024 ")), "{limits}");
    let collection = cluster.create("things");
    let idle: Vec<Connection> = (0..1000).map(|_| connect(&cluster)).collect();
    // After a second of idling, one of them makes room for a new one.
    wait_for("a place for one more", Duration::from_secs(10), || {
        let answer = cluster.client().connect().ok()?.request("GET", "/health", &[], b"").ok()?;
        (answer.status == 200).then_some(())
    });
    assert!(cluster.client().metric("connections_closed_idle") + cluster.client().metric("connections_refused") > 500);
    assert!(cluster.client().metric("connections") <= 384, "each may need one to an instance, too");
    let client = cluster.client();
    for number in 0..20 {
        client.get("/health").expect(200);
        add(&client, &collection, &format!("r{number}")).expect(201);
    }
    // Probes can open new connections, too.
    client.post("/transaction/safety/recovery/trigger", &serde_json::Value::Null).expect(200);
    let instances = cluster.edge.status()["instances"].clone();
    let all = instances.as_array().expect("a list");
    assert!(all.iter().all(|one| one["healthy"] == true), "{instances}");
    let log = cluster.edge.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("connections are closed at once")).collect();
    assert!(told.len() <= 1, "{told:#?}");
    drop(idle);
    assert_eq!(cluster.assert_converged().record_count(), 20);
}
