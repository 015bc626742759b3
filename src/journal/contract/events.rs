//! Events: one for each change, numbered in the order of the commits, and kept as long as their transactions.

use super::*;

fn pending(seq: Seq) -> Fact {
    Fact::Status {
        seq,
        status: Status::Failed,
        response_status: Some(503),
        failure_reason: Some("nobody there".to_owned()),
        timing_gap: TimingGap::Yes,
        executed_on: None,
        at: DONE,
    }
}

fn of(session: &str) -> Draft {
    Draft { client_session: Some(session.to_owned()), ..draft(LaneId::Catalog, "x") }
}

async fn page(store: &dyn Store, scope: EventScope, after: EventId) -> EventPage {
    store.events(&scope, after, 100).await.unwrap()
}

async fn all(store: &dyn Store) -> Vec<(Seq, Status)> {
    let page = page(store, EventScope::All, EventId::FIRST).await;
    assert!(page.events.is_sorted_by_key(|event| event.event));
    assert_eq!(page.events.last().map_or(page.last, |event| event.event), page.last);
    page.events.iter().map(|event| (event.transaction.seq, event.status)).collect()
}

pub async fn each_change_is_one_event(bench: &impl Bench) {
    let store = bench.open();
    let seqs = append(&*store, vec![of("a"), of("a"), of("a")]).await;
    assert_eq!(all(&*store).await, [], "an attempt is no event");
    record(&*store, vec![pending(seqs[1])]).await;
    record(&*store, vec![status(seqs[0], Status::Completed)]).await;
    record(&*store, vec![pending(seqs[1]), status(seqs[1], Status::Recovered), status(seqs[2], Status::Abandoned)])
        .await;
    record(&*store, vec![status(seqs[0], Status::Abandoned), pending(seqs[1]), applied(seqs[0])]).await;
    let expected = [
        (seqs[1], Status::Failed),
        (seqs[0], Status::Completed),
        (seqs[1], Status::Recovered),
        (seqs[2], Status::Abandoned),
    ];
    assert_eq!(all(&*store).await, expected, "each once, in the order of the commits");
    let before = page(&*store, EventScope::All, EventId::FIRST).await;
    drop(store);
    let store = bench.open();
    assert_eq!(all(&*store).await, expected);
    let seqs = append(&*store, vec![of("b")]).await;
    record(&*store, finished(&seqs)).await;
    let after = page(&*store, EventScope::All, before.last).await;
    assert_eq!(after.events.len(), 1, "numbers go on after a restart");
    assert_eq!(after.events[0].transaction.client_session.as_deref(), Some("b"));
    let beyond = page(&*store, EventScope::All, EventId::END).await;
    assert_eq!((beyond.events.len(), beyond.last), (0, after.last));
}

pub async fn an_operation_that_fails_often_is_one_event(bench: &impl Bench) {
    let store = bench.open();
    let operation = ApplicationDraft {
        transaction_id: TransactionId::random(),
        client_key: ClientKey { tenant: String::new(), key: "import".to_owned(), fingerprint: [3; 32] },
        method: "POST".to_owned(),
        path: "/import".to_owned(),
        body: Bytes::from_static(b"{}"),
        created_at: MADE,
        client_session: Some("s".to_owned()),
        client_ip: None,
        client: "unknown".to_owned(),
        user_identifier: None,
    };
    record(&*store, vec![Fact::ApplicationBegan(Box::new(operation.clone()))]).await;
    let seq = by_id(&*store, operation.transaction_id).await.unwrap().seq;
    let fails = |timing_gap| {
        let report = ApplicationReport::Failed { reason: "no answer".to_owned(), timing_gap };
        Fact::ApplicationReported { seq, report, at: DONE }
    };
    record(&*store, vec![fails(TimingGap::No)]).await;
    assert_eq!(all(&*store).await, [], "a failure of its own is no gap");
    record(&*store, vec![fails(TimingGap::Yes), fails(TimingGap::Yes), fails(TimingGap::No)]).await;
    let answer = StoredAnswer { status: 200, body: Bytes::new() };
    let done = Fact::ApplicationReported { seq, report: ApplicationReport::Done { answer }, at: DONE };
    record(&*store, vec![done]).await;
    assert_eq!(all(&*store).await, [(seq, Status::Failed), (seq, Status::Recovered)]);
    let rows = page(&*store, EventScope::Session("s".to_owned()), EventId::FIRST).await.events;
    assert!(rows.iter().all(|row| row.transaction.operation == OperationType::Application), "{rows:?}");
}

