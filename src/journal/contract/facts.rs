//! Facts: what each one changes, once, in order, and never backwards.

use super::*;

pub async fn progress_never_moves_backwards(bench: &impl Bench) {
    let store = bench.open();
    record(&*store, vec![progress(LaneId::Catalog, "primary", Seq::new(5))]).await;
    record(&*store, vec![progress(LaneId::Catalog, "primary", Seq::new(3))]).await;
    assert_eq!(through(&load(&*store).await, "primary"), [(LaneId::Catalog, Seq::new(5))]);
    record(&*store, vec![progress(LaneId::Catalog, "primary", Seq::new(6))]).await;
    assert_eq!(through(&load(&*store).await, "primary"), [(LaneId::Catalog, Seq::new(6))]);
}

pub async fn a_settled_entry_never_changes(bench: &impl Bench) {
    let store = bench.open();
    let written = draft(LaneId::Catalog, "x");
    let seq = append(&*store, vec![written.clone()]).await[0];
    let answer = Some(StoredAnswer { status: 400, body: Bytes::from_static(b"no") });
    let by = Some(InstanceName::new("replica"));
    let rejected = Fact::Verdict { seq, verdict: Verdict::Rejected, by, answer };
    // In the same commit, and in a later one.
    record(&*store, vec![applied(seq), rejected.clone()]).await;
    record(&*store, vec![rejected]).await;
    let row = by_id(&*store, written.transaction_id).await.unwrap();
    assert_eq!(row.verdict, Some(Verdict::Applied));
    assert_eq!(row.answer, Some(StoredAnswer { status: 201, body: Bytes::from_static(b"{}") }));
    assert_eq!(row.executed_on, Some(InstanceName::new("primary")));
}

pub async fn statuses_follow_the_rule(bench: &impl Bench) {
    let store = bench.open();
    let written = draft(LaneId::Catalog, "x");
    let seq = append(&*store, vec![written.clone()]).await[0];
    let failed = Fact::Status {
        seq,
        status: Status::Failed,
        response_status: Some(503),
        failure_reason: Some("no instance".to_owned()),
        timing_gap: TimingGap::Yes,
        executed_on: None,
        at: MADE,
    };
    let next_retry_at = Some(LATER);
    record(&*store, vec![failed, Fact::Retried { seq, reason: "still none".to_owned(), next_retry_at }]).await;
    let row = by_id(&*store, written.transaction_id).await.unwrap();
    assert_eq!((row.status, row.completed_at, row.retry_count), (Status::Failed, None, 1));
    assert_eq!(row.next_retry_at, next_retry_at);
    assert_eq!(row.failure_reason.as_deref(), Some("still none"));
    record(&*store, vec![status(seq, Status::Recovered)]).await;
    record(&*store, vec![status(seq, Status::Completed), status(seq, Status::Attempting)]).await;
    let row = by_id(&*store, written.transaction_id).await.unwrap();
    assert_eq!((row.status, row.completed_at), (Status::Recovered, Some(DONE)));
    assert_eq!((row.timing_gap, row.response_status), (TimingGap::Yes, Some(201)));
    assert_eq!(row.next_retry_at, None, "nothing is retried any more");
}

pub async fn a_failed_attempt_is_counted_and_announces_the_next(bench: &impl Bench) {
    let store = bench.open();
    let written = draft(LaneId::Catalog, "x");
    let seq = append(&*store, vec![written.clone()]).await[0];
    let retried = |next_retry_at| vec![Fact::Retried { seq, reason: "locked".to_owned(), next_retry_at }];
    record(&*store, retried(Some(LATER))).await;
    drop(store);
    let store = bench.open();
    let row = by_id(&*store, written.transaction_id).await.unwrap();
    assert_eq!((row.retry_count, row.next_retry_at, row.timing_gap), (1, Some(LATER), TimingGap::Yes));
    record(&*store, retried(None)).await;
    let row = by_id(&*store, written.transaction_id).await.unwrap();
    assert_eq!((row.retry_count, row.next_retry_at), (2, None), "another instance has it");
    record(&*store, finished(&[seq])).await;
    // A report that comes late.
    record(&*store, retried(Some(LATER))).await;
    let row = by_id(&*store, written.transaction_id).await.unwrap();
    assert_eq!((row.status, row.retry_count, row.next_retry_at), (Status::Completed, 3, None));
    assert_eq!(row.timing_gap, TimingGap::Yes);
}

pub async fn what_is_finished_at_the_start_is_retried_no_more(bench: &impl Bench) {
    let store = bench.open();
    let written = draft(LaneId::Catalog, "x");
    let seq = append(&*store, vec![written.clone()]).await[0];
    let retried = Fact::Retried { seq, reason: "locked".to_owned(), next_retry_at: Some(LATER) };
    record(&*store, vec![retried, applied(seq)]).await;
    store.begin(&instances(), LATER).await.unwrap();
    assert_eq!(by_id(&*store, written.transaction_id).await.unwrap().next_retry_at, None);
}

