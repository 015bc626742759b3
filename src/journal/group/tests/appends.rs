//! Appends: shared commits, a full queue, time limits and client keys that are taken.

use super::*;

#[tokio::test]
async fn writers_share_a_commit_and_the_sink_hears_first_and_in_order() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let drafts = [some(), some(), some()];
    let mut appends = Vec::new();
    for (n, draft) in drafts.iter().enumerate() {
        appends.push(fixture.append(draft.clone()));
        fixture.waiting(n + 1).await;
    }
    assert!(fixture.received().is_empty(), "nothing is in a lane before it is durable");
    release.send(()).unwrap();
    for (n, append) in appends.into_iter().enumerate() {
        assert_eq!(append.await.unwrap(), Ok(Seq::new(n as u64 + 1)));
        assert_eq!(fixture.received().len(), 3);
    }
    let expected: Vec<_> = drafts.iter().zip(1..).map(|(draft, n)| (Seq::new(n), draft.transaction_id)).collect();
    assert_eq!(fixture.received(), expected);
    assert_eq!(fixture.store.script.lock().unwrap().commits, 2);
}

#[tokio::test]
async fn a_full_queue_says_so() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let waiting: Vec<_> = (0..4).map(|_| fixture.append(some())).collect();
    fixture.waiting(4).await;
    assert_eq!(fixture.journal.append(some()).await, Err(AppendError::Full));
    release.send(()).unwrap();
    for append in waiting {
        append.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_that_waits_too_long_is_withdrawn_for_good() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let answer = fixture.journal.append(some()).await;
    assert!(matches!(answer, Err(AppendError::Unavailable(_))), "{answer:?}");
    release.send(()).unwrap();
    assert_eq!(fixture.journal.append(some()).await, Ok(Seq::new(1)));
    assert_eq!(fixture.received().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_append_in_a_slow_commit_is_in_doubt_and_enters_its_lane_later() {
    let fixture = Fixture::new(options());
    let (release, released) = oneshot::channel();
    fixture.store.plan(Plan::Hold(released));
    let draft = some();
    let answer = fixture.journal.append(draft.clone()).await;
    assert!(matches!(answer, Err(AppendError::InDoubt(_))), "{answer:?}");
    release.send(()).unwrap();
    fixture.lanes.changed.notified().await;
    assert_eq!(fixture.received(), [(Seq::new(1), draft.transaction_id)]);
}

#[tokio::test]
async fn a_taken_key_fails_alone() {
    let fixture = Fixture::new(options());
    let first = keyed("tenant", "key");
    fixture.journal.append(first.clone()).await.unwrap();
    let release = fixture.hold().await;
    let before = fixture.append(some());
    fixture.waiting(1).await;
    let taken = fixture.append(keyed("tenant", "key"));
    fixture.waiting(2).await;
    let after = fixture.append(some());
    fixture.waiting(3).await;
    release.send(()).unwrap();
    assert_eq!(before.await.unwrap(), Ok(Seq::new(2)));
    assert_eq!(taken.await.unwrap(), Err(AppendError::Taken(first.transaction_id)));
    assert_eq!(fixture.journal.stats().commits_failed(), 0);
    assert_eq!(after.await.unwrap(), Ok(Seq::new(3)));
}

#[tokio::test]
async fn of_two_waiting_with_one_key_the_first_wins() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let first = keyed("tenant", "key");
    let won = fixture.append(first.clone());
    fixture.waiting(1).await;
    let lost = fixture.append(keyed("tenant", "key"));
    fixture.waiting(2).await;
    release.send(()).unwrap();
    assert_eq!(won.await.unwrap(), Ok(Seq::new(1)));
    assert_eq!(lost.await.unwrap(), Err(AppendError::Taken(first.transaction_id)));
    assert_eq!(fixture.journal.stats().commits_failed(), 0, "a repetition is no failure of the journal");
}

#[tokio::test]
async fn an_append_knows_how_many_became_durable_with_it() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let append = || {
        let journal = fixture.journal.clone();
        tokio::spawn(async move { journal.append_judged(some(), None).await })
    };
    let appends = [append(), append(), append()];
    fixture.waiting(3).await;
    release.send(()).unwrap();
    for one in appends {
        assert_eq!(one.await.unwrap().unwrap().batch, 3);
    }
}

/// A judge sees the lanes with everything before its write. A write that it declines leaves nothing behind.
#[tokio::test]
async fn what_is_judged_is_judged_at_its_place_in_the_order() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let judged = |judgement: Judgement| {
        let (journal, lanes, seen) = (fixture.journal.clone(), fixture.lanes.clone(), Arc::clone(&seen));
        let judge: Judge = Box::new(move || {
            seen.lock().unwrap().push(lanes.received.lock().unwrap().len());
            judgement
        });
        tokio::spawn(async move { journal.append_judged(some(), Some(judge)).await })
    };
    let before = fixture.append(some());
    fixture.waiting(1).await;
    let declined = judged(Judgement::Decline);
    fixture.waiting(2).await;
    let committed = judged(Judgement::Commit);
    fixture.waiting(3).await;
    let after = fixture.append(some());
    fixture.waiting(4).await;
    release.send(()).unwrap();
    let seq = |committed: Committed| committed.seq;
    assert_eq!(before.await.unwrap(), Ok(Seq::new(1)));
    assert_eq!(declined.await.unwrap().map(seq), Err(AppendError::Declined));
    assert_eq!(committed.await.unwrap().map(seq), Ok(Seq::new(2)));
    assert_eq!(after.await.unwrap(), Ok(Seq::new(3)));
    assert_eq!(*seen.lock().unwrap(), [1, 1], "each after what comes before it, and nothing else");
    assert_eq!(fixture.received().len(), 3);
    assert_eq!(fixture.journal.append(some()).await, Ok(Seq::new(4)), "the task goes on");
}

/// The entry that a write replaces stays as it is if the write does not become durable.
#[tokio::test]
async fn what_an_entry_comes_in_the_stead_of_is_lifted_in_its_commit_or_not_at_all() {
    let fixture = Fixture::new(options());
    let instead = |seq| Draft { instead_of: Some(Seq::new(seq)), ..some() };
    let decline: Judge = Box::new(|| Judgement::Decline);
    let declined = fixture.journal.append_judged(instead(7), Some(decline)).await;
    assert_eq!(declined.map(|committed| committed.seq), Err(AppendError::Declined));
    fixture.store.plan(Plan::Refuse);
    assert!(matches!(fixture.journal.append(instead(8)).await, Err(AppendError::Unavailable(_))));
    assert_eq!(fixture.store.facts(), [""; 0]);
    fixture.store.plan(Plan::DoubtKept);
    assert_eq!(fixture.journal.append(instead(9)).await, Ok(Seq::new(1)));
    assert_eq!(fixture.journal.append(instead(10)).await, Ok(Seq::new(2)));
    assert_eq!(fixture.store.facts(), ["Lifted { seq: Seq(9) }", "Lifted { seq: Seq(10) }"]);
}
