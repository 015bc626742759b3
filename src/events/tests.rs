//! Streams over a real journal in a file: what is handed out, in which order, and which listeners are woken.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;

use super::message::tests::show;
use super::{Audience, EventStream, Hub, Opened, Resume};
use crate::ids::{LaneId, Seq, TransactionId};
use crate::journal::contract::{LATER, append, draft, instances, progress, record, status};
use crate::journal::sqlite::SqliteStore;
use crate::journal::{Draft, EventId, EventScope, Fact, Status, Store, TimingGap, Trimming};

struct Fixture {
    store: Arc<SqliteStore>,
    hub: Arc<Hub>,
    reports: watch::Sender<u64>,
    _dir: TempDir,
}

impl Fixture {
    fn new(limit: usize) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&dir.path().join("journal.db")).unwrap());
        let hub = Hub::new(Arc::clone(&store) as Arc<dyn Store>, limit, limit);
        let reports = watch::Sender::new(0);
        tokio::spawn({
            let (hub, reports) = (Arc::clone(&hub), reports.subscribe());
            async move { hub.run(reports).await }
        });
        Fixture { store, hub, reports, _dir: dir }
    }

    async fn write(&self, session: &str) -> (Seq, TransactionId) {
        let draft = Draft { client_session: Some(session.to_owned()), ..draft(LaneId::Catalog, "x") };
        let id = draft.transaction_id;
        (append(&*self.store, vec![draft]).await[0], id)
    }

    async fn report(&self, facts: Vec<Fact>) {
        record(&*self.store, facts).await;
        self.reports.send_modify(|count| *count += 1);
    }

    async fn open(&self, scope: EventScope, resume: Resume, status: Option<Status>) -> Opened {
        let place = self.hub.listen(scope, "").unwrap();
        EventStream::open(place, show, Audience::Everyone, resume, status).await.unwrap()
    }

    async fn session(&self, resume: Resume) -> EventStream {
        match self.open(EventScope::Session("a".to_owned()), resume, None).await {
            Opened::Stream(stream) => stream,
            Opened::Over => panic!("a session never ends"),
        }
    }
}

fn pending(seq: Seq) -> Fact {
    match status(seq, Status::Failed) {
        Fact::Status { seq, status, response_status, failure_reason, executed_on, at, .. } => {
            Fact::Status { seq, status, response_status, failure_reason, timing_gap: TimingGap::Yes, executed_on, at }
        }
        other => other,
    }
}

async fn next(stream: &mut EventStream) -> String {
    let piece = tokio::time::timeout(Duration::from_secs(5), stream.next()).await.expect("a piece in time");
    String::from_utf8(piece.expect("a piece").to_vec()).unwrap()
}

/// The event numbers and names in a piece.
fn told(text: &str) -> Vec<(u64, String)> {
    let messages = text.split("\n\n").filter(|message| message.contains("data: "));
    let field = |message: &str, name: &str| {
        message.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned)).unwrap_or_default()
    };
    messages.map(|message| (field(message, "id: ").parse().unwrap(), field(message, "event: "))).collect()
}

#[tokio::test]
async fn a_session_hears_of_its_own_from_now_on() {
    let fixture = Fixture::new(10);
    let (old, _) = fixture.write("a").await;
    fixture.report(vec![status(old, Status::Completed)]).await;
    let mut stream = fixture.session(Resume::Fresh).await;
    assert_eq!(next(&mut stream).await, "id: 1\n\n", "a place to resume from, and no message");
    let ((mine, _), (other, _)) = (fixture.write("a").await, fixture.write("b").await);
    fixture.report(vec![pending(mine), status(other, Status::Completed)]).await;
    assert_eq!(told(&next(&mut stream).await), [(2, "transaction:timing_gap".to_owned())]);
    fixture.report(vec![status(mine, Status::Recovered)]).await;
    let text = next(&mut stream).await;
    assert_eq!(told(&text), [(4, "transaction:recovered".to_owned())]);
    assert!(text.contains("data: {") && text.contains("\"status\":\"RECOVERED\""), "{text}");
}