pub async fn states_in_a_lane_change_and_keep_the_progress(bench: &impl Bench) {
    let store = bench.open();
    let (lane, primary) = (LaneId::Catalog, InstanceName::new("primary"));
    let diverged = Fact::Diverged { lane, instance: primary.clone(), reason: "409".to_owned() };
    record(&*store, vec![progress(LaneId::Catalog, "primary", Seq::new(4)), diverged]).await;
    let row = load(&*store).await.progress.remove(0);
    assert_eq!((row.through, row.state, row.reason.as_deref()), (Seq::new(4), LaneState::Diverged, Some("409")));
    record(&*store, vec![Fact::InStep { lane, instance: primary }]).await;
    let row = load(&*store).await.progress.remove(0);
    assert_eq!((row.through, row.state, row.reason), (Seq::new(4), LaneState::InStep, None));
}

pub async fn facts_about_nothing_are_no_error(bench: &impl Bench) {
    let store = bench.open();
    let seq = Seq::new(77);
    let mut facts = finished(&[seq]);
    facts.push(Fact::Resolved { seq, body: Bytes::from_static(b"x") });
    facts.push(Fact::Retried { seq, reason: "x".to_owned(), next_retry_at: None });
    record(&*store, facts).await;
    assert!(load(&*store).await.entries.is_empty());
}

pub async fn facts_apply_in_order(bench: &impl Bench) {
    let store = bench.open();
    let collection = new_collection();
    let rename = |name: &str| Fact::Catalog(CatalogChange::CollectionRenamed { collection, name: name.to_owned() });
    record(&*store, vec![created(collection, "a", Seq::new(1)), rename("b"), rename("c")]).await;
    assert_eq!(load(&*store).await.collections[0].name, "c");
}

pub async fn a_resolution_replaces_the_body_once(bench: &impl Bench) {
    let store = bench.open();
    let seq = append(&*store, vec![draft(LaneId::Catalog, "limit")]).await[0];
    for body in ["ids", "other ids"] {
        record(&*store, vec![Fact::Resolved { seq, body: Bytes::from_static(body.as_bytes()) }]).await;
    }
    let request = store.requests(&[seq]).await.unwrap().remove(0);
    assert_eq!((request.body, request.resolved), (Bytes::from_static(b"ids"), Resolution::Resolved));
}

pub async fn totals_count_every_status(bench: &impl Bench) {
    let store = bench.open();
    let seqs = append(&*store, (0..4).map(|_| draft(LaneId::Catalog, "x")).collect()).await;
    record(&*store, vec![status(seqs[0], Status::Failed), status(seqs[1], Status::Completed)]).await;
    let totals = store.totals().await.unwrap();
    let expected = Status::ALL.map(|status| match status {
        Status::Attempting => (status, 2),
        Status::Failed | Status::Completed => (status, 1),
        Status::Recovered | Status::Abandoned => (status, 0),
    });
    assert_eq!((totals.by_status, totals.transactions), (expected.to_vec(), 4));
    assert!(totals.bytes > 0);
}

pub async fn what_was_cut_off_is_finished_at_the_start(bench: &impl Bench) {
    let store = bench.open();
    let drafts: Vec<Draft> =
        ["answered", "pending", "refused", "gone", "open"].map(|name| draft(LaneId::Catalog, name)).into();
    let seqs = append(&*store, drafts.clone()).await;
    let failed = |seq| status(seq, Status::Failed);
    let rejected = Fact::Verdict { seq: seqs[2], verdict: Verdict::Rejected, by: None, answer: None };
    let void = Fact::Verdict { seq: seqs[3], verdict: Verdict::Void, by: None, answer: None };
    record(&*store, vec![applied(seqs[0]), applied(seqs[1]), rejected, void, failed(seqs[1]), failed(seqs[2])]).await;
    store.begin(&instances(), LATER).await.unwrap();
    let mut found = Vec::new();
    for draft in &drafts {
        let row = by_id(&*store, draft.transaction_id).await.unwrap();
        found.push((row.status, row.completed_at));
    }
    let expected = [
        (Status::Completed, Some(LATER)),
        (Status::Recovered, Some(LATER)),
        (Status::Abandoned, Some(LATER)),
        (Status::Completed, Some(LATER)),
        (Status::Attempting, None),
    ];
    assert_eq!(found, expected);
}

pub(in crate::journal) async fn a_marker_never_goes_back(bench: &impl Bench) {
    let [primary, replica] = instances();
    let marked = |instance: &InstanceName, generation| Fact::Marked {
        instance: instance.clone(),
        generation: Generation::new(generation),
    };
    let store = bench.open();
    record(store.as_ref(), vec![marked(&primary, 1), marked(&primary, 3), marked(&primary, 2)]).await;
    record(store.as_ref(), vec![marked(&primary, 2), marked(&replica, 7)]).await;
    drop(store);
    let found = load(bench.open().as_ref()).await.marked;
    assert_eq!(found, [(primary, Generation::new(3)), (replica, Generation::new(7))]);
}
