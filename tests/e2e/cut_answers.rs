//! An instance that does not finish its answer to a read: another one answers, and the client does not notice, up to
//! `limits.held_answer_bytes`.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::json;

use testkit::chroma::ChromaServer;
use testkit::cluster::{CATCH_UP, Cluster};
use testkit::http::{Answer, Client, DEFAULT, head, record_path};
use testkit::place::wait_for;

/// How an answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
}

/// A proxy in front of a server that cuts its answers to some requests.
struct Cutter {
    port: u16,
    /// Whether answers are cut.
    on: Arc<AtomicBool>,
    cut: Arc<AtomicU64>,
}

impl Cutter {
    /// Starts a proxy in front of this server. Answers to paths with this ending get this framing, and are cut after
    /// half of the body.
    fn before(server: &ChromaServer, ending: &'static str, framing: Framing) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (on, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (client, state, count) = (server.client(), Arc::clone(&on), Arc::clone(&cut));
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (client, state, count) = (client.clone(), Arc::clone(&state), Arc::clone(&count));
                thread::spawn(move || {
                    let _ = serve(stream, &client, &|path| {
                        let cuts =
                            state.load(Ordering::Relaxed) && path.split('?').next().unwrap_or("").ends_with(ending);
                        count.fetch_add(u64::from(cuts), Ordering::Relaxed);
                        cuts.then_some(framing)
                    });
                });
            }
        });
        Cutter { port, on, cut }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Passes requests on until the connection ends. `cuts` returns whether, and in which framing, to cut the answer to a
/// path.
fn serve(mut stream: TcpStream, client: &Client, cuts: &dyn Fn(&str) -> Option<Framing>) -> io::Result<()> {
    loop {
        let mut header = Vec::new();
        while !header.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            header.push(byte[0]);
        }
        let header = String::from_utf8_lossy(&header).into_owned();
        let mut words = header.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let field = |name: &str| {
            let lines = header.lines().filter_map(|line| line.split_once(':'));
            lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let content_type = field("content-type").unwrap_or_else(|| "application/json".to_owned());
        let answer = client.send(method, path, &content_type, &body)?;
        let framing = cuts(path);
        let kind = answer.header("content-type").unwrap_or("application/json");
        let mut bytes = format!("HTTP/1.1 {} Answer\r\ncontent-type: {kind}\r\n", answer.status).into_bytes();
        match framing {
            None | Some(Framing::Length) => {
                bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", answer.body.len()).as_bytes());
            }
            Some(Framing::Chunked) => bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n"),
        }
        stream.write_all(&bytes)?;
        let half = &answer.body[..answer.body.len() / 2];
        match framing {
            None => stream.write_all(&answer.body)?,
            Some(Framing::Length) => return stream.write_all(half),
            Some(Framing::Chunked) => {
                for piece in half.chunks(10_000) {
                    stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
                    stream.write_all(piece)?;
                    stream.write_all(b"\r\n")?;
                }
                return Ok(());
            }
        }
    }
}

/// Creates a collection with one record for each of these document sizes.
fn filled(cluster: &Cluster, sizes: &[(&str, usize)]) -> String {
    let collection = cluster.create("things");
    for (id, size) in sizes {
        let body = json!({ "ids": [id], "documents": ["x".repeat(*size)], "embeddings": [[1.0, 2.0, 3.0]] });
        cluster.client().post(&record_path(&collection, "add"), &body).expect(201);
    }
    cluster.edge.wait_until_in_sync(CATCH_UP);
    collection
}

fn get(client: &Client, collection: &str, id: &str) -> io::Result<Answer> {
    client.try_call("POST", &record_path(collection, "get"), &json!({ "ids": [id] }))
}

fn document(answer: &Answer) -> usize {
    answer.json()["documents"][0].as_str().map_or(0, str::len)
}

/// Starts two servers, the primary behind a cutter.
fn behind_a_cutter(ending: &'static str, framing: Framing) -> (Cluster, Cutter) {
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let cutter = Cutter::before(&servers[0], ending, framing);
    let (url, replica) = (cutter.url(), servers[1].url());
    let cluster =
        Cluster::at(servers, |edge| edge.instance_url(&url).instance_url(&replica).env("READ_REPLICA_RATIO", "0"));
    (cluster, cutter)
}

