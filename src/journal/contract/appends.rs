//! Appends: positions, durability, all or nothing, client keys.

use super::*;

pub async fn positions_are_consecutive_and_in_order(bench: &impl Bench) {
    let store = bench.open();
    let drafts: Vec<_> = ["a", "b", "c"].map(|body| draft(LaneId::Catalog, body)).into();
    let ids: Vec<_> = drafts.iter().map(|draft| draft.transaction_id).collect();
    let mut seqs = append(&*store, drafts[..2].to_vec()).await;
    seqs.extend(append(&*store, drafts[2..].to_vec()).await);
    assert_eq!(seqs, [1, 2, 3].map(Seq::new));
    let snapshot = load(&*store).await;
    assert_eq!(snapshot.last, Seq::new(3));
    assert_eq!(snapshot.entries.iter().map(|entry| entry.transaction_id).collect::<Vec<_>>(), ids);
    assert_eq!(positions(&snapshot), seqs);
}

pub async fn appends_survive_reopening(bench: &impl Bench) {
    let store = bench.open();
    let written = draft(LaneId::Catalog, "kept");
    append(&*store, vec![written.clone()]).await;
    let journal_id = load(&*store).await.journal_id;
    drop(store);
    let store = bench.open();
    let row = by_id(&*store, written.transaction_id).await.unwrap();
    assert_eq!((row.seq, row.status, row.created_at), (Seq::new(1), Status::Attempting, MADE));
    let snapshot = load(&*store).await;
    assert_eq!(snapshot.journal_id, journal_id);
    assert_eq!(snapshot.entries[0].profile, written.profile, "its priority too");
    assert_eq!(append(&*store, vec![draft(LaneId::Catalog, "next")]).await, [Seq::new(2)]);
}

pub async fn a_restart_knows_whose_answer_waited_for_the_journal(bench: &impl Bench) {
    let store = bench.open();
    let own = keyed("tenant", "own");
    let mut given = draft(LaneId::Catalog, "given");
    let key = given.transaction_id.to_string();
    given.client_key = Some(ClientKey { tenant: "tenant".to_owned(), key, fingerprint: [7; 32] });
    append(&*store, vec![own, given, draft(LaneId::Catalog, "nobody's")]).await;
    let told: Vec<_> = load(&*store).await.entries.iter().map(|entry| entry.ack_policy).collect();
    assert_eq!(told, [AckPolicy::Durable, AckPolicy::Applied, AckPolicy::Durable]);
}

pub async fn a_batch_is_all_or_nothing(bench: &impl Bench) {
    let store = bench.open();
    let twice = draft(LaneId::Catalog, "twice");
    let facts = vec![progress(LaneId::Catalog, "primary", Seq::new(1))];
    let appends = vec![draft(LaneId::Catalog, "neighbour"), twice.clone(), twice.clone()];
    let refused = store.commit(Batch { appends, facts }).await;
    assert!(matches!(refused, Err(CommitError::Refused(_))), "{refused:?}");
    let snapshot = load(&*store).await;
    assert!(snapshot.entries.is_empty() && snapshot.progress.is_empty());
    assert_eq!(append(&*store, vec![twice]).await, [Seq::new(1)]);
}

pub async fn a_taken_key_makes_nothing_durable(bench: &impl Bench) {
    let store = bench.open();
    let first = keyed("tenant", "key");
    append(&*store, vec![first.clone()]).await;
    let facts = vec![progress(LaneId::Catalog, "primary", Seq::new(1))];
    let appends = vec![draft(LaneId::Catalog, "neighbour"), keyed("tenant", "key")];
    match store.commit(Batch { appends, facts }).await {
        Err(CommitError::Taken(id)) => assert_eq!(id, first.transaction_id),
        other => panic!("{other:?}"),
    }
    let snapshot = load(&*store).await;
    assert_eq!((snapshot.entries.len(), snapshot.progress.len()), (1, 0));
    let lookup = Lookup::ClientKey { tenant: "tenant".to_owned(), key: "key".to_owned() };
    let row = store.transaction(&lookup).await.unwrap().unwrap();
    assert_eq!((row.transaction_id, row.client_key), (first.transaction_id, first.client_key));
}

pub async fn keys_are_scoped_by_tenant(bench: &impl Bench) {
    let store = bench.open();
    append(&*store, vec![keyed("one", "key"), keyed("two", "key")]).await;
    let lookup = Lookup::ClientKey { tenant: "three".to_owned(), key: "key".to_owned() };
    assert!(store.transaction(&lookup).await.unwrap().is_none());
}

pub async fn a_request_comes_back_as_it_went_in(bench: &impl Bench) {
    let store = bench.open();
    let lane = LaneId::Records(new_collection());
    let written = draft(lane, "{\"ids\":[\"\u{0}\u{1f600}\"]}");
    let seqs = append(&*store, vec![written.clone(), draft(lane, "other")]).await;
    record(&*store, vec![applied(seqs[0])]).await;
    let requests = store.requests(&[Seq::new(99), seqs[1], seqs[0]]).await.unwrap();
    assert_eq!(requests.iter().map(|request| request.seq).collect::<Vec<_>>(), [seqs[1], seqs[0]]);
    let request = &requests[1];
    assert_eq!((request.lane, request.profile), (lane, written.profile));
    assert_eq!((&request.method, &request.path), (&written.method, &written.path));
    assert_eq!((&request.content_type, &request.body), (&written.content_type, &written.body));
    assert_eq!((request.resolved, request.trace_context), (Resolution::AsReceived, written.trace_context));
    assert_eq!(request.answer.as_ref().map(|answer| answer.status), Some(201));
}
