//! A hostile client, from a seed: mutated requests of every kind, one at a time, on real servers under a supervisor.
//!
//! After each the same questions: was it answered, who died of it, do its collection and all others go on? `make hostile`
//! runs it for as long as it is told; its limits are the edge's own in every other run, and raised in the others.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;

use testkit::cluster::{CATCH_UP, add, create};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::random::Random;
use testkit::{Edge, Supervised};

use crate::bystanders::Bystanders;

const PAUSE: Duration = Duration::from_millis(400);
const DEFINITE: Duration = Duration::from_secs(30);
/// The same collection takes an ordinary write again within that.
const AGAIN: Duration = Duration::from_secs(12);

/// One request.
struct Attack {
    method: &'static str,
    path: String,
    body: String,
}

const NUMBERS: [&str; 11] =
    ["0", "-1", "1", "3", "-0", "1e400", "1.5", "2147483648", "18446744073709551615", "1e-400", "NaN"];

const FIELDS: [&str; 14] = [
    "k",
    "#document",
    "chroma:document",
    "chroma:x",
    "$and",
    "$or",
    "$in",
    "$contains",
    "$regex",
    "hnsw:M",
    "",
    "indices",
    "values",
    "#type",
];

/// What a number can be.
fn number(random: &mut Random) -> &'static str {
    NUMBERS[random.index(NUMBERS.len())]
}

/// A JSON value that few have thought of.
fn odd(random: &mut Random, depth: u32) -> String {
    match random.below(if depth > 3 { 9 } else { 12 }) {
        0 => "null".to_owned(),
        1 => "true".to_owned(),
        2 => number(random).to_owned(),
        3 => "\"\"".to_owned(),
        4 => "\"\\ud800\"".to_owned(),
        5 => "\"\\u0000\"".to_owned(),
        6 => format!("\"{}\"", "x".repeat(random.index(100_000))),
        7 => "[]".to_owned(),
        8 => "{}".to_owned(),
        9 => list(random, 6, |random| odd(random, depth + 1)),
        10 => format!("{{{:?}:{},\"k\":{}}}", field(random), odd(random, depth + 1), odd(random, depth + 1)),
        _ => "[".repeat(300) + &"]".repeat(300),
    }
}

fn field(random: &mut Random) -> &'static str {
    FIELDS[random.index(FIELDS.len())]
}

fn list(random: &mut Random, most: usize, item: impl Fn(&mut Random) -> String) -> String {
    let items: Vec<String> = (0..random.index(most + 1)).map(|_| item(random)).collect();
    format!("[{}]", items.join(","))
}

/// A size, most often small.
fn size(random: &mut Random) -> usize {
    *random.pick(&[0, 1, 2, 5, 20, 100, 900, 1100, 3000, 10_000])
}

