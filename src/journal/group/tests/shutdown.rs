//! Shutting down: what waits is committed, but the edge does not wait for that forever.

use super::*;

#[tokio::test]
async fn shutting_down_commits_what_waits() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let append = fixture.append(some());
    fixture.waiting(1).await;
    let recorded = fixture.journal.record(vec![fact(1)]);
    fixture.stop.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!(append.await.unwrap(), Ok(Seq::new(1)));
    recorded.await;
    fixture.running.await.unwrap();
    assert!(matches!(fixture.journal.append(some()).await, Err(AppendError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn shutting_down_does_not_wait_for_a_journal_that_is_away() {
    let fixture = Fixture::new(options());
    for _ in 0..10_000 {
        fixture.store.plan(Plan::Refuse);
    }
    fixture.journal.record_later(vec![fact(1)]);
    fixture.stop.send(()).unwrap();
    fixture.running.await.unwrap();
    assert!(fixture.store.facts().is_empty());
}