#[tokio::test]
async fn a_resumed_stream_has_each_event_once() {
    let fixture = Fixture::new(10);
    let mut seqs = Vec::new();
    for _ in 0..100 {
        seqs.push(fixture.write("a").await.0);
    }
    fixture.report(seqs.iter().flat_map(|seq| [pending(*seq), status(*seq, Status::Recovered)]).collect()).await;
    let mut stream = fixture.session(Resume::After(EventId::new(50))).await;
    assert_eq!(next(&mut stream).await, "id: 50\n\n");
    let mut numbers = Vec::new();
    while numbers.len() < 150 {
        numbers.extend(told(&next(&mut stream).await).into_iter().map(|(number, _)| number));
    }
    assert_eq!(numbers, (51..=200).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_place_that_cannot_be_resumed_from_is_said() {
    let fixture = Fixture::new(10);
    let ((first, _), (second, _)) = (fixture.write("a").await, fixture.write("a").await);
    fixture.report(vec![crate::journal::contract::applied(first), status(first, Status::Completed)]).await;
    fixture.report(vec![crate::journal::contract::applied(second), status(second, Status::Completed)]).await;
    let marks = instances().map(|instance| progress(LaneId::Catalog, instance.as_str(), first));
    fixture.report(marks.to_vec()).await;
    fixture.store.trim(LATER, &instances(), Trimming::Age, 100).await.unwrap();
    let mut kept = fixture.session(Resume::After(EventId::new(1))).await;
    assert_eq!(next(&mut kept).await, "id: 1\n\n", "everything after it is there");
    for (resume, begins) in
        [(Resume::After(EventId::FIRST), 0), (Resume::Unknown, 0), (Resume::After(EventId::new(9)), 0)]
    {
        let mut stream = fixture.session(resume).await;
        assert_eq!(next(&mut stream).await, format!("id: {begins}\nevent: stream:reset\ndata: {{}}\n\n"), "{resume:?}");
        assert_eq!(told(&next(&mut stream).await), [(2, "transaction:completed".to_owned())], "what is kept");
    }
}

#[tokio::test]
async fn the_stream_of_a_transaction_begins_with_what_it_has_had_and_ends_with_it() {
    let fixture = Fixture::new(10);
    let (seq, id) = fixture.write("a").await;
    fixture.report(vec![pending(seq)]).await;
    let scope = || EventScope::Transaction(id);
    let Opened::Stream(mut stream) = fixture.open(scope(), Resume::Fresh, Some(Status::Failed)).await else { panic!() };
    assert_eq!(next(&mut stream).await, "id: 0\n\n");
    assert_eq!(told(&next(&mut stream).await), [(1, "transaction:timing_gap".to_owned())]);
    fixture.report(vec![status(seq, Status::Recovered)]).await;
    assert_eq!(told(&next(&mut stream).await), [(2, "transaction:recovered".to_owned())]);
    assert!(stream.next().await.is_none());
    drop(stream);
    let late = fixture.open(scope(), Resume::Fresh, Some(Status::Recovered)).await;
    assert!(matches!(late, Opened::Stream(_)), "both of its events are still to be told");
    let seen = fixture.open(scope(), Resume::After(EventId::new(2)), Some(Status::Recovered)).await;
    assert!(matches!(seen, Opened::Over));
}

#[tokio::test]
async fn places_are_limited_and_given_back() {
    let fixture = Fixture::new(2);
    let scope = || EventScope::Session("a".to_owned());
    let (one, two) = (fixture.hub.listen(scope(), "one").unwrap(), fixture.hub.listen(scope(), "one").unwrap());
    assert!(fixture.hub.listen(scope(), "one").is_none());
    drop(one);
    assert_eq!(fixture.hub.streams(), 1);
    assert!(fixture.hub.listen(scope(), "one").is_some());
    drop(two);
    assert_eq!(fixture.hub.streams(), 0);
}

#[tokio::test]
async fn one_client_takes_a_part_of_the_places() {
    let fixture = Fixture::new(9);
    let hub = Hub::new(Arc::clone(&fixture.store) as Arc<dyn Store>, 3, 2);
    let listen = |client: &str| hub.listen(EventScope::Session("a".to_owned()), client);
    let (one, two) = (listen("one").unwrap(), listen("one").unwrap());
    assert!(listen("one").is_none());
    let other = listen("other").unwrap();
    assert!(listen("other").is_none(), "all places are taken");
    drop(one);
    assert!(listen("one").is_some());
    drop((two, other));
    assert_eq!(hub.streams(), 0);
}

#[tokio::test]
async fn silence_is_broken_by_comments() {
    let fixture = Fixture::new(1);
    let mut stream = fixture.session(Resume::Fresh).await;
    next(&mut stream).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let piece = stream.next().await.unwrap();
    assert_eq!((&piece[..], began.elapsed().as_secs()), (&b": ping\n\n"[..], 10));
}
