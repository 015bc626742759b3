//! Requests that two readers could parse as different requests, or as a different number of them: either refused, with
//! the connection closed, or one well-formed request at the server. A relay before each server sees what the server
//! got.

use std::time::Duration;

use testkit::Cluster;
use testkit::cluster::{CATCH_UP, ids, journaled, record};
use testkit::http::{Connection, DEFAULT, record_path};
use testkit::relay::{Relay, Seen};

/// The write that follows each request. It would be executed if it were parsed as a request.
fn smuggled(path: &str) -> String {
    written(path, "smuggled")
}

fn written(path: &str, id: &str) -> String {
    let body = record(id).to_string();
    format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn send(cluster: &Cluster, bytes: &[u8]) -> Connection {
    let mut connection = cluster.client().connect().expect("a connection");
    connection.send(bytes).expect("sent");
    connection
}

/// Checks that the servers got only well-formed requests, whatever the client sent.
#[track_caller]
fn assert_well_formed(relays: &[Relay]) {
    for relay in relays {
        let own = relay.url().replace("http://", "");
        for seen in relay.seen() {
            let of = |name: &str| values(&seen, name);
            assert!(seen.path.starts_with('/') && !seen.path.contains(char::is_control), "{seen:?}");
            assert_eq!(of("host"), [own.as_str()], "{seen:?}");
            let lengths = of("content-length");
            assert!(lengths.is_empty() && seen.body.is_empty() || lengths == [seen.body.len().to_string()], "{seen:?}");
            for name in ["transfer-encoding", "upgrade", "http2-settings", "te", "trailer", "expect", "keep-alive"] {
                assert!(of(name).is_empty(), "{seen:?}");
            }
            assert!(!of("connection").iter().any(|value| value.contains("pgrade")), "{seen:?}");
        }
    }
}

fn values<'a>(seen: &'a Seen, name: &str) -> Vec<&'a str> {
    seen.headers.iter().filter(|(one, _)| one == name).map(|(_, value)| value.as_str()).collect()
}

/// Returns the head of a write with these lines, then this body, then the smuggled write.
fn ambiguous(path: &str, lines: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{lines}\r\n{body}{}", smuggled(path)).into_bytes()
}

/// Lines about the length of the body.
const LENGTHS: [(&str, &str); 17] = [
    ("CL.CL, different", "content-length: 0\r\ncontent-length: 9\r\n"),
    ("CL.CL, equal", "content-length: 0\r\ncontent-length: 0\r\n"),
    ("a list of equal lengths", "content-length: 0, 0\r\n"),
    ("a list of different lengths", "content-length: 0,9\r\n"),
    ("a plus sign", "content-length: +0\r\n"),
    ("a minus sign", "content-length: -0\r\n"),
    ("a hexadecimal length", "content-length: 0x0\r\n"),
    ("a fraction", "content-length: 0.0\r\n"),
    ("two words", "content-length: 0 0\r\n"),
    ("no length", "content-length:\r\n"),
    ("more than there are numbers", "content-length: 18446744073709551616\r\n"),
    ("digits of another script", "content-length: \u{661}\r\n"),
    ("a space before the colon", "content-length : 0\r\n"),
    ("a tab before the colon", "content-length\t: 0\r\n"),
    ("an underscore", "content_length: 0\r\n"),
    ("a NUL in the name", "content-length\0: 0\r\n"),
    ("a NUL behind the length", "content-length: 0\0\r\n"),
];