#[test]
fn what_is_held_comes_from_another_instance_and_what_is_longer_is_cut() {
    for framing in [Framing::Length, Framing::Chunked] {
        let (cluster, cutter) = behind_a_cutter("/get", framing);
        let collection = filled(&cluster, &[("small", 10), ("held", 200_000), ("long", 900_000)]);
        let client = cluster.client();
        assert_eq!(
            get(&client, &collection, "held").expect("an answer").header("chroma-edge-instance"),
            Some("primary")
        );
        cutter.on.store(true, Ordering::Relaxed);
        for (id, size) in [("small", 10), ("held", 200_000)] {
            let answer = get(&client, &collection, id).expect("a whole answer").expect(200);
            assert_eq!(
                (document(&answer), answer.header("chroma-edge-instance")),
                (size, Some("replica")),
                "{framing:?}"
            );
        }
        assert!(cutter.cut.load(Ordering::Relaxed) >= 2, "the primary was asked first");
        let long = get(&client, &collection, "long");
        assert!(long.is_err(), "{framing:?}: {:?}", long.map(|answer| answer.body.len()));
        // Refusals are rewritten: the edge needs them whole, and gets them from the other instance as well.
        let bad = client.post(&record_path(&collection, "get"), &json!({ "where": { "a": { "$no": 1 } } }));
        assert_eq!((bad.status, bad.header("chroma-edge-instance")), (400, Some("replica")), "{bad}");
        assert!(bad.json()["error"].is_string(), "{bad}");
        cutter.on.store(false, Ordering::Relaxed);
        let answer = get(&client, &collection, "long").expect("an answer").expect(200);
        assert_eq!((document(&answer), answer.header("chroma-edge-instance")), (900_000, Some("primary")));
    }
}

#[test]
fn what_has_nothing_to_do_with_collections_is_held_too() {
    let (cluster, cutter) = behind_a_cutter("/version", Framing::Chunked);
    cutter.on.store(true, Ordering::Relaxed);
    for _ in 0..4 {
        assert_eq!(cluster.client().get("/api/v2/version").expect(200).json(), json!("1.0.0"));
    }
    assert!(cutter.cut.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_server_that_is_killed_under_reads_costs_no_client_its_answer() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  settle_time: 200ms"));
    let collection = filled(&cluster, &[("one", 180_000)]);
    let (stop, whole) = (AtomicBool::new(false), AtomicU64::new(0));
    let wrong: Vec<String> = thread::scope(|scope| {
        let readers: Vec<_> = (0..6)
            .map(|_| {
                let (client, collection, stop, whole) = (cluster.edge.client(), collection.clone(), &stop, &whole);
                scope.spawn(move || {
                    let mut wrong = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        match get(&client, &collection, "one") {
                            Ok(answer) if answer.status == 200 && document(&answer) == 180_000 => {
                                whole.fetch_add(1, Ordering::Relaxed);
                            }
                            Ok(answer) => wrong.push(format!("{} of {} bytes", answer.status, answer.body.len())),
                            Err(error) => wrong.push(error.to_string()),
                        }
                    }
                    wrong
                })
            })
            .collect();
        for round in 0..6 {
            let before = whole.load(Ordering::Relaxed);
            wait_for("reads", CATCH_UP, || (whole.load(Ordering::Relaxed) > before + 20).then_some(()));
            cluster.servers[round % 2].kill();
            let before = whole.load(Ordering::Relaxed);
            wait_for("reads without it", CATCH_UP, || (whole.load(Ordering::Relaxed) > before + 20).then_some(()));
            cluster.servers[round % 2].restart();
            cluster.edge.wait_until_in_sync(CATCH_UP);
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().flat_map(|reader| reader.join().expect("a reader")).collect()
    });
    assert_eq!(wrong, Vec::<String>::new(), "beside {} whole answers", whole.load(Ordering::Relaxed));
}

#[test]
fn an_answer_to_a_client_of_http_1_0_ends_with_its_connection_or_has_a_length() {
    let (cluster, cutter) = behind_a_cutter("/nothing", Framing::Chunked);
    drop(cutter);
    let collection = filled(&cluster, &[("small", 10), ("long", 900_000)]);
    for (id, size) in [("small", 10), ("long", 900_000)] {
        let body = json!({ "ids": [id] }).to_string();
        let request = head("POST", &record_path(&collection, "get"), &[("content-type", "application/json")]);
        let request = String::from_utf8(request).expect("text").replace("HTTP/1.1", "HTTP/1.0");
        let mut connection = cluster.client().connect().expect("a connection");
        connection.send(format!("{request}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).expect("sent");
        let answer = connection.read_answer().expect("an answer").expect(200);
        assert_eq!(document(&answer), size);
    }
}

#[test]
fn a_head_has_the_length_that_a_get_would_have() {
    let cluster = Cluster::two();
    let direct = cluster.servers[0].client();
    let path = format!("{DEFAULT}/collections_count");
    let length = |client: &Client, path: &str| {
        let mut connection = client.connect().expect("a connection");
        let mut request = head("HEAD", path, &[]);
        request.extend_from_slice(b"\r\n");
        connection.send(&request).expect("sent");
        let answer = connection.read_header().expect("a header").expect(200);
        answer.header("content-length").map(str::to_owned)
    };
    assert_eq!(length(&cluster.client(), "/api/v2/version"), length(&direct, "/api/v2/version"));
    assert_eq!(length(&cluster.client(), &path), length(&direct, &path));
}
