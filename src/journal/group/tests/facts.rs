//! Facts: what is dropped under pressure, what can be withdrawn, and who is notified.

use super::*;

#[tokio::test]
async fn under_pressure_only_retries_are_shed() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    fixture.journal.record_later((1..=4).map(fact).collect());
    let retried = Fact::Retried { seq: Seq::new(1), reason: "x".to_owned(), next_retry_at: None };
    fixture.journal.record_later(vec![retried, fact(5)]);
    release.send(()).unwrap();
    fixture.journal.record(Vec::new()).await;
    let expected: Vec<_> = (0..=5).map(|n| format!("{:?}", fact(n))).collect();
    assert_eq!(fixture.store.facts(), expected);
    assert_eq!(fixture.journal.stats().facts_shed(), 1);
}

#[tokio::test(start_paused = true)]
async fn facts_that_wait_too_long_are_withdrawn_for_good_unless_a_commit_has_them() {
    let fixture = Fixture::new(JournalOptions { timeout: Duration::from_millis(20), ..options() });
    let release = fixture.hold().await;
    let late = fixture.journal.record_in_time(vec![fact(1)]).await;
    assert!(matches!(late, Err(AppendError::Unavailable(_))), "{late:?}");
    release.send(()).unwrap();
    assert_eq!(fixture.journal.record_in_time(vec![fact(2)]).await, Ok(()));
    let (release, released) = oneshot::channel();
    fixture.store.plan(Plan::Hold(released));
    let withdrawn_late = fixture.journal.record_in_time(vec![fact(3)]).await;
    assert!(matches!(withdrawn_late, Err(AppendError::InDoubt(_))), "{withdrawn_late:?}");
    release.send(()).unwrap();
    fixture.journal.record(Vec::new()).await;
    assert_eq!(fixture.store.facts(), [fact(0), fact(2), fact(3)].map(|fact| format!("{fact:?}")));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_goes_along_with_the_next_append() {
    let fixture = Fixture::new(options());
    fixture.journal.record_later(vec![fact(1)]);
    let lazy = tokio::spawn(fixture.journal.record_with(vec![fact(2)], Urgency::WithTheNext));
    tokio::task::yield_now().await;
    assert!(fixture.store.facts().is_empty());
    let began = clock::runtime_now();
    assert!(fixture.journal.append(some()).await.is_ok());
    assert_eq!((fixture.store.facts().len(), fixture.store.commits()), (2, 1), "one flush for all of it");
    assert!(lazy.await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO, "the append waits for nothing");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_is_committed_a_moment_later_without_company() {
    let fixture = Fixture::new(options());
    let began = clock::runtime_now();
    fixture.journal.record_with(vec![fact(1)], Urgency::WithTheNext).await;
    assert!(began.elapsed() >= Duration::from_millis(2), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
    let began = clock::runtime_now();
    fixture.journal.record(vec![fact(2)]).await;
    assert_eq!(began.elapsed(), Duration::ZERO, "what is waited for is committed at once");
}

/// An entry of a commit may wait for facts that were queued during the commit.
#[tokio::test(start_paused = true)]
async fn what_was_handed_over_during_a_commit_of_entries_is_committed_at_once() {
    let fixture = Fixture::new(options());
    let (release, released) = oneshot::channel();
    fixture.store.plan(Plan::Hold(released));
    let append = fixture.append(some());
    fixture.store.entered.notified().await;
    let began = clock::runtime_now();
    let lazy = tokio::spawn(fixture.journal.record_with(vec![fact(1)], Urgency::WithTheNext));
    tokio::task::yield_now().await;
    release.send(()).unwrap();
    assert!(append.await.unwrap().is_ok());
    lazy.await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_watch_is_woken_after_the_commit() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let mut watch = fixture.journal.watch(Seq::new(5));
    fixture.journal.record_later(crate::journal::contract::finished(&[Seq::new(5)]));
    tokio::task::yield_now().await;
    let changed = tokio::time::timeout(Duration::from_millis(20), watch.changed()).await;
    assert!(changed.is_err(), "not while the commit is only asked for");
    release.send(()).unwrap();
    watch.changed().await;
    assert_eq!(fixture.store.facts().len(), 3);
}
