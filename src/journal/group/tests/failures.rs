//! What a refused commit, a superseded one and one in doubt mean for appends and facts.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_refused_commit_fails_its_appends_and_keeps_its_facts_in_front() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    fixture.store.plan(Plan::Refuse);
    fixture.store.plan(Plan::Refuse);
    let recorded = fixture.journal.record(vec![fact(1), fact(2)]);
    let refused = fixture.append(some());
    fixture.waiting(1).await;
    release.send(()).unwrap();
    assert_eq!(refused.await.unwrap(), Err(AppendError::Unavailable("the disk is full".to_owned())));
    fixture.journal.record_later(vec![fact(3)]);
    recorded.await;
    fixture.journal.record(vec![fact(4)]).await;
    let expected: Vec<_> = (0..=4).map(|n| format!("{:?}", fact(n))).collect();
    assert_eq!(fixture.store.facts(), expected);
    assert_eq!(fixture.journal.stats().commits_failed(), 2);
    assert_eq!(fixture.received(), []);
}

#[tokio::test]
async fn a_superseded_commit_ends_the_task_and_confirms_nothing() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    fixture.store.plan(Plan::Supersede);
    let append = fixture.append(some());
    fixture.waiting(1).await;
    let recorded = tokio::spawn(fixture.journal.record(vec![fact(1)]));
    release.send(()).unwrap();
    assert_eq!(append.await.unwrap(), Err(AppendError::Unavailable("edge-2 has it".to_owned())));
    assert_eq!(fixture.running.await.unwrap(), Ended::Superseded("edge-2 has it".to_owned()));
    assert!(matches!(fixture.journal.append(some()).await, Err(AppendError::Unavailable(_))));
    assert!(!recorded.is_finished(), "who waits for what will never be durable is told nothing");
    assert_eq!(fixture.store.facts(), [format!("{:?}", fact(0))]);
}

#[tokio::test]
async fn an_append_in_doubt_that_is_found_is_durable() {
    let fixture = Fixture::new(options());
    fixture.store.plan(Plan::DoubtKept);
    let draft = some();
    assert_eq!(fixture.journal.append(draft.clone()).await, Ok(Seq::new(1)));
    assert_eq!(fixture.received(), [(Seq::new(1), draft.transaction_id)]);
}

#[tokio::test]
async fn an_append_in_doubt_that_is_absent_had_no_effect() {
    let fixture = Fixture::new(options());
    fixture.store.plan(Plan::DoubtLost);
    let answer = fixture.journal.append(some()).await;
    assert!(matches!(answer, Err(AppendError::Unavailable(_))), "{answer:?}");
    assert_eq!(fixture.journal.append(some()).await, Ok(Seq::new(1)));
    assert_eq!(fixture.received().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_append_in_doubt_is_looked_up_until_it_is_found_and_nothing_overtakes_it() {
    let fixture = Fixture::new(options());
    fixture.store.plan(Plan::DoubtKept);
    fixture.store.script.lock().unwrap().lookups_fail = true;
    let doubtful = some();
    let answer = fixture.journal.append(doubtful.clone()).await;
    assert!(matches!(answer, Err(AppendError::InDoubt(_))), "{answer:?}");
    let behind = some();
    let next = fixture.append(behind.clone());
    fixture.waiting(1).await;
    for _ in 0..3 {
        fixture.store.looked_up.notified().await;
    }
    assert!(fixture.received().is_empty());
    fixture.store.script.lock().unwrap().lookups_fail = false;
    assert_eq!(next.await.unwrap(), Ok(Seq::new(2)));
    assert_eq!(fixture.received(), [(Seq::new(1), doubtful.transaction_id), (Seq::new(2), behind.transaction_id)]);
}

#[tokio::test(start_paused = true)]
async fn facts_in_doubt_are_recorded_again() {
    let fixture = Fixture::new(options());
    fixture.store.plan(Plan::DoubtLost);
    fixture.journal.record(vec![fact(1)]).await;
    assert_eq!(fixture.store.facts(), [format!("{:?}", fact(1))]);
}

#[tokio::test]
async fn facts_whose_commit_was_in_doubt_cannot_be_withdrawn() {
    let fixture = Fixture::new(JournalOptions { timeout: Duration::from_millis(20), ..options() });
    fixture.store.plan(Plan::DoubtLost);
    fixture.store.plan(Plan::Refuse);
    // Committed again after the doubt, refused, and committed a third time.
    fixture.journal.record_in_time(vec![fact(1)]).await.unwrap_or_else(|error| {
        assert!(matches!(error, AppendError::InDoubt(_)), "{error}");
    });
    fixture.journal.record(Vec::new()).await;
    assert_eq!(fixture.store.facts(), [format!("{:?}", fact(1))]);
}

fn refusal(fixture: &Fixture) -> Option<String> {
    fixture.journal.refusal()
}

/// Waits until the journal is not known to refuse writes. Returns how long that took.
async fn until_writable(fixture: &Fixture) -> Duration {
    let began = clock::runtime_now();
    while refusal(fixture).is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_takes_no_writes_is_known_not_to_until_it_does_though_nobody_writes() {
    let fixture = Fixture::new(options());
    assert_eq!(refusal(&fixture), None);
    let until = clock::runtime_now() + Duration::from_secs(60);
    (0..60).for_each(|_| fixture.store.plan(Plan::Refuse));
    assert!(fixture.append(some()).await.unwrap().is_err());
    while fixture.store.probes() < 59 {
        assert_eq!(refusal(&fixture).as_deref(), Some("the disk is full"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let early = until - clock::runtime_now();
    assert!(early < Duration::from_secs(6), "about one a second: {early:?} too early");
    let took = until_writable(&fixture).await;
    assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&took), "{took:?}");
    let probes = fixture.store.probes();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(fixture.store.probes(), probes, "and no more");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_taken_shows_it_at_once_and_waits_for_no_probe() {
    let fixture = Fixture::new(options());
    (0..9).for_each(|_| fixture.store.plan(Plan::Refuse));
    assert!(fixture.append(some()).await.unwrap().is_err());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let began = clock::runtime_now();
    while fixture.append(some()).await.unwrap().is_err() {}
    assert_eq!((began.elapsed(), refusal(&fixture)), (Duration::ZERO, None));
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_does_not_answer_takes_no_writes() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    assert!(fixture.journal.append(some()).await.is_err());
    assert!(refusal(&fixture).is_some_and(|why| why.contains("in time")));
    release.send(()).unwrap();
    until_writable(&fixture).await;
}

#[tokio::test(start_paused = true)]
async fn what_an_append_in_doubt_has_shown_ends_as_well() {
    let fixture = Fixture::new(options());
    fixture.store.plan(Plan::DoubtLost);
    assert!(fixture.journal.append(some()).await.is_err());
    assert_eq!(refusal(&fixture).as_deref(), Some("connection lost"));
    until_writable(&fixture).await;
}

#[tokio::test(start_paused = true)]
async fn shutting_down_waits_for_no_probe() {
    let fixture = Fixture::new(options());
    (0..1000).for_each(|_| fixture.store.plan(Plan::Refuse));
    assert!(fixture.append(some()).await.unwrap().is_err());
    let began = clock::runtime_now();
    fixture.stop.send(()).unwrap();
    assert_eq!(fixture.running.await.unwrap(), Ended::Stopped);
    assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
}