pub async fn a_gap_comes_before_its_end(bench: &impl Bench) {
    let store = bench.open();
    let seqs = append(&*store, (0..4).map(|_| of("a")).collect()).await;
    let met = |seq, now: Status| match status(seq, now) {
        Fact::Status { seq, status, response_status, failure_reason, executed_on, at, .. } => {
            let timing_gap = TimingGap::Yes;
            Fact::Status { seq, status, response_status, failure_reason, timing_gap, executed_on, at }
        }
        other => other,
    };
    record(&*store, vec![pending(seqs[0]), status(seqs[0], Status::Recovered)]).await;
    record(&*store, vec![met(seqs[1], Status::Recovered)]).await;
    record(&*store, vec![met(seqs[2], Status::Completed)]).await;
    record(&*store, vec![met(seqs[3], Status::Abandoned)]).await;
    let expected = [
        (seqs[0], Status::Failed),
        (seqs[0], Status::Recovered),
        (seqs[1], Status::Failed),
        (seqs[1], Status::Recovered),
        (seqs[2], Status::Completed),
        (seqs[3], Status::Failed),
        (seqs[3], Status::Abandoned),
    ];
    assert_eq!(all(&*store).await, expected, "also when both came in one commit, or the first was never noted");
}

pub async fn a_session_sees_its_own(bench: &impl Bench) {
    let store = bench.open();
    let nobodys = Draft { client_session: None, ..of("") };
    let drafts = vec![of("a"), of("b"), nobodys, of("a")];
    let ids: Vec<TransactionId> = drafts.iter().map(|draft| draft.transaction_id).collect();
    let seqs = append(&*store, drafts).await;
    record(&*store, vec![pending(seqs[3])]).await;
    record(&*store, seqs.iter().map(|seq| status(*seq, Status::Completed)).collect()).await;
    let seen = async |scope: EventScope, after| {
        let events = page(&*store, scope, after).await.events;
        events.into_iter().map(|row| (row.transaction.transaction_id, row.status)).collect::<Vec<_>>()
    };
    let a = || EventScope::Session("a".to_owned());
    let theirs = [(ids[3], Status::Failed), (ids[0], Status::Completed), (ids[3], Status::Completed)];
    assert_eq!(seen(a(), EventId::FIRST).await, theirs);
    let first = page(&*store, a(), EventId::FIRST).await.events[0].event;
    assert_eq!(seen(a(), first).await, theirs[1..], "what came after it, no more and no less");
    assert_eq!(seen(EventScope::Transaction(ids[3]), EventId::FIRST).await, [theirs[0], theirs[2]]);
    assert_eq!(seen(EventScope::Transaction(ids[2]), EventId::FIRST).await, [(ids[2], Status::Completed)]);
    assert_eq!(seen(EventScope::Session(String::new()), EventId::FIRST).await, []);
    assert_eq!(seen(EventScope::Transaction(TransactionId::random()), EventId::FIRST).await, []);
    assert_eq!(all(&*store).await.len(), 5);
}

pub async fn events_come_in_pages_and_stay(bench: &impl Bench) {
    let store = bench.open();
    let seqs = append(&*store, (0..5).map(|_| of("a")).collect()).await;
    record(&*store, finished(&seqs)).await;
    let mut after = EventId::FIRST;
    let mut seen = Vec::new();
    for size in [2, 2, 1, 0] {
        let page = store.events(&EventScope::Session("a".to_owned()), after, 2).await.unwrap();
        assert_eq!(page.events.len(), size);
        seen.extend(page.events.iter().map(|row| row.transaction.seq));
        after = page.events.last().map_or(after, |row| row.event);
    }
    assert_eq!(seen, seqs);
}

