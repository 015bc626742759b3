//! A PostgreSQL journal that is away, in every possible way: writes are refused quickly and without effect, reads go
//! on, nothing reaches an instance, and everything goes on by itself when it is back (promises G1 and G7).

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use testkit::cluster::{CATCH_UP, add, ids, ids_by_name, timed};
use testkit::http::{Answer, Client, DEFAULT};
use testkit::place::wait_for;
use testkit::postgres::Postgres;
use testkit::shared::{JOURNAL_TIMEOUT, Shared};

/// Added to the time limit, because the machine is busy.
const SLACK: Duration = Duration::from_millis(1500);
const RETURN: Duration = Duration::from_secs(20);

/// One collection with one record, everywhere.
struct Away {
    shared: Shared,
    collection: String,
    /// The ids of writes that exist, or may exist.
    known: Vec<String>,
    doubtful: Vec<String>,
}

/// The answer to a write while the journal was away.
#[derive(Debug, PartialEq, Eq)]
enum Answered {
    Refused,
    /// Its commit was under way: its outcome is found out later.
    Unknown,
}

#[track_caller]
fn answered(answer: &Answer) -> Answered {
    assert_eq!(answer.status, 503, "{answer}");
    let body = answer.json();
    if body["reason"] == "journal_in_doubt" {
        // Sent again without an id of its own, it would be another write.
        assert!(answer.header("retry-after").is_none(), "{answer}");
        assert_eq!(body["recovery"], "unknown", "{answer}");
        assert!(answer.header("transaction-id").is_some(), "{answer}");
        return Answered::Unknown;
    }
    assert!(answer.header("retry-after").is_some(), "{answer}");
    assert_eq!(body["reason"], "journal_unavailable", "{answer}");
    assert!(body.get("recovery").is_none(), "refused means no effect: {answer}");
    Answered::Refused
}

impl Away {
    fn on(postgres: Postgres) -> Away {
        let shared = Shared::on(postgres, |edge| edge);
        let collection = shared.cluster.create("things");
        let mut away = Away { shared, collection, known: Vec::new(), doubtful: Vec::new() };
        away.is_back("before");
        away
    }

    fn sent(&self) -> usize {
        let writes = |relay: &testkit::Relay| relay.seen_at("/add").len() + relay.seen_at("/collections").len();
        self.shared.relays.iter().map(writes).sum()
    }

    /// Checks refusals while the journal is away. Only the first write may have been under way when it went away.
    #[track_caller]
    fn assert_away(&mut self, how: &str) {
        let (before, client) = (self.sent(), self.shared.cluster.client());
        for number in 0..2 {
            let id = format!("{how}-{number}");
            let (answer, took) = timed(|| add(&client, &self.collection, &id));
            assert!(took < JOURNAL_TIMEOUT + SLACK, "{how}: {took:?}");
            match answered(&answer) {
                Answered::Unknown if number == 0 => self.doubtful.push(id),
                Answered::Unknown => panic!("{how}: nothing is sent to a journal in doubt: {answer}"),
                Answered::Refused => {}
            }
            let begun = Instant::now();
            let shown = ids(&client, &self.collection);
            assert!(self.known.iter().all(|id| shown.contains(id)), "{how}: {shown:?}");
            assert!(begun.elapsed() < Duration::from_secs(1), "{how}: a read took {:?}", begun.elapsed());
        }
        let collections = format!("{DEFAULT}/collections");
        let refused = client.post(&collections, &json!({ "name": format!("{how}-refused") }));
        assert_eq!(answered(&refused), Answered::Refused, "{how}");
        client.get(&format!("{collections}/{how}-refused")).expect(404);
        client.get("/status").expect(200);
        assert_eq!(self.sent(), before, "{how}: no byte of a write that is not durable");
    }

    /// Waits until writes are accepted again, without a restart or any other action.
    #[track_caller]
    fn is_back(&mut self, id: &str) {
        let (client, begun) = (self.shared.cluster.client(), Instant::now());
        loop {
            let answer = add(&client, &self.collection, id);
            if answer.status == 201 {
                break;
            }
            // Its lease may have expired. In that case the write is finished later, by itself.
            let pending = answer.text().contains("\"recovery\"");
            assert!(!pending && begun.elapsed() < RETURN, "after {:?}: {answer}", begun.elapsed());
            answered(&answer);
        }
        self.known.push(id.to_owned());
        self.shared.cluster.edge.wait_until_in_sync(CATCH_UP);
    }