/// Lines about the coding of the body. An empty chunked body follows them.
const CODINGS: [(&str, &str); 29] = [
    ("CL.TE", "content-length: 5\r\ntransfer-encoding: chunked\r\n"),
    ("TE.CL", "transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
    ("CL.TE, the length of all", "content-length: 400\r\ntransfer-encoding: chunked\r\n"),
    ("TE.TE, the same", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
    ("TE.TE, another first", "transfer-encoding: cow\r\ntransfer-encoding: chunked\r\n"),
    ("TE.TE, another last", "transfer-encoding: chunked\r\ntransfer-encoding: cow\r\n"),
    ("TE.TE, of another case", "transfer-encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ("identity", "transfer-encoding: identity\r\n"),
    ("chunked and identity", "transfer-encoding: chunked, identity\r\n"),
    ("another coding below", "transfer-encoding: gzip, chunked\r\n"),
    ("twice", "transfer-encoding: chunked, chunked\r\n"),
    ("a comma behind", "transfer-encoding: chunked,\r\n"),
    ("a comma before", "transfer-encoding: ,chunked\r\n"),
    ("a parameter", "transfer-encoding: chunked;q=1\r\n"),
    ("quoted", "transfer-encoding: \"chunked\"\r\n"),
    ("xchunked", "transfer-encoding: xchunked\r\n"),
    ("empty", "transfer-encoding:\r\n"),
    ("a vertical tab", "transfer-encoding:\u{b}chunked\r\n"),
    ("a form feed", "transfer-encoding: chunked\u{c}\r\n"),
    ("a space before the colon", "transfer-encoding : chunked\r\n"),
    ("an underscore", "transfer_encoding: chunked\r\n"),
    ("a fold", "x: a\r\n transfer-encoding: chunked\r\n"),
    ("a fold by a tab", "x: a\r\n\ttransfer-encoding: chunked\r\n"),
    ("a folded value", "transfer-encoding:\r\n chunked\r\n"),
    ("the first line folded", " transfer-encoding: chunked\r\n"),
    ("a bare LF", "x: a\ntransfer-encoding: chunked\r\n"),
    ("a bare LF within the name", "transfer-encoding\n: chunked\r\n"),
    ("a bare CR", "x: a\rtransfer-encoding: chunked\r\n"),
    ("a NUL", "x: a\0\r\ntransfer-encoding: chunked\r\n"),
];

/// Malformed chunked bodies.
const CHUNKS: [(&str, &str); 21] = [
    ("an extension", "0;a=b\r\n\r\n"),
    ("an extension that hides a line", "0;\n\r\n\r\n"),
    ("an extension of nothing", "1;\r\na\r\n0\r\n\r\n"),
    ("a bare LF behind the length", "1\na\r\n0\r\n\r\n"),
    ("a bare CR behind the length", "1\ra\r\n0\r\n\r\n"),
    ("a bare LF behind the bytes", "1\r\na\n0\r\n\r\n"),
    ("bare LFs at the end", "0\n\n"),
    ("bytes beyond the length", "1\r\nab\r\n0\r\n\r\n"),
    ("no length", "\r\na\r\n0\r\n\r\n"),
    ("a plus sign", "+0\r\n\r\n"),
    ("a minus sign", "-1\r\n\r\n"),
    ("0x", "0x0\r\n\r\n"),
    ("a space before", " 0\r\n\r\n"),
    ("a space behind", "0 \r\n\r\n"),
    ("an underscore", "1_0\r\n\r\n"),
    ("no number", "g\r\n\r\n"),
    ("as much as there is", "FFFFFFFFFFFFFFFF\r\n"),
    ("one more than there is", "10000000000000000\r\n"),
    ("zeros without an end", "0000000000000000\r\n\r\n"),
    ("a trailer", "0\r\nx: a\r\n\r\n"),
    ("a trailer about the length", "0\r\ncontent-length: 5\r\n\r\n"),
];

/// Heads whose first lines are malformed or ambiguous.
const HEADS: [(&str, &str); 21] = [
    ("no host", "GET /status HTTP/1.1\r\n\r\n"),
    ("two hosts", "GET /status HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
    ("the same host twice", "GET /status HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: 127.0.0.1\r\n\r\n"),
    ("a space in the target", "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a tab in the target", "GET /a\tb HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a NUL in the target", "GET /a\0b HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a NUL in the method", "G\0T / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("two spaces", "GET  /status HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a tab for a space", "GET\t/status HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("a space at the end", "GET /status HTTP/1.1 \r\nhost: a\r\n\r\n"),
    ("a bare CR in the first line", "GET /status HTTP/1.1\rhost: a\r\n\r\n"),
    ("bare LFs alone", "GET /status HTTP/1.1\nhost: a\n\n"),
    ("HTTP/0.9", "GET /status\r\nhost: a\r\n\r\n"),
    ("HTTP/1.2", "GET /status HTTP/1.2\r\nhost: a\r\n\r\n"),
    ("HTTP/01.1", "GET /status HTTP/01.1\r\nhost: a\r\n\r\n"),
    ("http in small letters", "GET /status http/1.1\r\nhost: a\r\n\r\n"),
    ("the greeting of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("chunks in HTTP/1.0", "POST /x HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("empty lines first", "\r\n\r\nGET /status HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("no colon", "GET /status HTTP/1.1\r\nhost: a\r\nx\r\n\r\n"),
    ("no HTTP", "\u{16}\u{3}\u{1}\r\n\r\n"),
];

fn all_refused(path: &str) -> Vec<(String, Vec<u8>)> {
    let mut rows = Vec::new();
    for (what, lines) in LENGTHS {
        rows.push((format!("length: {what}"), ambiguous(path, lines, "")));
    }
    for (what, lines) in CODINGS {
        rows.push((format!("coding: {what}"), ambiguous(path, lines, "0\r\n\r\n")));
    }
    for (what, body) in CHUNKS {
        rows.push((format!("chunks: {what}"), ambiguous(path, "transfer-encoding: chunked\r\n", body)));
    }
    for (what, head) in HEADS {
        rows.push((format!("head: {what}"), format!("{head}{}", smuggled(path)).into_bytes()));
    }
    rows
}

#[track_caller]
fn assert_refused(connection: &mut Connection, what: &str) {
    let answer = connection.read_answer().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(answer.status, 400, "{what}: {answer}");
    assert_eq!(answer.json()["reason"], "bad_framing", "{what}: {answer}");
    assert!(connection.is_closed(), "{what}");
}

/// What follows an ambiguous request is never executed as another request: neither if it is the first of its connection
/// nor after another one, whole or byte by byte.
#[test]
fn what_can_be_read_in_two_ways_is_refused_and_closes_the_connection() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let collection = cluster.create("things");
    let path = record_path(&collection, "add");
    let before = journaled(&cluster.edge);
    for (what, request) in all_refused(&path) {
        assert_refused(&mut send(&cluster, &request), &what);
        let mut second = send(&cluster, b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        second.read_answer().unwrap_or_else(|error| panic!("{what}: {error}")).expect(200);
        let (first, rest) = request.split_at(request.len() / 3);
        second.send(first).expect("sent");
        // The first part may have been refused by now.
        let _ = second.send(rest);
        assert_refused(&mut second, &format!("{what}, second of its connection"));
    }
    assert_eq!(journaled(&cluster.edge), before, "nothing was taken for a write");
    assert!(relays.iter().all(|relay| relay.seen_at("/add").is_empty()));
    assert_well_formed(&relays);
}

/// Returns unambiguous writes, each with another write right after it.
fn plain_writes(path: &str) -> Vec<(&'static str, String, String)> {
    let lines = |more: &str| format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}");
    let whole = |id: &str, more: &str| {
        let body = record(id).to_string();
        format!("{}content-length: {}\r\n\r\n{body}", lines(more), body.len())
    };
    let pieces = |id: &str, more: &str, size: &str| {
        let body = record(id).to_string();
        let length = if size == "upper" { format!("{:X}", body.len()) } else { format!("00{:x}", body.len()) };
        format!("{}\r\n{length}\r\n{body}\r\n0\r\n\r\n", lines(more))
    };
    let chunked = "transfer-encoding: chunked\r\n";
    let upgrade = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n";
    [
        ("a length", whole("a", "")),
        ("a length with zeros before it", whole("b", "").replace("content-length: ", "content-length: 000")),
        ("a length between spaces", whole("c", "").replace("content-length: ", "Content-Length:  \t")),
        ("chunks", pieces("d", chunked, "")),
        ("chunks, in capitals", pieces("e", "TRANSFER-ENCODING:\tCHUNKED \r\n", "upper")),
        ("an upgrade to HTTP/2 in clear", whole("f", upgrade)),
        ("a websocket", whole("g", "connection: upgrade\r\nupgrade: websocket\r\n")),
        ("a connection that names the length", whole("h", "connection: content-length, host, content-type\r\n")),
        ("a connection that names the coding", pieces("i", &format!("connection: transfer-encoding\r\n{chunked}"), "")),
        ("announced trailers", pieces("j", &format!("te: trailers\r\ntrailer: x\r\n{chunked}"), "")),
        ("another method in a header", whole("k", "x-http-method-override: DELETE\r\n")),
        ("other hosts in headers", whole("l", "x-forwarded-host: evil.example\r\nx-original-url: /api/v2/reset\r\n")),
        ("one empty line first", format!("\r\n{}", whole("m", ""))),
        ("a kept connection of HTTP/1.0", whole("n", "connection: keep-alive\r\n").replace("HTTP/1.1", "HTTP/1.0")),
    ]
    .into_iter()
    .zip('a'..)
    .map(|((what, request), id)| (what, request, id.to_string()))
    .collect()
}

#[test]
fn what_has_one_meaning_is_one_request_at_each_server_whatever_follows_it() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let collection = cluster.create("things");
    let path = record_path(&collection, "add");
    for (what, request, id) in plain_writes(&path) {
        let next = format!("{id}-next");
        let mut connection = send(&cluster, format!("{request}{}", written(&path, &next)).as_bytes());
        connection.read_answer().unwrap_or_else(|error| panic!("{what}: {error}")).expect(201);
        // If the second one is sent before the first is answered, it may be answered, or the connection closed.
        connection.set_timeout(Duration::from_secs(10));
        let answered = connection.read_answer().is_ok_and(|answer| answer.expect(201).status == 201);
        let found: Vec<String> =
            ids(&cluster.client(), &collection).into_iter().filter(|one| one.starts_with(&id)).collect();
        let expected = if answered { vec![id.clone(), next] } else { vec![id.clone()] };
        assert!(found == expected || !answered && found == [id.clone(), format!("{id}-next")], "{what}: {found:?}");
    }
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_well_formed(&relays);
    for relay in &relays {
        let mut written: Vec<String> = relay.seen_at("/add").iter().flat_map(ids_in).collect();
        let all = written.len();
        written.sort();
        written.dedup();
        assert_eq!(written.len(), all, "none was sent twice");
    }
    cluster.assert_converged();
}

fn ids_in(seen: &Seen) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_slice(&seen.body).expect("one whole body");
    body["ids"].as_array().into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

/// Targets that are not plain paths: each is answered by the edge, or arrives as a path under the server's own name.
#[test]
fn a_target_is_a_path_at_the_server_whatever_form_it_has() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    cluster.create("things");
    let things = format!("{DEFAULT}/collections/things");
    for (what, line, host) in [
        ("absolute", format!("GET http://127.0.0.1{things} HTTP/1.1"), "127.0.0.1"),
        ("absolute, of another host", format!("GET http://evil.example{things} HTTP/1.1"), "127.0.0.1"),
        ("absolute, under another host", format!("GET http://127.0.0.1{things} HTTP/1.1"), "evil.example"),
        ("absolute, with a user", format!("GET http://127.0.0.1@evil.example{things} HTTP/1.1"), "127.0.0.1"),
        ("another scheme", format!("GET file://{things} HTTP/1.1"), "127.0.0.1"),
        ("an authority", "CONNECT 127.0.0.1:22 HTTP/1.1".to_owned(), "127.0.0.1"),
        ("an asterisk", "OPTIONS * HTTP/1.1".to_owned(), "127.0.0.1"),
        ("two slashes", format!("GET //evil.example{things} HTTP/1.1"), "127.0.0.1"),
        ("a backslash", format!("GET /\\evil.example{things} HTTP/1.1"), "127.0.0.1"),
        ("lines in it", format!("GET {things}%0d%0ahost:%20evil.example HTTP/1.1"), "127.0.0.1"),
        ("a NUL in it", format!("GET {things}%00 HTTP/1.1"), "127.0.0.1"),
        ("dots", format!("GET {things}/../../../../../../../api/v2/reset HTTP/1.1"), "127.0.0.1"),
        ("dots in escapes", format!("GET {things}/%2e%2E/api/v2/reset HTTP/1.1"), "127.0.0.1"),
        ("slashes in escapes", "GET /api%2fv2%2freset HTTP/1.1".to_owned(), "127.0.0.1"),
        ("an escape where none is needed", "GET /api/v2/%68eartbeat HTTP/1.1".to_owned(), "127.0.0.1"),
        ("two slashes within", "GET /api//v2/heartbeat HTTP/1.1".to_owned(), "127.0.0.1"),
        ("a parameter", "OPTIONS /api/v2/later;a=b HTTP/1.1".to_owned(), "127.0.0.1"),
        ("a fragment", format!("GET {things}#x HTTP/1.1"), "127.0.0.1"),
        ("bytes beyond ASCII", format!("GET {things}\u{e9} HTTP/1.1"), "127.0.0.1"),
    ] {
        let request = format!("{line}\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let mut connection = send(&cluster, request.as_bytes());
        let answer = connection.read_answer().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(answer.status < 500, "{what}: {answer}");
        assert!(connection.is_closed(), "{what}");
    }
    assert_well_formed(&relays);
    let seen: Vec<Seen> = relays.iter().flat_map(Relay::seen).collect();
    assert!(seen.iter().all(|one| !one.path.contains("://") && one.path != "/api/v2/reset" && one.method != "CONNECT"));
    let is_odd = |path: &str| path.contains("//") || path.contains("/..") || path.contains('\\') || path.contains("%2");
    assert!(!seen.iter().any(|one| one.method == "OPTIONS" || is_odd(&one.path)), "{seen:?}");
    cluster.assert_converged();
}