fn condition(random: &mut Random) -> String {
    let (join, terms) = (*random.pick(&["$or", "$and"]), size(random));
    let term = match random.below(5) {
        0 => r#"{"k":{"$ne":"v"}}"#.to_owned(),
        1 => format!(r#"{{"k":{}}}"#, odd(random, 2)),
        2 => r#"{"k":{"$in":["a","b"]}}"#.to_owned(),
        _ => r#"{"k":"v"}"#.to_owned(),
    };
    match random.below(6) {
        0 => odd(random, 0),
        1 => {
            let deep = random.index(150);
            format!("{}{term}{}", format!("{{\"{join}\":[{term},").repeat(deep), "]}".repeat(deep))
        }
        2 => format!(r##"{{"#document":{{"$contains":"{}"}}}}"##, "y".repeat(size(random) * 20)),
        _ => format!("{{\"{join}\":[{}]}}", vec![term; terms.max(1)].join(",")),
    }
}

fn document_condition(random: &mut Random) -> String {
    let operator = *random.pick(&["$contains", "$not_contains", "$regex", "$not_regex"]);
    let text = *random.pick(&["a", "(a{1000}){1000}", "\\\\w{1000}", "", ".*"]);
    let term = format!(r#"{{"{operator}":"{text}"}}"#);
    match random.below(3) {
        0 => odd(random, 0),
        1 => format!("{{\"$or\":[{}]}}", vec![term; size(random).max(1)].join(",")),
        _ => term,
    }
}

fn metadata(random: &mut Random) -> String {
    let mut text = "{".to_owned();
    for n in 0..size(random).min(6000) {
        let _ = write!(text, "\"k{n}\":{n},");
    }
    let _ = write!(text, "{:?}:{}}}", field(random), odd(random, 1));
    text
}

fn records(random: &mut Random) -> String {
    let count = *random.pick(&[0, 1, 2, 5, 50, 1200]);
    let ids: Vec<String> = (0..count).map(|n| format!("\"h{}\"", n + random.index(3))).collect();
    let dimension = *random.pick(&[3, 3, 3, 2, 0, 5000]);
    let vector = format!("[{}]", vec!["0.5"; dimension].join(","));
    let mut body = format!(r#"{{"ids":[{}],"embeddings":[{}]"#, ids.join(","), vec![vector; count].join(","));
    if random.percent(50) {
        let _ = write!(
            body,
            ",\"metadatas\":[{}]",
            (0..count.min(3)).map(|_| metadata(random)).collect::<Vec<_>>().join(",")
        );
    }
    if random.percent(40) {
        let _ =
            write!(body, ",\"{}\":{}", *random.pick(&["documents", "uris", "limit", "ids", "unknown"]), odd(random, 0));
    }
    body + "}"
}

fn search(random: &mut Random) -> String {
    let mut body = r#"{"query_embeddings":[[1,2,3]]"#.to_owned();
    for name in ["n_results", "limit", "offset"] {
        if random.percent(30) {
            let _ = write!(body, ",\"{name}\":{}", number(random));
        }
    }
    if random.percent(70) {
        let _ = write!(body, ",\"where\":{}", condition(random));
    }
    if random.percent(30) {
        let _ = write!(body, ",\"where_document\":{}", document_condition(random));
    }
    if random.percent(20) {
        let _ = write!(body, ",\"ids\":{}", list(random, 5, |random| odd(random, 3)));
    }
    body + "}"
}

fn definition(random: &mut Random, n: u64) -> String {
    let setting =
        *random.pick(&["max_neighbors", "ef_construction", "ef_search", "num_threads", "batch_size", "resize_factor"]);
    let index = format!(r#"{{"hnsw":{{"{setting}":{}}}}}"#, number(random));
    match random.below(4) {
        0 => format!(r#"{{"name":"hostile{n}","metadata":{}}}"#, metadata(random)),
        1 => format!(r#"{{"name":"hostile{n}","configuration":{index},"get_or_create":true}}"#),
        2 => format!(r#"{{"name":{},"metadata":{}}}"#, odd(random, 0), odd(random, 0)),
        _ => format!(r#"{{"name":"hostile{n}","configuration":{},"schema":{}}}"#, odd(random, 0), odd(random, 0)),
    }
}

fn attack(random: &mut Random, id: &str, n: u64) -> Attack {
    let (method, path, body) = match random.below(10) {
        0 => ("POST", record_path(id, "add"), records(random)),
        1 => ("POST", record_path(id, "upsert"), records(random)),
        2 => ("POST", record_path(id, "update"), records(random)),
        3 | 4 => ("POST", record_path(id, "delete"), search(random)),
        5 => ("POST", record_path(id, "get"), search(random)),
        6 => ("POST", record_path(id, "query"), search(random)),
        7 => ("POST", format!("{DEFAULT}/collections"), definition(random, n)),
        8 => ("PUT", format!("{DEFAULT}/collections/{id}"), format!(r#"{{"new_metadata":{}}}"#, metadata(random))),
        _ => ("POST", "/api/v2/tenants".to_owned(), format!(r#"{{"name":{}}}"#, odd(random, 0))),
    };
    Attack { method, path, body }
}

struct Arena {
    edge: Edge,
    servers: [Supervised; 2],
    collection: String,
    others: Vec<String>,
}

impl Arena {
    fn open(raised: bool) -> Arena {
        let servers = [Supervised::fresh(PAUSE), Supervised::fresh(PAUSE)];
        let edge = servers.iter().fold(Edge::builder(), |edge, server| edge.instance_url(&server.url()));
        let limits = if raised {
            "  limits: { condition_terms: 100000, condition_comparisons: 100000, condition_depth: 120 }\n"
        } else {
            ""
        };
        let edge = edge.config(&format!("{limits}  quarantine: {{ wait: 4s }}")).start();
        edge.announce("diverged");
        let client = edge.client();
        let others = ["bystander1", "bystander2"].map(|name| create(&client, name)).to_vec();
        let collection = create(&client, "target");
        add(&client, &collection, "first").expect(201);
        edge.wait_until_in_sync(CATCH_UP);
        Arena { edge, servers, collection, others }
    }

    fn deaths(&self) -> [u32; 2] {
        [0, 1].map(|at: usize| self.servers[at].deaths())
    }

    /// One request, and what must hold after it. Returned: what does not.
    fn suffer(&self, client: &Client, attack: &Attack, n: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        let before = self.deaths();
        let started = Instant::now();
        let sent = client.send(attack.method, &attack.path, "application/json", attack.body.as_bytes());
        if started.elapsed() > DEFINITE {
            wrong.push(format!("it took {:?}", started.elapsed()));
        }
        if let Err(error) = &sent {
            wrong.push(format!("no answer: {error}"));
        }
        let started = Instant::now();
        let next =
            client.post(&record_path(&self.collection, "upsert"), &testkit::cluster::record(&format!("next{n}")));
        if next.status != 200 || started.elapsed() > AGAIN {
            wrong.push(format!("the next write to the collection after {:?}: {next}", started.elapsed()));
        }
        let created = client.post(&format!("{DEFAULT}/collections"), &json!({ "name": format!("next{n}") }));
        if created.status != 200 {
            wrong.push(format!("the next creation: {created}"));
        }
        client.call("DELETE", &format!("{DEFAULT}/collections/next{n}"), &json!(null));
        if self.deaths() != before {
            for name in ["primary", "replica"] {
                self.edge.wait_until_healthy(name, true, CATCH_UP);
            }
        }
        let after = self.deaths();
        let died = [after[0] - before[0], after[1] - before[1]];
        if died[0].min(died[1]) > 0 || died[0].max(died[1]) > 2 {
            wrong.push(format!("deaths: {died:?}"));
        }
        wrong
    }

    /// After everything was restarted all is well.
    fn restart(&mut self) {
        self.edge.kill();
        self.servers.iter().for_each(Supervised::kill);
        self.edge.restart();
        for name in ["primary", "replica"] {
            self.edge.wait_until_healthy(name, true, CATCH_UP);
        }
        let client = self.edge.client();
        add(&client, &self.collection, "after the restart").expect(201);
        create(&client, "after-the-restart");
    }
}

/// Runs from this seed for so long; what went wrong, with what it takes to repeat it.
fn run(seed: u64, time: Duration) -> Vec<String> {
    let mut random = Random::scattered(seed);
    let mut arena = Arena::open(seed % 2 == 1);
    let client = arena.edge.client();
    let bystanders = Bystanders::start(&client, &arena.others);
    let (started, mut wrong, mut n) = (Instant::now(), Vec::new(), 0);
    while started.elapsed() < time {
        let attack = attack(&mut random, &arena.collection, n);
        let found = arena.suffer(&client, &attack, n);
        if !found.is_empty() {
            let shown: String = attack.body.chars().take(300).collect();
            let length = attack.body.len();
            wrong.push(format!("{n}: {} {} ({length} bytes) {shown}: {found:#?}", attack.method, attack.path));
        }
        n += 1;
    }
    bystanders.finish();
    arena.restart();
    println!("HOSTILE_SEED={seed}: {n} requests, deaths {:?}, {} found", arena.deaths(), wrong.len());
    wrong
}

/// One seed whose limits are the edge's own, and one whose limits let deadly requests through.
#[test]
fn what_was_found_stays_found() {
    for seed in [1, 2] {
        let wrong = run(seed, Duration::from_secs(12));
        assert!(wrong.is_empty(), "HOSTILE_SEED={seed}: {}", wrong.join("\n"));
    }
}

/// `make hostile`.
#[test]
#[ignore = "it runs for as long as it is told"]
fn as_told() {
    let told = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = told("HOSTILE_SECONDS").unwrap_or(120);
    let first = told("HOSTILE_SEED").unwrap_or_else(testkit::random::fresh);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut wrong = Vec::new();
    for seed in first.. {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        wrong.extend(
            run(seed, left.min(Duration::from_secs(60))).into_iter().map(|one| format!("HOSTILE_SEED={seed} {one}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