    /// Checks that everything known exists, and of what was in doubt exactly what the journal has, with the same result
    /// everywhere.
    #[track_caller]
    fn assert_nothing_came_later(self) {
        let content = self.shared.assert_converged();
        assert_eq!(content.collections.len(), 1);
        let shown = ids(&self.shared.cluster.client(), &self.collection);
        let expected = |id: &&String| self.known.contains(id) || self.doubtful.contains(id);
        assert!(shown.iter().all(|id| expected(&id)), "refused, and executed: {shown:?}");
        assert!(self.known.iter().all(|id| shown.contains(id)), "acknowledged, and gone: {shown:?}");
        for server in &self.shared.cluster.servers {
            assert_eq!(ids_by_name(server, "things"), shown);
        }
    }
}

/// Checks that pages that read the journal report that they cannot, without saying anything about a write, and that a
/// cleanup reports that it has removed nothing.
fn pages_say_so(client: &Client) {
    let assert_said = |answer: Answer, said: &str| {
        let refused = answer.expect(503).json();
        let message = refused["message"].as_str().unwrap_or_default();
        assert!(refused["reason"] == "journal_unavailable" && message.starts_with(said), "{refused}");
    };
    for page in ["/admin/wal_errors", "/admin/wal_debug"] {
        assert_said(client.get(page), "This cannot be answered now: ");
    }
    assert_said(client.post("/wal/cleanup", &json!({ "max_age_hours": 0 })), "Nothing was removed: ");
}

#[test]
fn killed_or_stopped() {
    let mut away = Away::on(Postgres::durable());
    away.shared.postgres.kill();
    away.assert_away("killed");
    pages_say_so(&away.shared.cluster.client());
    away.shared.postgres.start();
    away.is_back("after-killed");
    away.shared.postgres.signal_all(Signal::SIGSTOP);
    away.assert_away("stopped");
    away.shared.postgres.signal_all(Signal::SIGCONT);
    away.is_back("after-stopped");
    away.assert_nothing_came_later();
}

#[test]
fn refusing_silent_or_slow() {
    let mut away = Away::on(Postgres::fresh());
    away.shared.link.refuse(true);
    away.shared.link.cut();
    away.assert_away("refusing");
    away.shared.link.refuse(false);
    away.is_back("after-refusing");
    away.shared.link.keep();
    away.assert_away("silent");
    away.shared.link.release();
    away.is_back("after-silent");
    away.shared.link.delay(Duration::from_millis(400));
    away.assert_away("slow");
    away.shared.link.delay(Duration::ZERO);
    away.is_back("after-slow");
    away.assert_nothing_came_later();
}

#[test]
fn read_only() {
    let mut away = Away::on(Postgres::fresh());
    let read_only = |away: &Away, value: &str| {
        away.shared.postgres.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}"));
        away.shared.postgres.sql("SELECT pg_reload_conf()");
    };
    read_only(&away, "on");
    // The next renewal of the lease finds it, at the latest.
    wait_for("word of it", RETURN, || away.shared.cluster.edge.log().contains("read-only").then_some(()));
    away.assert_away("read-only");
    // A new connection changes nothing.
    away.shared.link.cut();
    away.assert_away("reconnected");
    read_only(&away, "off");
    away.is_back("after-read-only");
    away.assert_nothing_came_later();
}

/// As many connections as the server has. They end when they are dropped.
struct Crowd {
    /// Dropping it ends them.
    _runtime: tokio::runtime::Runtime,
    _clients: Vec<tokio_postgres::Client>,
}

impl Crowd {
    fn of(postgres: &Postgres) -> Crowd {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let url = postgres.url();
        let clients = runtime.block_on(async move {
            let mut clients = Vec::new();
            while let Ok((client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await {
                tokio::spawn(connection);
                clients.push(client);
            }
            clients
        });
        assert!(clients.len() > 20, "{}", clients.len());
        Crowd { _runtime: runtime, _clients: clients }
    }
}

#[test]
fn out_of_connections() {
    let mut away = Away::on(Postgres::fresh());
    away.shared.link.refuse(true);
    away.shared.link.cut();
    // The edge's own connections must end before the others take all of them.
    wait_for("the end of the edge's connections", RETURN, || {
        let others =
            away.shared.postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chroma-edge'");
        (others == "0").then_some(())
    });
    let crowd = Crowd::of(&away.shared.postgres);
    away.shared.link.refuse(false);
    away.assert_away("crowded");
    drop(crowd);
    away.is_back("after-crowded");
    away.assert_nothing_came_later();
}