pub async fn what_is_cut_off_has_its_event(bench: &impl Bench) {
    let store = bench.open();
    let seqs = append(&*store, vec![of("a"), of("a"), of("a")]).await;
    record(&*store, vec![pending(seqs[1]), applied(seqs[0]), applied(seqs[1])]).await;
    drop(store);
    let store = bench.open();
    store.begin(&instances(), LATER).await.unwrap();
    let mut events = all(&*store).await;
    assert_eq!(events.remove(0), (seqs[1], Status::Failed));
    events.sort_by_key(|(seq, _)| *seq);
    assert_eq!(events, [(seqs[0], Status::Completed), (seqs[1], Status::Recovered)]);
}

pub async fn what_no_instance_answered_says_why(bench: &impl Bench) {
    let store = bench.open();
    let seqs = append(&*store, vec![of("a"), of("a"), of("a"), of("a")]).await;
    let settled = |seq, verdict| Fact::Verdict { seq, verdict, by: None, answer: None };
    let answered =
        |seq, verdict| Fact::completed(seq, verdict, Some(500), None, TimingGap::No, Timestamp::from_millis(2));
    let retried = Fact::Retried { seq: seqs[0], reason: "connection reset".to_owned(), next_retry_at: None };
    record(&*store, vec![retried, settled(seqs[0], Verdict::Quarantined), answered(seqs[0], Verdict::Quarantined)])
        .await;
    // Cut off between the verdict and the answer.
    record(&*store, vec![settled(seqs[1], Verdict::Quarantined), settled(seqs[2], Verdict::Abandoned)]).await;
    record(&*store, vec![settled(seqs[3], Verdict::Rejected)]).await;
    drop(store);
    let store = bench.open();
    store.begin(&instances(), LATER).await.unwrap();
    let events = page(&*store, EventScope::All, EventId::FIRST).await.events;
    let ends = events.into_iter().filter(|row| row.status == Status::Completed).map(|row| row.transaction);
    let mut ends: Vec<_> = ends.map(|ended| (ended.seq, ended.failure_reason.unwrap_or_default())).collect();
    ends.sort_by_key(|(seq, _)| *seq);
    assert_eq!(ends.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), seqs);
    let begin = |at: usize| ends[at].1.split(':').next().unwrap_or_default().to_owned();
    assert_eq!([0, 1, 2, 3].map(begin), ["quarantined", "quarantined", "abandoned", ""]);
    assert_eq!(ends[0].1, ends[1].1, "the same words");
}

pub async fn what_is_removed_is_said(bench: &impl Bench) {
    let store = bench.open();
    let seqs = append(&*store, vec![of("a"), of("a"), of("a")]).await;
    record(&*store, finished(&seqs[..2])).await;
    let before = page(&*store, EventScope::All, EventId::FIRST).await;
    assert_eq!((before.events.len(), before.forgotten), (2, EventId::FIRST));
    let marks = instances().map(|instance| progress(LaneId::Catalog, instance.as_str(), seqs[2]));
    record(&*store, marks.to_vec()).await;
    store.trim(LATER, &instances(), Trimming::Age, 100).await.unwrap();
    let after = page(&*store, EventScope::All, EventId::FIRST).await;
    assert_eq!((after.events.len(), after.forgotten, after.last), (0, before.last, before.last));
    record(&*store, finished(&seqs[2..])).await;
    let rest = page(&*store, EventScope::Session("a".to_owned()), before.last).await;
    assert_eq!((rest.events.len(), rest.events[0].transaction.seq), (1, seqs[2]));
}

pub async fn a_delivery_is_remembered(bench: &impl Bench) {
    let store = bench.open();
    let delivered = async |store: &dyn Store| page(store, EventScope::All, EventId::FIRST).await.delivered;
    assert_eq!(delivered(&*store).await, None);
    record(&*store, vec![Fact::Delivered(EventId::FIRST)]).await;
    assert_eq!(delivered(&*store).await, Some(EventId::FIRST));
    record(&*store, vec![Fact::Delivered(EventId::new(7)), Fact::Delivered(EventId::new(5))]).await;
    drop(store);
    assert_eq!(delivered(&*bench.open()).await, Some(EventId::new(7)), "never backwards");
}
